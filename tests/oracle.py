"""What has to come of a provider's stream, read the slow and simple way.

Nothing here is the product's: the bytes are there as a whole, cut into lines by one regular
expression, decoded strictly, and read event by event. What it knows is what is documented: an
explicit end is a finish reason or [DONE], and nothing counts behind [DONE]; anything else is an
ERROR, and everything before it is kept.
"""

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Final

from local.scripted.answers import normalised
from local.scripted.mutations import Close, Stream

#: Bytes of a line, and characters of an event's data with its line ends.
LIMIT: Final = 1 << 20
#: A chunk's fields that are text, in the order in which a chunk is read.
KINDS: Final = (
    ("reasoning_content", "reasoning"),
    ("reasoning", "reasoning"),
    ("content", "text"),
    ("refusal", "text"),
)
#: How an answer ends whose provider never said that it was done.
CUT: Final[dict[Close, str]] = {
    "whole": "provider_cut",
    "closed": "provider_cut",
    "reset": "provider_cut",
    "torn": "provider_cut",
    "hanging": "provider_stalled",
}

Part = tuple[str, str, dict[str, Any] | None]


@dataclass(frozen=True)
class Verdict:
    """The only right end of an answer."""

    status: str
    code: str | None
    finish_reason: str | None
    usage: dict[str, Any] | None
    parts: tuple[Part, ...]

    @property
    def body(self) -> str:
        """All that is kept."""
        return "".join(text for _, text, _ in self.parts)


class Bad(Exception):
    """The stream cannot be read on, for this reason."""


@dataclass
class Heard:
    """What was said so far."""

    texts: list[tuple[str, str]] = field(default_factory=list)
    calls: dict[int, dict[str, str]] = field(default_factory=dict)
    reason: str | None = None
    usage: dict[str, Any] | None = None
    done: bool = False

    @property
    def ended(self) -> bool:
        """Whether it was said that this is all."""
        return self.done or self.reason is not None

    def parts(self) -> tuple[Part, ...]:
        """Neighbours of one kind are one part; the calls stand at the end."""
        runs = groupby(self.texts, key=lambda item: item[0])
        texts = [(kind, normalised("".join(text for _, text in run)), None) for kind, run in runs]
        return (*texts, *(_call(call) for call in self.calls.values()))


def verdict(stream: Stream) -> Verdict:
    """What has to come of it."""
    heard, code = Heard(), None
    try:
        for name, data in _events(stream.data):
            _take(heard, name, data)
            if heard.done:
                break
    except Bad as bad:
        code = str(bad)
    if code is None and not heard.ended:
        code = CUT[stream.close]
    return _judged(heard, code)


def interrupted(stream: Stream) -> Iterator[Verdict]:
    """What is right as well where a machine was so busy that the rest came too late: of each
    event, what has to come of it if nothing follows."""
    heard = Heard()
    yield _judged(heard, "provider_stalled")
    with suppress(Bad):
        for name, data in _events(stream.data):
            _take(heard, name, data)
            yield _judged(heard, None if heard.ended else "provider_stalled")
            if heard.done:
                break


def _take(heard: Heard, name: str, data: str) -> None:
    if data.strip() == "[DONE]":
        heard.done = True
    else:
        _hear(heard, name, data)


def _judged(heard: Heard, code: str | None) -> Verdict:
    parts = heard.parts()
    if code is None:
        return Verdict("DONE", None, heard.reason or "stop", heard.usage, parts)
    return Verdict("ERROR", code, None, _estimate(parts), parts)


def _events(data: bytes) -> Iterator[tuple[str, str]]:
    """(name, data) of each: WHATWG HTML 9.2, but strict about UTF-8 and size."""
    name, values = "", list[str]()
    *lines, rest = re.split(rb"\r\n|\n|\r", data)
    for number, line in enumerate(lines):
        shown = _decoded(line).removeprefix("\ufeff" if number == 0 else "")
        if shown == "":
            if values:
                yield name or "message", "\n".join(values)
            name, values = "", []
        field_name, _, value = shown.partition(":")
        value = value[1:] if value[:1] == " " else value
        if field_name == "data":
            values.append(value)
            _must(sum(len(value) + 1 for value in values) <= LIMIT)
        elif field_name == "event":
            name = value
    _must(len(rest) <= LIMIT)


def _decoded(line: bytes) -> str:
    _must(len(line) <= LIMIT)
    try:
        return line.decode()
    except UnicodeDecodeError:
        raise Bad("provider_malformed") from None


def _hear(heard: Heard, name: str, data: str) -> None:
    """One chunk of a reply."""
    try:
        chunk = json.loads(data)
    except (ValueError, RecursionError):
        raise Bad("provider_malformed") from None
    _must(isinstance(chunk, dict))
    if name == "error" or chunk.get("error"):
        raise Bad("provider_error")
    if isinstance(chunk.get("usage"), dict):
        heard.usage = _usage(chunk["usage"])
    for choice in _objects(chunk.get("choices")):
        if choice.get("index") is None or choice["index"] == 0:
            _choose(heard, choice)


def _choose(heard: Heard, choice: dict[str, Any]) -> None:
    delta = choice.get("delta")
    delta = delta if isinstance(delta, dict) else {}
    for name, kind in KINDS:
        text = delta.get(name)
        _must(text is None or isinstance(text, str))
        if text:
            heard.texts.append((kind, text))
    for piece in _objects(delta.get("tool_calls")):
        index = piece.get("index") or 0
        _must(isinstance(index, int))
        call = heard.calls.setdefault(index, {"id": "", "name": "", "arguments": ""})
        function = piece.get("function")
        function = function if isinstance(function, dict) else {}
        call["id"] = _word(piece.get("id")) or call["id"]
        call["name"] = _word(function.get("name")) or call["name"]
        call["arguments"] += _word(function.get("arguments"))
    heard.reason = normalised(_word(choice.get("finish_reason"))) or heard.reason


def _must(fits: bool) -> None:
    if not fits:
        raise Bad("provider_malformed")


def _objects(value: Any) -> list[dict[str, Any]]:
    items = [] if value is None else value
    _must(isinstance(items, list) and all(isinstance(item, dict) for item in items))
    return list(items)


def _word(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _call(call: dict[str, str]) -> Part:
    meta = {key: normalised(call[key]) for key in ("id", "name") if call[key]}
    return "tool_call", normalised(call["arguments"]) or "{}", meta or None


def _usage(usage: dict[str, Any]) -> dict[str, Any]:
    """Whole numbers that JavaScript can count to; of what is nested, one level."""
    details = {key: _counts(value) for key, value in usage.items() if isinstance(value, dict)}
    kept: dict[str, Any] = {**_counts(usage), **details}
    return {**{normalised(key): value for key, value in kept.items()}, "source": "reported"}


def _counts(usage: dict[str, Any]) -> dict[str, int]:
    return {
        normalised(key): value
        for key, value in usage.items()
        if type(value) is int and 0 <= value < 2**53
    }


def _estimate(parts: tuple[Part, ...]) -> dict[str, Any] | None:
    """Four characters are a token."""
    characters = sum(len(text) for _, text, _ in parts)
    return {"completion_tokens": -(-characters // 4), "source": "estimated"} if characters else None
