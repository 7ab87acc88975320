"""The hub: every message that somebody here is reading, once.

One Redis connection, one subscription per followed message, bodies in memory, readers as
positions. The first reader of a message makes the hub subscribe, wait for the confirmation, read
the row with its pieces, then the live log, then apply what arrived meanwhile; in any other order
text could fall between. Later readers find the body here: all that is asked for them is whether
they may still read it (`read_access`). Nor is anything read for an answer that was asked for here,
as it is subscribed to before anybody can write it.

A body is the text of one claim (see `followed`). What another claim says on the same channel, and
what is no payload of this version, is never part of it: it is a reason to look at the row.

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

from shared import awake
from shared.bus.coding import WAKE_UP, decode
from shared.bus.keys import message_channel
from shared.bus.listener import PubSubMessage, Subscription
from shared.bus.livelog import LiveLog
from shared.errors import NotFound, RedisDown, StorageDown
from shared.store import messages
from shared.store.database import Database
from shared.sweep import Sweep
from web import metrics
from web.following.read_access import NOT_THERE, ReadAccess
from web.following.topic import MessageTopic, read

#: Seconds between reads while text is known to be missing.
REREAD: Final = 0.25
#: Seconds of silence after which a row is looked at; less once a look found unheard text.
SILENCE: Final = 3.0
LAGGING_SILENCE: Final = 1.0
LOOK_EVERY: Final = 0.5
#: Seconds for which a message without readers is kept: they usually come back.
LINGER: Final = 5.0
#: Messages that are opened by one statement, as they may be long.
OPEN_BATCH: Final = 20
#: Seconds a subscription's confirmation is waited for; without it the row is looked at instead.
CONFIRM: Final = 1.0
#: The same while somebody waits for their question to be taken.
CONFIRM_NEW: Final = 0.2
#: Seconds without a word from Redis until it is asked for one, and until it counts as gone.
REDIS_SILENCE: Final = 2.0
RECONNECT: Final = 0.5

log = structlog.get_logger("hub")


class Hub:
    """What this process follows, and the greenlets that keep it true."""

    def __init__(self, db: Database, livelog: LiveLog, sweep: Sweep) -> None:
        self._db = db
        self._livelog = livelog
        self._sweep = sweep
        self._read_access = ReadAccess(db)
        #: by channel: what is heard names nothing else
        self._topics: dict[str, MessageTopic] = {}
        #: those that nobody is opening yet
        self._unopened: list[MessageTopic] = []
        self._subscription: Subscription | None = None
        self._heard = 0.0
        self._started = False
        self._serving: Callable[[], bool] = lambda: True

    def serving_while(self, serving: Callable[[], bool]) -> None:
        """How to learn that the process is told to stop; it listens from now on."""
        self._serving = serving
        self._start()

    @property
    def leaving(self) -> bool:
        """Whether readers have to go: the process is stopping."""
        return not self._serving()

    def counts(self) -> tuple[int, int]:
        """Bodies in memory and their readers."""
        return len(self._topics), sum(one.readers for one in self._topics.values())

    @contextmanager
    def follow(self, message_id: uuid.UUID, user_id: uuid.UUID) -> Iterator[MessageTopic]:
        """A message for as long as somebody reads it. Raises NotFound and StorageDown."""
        self._start()
        topic = self._entered(message_id, user_id)
        topic.readers += 1
        try:
            topic.opened.wait()
            if topic.refusal is not None:
                raise topic.refusal
            yield topic
        finally:
            topic.readers -= 1
            if not topic.readers:
                gevent.spawn_later(LINGER, self._forget, topic)

    def expect(self, message_id: uuid.UUID, user_id: uuid.UUID) -> None:
        """An answer was made that is not handed to any worker yet, and somebody will follow it.

        What is subscribed to before anything was published has missed nothing and need not be read.
        """
        if self._subscription is None or message_channel(message_id) in self._topics:
            return  # somebody may have found it already, in a list
        topic = self._enter(message_id, user_id)
        self._subscribe([topic], CONFIRM_NEW)
        if topic.subscribed.is_set():
            topic.read_begun = True  # from now on a subscription is late
            topic.opened.set()
        else:
            self._open_soon(topic)
        gevent.spawn_later(LINGER, self._forget, topic)

    def _entered(self, message_id: uuid.UUID, user_id: uuid.UUID) -> MessageTopic:
        place = message_channel(message_id)
        while True:
            topic = self._topics.get(place)
            if topic is None:
                topic = self._enter(message_id, user_id)
                self._open_soon(topic)
                return topic  # its first read asks for the right as well
            granted = self._read_access.check(message_id, user_id)
            if self._topics.get(place) is not topic:
                continue  # nobody read it, and it was forgotten meanwhile
            end = topic.end
            if end and end.ended_at != granted.ended_at and topic.ended < granted.asked_at:
                self._drop(topic)  # Postgres went back: it is open again, or ended anew
                topic.leave()
                continue
            if topic.user_id == user_id:
                return topic
            topic.opened.wait()  # a stranger asked for it first, and will be refused

    def _enter(self, message_id: uuid.UUID, user_id: uuid.UUID) -> MessageTopic:
        topic = self._topics[message_channel(message_id)] = MessageTopic(message_id, user_id)
        metrics.BODIES.set(len(self._topics))
        return topic

    def _forget(self, topic: MessageTopic) -> None:
        if not topic.readers:
            self._drop(topic)

    def _drop(self, topic: MessageTopic) -> None:
        place = message_channel(topic.id)
        if self._topics.get(place) is not topic:
            return
        del self._topics[place]
        metrics.BODIES.set(len(self._topics))
        topic.gone = True
        if self._subscription is not None:
            with suppress(RedisDown):
                self._subscription.unsubscribe(place)

    # --- opening and reading again

    def _open_soon(self, topic: MessageTopic) -> None:
        self._unopened.append(topic)
        if len(self._unopened) == 1:
            gevent.spawn(self._open)

    def _open(self) -> None:
        """Open what waits for it, together: after a deploy everybody returns at once."""
        ones, self._unopened = self._unopened[:OPEN_BATCH], self._unopened[OPEN_BATCH:]
        if self._unopened:
            gevent.spawn(self._open)
        self._subscribe(ones)
        whole, refusal = self._first_read(ones)
        for topic in ones:
            if topic not in whole:
                topic.refusal = refusal or NotFound(NOT_THERE)
                self._drop(topic)
            topic.opened.set()
            if topic in whole and (topic.missing or not whole[topic]):
                gevent.spawn(self._reread, topic)

    def _first_read(
        self, ones: Sequence[MessageTopic]
    ) -> tuple[dict[MessageTopic, bool], Exception | None]:
        """What there is of them and whether it is whole; or why nothing could be read."""
        try:
            return read(self._db, self._log(), ones, first=True), None
        except Exception as refusal:  # noqa: BLE001 - whoever waits for it is told
            return {}, refusal

    def _subscribe(self, ones: Sequence[MessageTopic], seconds: float = CONFIRM) -> None:
        """Returns when all are confirmed, if that comes so soon."""
        if self._subscription is None:
            return
        with suppress(RedisDown):  # the listener notices, and subscribes when it is back
            self._subscription.subscribe(*[message_channel(one.id) for one in ones])
            deadline = time.monotonic() + seconds
            for one in ones:
                one.subscribed.wait(max(0.0, deadline - time.monotonic()))

    def _reread(self, topic: MessageTopic) -> None:
        """Read until nothing is known to be missing; one greenlet at a time."""
        topic.missing = True
        if topic.rereading:
            return
        topic.rereading = True
        try:
            while topic.missing and topic.end is None and not topic.gone:
                topic.missing = False
                if not self._read(topic):
                    topic.missing = True
                    gevent.sleep(REREAD)
        finally:
            topic.rereading = False

    def _read(self, topic: MessageTopic) -> bool:
        try:
            whole = read(self._db, self._log(), [topic])
        except StorageDown:
            return False
        if topic not in whole:
            # Purged, or Postgres went back to before there was this message, or this text of it:
            # whoever comes back asks anew.
            if topic.replaced:
                log.warning("hub.replaced", message_id=str(topic.id))
            self._drop(topic)
            topic.leave()
        return whole.get(topic, True)

    def _log(self) -> LiveLog | None:
        """Redis is not asked while it is known to be away, for it would cost seconds.

        When it is back, everything is subscribed to anew, and read.
        """
        return self._livelog if self._subscription is not None else None

    # --- listening

    def _start(self) -> None:
        if not self._started:
            self._started = True  # no switch between the look and this: exactly one of each
            for loop in (awake.watch, self._listen_for_ever, self._look_for_ever, self._leave):
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
            for topic in self._topics.values():
                topic.subscribed.clear()
            gevent.sleep(RECONNECT)

    def _listen(self) -> None:
        subscription = self._livelog.subscription()
        self._heard = time.monotonic()
        self._subscription = subscription
        try:
            open_ones = [place for place, one in self._topics.items() if one.end is None]
            if open_ones:
                subscription.subscribe(*open_ones)
            while True:
                heard = subscription.listen()
                self._heard = time.monotonic()
                if heard is not None:
                    self._hear(heard)
        finally:
            subscription.close()

    def _hear(self, heard: PubSubMessage) -> None:
        if heard.kind not in ("message", "subscribe"):
            return
        topic = self._topics.get(heard.channel)
        if topic is None or topic.end is not None:
            return
        if heard.kind == "subscribe":
            topic.subscribed.set()
        if not topic.read_begun:
            return  # it will be read, and with it what was said before
        said = decode(heard.payload) if heard.kind == "message" else WAKE_UP
        if said and said.deltas and topic.hear(said.deltas, said.claim):
            return
        if not said or (said.deltas and said.claim != topic.claim):
            self._read_soon(topic)
            return
        # A late subscription may have missed text, a wake-up tells of an end: read the row.
        topic.missing = True
        if topic.opened.is_set():
            gevent.spawn(self._reread, topic)

    def _read_soon(self, topic: MessageTopic) -> None:
        """Read the row because of what says nothing here: another claim's text, another version's
        words. There may be much of it, so not before REREAD seconds after the last read."""
        if topic.missing:
            return  # it will be read
        topic.missing = True
        if topic.opened.is_set():
            pause = topic.read_at + REREAD - time.monotonic()
            gevent.spawn_later(max(0.0, pause), self._reread, topic)

    # --- looking

    def _look_for_ever(self) -> None:
        with suppress(StorageDown):
            self._sweep.check_clock()  # before anything is silent, so later checks can compare
        while True:
            gevent.sleep(LOOK_EVERY)
            try:
                self._look()
            except StorageDown:
                self._sweep.doubt()
            except Exception:
                log.exception("hub.look")

    def _look(self) -> None:
        """Ask about all silent messages in one statement."""
        now = time.monotonic()
        self._look_at_redis()
        silent = {
            one.id: one
            for one in self._topics.values()
            if one.opened.is_set()
            and one.end is None
            and now - one.heard > (LAGGING_SILENCE if one.lagging else SILENCE)
        }
        if not silent:
            return
        self._sweep.check_clock()  # with nothing silent there is nothing to end
        found = messages.poll_states(self._db, list(silent))
        self._sweep.answered(now)
        for message_id, topic in silent.items():
            row = found.get(message_id)
            topic.heard = now
            topic.lagging = row is not None and row.saved > topic.body.length
            another = row is None or (row.claim != topic.claim and topic.body.length)
            if row is not None and row.lapsed:
                gevent.spawn(self._reap, topic)
            elif row is None or row.ended or topic.lagging or another:
                gevent.spawn(self._reread, topic)

    def _look_at_redis(self) -> None:
        """Ask it for a sign of life, or give its connection up, which the listener notices."""
        if self._subscription is None:
            return
        silence = awake.since(self._heard)
        with suppress(RedisDown):
            if silence > 2 * REDIS_SILENCE:
                self._subscription.close()
            elif silence > REDIS_SILENCE:
                self._subscription.ping()

    def _reap(self, topic: MessageTopic) -> None:
        """Its owner is gone: whoever reads it need not wait for a worker's sweep."""
        with suppress(StorageDown):
            self._sweep.sweep_message(topic.id)
        self._reread(topic)

    def _leave(self) -> None:
        """When the process is told to stop, send the readers to another one."""
        while not self.leaving:
            gevent.sleep(0.1)
        for topic in list(self._topics.values()):
            topic.leave()
