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

from typing import Any, Final, NamedTuple

from flask import Blueprint, Response, jsonify, request

from shared.lifecycle import Status
from shared.store import branches, client_requests, messages
from shared.store.client_requests import AskedWith
from shared.store.messages import Message
from shared.store.threads import History
from web import aside, requests, responses
from web.asking import InThread
from web.auth import current_user, principal
from web.context import context
from web.dialects import gateway, openai_errors, openai_request
from web.dialects.completions import ChunkFace, completion, message_id_of
from web.dialects.gateway import SameRequest
from web.dialects.openai_request import ChatCompletion, ChatQuestion
from web.dialects.stored_completions import page_of, stored_messages, stored_with
from web.streams import response_of

blueprint = Blueprint("chat_completions", __name__, url_prefix="/v1")

#: Seconds that the head of a stream waits for the answer's first text or its end. Less than any
#: proxy waits for a response.
HEAD_SECONDS: Final = 15.0
#: Code points of the turns that are listed; those before them are left out, as for a model.
MESSAGES_CHARS: Final = 8 << 20

# --- asking --------------------------------------------------------------------------------------


@blueprint.post("/chat/completions")
def create() -> Response:
    """The answer to the last of `messages`: whole, or with `stream` as it is written."""
    sent = requests.json_body(ChatCompletion)
    asked_for = aside.read(openai_request.question, current_user(), sent)
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


def _begin_stream(answer: Message, face: ChunkFace, *, final: bool) -> Response:
    """The stream, once it has begun; or what the answer failed with before."""
    found = gateway.begun(answer, face, HEAD_SECONDS)
    if found is None:
        return openai_errors.again()
    if isinstance(found, Message):
        return openai_errors.response_to_failure(found, final=final)
    return response_of(found)


def _whole(answer: Message, face: ChunkFace, *, final: bool) -> Response:
    """The answer once it has ended."""
    end = gateway.ended(answer, face)
    if end is None:
        return openai_errors.again()
    if end.status == Status.ERROR:
        return openai_errors.response_to_failure(end, final=final)
    return responses.json_reply(completion(end, face))


# --- stored completions --------------------------------------------------------------------------


@blueprint.get("/chat/completions/<name>")
def show(name: str) -> Response:
    """An answer, whichever way it was asked for; as far as it is written."""
    found = _stored(name)
    face = ChunkFace.of(found.answer, include_usage=True)
    return responses.json_reply(completion(found.answer, face) | stored_with(found.asked.options))


@blueprint.get("/chat/completions/<name>/messages")
def list_messages(name: str) -> Response:
    """What was asked: the instructions and every turn before the answer."""
    found = _stored(name)
    page = branches.turns(
        context().db,
        current_user(),
        found.answer.conversation_id,
        found.answer.parent_id,
        most=MESSAGES_CHARS,
    )
    turns = [turn.message for turn in page.turns]
    listed = stored_messages(found.answer.id, found.asked.system, turns, request.host_url)
    return responses.json_reply(page_of(listed, request.args))


class _Stored(NamedTuple):
    answer: Message
    asked: AskedWith


def _stored(name: str) -> _Stored:
    """The answer with this id, of a completion or a message. Raises NotFound."""
    message_id = message_id_of(name)
    db, user = context().db, current_user()
    asked = client_requests.load(db, message_id, user)
    return _Stored(messages.load(db, message_id, user), asked)


# --- models --------------------------------------------------------------------------------------


@blueprint.get("/models")
def list_models() -> Response:
    """The provider's models, the one of this service first."""
    data = [_model(one["id"]) for one in context().models.listed()["items"]]
    page = {"has_more": False, "first_id": data[0]["id"], "last_id": data[-1]["id"]} if data else {}
    return jsonify({"object": "list", "data": data, **page})


@blueprint.get("/models/<path:name>")
def show_model(name: str) -> Response:
    """One of them."""
    if any(one["id"] == name for one in context().models.listed()["items"]):
        return jsonify(_model(name))
    return openai_errors.response(404, "There is no such model.", "model_not_found", "model")


def _model(name: str) -> dict[str, Any]:
    # When it was made, and by whom, is not known; the SDKs want numbers and words there. The last
    # three fields are for Anthropic's, which ask at the same address.
    return {
        "id": name,
        "object": "model",
        "created": 0,
        "owned_by": "outlive",
        "type": "model",
        "display_name": name,
        "created_at": "1970-01-01T00:00:00Z",
    }
