"""LaTeX as MathML, by math-core. Pure.

A formula comes from a model, so it may be anything. What bounds it:

* math-core is compiled and cannot be interrupted: it gets FORMULA_CHARS at most (3 ms at worst),
  and no formula that nests deeper than MAX_DEPTH, because it recurses on the C stack;
* definitions are refused, and expansions counted: nothing grows by itself;
* an element may not be larger than MAX_LENGTH, nor reach over what stands beside it.

What is refused, and what math-core does not know, is shown as it was written: `mathml` is None.
Styles, which the page's policy forbids, become classes of `message.css`; colours are left out, as
they fit one of light and dark at most. `sanitizer` has the last word on elements and attributes.
"""

import re
from functools import cache
from typing import Final

from math_core import LatexError, LatexToMathML

#: Code points of a formula; what nests in it, and expansions of math-core's own commands.
FORMULA_CHARS: Final = 2_000
MAX_DEPTH: Final = 50
MAX_EXPANSIONS: Final = 100
#: Lengths in em or rem that an element may have: up to a line's, and back by half a letter.
MAX_LENGTH: Final = 40.0
MIN_LENGTH: Final = -0.5
#: Ends of an unfinished formula that are tried before it is shown as it was written.
TRIES: Final = 8

_DEFINITION: Final = re.compile(
    r"\\(?:[a-z]*def|let|futurelet|(?:re)?newcommand|providecommand|[A-Z]\w*Command|(?:re)?newenvironment)"
    r"(?![A-Za-z])"
)
_NESTING: Final = re.compile(r"\\(left|right|begin|end)(?![A-Za-z])|\\.|([{}])", re.DOTALL)
_STEPS: Final = {"left": 1, "begin": 1, "{": 1, "right": -1, "end": -1, "}": -1}
#: What math-core does not know, or numbers, in words that it knows.
_IN_OTHER_WORDS: Final = (
    (re.compile(r"\\(begin|end)\{(?:align|split|eqnarray)\*?\}"), r"\\\1{aligned}"),
    (re.compile(r"\\(begin|end)\{(?:gather|multline)\*?\}"), r"\\\1{gathered}"),
    (re.compile(r"\\(begin|end)\{equation\*?\}"), ""),
    (re.compile(r"\\(begin|end)\{smallmatrix\}"), r"\\\1{matrix}"),
    (re.compile(r"\\substack\{([^{}]*)\}"), r"\\begin{matrix}\1\\end{matrix}"),
    (re.compile(r"\\tag\*?\{([^{}]*)\}"), r"\\qquad\\text{(\1)}"),
    (re.compile(r"\\(?:label\{[^{}]*\}|notag|nonumber)(?![A-Za-z])"), ""),
    (re.compile(r"\\sqrt\s*\[([^\[\]]*)\]"), r"{}^{\1}\!\\sqrt"),
    (re.compile(r"\\mbox(?![A-Za-z])"), r"\\text"),
)
_LENGTH: Final = re.compile(
    r"(?:width|height|depth|voffset|[lr]space|m..size|thickness|margin-\w+|padding-\w+)"
    r'(?:="|:)\s*(-?[0-9.]+)'
)
#: Without a font for math browsers draw roots without their sign, which is another formula. So the
#: sign is written, and the line above is a border.
_ROOT: Final = '<mrow><mo form="prefix" stretchy="true">√</mo><mrow class="radicand">'
_STYLE: Final = re.compile(r' style="([^"]*)"')
#: Classes by what a style says.
_CLASSES: Final = (
    ("text-align: right", "to-right"),
    ("text-align: left", "to-left"),
    ("padding-left:1em", "gap"),
    ("border-left", "line-left"),
    ("border-right", "line-right"),
    ("border-top", "line-top"),
    ("border-bottom", "line-bottom"),
    ("margin-left:-", "tight"),
)
#: The names of those classes.
CLASSES: Final = frozenset(name for _, name in _CLASSES)
#: Where an unfinished formula may be cut: before a command, a sign, a group.
_EDGE: Final = re.compile(
    r"\\(?:begin|end)\s*\{[A-Za-z*]*(?:\}(?:\{[^{}]*\}?)?)?|\\[A-Za-z]+\s*|\\.|[^\\]", re.DOTALL
)
#: What an unfinished formula has open.
_OPENED: Final = re.compile(
    r"\\(begin|end)\{([A-Za-z]+\*?)\}|\\(left|right)(?![A-Za-z])|\\.|([{}])", re.DOTALL
)


def mathml(latex: str, *, display: bool) -> str | None:
    """A `<math>` element, not sanitised yet; None if the formula cannot be shown as one."""
    if len(latex) > FORMULA_CHARS or _DEFINITION.search(latex) or _depth(latex) > MAX_DEPTH:
        return None
    for pattern, replacement in _IN_OTHER_WORDS:
        latex = pattern.sub(replacement, latex)
    try:
        made = _converter().convert_with_local_state(latex, displaystyle=display)
    except LatexError:
        return None
    if any(not MIN_LENGTH <= _number(found) <= MAX_LENGTH for found in _LENGTH.findall(made)):
        return None
    made = made.replace("<msqrt>", _ROOT).replace("</msqrt>", "</mrow></mrow>")
    return _STYLE.sub(_class, made)


def repaired(latex: str, *, display: bool) -> str:
    """As much of an unfinished formula as can be shown, with what is open in it closed.

    Empty if nothing of it can be shown yet.
    """
    if len(latex) > FORMULA_CHARS:
        return ""
    edges = [found.start() for found in _EDGE.finditer(latex)]
    for end in [len(latex), *reversed(edges[-TRIES:])]:
        closed = _closed(latex[:end].rstrip())
        if closed and mathml(closed, display=display) is not None:
            return closed
    return ""


@cache
def _converter() -> LatexToMathML:
    return LatexToMathML(
        fancy_error=False, max_expansions=MAX_EXPANSIONS, allow_unreliable_rendering=True
    )


def _depth(latex: str) -> int:
    """How deep groups, environments and fences nest."""
    depth = deepest = 0
    for command, brace in _NESTING.findall(latex):
        depth += _STEPS.get(command or brace, 0)
        deepest = max(deepest, depth)
    return deepest


def _number(found: str) -> float:
    try:
        return float(found)
    except ValueError:
        return MAX_LENGTH + 1


def _class(style: re.Match[str]) -> str:
    names = " ".join(name for what, name in _CLASSES if what in style.group(1))
    return f' class="{names}"' if names else ""


def _closed(latex: str) -> str:
    """A formula with its groups, environments and fences closed."""
    closers: list[str] = []
    for edge, environment, fence, brace in _OPENED.findall(latex):
        if edge == "begin":
            closers.append(f"\\end{{{environment}}}")
        elif fence == "left":
            closers.append("\\right.")
        elif brace == "{":
            closers.append("}")
        elif closers and (edge or fence or brace):
            closers.pop()
    return latex + "".join(reversed(closers))
