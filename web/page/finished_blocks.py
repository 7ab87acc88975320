"""The finished blocks of a body, encoded as clients get them.

HTML may be much longer than its text (each bracket of code is a tag). So only the newest blocks of
a long body are kept, in memory that is bounded by the length of the text. Older ones are rendered
again from the last `Mark` before them. That is exact, because blocks depend on the text alone.
"""

import json
import sys
from bisect import bisect_right
from collections.abc import Iterator
from typing import Any, Final

from shared.body import Body
from web.page.blocks import Block, Blocks, Rest
from web.page.yielding import Slices

#: Bytes of encoded blocks that are kept of a body: at least, and for each code point.
KEPT_BYTES: Final = 512 << 10
KEPT_PER_CHAR: Final = 3
#: Bytes that a kept block takes besides what it holds.
BLOCK_BYTES: Final = 100


class FinishedBlocks:
    """The finished blocks of a body, encoded, in order; of a long one, only the newest are kept."""

    def __init__(self, body: Body, continues: Rest | None = None) -> None:
        """`continues`: the end of the body that this one continues."""
        self.body = body
        self.continues = continues
        self.made = Blocks(continues=continues)
        #: where the first kept block begins, and the position after the last one
        self.start = 0
        self.settled = 0
        #: of each kept block its end and its JSON
        self._ends: list[int] = []
        self._lines: list[bytes] = []
        self._bytes = 0

    @property
    def size(self) -> int:
        """Bytes that it takes, more or less."""
        return self._bytes + self.body.length + BLOCK_BYTES * len(self.made.marks)

    def collect(self) -> None:
        """Keep what was finished."""
        for block in self.made.take():
            line = encode(block, whole=True)
            self._lines.append(line)
            self._ends.append(block.end)
            self._bytes += len(line) + BLOCK_BYTES
            self.settled = block.end
        if self._bytes > KEPT_BYTES + KEPT_PER_CHAR * self.made.length:
            self._forget()

    def _forget(self) -> None:
        """Drop a quarter, so that this is seldom done; the last block stays."""
        most = (KEPT_BYTES + KEPT_PER_CHAR * self.made.length) * 3 // 4
        dropped = 0
        while self._bytes > most and dropped < len(self._lines) - 1:
            self._bytes -= len(self._lines[dropped]) + BLOCK_BYTES
            dropped += 1
        if dropped:
            self.start = self._ends[dropped - 1]
            del self._ends[:dropped], self._lines[:dropped]

    def cut(self, position: int, most: int, until: int = sys.maxsize) -> tuple[list[bytes], int]:
        """Kept blocks between two positions until they have `most` bytes, and the position after
        them."""
        first = last = bisect_right(self._ends, position)
        size = 0
        while last < len(self._lines) and size < most and self._ends[last] <= until:
            size += len(self._lines[last])
            last += 1
        return self._lines[first:last], self._ends[last - 1] if last > first else position

    def older(self, position: int) -> "OlderBlocks":
        """The blocks after `position` that are not kept any more."""
        marks = self.made.marks
        mark = marks[bisect_right(marks, position, key=lambda one: one.settled) - 1]
        return OlderBlocks(self, Blocks(mark, self.continues), position)


class OlderBlocks:
    """Blocks that are rendered once more, for readers far from the end."""

    def __init__(self, finished: FinishedBlocks, made: Blocks, position: int) -> None:
        self.finished = finished
        self.position = position
        self._made = made
        self._steps = made.feed(finished.body)
        self._waiting: list[Block] = []

    def cut(self, most: int, slices: Slices) -> list[bytes]:
        """The next ones until they have `most` bytes, or the first one that is kept is next."""
        lines: list[bytes] = []
        size = 0
        while size < most and self.position < self.finished.start:
            while not self._waiting:
                next(self._steps)  # the blocks before a kept one end before the body does
                self._waiting = [one for one in self._made.take() if one.end > self.position]
                slices.pause()
            block = self._waiting.pop(0)
            lines.append(encode(block, whole=True))
            size += len(lines[-1])
            self.position = block.end
        return lines


class BlockPages:
    """The blocks of a body as it is; the first request that needs one renders it for all."""

    def __init__(self, finished: FinishedBlocks, steps: Iterator[None]) -> None:
        self.finished = finished
        self._steps = steps

    def page(self, position: int, most: int) -> tuple[list[bytes], int | None]:
        """Encoded blocks after a position until they have `most` bytes, and the position to ask
        for more from, if there is more."""
        slices, lines, size = Slices(), list[bytes](), 0
        finished = self.finished
        while True:
            old = position < finished.start
            if size >= most and (old or finished.cut(position, 1)[0]):
                return lines, position
            if old:
                older = finished.older(position)
                more = older.cut(most - size, slices)
                position = older.position
            else:
                more, position = finished.cut(position, most - size)
                if not more and not self._step():
                    return lines, None
            lines += more
            size += sum(map(len, more))
            slices.pause()

    def rest(self) -> Rest | None:
        """The end of an ended body, from which a continuation goes on."""
        slices = Slices()
        while self._step():
            slices.pause()
        return self.finished.made.rest

    def _step(self) -> bool:
        if next(self._steps, self) is self:
            return False
        self.finished.collect()
        return True


def shape(block: Block) -> dict[str, Any]:
    """A finished block as clients get it."""
    return {
        "n": block.number,
        "part": block.part,
        "kind": block.kind,
        "meta": dict(block.meta) if block.meta else None,
        "start": block.start,
        "end": block.end,
        "joins": block.joins,
        "html": block.html,
        "text": block.text,
    }


def encode(block: Block, *, whole: bool) -> bytes:
    """One line of JSON in UTF-8; the open one without its text, which comes when it is finished."""
    found = shape(block)
    if not whole:
        del found["text"]
    return _JSON.encode(found).encode()


_JSON: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
