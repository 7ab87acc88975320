"""One conversation as a file: all of it as JSON, or a branch of it as Markdown."""

import re
import uuid
from collections.abc import Iterator
from typing import Final

from flask import Blueprint, Response, request

from shared.errors import Invalid
from shared.store import branches, conversations, exporting
from shared.store.conversations import Conversation
from shared.store.database import Database
from shared.store.messages import Message
from web import exports, requests, responses, schemas
from web.auth import current_user
from web.context import context

blueprint = Blueprint("conversation_export", __name__, url_prefix="/api")

#: Characters of a title in a file's name.
NAME_CHARS: Final = 60


@blueprint.get("/conversations/<uuid:conversation_id>/export")
def export_conversation(conversation_id: uuid.UUID) -> Response:
    """A conversation of the user as a file.

    `leaf`: only the branch that ends there; without it all messages, in the order of time.
    """
    form = request.args.get("format", "markdown")
    if form not in ("json", "markdown"):
        raise Invalid("format must be json or markdown.", "invalid_format")
    user, db = current_user(), context().db
    conversations.must_own(db, user, conversation_id)
    one = conversations.load(db, user, conversation_id)
    turns = _turns(db, user, conversation_id, requests.identifier("leaf"))
    if form == "json":
        pieces, content_type, suffix = _json(one, turns), "application/json", "json"
    else:
        pieces = exports.in_bytes(_paragraphs(one, turns))
        content_type, suffix = "text/markdown; charset=utf-8", "md"
    return exports.response(pieces, content_type, f"{_file_name(one)}.{suffix}", conversation_id)


def _turns(
    db: Database, user: uuid.UUID, conversation: uuid.UUID, leaf: uuid.UUID | None
) -> Iterator[Message]:
    """All messages, or those of the branch down to `leaf`. Raises NotFound before the first."""
    found = exporting.messages(db, user, conversation)
    if leaf is None:
        return found
    branch = {place.message_id for place in branches.above(db, user, conversation, leaf)} | {leaf}
    return (message for message in found if message.id in branch)


def _json(one: Conversation, turns: Iterator[Message]) -> Iterator[bytes]:
    yield b'{"conversation":'
    yield from responses.encoded(schemas.ConversationShape.of(one).model_dump(mode="json"))
    yield b',"messages":['
    for number, message in enumerate(turns):
        yield b"," if number else b""
        yield from responses.encoded(schemas.message_json(message))
    yield b"]}\n"


def _paragraphs(one: Conversation, turns: Iterator[Message]) -> Iterator[str]:
    yield exports.heading(one).replace("\n## ", "# ", 1)
    before: uuid.UUID | None = None
    for message in turns:
        yield from exports.turn(message, before)
        before = message.id


def _file_name(one: Conversation) -> str:
    """A file's name from the title: letters, digits and hyphens of any script."""
    words = re.sub(r"[^\w]+", "-", one.title or "").strip("-_")
    return words[:NAME_CHARS].strip("-_") or "conversation"
