"""A fuzzer for what the page is shown: texts that hold the loop, or that take too much memory.

Texts are made by a grammar of what goes wrong in parsers and regular expressions: nested, repeated
and half-open structures of Markdown, and of every lexer that is offered. The slowest ones found so
far are changed again and again: what costs more than its parent takes its place.

Code has a search of its own: small pieces in each language, of which those that their lexer takes
longest over are changed, put into fences and those into quotes and lists.

Each text goes through the real code, as an answer that grows in pieces under a reader's eyes, and
as one that has ended and is opened as a whole. Asserted of each:

    no turn of the loop over 50 ms of CPU time
    the same blocks, however it came
    memory that stays, without the text itself: at most 4 x the text and 1 MiB

Everything follows from the seed but time itself: a text is judged again before it counts.
"""

import argparse
import gc
import json
import random
import sys
import time
import tracemalloc
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product
from pathlib import Path
from typing import Any, Final

import gevent
from pygments import lex

from shared.body import Body
from shared.lifecycle import Status
from shared.sse import Decoder
from shared.store.messages import Message
from shared.watchdog import Watchdog
from web.following.streaming import Face
from web.following.topic import MessageTopic
from web.page import markdown
from web.page.cpu_limit import with_fallback
from web.page.render_cache import BlockReader, RenderCache

#: Seconds of CPU time that one turn of the loop may take.
TURN: Final = 0.050
#: Bytes that may stay of an answer: so many for each byte of its text, and so many besides.
PER_BYTE: Final = 4
BESIDES: Final = 1 << 20
#: Times that a text is tried again before it counts as too slow: the machine may have been busy.
AGAIN: Final = 2
#: The slowest texts, which are changed; and the share of texts that are made anew.
KEPT: Final = 40
FRESH: Final = 0.5
#: Code points of a text: most have fewer than USUAL.
USUAL, LONGEST = 6_000, 60_000
#: One text in so many is weighed: tracemalloc makes everything several times as slow.
WEIGHED: Final = 25
#: Pieces of code that are tried at the beginning, and before each text.
SEARCH_FIRST, SEARCH = 8_000, 200
#: Pieces of slow code that are kept; how often their filler is repeated, to see how they grow;
#: seconds from which on one is worth growing, and is slow.
SNIPPETS: Final = 60
GROWN: Final = (12, 24, 24, 32, 44, 60, 120)
SUSPICIOUS, SLOW = 0.0005, 0.02
#: Bytes of blocks in a page.
PAGE: Final = 64 << 10

_FACE: Final = Face(lambda _: b"", lambda _: b"", b"", lambda _: b"")

