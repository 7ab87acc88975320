"""The page's face: messages as blocks of safe HTML, and conversations as turns of them."""

import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

from flask import Blueprint, Request, Response

from shared.errors import MESSAGE_ERRORS
from shared.lifecycle import Status
from shared.parts import is_text
from shared.store import branches, conversations, messages
from shared.store.branches import Turn
from shared.store.messages import Message
from web import event_source, paging, requests, responses, schemas
from web.auth import current_user
from web.context import context
from web.event_source import EventSourceFace
from web.following.face import Then, Written
from web.following.message_topic import snapshot
from web.page.blocks import Rest
from web.page.continuations import rest_of
from web.page.render_cache import BlockPlace, BlockSource
from web.streams import stream_response, watched

blueprint = Blueprint("blocks", __name__, url_prefix="/api")

TURNS, TURNS_MAX = 20, 100
#: Code points of text in the messages of one page of turns.
TURNS_CHARS: Final = 1 << 18
#: Bytes of blocks, before they are compressed, in a page of them, of a turn, and of all turns of a
#: page: at 30 kB/s, a second or two.
PAGE_BYTES: Final = 64 << 10
TURN_BYTES: Final = 48 << 10
TURNS_BYTES: Final = 160 << 10

#: Code points of a part of a question that is no text, as it is shown.
PART_CHARS: Final = 10_000

_INTERRUPTED = ("worker_lost", "worker_shutdown")
_INCOMPLETE = ("length", "content_filter")


class BlocksFace(EventSourceFace[BlockSource, BlockPlace]):
    """`blocks` events: finished blocks, and the open one whenever it has grown; and an `end`.

    Their id is the position after the last finished block.
    """

    start = (0, 0)

    def position(self, request: Request) -> BlockPlace | None:  # noqa: ARG002
        """Last-Event-ID, else `?after=`; no open block was seen."""
        found = event_source.position()
        return None if found is None else (found, 0)

    def write(self, source: BlockSource, place: BlockPlace) -> Written[BlockPlace]:
        """One event, or nothing until it is rendered."""
        position, seen = place
        if seen == source.rendering:
            return b"", place, Then.WAIT
        if position < source.finished.start:
            older = source.older_event(position)
            if older is None:
                return b"", place, Then.WAIT
            event, position = older
            return event, (position, seen), Then.MORE
        event, position, whole = source.event(position)
        if not whole:
            return event, (position, seen), Then.MORE
        place = (position, source.rendering)
        if source.ended:
            return event + source.topic.end_frame(self), place, Then.ENDED
        return event, place, Then.WAIT

    def end(self, message: Message) -> bytes:
        """The `end` event."""
        return event_source.encode_end(message)

    def lag(self, source: BlockSource, place: BlockPlace) -> int:
        """Code points that are there and were not shown, finished or not."""
        position, seen = place
        shown = source.length if seen == source.rendering else position
        return max(0, source.topic.body.length - shown)


FACE = BlocksFace()


def _continued(message_id: uuid.UUID | None, at_hand: Iterable[Message] = ()) -> Rest | None:
    """The end of the answer that another one continues."""
    return rest_of(context().db, context().render_cache, current_user(), message_id, at_hand)


@contextmanager
def _follow(message_id: uuid.UUID, user_id: uuid.UUID) -> Iterator[BlockSource]:
    with watched(message_id, user_id) as topic:
        source = context().render_cache.of(topic, lambda: _continued(topic.continues_id))
        try:
            with source.reading():
                yield source
        finally:
            topic.cut_at = max(topic.cut_at, source.cut_at)


@blueprint.get("/messages/<uuid:message_id>/blocks/stream")
def stream(message_id: uuid.UUID) -> Response:
    """Finished blocks after a position, the open one whenever it grows, and the end."""
    return stream_response(FACE, partial(_follow, message_id), message_id)


@blueprint.get("/messages/<uuid:message_id>/blocks")
def blocks(message_id: uuid.UUID) -> Response:
    """Finished blocks after a position, as many as one answer should have."""
    row = messages.load_without_body(context().db, message_id, current_user())
    pages = context().render_cache.known(row)
    if pages is None:  # else its text need not be read again for each page
        row = snapshot(context().db, context().livelog, message_id, current_user())
        pages = context().render_cache.pages(row, _continued(row.continues_id))
    position, length = requests.after_in(row), pages.finished.body.length
    # A request for what is beyond the end asks only for the state of the message.
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
    page = branches.turns(
        db, user, conversation_id, leaf, before=before, limit=limit, most=TURNS_CHARS
    )
    items: list[dict[str, Any]] = []
    room = TURNS_BYTES
    at_hand = [turn.message for turn in page.turns]
    for turn in reversed(
        page.turns
    ):  # the newest are shown, even if nothing is left for those above
        if items and room <= 0:
            break
        continued = _continued(turn.message.continues_id, at_hand)
        item, size = _turn(turn, continued, min(TURN_BYTES, max(1, room)))
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


def _turn(turn: Turn, continued: Rest | None, most: int) -> tuple[dict[str, Any], int]:
    """A turn as it is shown, with about `most` bytes of blocks; how many bytes it has.

    `continued`: the end of the answer that it continues.
    """
    message = turn.message
    plain = schemas.turn_json(turn, most=0)
    shown: responses.EncodedItems | None = None
    following: int | None = None
    if message.role == "assistant" and message.ended_at is not None:
        found, following = context().render_cache.pages(message, continued).page(0, most)
        shown = responses.EncodedItems(found)
    text = message.body.text if message.role == "user" else None
    parts = _other_parts(message) if message.role == "user" else None
    item = {
        **{name: value for name, value in plain.items() if name not in _PLAIN},
        "continues_at": continued.start if continued else None,
        "state": state_of(message),
        "text": text,
        "parts": parts,
        "blocks": shown,
        "next": following,
        "error": _error(message),
    }
    siblings = branches.SIBLING_CHARS * len(turn.siblings)
    asked = (text or "") + "".join(part["text"] for part in parts or ())
    return item, len(asked.encode()) + sum(map(len, shown or ())) + siblings


def _other_parts(message: Message) -> list[dict[str, Any]] | None:
    """What a question has besides text: media, and the beginnings of results of tools."""
    return [
        {"kind": part.kind, "text": part.text[:PART_CHARS], "meta": dict(part.meta or {}) or None}
        for part in message.body.parts
        if not is_text(part.kind)
    ] or None


def _error(message: Message) -> dict[str, Any] | None:
    code = message.error_code
    if code is None:
        return None
    _, retryable = MESSAGE_ERRORS.get(code, ("", True))
    return {"code": code, "message": message.error_message or "", "retryable": retryable}


def state_of(message: Message) -> str:
    """The state of a message, for a person."""
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
