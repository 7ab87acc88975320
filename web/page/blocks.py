"""A body as blocks of HTML, while it grows. Pure: no I/O, no clock.

A block is finished when what follows cannot change it any more. Finished ones are rendered once;
what is behind them, the open tail, is all that is parsed again when text comes, and it is kept
short: a list, a fence, a table or a paragraph that goes on for long is finished in pieces.

    text    parsed by lines that are complete; every block but the last is finished, because in
            Markdown a block ends where a line begins another one, whatever comes later
    fence   a line at a time: it is finished in pieces of PIECE code points, and at its end
    plain   what is no Markdown (a tool's arguments): pieces of PIECE code points

Where a piece ends depends on the text alone, never on how it came: a text that is fed a
character at a time gives the same blocks as one that is fed whole. So blocks need not be kept:
from a `Mark` on they can be made again.

Work comes in steps, so that whoever drives it can let others run between them (`feed` and `end`
are iterators). A step has at most one look at the structure or one rendering, each of which has a
limit of CPU time (see `haste`), and a moment's work besides.
"""

import re
import sys
from collections.abc import Generator, Iterable, Iterator
from copy import copy
from dataclasses import dataclass, replace
from typing import Any, Final

from shared.body import Body, Delta, Meta
from web.page.cpu_limit import with_fallback
from web.page.markdown import block_tokens, code_html, markdown_html

#: Code points after which a list or a fence may be finished in pieces, and what is parsed at most.
PIECE: Final = 2_000
WINDOW: Final = 4_000
#: Code points that are looked at first: usually a block ends in them, and what is behind a fence
#: need not be parsed before it.
LOOK: Final = 500
#: Code points that are fed at a time: each is a moment's work.
SLICE: Final = 2_000
#: Code points between two marks, at least: what is rendered again to reach a block between them.
MARK_CHARS: Final = 1 << 14
#: Code points of a table's head that are worth repeating above each of its pieces.
HEAD: Final = 1_000

#: Seconds of CPU time that mending a line may take.
MEND_SECONDS: Final = 0.005

#: Kinds of parts that are Markdown.
PROSE: Final = frozenset({"text", "reasoning"})


@dataclass(frozen=True, slots=True)
class Block:
    """A finished piece of a body and what it looks like; all of them in order are the body."""

    number: int
    part: int
    kind: str
    meta: Meta
    start: int
    text: str
    html: str
    #: it goes on where the one before it ends: drawn without a gap
    joins: bool

    @property
    def end(self) -> int:
        """The position behind it."""
        return self.start + len(self.text)


@dataclass(frozen=True, slots=True)
class _Piece:
    """What a tail gives away: so many code points, their HTML."""

    length: int
    html: str
    joins: bool


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a body from which its blocks can be made again."""

    #: of the block behind it
    number: int
    part: int
    #: position behind the finished blocks, and behind the tail
    settled: int
    length: int
    #: without its text
    tail: "_Tail"


class Blocks:
    """The blocks of a body that grows. `mark`: from there on only; `feed` wants the same body."""

    def __init__(self, mark: Mark | None = None) -> None:
        self._finished: list[Block] = []
        #: blocks that were finished
        self.count = mark.number if mark else 0
        #: code points that are finished, and that were fed
        self.settled = mark.settled if mark else 0
        self.length = self.settled
        self.ended = False
        self._part = -1
        self._kind = ""
        self._meta: Meta = None
        self._tail = _Tail("")
        self._mark = mark
        self.marks: list[Mark] = [mark or Mark(0, -1, 0, 0, self._tail)]

    def take(self) -> list[Block]:
        """The blocks that were finished and not taken yet."""
        taken, self._finished = self._finished, []
        return taken

    def feed(self, body: Body, until: int = sys.maxsize) -> Iterator[None]:
        """Take what the body has more, up to a position, in steps; must be gone through to the
        end."""
        if self._mark is not None:
            self._resume(self._mark, body)
        while self.length < min(until, body.length):
            end = min(until, body.length, self.length + SLICE)
            for delta in body.since(self.length, end):
                yield from self._take(delta)

    def end(self) -> Iterator[None]:
        """The body will not grow any more; as `feed`."""
        yield from self._finish(self._tail.end())
        self.ended = True

    def _resume(self, mark: Mark, body: Body) -> None:
        self._mark = None
        if mark.part < 0:
            return
        part = body.parts[mark.part]
        self._part, self._kind, self._meta = mark.part, part.kind, part.meta
        self._tail = mark.tail.copy(part.between(mark.settled, mark.length))
        self.length = mark.length

    def open(self) -> Block | None:
        """What is not finished, as it may be shown for now; its text may go on."""
        text = self._tail.text
        return self._block(text, self._tail.shown(), joins=self._tail.joins) if text else None

    def _take(self, delta: Delta) -> Iterator[None]:
        if delta.part != self._part:
            yield from self._finish(self._tail.end())
            self._part, self._kind, self._meta = delta.part, delta.kind, delta.meta
            self._tail = _Prose("") if delta.kind in PROSE else _Tail("")
        self.length = delta.end
        yield from self._finish(self._tail.grow(delta.text))
        if self.settled - self.marks[-1].settled >= MARK_CHARS:
            tail = self._tail.copy("")
            self.marks.append(Mark(self.count, self._part, self.settled, self.length, tail))
        yield

    def _finish(self, pieces: "Iterable[_Piece | None]") -> Iterator[None]:
        for piece in pieces:
            if piece is not None:
                text = self._tail.take(piece.length)
                self._finished.append(self._block(text, piece.html, joins=piece.joins))
                self.settled += piece.length
                self.count += 1
            yield

    def _block(self, text: str, html: str, *, joins: bool) -> Block:
        return Block(
            self.count, self._part, self._kind, self._meta, self.settled, text, html, joins=joins
        )


#: What a tail's work gives: a piece, or None where others may run.
_Steps = Iterator[_Piece | None]


class _Tail:
    """The open end of a part that is no Markdown."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.joins = False

    def copy(self, text: str) -> "_Tail":
        """The same with another text. Not while it gives pieces away."""
        made = copy(self)
        made.text = text
        return made

    def take(self, length: int) -> str:
        """The text of a piece that was given away."""
        taken, self.text = self.text[:length], self.text[length:]
        return taken

    def grow(self, text: str) -> _Steps:
        """Go on; what is finished by that."""
        self.text += text
        while len(self.text) > PIECE:
            yield self._piece(PIECE)

    def end(self) -> _Steps:
        """Nothing more comes; what is left."""
        if self.text:
            yield self._piece(len(self.text))

    def shown(self) -> str:
        """What there is, for now."""
        return code_html(self.text, "")

    def _piece(self, length: int) -> _Piece:
        joins, self.joins = self.joins, True
        return _Piece(length, code_html(self.text[:length], ""), joins)


