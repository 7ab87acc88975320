"""The open end of a part: which pieces of it are finished, and how it looks meanwhile. Pure.

A tail holds the text after the last finished block. `grow` and `end` yield the pieces that are
finished, and None wherever the caller may let others run; the caller takes each piece (`take`)
before it asks for the next one.

    PlainTail      a part that is no Markdown (a tool's arguments): pieces of PIECE_CHARS
    MarkdownTail   outside of a fence its complete lines are parsed: every block but the last is
                   finished. Inside of a fence it goes line by line, and the fence is finished in
                   pieces of PIECE_CHARS, and at its end

All decisions are made from complete lines and from positions in the tail's own text, never from
how the text arrived: see `blocks`. The last line of a part counts as complete at its end.
"""

import re
from collections.abc import Generator, Iterator
from copy import copy
from dataclasses import dataclass, replace
from typing import Final

from web.page import highlighting
from web.page.markdown import code_html, markdown_html
from web.page.structure import (
    LINE_END,
    FenceOpener,
    TopBlock,
    begins_block,
    complete_end,
    top_blocks,
)
from web.page.unfinished import completed

#: Code points from which on a list or a fence is finished in pieces; and what is parsed at most.
PIECE_CHARS: Final = 2_000
WINDOW_CHARS: Final = 4_000
#: Code points that are parsed first. Usually a block ends within them, and what follows a fence
#: should not be parsed before the fence has ended.
FIRST_VIEW_CHARS: Final = 500
#: Code points of a table's head that are repeated above each piece of the table.
TABLE_HEAD_CHARS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Piece:
    """The beginning of a tail that is finished: its length in code points, its HTML."""

    length: int
    html: str
    #: it continues the piece before it
    joins: bool


#: A piece, or None where others may run.
Steps = Iterator[Piece | None]


class PlainTail:
    """The open end of a part that is no Markdown."""

    def __init__(self, text: str) -> None:
        self.text = text
        #: the next piece continues the one before it
        self.joins = False

    def copy(self, text: str) -> "PlainTail":
        """The same state with another text. Not while `grow` or `end` is being iterated."""
        made = copy(self)
        made.text = text
        return made

    def take(self, length: int) -> str:
        """Remove a finished piece's text and return it."""
        taken, self.text = self.text[:length], self.text[length:]
        return taken

    def grow(self, text: str) -> Steps:
        """Append text; the pieces that this finishes."""
        self.text += text
        while len(self.text) > PIECE_CHARS:
            yield self._piece(PIECE_CHARS)

    def end(self) -> Steps:
        """Finish everything: no more text will come."""
        if self.text:
            yield self._piece(len(self.text))

    def open_html(self) -> str:
        """The HTML of what is not finished."""
        return code_html(self.text, "")

    def _piece(self, length: int) -> Piece:
        joins, self.joins = self.joins, True
        return Piece(length, code_html(self.text[:length], ""), joins)


@dataclass(slots=True)
class _Fence:
    """The fence in which a tail is. Positions are in the tail's text."""

    opener: FenceOpener
    #: end of the opening line and the blank lines above it, while they belong to the open piece
    head: int
    #: end of what was scanned for the closing line
    scanned: int
    #: a line begins at `scanned` (very long lines are scanned in parts)
    at_line_start: bool = True


