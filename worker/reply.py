"""What a chat-completions stream says, event by event. Pure: no I/O, no clock.

Written against what providers send, not only what they document: reasoning under two names,
usage in a chunk of its own, error objects of several shapes, noise.
"""

import json
from typing import Any, Final, Protocol

from shared.errors import GenerationFailed
from shared.sse import Event
from shared.text import Normaliser, normalise

_DECODER: Final = json.JSONDecoder()
#: Fields of a chunk's delta that carry text, and the kind of part they become.
_FIELDS: Final = {
    "reasoning_content": "reasoning",
    "reasoning": "reasoning",
    "content": "text",
    "refusal": "text",
}


class Write(Protocol):
    """Takes text of the answer; `fresh` begins a part even if the last one is of this kind.

    Without text it says that more of this kind came, which is shown later.
    """

    def __call__(
        self, kind: str, text: str, meta: dict[str, Any] | None = None, *, fresh: bool = False
    ) -> object: ...


class Reply:
    """Turns events into text, a finish reason and usage.

    Raises GenerationFailed: provider_malformed for what cannot be understood, provider_error for
    an error object in the stream.
    """

    def __init__(self, write: Write, limit: int) -> None:
        """`limit`: characters of tool calls that may wait for the end of the reply."""
        self._write = write
        self._limit = limit
        self._kind = ""
        self._normaliser = Normaliser()
        self._calls: dict[int, _Call] = {}
        self._collected = 0
        self.finish_reason: str | None = None
        self.usage: dict[str, Any] | None = None
        self.done = False

    @property
    def ended(self) -> bool:
        """Whether the provider said, explicitly, that this was all."""
        return self.done or self.finish_reason is not None

    def take(self, event: Event) -> None:
        """One event of the stream."""
        if event.data.strip() == "[DONE]":
            self.done = True
            return
        chunk = _object(event.data)
        if chunk.get("error") or event.event == "error":
            raise GenerationFailed("provider_error")
        if isinstance(chunk.get("usage"), dict):
            self.usage = usage_of(chunk["usage"])
        for choice in _list(chunk.get("choices")):
            if choice.get("index") in (0, None):
                self._choice(choice)

    def close(self) -> None:
        """No more events: whatever waits for its other half is written as it is."""
        self._flush()
        for call in self._calls.values():
            arguments = normalise("".join(call.arguments)) or "{}"
            self._write("tool_call", arguments, call.meta, fresh=True)
        self._calls.clear()
        self._collected = 0

    def _choice(self, choice: dict[str, Any]) -> None:
        delta = choice.get("delta")
        if isinstance(delta, dict):
            for field, kind in _FIELDS.items():
                text = delta.get(field)
                if text is not None and text != "":
                    self._text(kind, text)
            for call in _list(delta.get("tool_calls")):
                self._call(call)
        reason = choice.get("finish_reason")
        if reason and isinstance(reason, str):  # some send an empty one with every chunk
            self.finish_reason = normalise(reason)

    def _text(self, kind: str, text: Any) -> None:
        if not isinstance(text, str):
            raise GenerationFailed("provider_malformed")
        if kind != self._kind:
            self._flush()
            self._kind = kind
        shown = self._normaliser.feed(text)
        if shown:
            self._write(kind, shown)

    def _flush(self) -> None:
        rest = self._normaliser.flush()
        if rest:
            self._write(self._kind, rest)

    def _call(self, piece: dict[str, Any]) -> None:
        """Collect a tool call: several may grow in turns, but a body grows only at its end."""
        function = piece.get("function")
        function = function if isinstance(function, dict) else {}
        index = piece.get("index") or 0
        if not isinstance(index, int):
            raise GenerationFailed("provider_malformed")
        call = self._calls.setdefault(index, _Call())
        grown = call.add(piece.get("id"), function.get("name"), function.get("arguments"))
        if grown:
            self._write("tool_call", "")
            self._collected += grown
            if self._collected > self._limit:  # more than an answer may hold, so this is its end
                self.close()


class _Call:
    def __init__(self) -> None:
        self.meta: dict[str, Any] = {}
        self.arguments: list[str] = []

    def add(self, call_id: Any, name: Any, arguments: Any) -> int:
        """By how many characters it grew."""
        grown = 0
        for key, value in (("id", call_id), ("name", name)):
            if isinstance(value, str) and value:
                grown += 0 if key in self.meta else len(value)
                self.meta[key] = normalise(value)
        if isinstance(arguments, str) and arguments:
            self.arguments.append(arguments)
            grown += len(arguments)
        return grown


def _object(data: str) -> dict[str, Any]:
    try:
        value, end = _DECODER.raw_decode(data) if data.startswith("{") else (None, -1)
        if end != len(data):
            value = json.loads(data)  # it may be that there are spaces around it
    except (ValueError, RecursionError):
        raise GenerationFailed("provider_malformed") from None
    if not isinstance(value, dict):
        raise GenerationFailed("provider_malformed")
    return value


def _list(value: Any) -> list[dict[str, Any]]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise GenerationFailed("provider_malformed")
    return value


def usage_of(usage: dict[str, Any]) -> dict[str, Any]:
    """The counts of a usage object: whole numbers, nested details kept one level deep."""
    details = {
        normalise(key): _counts(value) for key, value in usage.items() if isinstance(value, dict)
    }
    return {**_counts(usage), **details, "source": "reported"}


def _counts(usage: dict[str, Any]) -> dict[str, Any]:
    return {normalise(key): value for key, value in usage.items() if _is_count(value)}


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53
