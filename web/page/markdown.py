"""Markdown and code as HTML that is safe to show. Pure.

What a model writes is a stranger's text. Three fences, one behind the other: raw HTML is text,
a link goes to http, https or mailto and an image is only a link, and what comes out is cleaned
once more by nh3 against a list of what a message may hold. The page's policy is the fourth.

Two things that CommonMark has are left out, because a later line could change what was shown:
link references (`[text][1]` stays as it is written) and headings underlined with `---` or `===`.
Math stays legible: it is not set, but nothing in it is taken for Markdown.
"""

import re
import time
from collections.abc import Sequence
from functools import cache
from html import escape
from typing import Any, Final

import nh3
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_block import StateBlock, paragraph, table
from markdown_it.rules_core import StateCore
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict
from pygments import lex
from pygments.formatters import HtmlFormatter
from pygments.lexer import Lexer
from pygments.lexers import get_lexer_by_name
from pygments.token import STANDARD_TYPES

from web.page.cpu_limit import with_fallback

#: Code points of a line of code, and of a piece, that are worth colours: lexers are made of
#: regular expressions, and some of those take their time over what nobody would write by hand.
LINE_CHARS: Final = 1_000
PIECE_CHARS: Final = 10_000
#: Seconds of CPU time that a block may take (or the search for where blocks end), and that all code
#: in it may take for its colours, together: with what cannot be interrupted (nh3, JSON) and with a
#: slice of other work before it, one turn of the loop stays below 50 ms.
BLOCK_SECONDS: Final = 0.020
CODE_SECONDS: Final = 0.012
#: Code points of a block's HTML. nh3 cannot be interrupted; it takes 0.1 ms for a thousand.
HTML_CHARS: Final = 64 << 10
#: Quotes within quotes (a list and its items are two), and columns of a table: what is deeper is
#: a paragraph, what is wider is none. Each line is looked at once for each of them.
DEEPEST: Final = 12
COLUMNS: Final = 100
#: What may be coloured: widely used, well kept.
_LANGUAGES: Final = """
bash c c++ cpp c# cs csharp css cuda dart diff docker dockerfile elixir erlang fish go
golang graphql haskell hcl hs html http ini java javascript js json jsx julia kotlin lua
make makefile matlab mysql nginx nix objective-c ocaml perl php postgresql
powershell ps1 proto protobuf py python python3 r rb rs ruby rust scala scss sh shell
sql sqlite3 swift terraform tf toml ts tsx typescript vim vue xml yaml yml zig
zsh console pycon
"""
LANGUAGES: Final = frozenset(_LANGUAGES.split())

_SCHEMES = ("http://", "https://", "mailto:")
_INTERRUPTED = ["paragraph", "reference", "blockquote", "list"]
_WITH_DIRECTION = frozenset(
    {"paragraph_open", "heading_open", "list_item_open", "blockquote_open", "td_open", "th_open"}
)


def markdown_html(source: str) -> str:
    """Markdown as HTML that may be shown. What takes too long is shown as it is written."""

    def plain() -> str:
        return f"<p>{escape(source)}</p>"

    env = {_COLOURS: _Colours()}
    html = with_fallback(BLOCK_SECONDS, lambda: str(_markdown().render(source, env)), plain)
    return _clean(html if len(html) <= HTML_CHARS else plain())


def code_html(code: str, language: str) -> str:
    """Code, coloured if its language is known."""
    html = _code(code, language, _Colours())
    return _clean(html if len(html) <= HTML_CHARS else _code(code, language, None))


def block_tokens(source: str) -> list[Token]:
    """The block structure of a source, without what is inside; none if it takes too long."""
    return with_fallback(BLOCK_SECONDS, lambda: _parsed(source), list)


def _parsed(source: str) -> list[Token]:
    markdown, tokens = _markdown(), list[Token]()
    markdown.block.parse(source.replace("\r\n", "\n").replace("\r", "\n"), markdown, {}, tokens)
    return tokens


@cache
def _markdown() -> MarkdownIt:
    options: Any = {"html": False, "linkify": True, "typographer": False}
    made = MarkdownIt("js-default", options, renderer_cls=_Renderer)
    made.disable(["reference", "lheading", "html_block", "html_inline", "table"])
    # Last, because what its first line is must not hang on the second one.
    made.block.ruler.before("paragraph", "late_table", _table, {"alt": ["paragraph", "reference"]})
    made.block.ruler.before("code", "deep", _deep)
    made.block.ruler.before("fence", "math", _math_block, {"alt": _INTERRUPTED})
    made.inline.ruler.before("escape", "math", _math_inline)
    made.core.ruler.push("manners", _manners)
    made.validateLink = _is_allowed  # type: ignore[method-assign]  # its documented hook
    assert made.linkify is not None
    made.linkify.set({"fuzzy_link": False, "fuzzy_email": False, "fuzzy_ip": False})
    return made


