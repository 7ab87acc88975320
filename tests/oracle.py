"""What has to come of a provider's stream, read the slow and simple way.

Nothing here is the product's: the bytes are there as a whole, cut into lines by one regular
expression, decoded, and read event by event. What it knows is what is documented: an explicit end
is [DONE], or a finish reason that no text follows; nothing counts after [DONE]; an end without any
answer is none; anything else is an ERROR, and everything before it is kept.
"""

import json
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import Any, Final

from scripted.answers import normalised
from scripted.mutations import Close, Stream

#: Bytes of a line, and of an event's data with its line ends.
LIMIT: Final = 700_000
#: Lists in one event, about: more would take the worker too long.
STRUCTURE: Final = 40_000
#: How an answer ends whose provider never reported its end.
CUT: Final[dict[Close, str]] = {
    "whole": "provider_cut",
    "closed": "provider_cut",
    "reset": "provider_cut",
    "torn": "provider_cut",
    "hanging": "provider_stalled",
}
#: Data that says nothing.
NOTHING: Final = ("", "null", "ping", "pong", "keep-alive", "keepalive", "heartbeat")
#: The finish reasons that the mutations know, and words that are none.
KNOWN: Final = {
    **{name: name for name in ("stop", "length", "content_filter", "tool_calls")},
    **dict.fromkeys(("tool_call", "tool", "tools", "toolcalls"), "tool_calls"),
    **dict.fromkeys(("filter", "contentfilter"), "content_filter"),
}
#: The first half of a surrogate pair, at the end.
HALF_AT_END: Final = re.compile("[\ud800-\udbff]\\Z")
NONE: Final = re.compile(r"[\W_]*(null|none|nil|undefined|unspecified)?[\W_]*", re.ASCII)

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
class Reply:
    """A reply as far as it was read."""

    texts: list[tuple[str, str]] = field(default_factory=list)
    calls: list[dict[str, Any]] = field(default_factory=list)
    #: texts that came before the first call was shown, and that call as it was then; None: it is
    #: not shown before the end
    before: int | None = None
    shown: dict[str, Any] = field(default_factory=dict)
    reason: str | None = None
    usage: dict[str, Any] | None = None
    done: bool = False
    #: blanks before its first word are shown with that word; None: it has come
    blanks: str | None = ""
    #: nothing of the answer came after the finish reason
    last: bool = False

    @property
    def ended(self) -> bool:
        """Whether the provider ended it explicitly."""
        return self.done or (self.reason is not None and self.last)

    @property
    def answered(self) -> bool:
        """Whether there is anything to be done with."""
        text = "".join(text for kind, text in self.texts if kind == "text")
        return bool(text.strip() or self.calls) or self.reason in ("length", "content_filter")

    def parts(self) -> tuple[Part, ...]:
        """Neighbours of one kind are one part; the calls stand at the end, or where the first one
        was shown.

        Where the reply breaks off within a surrogate pair, the half that came is dropped.
        """
        rest = [("text", self.blanks)] if self.blanks else []
        texts, calls = [*self.texts, *rest], self.calls
        if self.before is None:
            shown = [_call(call, ended=self.ended) for call in calls]
            return (*_runs(texts, ended=self.ended), *shown)
        first = {**calls[0], "id": self.shown["id"], "name": self.shown["name"]}
        return (
            *_runs(texts[: self.before], ended=True),
            *(_call(call, ended=self.ended) for call in (first, *calls[1:])),
            *_runs(texts[self.before :], ended=self.ended),
        )


def _runs(texts: list[tuple[str, str]], *, ended: bool) -> list[Part]:
    """Texts as parts."""
    groups = groupby(texts, key=lambda item: item[0])
    runs = [(kind, "".join(text for _, text in run)) for kind, run in groups]
    if runs and not ended:
        kind, text = runs.pop()
        text = HALF_AT_END.sub("", text)
        runs += [(kind, text)] if text else []
    return [(kind, normalised(text), None) for kind, text in runs]


def verdict(stream: Stream) -> Verdict:
    """The right result of a stream."""
    reply, code = Reply(), None
    try:
        for step in _steps(stream, reply):
            step()
            if reply.done:
                break
    except Bad as bad:
        code = str(bad)
    if code is None and not reply.ended:
        code = CUT[stream.close]
    if code is None and not reply.answered:
        code = "provider_empty"
    return _judged(reply, code)


