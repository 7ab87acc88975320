"""Code as HTML with Pygments' colours. Pure, but for a limit of CPU time.

Pygments' lexers are regular expressions; some take exponential time on some texts. So only widely
used languages are offered, only short lines and short pieces are coloured, and all code of one
block shares one allowance of CPU time. Code beyond any of these limits is shown without colours.
"""

import re
import time
from functools import cache
from html import escape
from typing import Final

from pygments import lex
from pygments.formatters import HtmlFormatter
from pygments.lexer import Lexer
from pygments.lexers import get_lexer_by_name

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
    words = info.split()
    language = re.sub(r"[^\w+#.-]", "", words[0])[:40].lower() if words else ""
    lexer = lexer_for(language) if language in LANGUAGES else None
    long = len(code) > CODE_CHARS or any(len(line) > LINE_CHARS for line in code.split("\n"))
    if highlighter is None or lexer is None or long:
        inner = escape(code)
    else:
        inner = highlighter.html(code, lexer)
    return f'<pre class="code" data-language="{escape(language)}"><code>{inner}</code></pre>\n'


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
    """Load and compile all lexers: about a second in which no other greenlet runs."""
    for language in LANGUAGES:
        for _ in lex("a\n", lexer_for(language)):
            pass
