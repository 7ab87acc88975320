"""Notices: what changes in a user's conversations, for every tab and phone that shows a list.

A connection begins with the list as it is and goes on with what is different from what it was
shown: it needs no history, and whoever comes back has missed nothing. One state for each user that
is watched here, however many watch; a reader is the state that it has seen, never a queue.

Redis merely wakes. What it loses, and what nobody told it (a sweep, a lapsed lease), is found by
looking every few seconds.
"""

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import gevent
import structlog
from gevent.event import Event

from shared import sse
from shared.bus.keys import user_channel, user_of
from shared.bus.listener import Subscription
from shared.bus.livelog import LiveLog
from shared.errors import RedisDown, StorageDown
from shared.store import sidebar
from shared.store.database import Database
from shared.store.sidebar import Change, Entry, State
from web.following.hub import CONFIRM, LINGER, RECONNECT, REDIS_SILENCE, Hub
from web.following.notifier import Notifier
from web.following.streaming import Face, Reader, Readers, Stream
from web.paging import encode_cursor
from web.schemas import iso_time

#: Seconds between looks at a list that Redis did not wake, while it is there and while it is not.
QUIET: Final = 3.0
BLIND: Final = 1.0
#: Seconds for which a state is good enough to begin with.
FRESH: Final = 0.05
#: Seconds in which wake-ups become one look.
GATHER: Final = 0.05

log = structlog.get_logger("notices")


class SidebarTopic:
    """A user's list as all who watch it here see it."""

    def __init__(self, user_id: uuid.UUID) -> None:
        self.user_id = user_id
        self.state: State | None = None
        self.readers = 0
        #: rings when the state is another one, or its readers have to go
        self.changed = Notifier()
        self.gone = False
        self.subscribed = Event()
        self.opened = Event()
        self.looked = 0.0
        self.looking = False
        self.stale = False
        self._frames: dict[int, tuple[State | None, bytes]] = {}

    def tell(self) -> None:
        """Wake every reader."""
        self._frames.clear()
        self.changed.notify()

    def take(self, state: State) -> None:
        """What was found; it is told if it is news."""
        self.looked = time.monotonic()
        known = self.state
        if known is not None and (known.entries, known.more) == (state.entries, state.more):
            return  # whoever has seen that one has seen this one
        self.state = state
        self.tell()

    def frames(self, seen: State | None) -> bytes:
        """What somebody who has seen that state has to be told; encoded once for all of them."""
        assert self.state is not None
        key = id(seen)
        if key not in self._frames:
            told = _begin(self.state) if seen is None else _go_on(seen, self.state)
            self._frames[key] = (seen, told)  # held, so that its id stays its own
        return self._frames[key][1]


class NoticeReader(Reader):
    """A reader of a user's list: the state that it has seen."""

    __slots__ = ("_seen", "_topic")

    def __init__(self, topic: SidebarTopic, face: Face) -> None:
        self.face = face
        self._topic = topic
        self._seen: State | None = None

    @property
    def message_id(self) -> uuid.UUID | None:
        """It reads no message."""
        return None

    @property
    def gone(self) -> bool:
        """Whether nobody keeps it true any more."""
        return self._topic.gone

    @property
    def changed(self) -> Notifier:
        """Rings when there may be something new."""
        return self._topic.changed

    @property
    def at_end(self) -> bool:
        """There is always more to come."""
        return False

    def advance(self) -> bytes:
        """What is different from what was seen."""
        state = self._topic.state
        if state is None or state is self._seen:
            return b""
        frames = self._topic.frames(self._seen)
        self._seen = state
        return frames

    def pause(self) -> float | None:
        """Seconds until it has to go on, bell or not."""
        behind = self._topic.state is not self._seen or self._topic.gone
        return 0.0 if behind else None

    @property
    def lag(self) -> int:
        """It has no positions to be behind."""
        return 0


