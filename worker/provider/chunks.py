"""Chunks of a chat completion, in every shape that servers were seen to send. Pure.

Each event of a stream passes through here alone. So the common chunk, which has nothing but text,
takes the shortest way: `take`, `_chunk`, `_choice`, `Reply.append`.
"""

import json
from collections.abc import Iterator
from typing import Any, Final

from shared.errors import GenerationFailed
from shared.parts import is_text
from shared.sse import Event
from shared.text import normalise
from worker.provider import json_values, stream_errors
from worker.provider.content import LEFT_OUT, flatten
from worker.provider.json_values import DONE, WINDOW, decode, is_cheap
from worker.provider.refusals import Refusal, RequestForm, classify_in_stream
from worker.provider.reply import Reply

#: Choices, tool calls or documents that may come at once.
AT_ONCE_MAX: Final = 1_000
#: Fields of a delta with thoughts, of which several may hold the same one; and fields that repeat
#: thoughts of those.
_THOUGHTS: Final = ("reasoning_content", "reasoning", "reasoning_text", "thinking")
_REPEATED_THOUGHTS: Final = ("reasoning_details", "thinking_blocks")
#: Fields with media.
_MEDIA: Final = ("images", "image", "audio")
#: Data, and names of events, that only keep a connection open.
_NO_DATA: Final = frozenset(("", "null", "ping", "pong", "keep-alive", "keepalive", "heartbeat"))
_KEEP_ALIVE: Final = frozenset(("ping", "keep-alive", "keepalive", "heartbeat"))


