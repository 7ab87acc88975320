"""A reader: a position in a followed message, and the response that carries it forward.

A slow, frozen or returning reader costs an integer; while it waits it has no greenlet. A stream
ends with the face's end, or it is cut and the client comes back; it never ends quietly.
"""

import random
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Final, TypeVar

import gevent
from gevent.hub import Waiter

from shared.body import Delta
from shared.errors import TooMany
from shared.store.messages import Message
from web import metrics
from web.following.hub import Hub
from web.following.notifier import Notifier, Wake
from web.following.topic import MessageTopic

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
    reader: "Callable[[MessageTopic, int, Face], Reader] | None" = None


def milliseconds(span: tuple[int, int]) -> int:
    """A random moment within, so that not all come back at once."""
    return random.randint(*span)  # noqa: S311


class Readers:
    """Opens streams and counts them."""

    def __init__(self, hub: Hub, *, heartbeat: float, max_seconds: float, max_streams: int) -> None:
        self._hub = hub
        self._heartbeat = heartbeat
        self._max_seconds = max_seconds
        self._max_streams = max_streams
        self._open: dict[Reader, None] = {}
        #: by user, how many
        self._of: Counter[uuid.UUID] = Counter()

    def open(
        self, message_id: uuid.UUID, user_id: uuid.UUID, position: int, face: Face
    ) -> "Stream":
        """A response from `position` on. Raises NotFound, StorageDown, TooMany.

        What can go wrong does so here, before the response begins; what comes must be closed.
        """
        made = face.reader or Reader
        return self.serve(
            user_id,
            self._hub.follow(message_id, user_id),
            lambda topic: made(topic, position, face),
        )

    def serve(
        self,
        user_id: uuid.UUID,
        source: AbstractContextManager[Source],
        reader_of: "Callable[[Source], Reader]",
    ) -> "Stream":
        """A response to a reader of `source`, which is kept open until its end."""
        self._within_cap(user_id)
        with ExitStack() as stack:
            reader = reader_of(stack.enter_context(source))
            self._enter(reader, user_id)
            stack.callback(self._leave, reader, user_id)
            deadline = time.monotonic() + self._max_seconds
            return Stream(reader, self._hub, self._heartbeat, deadline, stack.pop_all())

    def _within_cap(self, user_id: uuid.UUID) -> None:
        if self._max_streams and self._of[user_id] >= self._max_streams:
            raise TooMany("You have too many streams open at once.", "too_many_streams")

    def _enter(self, reader: "Reader", user_id: uuid.UUID) -> None:
        self._open[reader] = None
        self._of[user_id] += 1
        metrics.READERS.inc()

    def _leave(self, reader: "Reader", user_id: uuid.UUID) -> None:
        del self._open[reader]
        self._of[user_id] -= 1
        if not self._of[user_id]:
            del self._of[user_id]
        metrics.READERS.dec()

    def open_ones(self) -> "list[Reader]":
        """Everybody who reads here now."""
        return list(self._open)


class Reader:
    """One response: what it follows and how far it is."""

    __slots__ = ("face", "position", "topic")

    #: Whether what is new is there at once: then it is asked for by the loop, which must not wait.
    nonblocking = True

    def __init__(self, topic: MessageTopic, position: int, face: Face) -> None:
        self.topic = topic
        self.position = position
        self.face = face

    def advance(self) -> bytes:
        """Everything new, and the position behind it."""
        frames, self.position = self.topic.frames(self.face.delta, self.position)
        return frames

    @property
    def message_id(self) -> uuid.UUID | None:
        """The message that it reads, if it reads one."""
        return self.topic.id

    @property
    def changed(self) -> Notifier:
        """Rings when there may be something new."""
        return self.topic.changed

    @property
    def gone(self) -> bool:
        """Whether nobody keeps it true any more."""
        return self.topic.gone

    @property
    def lag(self) -> int:
        """Code points that are there and were not sent."""
        return max(0, self.topic.body.length - self.position)

    @property
    def at_end(self) -> bool:
        """Whether there is an end and all text before it was sent."""
        return self.topic.end is not None and self.position >= self.topic.body.length

    def end(self) -> bytes:
        """The end frame."""
        return self.topic.end_frame(self.face.end)

    def pause(self) -> float | None:
        """Seconds until it has to go on, bell or not: what came during a write that was slow."""
        topic = self.topic
        behind = self.position < topic.body.length or topic.end is not None or topic.gone
        return 0.0 if behind else None


class Stream:
    """What is written to one reader, in pieces, by whoever has its connection.

    It may be iterated, too: then it has a greenlet while it waits.
    """

    __slots__ = (
        "_begun", "_deadline", "_goodbye", "_hub", "_reader", "_stack", "heartbeat", "over",
    )  # fmt: skip

    def __init__(
        self, reader: Reader, hub: Hub, heartbeat: float, deadline: float, stack: ExitStack
    ) -> None:
        self._reader = reader
        self._hub = hub
        #: seconds between signs of life
        self.heartbeat = heartbeat
        self._deadline = deadline
        self._stack = stack
        # Who comes to a process that is leaving (it listens for another second) was spread out
        # before, and may try again at once.
        self._goodbye = RETRY_TIME_UP if hub.leaving else RETRY_SENT_AWAY
        self._begun = False
        #: nothing comes behind what came last
        self.over = False

    @property
    def nonblocking(self) -> bool:
        """Whether `next` never waits."""
        return self._reader.nonblocking

    def next(self, notified: bool) -> bytes:
        """What is to be written now; after a silence (nothing `rang`) a sign of life."""
        reader, face = self._reader, self._reader.face
        first = b""
        if not self._begun:
            self._begun = True
            first = face.retry(milliseconds(RETRY_CUT))
            if not reader.nonblocking:
                return first
        frames = first + reader.advance()
        last = self._last()
        if last is not None:
            self.over = True
            return frames + last
        return frames or (b"" if notified else face.heartbeat)

    def _last(self) -> bytes | None:
        """How it ends, if it does now."""
        reader, face = self._reader, self._reader.face
        if reader.at_end:
            return reader.end()
        if self._hub.leaving or reader.gone:
            return face.retry(milliseconds(self._goodbye))
        if time.monotonic() >= self._deadline:
            return face.retry(milliseconds(RETRY_TIME_UP))
        return None

    def sleep(self, wake: Wake) -> None:
        """Have the loop call `wake`, once, when there is a reason to ask for what is next."""
        pause = self._reader.pause()
        if pause is None:
            left = self._deadline - time.monotonic()
            self._reader.changed.listen(wake, min(left, self.heartbeat))
        elif pause:
            gevent.spawn_later(pause, wake, True)
        else:
            gevent.get_hub().loop.run_callback(wake, True)

    def __iter__(self) -> Iterator[bytes]:
        notified = True
        while not self.over:
            if data := self.next(notified):
                yield data
            if not self.over:
                waiter = Waiter()
                self.sleep(waiter.switch)
                notified = waiter.get()

    def close(self) -> None:
        """Free everything, begun or not."""
        self._stack.close()
