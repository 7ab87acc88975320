"""A proxy to web that cuts streams at chosen bytes, by a reset or a close, and can be slow.

Clients use its `url` instead of web's. Only streams of messages are cut, those that answer a
question included, and completions; everything else passes unchanged.
"""

import re
import selectors
import socket
import struct
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, Literal, NamedTuple, Self
from urllib.parse import urlsplit

Manner = Literal["reset", "close"]

_STREAM: Final = re.compile(
    rb"GET /api/(?:messages|chat)/[^ ]*stream[ ?]|POST /(?:api/chat|v1/chat/completions|ag-ui)[ ?]"
    rb"|POST [^\r]*\r\n.*^accept: text/event-stream\r",
    re.IGNORECASE | re.DOTALL | re.MULTILINE,
)
_RETRY: Final = re.compile(rb"\nretry: \d\d(\d+)\n")
#: Pieces a second on a slow link.
_STEPS: Final = 20


class CutPoint(NamedTuple):
    """Where a response is cut: `extra` bytes after the beginning of the nth `mark` in it."""

    mark: bytes
    nth: int
    extra: int

    def place(self, seen: bytes) -> int | None:
        """The byte at which to cut, once the mark has come."""
        at = -1
        for _ in range(self.nth):
            at = seen.find(self.mark, at + 1)
            if at < 0:
                return None
        return at + self.extra


#: Five places inside frames, each in another line of a frame.
IN_FRAMES: Final = (
    CutPoint(b"data: ", 2, 30),
    CutPoint(b"data: ", 1, 8),  # in the first frame: this connection brought nothing
    CutPoint(b"event: ", 3, 9),
    CutPoint(b'"text":', 2, 9),
    CutPoint(b"\nid: ", 2, 5),
)


class CuttingProxy:
    """A proxy to a web master: the first streams are cut as planned, later ones are whole."""

    def __init__(
        self,
        url: str,
        plan: Sequence[CutPoint] = (),
        manner: Manner = "close",
        *,
        rate: int | None = None,
        hurry: bool = True,
        streams: re.Pattern[bytes] = _STREAM,
    ) -> None:
        """`streams`: how a request begins whose response is cut. `rate`: bytes a second for each
        stream. `hurry`: change `retry:`, so that readers come back at once instead of after a
        second or more."""
        where = urlsplit(url)
        self._target = (where.hostname, where.port)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._plan = list(plan)
        self._manner = manner
        #: bytes that are read of a stream at a time
        self._piece = 65536 if rate is None else max(1, rate // _STEPS)
        self._rate = rate
        self._hurry = hurry
        self._is_stream = streams
        #: streams that have begun, cuts that were made, bytes of streams that have passed
        self.streams = self.cuts = self.passed = 0
        self._open: set[socket.socket] = set()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for end in list(self._open):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def cut_next(self, *plan: CutPoint) -> None:
        """Cut the next streams as planned here."""
        self._plan = list(plan)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                threading.Thread(target=self._join, args=(near,), daemon=True).start()

    def _join(self, near: socket.socket) -> None:
        """Serve one connection in one thread."""
        with (
            near,
            suppress(OSError),
            socket.create_connection(self._target) as far,
            selectors.DefaultSelector() as waiting,
        ):
            ends = {near, far}
            self._open |= ends
            for end in ends:
                waiting.register(end, selectors.EVENT_READ)
            stream: _Stream | None = None
            whole = True
            while whole:
                for key, _ in waiting.select():
                    data = key.fileobj.recv(65536 if stream is None else self._piece)  # type: ignore[union-attr]
                    if key.fileobj is near:
                        if self._is_stream.match(data):
                            stream = self._begin()
                        far.sendall(data)
                    elif stream is None:
                        near.sendall(data)
                    else:
                        whole = self._pass_on(stream, data, near)
                    whole = whole and data != b""
            self._open -= ends

    def _begin(self) -> "_Stream":
        self.streams += 1
        return _Stream(self._plan.pop(0) if self._plan else None)

    def _pass_on(self, stream: "_Stream", data: bytes, near: socket.socket) -> bool:
        """Pass a piece of a stream on; False if it was cut."""
        data, whole = stream.until_cut(self.changed(data))
        near.sendall(data)
        self.passed += len(data)
        if not whole:
            self.cuts += 1
            if self._manner == "reset":
                linger = struct.pack("ii", 1, 0)
                near.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        elif self._rate is not None:
            time.sleep(1 / _STEPS)
        return whole

    def changed(self, data: bytes) -> bytes:
        """What is passed on instead of a piece of a stream; as long."""
        return _RETRY.sub(rb"\nretry: 00\1\n", data) if self._hurry else data


class _Stream:
    """A response, and where to cut it."""

    def __init__(self, cut: CutPoint | None) -> None:
        self._cut = cut
        self._seen = b""

    def until_cut(self, data: bytes) -> tuple[bytes, bool]:
        """What of the next piece to pass on, and whether that is all of it."""
        if self._cut is None:
            return data, True
        passed = len(self._seen)
        self._seen += data
        end = self._cut.place(self._seen)
        if end is None or end > len(self._seen):
            return data, True
        return self._seen[passed:end], False
