"""Markdown that breaks off: how it is shown until the rest arrives. Pure.

Shown as it is, half of a construct would look like something else and change a moment later: `**bo`
would show its stars, `- ` might become a list or a rule. So characters that mean nothing yet are
held back, and what is half-way is closed. This is for looks only: finished blocks are rendered from
the text as it is.
"""

import re
from typing import Final

from web.page.cpu_limit import with_fallback
from web.page.structure import complete_end

#: Seconds of CPU time for completing a line.
COMPLETE_SECONDS: Final = 0.005

#: A line of punctuation only: what it will become is not known yet.
_UNDECIDED: Final = re.compile(r"[-*+=_#>|~`:$\\.)\[\]!\s]*|\s*\d{1,9}[.)]?\s*")
#: A link whose address is being written.
_HALF_LINK: Final = re.compile(r"!?\[([^\[\]]*)\]\([^()\s]*\Z")
_CODE_OR_MATH: Final = re.compile(r"(`+)[^`]+?\1|\$[^$]+\$|\\\(.*?\\\)|\\.", re.DOTALL)
_TABLE_ROW: Final = re.compile(r" {0,3}\|")


def completed(text: str, *, in_table: bool = False) -> str:
    """The text without what is undecided at its end, and with its last line's constructs closed."""
    last = complete_end(text)
    if _UNDECIDED.fullmatch(text, last):
        text = text[:last]
    if not in_table:
        text = _without_half_table_head(text)
    begin = complete_end(text.rstrip("\r\n"))
    return with_fallback(
        COMPLETE_SECONDS, lambda: text[:begin] + _closed(text[begin:]), lambda: text
    )


def _without_half_table_head(text: str) -> str:
    """Hold a table back until the line below its head is complete."""
    lines = text.split("\n")
    above = next(
        (n for n, line in enumerate(reversed(lines[:-1])) if not _TABLE_ROW.match(line)), None
    )
    complete = len(lines) - 1 if above is None else above
    half = 1 if _TABLE_ROW.match(lines[-1]) else 0
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
    """Close emphasis; a star at the end is perhaps the first half of the closing sign."""
    half = sign[:-1]
    bare = line.removesuffix(half) if half else line
    return bare + sign
