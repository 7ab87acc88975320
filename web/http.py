"""What the faces that speak JSON and Server-Sent Events have in common: requests and responses."""

import hashlib
import json
import uuid
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

import structlog
from flask import Response, request
from pydantic import BaseModel
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from shared import messages, sse
from shared.errors import Invalid, OutliveError, Unavailable
from shared.lifecycle import TERMINAL
from shared.messages import Message
from web import schemas
from web.auth import current_user
from web.context import context
from web.errors import Malformed, NotJson
from web.streaming import RETRY_CUT, Face, Stream, milliseconds

KEY_CHARS: Final = 200

log = structlog.get_logger("http")

Shape = TypeVar("Shape", bound=BaseModel)

# --- requests ------------------------------------------------------------------------------------


def body(shape: type[Shape]) -> Shape:
    """The request's JSON as `shape`; no body at all is an empty object."""
    raw = request.get_data()
    if len(raw) == request.max_content_length:  # in chunks, which werkzeug cuts there and accepts
        raise RequestEntityTooLarge
    if not raw:
        return shape.model_validate({})
    if not request.is_json:
        raise NotJson
    try:
        found = json.loads(raw)
    except (ValueError, RecursionError):  # a ValueError also for a number of 5,000 digits
        raise Malformed from None
    return shape.model_validate(found)


def number(name: str, default: int, most: int) -> int:
    """A number of the query, from 1 to `most`."""
    value = request.args.get(name)
    if value is None:
        return default
    if not (value.isascii() and value.isdigit() and len(value) < 10 and 1 <= int(value) <= most):
        raise Invalid(f"{name} must be a whole number from 1 to {most}.", f"invalid_{name}")
    return int(value)


def identifier(name: str) -> uuid.UUID | None:
    """A message's id of the query, if there is one."""
    value = request.args.get(name)
    try:
        return uuid.UUID(value) if value is not None else None
    except ValueError:
        raise Invalid(f"{name} must be a message's id.", f"invalid_{name}") from None


def cursor() -> int | None:
    """The place in a list that the query names, if it does."""
    value = request.args.get("cursor")
    return schemas.from_cursor(value) if value else None


def key() -> str | None:
    """The Idempotency-Key, if there is one."""
    found = request.headers.get("Idempotency-Key")
    if found is not None and not (0 < len(found) <= KEY_CHARS and found.isprintable()):
        raise Invalid(
            f"Idempotency-Key must be 1 to {KEY_CHARS} printable characters.",
            "invalid_idempotency_key",
        )
    return found


def digest(sent: dict[str, Any]) -> str:
    """What tells a request from another one with the same key."""
    return hashlib.sha256(json.dumps(sent, sort_keys=True).encode()).hexdigest()


def after() -> int:
    """The position that the query names; without it the beginning."""
    value = request.args.get("after", "0")
    if not (value.isascii() and value.isdigit() and len(value) < 16):
        raise Invalid("after must be a position: a whole number, 0 or more.", "invalid_position")
    return int(value)


def _position(seen: str) -> int:
    """A Last-Event-ID is forgiven: what is no position means from the beginning."""
    return int(seen) if seen.isascii() and seen.isdigit() and len(seen) < 16 else 0


# --- responses -----------------------------------------------------------------------------------


def reply(shape: BaseModel, status: int = 200) -> Response:
    """A shape as JSON."""
    return Response(shape.model_dump_json(), status, content_type="application/json")


def encode_end(message: Message) -> bytes:
    """The end frame, with the proof."""
    return sse.encode("end", schemas.EndShape.of(message).model_dump(mode="json"), "end")


def message_stream(message_id: uuid.UUID, face: Face) -> Response:
    """A message as `face` writes it, from the position that the request names to its end."""
    return event_stream(lambda: _message_frames(message_id, face))


def _message_frames(message_id: uuid.UUID, face: Face) -> Stream | None:
    seen = request.headers.get("Last-Event-ID", "").strip()
    if seen == "end" and _has_ended(message_id):
        return None
    position = _position(seen) if seen else after()
    return context().readers.open(message_id, current_user(), position, face)


def _has_ended(message_id: uuid.UUID) -> bool:
    return messages.load(context().db, message_id, current_user()).status in TERMINAL


def event_stream(opened: Callable[[], Stream | None]) -> Response:
    """What `opened` gives, as Server-Sent Events; 204 where it gives nothing.

    EventSource gives up for ever on a 5xx, so whatever passes is answered with 200, `retry:` and
    a close.
    """
    if request.method == "HEAD":
        return _events([])
    try:
        frames = opened()
    except Unavailable:
        return _events([sse.retry(milliseconds(RETRY_CUT))])
    except (OutliveError, HTTPException):
        raise
    except Exception as error:  # a bug must not send every client away for ever
        log.exception("http.stream", error=type(error).__name__)
        return _events([sse.retry(milliseconds(RETRY_CUT))])
    return Response(status=204) if frames is None else _events(frames)


def _events(frames: Iterable[bytes]) -> Response:
    return Response(
        frames,
        direct_passthrough=isinstance(frames, Stream),  # our server knows what to do with it
        content_type="text/event-stream; charset=utf-8",
        headers={"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"},
    )
