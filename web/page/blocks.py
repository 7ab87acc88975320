"""A body as blocks of HTML, while it grows. Pure: no I/O, no clock of its own.

What a block is. A block is a piece of one part of a body, with its HTML. All blocks in order are
exactly the body's text. A finished block never changes: it is rendered once and sent once. The
text after the last finished block is the tail; only the tail is parsed again when text arrives.
It is shown meanwhile as the open block, whose HTML may change.

Why text alone decides where a block ends. In Markdown a top-level block ends where a line begins
the next one, and no later line can change that. (The two exceptions of CommonMark, link references
and underlined headings, are switched off in `markdown`.) So a block is finished once a complete
line after it has begun another one. What goes on for long (a list, a fence, a table, a paragraph)
is finished in pieces, and where a piece ends is counted from its own beginning. Nothing depends on
how the text arrived, which gives the invariant:

    The same text gives the same blocks, fed a character at a time, in chunks or as a whole.

Readers depend on it: one that reconnects to another process goes on at the next block, history
shows the same blocks as the stream did, and old blocks can be dropped and made again from a `Mark`.

What bounds the CPU time. The tail is short (`tail.WINDOW_CHARS`), however long the block goes on.
Work comes in steps: `feed` and `end` are iterators, and their caller may let other greenlets run
between two steps. A step is one parse of the structure or one rendering, each with a limit of CPU
time (`cpu_limit`), and besides that a little work on at most SLICE_CHARS of new text.

What a body continues. An answer may be cut in the middle of a table, a fence or a word, and another
message goes on from there. Its blocks begin with the `Rest` of the first one: the open end, and
whether that is inside of a fence or a table. So the first blocks of a continuation also show the
end of what it continues, as if both were one text, and the page hides that end where it stood.
Their `text` and positions are the continuation's own; a block that would have none of it is shown
with the next one.

When a limit is exceeded, or a library raises, the block is shown as plain text; a structure that
cannot be parsed in time counts as having no blocks, so the tail is cut at WINDOW_CHARS. Only then
may two processes cut the same text differently. No text is lost even so.
"""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from shared.body import Body, Delta, Meta
from shared.parts import is_text, traits
from web.page.tail import MarkdownTail, Piece, PlainTail

#: Code points that are taken from a body at a time.
SLICE_CHARS: Final = 2_000
#: Code points between two marks, at least: what is rendered again to reach a block between them.
MARK_CHARS: Final = 1 << 14


@dataclass(frozen=True, slots=True)
class Block:
    """A piece of a body and its HTML."""

    number: int
    part: int
    kind: str
    meta: Meta
    start: int
    text: str
    html: str
    #: it continues the block before it (a long list, a long fence): drawn without a gap
    joins: bool

    @property
    def end(self) -> int:
        """The position after it."""
        return self.start + len(self.text)


@dataclass(frozen=True, slots=True)
class Mark:
    """A position in a body from which its blocks can be made again."""

    #: the next block's number
    number: int
    part: int
    #: end of the last finished block, and end of the tail
    settled: int
    length: int
    #: the tail's state, without its text
    tail: PlainTail


@dataclass(frozen=True, slots=True)
class Rest:
    """The open end of an ended body, from which another one goes on."""

    #: where it begins; a continuation shows the text from here on again
    start: int
    #: its state, with its text
    tail: PlainTail
    #: what is shown before it in the same block
    above: Piece | None


class Blocks:
    """The blocks of a growing body; of its end only, if made from a `mark` in the same body.

    `continues`: what it continues, if that is known.
    """

    def __init__(self, mark: Mark | None = None, continues: Rest | None = None) -> None:
        self._finished: list[Block] = []
        #: number of finished blocks
        self.count = mark.number if mark else 0
        #: end of the last finished block, and of the text that was fed
        self.settled = mark.settled if mark else 0
        self.length = self.settled
        self.ended = False
        self._part = -1
        self._kind = ""
        self._meta: Meta = None
        self._tail = PlainTail("")
        #: what is continued, until the first text comes
        self._continues = continues
        #: how many of the tail's first code points are of the body that is continued, and the HTML
        #: of finished ones that are shown with the next block
        self._foreign = 0
        self._above: Piece | None = None
        #: the end from which a continuation goes on, once the body has ended with text
        self.rest: Rest | None = None
        self._mark = mark
        self.marks: list[Mark] = [mark or Mark(0, -1, 0, 0, self._tail)]

    def take(self) -> list[Block]:
        """The blocks that were finished since the last call."""
        taken, self._finished = self._finished, []
        return taken

    def feed(self, body: Body, until: int = sys.maxsize) -> Iterator[None]:
        """Take the body's new text, up to a position, in steps. Iterate to the end."""
        if self._mark is not None:
            self._resume(self._mark, body)
        while self.length < min(until, body.length):
            end = min(until, body.length, self.length + SLICE_CHARS)
            for delta in body.since(self.length, end):
                yield from self._take_delta(delta)

    def end(self) -> Iterator[None]:
        """Finish the tail: the body will not grow any more. In steps, as `feed`."""
        if is_text(self._kind):
            tail = self._tail.copy(self._tail.text)
            self.rest = Rest(self.settled, tail, self._above)
        yield from self._finish(self._tail.end())
        self.ended = True

    def open(self) -> Block | None:
        """The tail as it may be shown for now; None if there is none."""
        text = self._tail.text[self._foreign :]
        if not text:
            return None
        return self._shown(text, Piece(len(text), self._tail.open_html(), self._tail.joins))

    def _resume(self, mark: Mark, body: Body) -> None:
        self._mark = None
        if mark.part < 0:
            return
        part = body.parts[mark.part]
        if any(is_text(one.kind) for one in body.parts[: mark.part + 1]):
            self._continues = None
        self._part, self._kind, self._meta = mark.part, part.kind, part.meta
        self._tail = mark.tail.copy(part.between(mark.settled, mark.length))
        self.length = mark.length

    def _take_delta(self, delta: Delta) -> Iterator[None]:
        if delta.part != self._part:
            yield from self._finish(self._tail.end())
            self._part, self._kind, self._meta = delta.part, delta.kind, delta.meta
            self._tail = MarkdownTail("") if traits(delta.kind).markdown else PlainTail("")
            if self._continues is not None and is_text(delta.kind):
                self._go_on(self._continues)
        self.length = delta.end
        yield from self._finish(self._tail.grow(delta.text))
        if self.settled - self.marks[-1].settled >= MARK_CHARS and not self._foreign:
            tail = self._tail.copy("")
            self.marks.append(Mark(self.count, self._part, self.settled, self.length, tail))
        yield

    def _finish(self, pieces: Iterable[Piece | None]) -> Iterator[None]:
        for piece in pieces:
            if piece is not None:
                text = self._tail.take(piece.length)[self._foreign :]
                self._foreign = max(0, self._foreign - piece.length)
                block = self._shown(text, piece)
                if text:
                    self._finished.append(block)
                    self._above = None
                    self.settled += len(text)
                    self.count += 1
                else:
                    self._above = Piece(0, block.html, block.joins)
            yield

    def _go_on(self, rest: Rest) -> None:
        self._continues = None
        self._tail = rest.tail.copy(rest.tail.text)
        self._foreign = len(rest.tail.text)
        self._above = rest.above

    def _shown(self, text: str, piece: Piece) -> Block:
        html, joins = piece.html, piece.joins
        if self._above is not None:
            html, joins = self._above.html + html, self._above.joins
        return Block(
            self.count, self._part, self._kind, self._meta, self.settled, text, html, joins=joins
        )