class MarkdownTail(PlainTail):
    """The open end of a part that is Markdown."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._fence: _Fence | None = None
        #: the head of the table that the tail continues
        self._table_head = ""
        #: what was parsed without finishing anything: the end of its complete lines, and whether
        #: the line after them begins a block. The same is not parsed again
        self._parsed = 0, False

    def copy(self, text: str) -> "MarkdownTail":
        made = copy(self)
        made.text = text
        made._fence = replace(self._fence) if self._fence is not None else None
        made._parsed = 0, False
        return made

    def take(self, length: int) -> str:
        if self._fence is not None:
            self._fence.scanned -= length
        self._parsed = 0, False
        return super().take(length)

    def grow(self, text: str) -> Steps:
        self.text += text
        return self._pieces(whole=False)

    def end(self) -> Steps:
        yield from self._pieces(whole=True)
        if self.text:
            yield from self._finish(len(self.text))

    def open_html(self) -> str:
        if self._fence is None:
            return self._html(completed(self.text, in_table=bool(self._table_head)))
        text = self.text
        last = complete_end(text)
        if last >= self._fence.head and set(text[last:].strip()) <= {"`", "~"}:
            text = text[:last]  # the last line may become the closing one
        return self._html(text)

    def _pieces(self, *, whole: bool) -> Steps:
        """Everything that is finished now; `whole`: no more text will come."""
        while self.text:
            before = len(self.text), self._fence is None
            if self._fence is not None:
                yield from self._fence_pieces(self._fence, whole=whole)
            else:
                yield from self._text_pieces(whole=whole)
            if before == (len(self.text), self._fence is None):
                return

    def _finish(self, length: int, *, continues: bool = False) -> Steps:
        """Yield the beginning of the text as a piece; `continues`: the next piece joins it."""
        joins, self.joins = self.joins, continues
        yield Piece(length, self._html(self.text[:length]), joins)

    def _html(self, text: str) -> str:
        fence = self._fence
        if fence is None:
            return markdown_html(self._table_head + text)
        opener = fence.opener
        return code_html(_without_indent(text[fence.head :], opener.indent), opener.language)

    # --- outside of a fence

    def _text_pieces(self, *, whole: bool) -> Steps:
        """Parse a view of the text, a short one first, until something is finished.

        What a shorter view finishes does not depend on the text after it, so the result is the
        same as that of the longest view.
        """
        full = len(self.text) >= WINDOW_CHARS
        view = self.text[:WINDOW_CHARS]
        for _ in highlighting.loading(view):
            yield None
        lines = len(view) if whole and not full else complete_end(view)
        begins = begins_block(view, lines)
        known, left = self._parsed[0], len(self.text)
        if (lines, begins) == self._parsed and not full and not whole:
            return
        size = FIRST_VIEW_CHARS
        while size < len(view):
            end = complete_end(view[:size])
            if end > known:
                yield from self._parsed_pieces(end, begins=begins_block(view, end))
                if self._fence is not None or len(self.text) < left:
                    return
            size *= 2
        last = yield from self._parsed_pieces(lines, begins=begins)
        if self._fence is not None or len(self.text) < left:
            return
        if full:
            yield from self._forced_piece(last, lines)
        else:
            self._parsed = lines, begins

    def _parsed_pieces(
        self, lines: int, *, begins: bool
    ) -> Generator[Piece | None, None, TopBlock | None]:
        """What complete lines finish; returns the last block in them.

        `begins`: the line after them begins another block.
        """
        view = self.text[:lines]
        blocks = top_blocks(self._table_head, view)
        yield None
        if self._table_head and not (blocks and blocks[0].continues_table):
            self._table_head, self.joins = "", False
            blocks = top_blocks("", view)
            yield None
        finished = 0
        for index, block in enumerate(blocks, 1):
            if block.fence is not None:
                self._enter_fence(block.fence, block.body - finished)
                break
            cut = _cut(block)
            if cut is not None:
                yield from self._finish(cut - finished, continues=True)
                break
            end = block.end
            if end is None and index < len(blocks):
                end = blocks[index].start
            if end is None and begins:
                end = lines
            if end is not None:
                yield from self._finish(end - finished)
                self._table_head = ""
                finished = end
        return blocks[-1] if blocks else None

    def _forced_piece(self, block: TopBlock | None, lines: int) -> Steps:
        """Finish a piece of a block that fills the window: up to a line, a word, or anywhere."""
        cut = lines
        if cut <= WINDOW_CHARS // 2:
            blank = max(self.text.rfind(sign, WINDOW_CHARS // 2, WINDOW_CHARS) for sign in " \n\t")
            cut = blank + 1 if blank > 0 else WINDOW_CHARS
        rows = block.rows if block is not None else 0
        own_head = self.text[:rows] if 0 < rows <= TABLE_HEAD_CHARS and rows < cut else ""
        table_head = self._table_head or own_head
        yield from self._finish(cut, continues=True)
        self._table_head = table_head

    # --- inside of a fence

    def _enter_fence(self, opener: FenceOpener, body: int) -> None:
        """Go on line by line. Blank lines above the opening line belong to the fence."""
        self._fence = _Fence(opener, body, body)
        self._table_head, self._parsed = "", (0, False)

    def _fence_pieces(self, fence: _Fence, *, whole: bool) -> Steps:
        while True:
            end = self._line_end(fence.scanned, whole=whole)
            if end is None:
                return
            line = self.text[fence.scanned : end]
            if fence.at_line_start and fence.opener.closer.fullmatch(line.rstrip("\r\n")):
                yield Piece(end, self._html(self.text[: fence.scanned]), self.joins)
                self._fence, self.joins = None, False
                return
            if fence.scanned - fence.head >= PIECE_CHARS:
                yield from self._finish(fence.scanned, continues=True)
                fence.head = 0
                return
            fence.at_line_start, fence.scanned = line[-1] in "\r\n", end
            if not fence.at_line_start and end < len(self.text):
                yield from self._finish(end, continues=True)
                fence.head = 0
                return

    def _line_end(self, start: int, *, whole: bool) -> int | None:
        """Where the line at `start` ends; None if that is not known yet. Long lines are cut."""
        found = LINE_END.search(self.text, start, start + WINDOW_CHARS)
        if found is not None and (found.group() != "\r" or found.end() < len(self.text) or whole):
            return found.end()
        if len(self.text) - start >= WINDOW_CHARS:
            return start + WINDOW_CHARS
        return len(self.text) if whole and start < len(self.text) else None


def _cut(block: TopBlock) -> int | None:
    """Where a long list is cut: at the first item that is far enough from its beginning."""
    return next((item for item in block.items if item - block.start >= PIECE_CHARS), None)


def _without_indent(code: str, indent: int) -> str:
    """Code without the fence's own indentation."""
    return re.sub(f"^ {{1,{indent}}}", "", code, flags=re.MULTILINE) if indent else code
