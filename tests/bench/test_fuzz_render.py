"""The render fuzzer: half a minute of it, a fault that it must find, and texts that it found."""

from html import escape
from unittest.mock import patch

import pytest
from pygments.lexer import Lexer

from bench.fuzz import render
from bench.fuzz.render import Fuzzer
from bench.fuzz.render_texts import Grammar
from web.page import highlighting, markdown
from web.page.cpu_limit import with_fallback

#: Seconds of fuzzing in each run of the tests.
SECONDS = 30.0


@pytest.fixture(scope="module")
def fuzzer() -> Fuzzer:
    markdown.prepare()
    return Fuzzer(seed=14)


def highlighted_with_own_limit(_: object, code: str, lexer: Lexer) -> str:
    """The fault: each piece of code has a limit of its own, however many there are in a block."""
    return with_fallback(0.02, lambda: highlighting.highlighted(code, lexer), lambda: escape(code))


def in_one_piece(_: object, text: str) -> list[str]:
    """The text uncut: with the fault, each rendering of it takes seconds."""
    return [text]


@pytest.mark.alone
def test_half_a_minute_of_fuzzing_finds_nothing() -> None:
    fuzzer, fault = render.run(SECONDS, seed=14)

    assert fault is None
    assert fuzzer.tried > 5


def test_fuzzing_finds_a_limit_that_is_given_to_each_fence_anew() -> None:
    with (
        patch.object(markdown, "BLOCK_SECONDS", 60.0),
        patch.object(highlighting.Highlighter, "html", highlighted_with_own_limit),
        patch.object(Grammar, "cuts", in_one_piece),
        patch.multiple(render, MAX_TURN=0.2, FRESH=1.0, RETRIES=1),
    ):
        _, fault = render.run(10 * SECONDS, seed=3)  # it ends when the fault is found

    assert fault is not None
    assert fault.what.startswith("a turn of")


#: Answers that held the loop before limits counted what is inside of them.
EXPENSIVE = {
    "quoted scala": ('> ```scala\n> "' + "\\" * 34 + "\n> ```\n") * 140,
    "scala in lists": ('- ```scala\n  "' + "\\" * 40 + "\n  ```\n") * 140,
    "fish in quotes in lists": ('> - ```fish\n>   """' + "\\" * 44 + "\n>   ```\n") * 100,
    "scala one after the other": ('```scala\n"' + "\\" * 60 + "\n```\n\n") * 60,
    "half-open brackets": "[" * 20_000,
    "emphasis": "*a **b " * 4_000,
    "backticks": "".join("`" * number + "a" for number in range(1, 200)),
    "links": "[a](" * 5_000,
    "addresses": "http://a.b/(" * 2_000,
    "entities": "&amp" * 8_000,
    "quotes in lists": "> - " * 3_000 + "\n" + "> - a\n" * 2_000,
    "a table": "|a" * 99 + "|\n" + "|-" * 99 + "|\n" + ("|*b*" * 99 + "|\n") * 40,
    "dense code": "```js\n" + "1+[2]*(3)\n" * 3_000,
    "tiny blocks": "a\n\n" * 6_000,
    "blank lines": "\n" * 30_000,
    "math": "$$" * 6_000 + "\\[" * 6_000,
    "long formulas": ("$" + "\\hat{\\frac{a}{b}}" * 110 + "$ ") * 12,
    "short formulas": "$x_1^2$ " * 4_000,
    "deep formulas": ("$" + "{" * 900 + "x" + "}" * 900 + "$ ") * 12,
    "commands in a row": ("\\(" + "\\hat" * 490 + "x\\) ") * 12,
    "an open formula": "$$\n" + "\\frac{a}{b} + " * 140,
    "tables in formulas": ("$$\n\\begin{matrix}" + "&" * 1_900 + "\\end{matrix}\n$$\n") * 12,
    "definitions": "$\\def\\a{\\a\\a}\\a$ " * 800,
    "tags": "<b>" * 6_000 + "</b>" * 6_000,
    "half tags": "<b><i></b></i>" * 2_000,
    "footnotes": "[^1]: [^2]\n" * 4_000 + "[^" * 6_000,
    "tasks": "- [ ] [x] a\n" * 4_000,
    "callouts": "> [!NOTE]\n> > [!TIP]\n" * 2_000,
}


@pytest.mark.parametrize("name", EXPENSIVE)
def test_no_answer_holds_the_loop(fuzzer: Fuzzer, name: str) -> None:
    judged = fuzzer.judge(EXPENSIVE[name])

    assert judged.fault is None
