"""The prompt: the path from the root of a conversation to the question. Pure.

Templates of models are strict: many want user and assistant to take turns, and some know no system
role. So consecutive turns of one role (a question below an answer that failed without text) are
joined, and `without_system` puts the system text into the first question.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import Final

from shared.body import Body

Turn = dict[str, str]

#: Separates two texts that are joined to one turn.
SEPARATOR: Final = "\n\n"


def build(system: str | None, path: Sequence[tuple[str, Body]], budget: int) -> list[Turn]:
    """The chat messages for a path of (role, body), the question last.

    Text parts only; empty answers are left out, partial ones kept; roles take turns. When the turns
    have more than `budget` code points the oldest are left out, but never the question.
    """
    turns = [{"role": role, "content": body.text} for role, body in path if body.text]
    kept: list[Turn] = []
    for turn in reversed(turns):
        joins = bool(kept) and kept[0]["role"] == turn["role"]
        budget -= len(turn["content"]) + len(SEPARATOR) * joins
        if kept and budget < 0:
            break
        kept.insert(0, turn)
    kept = joined(kept)
    # The prompt must not begin with an answer whose question was left out.
    while len(kept) > 1 and kept[0]["role"] == "assistant":
        kept.pop(0)
    return [*([{"role": "system", "content": system}] if system else []), *kept]


def joined(turns: Sequence[Turn]) -> list[Turn]:
    """The turns, with consecutive ones of one role joined."""
    return [
        {"role": role, "content": SEPARATOR.join(turn["content"] for turn in run)}
        for role, run in groupby(turns, key=lambda turn: turn["role"])
    ]


def has_system(turns: Sequence[Turn]) -> bool:
    """Whether the first turn is a system text."""
    return bool(turns) and turns[0]["role"] == "system"


def without_system(turns: Sequence[Turn]) -> Sequence[Turn]:
    """The turns for a model without a system role: the first question begins with its text."""
    if not has_system(turns):
        return turns
    system, *rest = turns
    if not rest or rest[0]["role"] != "user":
        return [{**system, "role": "user"}, *rest]
    return [{**rest[0], "content": system["content"] + SEPARATOR + rest[0]["content"]}, *rest[1:]]
