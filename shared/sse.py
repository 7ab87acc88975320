"""Server-Sent Events, both ways (WHATWG HTML, section 9.2). Pure: no I/O.

Lines end at CR, LF or CRLF and nowhere else: `str.splitlines` would also split at U+2028 and
change the text. Data that we send is one line of ASCII JSON, so nothing in it can end a line.
"""

import json
import re
from collections.abc import Callable, Iterator
from json.encoder import encode_basestring_ascii
from typing import Any, Final, NamedTuple

#: A comment without a blank line after it: with one, some clients see an empty event.
HEARTBEAT: Final = b":\n"
#: Bytes of one code point in JSON of ASCII, at most.
WIDEST: Final = 12
#: Longer ones are no real delay, and Python refuses to parse very long ones.
_MILLISECONDS: Final = re.compile("[0-9]{1,18}")
#: Bytes up to which pieces are joined as they come: each object of its own takes 33 bytes more.
_SMALL: Final = 1 << 12
#: Made once: `json.dumps` makes one for each call that wants separators.
_ENCODER: Final = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"))


def encode(event: str, data: Any, event_id: str | int | None = None) -> bytes:
    """One frame with `data` as JSON; for the other two see `frame`."""
    return frame(event, to_json(data), event_id)


def to_json(data: Any) -> str:
    """One line of ASCII."""
    return _ENCODER.encode(data)


def frame(event: str, data: str, event_id: str | int | None = None) -> bytes:
    """One frame of what is JSON already.

    Nothing is escaped: a line end in an argument would begin another field. So `event` and
    `event_id` are ours, never a stranger's text, and `data` is one line of ASCII, as of `to_json`.

    `id` is the last field. Some clients adopt an id as soon as its line has arrived (npm's
    eventsource 1 and 2, fetch-event-source); were it the first one, a cut inside `data` would have
    them resume after text that they never got.
    """
    tail = f"id: {event_id}\n" if event_id is not None else ""
    return f"event: {event}\ndata: {data}\n{tail}\n".encode("ascii")


