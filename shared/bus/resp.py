"""Redis' wire format (RESP2), both ways. Pure: no I/O.

redis-py speaks it, too, and is what everything but the road of a token uses: on the road a
publication and what is heard of it would cost ten times as much.
"""

from collections.abc import Iterator
from typing import Any, Final

_END: Final = b"\r\n"
_STATUS, _ERROR, _INTEGER, _BULK, _ARRAY = b"+-:$*"


class Refused(str):
    """An error that Redis answered with, instead of a reply."""

    __slots__ = ()


class Nonsense(ValueError):
    """What came is no RESP2."""


class _Incomplete(Exception):
    """A reply whose rest has not come yet; `size`: bytes that there have to be, at least."""

    def __init__(self, size: int) -> None:
        self.size = size


def pack(*command: str | int) -> bytes:
    """A command."""
    return b"*%d\r\n%b" % (len(command), words(*command))


def words(*said: str | int) -> bytes:
    """Some words of a command."""
    encoded = [str(word).encode() for word in said]
    return b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in encoded])


class Reader:
    """Bytes in any cutting in, replies out: str, int, list, None or Refused.

    A byte that is not UTF-8 becomes a lone surrogate ("surrogateescape"): anybody may publish
    anything, and that is no reason to give up the connection. Raises Nonsense.
    """

    def __init__(self) -> None:
        self._rest = bytearray()
        self._wanted = 0

    def feed(self, data: bytes) -> Iterator[Any]:
        """The replies that `data` completes."""
        if self._rest:
            self._rest += data
            if len(self._rest) < self._wanted:
                return
            data = bytes(self._rest)
            self._rest.clear()
        at = 0
        while at < len(data):
            try:
                reply, behind = _reply(data, at)
            except _Incomplete as incomplete:
                self._rest += data[at:]
                self._wanted = incomplete.size - at
                return
            at = behind
            yield reply


def _reply(data: bytes, at: int) -> tuple[Any, int]:
    """The reply that begins at `at`, and the place behind it."""
    end = data.find(_END, at)
    if end < 0:
        raise _Incomplete(len(data) + 1)
    kind, said, behind = data[at], data[at + 1 : end], end + 2
    if kind == _BULK:
        return _bulk(data, behind, _number(said))
    if kind == _ARRAY:
        return _array(data, behind, _number(said))
    if kind == _INTEGER:
        return _number(said), behind
    if kind == _STATUS:
        return _text(said), behind
    if kind == _ERROR:
        return Refused(_text(said)), behind
    raise Nonsense("no RESP2")


def _text(said: bytes) -> str:
    return said.decode("utf-8", "surrogateescape")


def _bulk(data: bytes, at: int, size: int) -> tuple[str | None, int]:
    if size < 0:
        return None, at
    end = at + size
    if end + 2 > len(data):
        raise _Incomplete(end + 2)
    return _text(data[at:end]), end + 2


def _array(data: bytes, at: int, size: int) -> tuple[list[Any] | None, int]:
    if size < 0:
        return None, at
    replies = []
    for _ in range(size):
        reply, at = _reply(data, at)
        replies.append(reply)
    return replies, at


def _number(said: bytes) -> int:
    try:
        return int(said)
    except ValueError:
        raise Nonsense("no number") from None
