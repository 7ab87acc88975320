"""The body of a message and the whole arithmetic of positions. Pure: no I/O, no clock.

A body is an ordered list of parts; each part is text that only grows. A position is the number of
Unicode code points before a point, over all parts. The same `Body` grows in the worker, in the
sweep and in every web process that has a reader, and `append` is the only way it grows:

    delta ends at or before my end   it is known already: dropped
    delta overlaps my end            the known beginning is cut off
    delta starts beyond my end       Gap: text is missing, so read the row and the log again

So deltas may be lost, repeated, merged or cut differently on the way: a body is either equal to the
writer's, or known to lack the writer's latest text. The invariant: whatever arrives, a reader's
body is a prefix of its writer's.

An empty part. The last part may be open without text, such as a tool call whose arguments have not
begun. It takes no position, so it is part of no length, hash or row: Postgres has it from its first
character on. On the way it is an empty delta with meta. (Without meta an empty delta opens nothing:
an empty part would have nothing to show, and the head of a payload has that shape.) A part must
have text before the next one begins, so a tool call without arguments is written as `{}`. If an
answer ends before that, its empty part is left out.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Final, NamedTuple

from shared.parts import PartKind, is_text

#: Code points from which a chunk is not copied into a longer one any more.
CHUNK: Final = 1 << 16
#: Parts that an answer may have. Each costs every reader some memory, however short it is.
PARTS_MAX: Final = 512

Meta = Mapping[str, Any] | None


class Gap(Exception):
    """The delta starts beyond the body's end: text before it is missing."""


class Misplaced(ValueError):
    """The delta's part is neither the last one nor the next, or is of another kind."""


class Delta(NamedTuple):
    """A piece of one part of a body. `start`: code points of the body before it."""

    start: int
    part: int
    kind: str
    text: str
    meta: Meta = None

    @property
    def end(self) -> int:
        """The position after the piece."""
        return self.start + len(self.text)

    def after(self, position: int) -> "Delta":
        """The rest of the piece from `position`, which lies inside it."""
        return self._replace(start=position, text=self.text[position - self.start :])


@dataclass(slots=True)
class Part:
    """One part: text that only grows. Its kind and meta are fixed when it is made."""

    kind: str
    start: int
    meta: Meta = None
    _chunks: list[str] = field(default_factory=list)
    _starts: list[int] = field(default_factory=list)
    end: int = 0

    def grow(self, text: str) -> None:
        """Append, keeping the number of chunks small.

        A chunk that is not much longer than the new text is merged with it, until it is full. So
        each character is copied a few times at most, and a reader at the end slices little.
        """
        start = self.end
        self.end += len(text)
        while self._chunks and len(self._chunks[-1]) <= min(2 * len(text), CHUNK):
            text = self._chunks.pop() + text
            start = self._starts.pop()
        self._chunks.append(text)
        self._starts.append(start)

    def between(self, position: int, end: int) -> str:
        """The text from `position` to `end`, which both lie within the part."""
        if position >= end:
            return ""
        first = bisect_right(self._starts, position) - 1
        stop = bisect_left(self._starts, end, first)
        head = self._chunks[first][position - self._starts[first] : end - self._starts[first]]
        if stop == first + 1:
            return head
        last = self._chunks[stop - 1][: end - self._starts[stop - 1]]
        return "".join([head, *self._chunks[first + 1 : stop - 1], last])

    @property
    def is_empty(self) -> bool:
        """Whether it was opened and has no text yet."""
        return self.end == self.start

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(self._chunks)


