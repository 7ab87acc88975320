"""Rules for markdown-it that find math, in which nothing is read as Markdown. Pure.

What is found is shown as MathML, or as it was written where that is not possible (`latex`).
"""

import re

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.rules_inline import StateInline

_CLOSERS = {"$$": "$$", "\\[": "\\]"}
_DOLLARS = re.compile(r"\$\$[^$`]+\$\$|\$(?![\s$])[^$`\n]*(?<![\s\\])\$(?![0-9])")
#: The signs around math, and whether it stands on lines of its own.
_SIGNS = (("$$", "$$", True), ("\\[", "\\]", True), ("\\(", "\\)", False), ("$", "$", False))
_AFTER = re.compile(r"[.,;:!?]?")
_BRACKETS = re.compile(r"\\\([^`]*?\\\)|\\\[[^`]*?\\\]")
#: Blocks that a line of math or a footnote ends.
INTERRUPTED = ["paragraph", "reference", "blockquote", "list"]


def install(markdown: MarkdownIt) -> None:
    """Add the rules; tokens are `math_inline` and `math_block`."""
    markdown.block.ruler.before("fence", "math", _block, {"alt": INTERRUPTED})
    markdown.inline.ruler.before("escape", "math", _inline)


def formula(content: str) -> tuple[str, bool] | None:
    """The LaTeX of a token, and whether it is displayed; None if the math is not closed.

    A mark of punctuation after it, which is usual at its end, becomes a part of it.
    """
    opener, closer, display = next(one for one in _SIGNS if content.startswith(one[0]))
    end = content.rfind(closer)
    if end < len(opener) or not _AFTER.fullmatch(after := content[end + len(closer) :].strip()):
        return None
    return content[len(opener) : end].strip() + after, display


def line_at(state: StateBlock, number: int) -> str:
    """A line without its indentation."""
    return state.src[state.bMarks[number] + state.tShift[number] : state.eMarks[number]]


def _inline(state: StateInline, silent: bool) -> bool:
    """Math between dollars or LaTeX's brackets."""
    first = state.src[state.pos]
    if first not in "$\\":
        return False
    found = (_DOLLARS if first == "$" else _BRACKETS).match(state.src, state.pos, state.posMax)
    if found is None:
        return False
    if not silent:
        state.push("math_inline", "span", 0).content = found.group()
    state.pos = found.end()
    return True


def _block(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Math from a line that begins with `$$` or `\\[` to the closing line, or a blank one.

    Math that is never closed is math, too: later lines must not decide what a block is.
    """
    if state.is_code_block(start):
        return False
    line = line_at(state, start)
    closer = _CLOSERS.get(line[:2])
    if closer is None or (closer in line[2:] and not line.rstrip().endswith(closer)):
        return False
    if silent:
        return True
    after = start + 1
    closed = closer in line[2:]
    while not closed and after < end and not state.isEmpty(after):
        if state.sCount[after] < state.blkIndent:
            break
        closed = closer in line_at(state, after)
        after += 1
    token = state.push("math_block", "div", 0)
    token.content = state.getLines(start, after, state.blkIndent, False).strip()
    token.map = [start, after]
    state.line = after
    return True
