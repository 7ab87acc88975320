"""What is sent to the provider: the path from the root to the question. Pure.

Templates of models are strict: many want user and assistant to take turns, and some know no system
role. So two turns of one role in a row (a question below an answer that failed without text) are
joined to one, and `without_system` says the system text in the first question.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import Final

from shared.body import Body

Turn = dict[str, str]

#: Between two texts that become one turn.
BETWEEN: Final = "\n\n"


def build(system: str | None, path: Sequence[tuple[str, Body]], budget: int) -> list[Turn]:
    """The chat messages for a path of (role, body), the question last.

    Text parts only; empty answers are left out, partial ones kept; roles take turns. When the turns
    have more than `budget` code points the oldest are left out, but never the question.
    """
    turns = [{"role": role, "content": body.text} for role, body in path if body.text]
    kept: list[Turn] = []
    for turn in reversed(turns):
        joins = bool(kept) and kept[0]["role"] == turn["role"]
        budget -= len(turn["content"]) + len(BETWEEN) * joins
        if kept and budget < 0:
            break
        kept.insert(0, turn)
    kept = joined(kept)
    # An answer whose question was left out would begin the talk: it goes too.
    while len(kept) > 1 and kept[0]["role"] == "assistant":
        kept.pop(0)
    return [*([{"role": "system", "content": system}] if system else []), *kept]


def joined(turns: Sequence[Turn]) -> list[Turn]:
    """The same, with one turn where several of one role followed on one another."""
    return [
        {"role": role, "content": BETWEEN.join(turn["content"] for turn in run)}
        for role, run in groupby(turns, key=lambda turn: turn["role"])
    ]


def has_system(turns: Sequence[Turn]) -> bool:
    """Whether a system text is said as such."""
    return bool(turns) and turns[0]["role"] == "system"


def without_system(turns: Sequence[Turn]) -> Sequence[Turn]:
    """The same for a model without a system role: its text begins the first question."""
    if not has_system(turns):
        return turns
    system, *rest = turns
    if not rest or rest[0]["role"] != "user":
        return [{**system, "role": "user"}, *rest]
    return [{**rest[0], "content": system["content"] + BETWEEN + rest[0]["content"]}, *rest[1:]]
