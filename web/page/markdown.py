"""Markdown and code as HTML that is safe to show. Pure, but for a limit of CPU time.

A model's text is untrusted. Three things stand between it and the page, before the page's
Content-Security-Policy:

* raw HTML is shown as text, but for a few tags without attributes (`extended_rules`),
* a link goes to http, https or mailto, and an image is only a link,
* nh3 removes what is not on the list of what a message may contain (`sanitizer`).

No HTML leaves this module but through `sanitizer.clean`.

Two things of CommonMark are left out, because a later line could change what was already shown:
link references (`[text][1]` stays as it is written) and headings underlined with `---` or `===`.
Math becomes MathML (`math_rules`, `latex`).

Everything that a text can make expensive is bounded: CPU time by `cpu_limit`, which shows the text
plain instead; nesting, columns of a table and length of the HTML by the numbers below.
"""

import re
import unicodedata
from collections.abc import Sequence
from functools import cache
from html import escape
from typing import Any, Final

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_block import StateBlock, paragraph, table
from markdown_it.rules_core import StateCore
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict

from web.page import extended_rules, highlighting, latex, math_rules
from web.page.cpu_limit import with_fallback
from web.page.highlighting import Highlighter, pre_html
from web.page.sanitizer import clean

#: Seconds of CPU time for rendering a block, or for finding where blocks end.
BLOCK_SECONDS: Final = 0.020
#: Code points of a block's HTML: nh3 cannot be interrupted.
HTML_CHARS: Final = 64 << 10
#: Code points of the MathML in a block; formulas beyond are shown as they were written.
MATH_CHARS: Final = 40 << 10
#: Letters and signs from which on a formula in a line gets a frame in which it can be scrolled.
WIDE_FORMULA: Final = 24
#: Nested quotes and lists (a list and its items are two levels), and columns of a table. Deeper
#: text is a paragraph, a wider table is none. Each line costs time for each of them.
MAX_DEPTH: Final = 12
MAX_COLUMNS: Final = 100

_SCHEMES = ("http://", "https://", "mailto:")
_WITH_DIRECTION = frozenset(
    {"paragraph_open", "heading_open", "blockquote_open", "td_open", "th_open"}
)
#: What holds blocks. `dir=auto` does not look into what has a direction of its own, so these get
#: that of their first word: markers, bars and columns are on the side where their text begins.
_HOLDERS: Final = frozenset(
    {"bullet_list_open", "ordered_list_open", "blockquote_open", "table_open"}
)
#: Where the renderer finds the block's Highlighter.
_HIGHLIGHTER: Final = "highlighter"
#: Where it finds the code points of MathML that are left.
_MATH_LEFT: Final = "math_left"
_TAGS: Final = re.compile("<[^>]*>")
#: A text that uses all parts of the parser.
_EVERYTHING: Final = """# *a* **b** ~~c~~ `d`

[a](https://a.example/?b "c") ![a](//a.example) https://a.example <https://a.example> $a^2$ \\(b\\)

> [!NOTE]
> a<br>[^1]

| a |
|---|
| b |

- [ ] a
1. b

```text
a
```

$$
\\frac{a}{b}
$$

[^1]: a &amp; &#97; See https://exam
"""


def markdown_html(source: str) -> str:
    """Markdown as safe HTML; as plain text if that takes too long or gets too long."""

    def plain() -> str:
        return f"<p>{escape(source)}</p>"

    env = {_HIGHLIGHTER: Highlighter(), _MATH_LEFT: MATH_CHARS}
    html = with_fallback(BLOCK_SECONDS, lambda: str(_parser().render(source, env)), plain)
    return clean(html if len(html) <= HTML_CHARS else plain())


def code_html(code: str, language: str) -> str:
    """Code as safe HTML, coloured if its language is known."""
    html = pre_html(code, language, Highlighter())
    return clean(html if len(html) <= HTML_CHARS else pre_html(code, language, None))


def block_tokens(source: str) -> list[Token]:
    """The block structure of a source, without inline content; empty if it takes too long."""
    return with_fallback(BLOCK_SECONDS, lambda: _parse_blocks(source), list)


def prepare() -> None:
    """Build the parser and most lexers. Called before a process serves: it takes 0.4 s.

    Without a limit: what a limit interrupts is not built, and the first text of a person, which had
    to build it, would be shown plain.
    """
    highlighting.prepare()
    # Last, because linkify-it finds its expressions in the cache of `re`, and the lexers fill that.
    env = {_HIGHLIGHTER: Highlighter(), _MATH_LEFT: MATH_CHARS}
    clean(str(_parser().render(_EVERYTHING, env)))


def _parse_blocks(source: str) -> list[Token]:
    parser, tokens = _parser(), list[Token]()
    parser.block.parse(source.replace("\r\n", "\n").replace("\r", "\n"), parser, {}, tokens)
    return tokens


