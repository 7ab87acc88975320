"""The page's face: messages as blocks of safe HTML, and conversations as turns of them."""

import json
import uuid
from collections.abc import Iterable
from functools import partial
from typing import Any, Final

from flask import Blueprint, Response, jsonify

from shared import conversations, sse
from shared.conversations import Turn
from shared.errors import MESSAGE_ERRORS
from shared.lifecycle import Status
from shared.messages import Message
from web import http, schemas
from web.auth import current_user
from web.blocks import Block
from web.context import context
from web.followed import snapshot
from web.rendered import BlockReader, shape
from web.streaming import Face

blueprint = Blueprint("rendered", __name__, url_prefix="/api")

TURNS, TURNS_MAX = 20, 100
#: Code points of source and HTML in one answer.
SHOWN: Final = 200_000

_INTERRUPTED = ("worker_lost", "worker_shutdown")
_INCOMPLETE = ("length", "content_filter")


@blueprint.get("/messages/<uuid:message_id>/blocks/stream")
def stream(message_id: uuid.UUID) -> Response:
    """Finished blocks behind a position, the open one whenever it grows, and the end."""
    reader = partial(BlockReader, context().renderings)
    face = Face(lambda _: b"", http.encode_end, sse.HEARTBEAT, sse.retry, reader)
    return http.message_stream(message_id, face)


@blueprint.get("/messages/<uuid:message_id>/blocks")
def blocks(message_id: uuid.UUID) -> Response:
    """Finished blocks behind a position, as many as one answer should have."""
    message = snapshot(context().db, context().livelog, message_id, current_user())
    after = http.after_in(message)
    # Who asks for what is beyond the end wants to know only how it stands.
    found = context().renderings.blocks(message) if after <= message.body.length else ()
    shown, following = _page(found, after)
    return jsonify(
        id=message.id,
        status=message.status.value,
        blocks=shown,
        next=following,
        position=message.body.length,
        length=message.length,
        sha256=message.sha256,
    )


@blueprint.get("/conversations/<uuid:conversation_id>/turns")
def turns(conversation_id: uuid.UUID) -> Response:
    """The last turns of a branch, or those above one of them, as they are shown."""
    db, user = context().db, current_user()
    limit = http.number("limit", TURNS, TURNS_MAX)
    found = conversations.load(db, user, conversation_id)
    leaf, before = http.identifier("leaf"), http.identifier("before")
    page = conversations.turns(db, user, conversation_id, leaf, before=before, limit=limit)
    items = [_turn(turn) for turn in page.turns]
    shown = schemas.ConversationShape.of(found).model_dump(mode="json")
    answer = {
        "conversation": {**shown, "title_by": found.title_by},
        "items": items,
        "earlier": items[0]["id"] if page.above else None,
    }
    return Response(json.dumps(answer), content_type="application/json")


_PLAIN = ("text", "parts", "position", "error")


def _turn(turn: Turn) -> dict[str, Any]:
    message = turn.message
    plain = schemas.TurnShape.of_turn(turn).model_dump(mode="json", exclude=set(_PLAIN))
    shown: list[dict[str, Any]] | None = None
    following: int | None = None
    if message.role == "assistant" and message.ended_at is not None:
        shown, following = _page(context().renderings.blocks(message), 0)
    return {
        **plain,
        "state": state_of(message),
        "text": message.body.text if message.role == "user" else None,
        "blocks": shown,
        "next": following,
        "error": _error(message),
    }


def _error(message: Message) -> dict[str, Any] | None:
    code = message.error_code
    if code is None:
        return None
    _, retryable = MESSAGE_ERRORS.get(code, ("", True))
    return {"code": code, "message": message.error_message or "", "retryable": retryable}


def state_of(message: Message) -> str:
    """In a word, where a message is, for a person."""
    match message.status:
        case Status.SENDING:
            return "waiting"
        case Status.STREAMING:
            return "writing"
        case Status.CANCELLED:
            return "stopped"
        case Status.ERROR:
            return "interrupted" if message.error_code in _INTERRUPTED else "failed"
    return "incomplete" if message.finish_reason in _INCOMPLETE else "finished"


def _page(found: Iterable[Block], after: int) -> tuple[list[dict[str, Any]], int | None]:
    """Blocks behind a position while there is room, and the position to ask for more from."""
    shown: list[dict[str, Any]] = []
    size = 0
    for block in found:
        if block.end <= after:
            continue
        if size > SHOWN:
            return shown, block.start
        shown.append(shape(block))
        size += len(block.html) + len(block.text)
    return shown, None
