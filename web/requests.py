"""What the faces that speak JSON and Server-Sent Events have in common: requests and responses."""

import hashlib
import json
import uuid
import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any, Final, TypeVar

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
from web.page.yielding import Slices

KEY_CHARS: Final = 200
#: A position that no body reaches, and what stands for `end`, which is none.
BEYOND: Final = 10**15
END: Final = -1

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


def position(value: str) -> int | None:
    """What a client says that it has seen, in a header or a query: END for `end`, None for what is
    neither that nor a whole number.

    A whole number is one however long; one beyond any body is BEYOND.
    """
    if value == "end":
        return END
    if not (value.isascii() and value.isdigit()):
        return None
    digits = value.lstrip("0") or "0"
    return int(digits) if len(digits) < len(str(BEYOND)) else BEYOND


def after() -> int:
    """The position that the query names, or END; without it the beginning."""
    found = position(request.args.get("after", "0"))
    if found is None:
        raise Invalid(
            'after must be a position: a whole number, 0 or more, or "end".', "invalid_position"
        )
    return found


def after_in(message: Message) -> int:
    """The same as a position in this message: `end` is behind an ended one's last character."""
    found = after()
    if found != END:
        return found
    return BEYOND if message.status in TERMINAL else 0


def seen() -> int:
    """What the client has seen: Last-Event-ID, else `after`.

    A Last-Event-ID is forgiven: what is no position means from the beginning.
    """
    header = request.headers.get("Last-Event-ID", "").strip()
    return (position(header) or 0) if header else after()


# --- responses -----------------------------------------------------------------------------------


def reply(shape: BaseModel, status: int = 200) -> Response:
    """A shape as JSON."""
    return Response(shape.model_dump_json(), status, content_type="application/json")


#: Code points of a reply that is encoded, compressed and written in one go, and of a piece of a
#: longer one.
WHOLE: Final = 1 << 16
#: How hard to compress what is sent in pieces: 4 is four times as fast as 9, and 5 % larger.
LEVEL: Final = 4

_JSON: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


class Encoded(list[bytes]):
    """Items of a list that are JSON already."""


def json_reply(data: dict[str, Any], status: int = 200) -> Response:
    """Any amount of JSON. What is long is made, compressed and written in pieces, and other
    greenlets run between them."""
    pieces = _buffered(_pieces(data))
    first = next(pieces)
    second = next(pieces, b"")
    if not second:
        return Response(first, status, content_type="application/json")
    response = Response(status=status, content_type="application/json")
    response.vary.add("Accept-Encoding")
    rest: Iterator[bytes] = chain([first, second], pieces)
    if request.accept_encodings["gzip"]:
        response.headers["Content-Encoding"] = "gzip"
        rest = _compressed(rest)
    response.response = _in_slices(rest)
    return response


def _pieces(value: Any) -> Iterator[bytes]:
    """A value's JSON; none of its pieces is much longer than WHOLE code points."""
    match value:
        case Encoded():
            yield b"["
            for number, item in enumerate(value):
                yield b"," + item if number else item
            yield b"]"
        case list():
            yield b"["
            for number, item in enumerate(value):
                yield b"," if number else b""
                yield from _pieces(item)
            yield b"]"
        case dict():
            yield b"{"
            for number, (name, item) in enumerate(value.items()):
                yield f"{',' if number else ''}{_JSON.encode(name)}:".encode()
                yield from _pieces(item)
            yield b"}"
        case str() if len(value) > WHOLE:
            yield b'"'
            for start in range(0, len(value), WHOLE):
                yield _JSON.encode(value[start : start + WHOLE])[1:-1].encode()
            yield b'"'
        case _:
            yield _JSON.encode(value).encode()


def _buffered(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Small pieces together."""
    waiting: list[bytes] = []
    size = 0
    for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        if size >= WHOLE:
            yield b"".join(waiting)
            waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)


def _compressed(pieces: Iterator[bytes]) -> Iterator[bytes]:
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, 16 + zlib.MAX_WBITS)
    for piece in pieces:
        yield packer.compress(piece)
    yield packer.flush()


def _in_slices(pieces: Iterator[bytes]) -> Iterator[bytes]:
    slices = Slices()
    for piece in pieces:
        if piece:
            yield piece
        slices.pause()


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
