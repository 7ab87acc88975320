"""The body of a message and the whole arithmetic of positions. Pure: no I/O, no clock.

A body is an ordered list of parts; each part is text that only grows. A position is the number
of Unicode code points before a point, over all parts. The same `Body` grows in the worker, in
the sweep and in every web process that has a reader, and `append` is the only way it grows:

    delta ends at or before my end   it is old news, dropped
    delta overlaps my end            the known beginning is cut off
    delta starts beyond my end       a Gap: never guess, read again

So deltas may be lost, repeated, merged or cut differently on the way: the body is either equal
to the writer's or known to be behind.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Final, NamedTuple

#: Code points of a chunk that is not merged any more: to copy it once more would cost memory.
CHUNK: Final = 1 << 16
#: Parts that an answer may have. Each costs every reader something, however short it is.
PARTS_MAX: Final = 512

Meta = Mapping[str, Any] | None


class Gap(Exception):
    """The delta starts beyond the body's end: something between is missing."""


class Misplaced(ValueError):
    """The delta cannot belong here: a part that is neither the last nor the next one."""


class Delta(NamedTuple):
    """A piece of a body that says where it starts (`start`: code points before it)."""

    start: int
    part: int
    kind: str
    text: str
    meta: Meta = None

    @property
    def end(self) -> int:
        """The position behind the piece."""
        return self.start + len(self.text)

    def after(self, position: int) -> "Delta":
        """The rest of the piece behind `position`, which lies inside it."""
        return self._replace(start=position, text=self.text[position - self.start :])


@dataclass(slots=True)
class Part:
    """One part: text that only grows; kind and meta are fixed with its first character."""

    kind: str
    start: int
    meta: Meta = None
    _chunks: list[str] = field(default_factory=list)
    _starts: list[int] = field(default_factory=list)
    end: int = 0

    def grow(self, text: str) -> None:
        """Append, keeping the number of chunks small.

        A tail not much shorter than the chunk before it is merged into it, until that is full: so
        each character is copied a few times, and a reader at the end still slices little.
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
        behind = bisect_left(self._starts, end, first)
        head = self._chunks[first][position - self._starts[first] : end - self._starts[first]]
        if behind == first + 1:
            return head
        last = self._chunks[behind - 1][: end - self._starts[behind - 1]]
        return "".join([head, *self._chunks[first + 1 : behind - 1], last])

    @property
    def text(self) -> str:
        """All of it."""
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

        Raises Gap when something before it is missing, Misplaced when its part is impossible.
        """
        if delta.start > self.length:
            raise Gap(f"at {self.length}, delta from {delta.start}")
        if delta.end <= self.length:
            return None
        if delta.start < self.length:
            delta = delta.after(self.length)
        self._part_of(delta).grow(delta.text)
        self.length = delta.end
        return delta

    def _part_of(self, delta: Delta) -> Part:
        last = len(self.parts) - 1
        if delta.part == last and self.parts[last].kind == delta.kind:
            return self.parts[last]
        if delta.part != last + 1:
            raise Misplaced(f"part {delta.part} ({delta.kind}) after part {last}")
        part = Part(delta.kind, delta.start, delta.meta, end=delta.start)
        self.parts.append(part)
        return part

    def write(self, kind: str, text: str, meta: Meta = None, *, fresh: bool = False) -> Delta:
        """Grow at the end, as the owner does: same kind continues the part, unless `fresh`."""
        last = len(self.parts) - 1
        same = last >= 0 and self.parts[last].kind == kind and not fresh
        part = last if same else last + 1
        delta = Delta(self.length, part, kind, text, self.parts[last].meta if same else meta)
        self.append(delta)
        return delta

    def since(self, position: int, end: int | None = None) -> list[Delta]:
        """Everything behind `position` (up to `end`), one delta a part; nothing for a position
        beyond the end."""
        end = self.length if end is None else end
        deltas: list[Delta] = []
        # From the end, because readers are nearly always near it.
        for index in range(len(self.parts) - 1, -1, -1):
            part = self.parts[index]
            if part.end <= position:
                break
            start = max(position, part.start)
            text = part.between(start, min(end, part.end))
            if text:
                deltas.append(Delta(start, index, part.kind, text, part.meta))
        deltas.reverse()
        return deltas

    def piece(self, position: int, most: int) -> Delta:
        """What begins at `position`, which lies before the end: `most` code points of one part, or
        as many as the part has there."""
        part = self.parts[-1]
        index = len(self.parts) - 1  # readers are nearly always near the end
        if part.start > position:
            index = bisect_right(self.parts, position, key=attrgetter("start")) - 1
            part = self.parts[index]
        text = part.between(position, min(position + most, part.end))
        return Delta(position, index, part.kind, text, part.meta)

    @property
    def content(self) -> str:
        """All parts joined in order: what `length` and `sha256` are about."""
        return "".join(part.text for part in self.parts)

    @property
    def text(self) -> str:
        """The message's text: its text parts joined."""
        return "".join(part.text for part in self.parts if part.kind == "text")
