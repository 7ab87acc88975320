"""Notices: what changes in a user's list of conversations, for every tab and phone that shows it.

A reader begins with the list as it is and goes on with what is different from the version that it
was shown. No events are kept, so none can be lost: a reader that comes back begins with the list.
There is one topic for each user who is watched here, and one version of the list in it, however
many watch.

Redis only wakes. What it loses, and what was announced by nothing (a sweep, a lapsed lease), is
found by polling: every QUIET seconds, every BLIND seconds while Redis is away. Without Postgres the
list stays as it is.
"""

import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import gevent
import structlog
from gevent.event import Event

from shared.bus.keys import user_channel
from shared.errors import StorageDown
from shared.store import sidebar
from shared.store.database import Database
from shared.store.sidebar import Entry, State
from web.following.hub import Hub, Keeper
from web.following.topic import Topic
from web.schemas import iso_time

#: Seconds between polls of a list that Redis did not wake, while it is there and while it is away.
QUIET: Final = 3.0
BLIND: Final = 1.0
#: Seconds for which a list is recent enough to begin with.
FRESH: Final = 0.05
#: Seconds in which wake-ups become one read.
GATHER: Final = 0.05

log = structlog.get_logger("notices")


class Version:
    """The list as it was at some moment; one that differs is another object. The place of a reader
    is the version that it was shown."""

    __slots__ = ("state",)

    def __init__(self, state: State | None) -> None:
        #: None: nothing was shown yet
        self.state = state


class SidebarTopic(Topic[Version]):
    """A user's list as all its readers here see it."""

    def __init__(self, user_id: uuid.UUID) -> None:
        super().__init__(user_channel(user_id))
        self.user_id = user_id
        self.current = Version(None)
        #: when the read began that `current` is from; when it failed, if the last one did
        self.read_at = 0.0
        #: set while no greenlet reads it
        self.idle = Event()
        self.idle.set()
        #: it changed, or may have, since the last read began
        self.stale = False

    def take(self, state: State, read_at: float) -> None:
        """Take what a read found that began at `read_at`; notify the readers if it is news."""
        self.read_at = read_at
        known = self.current.state
        if known is None or (known.entries, known.more) != (state.entries, state.more):
            self.current = Version(state)
            self.notify()


class Notices(Keeper[SidebarTopic]):
    """The lists that are watched in this process."""

    def __init__(self, hub: Hub, db: Database) -> None:
        super().__init__(hub)
        self._db = db

    def count(self) -> int:
        """Open streams of notices."""
        return sum(topic.readers for topic in self.topics.values())

    @contextmanager
    def follow(self, user_id: uuid.UUID) -> Iterator[SidebarTopic]:
        """A user's list for as long as a reader stays, recently read. Raises StorageDown."""
        oldest = time.monotonic() - FRESH
        topic = self.topics.get(user_channel(user_id))
        if topic is None:
            topic = SidebarTopic(user_id)
            self._hub.enter(topic, self)
            self._hub.open_soon(topic)
        with self._hub.reading(topic):
            self._read_since(topic, oldest)
            if topic.current.state is None:
                raise StorageDown
            yield topic

    def open(self, topics: Sequence[SidebarTopic]) -> None:
        """Read each, side by side."""
        gevent.joinall([gevent.spawn(self._read_safely, topic) for topic in topics])

    def receive(self, topic: SidebarTopic, payload: str) -> None:  # noqa: ARG002 - a wake-up
        """Read the list again."""
        self.subscribed(topic)

    def subscribed(self, topic: SidebarTopic) -> None:
        """Read what may have changed while nothing listened."""
        if topic.opened.is_set():
            gevent.spawn(self._read_safely, topic)

    def poll(self) -> None:
        """Read what was not read for some seconds."""
        quiet = QUIET if self._hub.connected else BLIND
        now = time.monotonic()
        for topic in list(self.topics.values()):
            if topic.opened.is_set() and now - topic.read_at > quiet:
                self._read_safely(topic)

    def _read_since(self, topic: SidebarTopic, oldest: float) -> None:
        """Return once it was read by a read that began at `oldest` or later.

        A read that is under way may have begun earlier, and may miss what the reader already knows
        of: wait for its end, then read again.
        """
        while topic.read_at < oldest:
            if topic.idle.is_set():
                self._read(topic)
            else:
                topic.idle.wait()

    def _read(self, topic: SidebarTopic) -> None:
        """Read the list, and have it read again if it changed meanwhile; one greenlet at a time."""
        topic.stale = True
        if not topic.idle.is_set():
            return
        topic.idle.clear()
        topic.stale = False
        begun = time.monotonic()
        try:
            topic.take(sidebar.state(self._db, topic.user_id), begun)
            gevent.sleep(GATHER if topic.opened.is_set() else 0)
        except StorageDown:
            topic.read_at = time.monotonic()
            topic.stale = False
        finally:
            topic.idle.set()
        if topic.stale and not topic.closed:  # by another greenlet: a stream's opening waits for us
            gevent.spawn(self._read_safely, topic)

    def _read_safely(self, topic: SidebarTopic) -> None:
        try:
            self._read(topic)
        except Exception:  # a bug here would leave every list as it is
            log.exception("notices.read")


def shape(entry: Entry) -> dict[str, Any]:
    """A conversation in the list as clients get it."""
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
        "line": {"waiting": entry.waiting, "changed_at": iso_time(entry.line_changed_at)},
    }
