"""A reader: a position in a followed message, and the response that carries it forward.

A slow, frozen or returning reader costs an integer. A stream ends with the face's end, or it is
cut and the client comes back; it never ends quietly.
"""

import random
import socket
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import gevent
from gevent.event import Event

from shared.body import Delta
from shared.errors import TooMany
from shared.messages import Message
from web import metrics
from web.followed import Followed
from web.hub import Hub

#: Seconds a write may be stuck before the reader is sent away; it resumes when it can read.
STUCK: Final = 60.0
#: The part of a heartbeat in which a reader's machine has to acknowledge what was sent. The one
#: after the next then finds the connection closed: who vanished is noticed within two heartbeats.
ACKNOWLEDGED: Final = 0.75
#: Milliseconds after which a client comes back: of itself (spread out, since many may have been
#: cut at once), and when it was sent away.
RETRY_CUT: Final = (1000, 5000)
RETRY_SENT_AWAY: Final = (200, 1500)
RETRY_TIME_UP: Final = (50, 250)


#: What a reader reads.
Source = TypeVar("Source")


@dataclass(frozen=True, slots=True)
class Face:
    """How one dialect writes what a reader gets."""

    delta: Callable[[Delta], bytes]
    end: Callable[[Message], bytes]
    heartbeat: bytes
    retry: Callable[[int], bytes]
    #: who makes its readers, where a position alone does not say what comes next
    reader: "Callable[[Followed, int, Face, socket.socket | None], Reader] | None" = None


def milliseconds(span: tuple[int, int]) -> int:
    """A random moment within, so that not all come back at once."""
    return random.randint(*span)  # noqa: S311


class Readers:
    """Opens streams, counts them, and sends away whoever cannot be written to."""

    def __init__(self, hub: Hub, *, heartbeat: float, max_seconds: float, max_streams: int) -> None:
        self._hub = hub
        self._heartbeat = heartbeat
        self._max_seconds = max_seconds
        self._max_streams = max_streams
        self._open: dict[Reader, uuid.UUID] = {}
        self._watching: Event | None = None

    def open(
        self,
        message_id: uuid.UUID,
        user_id: uuid.UUID,
        position: int,
        face: Face,
        connection: socket.socket | None,
    ) -> Iterable[bytes]:
        """The bytes of a response from `position` on. Raises NotFound, StorageDown, TooMany.

        What can go wrong does so here, before the response begins; what comes must be closed.
        """
        made = face.reader or Reader
        return self.serve(
            user_id,
            self._hub.follow(message_id, user_id),
            lambda followed: made(followed, position, face, connection),
        )

    def serve(
        self,
        user_id: uuid.UUID,
        source: AbstractContextManager[Source],
        reader_of: "Callable[[Source], Reader]",
    ) -> Iterable[bytes]:
        """The bytes of a response to a reader of `source`, which is kept open until its end."""
        self._within_cap(user_id)
        with ExitStack() as stack:
            reader = reader_of(stack.enter_context(source))
            self._open[reader] = user_id
            stack.callback(self._open.pop, reader)
            stack.enter_context(metrics.READERS.track_inprogress())
            self._watch()
            _close_unless_acknowledged(reader.connection, ACKNOWLEDGED * self._heartbeat)
            return _Response(self._frames(reader), stack.pop_all())

    def _within_cap(self, user_id: uuid.UUID) -> None:
        if self._max_streams and list(self._open.values()).count(user_id) >= self._max_streams:
            raise TooMany("You have too many streams open at once.", "too_many_streams")

    def _frames(self, reader: "Reader") -> Iterator[bytes]:
        face, deadline = reader.face, time.monotonic() + self._max_seconds
        # Who comes to a process that is leaving (it listens for another second) was spread out
        # before, and may try again at once.
        goodbye = RETRY_TIME_UP if self._hub.leaving else RETRY_SENT_AWAY
        yield face.retry(milliseconds(RETRY_CUT))
        while True:
            frames = reader.advance()
            if frames:
                yield from reader.written(frames)
            if reader.at_end:
                yield face.end(reader.end)
                return
            if self._hub.leaving or reader.gone:
                yield face.retry(milliseconds(goodbye))
                return
            left = deadline - time.monotonic()
            if left <= 0:
                yield face.retry(milliseconds(RETRY_TIME_UP))
                return
            if not reader.wait(min(left, self._heartbeat)) and left > self._heartbeat:
                yield from reader.written(face.heartbeat)

    def open_ones(self) -> "list[Reader]":
        """Everybody who reads here now."""
        return list(self._open)

    def _watch(self) -> None:
        if self._watching is None:
            self._watching = Event()
            gevent.spawn(self._watch_for_ever)

    def _watch_for_ever(self) -> None:
        while True:
            gevent.sleep(STUCK / 10)
            for reader in list(self._open):
                reader.cut_if_stuck()


