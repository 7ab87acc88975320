"""Markdown that breaks off: how it is shown until the rest arrives. Pure.

Shown as it is, half of a construct would look like something else and change a moment later: `**bo`
would show its stars, `- ` might become a list or a rule. So characters that mean nothing yet are
held back, and what is half-way is closed. This is for looks only: finished blocks are rendered from
the text as it is.
"""

import re
from typing import Final

from web.page import latex
from web.page.cpu_limit import with_fallback
from web.page.extended_rules import CALLOUTS, TAGS
from web.page.structure import complete_end

#: Seconds of CPU time for completing a line.
COMPLETE_SECONDS: Final = 0.005

#: A line of punctuation only: what it will become is not known yet.
_UNDECIDED: Final = re.compile(r"[-*+=_#>|~`:$\\.)\[\]!\s]*|\s*\d{1,9}[.)]?\s*")
#: A link whose address is being written.
_HALF_LINK: Final = re.compile(r"!?\[([^\[\]]*)\]\([^()\s]*\Z")
_CODE_OR_MATH: Final = re.compile(r"(`+)[^`]+?\1|\$[^$]+\$|\\\(.*?\\\)|\\.", re.DOTALL)
#: The first half of a box, a callout, a footnote's label, or a tag.
_HALF: Final = re.compile(
    r"(?:(?<=[-*+.)] )|(?<=[-*+.)]  ))\[(?:[ xX]\]?)?\s*\Z"
    rf"|(?<=>)[ ]?\[!?[A-Za-z]{{0,{max(map(len, CALLOUTS))}}}\Z"
    r"|\[(?:\^\w{0,20})?\Z"
    r"|</?[a-z]{0,6}\Z"
)
#: Characters of the longest, with what stands before it.
_HALF_MAX: Final = 64
_TAG: Final = re.compile(rf"<(/?)({'|'.join(TAGS)})>")
#: Math that is being written: displayed, or in a line, where a dollar may be money.
_DISPLAYED: Final = re.compile(r"(?:^|\n)[ >]*(\$\$|\\\[)((?:(?!\$\$|\\\]|`).)*)\Z", re.DOTALL)
_IN_LINE: Final = re.compile(
    r"(\$)(?=[^\s\d$])(?=[^$\n]*(?:[\^_=]|\\[a-zA-Z]))([^$\n`]*)\Z|(\\\()([^`]*)\Z"
)
_CLOSERS: Final = {"$$": "$$", "\\[": "\\]", "$": "$", "\\(": "\\)"}
_CODE_OR_FORMULA: Final = re.compile(r"(`+)[^`]+?\1|\$[^$\n]+\$|\\\(.*?\\\)", re.DOTALL)
_TABLE_ROW: Final = re.compile(r" {0,3}\|")


def completed(text: str, *, in_table: bool = False) -> str:
    """The text without what is undecided at its end, and with its last line's constructs closed."""
    last = complete_end(text)
    if _UNDECIDED.fullmatch(text, last):
        text = text[:last]
    if not in_table:
        text = _without_half_table_head(text)
    return with_fallback(COMPLETE_SECONDS, lambda: _completed(text), lambda: text)


def _completed(text: str) -> str:
    found = _DISPLAYED.search(text) if "$$" in text or "\\[" in text else None
    if found is not None and text.count("$$", 0, found.start(1)) % 2 == 0:
        return _with_formula(text, found.start(1), *found.groups())
    begin = complete_end(text.rstrip("\r\n"))
    return text[:begin] + _closed(text[begin:])


def _with_formula(text: str, start: int, opener: str, formula: str) -> str:
    """The text with as much of its last formula as can be shown, or without that formula."""
    formula = formula.removesuffix("$") if opener == "$$" else formula.removesuffix("\\")
    shown = latex.repaired(formula, display=opener in ("$$", "\\["))
    return text[:start] + f"{opener}{shown}{_CLOSERS[opener]}" if shown else text[:start]


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
    plain, found = line, None
    if any(sign in line for sign in "`$\\"):  # most lines have none: searching them costs more
        plain = _CODE_OR_FORMULA.sub(lambda found: " " * len(found.group()), line)
        found = _IN_LINE.search(plain)
    if found is not None:
        opener = found.group(1) or found.group(3)
        start = found.start(1) if found.group(1) else found.start(3)
        return _with_formula(line, start, opener, line[start + len(opener) :])
    if "`" not in plain:
        line = line[:-_HALF_MAX] + _HALF.sub("", line[-_HALF_MAX:])
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
    return line + _closing_tags(plain) + blanks


def _closing_tags(plain: str) -> str:
    opened: list[str] = []
    if "<" not in plain:
        return ""
    for slash, name in _TAG.findall(plain):
        if not slash:
            opened.append(name)
        elif opened and opened[-1] == name:
            opened.pop()
    return "".join(f"</{name}>" for name in reversed(opened))


def _close(line: str, sign: str) -> str:
    """Close emphasis; a star at the end is perhaps the first half of the closing sign."""
    half = sign[:-1]
    bare = line.removesuffix(half) if half else line
    return bare + sign
