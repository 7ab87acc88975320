"""Anthropic's Messages: for clients that speak only that, and know of us but a base URL.

As `chat_completions.py`, which says when a response begins, what a repeat is, and why a cut tears:
the clients behave alike. Underneath is the same ordinary run, found by what was said, so that a
conversation may go on in either dialect, or in the page.

A part of a body is a *block*: `text`, `thinking` (reasoning) or `tool_use` (a call of a tool).
Blocks are counted from 0 without gaps, as the SDK appends them; a part of a kind that this dialect
has no name for is none. A block ends where the next one begins, or with the message.

**Stop reasons.** `tool_use` where a complete answer has calls: a client runs them for that word.
Else what the provider said, in Anthropic's words; `end_turn` for an answer that was stopped, and
for a stop sequence, as providers here do not say which end it was.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii
from typing import Any, Final

from flask import Blueprint, Request, Response, request
from werkzeug.exceptions import NotFound

from shared import sse
from shared.body import Body, Delta
from shared.lifecycle import Status
from shared.parts import PartKind
from shared.store.messages import Message
from shared.store.threads import History
from shared.tool_calls import call_id, value_of
from web import aside, requests, responses
from web.asking import InThread
from web.auth import current_user, principal
from web.context import context
from web.dialects import anthropic_errors, anthropic_request, gateway
from web.dialects.anthropic_request import Question
from web.dialects.anthropic_shapes import Messages
from web.dialects.gateway import SameRequest
from web.dialects.openai_request import conversation_id
from web.dialects.token_counts import count_of
from web.following.face import MessageFace
from web.following.message_topic import MessageTopic
from web.streams import response_of

blueprint = Blueprint("anthropic", __name__, url_prefix="/v1/messages")

#: Stored finish reason -> stop reason.
REASONS: Final[Mapping[str, str]] = {"length": "max_tokens", "content_filter": "refusal"}
#: Seconds that the head of a stream waits for the answer's first text or its end.
HEAD_SECONDS: Final = 15.0
#: What of a request changed nothing; and the header that asks for features of Anthropic's service.
IGNORED: Final = "Outlive-Ignored"
BETA: Final = "anthropic-beta"
#: What is below /v1/messages at Anthropic, and what to do instead.
ABSENT: Final[Mapping[str, str]] = {
    "count_tokens": "only the provider can count, and reports the tokens with each answer",
    "batches": "send a request for each answer; it is written to its end, whoever waits",
}
#: Characters of a path that are echoed.
PATH_CHARS: Final = 100

# --- asking --------------------------------------------------------------------------------------


@blueprint.post("")
def create() -> Response:
    """The answer to the last of `messages`: whole, or with `stream` as it is written."""
    sent = requests.json_body(Messages)
    asked_for = aside.read(anthropic_request.question, sent, current_user())
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
    begin = _begin_stream if asked_for.streams else _whole
    try:
        response = begin(asked.answer, MessagesFace.of(asked.answer), final=same.key is not None)
    except Exception as error:  # noqa: BLE001 - it is answered, and logged if it is a bug
        response = anthropic_errors.response_to(error)
    ignored = [*asked_for.ignored, *([BETA] if BETA in request.headers else [])]
    if ignored:
        response.headers[IGNORED] = ", ".join(ignored)
    return gateway.named(response, asked.answer)


def _history(asked_for: Question, same: SameRequest) -> History:
    header = request.headers.get(gateway.CONVERSATION)
    return History(
        turns=asked_for.turns,
        system=asked_for.system,
        conversation_id=None if header is None else conversation_id(header, gateway.CONVERSATION),
        repeat_hash=same.repeat_hash,
        is_repeat=same.is_repeat,
    )


def _begin_stream(answer: Message, face: "MessagesFace", *, final: bool) -> Response:
    """The stream, once it has begun; or what the answer failed with before."""
    found = gateway.begun(answer, face, HEAD_SECONDS)
    if found is None:
        return anthropic_errors.again()
    if isinstance(found, Message):
        return anthropic_errors.response_to_failure(found, final=final)
    return response_of(found)


def _whole(answer: Message, face: "MessagesFace", *, final: bool) -> Response:
    """The answer once it has ended."""
    end = gateway.ended(answer, face)
    if end is None:
        return anthropic_errors.again()
    if end.status == Status.ERROR:
        return anthropic_errors.response_to_failure(end, final=final)
    return responses.json_reply(whole(end, face))


# --- what there is not ---------------------------------------------------------------------------


@blueprint.route("/<path:rest>", methods=["GET", "POST", "DELETE"])
def nothing(rest: str) -> Response:
    """404, in this dialect's form; what Anthropic has there is named."""
    name = rest.partition("/")[0]
    if name not in ABSENT:
        raise NotFound
    sentence = f"{request.path[:PATH_CHARS]} is not supported here: {ABSENT[name]}."
    return anthropic_errors.response(404, sentence, "not_found")


