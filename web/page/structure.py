"""Where the top-level blocks of a piece of Markdown begin, and which lines are complete. Pure."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from web.page.markdown import block_tokens

LINE_END: Final = re.compile("\r\n|\r|\n")
_INDENT: Final = re.compile(" {0,3}")
_BLANK_LINE: Final = re.compile(r"(?:\A|\n|\r(?!\n))[ \t]*(?:\r\n|\r|\n)\Z")


@dataclass(frozen=True, slots=True)
class FenceOpener:
    """The first line of a fence."""

    #: matches the line that closes the fence
    closer: re.Pattern[str]
    indent: int
    language: str


@dataclass(frozen=True, slots=True)
class TopBlock:
    """A top-level block in a view. All numbers are positions in the view."""

    start: int
    #: the second line
    body: int
    #: the items of a list
    items: tuple[int, ...] = ()
    fence: FenceOpener | None = None
    #: the first row of a table
    rows: int = 0
    #: a table whose head lies before the view, and that has rows in it
    continues_table: bool = False
    #: the end, if nothing can be added to the block (a heading, a rule)
    end: int | None = None


def top_blocks(head: str, view: str) -> list[TopBlock]:
    """The top-level blocks of `view`, parsed as if `head` (a table's head) stood before it.

    Empty if parsing takes too long.
    """
    source = head + view
    lines = [0, *(found.end() for found in LINE_END.finditer(source)), len(source)]
    in_view = [max(start - len(head), 0) for start in lines]
    found: list[TopBlock] = []
    tokens = block_tokens(source)
    for index, token in enumerate(tokens):
        if token.level or token.nesting < 0 or token.map is None:
            continue
        first, last = token.map
        fence: FenceOpener | None = None
        items: tuple[int, ...] = ()
        rows = 0
        if token.type == "fence":
            fence = _fence_opener(source[lines[first] : lines[first + 1]], token)
        elif token.type in ("bullet_list_open", "ordered_list_open"):
            items = tuple(_items(tokens, index, in_view))
        elif token.type == "table_open":
            rows = in_view[min(first + 2, len(in_view) - 1)]
        continues = bool(head) and first == 0 and lines[min(last, len(lines) - 1)] > len(head)
        end = in_view[last] if token.type in ("heading_open", "hr") else None
        found.append(
            TopBlock(in_view[first], in_view[first + 1], items, fence, rows, continues, end)
        )
    return found


def _items(tokens: list[Any], index: int, in_view: list[int]) -> Iterator[int]:
    for token in tokens[index + 1 :]:
        if token.level == 0:
            return
        if token.level == 1 and token.type == "list_item_open" and token.map is not None:
            yield in_view[token.map[0]]


def _fence_opener(line: str, token: Any) -> FenceOpener:
    mark = re.escape(token.markup[0])
    closer = re.compile(f" {{0,3}}{mark}{{{len(token.markup)},}}[ \t]*")
    indent = _INDENT.match(line)
    return FenceOpener(closer, indent.end() if indent else 0, token.info)


def complete_end(text: str) -> int:
    """Where the last complete line ends; a CR at the very end may be half of a CR LF."""
    end = max(text.rfind("\n"), text.rfind("\r", 0, len(text) - 1)) + 1
    return end if end else 0


def begins_block(view: str, lines: int) -> bool:
    """Whether the incomplete line at `lines` begins a block, however it goes on.

    That is sure for a line that begins with a letter after a blank line.
    """
    return view[lines : lines + 1].isalpha() and bool(_BLANK_LINE.search(view, 0, lines))