def interrupted(stream: Stream) -> Iterator[Verdict]:
    """What is right as well where a machine was so busy that the rest came too late: of each
    event, the right result if nothing follows."""
    reply = Reply()
    yield _judged(reply, "provider_stalled")
    with suppress(Bad):
        for step in _steps(stream, reply):
            step()
            if not reply.ended:
                yield _judged(reply, "provider_stalled")
            else:
                yield _judged(reply, None if reply.answered else "provider_empty")
            if reply.done:
                break


def _steps(stream: Stream, reply: Reply) -> Iterator[Any]:
    """One after another, what is to be understood: events, or the values of one document."""
    begun = stream.data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1]
    if begun == b"<":
        raise Bad("provider_malformed")
    if begun in (b"{", b"["):
        yield from _document(stream, reply)
        return
    for name, data in _events(stream.data):
        yield lambda name=name, data=data: _take(reply, name, data)


def _document(stream: Stream, reply: Reply) -> Iterator[Any]:
    """A body that is JSON is understood when it has ended; of a cut one, what is before the cut."""
    if stream.close == "hanging" and len(stream.data) <= LIMIT:
        return
    text, understood, broken = stream.data.decode("utf-8", "replace").strip(), False, False

    def take(chunk: Any) -> None:
        nonlocal broken
        try:
            _take_chunk(reply, "message", chunk)
        except Bad as bad:
            broken = True
            if whole or str(bad) != "provider_malformed":
                raise

    whole = stream.close == "whole" or len(stream.data) > LIMIT
    try:
        _must(len(stream.data) <= LIMIT and len(text.encode()) <= LIMIT)
        for value in _values(text):
            for chunk in value if isinstance(value, list) else [value]:
                if isinstance(chunk, dict) and chunk.get("choices"):
                    understood = True
                yield partial(take, chunk)
                if broken:
                    return
        _must(understood)
    except Bad:
        if whole:
            raise


def _take(reply: Reply, name: str, data: str) -> None:
    data = data.strip()
    if name == "error":
        raise Bad("provider_error")
    if data.strip('"') == "[DONE]":
        reply.done = True
    elif data.lower() not in NOTHING and name not in ("ping", "heartbeat"):
        for value in _values(data):
            _take_chunk(reply, name, value)
            if reply.done:
                return


def _values(data: str) -> Iterator[Any]:
    """The values that follow one another."""
    _must(data.count("[") <= STRUCTURE)
    while data:
        if data == "[DONE]":
            yield ...
            return
        try:
            value, end = json.JSONDecoder(strict=False).raw_decode(data)
        except (ValueError, RecursionError):
            raise Bad("provider_malformed") from None
        yield value
        data = data[end:].lstrip()


def _judged(reply: Reply, code: str | None) -> Verdict:
    parts = reply.parts()
    if code is None:
        return Verdict("DONE", None, reply.reason or "stop", reply.usage, parts)
    return Verdict("ERROR", code, None, _estimate(parts), parts)


def _events(data: bytes) -> Iterator[tuple[str, str]]:
    """(name, data) of each: WHATWG HTML 9.2, but strict about size, and with a field `error`."""
    name, values = "", list[bytes]()
    *lines, rest = re.split(rb"\r\n|\n|\r", data)
    for number, whole in enumerate(lines):
        _must(len(whole) + sum(len(value) + 1 for value in values) <= LIMIT)
        line = whole.removeprefix(b"\xef\xbb\xbf") if number == 0 else whole
        if line == b"":
            if values:
                yield name or "message", b"\n".join(values).decode("utf-8", "replace")
            name, values = "", []
        field_name, _, value = line.partition(b":")
        value = value[1:] if value[:1] == b" " else value
        if field_name in (b"data", b"error"):
            values.append(value)
            _must(sum(len(value) + 1 for value in values) <= LIMIT)
        if field_name == b"error":
            name = "error"
        elif field_name == b"event":
            name = value.decode("utf-8", "replace")
    _must(len(rest) + sum(len(value) + 1 for value in values) <= LIMIT)


def _take_chunk(reply: Reply, name: str, chunk: Any) -> None:
    """One chunk of a reply."""
    if chunk is ...:
        reply.done = True
        return
    _must(isinstance(chunk, dict))
    if name == "error" or _is_fault(chunk):
        raise Bad("provider_error")
    if isinstance(chunk.get("usage"), dict) and chunk["usage"]:
        reply.usage = _usage(chunk["usage"])
    for choice in _objects(chunk.get("choices")):
        if choice.get("index") is None or choice["index"] == 0:
            _choose(reply, choice)