@cache
def _parser() -> MarkdownIt:
    options: Any = {"html": False, "linkify": True, "typographer": False}
    made = MarkdownIt("js-default", options, renderer_cls=_Renderer)
    made.disable(["reference", "lheading", "html_block", "html_inline", "table"])
    # Tables come last: their first line must not be read as something else by its second line.
    made.block.ruler.before("paragraph", "late_table", _table, {"alt": ["paragraph", "reference"]})
    made.block.ruler.before("code", "max_depth", _too_deep)
    math_rules.install(made)
    extended_rules.install(made)
    made.core.ruler.push("attributes", _set_attributes)
    made.validateLink = _is_allowed  # type: ignore[method-assign]  # its documented hook
    assert made.linkify is not None
    made.linkify.set({"fuzzy_link": False, "fuzzy_email": False, "fuzzy_ip": False})
    return made


def _too_deep(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    return state.level >= MAX_DEPTH and paragraph(state, start, end, silent)


def _table(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    columns = math_rules.line_at(state, start).count("|")
    return columns <= MAX_COLUMNS and table(state, start, end, silent)


def _is_allowed(url: str) -> bool:
    return url.strip().lower().startswith(_SCHEMES)


def _set_attributes(state: StateCore) -> None:
    """Give each block the direction of its text; align columns by classes, not by styles."""
    undecided: list[Token] = []
    for token in state.tokens:
        if token.type == "inline" and undecided:
            direction = _direction(token.content)
            for holder in undecided if direction else ():
                if direction == "rtl":
                    holder.attrSet("dir", "rtl")
            undecided = [] if direction else undecided
        if token.type in _WITH_DIRECTION:
            token.attrSet("dir", "auto")
        style = token.attrs.pop("style", None)
        if style is not None:
            token.attrSet("class", str(style).removeprefix("text-align:").strip())
        if token.type in _HOLDERS:
            undecided.append(token)


def _direction(text: str) -> str:
    """The direction of the first letter that has one; "" if none has."""
    for letter in text:
        kind = unicodedata.bidirectional(letter)
        if kind in ("L", "R", "AL"):
            return "ltr" if kind == "L" else "rtl"
    return ""


class _Renderer(RendererHTML):
    """markdown-it's renderer with our tables, code, links, images and math."""

    def table_open(self, tokens: Sequence[Token], idx: int, *_: Any) -> str:
        direction = ' dir="rtl"' if tokens[idx].attrs.get("dir") else ""
        return f'<div class="table"><table{direction}>'

    def table_close(self, *_: Any) -> str:
        return "</table></div>"

    def fence(self, tokens: Sequence[Token], idx: int, _: OptionsDict, env: EnvType) -> str:
        return pre_html(tokens[idx].content, tokens[idx].info, env[_HIGHLIGHTER])

    def code_block(self, tokens: Sequence[Token], idx: int, *_: Any) -> str:
        return pre_html(tokens[idx].content, "", None)

    def link_open(
        self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType
    ) -> str:
        tokens[idx].attrSet("target", "_blank")
        return self.renderToken(tokens, idx, options, env)

    def image(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        """An image becomes a link: an address that is fetched unasked can carry a secret away."""
        token = tokens[idx]
        alt = self.renderInlineAsText(token.children or [], options, env) or "?"
        source = escape(str(token.attrs.get("src", "")))
        return f'<a href="{source}" target="_blank">Image: {escape(alt)}</a>'

    def math_inline(self, tokens: Sequence[Token], idx: int, _: OptionsDict, env: EnvType) -> str:
        return _math(tokens[idx].content, env, "span")

    def math_block(self, tokens: Sequence[Token], idx: int, _: OptionsDict, env: EnvType) -> str:
        return f"{_math(tokens[idx].content, env, 'div')}\n"

    def harmless_tag(self, tokens: Sequence[Token], idx: int, *_: Any) -> str:
        return f"<{tokens[idx].info}{tokens[idx].tag}>"

    def task(self, tokens: Sequence[Token], idx: int, *_: Any) -> str:
        return extended_rules.task_html(tokens[idx])

    def footnote_reference(self, tokens: Sequence[Token], idx: int, *_: Any) -> str:
        return extended_rules.reference_html(tokens[idx])

    def footnote_open(self, tokens: Sequence[Token], idx: int, *_: Any) -> str:
        return extended_rules.footnote_html(tokens[idx])


def _math(source: str, env: EnvType, tag: str) -> str:
    """Math as MathML, with its source for those who copy it; or as it was written."""
    found = math_rules.formula(source)
    made = found and latex.mathml(found[0], display=found[1])
    if not found or not made or len(made) > env[_MATH_LEFT]:
        return f'<{tag} class="math">{escape(source)}</{tag}>'
    env[_MATH_LEFT] -= len(made)
    if found[1]:
        classes = "math shown"
    else:
        classes = "math wide" if len(_TAGS.sub("", made)) > WIDE_FORMULA else "math"
    return f'<{tag} class="{classes}" data-tex="{escape(source)}">{made}</{tag}>'
