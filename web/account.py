"""What is a user's own, as a whole: exported, and deleted."""

import base64
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import date
from typing import Any, Final

import structlog
from flask import Blueprint, Response, request

from shared.errors import Conflict, Invalid, TooMany, Unavailable
from shared.scopes import Scope
from shared.store import audit, deletion, exporting
from shared.store.audit import Action
from shared.store.conversations import Conversation
from shared.store.database import Database
from shared.store.messages import Message
from shared.store.revoked import revoked
from web import requests, responses, schemas, sharing
from web.auth import Principal, current_user, principal
from web.context import context
from web.errors import InsufficientScope
from web.following.rights import CHECK_EVERY, held_by
from web.page.yielding import Slices
from web.rate_limits import address
from web.wake_ups import end_streams, wake_message, wake_sidebars

blueprint = Blueprint("account", __name__, url_prefix="/api")
log = structlog.get_logger("account")

# --- export --------------------------------------------------------------------------------------

#: Users whose exports this process writes now.
_exporting: set[uuid.UUID] = set()


@blueprint.get("/export")
def export() -> Response:
    """Everything of the user, as it is read: as JSON lines or, to be read by people, as Markdown.

    The last line says how much it was. A response without it was cut.
    """
    form = request.args.get("format", "jsonl")
    if form not in FORMS:
        raise Invalid(code="invalid_format")
    user = current_user()
    write, content_type, suffix = FORMS[form]
    db = context().db
    profile = exporting.profile(db, user)
    response = Response(content_type=content_type)
    response.headers["Content-Disposition"] = f'attachment; filename="outlive.{suffix}"'
    response.headers["Cache-Control"] = "no-store"
    if request.method != "HEAD":
        if user in _exporting:
            raise TooMany(code="too_many_exports", limit=1)
        exported = _Export(principal(), write(db, user, profile))
        try:
            audit.record(
                db,
                Action.EXPORTED,
                user_id=user,
                credential=sharing.credential(),
                address=address(),
            )
        except BaseException:
            exported.close()
            raise
        response.response = exported
    return response


class _Export:
    """An export's bytes; there is one for each user at a time in a process.

    It may take minutes, or longer where its reader is slow. So whoever asked for it is asked about
    again as for a stream: every minute, and at once when something may have been revoked.
    """

    def __init__(self, who: Principal, pieces: Iterator[bytes]) -> None:
        self._who = who
        self._pieces = pieces
        self._db, self._revocations = context().db, context().revocations
        self._checked_at = time.monotonic()
        self._closed = False
        _exporting.add(who.user_id)

    def __iter__(self) -> Iterator[bytes]:
        slices = Slices()
        try:
            for piece in responses.buffered(self._pieces):
                if not self._is_good():
                    break
                yield piece
                slices.pause()
        except Unavailable as error:
            log.warning("export.cut", code=error.code)
        self.close()  # before its reader sees the end, and may ask for the next

    def _is_good(self) -> bool:
        """Whether who asked may still read. Raises StorageDown."""
        who, since = self._who, self._checked_at
        maybe = self._revocations.has_revoked_since(since, who.user_id, who.credential)
        if not maybe and time.monotonic() - since < CHECK_EVERY:
            return True
        self._checked_at = time.monotonic()
        return not list(revoked(self._db, [held_by(who)]))

    def close(self) -> None:
        """Called when it was sent, or its reader is gone."""
        if not self._closed:
            self._closed = True
            _exporting.discard(self._who.user_id)


def _json_lines(db: Database, user: uuid.UUID, profile: dict[str, Any]) -> Iterator[bytes]:
    """A line for each thing, which says in `type` what it is."""
    counts = {"conversations": 0, "messages": 0}
    yield from _line("user", profile)
    for kind, read in (
        ("key", exporting.keys),
        ("session", exporting.sessions),
        ("share", exporting.shares),
        ("usage", exporting.usage),
        ("event", exporting.events),
        ("file", exporting.files),
    ):
        for row in read(db, user):
            yield from _line(kind, row)
    for one in exporting.conversations(db, user):
        counts["conversations"] += 1
        yield from _line("conversation", schemas.ConversationShape.of(one).model_dump(mode="json"))
        for message in exporting.messages(db, user, one.id):
            counts["messages"] += 1
            yield from _line("message", schemas.message_json(message))
    yield from _line("end", counts)


def _line(kind: str, fields: dict[str, Any]) -> Iterator[bytes]:
    yield from responses.encoded(
        {"type": kind, **{name: _plain(value) for name, value in fields.items()}}
    )
    yield b"\n"


def _plain(value: Any) -> Any:
    """A value as JSON has it: moments, days and ids are strings, and data is base64."""
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return str(value) if isinstance(value, uuid.UUID) else value


def _markdown(db: Database, user: uuid.UUID, profile: dict[str, Any]) -> Iterator[bytes]:
    """Conversations one after the other, each with all of its branches in the order of time."""
    for text in _paragraphs(db, user, profile):
        for start in range(0, len(text), responses.WHOLE):
            yield text[start : start + responses.WHOLE].encode()


def _paragraphs(db: Database, user: uuid.UUID, profile: dict[str, Any]) -> Iterator[str]:
    yield f"# Conversations of {profile['name'] or profile['id']}\n"
    number = 0
    for one in exporting.conversations(db, user):
        number += 1
        yield _heading(one)
        before: uuid.UUID | None = None
        for message in exporting.messages(db, user, one.id):
            yield from _turn(message, before)
            before = message.id
    noun = "conversation" if number == 1 else "conversations"
    yield f"\n---\n\n{number} {noun}. This is the end of the export.\n"


def _heading(one: Conversation) -> str:
    title = " ".join((one.title or "Untitled").split())
    system = "\n> " + one.system.replace("\n", "\n> ") + "\n" if one.system else ""
    return f"\n## {title}\n\n*{one.created_at:%Y-%m-%d %H:%M} UTC*\n{system}"


def _turn(message: Message, before: uuid.UUID | None) -> Iterator[str]:
    who = "You" if message.role == "user" else f"Answer ({message.model})"
    branch = " · another branch" if message.parent_id != before else ""
    yield f"\n### {who}{branch}\n\n"
    yield message.body.text
    yield "\n"
    if message.error_message:
        yield f"\n*{message.error_message}*\n"


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
