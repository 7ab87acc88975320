"""Texts that parsers and lexers may take too long over, made by chance from a seed.

`Grammar` makes nested, repeated and half-open structures of Markdown, and changes texts that were
slow. `Snippets` searches each lexer for code that takes it more time than its length explains;
the grammar puts that code into fences, and those into quotes and lists.
"""

import random
import time
from collections.abc import Callable, Sequence
from itertools import pairwise, product
from typing import Final

from pygments import lex

from web.page import highlighting
from web.page.cpu_limit import with_fallback

#: Code points of a text: most have fewer than USUAL_CHARS.
USUAL_CHARS, MAX_CHARS = 6_000, 60_000
#: How many slow snippets are kept. How often a snippet's filler is repeated, one after the other,
#: to see how the time grows. Seconds from which on a snippet is worth growing, and is slow.
MAX_SNIPPETS: Final = 60
REPEATS: Final = (12, 24, 24, 32, 44, 60, 120)
SUSPICIOUS, SLOW = 0.0005, 0.02

# fmt: off
MARKS: Final = (
    "- ", "* ", "1. ", "2) ", "> ", "    ", "  ", "\t", "\n", "\n\n", "\r\n", "\r", "\\", " ",
    "|", "```", "~~~", "---", "|-|-|\n", "| a | b |\n", "# ", "#", "=", "-", "&amp;", "&",
    "&#x", "*", "**", "***", "_", "__", "`", "``", "~~", "~", "$", "$$", "\\[", "\\]", "\\(",
    "\\)", "<b>", "<", "</", "<!--", "[", "]", "[x](", "](", ")", "!", "![", "(", "[a]: /x\n",
    "[a][b]", "http://a.b", "http://", "https://a.b/(", "mailto:a@b.c", "www.a.b", "a@b.c",
    "javascript:", "text", "a", "aA", "foo\n", "é", "😀", "漢", "\u2028", "\xa0", "\u200b", "0",
    "1", ".", ":", '"', "'", "{", "}", ";", ",", "+", "%", "@", "^", "?", "/", "//", "/*", "*/",
    "--", "<<", ">>", "- [ ] ", "[x] ", "> [!NOTE]\n", "[!TIP]", "[^1]", "[^1]: ", "[^note]", "[^",
    "<sub>", "</sub>", "<b>", "</b>", "<br>", "</", "\\frac", "{a}", "{", "}", "^", "_{", "&=",
    "\\\\", "\\left(", "\\right)", "\\begin{aligned}", "\\end{aligned}", "\\sqrt[", "\\text{",
    "\\def\\a", "\\hspace{9em}", "$x^2$", "$$\n", "\n$$\n",
)
#: What formulas are made of.
MATH: Final = (
    "\\frac", "\\sqrt", "\\sqrt[", "]", "{", "}", "{a}", "^", "_", "^{", "_{", "'", "a", "0", "+",
    "=", "&", "\\\\", "\\left(", "\\right)", "\\left.", "\\middle|", "\\right|", "\\begin{aligned}",
    "\\end{aligned}", "\\begin{pmatrix}", "\\end{pmatrix}", "\\begin{cases}", "\\end{cases}",
    "\\begin{array}{c|c}", "\\end{array}", "\\hline", "\\text{", "\\mathbb{", "\\hat", "\\widehat",
    "\\overbrace", "\\underset", "\\sum", "\\limits", "\\int", "\\cancel", "\\boxed", "\\tag{1}",
    "\\substack{", "\\color{red}", "\\implies", "\\pmod", "\\operatorname*{", "\\hspace{1em}",
    "\\!", "\\bigl(", "\\def\\a{", "\\a", "#1", "%", "~", "\n", " ", "é", "漢", "😀", "\u2028",
    "<b>", '"', "\\",
)
SIGNS: Final = (
    "\\", '"', "'", "`", '"""', "'''", "/*", "*/", "//", "#", "--", "{", "}", "(", ")", "[",
    "]", "<", ">", "</", "/>", "<!--", "-->", "<?", "?>", "<%", "%>", "${", "#{", "{{", "}}",
    "@", "$", "a", "A", "_", "aA0", "0", "0x", "1e", "1.", "e+", " ", "\t", "\n", "\n\n",
    "\r\n", ";", ":", "::", ",", ".", "..", "=", "==", "=>", "->", "<-", "+", "-", "*", "/",
    "%", "&", "|", "^", "~", "!", "?", "\\\\", '\\"', "\\n", "\\u", "\\x", "é", "😀", "漢", "if ",
    "end\n", "begin ", "for ", "class ", "def ", "function ", "var ", "let ", "import ",
    "return ", "<<EOF\n", "EOF\n", "r#", 'r"', 'f"', 'b"', "%w(", "%q{", "q{", "qw(", "s/",
    "m/", "/a/", "<a b=", "<script>", "<style>", "select ", "$(", "template<", "operator",
    "#define ", "#if ", "@media ", ">>> ", "In [1]: ",
)
#: What a half-open piece of code begins with, and what it is filled with.
OPENERS: Final = (
    '"', "'", "`", '"""', "/*", "//", "#", "(", "[", "{", "<", "</", "<a ", "<!--", "<?", "<%",
    "${", "#{", "$", "@", "%w(", "%q{", "r#", "<<EOF\n", "/a", "s/", "0", "a", "_", "-", " ", "\n",
    "\\", "",
)
FILLERS: Final = (
    "\\", "\\\\", "a", "A", "_", "0", " ", "\t", "\n", '"', "'", "(", "[", "{", "<", ">", "/", "*",
    "-", ".", ",", ":", "=", "+", "#", "$", "@", "%", "&", "|", "!", "?", "a ", "a.", "a:", "a,",
    "a=", "0.",
)
# fmt: on
ESCAPES: Final = ("\\", "\\\\")
PREFIXES: Final = ("> ", "- ", "1. ", "  ", "    ", "> - ", "> > ", "* > ", "\t", ">")
LANGUAGES: Final = sorted(highlighting.LANGUAGES)


