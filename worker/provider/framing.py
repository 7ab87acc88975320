"""Where the body of an HTTP/1.1 response begins and ends (RFC 9112, section 6). Pure: no I/O.

All that one read of the socket brought is taken apart at once: a library gives chunk by chunk,
and a model's every token is a chunk.
"""

import re
from collections.abc import Iterator
from typing import Final, Protocol

#: Bytes of a line that is not a chunk's data: a size with its extensions, a trailer.
LINE_MAX: Final = 1 << 14
_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\n]*)?")


class Malformed(ValueError):
    """This is no body in chunks."""


class Framing(Protocol):
    """Takes what the socket brings, gives what of it is body."""

    #: nothing more of the body will come
    ended: bool
    #: whether it has ended where it should, and the next response begins right behind it
    clean: bool

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The body's part of `data` (nothing: the connection ended), in one piece if there is any.

        Raises Malformed, behind what came before the fault.
        """


class Chunked:
    """Transfer-Encoding: chunked."""

    def __init__(self) -> None:
        self.ended = False
        self.clean = False
        self._rest = b""
        #: bytes of this chunk that have not come; 0 behind it; None before its size
        self._left: int | None = None
        self._trailers = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """See Framing."""
        if not data:
            raise Malformed("the connection ended within the body")
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
            raise Malformed("a line without end")
        self.clean = self.ended and not self._rest

    def _line(self, line: bytes) -> None:
        """What stands between the data: an end of a chunk, a size, a trailer."""
        if self._trailers:
            self.ended = not line
        elif self._left == 0:
            if line:
                raise Malformed("a chunk that is longer than it says")
            self._left = None
        else:
            self._left = _size(line)
            if self._left == 0:
                self._trailers = True


def _size(line: bytes) -> int:
    found = _SIZE.fullmatch(line)
    if found is None:
        raise Malformed("no chunk size")
    return int(found[1], 16)


class Counted:
    """Content-Length."""

    def __init__(self, length: int) -> None:
        self._left = length
        self.ended = self.clean = not length

    def feed(self, data: bytes) -> Iterator[bytes]:
        """See Framing."""
        if not data:
            raise Malformed("the connection ended within the body")
        piece = data[: self._left]
        self._left -= len(piece)
        self.ended = not self._left
        self.clean = self.ended and len(piece) == len(data)
        yield piece


class UntilClosed:
    """The body ends with the connection, and nobody can tell whether it is whole."""

    clean = False

    def __init__(self) -> None:
        self.ended = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """See Framing."""
        self.ended = not data
        if data:
            yield data