@dataclass(slots=True)
class _Fence:
    """A fence at the top level: what closes it, and how far it was read."""

    closer: re.Pattern[str]
    indent: int
    language: str
    #: code points of its first line, while that belongs to the open piece
    head: int
    #: code points of the tail that were looked at
    seen: int
    #: whether what is behind `seen` is a line's beginning
    fresh: bool = True


_LINE_END = re.compile("\r\n|\r|\n")
_INDENT = re.compile(" {0,3}")


class _Prose(_Tail):
    """The open end of a part that is Markdown."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._fence: _Fence | None = None
        #: the head of the table that the tail goes on with
        self._head = ""
        #: code points of complete lines that were parsed and gave nothing away, and whether the
        #: one behind them begins a block
        self._parsed = 0, False

    def copy(self, text: str) -> "_Prose":
        made = copy(self)
        made.text = text
        made._fence = replace(self._fence) if self._fence is not None else None
        made._parsed = 0, False
        return made

    def take(self, length: int) -> str:
        if self._fence is not None:
            self._fence.seen -= length
        self._parsed = 0, False
        return super().take(length)

    def grow(self, text: str) -> _Steps:
        self.text += text
        return self._pieces(whole=False)

    def end(self) -> _Steps:
        yield from self._pieces(whole=True)
        if self.text:
            yield from self._piece_of(len(self.text))

    def _pieces(self, *, whole: bool) -> _Steps:
        """What is finished now. Each piece is taken before the next one is asked for."""
        while self.text:
            before = len(self.text), self._fence is None
            if self._fence is not None:
                yield from self._fence_pieces(self._fence, whole=whole)
            else:
                yield from self._text_pieces(whole=whole)
            if before == (len(self.text), self._fence is None):
                return

    def _piece_of(self, length: int, *, more: bool = False) -> _Steps:
        """Give the beginning away; `more`: what follows joins it."""
        joins, self.joins = self.joins, more
        yield _Piece(length, self._html(self.text[:length]), joins)

    def _html(self, text: str) -> str:
        fence = self._fence
        if fence is None:
            return markdown_html(self._head + text)
        return code_html(_without_indent(text[fence.head :], fence), fence.language)

    # --- text

    def _text_pieces(self, *, whole: bool) -> _Steps:
        full = len(self.text) >= WINDOW
        view = self.text[:WINDOW]
        lines = len(view) if whole and not full else _complete(view)
        begins = _begins(view, lines)
        known, left = self._parsed[0], len(self.text)
        if (lines, begins) == self._parsed and not full and not whole:
            return
        look = LOOK
        while look < len(view):  # what a shorter look finds does not hang on what is behind it
            part = _complete(view[:look])
            if part > known:
                yield from self._found_pieces(part, _begins(view, part))
                if self._fence is not None or len(self.text) < left:
                    return
            look *= 2
        last = yield from self._found_pieces(lines, begins)
        if self._fence is not None or len(self.text) < left:
            return
        if full:
            yield from self._forced(last, lines)
        else:
            self._parsed = lines, begins

    def _found_pieces(
        self, lines: int, begins: bool
    ) -> Generator[_Piece | None, None, "_Found | None"]:
        """What is finished in complete lines; the last block there."""
        view = self.text[:lines]
        found = _structure(self._head, view)
        yield None
        if self._head and not (found and found[0].goes_on):  # the table is over
            self._head, self.joins = "", False
            found = _structure("", view)
            yield None
        gone = 0
        for index, block in enumerate(found, 1):
            if block.fence is not None:
                self._enter(block.fence, block.body - gone)
                break
            cut = block.cut()
            if cut is not None:
                yield from self._piece_of(cut - gone, more=True)
                break
            end = block.end
            if end is None and index < len(found):
                end = found[index].start
            if end is None and begins:
                end = lines
            if end is not None:
                yield from self._piece_of(end - gone)
                self._head = ""
                gone = end
        return found[-1] if found else None

    def _forced(self, block: "_Found | None", lines: int) -> _Steps:
        """One block fills the window: end a piece of it at a line, a word, or anywhere."""
        cut = lines
        if cut <= WINDOW // 2:
            blank = max(self.text.rfind(sign, WINDOW // 2, WINDOW) for sign in " \n\t")
            cut = blank + 1 if blank > 0 else WINDOW
        head = block.head if block is not None else 0
        again = self._head or (self.text[:head] if 0 < head <= HEAD and head < cut else "")
        yield from self._piece_of(cut, more=True)
        self._head = again

    # --- fences

    def _enter(self, opener: "_Opener", body: int) -> None:
        """From here on, line by line; blank lines above belong to it."""
        self._fence = _Fence(opener.closer, opener.indent, opener.language, body, body)
        self._head, self._parsed = "", (0, False)

    def _fence_pieces(self, fence: _Fence, *, whole: bool) -> _Steps:
        while True:
            end = self._line_end(fence.seen, whole=whole)
            if end is None:
                return
            line = self.text[fence.seen : end]
            if fence.fresh and fence.closer.fullmatch(line.rstrip("\r\n")):
                yield _Piece(end, self._html(self.text[: fence.seen]), self.joins)
                self._fence, self.joins = None, False
                return
            if fence.seen - fence.head >= PIECE:
                yield from self._piece_of(fence.seen, more=True)
                fence.head = 0
                return
            fence.fresh, fence.seen = line[-1] in "\r\n", end
            if not fence.fresh and end < len(self.text):
                yield from self._piece_of(end, more=True)
                fence.head = 0
                return

    def _line_end(self, start: int, *, whole: bool) -> int | None:
        """Where the line that begins at `start` ends, if that is known; very long ones are cut."""
        found = _LINE_END.search(self.text, start, start + WINDOW)
        if found is not None and (found.group() != "\r" or found.end() < len(self.text) or whole):
            return found.end()
        if len(self.text) - start >= WINDOW:
            return start + WINDOW
        return len(self.text) if whole and start < len(self.text) else None

    # --- what is shown of an open end

    def shown(self) -> str:
        if self._fence is not None:
            text = self.text
            last = _complete(text)
            if last >= self._fence.head and set(text[last:].strip()) <= {"`", "~"}:
                text = text[:last]  # perhaps the end of the fence
            return self._html(text)
        return self._html(mended(self.text, in_table=bool(self._head)))


@dataclass(frozen=True, slots=True)
class _Opener:
    closer: re.Pattern[str]
    indent: int
    language: str


@dataclass(frozen=True, slots=True)
class _Found:
    """A block in a view: where it and what is inside it begin."""

    start: int
    body: int
    items: tuple[int, ...] = ()
    fence: _Opener | None = None
    #: where a table's rows begin
    head: int = 0
    #: it began above the view, in a table's head, and has rows in it
    goes_on: bool = False
    #: where it ends, if nothing can be added to it
    end: int | None = None

    def cut(self) -> int | None:
        """Where a long list may be parted: at the first item far enough from its beginning."""
        return next((item for item in self.items if item - self.start >= PIECE), None)


def _structure(head: str, view: str) -> list[_Found]:
    """The top level of a view that goes on behind `head`."""
    source = head + view
    starts = [0, *(found.end() for found in _LINE_END.finditer(source)), len(source)]
    places = [max(start - len(head), 0) for start in starts]
    found: list[_Found] = []
    tokens = block_tokens(source)
    for index, token in enumerate(tokens):
        if token.level or token.nesting < 0 or token.map is None:
            continue
        first, last = token.map
        body, rows = places[first + 1], 0
        fence: _Opener | None = None
        items: tuple[int, ...] = ()
        if token.type == "fence":
            fence = _opener(source[starts[first] : starts[first + 1]], token)
        elif token.type in ("bullet_list_open", "ordered_list_open"):
            items = tuple(_items(tokens, index, places))
        elif token.type == "table_open":
            rows = places[min(first + 2, len(places) - 1)]
        goes_on = bool(head) and first == 0 and starts[min(last, len(starts) - 1)] > len(head)
        end = places[last] if token.type in ("heading_open", "hr") else None
        found.append(_Found(places[first], body, items, fence, rows, goes_on, end))
    return found


_BLANK_LINE = re.compile(r"(?:\A|\n|\r(?!\n))[ \t]*(?:\r\n|\r|\n)\Z")


def _begins(view: str, lines: int) -> bool:
    """Whether the line behind the complete ones begins another block, however it goes on: a
    letter at its beginning, behind a blank line."""
    return view[lines : lines + 1].isalpha() and bool(_BLANK_LINE.search(view, 0, lines))


def _items(tokens: list[Any], index: int, places: list[int]) -> Iterator[int]:
    for token in tokens[index + 1 :]:
        if token.level == 0:
            return
        if token.level == 1 and token.type == "list_item_open" and token.map is not None:
            yield places[token.map[0]]


def _opener(line: str, token: Any) -> _Opener:
    marks = re.escape(token.markup[0])
    closer = re.compile(f" {{0,3}}{marks}{{{len(token.markup)},}}[ \t]*")
    indent = _INDENT.match(line)
    return _Opener(closer, indent.end() if indent else 0, token.info)


def _without_indent(code: str, fence: _Fence) -> str:
    if not fence.indent:
        return code
    return re.sub(f"^ {{1,{fence.indent}}}", "", code, flags=re.MULTILINE)


def _complete(text: str) -> int:
    """Where the last complete line ends. A CR at the end may be half of a line's end."""
    end = max(text.rfind("\n"), text.rfind("\r", 0, len(text) - 1)) + 1
    return end if end else 0


