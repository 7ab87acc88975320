"""The page's face: messages as blocks of safe HTML, and conversations as turns of them."""

import uuid
from functools import partial
from typing import Any, Final

from flask import Blueprint, Response

from shared import sse
from shared.errors import MESSAGE_ERRORS
from shared.lifecycle import Status
from shared.store import conversations, messages
from shared.store.conversations import Turn
from shared.store.messages import Message
from web import paging, requests, responses, schemas
from web.auth import current_user
from web.context import context
from web.following.streaming import Face
from web.following.topic import snapshot
from web.page.render_cache import BlockReader

blueprint = Blueprint("blocks", __name__, url_prefix="/api")

TURNS, TURNS_MAX = 20, 100
#: Code points of text in the messages of one page of turns.
TURNS_CHARS: Final = 1 << 18
#: Bytes of blocks, before they are compressed, in a page of them, of a turn, and of all turns of a
#: page: at 30 kB/s, a second or two.
PAGE_BYTES: Final = 64 << 10
TURN_BYTES: Final = 48 << 10
TURNS_BYTES: Final = 160 << 10

_INTERRUPTED = ("worker_lost", "worker_shutdown")
_INCOMPLETE = ("length", "content_filter")


@blueprint.get("/messages/<uuid:message_id>/blocks/stream")
def stream(message_id: uuid.UUID) -> Response:
    """Finished blocks behind a position, the open one whenever it grows, and the end."""
    reader = partial(BlockReader, context().render_cache)
    face = Face(lambda _: b"", requests.encode_end, sse.HEARTBEAT, sse.retry, reader)
    return requests.message_stream(message_id, face)


@blueprint.get("/messages/<uuid:message_id>/blocks")
def blocks(message_id: uuid.UUID) -> Response:
    """Finished blocks behind a position, as many as one answer should have."""
    row = messages.load_without_body(context().db, message_id, current_user())
    pages = context().render_cache.known(row)
    if pages is None:  # else its text need not be read again for each page
        row = snapshot(context().db, context().livelog, message_id, current_user())
        pages = context().render_cache.pages(row)
    position, length = requests.after_in(row), pages.finished.body.length
    # Who asks for what is beyond the end wants to know only how it stands.
    shown, following = pages.page(position, PAGE_BYTES) if position <= length else ([], None)
    return responses.json_reply(
        {
            "id": str(row.id),
            "status": row.status.value,
            "blocks": responses.EncodedItems(shown),
            "next": following,
            "position": length,
            "length": row.length,
            "sha256": row.sha256,
        }
    )


@blueprint.get("/conversations/<uuid:conversation_id>/turns")
def turns(conversation_id: uuid.UUID) -> Response:
    """The last turns of a branch, or those above one of them, as they are shown."""
    db, user = context().db, current_user()
    limit = paging.limit(TURNS, TURNS_MAX)
    found = conversations.load(db, user, conversation_id)
    leaf, before = requests.identifier("leaf"), requests.identifier("before")
    page = conversations.turns(
        db, user, conversation_id, leaf, before=before, limit=limit, most=TURNS_CHARS
    )
    items: list[dict[str, Any]] = []
    room = TURNS_BYTES
    for turn in reversed(page.turns):  # the newest are shown, whatever those above would take
        if items and room <= 0:
            break
        item, size = _turn(turn, min(TURN_BYTES, max(1, room)))
        room -= size
        items.insert(0, item)
    shown = schemas.ConversationShape.of(found).model_dump(mode="json")
    more = page.above or len(items) < len(page.turns)
    return responses.json_reply(
        {
            "conversation": {**shown, "title_by": found.title_by},
            "items": items,
            "earlier": items[0]["id"] if more else None,
        }
    )


_PLAIN = ("text", "parts", "position", "error")


def _turn(turn: Turn, most: int) -> tuple[dict[str, Any], int]:
    """A turn as it is shown, with about `most` bytes of blocks; how many bytes it has."""
    message = turn.message
    plain = schemas.turn_json(turn, most=0)
    shown: responses.EncodedItems | None = None
    following: int | None = None
    if message.role == "assistant" and message.ended_at is not None:
        found, following = context().render_cache.pages(message).page(0, most)
        shown = responses.EncodedItems(found)
    text = message.body.text if message.role == "user" else None
    item = {
        **{name: value for name, value in plain.items() if name not in _PLAIN},
        "state": state_of(message),
        "text": text,
        "blocks": shown,
        "next": following,
        "error": _error(message),
    }
    siblings = conversations.SIBLING_CHARS * len(turn.siblings)
    return item, len((text or "").encode()) + sum(map(len, shown or ())) + siblings


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
