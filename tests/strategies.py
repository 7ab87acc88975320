"""Hypothesis strategies and settings that several tests share."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from shared.body import Body, Delta, Meta


def thorough(examples: int, steps: int = 50) -> settings:
    """Settings with as many examples, each of as many steps, and without time limits."""
    return settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )


class Written(NamedTuple):
    """One call of `Body.write`."""

    kind: str
    text: str
    meta: Meta = None
    fresh: bool = False


#: Characters of one to four bytes in UTF-8 and of one or two units in UTF-16, and line ends.
LETTERS = "ab \n\ré€\u2028\u0085😀𝄞"

texts = st.text(LETTERS, max_size=8)
metas = st.none() | st.fixed_dictionaries({"id": st.text("xyz", min_size=1, max_size=3)})
written = st.builds(
    Written, st.sampled_from(["text", "reasoning", "tool_call"]), texts, metas, st.booleans()
)
writings = st.lists(written, max_size=12)


def body_of(calls: Sequence[Written]) -> Body:
    """The body after these calls."""
    body = Body()
    for call in calls:
        body.write(call.kind, call.text, call.meta, fresh=call.fresh)
    return body


bodies = writings.map(body_of)


def between(body: Body, start: int, end: int) -> list[Delta]:
    """The deltas of a body from `start` to `end`, as a transport may deliver them."""
    whole = Body(body.since(0))
    return [
        delta._replace(text=delta.text[: end - delta.start])
        for delta in whole.since(start)
        if delta.start < end
    ]


def cut(data: bytes, places: Sequence[int]) -> list[bytes]:
    """The data in chunks, cut at these places; places beyond its end give empty chunks."""
    edges = [0, *sorted(min(place, len(data)) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


class Opened(NamedTuple):
    """One call of `Body.open`."""

    kind: str
    meta: Meta


openings = st.builds(
    Opened,
    st.sampled_from(["text", "tool_call", "a kind of the next version"]),
    st.fixed_dictionaries({"id": st.text("xyz", min_size=1, max_size=3)}),
)
#: What an owner does that also opens parts before their first character.
growth = st.lists(written | openings, max_size=12)


def grow(body: Body, call: Written | Opened) -> None:
    """Make the call; an empty part gets text before the next one begins, as an owner must."""
    if body.parts and body.parts[-1].is_empty:
        last = body.parts[-1]
        continues = isinstance(call, Written) and call.kind == last.kind and not call.fresh
        if not continues and (isinstance(call, Opened) or call.text):
            body.write(last.kind, "{}")
    if isinstance(call, Written):
        body.write(call.kind, call.text, call.meta, fresh=call.fresh)
    elif call.meta:
        body.open(call.kind, call.meta)


def grown(calls: Sequence[Written | Opened]) -> Body:
    """The body after these calls."""
    body = Body()
    for call in calls:
        grow(body, call)
    return body