# --- mending -------------------------------------------------------------------------------------

#: A line of signs alone: what it will be is not known yet.
_SIGNS = re.compile(r"[-*+=_#>|~`:$\\.)\[\]!\s]*|\s*\d{1,9}[.)]?\s*")
#: A link whose address is being written.
_HALF_LINK = re.compile(r"!?\[([^\[\]]*)\]\([^()\s]*\Z")
_CODE_OR_MATH = re.compile(r"(`+)[^`]+?\1|\$[^$]+\$|\\\(.*?\\\)|\\.", re.DOTALL)
_TABLE = re.compile(r" {0,3}\|")


def mended(text: str, *, in_table: bool = False) -> str:
    """Text whose end is not there yet, so that what is shown does not change its looks.

    Signs that mean nothing yet are held back, what is half-way is closed.
    """
    last = _complete(text)
    if _SIGNS.fullmatch(text, last):
        text = text[:last]
    if not in_table:
        text = _without_half_head(text)
    begin = _complete(text.rstrip("\r\n"))
    return with_fallback(MEND_SECONDS, lambda: text[:begin] + _closed(text[begin:]), lambda: text)


def _without_half_head(text: str) -> str:
    """A table shows as one when the line below its head is there."""
    lines = text.split("\n")
    run = next((n for n, line in enumerate(reversed(lines[:-1])) if not _TABLE.match(line)), None)
    complete = len(lines) - 1 if run is None else run
    half = 1 if _TABLE.match(lines[-1]) else 0
    if complete >= 2 or not complete + half:
        return text
    return "\n".join([*lines[: len(lines) - 1 - complete], ""])


def _closed(line: str) -> str:
    """A line with its code, emphasis and links closed."""
    end = len(line.rstrip())
    line, blanks = line[:end], line[end:]
    line = _HALF_LINK.sub(r"\1", line)
    plain = _CODE_OR_MATH.sub("", line)
    ticks = re.search(r"`+", plain)
    if ticks is not None:
        opened = ticks.group()
        closed = line + opened if not line.endswith(opened) else line[: -len(opened)]
        return closed + blanks
    for sign in ("**", "~~", "__"):
        if plain.count(sign) % 2:
            line = line.removesuffix(sign) if line.endswith(sign) else _close(line, sign)
        plain = plain.replace(sign, "")
    if re.search(r"(?:^|[\s(])\*(?=[^\s*])[^*]*\Z", plain) and not line.endswith("*"):
        line = _close(line, "*")
    return line + blanks


def _close(line: str, sign: str) -> str:
    """Before a star that is perhaps half of the sign."""
    half = sign[:-1]
    bare = line.removesuffix(half) if half else line
    return bare + sign
