"""The hub: every message that somebody here is reading, once.

One Redis connection, one subscription per followed message, bodies in memory, readers as
positions. The first reader of a message makes the hub subscribe, wait for the confirmation, read
the row with its pieces, then the live log, then apply what arrived meanwhile; in any other order
text could fall between. Later readers find the body here and cost nothing.

Redis merely wakes. Whatever it loses is found by looking: at once and every REREAD seconds while
something is known to be missing, and every few seconds at whatever is silent. The end is read
from the row, only.
"""

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final

import gevent
import structlog
from gevent.event import Event

from shared import messages
from shared.body import Body, Delta
from shared.database import Database
from shared.errors import NotFound, RedisDown, StorageDown
from shared.lifecycle import TERMINAL
from shared.livelog import Heard, LiveLog, Subscription, channel, decode, extend, message_of
from shared.messages import Message
from shared.sweep import Sweep
from web import metrics

#: Seconds between reads while text is known to be missing.
REREAD: Final = 0.25
#: Seconds of silence after which a row is looked at; less once a look found unheard text.
SILENCE: Final = 3.0
LAGGING_SILENCE: Final = 1.0
LOOK_EVERY: Final = 0.5
#: Seconds for which a message without readers is kept: they usually come back.
LINGER: Final = 5.0
#: Seconds a subscription's confirmation is waited for; without it the row is looked at instead.
CONFIRM: Final = 1.0
#: Seconds without a word from Redis until it is asked for one, and until it counts as gone.
REDIS_SILENCE: Final = 2.0
RECONNECT: Final = 0.5

log = structlog.get_logger("hub")


class Followed:
    """A message as all its readers here see it."""

    def __init__(self, message_id: uuid.UUID, user_id: uuid.UUID) -> None:
        self.id = message_id
        self.user_id = user_id
        self.body = Body()
        #: the row, once it has ended
        self.end: Message | None = None
        self.readers = 0
        #: set when the body grew, it ended or its readers have to go; then there is another one
        self.changed = Event()
        self.subscribed = Event()
        self.opened = Event()
        #: nobody keeps it true any more: readers have to ask anew
        self.gone = False
        #: when it was last heard of, and whether Postgres had text that Redis did not bring
        self.heard = time.monotonic()
        self.lagging = False
        #: something is missing and has to be read; a greenlet is at it
        self.read_begun = False
        self.missing = False
        self.rereading = False
        self._arrived: list[Delta] | None = None
        self._frames: dict[tuple[object, int], bytes] = {}

    def hear(self, deltas: Sequence[Delta]) -> bool:
        """Text from Redis; False if it does not fit and the row has to be read."""
        self.heard = time.monotonic()
        if self._arrived is not None:  # a read is under way: in order, behind what it finds
            self._arrived.extend(deltas)
            return True
        return self._grow(deltas)

    def _grow(self, deltas: Sequence[Delta]) -> bool:
        before = self.body.length
        fits = extend(self.body, deltas)
        if self.body.length > before:
            self.tell()
        return fits

    def leave(self) -> None:
        """Send every reader away."""
        self.gone = True
        self.tell()

    def tell(self) -> None:
        """Wake every reader."""
        self._frames.clear()
        changed, self.changed = self.changed, Event()
        changed.set()

    def frames(self, face: Callable[[Delta], bytes], position: int) -> tuple[bytes, int]:
        """Everything behind `position` as a face writes it, and the position behind that.

        Encoded once for all readers that stand at the same place.
        """
        if position >= self.body.length:
            return b"", position
        key = (face, position)
        if key not in self._frames:
            self._frames[key] = b"".join(face(delta) for delta in self.body.since(position))
        return self._frames[key], self.body.length

    # --- reading the truth

    def read(self, db: Database, livelog: LiveLog) -> bool:
        """Row and pieces, then the live log, then what arrived meanwhile; whether all is there."""
        self.read_begun = True
        self._arrived = []
        try:
            message = messages.load(db, self.id, self.user_id, deleted=True)
            if message.status in TERMINAL:
                self.finish(message)
                return True
            logged = _read_log(livelog, self.id)
        finally:
            arrived, self._arrived = self._arrived, None
            self.heard = time.monotonic()
        return self._grow([*message.body.since(self.body.length), *logged, *arrived])

    def finish(self, message: Message) -> None:
        """It has ended: the row says how, and with which body."""
        # Postgres is the truth: usually the same body, seldom one that is shorter (Redis and the
        # worker died together), which the end's length tells a reader.
        self.body = message.body
        self.end = message
        self.tell()