# fmt: off
MARKS: Final = (
    "- ", "* ", "1. ", "2) ", "> ", "    ", "  ", "\t", "\n", "\n\n", "\r\n", "\r", "\\", " ",
    "|", "```", "~~~", "---", "|-|-|\n", "| a | b |\n", "# ", "#", "=", "-", "&amp;", "&",
    "&#x", "*", "**", "***", "_", "__", "`", "``", "~~", "~", "$", "$$", "\\[", "\\]", "\\(",
    "\\)", "<b>", "<", "</", "<!--", "[", "]", "[x](", "](", ")", "!", "![", "(", "[a]: /x\n",
    "[a][b]", "http://a.b", "http://", "https://a.b/(", "mailto:a@b.c", "www.a.b", "a@b.c",
    "javascript:", "text", "a", "aA", "foo\n", "é", "😀", "漢", "\u2028", "\xa0", "\u200b", "0",
    "1", ".", ":", '"', "'", "{", "}", ";", ",", "+", "%", "@", "^", "?", "/", "//", "/*", "*/",
    "--", "<<", ">>",
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
# fmt: on
#: What a half-open piece of code begins with, and what it is filled with.
OPENERS: Final = (
    *(
        '"',
        "'",
        "`",
        '"""',
        "/*",
        "//",
        "#",
        "(",
        "[",
        "{",
        "<",
        "</",
        "<a ",
        "<!--",
        "<?",
        "<%",
        "${",
    ),
    *(
        "#{",
        "$",
        "@",
        "%w(",
        "%q{",
        "r#",
        "<<EOF\n",
        "/a",
        "s/",
        "0",
        "a",
        "_",
        "-",
        " ",
        "\n",
        "\\",
        "",
    ),
)
FILLERS: Final = (
    *(
        "\\",
        "\\\\",
        "a",
        "A",
        "_",
        "0",
        " ",
        "\t",
        "\n",
        '"',
        "'",
        "(",
        "[",
        "{",
        "<",
        ">",
        "/",
        "*",
        "-",
    ),
    *(
        ".",
        ",",
        ":",
        "=",
        "+",
        "#",
        "$",
        "@",
        "%",
        "&",
        "|",
        "!",
        "?",
        "a ",
        "a.",
        "a:",
        "a,",
        "a=",
        "0.",
    ),
)
ESCAPES: Final = ("\\", "\\\\")
PREFIXES: Final = ("> ", "- ", "1. ", "  ", "    ", "> - ", "> > ", "* > ", "\t", ">")
LANGUAGES: Final = sorted(markdown.LANGUAGES)


# --- slow code -----------------------------------------------------------------------------------


class Snippets:
    """Pieces of code that lexers take longer over than they should, found by growing them.

    First every opener with every filler, in every lexer; then with two fillers, by chance.
    """

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        lexers = {type(markdown.lexer(name)): name for name in LANGUAGES}
        self._names = sorted(lexers.values())
        self._plan = list(product(self._names, OPENERS, FILLERS))
        chance.shuffle(self._plan)
        self._plan.sort(key=lambda one: one[2] in ESCAPES)  # from the end: what is often at fault
        #: seconds, language, code
        self.slowest: list[tuple[float, str, str]] = []

    def search(self, tries: int) -> None:
        """Look for slow ones."""
        for _ in range(tries):
            self._try(*(self._plan.pop() if self._plan else self._random()))

    def one(self) -> tuple[str, str]:
        """A language and a piece of code, rather a slow one."""
        if not self.slowest or self._chance.random() < 0.1:
            language, opener, filler = self._random()
            return language, opener + filler * GROWN[-1]
        slow = sum(seconds >= SLOW / 4 for seconds, _, _ in self.slowest) or len(self.slowest)
        return self.slowest[self._chance.randrange(slow)][1:]

    def _random(self) -> tuple[str, str, str]:
        chance = self._chance
        filler = chance.choice(FILLERS) + chance.choice(FILLERS)
        return chance.choice(self._names), chance.choice(OPENERS), filler

    def _try(self, language: str, opener: str, filler: str) -> None:
        short, grown = (_lexed(opener + filler * count, language) for count in GROWN[:2])
        if grown < SUSPICIOUS or grown < 4 * short:
            return
        for count in GROWN[2:]:
            if grown >= SLOW:
                break
            code = opener + filler * count
            grown = _lexed(code, language)
            self.slowest.append((grown, language, code))
        self.slowest.sort(key=lambda one: (-one[0], len(one[2])))
        del self.slowest[SNIPPETS:]


def _lexed(code: str, language: str) -> float:
    """Seconds that it takes, if it is not too long."""
    begun = time.thread_time()
    with_fallback(SLOW, lambda: len(list(lex(code, markdown.lexer(language)))), lambda: 0)
    return time.thread_time() - begun


# --- texts ---------------------------------------------------------------------------------------


class Grammar:
    """Texts by chance."""

    def __init__(self, chance: random.Random, snippets: Snippets) -> None:
        self._chance = chance
        self._snippets = snippets

    def text(self) -> str:
        """One that is new."""
        made = "".join(self._piece() for _ in range(self._chance.choice((1, 1, 1, 2, 3, 6))))
        return self._whole(made)

    def changed(self, text: str, other: str) -> str:
        """One that is like another one."""
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
        return text[:LONGEST] or "a"

    def _count(self, most: int) -> int:
        """Often few, now and then very many."""
        return max(1, int(most ** self._chance.random()))

    def _unit(self, tokens: Sequence[str]) -> str:
        return "".join(self._chance.choice(tokens) for _ in range(self._chance.randint(1, 5)))

    def _of(self, tokens: Sequence[str], most: int) -> str:
        """Repeated, nested, half-open or mixed."""
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
                    + (self._unit(tokens))
                )
        return "".join(self._chance.choice(tokens) for _ in range(self._count(most // 3)))

    def _piece(self) -> str:
        match self._chance.randrange(6):
            case 0:
                return self._of(MARKS, USUAL)
            case 1 | 2 | 3:
                return self._fence()
            case 4:
                return self._wrapped(self._of(MARKS, USUAL // 4), "")
        columns = self._count(200)
        cell = self._unit(MARKS).replace("\n", " ").replace("\r", " ")
        row = f"|{cell}" * columns + "|\n"
        return f"{row}{'|-' * columns}|\n{row * self._count(USUAL // len(row) + 1)}"

    def _fence(self) -> str:
        if self._chance.random() < 0.7:
            language, code = self._snippets.one()
            fence = f"```{language}\n{code}\n```\n"
            if self._chance.random() < 0.7:
                fence = self._wrapped(fence, "")
            most = USUAL // len(fence) + 1
            return fence * (most if self._chance.random() < 0.5 else self._count(most))
        language = self._chance.choice(LANGUAGES)
        code = self._of(SIGNS, self._chance.choice((60, 400, 1_900, USUAL)))
        if self._chance.random() < 0.5:  # lines that are short enough to be coloured
            width = self._chance.choice((20, 60, 200, 900))
            code = "\n".join(code[at : at + width] for at in range(0, len(code), width))
        fence = f"```{language}\n{code}\n" + self._chance.choice(("```\n", "```\n", ""))
        if self._chance.random() < 0.5:
            fence = self._wrapped(fence, "")
        return fence * self._count(min(200, USUAL // len(fence) + 1))

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
        return text[:start] + unit * self._count(USUAL // len(unit) + 1) + text[end:]

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
            + (other[self._chance.randrange(len(other)) :])
        )

    def _in_another_language(self, text: str, _: str) -> str:
        for language in self._chance.sample(LANGUAGES, len(LANGUAGES)):
            if f"```{language}\n" in text:
                return text.replace(f"```{language}\n", f"```{self._chance.choice(LANGUAGES)}\n")
        return f"```{self._chance.choice(LANGUAGES)}\n{text}"

    def cuts(self, text: str) -> list[str]:
        """A text in pieces: as many as a reader may see."""
        number = self._count(12)
        places = sorted(self._chance.randrange(len(text) + 1) for _ in range(number))
        edges = [0, *places, len(text)]
        return [text[start:end] for start, end in pairwise(edges)]


# --- the real code -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Shown:
    """What became of a text: its blocks (text and HTML), and the longest turn of the loop."""

    blocks: list[tuple[str, str]]
    turn: float


class Loop:
    """The loop, and how long its turns take."""

    def __init__(self) -> None:
        self._watchdog = Watchdog()
        self._watchdog.begin()

    def run(self, work: Callable[[], list[tuple[str, str]]]) -> Shown:
        """Do it in a greenlet of its own, as a server does."""
        gevent.sleep(0.003)
        self._watchdog.longest = 0.0
        found = gevent.spawn(work).get()
        gevent.sleep(0.003)  # the last turn ends, too
        return Shown(found, self._watchdog.longest)


def growing(pieces: Sequence[str]) -> list[tuple[str, str]]:
    """As a reader of an answer is shown it, while it is written."""
    topic = MessageTopic(uuid.uuid4(), uuid.uuid4())
    render_cache = RenderCache()
    reader = BlockReader(render_cache, topic, 0, _FACE)
    frames: list[bytes] = []
    for piece in filter(None, pieces):
        topic.body.write("text", piece)
        render_cache.of(topic).due = 0.0
        frames += _read(reader)
    topic.finish(message(topic.body))
    while not reader.at_end:
        frames += _read(reader)
    decoder = Decoder(limit=1 << 24)
    events = [json.loads(event.data) for frame in frames for event in decoder.feed(frame)]
    return [(block["text"], block["html"]) for event in events for block in event["blocks"]]


def _read(reader: BlockReader) -> Iterator[bytes]:
    while frame := reader.advance():
        yield frame


def opened(render_cache: RenderCache, ended: Message) -> list[tuple[str, str]]:
    """As somebody is shown it who opens it when it has ended."""
    found: list[tuple[str, str]] = []
    position: int | None = 0
    while position is not None:
        lines, position = render_cache.pages(ended).page(position, PAGE)
        blocks = [json.loads(line) for line in lines]
        found += [(block["text"], block["html"]) for block in blocks]
    return found


def message(body: Body) -> Message:
    """An answer that has ended."""
    fields: dict[str, Any] = dict.fromkeys(Message.__dataclass_fields__)
    fields |= {"id": uuid.uuid4(), "role": "assistant", "status": Status.DONE, "body": body}
    fields |= {"length": body.length, "attempt": 1, "ended_at": 0}
    return Message(**fields)


def kept(text: str) -> int:
    """Bytes that stay when it was rendered, without its own."""
    body = Body()
    body.write("text", text)
    ended, render_cache = message(body), RenderCache()
    gc.collect()
    tracemalloc.start()
    try:
        position: int | None = 0
        while position is not None:
            _, position = render_cache.pages(ended).page(position, PAGE)
        gc.collect()
        return tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()


# --- judging -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Fault:
    """A text that broke a promise, and which."""

    what: str
    text: str


@dataclass(frozen=True, slots=True)
class Judged:
    """The longest turn that a text took, and what is wrong with it."""

    turn: float
    fault: Fault | None = None


class Fuzzer:
    """Makes texts and judges them; `seed` says which."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._snippets = Snippets(self._chance)
        self._grammar = Grammar(self._chance, self._snippets)
        self._loop = Loop()
        self._slowest: list[tuple[float, str]] = []
        self.tried = 0
        self.longest = 0.0
        self.heaviest = 0.0

    def step(self) -> Fault | None:
        """Make and judge one text."""
        chance, slowest = self._chance, self._slowest
        self._snippets.search(SEARCH if self.tried else SEARCH_FIRST)
        if not slowest or chance.random() < FRESH:
            text = self._grammar.text()
        else:
            (_, text), (_, other) = chance.choice(slowest), chance.choice(slowest)
            for _ in range(chance.randint(1, 3)):
                text = self._grammar.changed(text, other)
        weighed = self.tried % WEIGHED == 0
        judged = self.judge(text, weigh=weighed)
        self.tried += 1
        self.longest = max(self.longest, judged.turn)
        # Short ones rather than long ones: they can be tried more often, and read.
        slowest.append((judged.turn / (1 + len(text) / USUAL), text))
        slowest.sort(key=lambda one: -one[0])
        del slowest[KEPT:]
        return judged.fault

    def judge(self, text: str, *, weigh: bool = True) -> Judged:
        """Render it in both ways."""
        pieces = self._grammar.cuts(text)
        judged = self._rendered(text, pieces)
        for _ in range(AGAIN):
            if judged.turn <= TURN:
                break
            again = self._rendered(text, pieces)
            judged = replace(judged, turn=min(judged.turn, again.turn))
        if judged.fault is None and judged.turn > TURN:
            what = f"a turn of {judged.turn * 1000:.0f} ms"
            judged = replace(judged, fault=Fault(what, text))
        if judged.fault is None and weigh:
            judged = replace(judged, fault=self._weighed(text))
        return judged

    def _rendered(self, text: str, pieces: Sequence[str]) -> Judged:
        body = Body()
        body.write("text", text)
        ended, render_cache = message(body), RenderCache()
        one = self._loop.run(lambda: growing(pieces))
        other = self._loop.run(lambda: opened(render_cache, ended))
        turn = max(one.turn, other.turn)
        fault = None
        if [text for text, _ in one.blocks] != [text for text, _ in other.blocks]:
            fault = Fault("other blocks when it comes in pieces", text)
        elif "".join(text for text, _ in other.blocks) != text:
            fault = Fault("the blocks are not the text", text)
        return Judged(turn, fault)

    def _weighed(self, text: str) -> Fault | None:
        size, most = kept(text), PER_BYTE * len(text.encode()) + BESIDES
        self.heaviest = max(self.heaviest, size / most)
        return Fault(f"{size} bytes stay, of {most}", text) if size > most else None


def run(seconds: float, seed: int) -> tuple[Fuzzer, Fault | None]:
    """Fuzz for so long, or until something is found."""
    markdown.prepare()
    gc.collect()
    gc.freeze()
    fuzzer = Fuzzer(seed)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        fault = fuzzer.step()
        if fault is not None:
            return fuzzer, fault
    return fuzzer, None


def main(arguments: list[str]) -> int:
    """0 when nothing was found."""
    parser = argparse.ArgumentParser(prog="python -m bench.fuzz render", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--text", help="judge this file, and nothing else")
    options = parser.parse_args(arguments)
    if options.text:
        markdown.prepare()
        text = Path(options.text).read_bytes().decode()
        judged = Fuzzer(options.seed).judge(text)
        print(f"{judged.turn * 1000:.0f} ms, {judged.fault.what if judged.fault else 'fine'}")
        return int(judged.fault is not None)
    fuzzer, fault = run(options.seconds, options.seed)
    print(
        f"seed {options.seed}: {fuzzer.tried} texts, longest turn {fuzzer.longest * 1000:.0f} ms,"
        f" most memory {fuzzer.heaviest:.0%} of what is allowed"
    )
    if fault is None:
        return 0
    print(
        f"FOUND {fault.what}: {fault.text[:2000]!r} ({len(fault.text)} characters)", file=sys.stderr
    )
    return 1
