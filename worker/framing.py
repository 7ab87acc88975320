"""Where the body of an HTTP/1.1 response begins and ends (RFC 9112, section 6). Pure: no I/O.

All that one read of the socket brought is taken apart at once: a library gives chunk by chunk,
and a model's every token is a chunk.
"""

import re
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
    #: what comes next is no body; `feed` will say so, whatever it is given
    broken: bool

    def feed(self, data: bytes) -> bytes:
        """The body's part of `data`, nothing if the connection ended. Raises Malformed."""


class Chunked:
    """Transfer-Encoding: chunked."""

    def __init__(self) -> None:
        self.ended = False
        self.clean = False
        self.broken = False
        self._rest = b""
        #: bytes of this chunk that have not come; 0 behind it; None before its size
        self._left: int | None = None
        self._trailers = False

    def feed(self, data: bytes) -> bytes:
        """See Framing."""
        if not data:
            raise Malformed("the connection ended within the body")
        data = self._rest + data if self._rest else data
        pieces = []
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
            try:
                self._line(data[at:end])
            except Malformed:
                if not pieces:
                    raise
                self.broken = True  # and what came before it is good
                break
            at = end + 2
        self._rest = data[at:]
        if len(self._rest) > LINE_MAX and not pieces:
            raise Malformed("a line without end")
        self.clean = self.ended and not self._rest
        return b"".join(pieces)

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

    broken = False

    def __init__(self, length: int) -> None:
        self._left = length
        self.ended = self.clean = not length

    def feed(self, data: bytes) -> bytes:
        """See Framing."""
        if not data:
            raise Malformed("the connection ended within the body")
        piece = data[: self._left]
        self._left -= len(piece)
        self.ended = not self._left
        self.clean = self.ended and len(piece) == len(data)
        return piece


class UntilClosed:
    """The body ends with the connection, and nobody can tell whether it is whole."""

    clean = False
    broken = False

    def __init__(self) -> None:
        self.ended = False

    def feed(self, data: bytes) -> bytes:
        """See Framing."""
        self.ended = not data
        return data