class Body:
    """Ordered parts that only grow. `length` is the position of the end."""

    def __init__(self, deltas: Iterable[Delta] = ()) -> None:
        self.parts: list[Part] = []
        self.length = 0
        for delta in deltas:
            self.append(delta)

    def append(self, delta: Delta) -> Delta | None:
        """Grow by what is new in `delta`; return that, or None when all of it was known.

        Raises Gap when text before it is missing, Misplaced when its part is impossible.
        """
        if delta.start > self.length:
            raise Gap(f"at {self.length}, delta from {delta.start}")
        if delta.end <= self.length:
            return self._opened(delta)
        if delta.start < self.length:
            delta = delta.after(self.length)
        self._part_of(delta).grow(delta.text)
        self.length = delta.end
        return delta

    def _opened(self, delta: Delta) -> Delta | None:
        """The delta, if it opens an empty part here."""
        if delta.text or not delta.meta or delta.start < self.length:
            return None
        if delta.part < len(self.parts):
            return None  # it is open, or has been
        self._part_of(delta)
        return delta

    def _part_of(self, delta: Delta) -> Part:
        last = len(self.parts) - 1
        if delta.part == last and self.parts[last].kind == delta.kind:
            return self.parts[last]
        if delta.part != last + 1 or (self.parts and self.parts[last].is_empty):
            raise Misplaced(f"part {delta.part} ({delta.kind}) after part {last}")
        part = Part(delta.kind, delta.start, delta.meta, end=delta.start)
        self.parts.append(part)
        return part

    def open(self, kind: str, meta: Mapping[str, Any]) -> Delta:
        """Open an empty part at the end, as the owner does before its first character.

        `meta`: not empty. Raises Misplaced when the last part is still empty.
        """
        if not meta:
            raise Misplaced("an empty part needs meta")
        delta = Delta(self.length, len(self.parts), kind, "", meta)
        self._part_of(delta)
        return delta

    def write(self, kind: str, text: str, meta: Meta = None, *, fresh: bool = False) -> Delta:
        """Grow at the end, as the owner does: the same kind continues the part, unless `fresh`.

        Without text nothing is written. Raises Misplaced when a new part would follow an empty one.
        """
        last = len(self.parts) - 1
        same = last >= 0 and self.parts[last].kind == kind and not fresh
        part = last if same else last + 1
        delta = Delta(self.length, part, kind, text, self.parts[last].meta if same else meta)
        if text:
            self.append(delta)
        return delta

    def since(self, position: int, end: int | None = None) -> list[Delta]:
        """Everything from `position` (up to `end`), one delta a part; a part that is open and empty
        is the last. Nothing for a position beyond the end."""
        end = self.length if end is None else end
        deltas: list[Delta] = []
        # From the end: readers are nearly always near it.
        for index in range(len(self.parts) - 1, -1, -1):
            part = self.parts[index]
            if part.end <= position:
                break
            start = max(position, part.start)
            text = part.between(start, min(end, part.end))
            if text:
                deltas.append(Delta(start, index, part.kind, text, part.meta))
        deltas.reverse()
        if self.parts and self.parts[-1].is_empty and position <= self.length <= end:
            open_part = self.parts[-1]
            place = len(self.parts) - 1
            deltas.append(Delta(self.length, place, open_part.kind, "", open_part.meta))
        return deltas

    def piece(self, position: int, most: int) -> Delta:
        """The text at `position`, which lies before the end: `most` code points of one part, or as
        many as that part has from there."""
        part = self.parts[-1]
        index = len(self.parts) - 1  # readers are nearly always near the end
        if part.start > position:
            index = bisect_right(self.parts, position, key=attrgetter("start")) - 1
            part = self.parts[index]
        text = part.between(position, min(position + most, part.end))
        return Delta(position, index, part.kind, text, part.meta)

    @property
    def content(self) -> str:
        """All parts joined in order: the text of which `length` and `sha256` are the proof."""
        return "".join(part.text for part in self.parts)

    @property
    def text(self) -> str:
        """The message's text: its text parts joined."""
        return "".join(part.text for part in self.parts if is_text(part.kind))


def text_body(text: str) -> Body:
    """A body of one part of text: a question, as a person types it."""
    body = Body()
    body.write(PartKind.TEXT, text)
    return body