class ChunkParser:
    """Parses events and documents into a Reply.

    Raises GenerationFailed: provider_malformed for what cannot be understood, provider_error for
    an error in the stream. Raises Refusal instead for an error that came before any text, if
    refusals.py can classify it.
    """

    def __init__(self, reply: Reply, form: RequestForm | None = None) -> None:
        """`form`: that of the request, which an error may be about."""
        self.reply = reply
        self._form = form or RequestForm()

    def take(self, event: Event) -> None:
        """Take one event of a stream."""
        data = event.data
        if data[:1] == "{" and event.event != "error":
            chunk: dict[str, Any] = {}
            try:
                chunk, end = decode(data) if is_cheap(data) else (chunk, -1)
            except (ValueError, RecursionError):
                end = -1
            if end == len(data):
                self._chunk(chunk)
                return
        self._odd_event(event)

    def take_document(self, document: bytes) -> Iterator[None]:
        """Take a reply that is no stream but one JSON document, or several after one another.

        Yields where others may have a turn. Of documents that follow, only bytes are held.
        """
        document = json_values.clean(document)
        at, room, understood = 0, WINDOW, False
        while at < len(document) and not self.reply.done:
            found = json_values.value_at(document, at, room)
            if found is None:
                room *= 8
            else:
                room, at = WINDOW, found[1]
                understood = self._document(found[0]) or understood
                del found
            yield
        if not understood and not self.reply.done:
            raise GenerationFailed("provider_malformed")

    def _document(self, value: Any) -> bool:
        """Take a document, or each of a list of them; whether there was a choice in it."""
        understood = False
        for chunk in value if isinstance(value, list) else [value]:
            self._value(chunk)
            if self.reply.done:
                break
            if isinstance(chunk, dict) and chunk.get("choices"):
                understood = True
                if self.reply.finish_reason is None and "message" in chunk["choices"][0]:
                    self.reply.finish("stop")  # the document is whole, or it would not parse
        return understood

    def _odd_event(self, event: Event) -> None:
        """Take an event whose data is not exactly one JSON object."""
        data = event.data.strip()
        if event.event == "error":
            try:
                error = json.loads(data, strict=False)
            except (ValueError, RecursionError):
                error = data
            raise self._failure(error or "error")
        if data.strip('"') == "[DONE]":
            self.reply.done = True
        elif data.lower() not in _NO_DATA and event.event not in _KEEP_ALIVE:
            # Some servers leave out the blank line between two events.
            for number, value in enumerate(json_values.values(data)):
                self._value(value)
                if self.reply.done:
                    return
                if number >= AT_ONCE_MAX:
                    raise GenerationFailed("provider_malformed")

    def _value(self, value: Any) -> None:
        if value is DONE:
            self.reply.done = True
        elif isinstance(value, dict):
            self._chunk(value)
        else:
            raise GenerationFailed("provider_malformed")

    def _chunk(self, chunk: dict[str, Any]) -> None:
        choices = chunk.get("choices")
        if not choices or "error" in chunk or "base_resp" in chunk:
            error = stream_errors.error_in(chunk)
            if error is not None:
                raise self._failure(error)
        usage = chunk.get("usage")
        if usage:
            self.reply.set_usage(usage)
        for choice in _objects(choices):
            if choice.get("index") in (0, None):
                self._choice(choice, chunk)

    def _choice(self, choice: dict[str, Any], chunk: dict[str, Any]) -> None:
        reply = self.reply
        delta: Any = choice.get("delta")
        text = delta.get("content") if isinstance(delta, dict) else None
        if text and type(text) is str and (len(delta) == 1 or _has_only_content(delta)):
            if reply.plain:
                reply.append("text", text)
            else:
                reply.text(text)
        else:
            self._delta(self._delta_of(choice, chunk))
        if "usage" in choice:
            reply.set_usage(choice["usage"])
        if choice.get("error"):
            raise self._failure(choice["error"])
        reason = choice.get("finish_reason")
        if reason:
            reply.finish(reason)

    def _delta_of(self, choice: dict[str, Any], chunk: dict[str, Any]) -> dict[str, Any]:
        """The delta of a choice, or what stands in its place: a message, or bare text."""
        delta, message = choice.get("delta"), choice.get("message")
        if isinstance(delta, dict) and delta:
            return delta
        if isinstance(message, dict):
            # A whole message at the end of a stream repeats the text that was streamed.
            repeats = chunk.get("object") == "chat.completion" and self.reply.progress
            return {} if repeats else message
        return {"content": choice["text"]} if isinstance(choice.get("text"), str) else {}

    def _delta(self, delta: dict[str, Any]) -> None:
        thoughts: set[str] = set()
        for field in _THOUGHTS:
            if delta.get(field):
                self._thought(delta[field], thoughts)
        for field in _REPEATED_THOUGHTS:
            if not thoughts and delta.get(field):
                self._thought(delta[field], thoughts)
        for field in ("content", "refusal"):
            self._content(delta.get(field), thoughts)
        for field in _MEDIA:
            if delta.get(field):
                media = delta[field]
                self.reply.leave_out(len(media) if isinstance(media, list) else 1)
        for place, call in enumerate(_objects(delta.get("tool_calls"))):
            self._tool_call(call, place)
        if isinstance(delta.get("function_call"), dict):  # the older form of tool calls
            self._tool_call({"function": delta["function_call"]}, 0)

    def _thought(self, value: Any, known: set[str]) -> None:
        """Take the thoughts of one field, unless another field of this chunk had the same."""
        thought = "".join(text for _, text in flatten(value, "reasoning"))
        if thought and thought not in known:
            known.add(thought)
            self.reply.append("reasoning", thought)

    def _content(self, content: Any, thoughts: set[str]) -> None:
        """Take content, but for those of `thoughts`, which other fields had."""
        for kind, text in flatten(content, "text"):
            if is_text(kind):
                self.reply.text(text)
            elif kind == LEFT_OUT:
                self.reply.leave_out(1)
            elif text not in thoughts:
                self.reply.append(kind, text)

    def _tool_call(self, piece: dict[str, Any], place: int) -> None:
        """Take a piece of a tool call. `place`: its index, if it names none."""
        function = piece.get("function")
        function = function if isinstance(function, dict) else {}
        index = piece.get("index")
        index = (place if index is None else index) or 0
        if not isinstance(index, int):
            raise GenerationFailed("provider_malformed")
        call_id, name = _storable(piece.get("id")), _storable(function.get("name"))
        arguments = function.get("arguments")
        if isinstance(arguments, (dict, list)) and arguments:
            arguments = json.dumps(arguments, ensure_ascii=False)
        self.reply.tool_call(index, call_id, name, arguments if isinstance(arguments, str) else "")

    def _failure(self, error: Any) -> Exception:
        """The exception for an error: a Refusal if it came first and can be classified."""
        if not self.reply.begun:
            status, text = stream_errors.status_in(error), stream_errors.text_of(error)
            found = classify_in_stream(status, text, self._form)
            if found is not None:
                return Refusal(found, status=status or None, in_stream=True)
        return GenerationFailed("provider_error")


def _has_only_content(delta: dict[str, Any]) -> bool:
    """Whether all but its content is empty: many send a role, and null for the rest."""
    return all(not delta[key] or key in ("content", "role") for key in delta)


def _objects(value: Any) -> list[dict[str, Any]]:
    """A list of JSON objects, or nothing for null. Raises GenerationFailed for anything else."""
    if value is None:
        return []
    if type(value) is list and len(value) == 1 and type(value[0]) is dict:
        return value
    if (
        not isinstance(value, list)
        or len(value) > AT_ONCE_MAX
        or not all(isinstance(item, dict) for item in value)
    ):
        raise GenerationFailed("provider_malformed")
    return value


def _storable(value: Any) -> str:
    return normalise(value) if isinstance(value, str) else ""
