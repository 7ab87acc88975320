"""OpenAI's Chat Completions: for clients that know nothing of us but a base URL.

Such a client sends its whole history and reads one answer. Underneath is an ordinary run: its place
in the user's conversations is found by what was said (`shared/store/threads.py`), a worker writes
it, it outlives its client, and every other face shows it. Two headers name it for whoever wants to
follow it later: Outlive-Message-Id and Outlive-Conversation-Id. A chunk's `id` names it, too.

**When the response begins.** An SDK repeats a request that was refused with 429 or 5xx, and tells
its caller what a provider refused by the status. So the head of a stream waits for the first text
or the end, for HEAD_SECONDS at most; what fails later is an error object in the stream. A response
that is no stream waits for the end.

**A repeat joins** (Idempotency-Key, or `x-stainless-retry-count` of 1 and more): the answer is
given from its first character, because an SDK that repeats has consumed nothing. Whatever goes
wrong here after the question is committed has therefore a status that SDKs repeat.

**A cut** tears the connection: these clients take a clean end for the whole answer.
"""

import uuid
from dataclasses import dataclass
from functools import cached_property
from json.encoder import encode_basestring_ascii
from typing import Any, Final

from flask import Blueprint, Request, Response, jsonify, request

from shared import sse
from shared.body import Body, Delta
from shared.lifecycle import Status
from shared.parts import PartKind, is_text
from shared.store.messages import Message
from shared.store.threads import History
from shared.tool_calls import ToolCall, call_id, calls_of
from web import gateway, openai_errors, openai_request, requests, responses
from web.asking import InThread
from web.auth import current_user, principal
from web.context import context
from web.following.face import MessageFace
from web.following.message_topic import MessageTopic
from web.gateway import SameRequest
from web.openai_request import ChatCompletion, ChatQuestion
from web.streams import response_of

blueprint = Blueprint("chat_completions", __name__, url_prefix="/v1")
openai_errors.register(blueprint)

#: Seconds that the head of a stream waits for the answer's first text or its end. Less than any
#: proxy waits for a response.
HEAD_SECONDS: Final = 15.0
#: Finish reasons that clients know.
REASONS: Final = frozenset(("stop", "length", "tool_calls", "content_filter"))
DONE: Final = b"data: [DONE]\n\n"

# --- asking --------------------------------------------------------------------------------------


@blueprint.post("/chat/completions")
def create() -> Response:
    """The answer to the last of `messages`: whole, or with `stream` as it is written."""
    sent = requests.json_body(ChatCompletion)
    asked_for = openai_request.question(current_user(), sent)
    same = gateway.same_request(sent, gateway.CONVERSATION)
    asked = context().asker.ask(
        InThread(_history(asked_for, same)),
        user_id=current_user(),
        model=sent.model,
        options=asked_for.options,
        key=same.key,
        request_hash=same.request_hash,
        key_id=principal().key_id,
    )
    # It is committed. From here on a repeat joins it, so nothing is a refusal.
    face = ChunkFace.of(asked.answer, include_usage=asked_for.include_usage)
    begin = _begin_stream if asked_for.streams else _whole
    try:
        response = begin(asked.answer, face, final=same.key is not None)
    except Exception as error:  # noqa: BLE001 - it is answered, and logged if it is a bug
        response = openai_errors.response_to(error)
    return gateway.named(response, asked.answer)


def _history(asked_for: ChatQuestion, same: SameRequest) -> History:
    header = request.headers.get(gateway.CONVERSATION)
    conversation = (
        openai_request.conversation_id(header, gateway.CONVERSATION)
        if header is not None
        else asked_for.conversation_id
    )
    return History(
        turns=asked_for.turns,
        system=asked_for.system,
        conversation_id=conversation,
        repeat_hash=same.repeat_hash,
        is_repeat=same.is_repeat,
    )


def _begin_stream(answer: Message, face: "ChunkFace", *, final: bool) -> Response:
    """The stream, once it has begun; or what the answer failed with before."""
    found = gateway.begun(answer, face, HEAD_SECONDS)
    if found is None:
        return openai_errors.again()
    if isinstance(found, Message):
        return openai_errors.response_to_failure(found, final=final)
    return response_of(found)


def _whole(answer: Message, face: "ChunkFace", *, final: bool) -> Response:
    """The answer once it has ended."""
    end = gateway.ended(answer, face)
    if end is None:
        return openai_errors.again()
    if end.status == Status.ERROR:
        return openai_errors.response_to_failure(end, final=final)
    return responses.json_reply(completion(end, face))


# --- models --------------------------------------------------------------------------------------


@blueprint.get("/models")
def list_models() -> Response:
    """The provider's models, the one of this service first."""
    listed = context().models.listed()["items"]
    return jsonify({"object": "list", "data": [_model(one["id"]) for one in listed]})


@blueprint.get("/models/<path:name>")
def show_model(name: str) -> Response:
    """One of them."""
    if any(one["id"] == name for one in context().models.listed()["items"]):
        return jsonify(_model(name))
    return openai_errors.response(404, "There is no such model.", "model_not_found", "model")


def _model(name: str) -> dict[str, Any]:
    # When it was made, and by whom, is not known; the SDKs want numbers and words there.
    return {"id": name, "object": "model", "created": 0, "owned_by": "outlive"}


# --- the answer ----------------------------------------------------------------------------------


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
    """An answer that has ended, as one object."""
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
    choice = {
        "index": 0,
        "message": said,
        "logprobs": None,
        "finish_reason": finish_reason(message),
    }
    return {
        "id": face.id,
        "object": "chat.completion",
        "created": face.created,
        "model": face.model,
        "choices": [choice],
        "usage": usage(message),
    }


def completion_id(message_id: uuid.UUID) -> str:
    """An id for clients that show it and hide the headers: it contains that of the message."""
    return f"chatcmpl-{message_id}"


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
    sent = named.get("prompt_tokens", named.get("input_tokens", 0))
    written = named.get("completion_tokens", named.get("output_tokens", 0))
    totals = {
        "prompt_tokens": sent,
        "completion_tokens": written,
        "total_tokens": sent + written,
    }
    return {**totals, **named}
