"""Server-Sent Events, read (WHATWG HTML, section 9.2). Pure: no I/O.

Lines end at CR, LF or CRLF and nowhere else: `str.splitlines` would also split at U+2028.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

#: Bytes that a line, or the data of an event, may have.
LIMIT = 64 << 20
#: Milliseconds: a longer pause that a server asks for is no pause that a reader waits.
RETRY_MOST = 60_000


class Event(NamedTuple):
    """An event; `id` is its own, or "" if it has none."""

    name: str
    data: str
    id: str


class Decoder:
    """Bytes in any pieces in, events out. ValueError for what is no UTF-8, or is too long.

    What stands after the last blank line when the stream ends is no event, as the standard says.
    """

    def __init__(self) -> None:
        #: milliseconds after which the server wants us back, if it said so
        self.retry: int | None = None
        self._rest: list[bytes] = []
        self._size = 0
        self._after_cr = False
        self._name = self._id = ""
        self._data: list[str] | None = None

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """The events that `chunk` completes."""
        if self._after_cr and chunk:
            self._after_cr = False
            if chunk.startswith(b"\n"):
                chunk = chunk[1:]
        if b"\r" in chunk:
            self._after_cr = chunk.endswith(b"\r")
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        self._size += len(chunk)
        if self._size > LIMIT:
            raise ValueError("an event is too long")
        *lines, rest = chunk.split(b"\n")
        if lines:
            lines[0] = b"".join([*self._rest, lines[0]])
            self._rest = []
        if rest:
            self._rest.append(rest)
        for line in lines:
            if line:
                self._field(line)
            else:
                yield from self._dispatch()

    def _field(self, line: bytes) -> None:
        name, _, value = line.decode("utf-8").partition(":")
        value = value[1:] if value.startswith(" ") else value
        if name == "data":
            if self._data is None:
                self._data = []
            self._data.append(value)
        elif name == "event":
            self._name = value
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and value.isascii() and value.isdigit():
            self.retry = min(int(value[:9]), RETRY_MOST)

    def _dispatch(self) -> list[Event]:
        data, event = self._data, Event(self._name or "message", "", self._id)
        self._name = self._id = ""
        self._data, self._size = None, 0
        return [] if data is None else [event._replace(data="\n".join(data))]
