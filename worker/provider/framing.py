"""Where the body of an HTTP/1.1 response begins and ends (RFC 9112, section 6). Pure: no I/O.

All that one read of the socket brought is taken apart at once. A library would return it chunk by
chunk, and each token of a model is a chunk.
"""

import re
from collections.abc import Iterator
from typing import Final, Protocol

#: Bytes of a line that is not a chunk's data: a size with its extensions, a trailer.
LINE_MAX: Final = 1 << 14
_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\n]*)?")


class FramingError(ValueError):
    """The body is not framed as its head says."""


class Framing(Protocol):
    """Finds the body in what the socket brings."""

    #: nothing more of the body will come
    ended: bool
    #: the body has ended and nothing came after it, so another request may be sent
    reusable: bool

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The part of `data` that is body, in one piece; b"" says that the connection was closed.

        Raises FramingError, after the piece that came before the fault.
        """


class Chunked:
    """Transfer-Encoding: chunked."""

    def __init__(self) -> None:
        self.ended = False
        self.reusable = False
        #: a line that has begun
        self._rest = b""
        #: bytes of this chunk that have not come; 0: its line end is next; None: a size is next
        self._left: int | None = None
        #: the last chunk has come, and only trailers follow
        self._trailers = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """See Framing."""
        if not data:
            raise FramingError("the connection ended within the body")
        pieces: list[bytes] = []
        try:
            self._take(self._rest + data if self._rest else data, pieces)
        finally:
            if pieces:
                yield b"".join(pieces)

    def _take(self, data: bytes, pieces: list[bytes]) -> None:
        at = 0
        while not self.ended:
            if self._left:
                piece = data[at : at + self._left]
                pieces.append(piece)
                at += len(piece)
                self._left -= len(piece)
            end = data.find(b"\r\n", at)
            if self._left or end < 0:
                break
            self._line(data[at:end])
            at = end + 2
        self._rest = data[at:]
        if len(self._rest) > LINE_MAX:
            raise FramingError("a line is too long")
        self.reusable = self.ended and not self._rest

    def _line(self, line: bytes) -> None:
        """Take a line that is not data: the end of a chunk, a size, or a trailer."""
        if self._trailers:
            self.ended = not line
        elif self._left == 0:
            if line:
                raise FramingError("a chunk is longer than its size")
            self._left = None
        else:
            self._left = _size(line)
            if self._left == 0:
                self._trailers = True


def _size(line: bytes) -> int:
    found = _SIZE.fullmatch(line)
    if found is None:
        raise FramingError("a chunk has no size")
    return int(found[1], 16)


class FixedLength:
    """Content-Length."""

    def __init__(self, length: int) -> None:
        self._left = length
        self.ended = self.reusable = not length

    def feed(self, data: bytes) -> Iterator[bytes]:
        """See Framing."""
        if not data:
            raise FramingError("the connection ended within the body")
        piece = data[: self._left]
        self._left -= len(piece)
        self.ended = not self._left
        self.reusable = self.ended and len(piece) == len(data)
        yield piece


class UntilClosed:
    """The body ends with the connection, so it is not known whether it is whole."""

    reusable = False

    def __init__(self) -> None:
        self.ended = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """See Framing."""
        self.ended = not data
        if data:
            yield data