def _read_log(livelog: LiveLog, message_id: uuid.UUID) -> list[Delta]:
    try:
        return livelog.read(message_id)
    except RedisDown:
        return []  # then only what is saved: at most a second old


def snapshot(db: Database, livelog: LiveLog, message_id: uuid.UUID, user_id: uuid.UUID) -> Message:
    """A message as far as it is published, for somebody who does not follow it."""
    message = messages.load(db, message_id, user_id)
    if message.status not in TERMINAL:
        extend(message.body, _read_log(livelog, message_id))
    return message


class Hub:
    """What this process follows, and the greenlets that keep it true."""

    def __init__(self, db: Database, livelog: LiveLog, sweep: Sweep, lease: float) -> None:
        self._db = db
        self._livelog = livelog
        self._sweep = sweep
        self._lease = lease
        self._followed: dict[uuid.UUID, Followed] = {}
        self._subscription: Subscription | None = None
        self._started = False
        self._serving: Callable[[], bool] = lambda: True

    def serving_while(self, serving: Callable[[], bool]) -> None:
        """How to learn that the process is told to stop."""
        self._serving = serving

    @property
    def leaving(self) -> bool:
        """Whether readers have to go: the process is stopping."""
        return not self._serving()

    def counts(self) -> tuple[int, int]:
        """Bodies in memory and their readers."""
        return len(self._followed), sum(one.readers for one in self._followed.values())

    @contextmanager
    def follow(self, message_id: uuid.UUID, user_id: uuid.UUID) -> Iterator[Followed]:
        """A message for as long as somebody reads it. Raises NotFound and StorageDown."""
        self._start()
        followed = self._followed.get(message_id) or self._enter(message_id, user_id)
        if followed.user_id != user_id:
            raise NotFound("There is no such message.")
        followed.readers += 1
        try:
            followed.opened.wait()
            yield followed
        finally:
            followed.readers -= 1
            if not followed.readers:
                gevent.spawn_later(LINGER, self._forget, followed)

    def _enter(self, message_id: uuid.UUID, user_id: uuid.UUID) -> Followed:
        message = messages.load(self._db, message_id, user_id)
        followed = self._followed.get(message_id)
        if followed is None:  # nobody came in between
            followed = self._followed[message_id] = Followed(message_id, user_id)
            metrics.BODIES.set(len(self._followed))
            gevent.spawn(self._open, followed, message)
        return followed

    def _forget(self, followed: Followed) -> None:
        if followed.readers or self._followed.get(followed.id) is not followed:
            return
        del self._followed[followed.id]
        metrics.BODIES.set(len(self._followed))
        followed.gone = True
        if self._subscription is not None:
            with suppress(RedisDown):
                self._subscription.unsubscribe(channel(followed.id))

    # --- opening and reading again

    def _open(self, followed: Followed, message: Message) -> None:
        if message.status in TERMINAL:
            followed.finish(message)
            followed.opened.set()
            return
        self._subscribe(followed)
        followed.subscribed.wait(CONFIRM)
        complete = self._read(followed)
        followed.opened.set()
        if not complete or followed.missing:
            self._reread(followed)

    def _subscribe(self, followed: Followed) -> None:
        if self._subscription is not None:
            with suppress(RedisDown):  # the listener notices, and subscribes when it is back
                self._subscription.subscribe(channel(followed.id))

    def _reread(self, followed: Followed) -> None:
        """Read until nothing is known to be missing; one greenlet at a time."""
        followed.missing = True
        if followed.rereading:
            return
        followed.rereading = True
        while followed.missing and followed.end is None and not followed.gone:
            followed.missing = False
            if not self._read(followed):
                followed.missing = True
                gevent.sleep(REREAD)
        followed.rereading = False

    def _read(self, followed: Followed) -> bool:
        try:
            return followed.read(self._db, self._livelog)
        except StorageDown:
            return False
        except NotFound:  # purged: there is nothing to be read any more
            followed.leave()
            return True

    # --- listening

    def _start(self) -> None:
        if not self._started:
            self._started = True  # no switch between the look and this: exactly one of each
            for loop in (self._listen_for_ever, self._look_for_ever, self._leave):
                gevent.spawn(loop)

    def _listen_for_ever(self) -> None:
        while True:
            try:
                self._listen()
            except RedisDown:
                log.warning("hub.redis_down")
            except Exception:  # a bug here would silence every reader
                log.exception("hub.listen")
            self._subscription = None
            for followed in self._followed.values():
                followed.subscribed.clear()
            gevent.sleep(RECONNECT)

    def _listen(self) -> None:
        subscription = self._livelog.subscription()
        self._subscription = subscription
        try:
            open_ones = [channel(one.id) for one in self._followed.values() if one.end is None]
            if open_ones:
                subscription.subscribe(*open_ones)
            silent = False
            while True:
                heard = subscription.listen(REDIS_SILENCE)
                if heard is not None:
                    self._hear(heard)
                elif silent:
                    raise RedisDown
                else:
                    subscription.ping()
                silent = heard is None
        finally:
            subscription.close()

    def _hear(self, heard: Heard) -> None:
        if heard.kind not in ("message", "subscribe"):
            return
        followed = self._followed.get(message_of(heard.channel))
        if followed is None or followed.end is not None:
            return
        if heard.kind == "subscribe":
            followed.subscribed.set()
            if not followed.read_begun:
                return  # what it may have missed will be read
        elif (deltas := decode(heard.payload)) and followed.hear(deltas):
            return
        # A late subscription may have missed text, a wake-up tells of an end: read the row.
        followed.missing = True
        if followed.opened.is_set():
            gevent.spawn(self._reread, followed)

    # --- looking

    def _look_for_ever(self) -> None:
        while True:
            gevent.sleep(LOOK_EVERY)
            try:
                self._look()
            except StorageDown:
                pass
            except Exception:
                log.exception("hub.look")

    def _look(self) -> None:
        """Ask about all silent messages in one statement."""
        now = time.monotonic()
        silent = {
            one.id: one
            for one in self._followed.values()
            if one.opened.is_set()
            and one.end is None
            and now - one.heard > (LAGGING_SILENCE if one.lagging else SILENCE)
        }
        if not silent:
            return
        found = messages.glance(self._db, list(silent), self._lease)
        for message_id, followed in silent.items():
            row = found.get(message_id)
            followed.heard = now
            followed.lagging = row is not None and row.saved > followed.body.length
            if row is not None and row.lapsed:
                gevent.spawn(self._reap, followed)
            elif row is None or row.ended or followed.lagging:
                gevent.spawn(self._reread, followed)

    def _reap(self, followed: Followed) -> None:
        """Its owner is gone: whoever reads it need not wait for a worker's sweep."""
        with suppress(StorageDown):
            self._sweep.one(followed.id)
        self._reread(followed)

    def _leave(self) -> None:
        """When the process is told to stop, send the readers to another one."""
        while not self.leaving:
            gevent.sleep(0.1)
        for followed in list(self._followed.values()):
            followed.leave()