# --- slow code -----------------------------------------------------------------------------------


class Snippets:
    """Code that takes a lexer more time than its length explains, found by making it longer.

    First every opener with every filler in every lexer; then random pairs of fillers.
    """

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        lexers = {type(highlighting.lexer_for(name)): name for name in LANGUAGES}
        self._names = sorted(lexers.values())
        self._plan = list(product(self._names, OPENERS, FILLERS))
        chance.shuffle(self._plan)
        self._plan.sort(key=lambda one: one[2] in ESCAPES)  # tried first: they are often slow
        #: seconds, language, code
        self.slowest: list[tuple[float, str, str]] = []

    def search(self, tries: int) -> None:
        """Try some more snippets, and keep the slowest."""
        for _ in range(tries):
            self._try(*(self._plan.pop() if self._plan else self._random()))

    def one(self) -> tuple[str, str]:
        """A language and a piece of code, mostly a slow one."""
        if not self.slowest or self._chance.random() < 0.1:
            language, opener, filler = self._random()
            return language, opener + filler * REPEATS[-1]
        slow = sum(seconds >= SLOW / 4 for seconds, _, _ in self.slowest) or len(self.slowest)
        return self.slowest[self._chance.randrange(slow)][1:]

    def _random(self) -> tuple[str, str, str]:
        chance = self._chance
        filler = chance.choice(FILLERS) + chance.choice(FILLERS)
        return chance.choice(self._names), chance.choice(OPENERS), filler

    def _try(self, language: str, opener: str, filler: str) -> None:
        short, longer = (_lexed(opener + filler * count, language) for count in REPEATS[:2])
        if longer < SUSPICIOUS or longer < 4 * short:
            return
        for count in REPEATS[2:]:
            if longer >= SLOW:
                break
            code = opener + filler * count
            longer = _lexed(code, language)
            self.slowest.append((longer, language, code))
        self.slowest.sort(key=lambda one: (-one[0], len(one[2])))
        del self.slowest[MAX_SNIPPETS:]


def _lexed(code: str, language: str) -> float:
    """Seconds of CPU time that lexing takes, SLOW at most."""
    begun = time.thread_time()
    with_fallback(SLOW, lambda: len(list(lex(code, highlighting.lexer_for(language)))), lambda: 0)
    return time.thread_time() - begun


# --- texts ---------------------------------------------------------------------------------------


