"""An answer as OpenAI's Chat Completions has it: chunks of a stream, or one object. Pure.

A chunk's `id` contains that of the message, for clients that show it and hide the headers.
"""

import uuid
from dataclasses import dataclass
from functools import cached_property
from json.encoder import encode_basestring_ascii
from typing import Any, Final

from flask import Request

from shared import sse
from shared.body import Body, Delta
from shared.errors import NotFound
from shared.lifecycle import OPEN, Status
from shared.parts import PartKind, is_text
from shared.store.messages import Message
from shared.tool_calls import ToolCall, call_id, calls_of
from web.dialects import openai_errors
from web.dialects.token_counts import count_of
from web.following.face import MessageFace
from web.following.message_topic import MessageTopic

#: Finish reasons that clients know.
REASONS: Final = frozenset(("stop", "length", "tool_calls", "content_filter"))
DONE: Final = b"data: [DONE]\n\n"
#: What ids of completions begin with.
_PREFIX: Final = "chatcmpl-"


@dataclass(frozen=True)
class ChunkFace(MessageFace):
    """`chat.completion.chunk` objects, and `[DONE]`."""

    id: str
    created: int
    #: as it was asked for
    model: str
    include_usage: bool

    @classmethod
    def of(cls, answer: Message, *, include_usage: bool) -> "ChunkFace":
        """The face of one answer."""
        created = int(answer.created_at.timestamp())
        return cls(completion_id(answer.id), created, answer.model or "", include_usage)

    def position(self, request: Request) -> int | None:  # noqa: ARG002
        """The beginning: these clients have no way to say more."""
        return self.start

    def open(self, source: MessageTopic, place: int) -> tuple[bytes, int]:  # noqa: ARG002
        """A chunk that names the role."""
        return self._chunk('{"role":"assistant","content":"","refusal":null}'), place

    def stretch(self, body: Body, delta: Delta) -> bytes:
        """One chunk; nothing of a part that this dialect has no name for."""
        # By hand, as in the native face.
        text = encode_basestring_ascii(delta.text)
        if is_text(delta.kind):
            return self._chunk(f'{{"content":{text}}}')
        if delta.kind == PartKind.REASONING:
            return self._chunk(f'{{"reasoning_content":{text}}}')
        if delta.kind == PartKind.TOOL_CALL:
            return self._chunk(sse.to_json({"tool_calls": [_call_piece(body, delta)]}))
        return b""

    def end(self, message: Message) -> bytes:
        """A finish reason, the usage if it was asked for, and `[DONE]`; or an error."""
        if message.status == Status.ERROR:
            _, error = openai_errors.failure(message)
            return b"data: %b\n\n" % sse.to_json({"error": error}).encode()
        reason = encode_basestring_ascii(finish_reason(message))
        chunks = self._chunk("{}", reason)
        if self.include_usage:
            used = sse.to_json(usage(message))
            chunks += f'{self._head}"choices":[],"usage":{used}}}\n\n'.encode()
        return chunks + DONE

    def cut(self, milliseconds: int) -> None:
        """Tear: a clean end would be taken for the end of the answer."""

    @cached_property
    def _head(self) -> str:
        """What every chunk begins with, up to its choices."""
        named = sse.to_json(
            {
                "id": self.id,
                "object": "chat.completion.chunk",
                "created": self.created,
                "model": self.model,
            }
        )
        return f"data: {named[:-1]},"

    def _chunk(self, delta: str, reason: str = "null") -> bytes:
        rest = ',"usage":null' if self.include_usage else ""
        return (
            f'{self._head}"choices":[{{"index":0,"delta":{delta},"logprobs":null,'
            f'"finish_reason":{reason}}}]{rest}}}\n\n'
        ).encode("ascii")


def _call_piece(body: Body, delta: Delta) -> dict[str, Any]:
    """A piece of a tool call; the first one names the call."""
    index = sum(part.kind == PartKind.TOOL_CALL for part in body.parts[: delta.part])
    if delta.start > body.parts[delta.part].start:
        return {"index": index, "function": {"arguments": delta.text}}
    named = delta.meta or {}
    call = ToolCall(call_id(named, index), named.get("name") or "", delta.text)
    return {"index": index, **_call(call)}


def _call(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function}


def completion(message: Message, face: ChunkFace) -> dict[str, Any]:
    """An answer as one object. One that has not ended, or failed, has no finish reason."""
    parts = message.body.parts
    calls = [_call(one) for one in calls_of(message.body)]
    thoughts = "".join(one.text for one in parts if one.kind == PartKind.REASONING)
    said: dict[str, Any] = {
        "role": "assistant",
        "content": message.body.text or (None if calls else ""),
        "refusal": None,
    }
    if thoughts:
        said["reasoning_content"] = thoughts
    if calls:
        said["tool_calls"] = calls
    is_whole = message.status not in OPEN and message.status != Status.ERROR
    choice = {
        "index": 0,
        "message": said,
        "logprobs": None,
        "finish_reason": finish_reason(message) if is_whole else None,
    }
    failed = message.status == Status.ERROR
    return {
        **({"error": openai_errors.failure(message)[1]} if failed else {}),
        "id": face.id,
        "object": "chat.completion",
        "created": face.created,
        "model": face.model,
        "choices": [choice],
        "usage": usage(message),
    }


def completion_id(message_id: uuid.UUID) -> str:
    """The id of the completion that this message is."""
    return f"{_PREFIX}{message_id}"


def message_id_of(name: str) -> uuid.UUID:
    """The id of the message that a completion is, from the id of either. Raises NotFound."""
    try:
        return uuid.UUID(name.removeprefix(_PREFIX))
    except ValueError:
        raise NotFound("There is no such completion.") from None


def finish_reason(message: Message) -> str:
    """In a word that these clients know. One that was stopped has none of its own."""
    reason = message.finish_reason
    return reason if reason in REASONS else "stop"


def usage(message: Message) -> dict[str, Any] | None:
    """What the provider reported, as it named it; None if it reported nothing."""
    found = message.usage or {}
    if found.get("source") != "reported":
        return None
    named = {name: value for name, value in found.items() if name not in ("source", "left_out")}
    if not named:
        return None
    sent = count_of(named, "prompt_tokens", "input_tokens") or 0
    written = count_of(named, "completion_tokens", "output_tokens") or 0
    totals = {
        "prompt_tokens": sent,
        "completion_tokens": written,
        "total_tokens": sent + written,
    }
    return {**totals, **named}