def _deep(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    return state.level >= DEEPEST and paragraph(state, start, end, silent)


def _table(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    return _line(state, start).count("|") <= COLUMNS and table(state, start, end, silent)


def _is_allowed(url: str) -> bool:
    return url.strip().lower().startswith(_SCHEMES)


def _manners(state: StateCore) -> None:
    """The direction of each block is that of its text; columns are aligned by classes."""
    for token in state.tokens:
        if token.type in _WITH_DIRECTION:
            token.attrSet("dir", "auto")
        style = token.attrs.pop("style", None)
        if style is not None:
            token.attrSet("class", str(style).removeprefix("text-align:").strip())


class _Renderer(RendererHTML):
    """As markdown-it writes HTML, but for what is ours."""

    def table_open(self, *_: Any) -> str:
        return '<div class="table"><table>'

    def table_close(self, *_: Any) -> str:
        return "</table></div>"

    def fence(self, tokens: Sequence[Token], idx: int, _: OptionsDict, env: EnvType) -> str:
        return _code(tokens[idx].content, tokens[idx].info, env[_COLOURS])

    def code_block(self, tokens: Sequence[Token], idx: int, *_: Any) -> str:
        return _code(tokens[idx].content, "", None)

    def link_open(
        self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType
    ) -> str:
        tokens[idx].attrSet("target", "_blank")
        return self.renderToken(tokens, idx, options, env)

    def image(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        """Nothing is fetched before somebody wants it: an address can carry a secret away."""
        token = tokens[idx]
        alt = self.renderInlineAsText(token.children or [], options, env) or "?"
        where = escape(str(token.attrs.get("src", "")))
        return f'<a href="{where}" target="_blank">Image: {escape(alt)}</a>'

    def math_inline(self, tokens: Sequence[Token], idx: int, *_: Any) -> str:
        return f'<span class="math">{escape(tokens[idx].content)}</span>'

    def math_block(self, tokens: Sequence[Token], idx: int, *_: Any) -> str:
        return f'<div class="math">{escape(tokens[idx].content)}</div>\n'


# --- code ----------------------------------------------------------------------------------------


class _Colours:
    """Colours for the code of one block, as long as its allowance of CPU time lasts."""

    def __init__(self) -> None:
        self._left = CODE_SECONDS

    def html(self, code: str, by: Lexer) -> str:
        """Code with colours, or without once the allowance is used up."""
        if self._left <= 0:
            return escape(code)
        begun = time.thread_time()
        found = with_fallback(self._left, lambda: _drawn(code, by), lambda: escape(code))
        self._left -= time.thread_time() - begun
        return found


#: Where the renderer finds those of the block that it renders.
_COLOURS: Final = "colours"


def _code(code: str, info: str, colours: _Colours | None) -> str:
    words = info.split()
    language = re.sub(r"[^\w+#.-]", "", words[0])[:40].lower() if words else ""
    found = lexer(language) if language in LANGUAGES else None
    long = len(code) > PIECE_CHARS or any(len(line) > LINE_CHARS for line in code.split("\n"))
    inner = escape(code) if colours is None or found is None or long else colours.html(code, found)
    return f'<pre class="code" data-language="{escape(language)}"><code>{inner}</code></pre>\n'


def _drawn(code: str, by: Lexer) -> str:
    written: list[str] = []
    _FORMATTER.format(lex(code, by), _Pen(written))
    # Lexers want a newline at the end: some would look for ever for one.
    html = "".join(written)
    return html if code.endswith("\n") else html.removesuffix("\n")


class _Pen:
    """What a formatter writes to."""

    def __init__(self, written: list[str]) -> None:
        self.write = written.append


_FORMATTER: Final = HtmlFormatter(nowrap=True)


@cache
def lexer(language: str) -> Lexer:
    """That of one of LANGUAGES."""
    return get_lexer_by_name(language, stripnl=False)


def prepare() -> None:
    """Make everything that is made once: to load and compile all lexers takes about a second, in
    which no other greenlet runs. Called before a process serves."""
    _markdown().render("*a* https://a.example")
    for language in LANGUAGES:
        for _ in lex("a\n", lexer(language)):
            pass


# --- math ----------------------------------------------------------------------------------------

_CLOSERS = {"$$": "$$", "\\[": "\\]"}
_DOLLARS = re.compile(r"\$\$[^$`]+\$\$|\$(?![\s$])[^$`\n]*(?<![\s\\])\$(?![0-9])")
_BRACKETS = re.compile(r"\\\([^`]*?\\\)|\\\[[^`]*?\\\]")


def _math_inline(state: StateInline, silent: bool) -> bool:
    """Between dollars, or the brackets of LaTeX: as it is written."""
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


def _math_block(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """From a line that begins with `$$` or `\\[` to the one that closes it, or a blank one.

    An unclosed one is still math: whether it is must not hang on lines that come later.
    """
    if state.is_code_block(start):
        return False
    line = _line(state, start)
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
        closed = closer in _line(state, after)
        after += 1
    token = state.push("math_block", "div", 0)
    token.content = state.getLines(start, after, state.blkIndent, False).strip()
    token.map = [start, after]
    state.line = after
    return True


def _line(state: StateBlock, number: int) -> str:
    return state.src[state.bMarks[number] + state.tShift[number] : state.eMarks[number]]


# --- the last fence ------------------------------------------------------------------------------

_ALIGNED = {"left", "center", "right"}
_BLOCKS = ("p", "li", "blockquote", *(f"h{level}" for level in range(1, 7)))
_PLAIN = ("ul", "hr", "table", "thead", "tbody", "tr", "strong", "em", "s", "br", "code")
_CLEANER: Final = nh3.Cleaner(
    tags={*_BLOCKS, *_PLAIN, "ol", "th", "td", "a", "pre", "div", "span"},
    clean_content_tags=set(),
    attributes={
        **{tag: {"dir"} for tag in (*_BLOCKS, "th", "td")},
        "a": {"href"},
        "ol": {"start"},
        "pre": {"data-language"},
    },
    tag_attribute_values={"a": {"target": {"_blank"}}},
    allowed_classes={
        "th": _ALIGNED,
        "td": _ALIGNED,
        "div": {"math", "table"},
        "pre": {"code"},
        "span": {"math", *filter(None, STANDARD_TYPES.values())},
    },
    url_schemes={"http", "https", "mailto"},
    url_relative="deny",
    link_rel="noopener nofollow noreferrer",
)


def _clean(html: str) -> str:
    return _CLEANER.clean(html)
