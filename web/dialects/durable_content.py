"""What a durable stream of a message carries, and the numbers of its offsets. Pure.

An offset is opaque to clients; here it is a number, which rises with what was read. Of a JSON
stream it is the number of the last event (`shared/numbering.py`), of a text stream the position.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii
from typing import ClassVar, Final, NamedTuple

from shared import numbering
from shared.body import Body
from shared.numbering import NOTHING, STEP, Slot
from shared.parts import is_text
from web.dialects import ui_chunks
from web.following.face import stretch_at
from web.following.message_topic import MessageTopic


class Read(NamedTuple):
    """Some of a stream."""

    items: list[str]
    #: the offset after them
    offset: int
    #: there is no more now
    all: bool


class Content(ABC):
    """What a stream of a message carries, and how it is numbered. Pure."""

    #: Content-Type of a read
    type: ClassVar[str]
    #: the offset of its beginning
    start: ClassVar[int]

    @abstractmethod
    def read(self, source: MessageTopic, offset: int, most: int) -> Read:
        """What follows an offset, up to about `most` bytes."""

    @abstractmethod
    def tail(self, source: MessageTopic) -> int:
        """The offset after all that there is now."""

    @abstractmethod
    def joined(self, items: Sequence[str]) -> list[bytes]:
        """Items as the body of a response, in pieces."""

    @abstractmethod
    def data(self, items: Sequence[str]) -> str:
        """Items as the data of an event."""

    def has_more(self, source: MessageTopic, offset: int) -> bool:
        """Whether something follows an offset, or nothing ever will."""
        return source.end is not None or self.tail(source) > offset


@dataclass(frozen=True)
class Chunks(Content):
    """The chunks of a UI message stream, as JSON."""

    #: the client's id of the message that the answer is, or goes on; None: the answer's own
    named: str | None = None
    #: chunks of earlier steps of that message
    before: tuple[str, ...] = ()

    type = "application/json"
    start = NOTHING

    def read(self, source: MessageTopic, offset: int, most: int) -> Read:
        """Chunks after a number."""
        items: list[str] = []
        for chunk in ui_chunks.after(offset, source.id, source.body, source.end):
            if chunk.number == Slot.RUN and self.named is not None:
                named = encode_basestring_ascii(self.named)
                items += [f'{{"type":"start","messageId":{named}}}', *self.before]
            else:
                items.append(chunk.json)
            offset = chunk.number
            most -= len(chunk.json)
            if most <= 0:
                return Read(items, offset, all=False)
        return Read(items, max(offset, self.tail(source)), all=True)

    def tail(self, source: MessageTopic) -> int:
        """The number of the last event."""
        if source.end is not None:
            return numbering.end_number(source.body)
        body = source.body
        if not body.length:
            return Slot.RUNNING
        last = numbering.part_at(body, numbering.end_number(body))
        return body.length + STEP * last + Slot.TEXT

    def joined(self, items: Sequence[str]) -> list[bytes]:
        """An array."""
        return [b"[", ",".join(items).encode("ascii"), b"]"]

    def data(self, items: Sequence[str]) -> str:
        """An array."""
        return f"[{','.join(items)}]"


class Text(Content):
    """The message's text, without reasoning and calls of tools."""

    type = "text/plain; charset=utf-8"
    start = 0

    def read(self, source: MessageTopic, offset: int, most: int) -> Read:
        """Text after a position."""
        body, items, size = source.body, list[str](), 0
        while offset < body.length:
            if size >= most:
                return Read(items, offset, all=False)
            delta = stretch_at(body, offset)
            offset = delta.end
            if is_text(delta.kind):
                items.append(delta.text)
                size += len(delta.text)
            else:
                offset = body.parts[delta.part].end
        return Read(items, offset, all=True)

    def tail(self, source: MessageTopic) -> int:
        """The position of the end."""
        return source.body.length

    def has_more(self, source: MessageTopic, offset: int) -> bool:
        """Whether there is text after a position."""
        return source.end is not None or _has_text(source.body, offset)

    def joined(self, items: Sequence[str]) -> list[bytes]:
        """As it is."""
        return [item.encode() for item in items]

    def data(self, items: Sequence[str]) -> str:
        """As it is."""
        return "".join(items)


def _has_text(body: Body, position: int) -> bool:
    return any(
        is_text(part.kind) and part.end > max(position, part.start) for part in reversed(body.parts)
    )


CHUNKS: Final = Chunks()
TEXT: Final = Text()