def _is_fault(chunk: dict[str, Any]) -> bool:
    """Of the shapes of an error those that the mutations can make."""
    message = chunk.get("message")
    bare = "choices" not in chunk and not chunk.get("object")
    return bool(chunk.get("error") or (bare and isinstance(message, str) and message))


def _choose(reply: Reply, choice: dict[str, Any]) -> None:
    before = _came(reply)
    delta = choice.get("delta")
    delta = delta if isinstance(delta, dict) else {}
    thoughts = list[str]()
    for key in ("reasoning_content", "reasoning"):
        thought = "".join(text for _, text in _pieces(delta.get(key), "reasoning"))
        if thought and thought not in thoughts:
            thoughts.append(thought)
            reply.texts.append(("reasoning", thought))
    for key in ("content", "refusal"):
        for kind, text in _pieces(delta.get(key), "text"):
            shown = text if reply.blanks is None else reply.blanks + text
            reply.blanks = shown if reply.blanks is not None and shown.isspace() else None
            if reply.blanks is None:
                reply.texts.append((kind, shown))
    for place, piece in enumerate(_objects(delta.get("tool_calls"))):
        _grow(reply, piece, place)
    if _came(reply) != before:
        reply.last = False
    if choice.get("error"):
        raise Bad("provider_error")
    given = _text(choice.get("finish_reason"))
    if given and not (given.isascii() and NONE.fullmatch(given)):
        spelling = re.sub("[^a-z0-9]+", "_", given.strip().lower()).strip("_")
        reason = KNOWN.get(spelling) or normalised(given)
        stays = reply.last and reply.reason in ("length", "content_filter") and reason == "stop"
        reply.reason = reply.reason if stays else reason
        reply.last = True


def _came(reply: Reply) -> tuple[int, list[tuple[str, str, str]]]:
    """What has come of the answer, to be compared."""
    return len(reply.texts), [(one["id"], one["name"], one["arguments"]) for one in reply.calls]


def _pieces(value: Any, kind: str) -> list[tuple[str, str]]:
    """Content of the shapes that the mutations can make."""
    if isinstance(value, list):
        return [piece for item in value for piece in _pieces(item, kind)]
    if isinstance(value, dict):
        return _pieces(value.get("text", value.get("content")), kind)
    _must(not value or isinstance(value, str))
    return [(kind, value)] if value else []


def _grow(reply: Reply, piece: dict[str, Any], place: int) -> None:
    """A piece of a tool call: another id with a name of its own begins another one."""
    index = piece.get("index")
    index = (place if index is None else index) or 0
    _must(isinstance(index, int))
    function = piece.get("function")
    function = function if isinstance(function, dict) else {}
    call_id, name = _text(piece.get("id")), _text(function.get("name"))
    mine = [call for call in reply.calls if call["index"] == index]
    current = max(mine, key=lambda call: call["used"], default=None)
    same = [call for call in mine if call_id and call["first_id"] == call_id]
    if same:
        current = same[0]
    elif current is not None and call_id and name and current["id"] not in ("", call_id):
        current = None
    if current is None:
        current = {"index": index, "id": "", "name": "", "arguments": "", "first_id": call_id}
        reply.calls.append(current)
    current["used"] = 1 + max((call.get("used", 0) for call in reply.calls), default=0)
    arguments = function.get("arguments")
    if isinstance(arguments, dict | list) and arguments:
        arguments = json.dumps(arguments, ensure_ascii=False)
    current["id"] = call_id or current["id"]
    current["name"] = name or current["name"]
    current["arguments"] += _text(arguments)
    first = reply.calls[0]
    is_known = first["id"] and first["name"] and HALF_AT_END.sub("", first["arguments"])
    if is_known and reply.before is None and not reply.blanks:
        reply.before, reply.shown = len(reply.texts), dict(first)


def _must(fits: bool) -> None:
    if not fits:
        raise Bad("provider_malformed")


def _objects(value: Any) -> list[dict[str, Any]]:
    items = [] if value is None else value
    _must(isinstance(items, list) and all(isinstance(item, dict) for item in items))
    return list(items)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _call(call: dict[str, str], *, ended: bool = True) -> Part:
    meta = {key: normalised(call[key]) for key in ("id", "name") if call[key]}
    arguments = call["arguments"] if ended else HALF_AT_END.sub("", call["arguments"])
    return "tool_call", normalised(arguments) or "{}", meta or None


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
