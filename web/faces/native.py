"""The native face: conversations and messages as JSON, a message's growth as SSE."""

import hashlib
import json
import uuid
from collections.abc import Iterable
from typing import Any, TypeVar

import structlog
from flask import Blueprint, Response, request
from pydantic import BaseModel
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from shared import asking, conversations, messages, sse
from shared.asking import NEWEST, Asked, Asking
from shared.body import Delta
from shared.errors import Invalid, OutliveError, Unavailable
from shared.lifecycle import TERMINAL
from shared.messages import Message
from web import schemas
from web.auth import current_user
from web.context import context
from web.errors import Malformed, NotJson
from web.followed import snapshot
from web.streaming import RETRY_CUT, Face, connection_of, milliseconds

blueprint = Blueprint("native", __name__, url_prefix="/api")
log = structlog.get_logger("native")

#: What Continue asks in the person's name.
GO_ON = "Please continue exactly where you stopped."
PAGE, PAGE_MAX = 50, 200
KEY_CHARS = 200

# --- conversations -------------------------------------------------------------------------------


@blueprint.post("/conversations")
def create_conversation() -> Response:
    """201 with an empty conversation."""
    new = _body(schemas.NewConversation)
    made = conversations.create(context().db, current_user(), new.title, new.system)
    return _json(schemas.ConversationShape.of(made), 201)


@blueprint.get("/conversations")
def list_conversations() -> Response:
    """A page of conversations, newest first."""
    limit = _count("limit", PAGE, PAGE_MAX)
    before = request.args.get("cursor")
    place = schemas.from_cursor(before) if before else None
    found = conversations.newest(context().db, current_user(), limit + 1, place)
    page = found[:limit]
    more = schemas.cursor(page[-1].seq) if len(found) > limit else None
    items = [schemas.ConversationShape.of(one) for one in page]
    return _json(schemas.ConversationList(items=items, next=more))


@blueprint.get("/conversations/<uuid:conversation_id>")
def show_conversation(conversation_id: uuid.UUID) -> Response:
    """A conversation with one branch: that of `?leaf=`, by default of the newest message."""
    db, user = context().db, current_user()
    found = conversations.load(db, user, conversation_id)
    branch = conversations.branch(db, user, conversation_id, _uuid("leaf"))
    shape = schemas.ConversationShape.of(found)
    turns = [schemas.TurnShape.of_turn(turn) for turn in branch]
    return _json(schemas.ConversationDetail(**shape.model_dump(), messages=turns))


@blueprint.patch("/conversations/<uuid:conversation_id>")
def rename_conversation(conversation_id: uuid.UUID) -> Response:
    """The conversation with its new title."""
    title = _body(schemas.Rename).title
    found = conversations.rename(context().db, current_user(), conversation_id, title)
    return _json(schemas.ConversationShape.of(found))


@blueprint.delete("/conversations/<uuid:conversation_id>")
def delete_conversation(conversation_id: uuid.UUID) -> Response:
    """204; its answers are stopped, their readers get `end`."""
    for message_id in conversations.delete(context().db, current_user(), conversation_id):
        context().nudge(message_id)
    return Response(status=204)


# --- asking --------------------------------------------------------------------------------------


@blueprint.post("/conversations/<uuid:conversation_id>/messages")
def ask(conversation_id: uuid.UUID) -> Response:
    """202 with the question and the answer's placeholder, committed before it is enqueued."""
    question = _body(schemas.Question)
    parent = question.parent_id if question.names_parent else NEWEST
    asked = asking.ask(context().db, _asking(question), conversation_id, question.content, parent)
    return _accepted(asked)


@blueprint.post("/messages/<uuid:message_id>/retry")
def retry(message_id: uuid.UUID) -> Response:
    """202 with the same question and another answer beside the old one."""
    return _accepted(asking.ask_again(context().db, _asking(_body(schemas.Again)), message_id))


@blueprint.post("/messages/<uuid:message_id>/continue")
def go_on(message_id: uuid.UUID) -> Response:
    """202 with a question that asks to go on, and its answer, which says what it continues."""
    wanted = _asking(_body(schemas.Again))
    return _accepted(asking.ask_to_continue(context().db, wanted, message_id, GO_ON))


def _asking(again: schemas.Again) -> Asking:
    settings = context().settings
    sent = again.model_dump(mode="json", exclude_unset=True)
    return Asking(
        user_id=current_user(),
        model=again.model or settings.model,
        options=again.options.model_dump(exclude_none=True),
        key=_key(),
        request_hash=_hash({"path": request.path, **sent}),
        max_open=settings.max_open,
        queue_deadline=settings.queue_deadline_seconds,
        titles=settings.titles,
    )


def _hash(sent: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(sent, sort_keys=True).encode()).hexdigest()


def _key() -> str | None:
    key = request.headers.get("Idempotency-Key")
    if key is not None and not (0 < len(key) <= KEY_CHARS and key.isprintable()):
        raise Invalid(
            f"Idempotency-Key must be 1 to {KEY_CHARS} printable characters.",
            "invalid_idempotency_key",
        )
    return key


