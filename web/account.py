"""What is a user's own, as a whole: exported, and deleted."""

import uuid
from collections.abc import Callable, Iterator
from typing import Any, Final

from flask import Blueprint, Response, request

from shared.errors import Conflict, Invalid
from shared.scopes import Scope
from shared.store import deletion, exporting
from shared.store.database import Database
from web import exports, requests, schemas, sharing
from web.auth import current_user, principal
from web.context import context
from web.errors import InsufficientScope
from web.rate_limits import address
from web.wake_ups import end_streams, wake_message, wake_sidebars

blueprint = Blueprint("account", __name__, url_prefix="/api")

# --- export --------------------------------------------------------------------------------------


@blueprint.get("/export")
def export() -> Response:
    """Everything of the user, as it is read: as JSON lines or, to be read by people, as Markdown.

    The last line says how much it was. A response without it was cut.
    """
    form = request.args.get("format", "jsonl")
    if form not in FORMS:
        raise Invalid("format must be jsonl or markdown.", "invalid_format")
    user, db = current_user(), context().db
    write, content_type, suffix = FORMS[form]
    profile = exporting.profile(db, user)
    return exports.response(write(db, user, profile), content_type, f"outlive.{suffix}")


def _json_lines(db: Database, user: uuid.UUID, profile: dict[str, Any]) -> Iterator[bytes]:
    """A line for each thing, which says in `type` what it is."""
    counts = {"conversations": 0, "messages": 0}
    yield from exports.line("user", profile)
    for kind, read in (
        ("key", exporting.keys),
        ("session", exporting.sessions),
        ("notified_browser", exporting.notified),
        ("share", exporting.shares),
        ("place", exporting.places),
        ("usage", exporting.usage),
        ("event", exporting.events),
        ("file", exporting.files),
    ):
        for row in read(db, user):
            yield from exports.line(kind, row)
    for one in exporting.conversations(db, user):
        counts["conversations"] += 1
        shape = schemas.ConversationShape.of(one)
        yield from exports.line("conversation", shape.model_dump(mode="json"))
        for message in exporting.messages(db, user, one.id):
            counts["messages"] += 1
            yield from exports.line("message", schemas.message_json(message))
        for row in exporting.line(db, user, one.id):
            yield from exports.line("question_in_line", row)
    yield from exports.line("end", counts)


def _markdown(db: Database, user: uuid.UUID, profile: dict[str, Any]) -> Iterator[bytes]:
    """Conversations one after the other, each with all of its branches in the order of time."""
    return exports.in_bytes(_paragraphs(db, user, profile))


def _paragraphs(db: Database, user: uuid.UUID, profile: dict[str, Any]) -> Iterator[str]:
    yield f"# Conversations of {profile['name'] or profile['id']}\n"
    number = 0
    for one in exporting.conversations(db, user):
        number += 1
        yield exports.heading(one)
        before: uuid.UUID | None = None
        for message in exporting.messages(db, user, one.id):
            yield from exports.turn(message, before)
            before = message.id
        for row in exporting.line(db, user, one.id):
            yield f"\n### You · not sent yet\n\n{row['content']}\n"
    noun = "conversation" if number == 1 else "conversations"
    yield f"\n---\n\n{number} {noun}. This is the end of the export.\n"


Writer = Callable[[Database, uuid.UUID, dict[str, Any]], Iterator[bytes]]
FORMS: Final[dict[str, tuple[Writer, str, str]]] = {
    "jsonl": (_json_lines, "application/jsonl", "jsonl"),
    "markdown": (_markdown, "text/markdown; charset=utf-8", "md"),
}

# --- deletion ------------------------------------------------------------------------------------


@blueprint.post("/user/delete")
def delete_user() -> Response:
    """204. From now on nobody gets in as this user; what is theirs is removed within minutes.

    A service key deletes only a user whom it names in `Outlive-User`, never whom it belongs to.
    """
    requests.json_body(schemas.Deletion)
    if context().settings.auth == "local":
        raise Conflict(code="needs_sign_in")
    if principal().credential.kind == "key" and "Outlive-User" not in request.headers:
        raise InsufficientScope(Scope.ACT_AS, "A key deletes only a user named in Outlive-User.")
    user, db = current_user(), context().db
    ended = deletion.begin(db, user, by=user, credential=sharing.credential(), address=address())
    for kind, gone in ended:
        end_streams(context().livelog, kind, gone)
    for message_id in deletion.stop_all(db, user):
        wake_message(context().livelog, message_id)
    wake_sidebars(context().livelog, user)
    return Response(status=204)