class Reader:
    """One response: what it follows, how far it is, since when its last write is under way."""

    def __init__(
        self, followed: Followed, position: int, face: Face, connection: socket.socket | None
    ) -> None:
        self.followed = followed
        self.position = position
        self.face = face
        self.connection = connection
        self._writing_since: float | None = None

    def advance(self) -> bytes:
        """Everything new, and the position behind it."""
        frames, self.position = self.followed.frames(self.face.delta, self.position)
        return frames

    @property
    def message_id(self) -> uuid.UUID | None:
        """The message that it reads, if it reads one."""
        return self.followed.id

    @property
    def gone(self) -> bool:
        """Whether nobody keeps it true any more."""
        return self.followed.gone

    @property
    def lag(self) -> int:
        """Code points that are there and were not sent."""
        return max(0, self.followed.body.length - self.position)

    @property
    def at_end(self) -> bool:
        """Whether there is an end and all text before it was sent."""
        return self.followed.end is not None and self.position >= self.followed.body.length

    @property
    def end(self) -> Message:
        """The ended row."""
        assert self.followed.end is not None
        return self.followed.end

    def wait(self, seconds: float) -> bool:
        """Sleep until something changed; False if nothing did for so long."""
        behind = self.position < self.followed.body.length  # it grew during a write that was slow
        return behind or bool(self.followed.changed.wait(seconds))

    def written(self, data: bytes) -> Iterator[bytes]:
        """Hand `data` on, knowing while it is being written."""
        self._writing_since = time.monotonic()
        yield data
        self._writing_since = None

    def cut_if_stuck(self) -> None:
        """Shut the connection down if a write has been under way for too long.

        The write then fails as if the client had gone, which is what gunicorn is quiet about.
        """
        since = self._writing_since
        if since is None or self.connection is None or time.monotonic() - since < STUCK:
            return
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)


class _Response:
    """The frames, and a way to free everything when it is closed, begun or not."""

    def __init__(self, frames: Iterator[bytes], stack: ExitStack) -> None:
        self._frames = frames
        self._stack = stack

    def __iter__(self) -> Iterator[bytes]:
        return self._frames

    def close(self) -> None:
        """Called by the server at the end, however it came."""
        self._stack.close()


def _close_unless_acknowledged(connection: socket.socket | None, seconds: float) -> None:
    """A machine that was switched off sends no goodbye. (Only Linux can be told how long to wait.)

    It closes the connections of who is there but does not read, too: they resume when they do.
    """
    if connection is not None and hasattr(socket, "TCP_USER_TIMEOUT"):
        with suppress(OSError):  # not TCP
            option = socket.TCP_USER_TIMEOUT
            connection.setsockopt(socket.IPPROTO_TCP, option, max(1, int(seconds * 1000)))


def connection_of(environ: dict[str, Any]) -> socket.socket | None:
    """The request's socket, if the server tells."""
    found = environ.get("gunicorn.socket")
    return found if isinstance(found, socket.socket) else None
