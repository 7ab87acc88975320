"""What a request says: its JSON, its parameters, and how far its client has read."""

import hashlib
import json
import re
import uuid
from collections.abc import Collection, Mapping
from functools import partial
from itertools import islice
from typing import Any, Final, TypeVar

from flask import Flask, request
from pydantic import BaseModel, ValidationError
from werkzeug.exceptions import RequestEntityTooLarge

from shared.errors import Invalid
from shared.lifecycle import TERMINAL
from shared.store.messages import Message
from web import aside
from web.contract.operation import Operation
from web.errors import Malformed, NotJson
from web.json_types import RequestBody

#: Characters of an Idempotency-Key.
KEY_CHARS: Final = 200
#: A position that no body reaches.
BEYOND: Final = 10**15
#: Stands for the position `end`, which is no number.
END: Final = -1

#: Code points of an unknown parameter's name that are echoed.
NAME_CHARS: Final = 100
#: Fields that an object may have. Each unknown one is an error to pydantic: 250,000 of them, which
#: fit into a body, would hold the loop for seconds.
MOST_FIELDS: Final = 100
#: Commas, opening brackets and strings of a body: each value costs some microseconds.
MOST_TOKENS: Final = 200_000
_TOKEN: Final = re.compile(rb'[,\[{]|"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
#: Mistakes of a body that are listed.
MOST_MISTAKES: Final = 100

Shape = TypeVar("Shape", bound=BaseModel)


def register(app: Flask, operations: Mapping[str, Operation | None]) -> None:
    """Refuse every request with a query parameter, or a body, that its operation does not have."""
    known = {
        endpoint: operation.query
        for endpoint, operation in operations.items()
        if operation is not None and not operation.ignores_unknown
    }
    app.before_request(partial(_refuse_unknown, known))
    bodiless = {name for name, one in operations.items() if one is not None and one.body is None}
    app.before_request(partial(_refuse_body, bodiless))


def _refuse_unknown(known: Mapping[str, frozenset[str]]) -> None:
    if not request.environ.get("QUERY_STRING"):  # most requests
        return
    names = known.get(request.endpoint or "")
    if names is None:
        return
    for name in request.args:
        if name not in names:
            has = ", ".join(sorted(names)) or "none"
            raise Invalid(
                f"This call has no parameter {name[:NAME_CHARS]!r}; those that it has: {has}.",
                "unknown_parameter",
            )


class _NoFields(RequestBody):
    """The body of a call that takes none: empty, or an empty object."""


def _refuse_body(bodiless: Collection[str]) -> None:
    if request.method not in ("GET", "HEAD", "OPTIONS") and request.endpoint in bodiless:
        json_body(_NoFields)


def json_body(shape: type[Shape], *, as_text: bool = False) -> Shape:
    """The request's JSON as `shape`; no body at all is an empty object.

    `as_text`: also where it is sent as text/plain. A page of any site can make a browser send that,
    with cookies and without asking; the gate refuses those of other sites (`web/auth/site.py`).

    Raises RequestEntityTooLarge, NotJson, Malformed, Invalid and pydantic's ValidationError.
    """
    raw = request.get_data()
    if len(raw) == request.max_content_length:  # werkzeug cuts a chunked body there and accepts it
        raise RequestEntityTooLarge
    if not raw:
        return shape.model_validate({})
    if not (request.is_json or (as_text and request.mimetype == "text/plain")):
        raise NotJson
    parsed: Shape = aside.read(_parsed, raw, shape)
    return parsed


def _parsed(raw: bytes, shape: type[Shape]) -> Shape:
    if _is_crowded(raw):
        raise Invalid("The body has more values than a request may have.")
    try:
        found = json.loads(raw.decode(), object_pairs_hook=_object)
    except (ValueError, RecursionError):  # also for a number of 5,000 digits, or no UTF-8
        raise Malformed from None
    try:
        return shape.model_validate(found)
    except ValidationError as error:
        if error.error_count() > MOST_MISTAKES:  # to list them takes longer than to find them
            raise Invalid(f"The body has more than {MOST_MISTAKES} mistakes.") from None
        raise


def _is_crowded(raw: bytes) -> bool:
    """Whether it has too many values, however long their texts are."""
    if raw.count(b",") + raw.count(b"[") + raw.count(b"{") + raw.count(b'"') // 2 <= MOST_TOKENS:
        return False  # nearly always
    found = islice(_TOKEN.finditer(raw), MOST_TOKENS + 1)
    return sum(1 for _ in found) > MOST_TOKENS


def _object(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object that is not too wide, and has each field once: who reads it twice must read the
    same (RFC 8259, 4). Raises Invalid."""
    if len(fields) > MOST_FIELDS:
        raise Invalid(f"An object in the body has more than {MOST_FIELDS} fields.")
    found = dict(fields)
    if len(found) < len(fields):
        raise Invalid("An object in the body has the same field twice.")
    return found


def identifier(name: str) -> uuid.UUID | None:
    """The id in a query parameter, if there is one. Raises Invalid."""
    value = request.args.get(name)
    try:
        return uuid.UUID(value) if value is not None else None
    except ValueError:
        raise Invalid(code=f"invalid_{name}") from None


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
    another hash came with another request. Raises Invalid for what is nested too deeply."""
    try:
        fields = {"path": path, **sent.model_dump(mode="json", exclude_unset=True)}
    except ValueError:  # some fields may be any JSON
        raise Invalid("The body is nested too deeply.") from None
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
    it was given and cannot correct it. `?after=` is checked in any case. Raises Invalid.
    """
    asked = after()
    header = request.headers.get("Last-Event-ID", "").strip()
    return (position(header) or 0) if header else asked