def _accepted(asked: Asked) -> Response:
    if asked.fresh:
        context().queue.enqueue(asked.answer.id)
    shape = schemas.AskedShape(
        user=schemas.MessageShape.of(asked.question),
        assistant=schemas.MessageShape.of(asked.answer),
    )
    response = _json(shape, 202)
    response.headers["Outlive-Message-Id"] = str(asked.answer.id)
    return response


# --- messages ------------------------------------------------------------------------------------


@blueprint.get("/messages/<uuid:message_id>")
def show_message(message_id: uuid.UUID) -> Response:
    """A message; while it is written, as far as it is published."""
    return _json(schemas.MessageShape.of(_snapshot(message_id)))


@blueprint.post("/messages/<uuid:message_id>/stop")
def stop(message_id: uuid.UUID) -> Response:
    """202 with the message as it is now; harmless when it has ended."""
    messages.stop(context().db, message_id, current_user())
    context().nudge(message_id)
    return _json(schemas.MessageShape.of(_snapshot(message_id)), 202)


def _snapshot(message_id: uuid.UUID) -> Message:
    return snapshot(context().db, context().livelog, message_id, current_user())


# --- the stream ----------------------------------------------------------------------------------


def encode_delta(delta: Delta) -> bytes:
    """A delta frame; its id is the position behind it."""
    data: dict[str, Any] = {
        "start": delta.start,
        "part": delta.part,
        "kind": delta.kind,
        "text": delta.text,
    }
    if delta.meta:
        data["meta"] = dict(delta.meta)
    return sse.encode("delta", data, delta.end)


def encode_end(message: Message) -> bytes:
    """The end frame, with the proof."""
    return sse.encode("end", schemas.EndShape.of(message).model_dump(mode="json"), "end")


FACE = Face(encode_delta, encode_end, sse.HEARTBEAT, sse.retry)


@blueprint.get("/messages/<uuid:message_id>/stream")
def stream(message_id: uuid.UUID) -> Response:
    """The message from a position to its end; 204 to a reader who has seen the end.

    EventSource gives up for ever on a 5xx, so whatever passes is answered with 200, `retry:` and
    a close.
    """
    try:
        return _stream(message_id)
    except Unavailable:
        return _sse([sse.retry(milliseconds(RETRY_CUT))])
    except (OutliveError, HTTPException):
        raise
    except Exception as error:  # a bug must not send every client away for ever
        log.exception("native.stream", error=type(error).__name__)
        return _sse([sse.retry(milliseconds(RETRY_CUT))])


def _stream(message_id: uuid.UUID) -> Response:
    if request.method == "HEAD":
        return _sse([])
    seen = request.headers.get("Last-Event-ID", "").strip()
    if seen == "end" and _has_ended(message_id):
        return Response(status=204)
    position = _position(seen) if seen else _after()
    connection = connection_of(request.environ)
    frames = context().readers.open(message_id, current_user(), position, FACE, connection)
    return _sse(frames)


def _has_ended(message_id: uuid.UUID) -> bool:
    return messages.load(context().db, message_id, current_user()).status in TERMINAL


def _position(seen: str) -> int:
    """A Last-Event-ID is forgiven: what is no position means from the beginning."""
    return int(seen) if seen.isascii() and seen.isdigit() and len(seen) < 16 else 0


def _after() -> int:
    value = request.args.get("after", "0")
    if not (value.isascii() and value.isdigit() and len(value) < 16):
        raise Invalid("after must be a position: a whole number, 0 or more.", "invalid_position")
    return int(value)


def _sse(frames: Iterable[bytes]) -> Response:
    return Response(
        frames,
        content_type="text/event-stream; charset=utf-8",
        headers={"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"},
    )


# --- bodies --------------------------------------------------------------------------------------

Shape = TypeVar("Shape", bound=BaseModel)


def _body(shape: type[Shape]) -> Shape:
    """The request's JSON as `shape`; no body at all is an empty object."""
    raw = request.get_data()
    if len(raw) == request.max_content_length:  # in chunks, which werkzeug cuts there and accepts
        raise RequestEntityTooLarge
    if not raw:
        return shape.model_validate({})
    if not request.is_json:
        raise NotJson
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):  # a ValueError also for a number of 5,000 digits
        raise Malformed from None
    return shape.model_validate(body)


def _json(shape: BaseModel, status: int = 200) -> Response:
    return Response(shape.model_dump_json(), status, content_type="application/json")


def _count(name: str, default: int, most: int) -> int:
    value = request.args.get(name)
    if value is None:
        return default
    if not (value.isascii() and value.isdigit() and 1 <= int(value[:9]) <= most):
        raise Invalid(f"{name} must be a whole number from 1 to {most}.", f"invalid_{name}")
    return int(value)


def _uuid(name: str) -> uuid.UUID | None:
    value = request.args.get(name)
    try:
        return uuid.UUID(value) if value is not None else None
    except ValueError:
        raise Invalid(f"{name} must be a message's id.", f"invalid_{name}") from None
