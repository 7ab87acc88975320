"""What is sent to the provider: the path from the root to the question. Pure."""

from collections.abc import Sequence

from shared.body import Body

Turn = dict[str, str]


def build(system: str | None, path: Sequence[tuple[str, Body]], budget: int) -> list[Turn]:
    """The chat messages for a path of (role, body), the question last.

    Text parts only; empty answers are left out, partial ones kept. When the turns have more than
    `budget` code points the oldest are left out, but never the question.
    """
    turns = [{"role": role, "content": body.text} for role, body in path if body.text]
    kept: list[Turn] = []
    for turn in reversed(turns):
        budget -= len(turn["content"])
        if kept and budget < 0:
            break
        kept.insert(0, turn)
    # An answer whose question was left out would begin the talk: it goes too.
    while len(kept) > 1 and kept[0]["role"] == "assistant":
        kept.pop(0)
    return [*([{"role": "system", "content": system}] if system else []), *kept]