class Notices:
    """The users that are watched here, and the greenlets that keep their lists true."""

    def __init__(self, db: Database, livelog: LiveLog, hub: Hub, readers: Readers) -> None:
        self._db = db
        self._livelog = livelog
        self._hub = hub
        self._readers = readers
        self._topics: dict[uuid.UUID, SidebarTopic] = {}
        self._subscription: Subscription | None = None
        self._started = False

    def count(self) -> int:
        """Open streams of notices."""
        return sum(one.readers for one in self._topics.values())

    def open(self, user_id: uuid.UUID, face: Face) -> Stream:
        """A response. Raises StorageDown and TooMany, before it begins."""
        return self._readers.serve(
            user_id, self._watch(user_id), lambda topic: NoticeReader(topic, face)
        )

    @contextmanager
    def _watch(self, user_id: uuid.UUID) -> Iterator[SidebarTopic]:
        self._start()
        topic = self._topics.get(user_id)
        if topic is None:
            topic = self._topics[user_id] = SidebarTopic(user_id)
            gevent.spawn(self._open, topic)
        topic.readers += 1
        try:
            topic.opened.wait()
            if time.monotonic() - topic.looked > FRESH:
                self._look(topic)
            if topic.state is None:
                raise StorageDown
            yield topic
        finally:
            topic.readers -= 1
            if not topic.readers:
                gevent.spawn_later(LINGER, self._forget, topic)

    def _open(self, topic: SidebarTopic) -> None:
        if self._subscription is not None:
            with suppress(RedisDown):
                self._subscription.subscribe(user_channel(topic.user_id))
            topic.subscribed.wait(CONFIRM)
        self._look_safely(topic)
        topic.opened.set()

    def _forget(self, topic: SidebarTopic) -> None:
        if topic.readers or self._topics.get(topic.user_id) is not topic:
            return
        del self._topics[topic.user_id]
        topic.gone = True
        if self._subscription is not None:
            with suppress(RedisDown):
                self._subscription.unsubscribe(user_channel(topic.user_id))

    # --- looking

    def _look(self, topic: SidebarTopic) -> None:
        """Look, and have somebody look again if more has changed meanwhile; one at a time."""
        topic.stale = True
        if topic.looking:
            return
        topic.looking = True
        topic.stale = False
        try:
            topic.take(sidebar.state(self._db, topic.user_id))
            gevent.sleep(GATHER if topic.opened.is_set() else 0)
        except StorageDown:
            topic.looked = time.monotonic()
            topic.stale = False
        finally:
            topic.looking = False
        if topic.stale and not topic.gone:  # not here: who opens a stream waits for this
            gevent.spawn(self._look_safely, topic)

    def _look_for_ever(self) -> None:
        while True:
            gevent.sleep(BLIND / 2)
            quiet = BLIND if self._subscription is None else QUIET
            now = time.monotonic()
            for topic in list(self._topics.values()):
                if topic.opened.is_set() and now - topic.looked > quiet:
                    self._look_safely(topic)

    def _look_safely(self, topic: SidebarTopic) -> None:
        try:
            self._look(topic)
        except Exception:  # a bug here would leave every list as it is
            log.exception("notices.look")

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
                pass
            except Exception:
                log.exception("notices.listen")
            self._subscription = None
            for topic in self._topics.values():
                topic.subscribed.clear()
            gevent.sleep(RECONNECT)

    def _listen(self) -> None:
        subscription = self._livelog.subscription()
        self._subscription = subscription
        try:
            if self._topics:
                subscription.subscribe(*map(user_channel, self._topics))
            while True:
                heard = subscription.expect(REDIS_SILENCE)
                if heard.kind in ("message", "subscribe"):
                    self._hear(self._topics.get(user_of(heard.channel)))
        finally:
            subscription.close()

    def _hear(self, topic: SidebarTopic | None) -> None:
        """Something has changed, or may have while nobody listened."""
        if topic is None:
            return
        topic.subscribed.set()
        if topic.opened.is_set():
            gevent.spawn(self._look_safely, topic)

    def _leave(self) -> None:
        """When the process is told to stop, send the readers to another one."""
        while not self._hub.leaving:
            gevent.sleep(0.1)
        for topic in list(self._topics.values()):
            topic.gone = True
            topic.tell()


# --- what is written -----------------------------------------------------------------------------


def _begin(state: State) -> bytes:
    """The list as it is."""
    more = None if state.more is None else encode_cursor(state.more)
    shown = [shape(entry) for entry in state.entries.values()]
    return sse.encode("state", {"conversations": shown, "next": more})


def _go_on(seen: State, state: State) -> bytes:
    """What has changed since."""
    found = [_change(change) for change in sidebar.changes(seen, state)]
    return sse.encode("change", {"changes": found}) if found else b""


def _change(change: Change) -> dict[str, Any]:
    if change.entry is None:
        return {"what": change.what, "id": str(change.id)}
    return {"what": change.what, "conversation": shape(change.entry)}


def shape(entry: Entry) -> dict[str, Any]:
    """An entry as clients get it."""
    answer = None
    if entry.answer_id is not None:
        answer = {
            "id": str(entry.answer_id),
            "status": entry.answer_status,
            "error_code": entry.error_code,
            "ended_at": iso_time(entry.ended_at),
        }
    return {
        "id": str(entry.id),
        "title": entry.title,
        "created_at": iso_time(entry.created_at),
        "updated_at": iso_time(entry.updated_at),
        "status": entry.status,
        "answer": answer,
    }
