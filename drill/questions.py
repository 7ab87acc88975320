"""What is asked in a drill: a pure function of the seed and the question's number."""

import random
from dataclasses import dataclass, replace
from typing import Final

from scripted import (
    cut,
    done,
    end,
    error_object,
    expected,
    finish,
    hold,
    hostile,
    long,
    malformed,
    pause,
    script,
    slow_headers,
    tool_call,
    usage,
)
from scripted.answers import Answer
from scripted.steps import Step
from shared.lifecycle import MAX_TRIES

#: How an answer ends when nothing is broken: (status, error code, finish reason).
Ending = tuple[str, str | None, str | None]

#: The end of a script, the ending that it has to have, and how often it is drawn.
ENDS: Final[list[tuple[list[Step], Ending, int]]] = [
    ([finish(), usage(), done()], ("DONE", None, "stop"), 70),
    ([finish(), done()], ("DONE", None, "stop"), 6),
    ([finish("length"), usage(), done()], ("DONE", None, "length"), 4),
    ([end()], ("ERROR", "provider_cut", None), 6),
    ([cut()], ("ERROR", "provider_cut", None), 6),
    ([error_object()], ("ERROR", "provider_error", None), 4),
    ([malformed()], ("ERROR", "provider_malformed", None), 4),
]

#: The share of questions that clients of OpenAI's Chat Completions ask.
CHAT_SHARE: Final = 0.25
#: Characters of a rendezvous' text before its first hold and between two, and readers that come.
FIRST, BURST, TURNS = 40, 20, 2


@dataclass(frozen=True)
class Question:
    """A question, what may be answered to it, and how its readers behave."""

    number: int
    text: str
    natural: Ending
    #: press Stop once a reader has as many characters
    stop_at: int | None = None
    #: send the POST again although it was answered
    twice: bool = False
    readers: int = 1
    #: asked and read by `/v1/chat/completions`, by one client
    by_chat: bool = False
    #: the positions at which the text of a rendezvous waits for a reader, and its end
    reaches: tuple[int, ...] = ()

    def answers(self, calls: int = MAX_TRIES) -> list[Answer]:
        """What the first, second, ... request at the provider is answered."""
        return [expected(self.text, call) for call in range(1, calls + 1)]

    def hold(self, turn: int | str) -> str:
        """The name of one of a rendezvous' holds."""
        return f"question-{self.number}-{turn}"


def continues(answer: str, text: str, at: int = 0) -> bool:
    """Whether `answer` has `text` at position `at`.

    An answer that was interrupted between the two halves of a character beyond U+FFFF may end in
    U+FFFD in its place.
    """
    if answer.startswith(text, at):
        return True
    last = at + len(text) - 1
    half = text.endswith("\ufffd") and answer[last : last + 1] > "\uffff"
    return half and answer.startswith(text[:-1], at)


def question(seed: int, number: int, *, rendezvous: int, run: str) -> Question:
    """The question with this number; `run` makes it different from those of other runs."""
    rng = random.Random(f"{seed} {number}")  # noqa: S311 - a drill has no secrets
    tag = f"{run} {seed} question-{number}"
    if number < rendezvous:
        return _rendezvous(rng, number, tag)
    last, natural, _ = rng.choices(ENDS, [weight for *_, weight in ENDS])[0]
    steps = [*_silence(rng), *_thoughts(rng), *_said(rng), *_call(rng), *last]
    return Question(
        number,
        script(*steps, tag=tag, crlf=rng.random() < 0.2, varies=True),
        natural,
        stop_at=rng.randrange(1, 600) if rng.random() < 0.06 else None,
        twice=rng.random() < 0.1,
        readers=rng.choice([1, 2, 2]),
        by_chat=rng.random() < CHAT_SHARE,
    )


def _silence(rng: random.Random) -> list[Step]:
    """A pause before the first text: an answer whose worker dies in it begins again."""
    if rng.random() < 0.3:
        return [rng.choice([slow_headers, pause])(rng.uniform(0.5, 6.0))]
    return []


def _thoughts(rng: random.Random) -> list[Step]:
    if rng.random() < 0.25:
        return [_hostile(rng, 400, kind="reasoning")]
    return []


def _said(rng: random.Random) -> list[Step]:
    steps = []
    for _ in range(rng.randint(1, 3)):
        steps.append(_hostile(rng, 1200))
        if rng.random() < 0.15:
            steps.append(pause(rng.uniform(0.2, 2.0)))
    return steps


def _hostile(rng: random.Random, most: int, kind: str = "text") -> Step:
    return hostile(
        rng.randint(30, most),
        kind=kind,
        rate=rng.choice([150, 300, 300, 600, 2000]),
        chunk=(1, rng.choice([8, 40])),
        seed=rng.randrange(10**6),
    )


def _call(rng: random.Random) -> list[Step]:
    if rng.random() < 0.08:
        return [tool_call("call-1", "look_up", '{"what": "\u2028 data: \\n\\n"}')]
    return []


def _rendezvous(rng: random.Random, number: int, tag: str) -> Question:
    """A question for readers that arrive when the last text does: see the module `rendezvous`."""
    reaches = tuple(FIRST + turn * BURST for turn in range(TURNS + 1))
    plain = Question(number, "", ("DONE", None, "stop"), reaches=reaches)
    steps = [long(FIRST, seed=number)]
    for turn in range(TURNS):
        steps += [hold(plain.hold(turn)), long(BURST, chunk=BURST, seed=rng.randrange(10**6))]
    steps += [hold(plain.hold("end")), finish(), done()]
    return replace(plain, text=script(*steps, tag=tag))