class Grammar:
    """Random texts."""

    def __init__(self, chance: random.Random, snippets: Snippets) -> None:
        self._chance = chance
        self._snippets = snippets

    def text(self) -> str:
        """A new text."""
        made = "".join(self._piece() for _ in range(self._chance.choice((1, 1, 1, 2, 3, 6))))
        return self._whole(made)

    def changed(self, text: str, other: str) -> str:
        """A text that is like `text`, perhaps with a piece of `other`."""
        change: Callable[[str, str], str] = self._chance.choice(
            (
                self._repeated,
                self._doubled,
                self._cut,
                self._with_token,
                self._without_token,
                self._wrapped,
                self._spliced,
                self._in_another_language,
            )
        )
        return self._whole(change(text, other))

    def _whole(self, text: str) -> str:
        return text[:MAX_CHARS] or "a"

    def _count(self, most: int) -> int:
        """A number up to `most`: often a small one, now and then a large one."""
        return max(1, int(most ** self._chance.random()))

    def _unit(self, tokens: Sequence[str]) -> str:
        return "".join(self._chance.choice(tokens) for _ in range(self._chance.randint(1, 5)))

    def _of(self, tokens: Sequence[str], most: int) -> str:
        """Tokens that are repeated, nested, half-open or mixed."""
        unit = self._unit(tokens)
        match self._chance.randrange(5):
            case 0 | 1:
                return unit * self._count(most // len(unit) + 1)
            case 2:
                depth = self._count(most // (2 * len(unit)) + 1)
                return unit * depth + self._unit(tokens) + self._unit(tokens) * depth
            case 3:
                return (
                    self._unit(tokens)
                    + unit * self._count(most // len(unit) + 1)
                    + self._unit(tokens)
                )
        return "".join(self._chance.choice(tokens) for _ in range(self._count(most // 3)))

    def _piece(self) -> str:
        match self._chance.randrange(7):
            case 0:
                return self._of(MARKS, USUAL_CHARS)
            case 6:
                return self._formulas()
            case 1 | 2 | 3:
                return self._fence()
            case 4:
                return self._wrapped(self._of(MARKS, USUAL_CHARS // 4), "")
        columns = self._count(200)
        cell = self._unit(MARKS).replace("\n", " ").replace("\r", " ")
        row = f"|{cell}" * columns + "|\n"
        return f"{row}{'|-' * columns}|\n{row * self._count(USUAL_CHARS // len(row) + 1)}"

    def _formulas(self) -> str:
        """Formulas, displayed or in a line, closed or not."""
        opener, closer = self._chance.choice(
            (("$", "$"), ("$$\n", "\n$$\n"), ("\\(", "\\)"), ("\\[", "\\]"), ("$$", ""))
        )
        most = self._chance.choice((40, 400, 1_900))
        made = f"{opener}{self._of(MATH, most)[:1_990]}{closer} "
        return made * self._count(USUAL_CHARS // len(made) + 1)

    def _fence(self) -> str:
        if self._chance.random() < 0.7:
            language, code = self._snippets.one()
            fence = f"```{language}\n{code}\n```\n"
            if self._chance.random() < 0.7:
                fence = self._wrapped(fence, "")
            most = USUAL_CHARS // len(fence) + 1
            return fence * (most if self._chance.random() < 0.5 else self._count(most))
        language = self._chance.choice(LANGUAGES)
        code = self._of(SIGNS, self._chance.choice((60, 400, 1_900, USUAL_CHARS)))
        if self._chance.random() < 0.5:  # lines short enough to be coloured
            width = self._chance.choice((20, 60, 200, 900))
            code = "\n".join(code[at : at + width] for at in range(0, len(code), width))
        fence = f"```{language}\n{code}\n" + self._chance.choice(("```\n", "```\n", ""))
        if self._chance.random() < 0.5:
            fence = self._wrapped(fence, "")
        return fence * self._count(min(200, USUAL_CHARS // len(fence) + 1))

    def _wrapped(self, text: str, _: str) -> str:
        prefix = self._chance.choice(PREFIXES) * self._count(20)
        return "".join(prefix + line for line in text.splitlines(keepends=True))

    def _span(self, text: str) -> tuple[int, int]:
        start = self._chance.randrange(len(text))
        return start, min(len(text), start + self._count(len(text)))

    def _repeated(self, text: str, _: str) -> str:
        start, end = self._span(text)
        end = min(end, start + 400)
        unit = text[start:end]
        return text[:start] + unit * self._count(USUAL_CHARS // len(unit) + 1) + text[end:]

    def _doubled(self, text: str, _: str) -> str:
        return text * 2

    def _cut(self, text: str, _: str) -> str:
        start, end = self._span(text)
        return text[:start] + text[end:]

    def _with_token(self, text: str, _: str) -> str:
        at = self._chance.randrange(len(text) + 1)
        return text[:at] + self._chance.choice((*MARKS, *SIGNS)) + text[at:]

    def _without_token(self, text: str, _: str) -> str:
        at = self._chance.randrange(len(text))
        return text[:at] + text[at + 1 :]

    def _spliced(self, text: str, other: str) -> str:
        return (
            text[: self._chance.randrange(len(text) + 1)]
            + other[self._chance.randrange(len(other)) :]
        )

    def _in_another_language(self, text: str, _: str) -> str:
        for language in self._chance.sample(LANGUAGES, len(LANGUAGES)):
            if f"```{language}\n" in text:
                return text.replace(f"```{language}\n", f"```{self._chance.choice(LANGUAGES)}\n")
        return f"```{self._chance.choice(LANGUAGES)}\n{text}"

    def cuts(self, text: str) -> list[str]:
        """The text in pieces, as a stream may bring it."""
        number = self._count(12)
        places = sorted(self._chance.randrange(len(text) + 1) for _ in range(number))
        edges = [0, *places, len(text)]
        return [text[start:end] for start, end in pairwise(edges)]
