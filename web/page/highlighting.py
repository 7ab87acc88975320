"""Code as HTML with Pygments' colours. Pure, but for a limit of CPU time.

Pygments' lexers are regular expressions; some take exponential time on some texts. So only widely
used languages are offered, only short lines and short pieces are coloured, and all code of one
block shares one allowance of CPU time. Code beyond any of these limits is shown without colours.
"""

import re
import time
from collections.abc import Iterator
from functools import cache
from html import escape
from typing import Any, Final

from pygments import lex
from pygments.formatters import HtmlFormatter
from pygments.lexer import Lexer
from pygments.lexers import find_lexer_class_by_name, get_lexer_by_name
from pygments.util import Future

from web.page.cpu_limit import with_fallback

#: Code points of a line of code, and of a piece, that are coloured.
LINE_CHARS: Final = 1_000
CODE_CHARS: Final = 10_000
#: Seconds of CPU time for the colours of all code in one block. Together with what cannot be
#: interrupted (nh3, JSON) and a slice of other work before it, one turn of the loop stays below
#: 50 ms.
CODE_SECONDS: Final = 0.012
_LANGUAGES: Final = """
bash c c++ cpp c# cs csharp css cuda dart diff docker dockerfile elixir erlang fish go
golang graphql haskell hcl hs html http ini java javascript js json jsx julia kotlin lua
make makefile matlab mysql nginx nix objective-c ocaml perl php postgresql
powershell ps1 proto protobuf py python python3 r rb rs ruby rust scala scss sh shell
sql sqlite3 swift terraform tf toml ts tsx typescript vim vue xml yaml yml zig
zsh console pycon
"""
#: Languages that are coloured.
LANGUAGES: Final = frozenset(_LANGUAGES.split())
_LATE: Final = """
elixir erlang haskell hs julia kotlin lua objective-c ocaml perl php postgresql
powershell ps1 r rb ruby scala scss swift vim
"""
#: Those whose lexers are loaded when they are first needed (`loading`): that of Scala takes 0.15 s.
#: Those that other lexers use, as HTML's does JavaScript's, are not among them.
LATE: Final = frozenset(_LATE.split())
#: The language of each fence in a text, and more that only looks so.
_NAMED: Final = re.compile(r"(?:```|~~~)[`~]*([^`\n]*)")

_FORMATTER: Final = HtmlFormatter(nowrap=True)


class Highlighter:
    """Colours the code of one block while its allowance of CPU time lasts."""

    def __init__(self) -> None:
        self._seconds_left = CODE_SECONDS

    def html(self, code: str, lexer: Lexer) -> str:
        """Code with colours, or without if the allowance is used up."""
        if self._seconds_left <= 0:
            return escape(code)
        begun = time.thread_time()
        found = with_fallback(
            self._seconds_left, lambda: highlighted(code, lexer), lambda: escape(code)
        )
        self._seconds_left -= time.thread_time() - begun
        return found


def pre_html(code: str, info: str, highlighter: Highlighter | None) -> str:
    """A `<pre>` for code; `info` is the rest of the fence's first line, which names the language.

    Not sanitised yet.
    """
    language = _language(info)
    lexer = lexer_for(language) if language in LANGUAGES else None
    long = len(code) > CODE_CHARS or any(len(line) > LINE_CHARS for line in code.split("\n"))
    if highlighter is None or lexer is None or long:
        inner = escape(code)
    else:
        inner = highlighter.html(code, lexer)
    return f'<pre class="code" data-language="{escape(language)}"><code>{inner}</code></pre>\n'


def _language(info: str) -> str:
    words = info.split()
    return re.sub(r"[^\w+#.-]", "", words[0])[:40].lower() if words else ""


def highlighted(code: str, lexer: Lexer) -> str:
    """Code with colours, however long that takes."""
    output = _Output()
    _FORMATTER.format(lex(code, lexer), output)
    # Lexers add a final newline where there is none: without one some of them would never end.
    html = "".join(output.written)
    return html if code.endswith("\n") else html.removesuffix("\n")


class _Output:
    """The part of a file that a formatter needs."""

    def __init__(self) -> None:
        self.written: list[str] = []
        self.write = self.written.append


@cache
def lexer_for(language: str) -> Lexer:
    """The lexer for one of LANGUAGES."""
    return get_lexer_by_name(language, stripnl=False)


def prepare() -> None:
    """Load the lexers that are not LATE: tenths of a second in which no other greenlet runs."""
    for language in LANGUAGES - LATE:
        for _ in lex("a\n", lexer_for(language)):
            pass


def loading(text: str) -> Iterator[None]:
    """Load the lexers of the languages that are named in a text, in steps: none if they are there.

    A step is one regular expression: Pygments compiles what it finds in the cache of `re`. Without
    this, a lexer is compiled where it is used, within its limit of CPU time.
    """
    if "```" not in text and "~~~" not in text:
        return
    for info in _NAMED.findall(text):
        language = _language(info)
        if language in LATE and language not in _loaded:
            lexer: Any = find_lexer_class_by_name(language)
            yield
            for rules in lexer.get_tokendefs().values():
                for rule in rules:
                    if isinstance(rule, tuple):
                        regex = rule[0].get() if isinstance(rule[0], Future) else rule[0]
                        re.compile(regex, lexer.flags)
                        yield
            lexer_for(language)
            _loaded.add(language)
            yield


_loaded: Final[set[str]] = set()