# --- the answer ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class MessagesFace(MessageFace):
    """`message_start`, blocks, `message_delta` and `message_stop`."""

    id: str
    #: as it was asked for
    model: str

    @classmethod
    def of(cls, answer: Message) -> "MessagesFace":
        """The face of one answer."""
        return cls(f"msg_{answer.id}", answer.model or "")

    def position(self, request: Request) -> int | None:  # noqa: ARG002
        """The beginning: these clients have no way to say more."""
        return self.start

    def open(self, source: MessageTopic, place: int) -> tuple[bytes, int]:  # noqa: ARG002
        """A message without content."""
        empty = {
            **_message(self.id, self.model),
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 0, "output_tokens": 0},
        }
        return _event({"type": "message_start", "message": empty}), place

    def stretch(self, body: Body, delta: Delta) -> bytes:
        """A delta of a block, which it may begin; nothing of a part that is no block."""
        head = _DELTAS.get(delta.kind)
        if head is None:
            return b""
        kind, field = head
        index = _blocks_before(body, delta.part)
        begun = _begin(index, body, delta) if delta.start == body.parts[delta.part].start else b""
        # By hand, as in the native face.
        text = encode_basestring_ascii(delta.text)
        data = (
            f'{{"type":"content_block_delta","index":{index},'
            f'"delta":{{"type":"{kind}","{field}":{text}}}}}'
        )
        return begun + sse.frame("content_block_delta", data)

    def end(self, message: Message) -> bytes:
        """The end of the last block, why it ended, and the totals; or an error."""
        if message.status == Status.ERROR:
            return sse.encode("error", anthropic_errors.failure(message))
        count = _blocks_before(message.body, len(message.body.parts))
        closing = _stop(count - 1) if count else b""
        delta = {"stop_reason": stop_reason(message), "stop_sequence": None}
        ending = {"type": "message_delta", "delta": delta, "usage": usage(message)}
        return closing + _event(ending) + _event({"type": "message_stop"})

    def cut(self, milliseconds: int) -> None:
        """Tear: a clean end would be taken for the end of the answer."""


#: Kind of a part -> type of a delta of its block, and the field that has the text.
_DELTAS: Final[Mapping[str, tuple[str, str]]] = {
    PartKind.TEXT: ("text_delta", "text"),
    PartKind.REASONING: ("thinking_delta", "thinking"),
    PartKind.TOOL_CALL: ("input_json_delta", "partial_json"),
}


def _message(message_id: str, model: str) -> dict[str, Any]:
    return {"id": message_id, "type": "message", "role": "assistant", "model": model}


def _event(data: Mapping[str, Any]) -> bytes:
    return sse.encode(data["type"], data)


def _blocks_before(body: Body, part: int) -> int:
    return sum(one.kind in _DELTAS for one in body.parts[:part] if not one.is_empty)


def _begin(index: int, body: Body, delta: Delta) -> bytes:
    """The end of the block before, and the beginning of this one."""
    if delta.kind == PartKind.TOOL_CALL:
        block = _call(body, delta.part, {})
    elif delta.kind == PartKind.REASONING:
        block = {"type": "thinking", "thinking": "", "signature": ""}
    else:
        block = {"type": "text", "text": ""}
    begun = {"type": "content_block_start", "index": index, "content_block": block}
    return (_stop(index - 1) if index else b"") + _event(begun)


def _stop(index: int) -> bytes:
    return _event({"type": "content_block_stop", "index": index})


def _call(body: Body, part: int, arguments: Any) -> dict[str, Any]:
    named = body.parts[part].meta or {}
    place = sum(one.kind == PartKind.TOOL_CALL for one in body.parts[:part])
    return {
        "type": "tool_use",
        "id": call_id(named, place),
        "name": named.get("name") or "",
        "input": arguments,
    }


def whole(message: Message, face: MessagesFace) -> dict[str, Any]:
    """An answer that has ended, as one object."""
    return {
        **_message(face.id, face.model),
        "content": [
            _block(message.body, number)
            for number, part in enumerate(message.body.parts)
            if part.kind in _DELTAS
        ],
        "stop_reason": stop_reason(message),
        "stop_sequence": None,
        "usage": usage(message),
    }


def _block(body: Body, number: int) -> dict[str, Any]:
    part = body.parts[number]
    if part.kind == PartKind.TOOL_CALL:
        return _call(body, number, _arguments(part.text))
    if part.kind == PartKind.REASONING:
        return {"type": "thinking", "thinking": part.text, "signature": ""}
    return {"type": "text", "text": part.text}


def _arguments(text: str) -> Any:
    """The arguments of a call; what is no JSON (the answer was stopped, or the model erred) stays a
    text, so that nobody runs a call with half of them."""
    try:
        return value_of(text)
    except ValueError:
        return text


def stop_reason(message: Message) -> str:
    """Why an answer ended, in a word that these clients know."""
    found = REASONS.get(message.finish_reason or "")
    if found is not None:
        return found
    called = any(part.kind == PartKind.TOOL_CALL for part in message.body.parts)
    return "tool_use" if called and message.status == Status.DONE else "end_turn"


def usage(message: Message) -> dict[str, int]:
    """The tokens that the provider reported; 0 where it reported none.

    Those that a cache had are a number of their own here; in OpenAI's form they are counted with
    the prompt's.
    """
    found = message.usage or {}
    if found.get("source") != "reported":
        return {"input_tokens": 0, "output_tokens": 0}
    sent = count_of(found, "prompt_tokens", "input_tokens") or 0
    written = count_of(found, "completion_tokens", "output_tokens") or 0
    details = found.get("prompt_tokens_details")
    cached = min(sent, count_of(details, "cached_tokens") or 0)
    counts = {"input_tokens": sent - cached, "output_tokens": written}
    return {**counts, "cache_read_input_tokens": cached} if cached else counts
