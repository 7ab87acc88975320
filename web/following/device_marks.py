"""Notes on an answer's tape which of its owner's devices came and left while it was written.

A device is known by its kind and browser alone ("phone Safari"); nothing else of it is kept. It has
come with its first stream here, and has left LINGER seconds after its last one has ended: a stream
that is cut comes back within that. The note says when it really was.

Nothing waits for a note. They are gathered for GATHER seconds and written by one statement; without
Postgres they are dropped, and so are those of answers that have ended by then.
"""

import time
import uuid
from collections import Counter
from typing import Final, NamedTuple

import gevent
import structlog

from shared.errors import StorageDown
from shared.store import tapes
from shared.store.database import Database
from shared.store.tapes import NOTED_AT_ONCE, Noted
from web.following.message_topic import MessageTopic

#: Seconds after which a device without a stream has left, and in which notes are gathered.
LINGER: Final = 8.0
GATHER: Final = 1.0
#: Notes that wait; more are dropped.
WAITING_MAX: Final = 10_000

log = structlog.get_logger("marks")


class _Reader(NamedTuple):
    message_id: uuid.UUID
    device: str


class _Waiting(NamedTuple):
    reader: _Reader
    kind: str
    at: float


class DeviceMarks:
    """The devices that read in this process."""

    def __init__(self, db: Database, linger: float = LINGER, gather: float = GATHER) -> None:
        self._db = db
        self._linger = linger
        self._gather = gather
        #: streams of each device, and those of which a device's coming was noted
        self._streams: Counter[_Reader] = Counter()
        self._here: set[_Reader] = set()
        self._waiting: list[_Waiting] = []
        self._writing = False

    @property
    def idle(self) -> bool:
        """Whether no note waits."""
        return not self._waiting

    def came(self, topic: MessageTopic, device: str) -> None:
        """A stream of this device begins."""
        reader = _Reader(topic.id, device)
        self._streams[reader] += 1
        if topic.end is None and reader not in self._here:
            self._here.add(reader)
            self._note(reader, "joined")

    def went(self, topic: MessageTopic, device: str) -> None:
        """A stream of this device has ended. Does not wait."""
        reader = _Reader(topic.id, device)
        self._streams[reader] -= 1
        if self._streams[reader] > 0:
            return
        del self._streams[reader]
        if topic.end is not None:
            self._here.discard(reader)
        elif reader in self._here:
            gevent.spawn_later(self._linger, self._left, reader, time.monotonic())

    def _left(self, reader: _Reader, at: float) -> None:
        if reader not in self._streams and reader in self._here:
            self._here.discard(reader)
            self._note(reader, "left", at)

    def _note(self, reader: _Reader, kind: str, at: float | None = None) -> None:
        if len(self._waiting) >= WAITING_MAX:
            return
        self._waiting.append(_Waiting(reader, kind, time.monotonic() if at is None else at))
        if not self._writing:
            self._writing = True
            gevent.spawn_later(self._gather, self._write)

    def _write(self) -> None:
        try:
            while self._waiting:
                batch = self._waiting[:NOTED_AT_ONCE]
                del self._waiting[:NOTED_AT_ONCE]
                now = time.monotonic()
                noted = [
                    Noted(one.reader.message_id, one.kind, one.reader.device, now - one.at)
                    for one in batch
                ]
                tapes.note(self._db, noted)
        except StorageDown:
            self._waiting.clear()
        except Exception:  # a bug here must not end the greenlet with notes waiting for ever
            log.exception("marks.write")
            self._waiting.clear()
        finally:
            self._writing = False