def fitting(text: str, room: int) -> int:
    """How many of the first code points of `text` take at most `room` bytes as JSON; at least one.

    One code point takes up to 12 bytes: U+1F600 is written `\\ud83d\\ude00`.
    """
    count = len(text)
    while count * WIDEST > room and count > 1:
        size = len(encode_basestring_ascii(text[:count])) - 2  # without the quotes
        if size <= room:
            break
        count = max(1, min(count - 1, count * room // size))
    return count


def retry(milliseconds: int) -> bytes:
    """How long a client is to wait before it comes back; a field, so no event by itself."""
    return b"retry: %d\n" % milliseconds


class Event(NamedTuple):
    """A decoded event; `id` is the last id seen, which sticks over events without one."""

    data: str
    event: str = "message"
    id: str = ""


class LineTooLong(ValueError):
    """A line, or the data of one event, is over the decoder's limit."""


class Gathered:
    """Bytes that arrive in pieces of any size, in hardly more memory than they have themselves."""

    __slots__ = ("_pieces", "size")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self.size = 0

    def add(self, piece: bytes) -> None:
        """Append."""
        self.size += len(piece)
        pieces = self._pieces
        if pieces and len(piece) < _SMALL and len(pieces[-1]) < _SMALL:
            pieces[-1] += piece
        else:
            pieces.append(piece)

    def take(self) -> bytes:
        """All of them; none are left."""
        whole = b"".join(self._pieces)
        self._pieces.clear()
        self.size = 0
        return whole


class Decoder:
    """Bytes in any chunking in, events out.

    Invalid UTF-8 raises UnicodeDecodeError (pass `errors="replace"` to do as browsers do). A line
    and the data of its event before it may have `limit` bytes together; a longer one is given to
    `shorten`, if there is one, and what that returns takes its place. What stands after
    the last blank line when the stream ends is no event, as the standard says.

    A field named `error` is unknown to the standard, but servers send it for failures: it makes
    an event of the type `error`.
    """

    def __init__(
        self,
        *,
        limit: int = 1 << 20,
        errors: str = "strict",
        shorten: Callable[[bytes], bytes] | None = None,
    ) -> None:
        """`limit`: bytes. `errors`: as of `bytes.decode`."""
        #: milliseconds after which to come back, as the server said last; None: it did not
        self.retry: int | None = None
        #: what to send as Last-Event-ID
        self.last_id = ""
        self._limit = limit
        self._errors = errors
        self._shorten = shorten
        #: a line without its end so far
        self._rest = Gathered()
        #: the last chunk ended with CR: an LF now belongs to it
        self._after_cr = False
        #: the first line, which may have a byte order mark, has come
        self._begun = False
        self._event = ""
        #: the data of an event, each line with its end; None: it has none
        self._data: Gathered | None = None

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """The events completed by `chunk`. Take all of them before the next call.

        Raises LineTooLong and UnicodeDecodeError, after the events that are complete before. The
        decoder is of no more use then.
        """
        if chunk.startswith(b"data: ") and self._is_plain(chunk):
            for data in chunk[6:-2].split(b"\n\ndata: "):
                yield Event(data.decode("utf-8", self._errors), "message", self.last_id)
            return
        for line in self._lines(chunk):
            event = self._line(line)
            if event is not None:
                yield event

    def _is_plain(self, chunk: bytes) -> bool:
        """Whether it is whole events of one line of data each, as most chunks are."""
        between = not (self._rest.size or self._data is not None or self._event or self._after_cr)
        return (
            between
            and self._begun
            and chunk.endswith(b"\n\n")
            and b"\r" not in chunk
            and 2 * chunk.count(b"\n\ndata: ") + 2 == chunk.count(b"\n")
            and len(chunk) <= self._limit
        )

    def _lines(self, chunk: bytes) -> Iterator[bytes]:
        if self._after_cr and chunk:
            self._after_cr = False
            chunk = chunk.removeprefix(b"\n")
        if b"\r" in chunk:
            self._after_cr = chunk.endswith(b"\r")
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, rest = chunk.split(b"\n")
        if lines and self._rest.size:
            self._rest.add(lines[0])
            lines[0] = self._rest.take()
        for line in lines:
            yield line if len(line) <= self._room() else self._shortened(line)
        if rest:
            self._rest.add(rest)
            if self._rest.size > self._room():
                self._rest.add(self._shortened(self._rest.take()))

    def _room(self) -> int:
        """Bytes that a line may have."""
        return self._limit - (self._data.size if self._data is not None else 0)

    def _shortened(self, line: bytes) -> bytes:
        """A line that is too long, shortened. Raises LineTooLong if it still is."""
        if self._shorten is not None:
            line = self._shorten(line)
        if len(line) > self._room():
            raise LineTooLong(f"an event of more than {self._limit} bytes")
        return line

    def _line(self, line: bytes) -> Event | None:
        if not self._begun:
            self._begun = True
            line = line.removeprefix(b"\xef\xbb\xbf")
        if not line:
            return self._dispatch()
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._add(value)
        elif name == b"error":
            self._event = "error"
            self._add(value)
        else:
            self._field(name.decode("utf-8", self._errors), value.decode("utf-8", self._errors))
        return None

    def _add(self, value: bytes) -> None:
        if self._data is None:
            self._data = Gathered()
        self._data.add(value + b"\n")  # which also makes empty lines take room
        if self._data.size > self._limit:
            raise LineTooLong(f"an event of more than {self._limit} bytes")

    def _field(self, name: str, value: str) -> None:
        if name == "event":
            self._event = value
        elif name == "id" and "\0" not in value:
            self.last_id = value
        elif name == "retry" and _MILLISECONDS.fullmatch(value):
            self.retry = int(value)

    def _dispatch(self) -> Event | None:
        data, name = self._data, self._event
        self._data, self._event = None, ""
        if data is None:
            return None
        text = data.take()[:-1].decode("utf-8", self._errors)
        return Event(text, name or "message", self.last_id)
