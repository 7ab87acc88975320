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

#: The end of a script, how it has to be told, and how often it is drawn.
ENDS: Final[list[tuple[list[Step], Ending, int]]] = [
    ([finish(), usage(), done()], ("DONE", None, "stop"), 70),
    ([finish(), done()], ("DONE", None, "stop"), 6),
    ([finish("length"), usage(), done()], ("DONE", None, "length"), 4),
    ([end()], ("ERROR", "provider_cut", None), 6),
    ([cut()], ("ERROR", "provider_cut", None), 6),
    ([error_object()], ("ERROR", "provider_error", None), 4),
    ([malformed()], ("ERROR", "provider_malformed", None), 4),
]

#: Characters of a rendezvous' text before its first hold and between two, and readers that come.
FIRST, BURST, TURNS = 40, 20, 2


@dataclass(frozen=True)
class Question:
    """A question, what may be answered to it, and how its readers behave."""

    number: int
    text: str
    natural: Ending
    #: press Stop once so many characters are there
    stop_at: int | None = None
    #: send the POST a second time although it was answered
    twice: bool = False
    readers: int = 1
    #: the positions at which the text of a rendezvous waits for a reader, and its end
    reaches: tuple[int, ...] = ()

    def answers(self, calls: int = MAX_TRIES) -> list[Answer]:
        """What the first, second ... request at the provider is told."""
        return [expected(self.text, call) for call in range(1, calls + 1)]

    def hold(self, turn: int | str) -> str:
        """The name of one of a rendezvous' holds."""
        return f"question-{self.number}-{turn}"


def continues(answer: str, text: str, at: int = 0) -> bool:
    """Whether `answer` goes on with `text` behind `at`, as far as it was said.

    Who is interrupted between the two halves of a character beyond U+FFFF has one of them, and
    shows it as U+FFFD.
    """
    if answer.startswith(text, at):
        return True
    last = at + len(text) - 1
    half = text.endswith("\ufffd") and answer[last : last + 1] > "\uffff"
    return half and answer.startswith(text[:-1], at)


def question(seed: int, number: int, *, rendezvous: int, run: str) -> Question:
    """The question with this number; `run` tells it from those of other runs."""
    dice = random.Random(f"{seed} {number}")  # noqa: S311 - a drill has no secrets
    tag = f"{run} {seed} question-{number}"
    if number < rendezvous:
        return _rendezvous(dice, number, tag)
    last, natural, _ = dice.choices(ENDS, [weight for *_, weight in ENDS])[0]
    steps = [*_silence(dice), *_thoughts(dice), *_said(dice), *_call(dice), *last]
    return Question(
        number,
        script(*steps, tag=tag, crlf=dice.random() < 0.2, varies=True),
        natural,
        stop_at=dice.randrange(1, 600) if dice.random() < 0.06 else None,
        twice=dice.random() < 0.1,
        readers=dice.choice([1, 2, 2]),
    )


def _silence(dice: random.Random) -> list[Step]:
    """Some models think before they say anything: what is killed then begins again."""
    if dice.random() < 0.3:
        return [dice.choice([slow_headers, pause])(dice.uniform(0.5, 6.0))]
    return []


def _thoughts(dice: random.Random) -> list[Step]:
    if dice.random() < 0.25:
        return [_hostile(dice, 400, kind="reasoning")]
    return []


def _said(dice: random.Random) -> list[Step]:
    steps = []
    for _ in range(dice.randint(1, 3)):
        steps.append(_hostile(dice, 1200))
        if dice.random() < 0.15:
            steps.append(pause(dice.uniform(0.2, 2.0)))
    return steps


def _hostile(dice: random.Random, most: int, kind: str = "text") -> Step:
    return hostile(
        dice.randint(30, most),
        kind=kind,
        rate=dice.choice([150, 300, 300, 600, 2000]),
        chunk=(1, dice.choice([8, 40])),
        seed=dice.randrange(10**6),
    )


def _call(dice: random.Random) -> list[Step]:
    if dice.random() < 0.08:
        return [tool_call("call-1", "look_up", '{"what": "\u2028 data: \\n\\n"}')]
    return []


def _rendezvous(dice: random.Random, number: int, tag: str) -> Question:
    """Readers arrive at the very moment when the last text does, and then there is silence.

    Whoever reads first and subscribes afterwards misses it, and has nothing to notice it by.
    """
    reaches = tuple(FIRST + turn * BURST for turn in range(TURNS + 1))
    plain = Question(number, "", ("DONE", None, "stop"), reaches=reaches)
    steps = [long(FIRST, seed=number)]
    for turn in range(TURNS):
        steps += [hold(plain.hold(turn)), long(BURST, chunk=BURST, seed=dice.randrange(10**6))]
    steps += [hold(plain.hold("end")), finish(), done()]
    return replace(plain, text=script(*steps, tag=tag))
