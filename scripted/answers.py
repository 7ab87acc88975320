"""What the scripted provider answers to a question, computed without asking it. Pure."""

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby

from scripted.question import Script, parse_script
from scripted.steps import Step, done, finish, say, usage

_PROSE = (
    "lorem ipsum dolor sit amet consectetur adipiscing elit sed do eiusmod tempor incididunt ut "
    "labore et dolore magna aliqua enim ad minim veniam quis nostrud exercitation ullamco laboris "
    "nisi aliquip ex ea commodo consequat naïve Straße garçon mañana Ærø 東京 слово λόγος 🚲 it's"
)
WORDS = _PROSE.split()

#: in every plain answer: combining marks, CJK, both directions, an emoji sequence, U+2028, newlines
SPECIAL = (
    " e\u0301 你好。世界 שלום مرحبا \U0001f469\u200d\U0001f469\u200d\U0001f467 before\u2028after"
    ' \n\n- a \\ and a "quote"\t'
)
ESCAPED = "\U0001f600\u2029"  #: sent with JSON's escapes, so as a surrogate pair

#: the pieces of `hostile` text: line ends of every kind, text that looks like frames of a stream,
#: what Postgres or JSON refuses (NUL, lone surrogates), markup, characters of many code points
HOSTILE = (
    "\r", "\n", "\r\n", "\n\n", "\r\r", "\u2028", "\u2029", "\u0085", "\v", "\f", "\0", "\ufeff",
    "\ud83d", "\udc00", "\U0001f600", "\U0001f469\u200d\U0001f467", "e\u0301", "\u0301", "\ufffd",
    "שלום", "\u202e", "\x1b[31m", "\\", '"', "\\n", "\\ud83d", "data:", "data: [DONE]\n\n",
    "\n\nevent: end\ndata: {}\n\n", "\nid: 7\n", "retry: 1\n", ": comment\n", "[DONE]", "{}",
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "&lt;", "```", "](javascript:1)",
    "null", "'; DROP TABLE messages; --", "%s", "{0}", "$1", "\t", " ", "", "%00",
)  # fmt: skip

PLAIN_CHARACTERS = 600
PLAIN_RATE = 300.0  #: characters a second

#: steps after which a reader gets nothing more
FINAL = {"done", "end", "cut", "malformed", "half_utf8", "big_line", "error_object", "mutated"}


@dataclass(frozen=True)
class Answer:
    """A whole answer. `parts` are (kind, text) in order; their texts joined are the body."""

    text: str
    reasoning: str
    parts: tuple[tuple[str, str], ...]

    @property
    def body(self) -> str:
        return "".join(text for _, text in self.parts)


def expected(question: str, call: int = 1) -> Answer:
    """The answer of a reader that has read all that can be read, normalised.

    Without the text of a `cut` frame, and without what `raw` and `data` contain. `call`: the number
    of the request with this question, from 1, for scripts that vary.
    """
    pieces = [
        item for step in _readable(script_for_call(question, call).steps) for item in _content(step)
    ]
    parts = tuple(
        (key[0], normalised("".join(text for _, text in run)) or _absent(key[0]))
        for key, run in groupby(pieces, key=lambda item: item[0])
    )
    return Answer(_joined(parts, "text"), _joined(parts, "reasoning"), parts)


def script_of(question: str) -> Script:
    """The script in a question; for a plain question, one that answers with prose."""
    return parse_script(question) or Script(steps=plain_steps(question))


def script_for_call(question: str, call: int) -> Script:
    """The script that is played for the nth request with a question."""
    script = script_of(question)
    if not script.varies or call == 1:
        return script
    steps = [_varied(step, call) for step in script.steps]
    return replace(script, steps=steps)


def _varied(step: Step, call: int) -> Step:
    generates = step["do"] in {"long", "hostile"}
    return {**step, "seed": step["seed"] + 1_000_003 * (call - 1)} if generates else step


def plain_steps(question: str) -> list[Step]:
    """600 characters at 300 a second, different for every question."""
    half = (PLAIN_CHARACTERS - len(SPECIAL) - len(ESCAPED)) // 2
    seed = seed_of(question)
    before, after = generated(half, seed), generated(half, seed + 1)
    return [
        say(before + SPECIAL, rate=PLAIN_RATE),
        say(ESCAPED, rate=PLAIN_RATE, escaped=True),
        say(after, rate=PLAIN_RATE),
        finish(),
        usage(len(question) // 4 + 1, PLAIN_CHARACTERS // 4),
        done(),
    ]


@lru_cache(maxsize=64)
def generated(characters: int, seed: int = 0) -> str:
    """Exactly as many characters of words; some are numbered, so that a wrong order shows."""
    dice = random.Random(seed)  # noqa: S311 (a test's text is no secret)
    words: list[str] = []
    length = 0
    while length < characters:
        word = WORDS[int(dice.random() * len(WORDS))]
        words.append(f"{word} {len(words)}." if len(words) % 8 == 0 else word)
        length += len(words[-1]) + 1
    return " ".join(words)[:characters].ljust(characters)


@lru_cache(maxsize=64)
def hostile(characters: int, seed: int = 0) -> str:
    """As many characters of words and HOSTILE pieces, as they are sent."""
    dice = random.Random(seed)  # noqa: S311
    pieces: list[str] = []
    length = 0
    while length < characters:
        pieces.append(dice.choice(HOSTILE if dice.random() < 0.4 else WORDS))
        pieces.append(f" {len(pieces)} " if dice.random() < 0.1 else " ")
        length += len(pieces[-1]) + len(pieces[-2])
    return "".join(pieces)[:characters]


def seed_of(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:6])


def normalised(text: str) -> str:
    """Join surrogate pairs; replace NUL and lone surrogates by U+FFFD."""
    joined = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return joined.replace("\0", "\ufffd")


def _readable(steps: list[Step]) -> Iterator[Step]:
    for step in steps:
        if step["do"] in FINAL or _refuses_always(step):
            return
        yield step


def _refuses_always(step: Step) -> bool:
    refuses = step["do"] in {"status", "refuse"} and step["times"] is None
    return refuses and not step.get("when")


def _content(step: Step) -> list[tuple[tuple[str, str], str]]:
    """What a step adds to the answer: ((kind, id of a tool call), text)."""
    match step:
        case {"do": "say" | "torn" | "finish", "text": str(text)} if text:
            return [(("text", ""), text)]
        case {"do": "long", "characters": characters, "seed": seed}:
            return [(("text", ""), generated(characters, seed))]
        case {"do": "hostile", "kind": kind, "characters": characters, "seed": seed}:
            return [((kind, ""), hostile(characters, seed))]
        case {"do": "reasoning", "text": text}:
            return [(("reasoning", ""), text)]
        case {"do": "tool_call", "call_id": call_id, "arguments": arguments}:
            return [(("tool_call", call_id), arguments)]
    return []


def _absent(kind: str) -> str:
    return "{}" if kind == "tool_call" else ""


def _joined(parts: tuple[tuple[str, str], ...], kind: str) -> str:
    return "".join(text for of, text in parts if of == kind)
