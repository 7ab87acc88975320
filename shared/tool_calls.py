"""Calls of tools, and their results, as parts of bodies. Pure.

An answer calls tools in `tool_call` parts: the text is the arguments as the model wrote them, the
meta has the provider's `id` of the call and the `name` of the function. The client runs the
function and asks again, with a question of `tool_result` parts below that answer: the text is the
result, the meta has the id of its call as `tool_call_id`.

Some providers give calls no id. Such a call is named by its place among the calls of its answer.
"""

import json
import math
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from shared.body import Body
from shared.parts import PartKind

#: Lists and objects inside one another, in JSON that is shown as a value.
DEPTH: Final = 100
#: What stands for a result without text, as a part has text: the meta says `empty`.
_EMPTY = " "


class ToolCall(NamedTuple):
    """A call of a function."""

    id: str
    name: str
    #: JSON, mostly; what the model wrote in any case
    arguments: str


class ToolResult(NamedTuple):
    """What a call returned."""

    call_id: str
    content: str


def calls_of(body: Body) -> list[ToolCall]:
    """The calls of an answer, in order."""
    parts = [part for part in body.parts if part.kind == PartKind.TOOL_CALL]
    named = [(part.meta or {}, part.text) for part in parts]
    return [
        ToolCall(call_id(meta, place), meta.get("name") or "", text)
        for place, (meta, text) in enumerate(named)
    ]


def call_id(meta: Mapping[str, Any], place: int) -> str:
    """The id of a call, which is the `place`th of its answer, from 0."""
    return meta.get("id") or f"call_{place}"


def value_of(text: str) -> Any:
    """Arguments of a call, or a result, as a JSON value that every client can read.

    Raises ValueError for what is no JSON, as when an answer was cut, for NaN and Infinity, also
    where a number is that large, and for what is nested so deeply that others fail on it.
    """
    try:
        found = json.loads(text, parse_constant=_refused, parse_float=_finite)
    except RecursionError:
        raise ValueError from None
    if text.count("[") + text.count("{") > DEPTH and _is_deep(found, DEPTH):
        raise ValueError
    return found


def _refused(name: str) -> None:
    raise ValueError(name)


def _finite(written: str) -> float:
    number = float(written)
    if not math.isfinite(number):
        raise ValueError(written)
    return number


def _is_deep(value: Any, most: int) -> bool:
    """Whether more than `most` lists and objects are inside one another."""
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return not most or any(_is_deep(one, most - 1) for one in inner)


def results_of(body: Body) -> list[ToolResult]:
    """The results in a question, in order."""
    parts = [part for part in body.parts if part.kind == PartKind.TOOL_RESULT]
    named = [(part.meta or {}, part.text) for part in parts]
    return [
        ToolResult(str(meta.get("tool_call_id", "")), "" if meta.get("empty") else text)
        for meta, text in named
    ]


def write_result(body: Body, result: ToolResult, **more: Any) -> None:
    """Append a result to a question's body. `more`: what else its meta notes for a face."""
    empty = {} if result.content else {"empty": True}
    meta = {"tool_call_id": result.call_id, **empty, **more}
    body.write(PartKind.TOOL_RESULT, result.content or _EMPTY, meta, fresh=True)
