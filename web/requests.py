"""What a request says: its JSON, its Idempotency-Key, and how far its client has read."""

import hashlib
import json
import uuid
from collections.abc import Callable, Iterable
from typing import Final, TypeVar

import structlog
from flask import Response, request
from pydantic import BaseModel
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

from shared import sse
from shared.errors import Invalid, OutliveError, Unavailable
from shared.lifecycle import TERMINAL
from shared.store import messages
from shared.store.messages import Message
from web import schemas
from web.auth import current_user
from web.context import context
from web.errors import Malformed, NotJson
from web.following.streaming import RETRY_CUT, Face, Stream, milliseconds

#: Characters of an Idempotency-Key.
KEY_CHARS: Final = 200
#: A position that no body reaches.
BEYOND: Final = 10**15
#: Stands for the position `end`, which is no number.
END: Final = -1

log = structlog.get_logger("http")

Shape = TypeVar("Shape", bound=BaseModel)


def json_body(shape: type[Shape]) -> Shape:
    """The request's JSON as `shape`; no body at all is an empty object.

    Raises RequestEntityTooLarge, NotJson, Malformed and pydantic's ValidationError.
    """
    raw = request.get_data()
    if len(raw) == request.max_content_length:  # werkzeug cuts a chunked body there and accepts it
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


def identifier(name: str) -> uuid.UUID | None:
    """The message id in a query parameter, if there is one. Raises Invalid."""
    value = request.args.get(name)
    try:
        return uuid.UUID(value) if value is not None else None
    except ValueError:
        raise Invalid(f"{name} must be the id of a message.", f"invalid_{name}") from None


def idempotency_key() -> str | None:
    """The Idempotency-Key, if there is one. Raises Invalid."""
    found = request.headers.get("Idempotency-Key")
    if found is not None and not (0 < len(found) <= KEY_CHARS and found.isprintable()):
        raise Invalid(
            f"Idempotency-Key must be 1 to {KEY_CHARS} printable characters.",
            "invalid_idempotency_key",
        )
    return found


def request_hash(path: str, sent: BaseModel) -> str:
    """A hash of the path and the fields that were sent. An Idempotency-Key that comes back with
    another hash came with another request."""
    fields = {"path": path, **sent.model_dump(mode="json", exclude_unset=True)}
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def position(value: str) -> int | None:
    """The position that a header or a query parameter names: END for `end`, None for what is
    neither `end` nor a whole number.

    A whole number may have any length; one that no body reaches is BEYOND.
    """
    if value == "end":
        return END
    if not (value.isascii() and value.isdigit()):
        return None
    digits = value.lstrip("0") or "0"
    return int(digits) if len(digits) < len(str(BEYOND)) else BEYOND


def after() -> int:
    """The position in `?after=`, or END; without it the beginning. Raises Invalid."""
    found = position(request.args.get("after", "0"))
    if found is None:
        raise Invalid(
            'after must be a position: a whole number, 0 or more, or "end".', "invalid_position"
        )
    return found


def after_in(message: Message) -> int:
    """`?after=` as a position in this message: `end` lies after the text of an ended one."""
    found = after()
    if found != END:
        return found
    return BEYOND if message.status in TERMINAL else 0


def seen() -> int:
    """How far the client has read: its Last-Event-ID, else `?after=`.

    A Last-Event-ID that is no position is forgiven and means the beginning: EventSource sends what
    it was given and cannot correct it.
    """
    header = request.headers.get("Last-Event-ID", "").strip()
    return (position(header) or 0) if header else after()


# --- streams -----------------------------------------------------------------------------------


def encode_end(message: Message) -> bytes:
    """The end frame, with the proof."""
    return sse.encode("end", schemas.EndShape.of(message).model_dump(mode="json"), "end")


def message_stream(message_id: uuid.UUID, face: Face) -> Response:
    """A message as `face` writes it, from the position that the request names to its end."""
    return event_stream(lambda: _message_frames(message_id, face))


def _message_frames(message_id: uuid.UUID, face: Face) -> Stream | None:
    stands = seen()
    if stands == END:
        if _has_ended(message_id):
            return None
        stands = 0  # nobody can have seen the end of an open message
    return context().readers.open(message_id, current_user(), stands, face)


def _has_ended(message_id: uuid.UUID) -> bool:
    return messages.load(context().db, message_id, current_user()).status in TERMINAL


def event_stream(opened: Callable[[], Stream | None]) -> Response:
    """What `opened` gives, as Server-Sent Events; 204 where it gives nothing.

    EventSource gives up for ever on a 5xx, so whatever passes is answered with 200, `retry:` and
    a close.
    """
    try:
        frames = opened()
    except Unavailable:
        return _events([sse.retry(milliseconds(RETRY_CUT))])
    except (OutliveError, HTTPException):
        raise
    except Exception as error:  # a bug must not send every client away for ever
        log.exception("http.stream", error=type(error).__name__)
        return _events([sse.retry(milliseconds(RETRY_CUT))])
    if frames is not None and request.method == "HEAD":  # as GET, but nothing follows
        frames.close()
        return _events(iter(()))
    return Response(status=204) if frames is None else _events(frames)


def _events(frames: Iterable[bytes]) -> Response:
    return Response(
        frames,
        direct_passthrough=isinstance(frames, Stream),  # our server knows what to do with it
        content_type="text/event-stream; charset=utf-8",
        headers={"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"},
    )
