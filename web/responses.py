"""JSON responses, short and long.

A response of megabytes must not hold up the streams of this process. `json_reply` encodes,
compresses and writes it in pieces, and lets other greenlets run between them.
"""

import json
import zlib
from collections.abc import Iterator
from itertools import chain
from typing import Any, Final

from flask import Response, request
from pydantic import BaseModel

from web.page.yielding import Slices

#: Code points of a text that is encoded at once, and bytes of a response that is sent whole.
WHOLE: Final = 1 << 16
#: zlib's level for what is sent in pieces: 4 is four times as fast as 9, and 5 % larger.
LEVEL: Final = 4

_JSON: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


class EncodedItems(list[bytes]):
    """A list in JSON data whose items are JSON already."""


def reply(shape: BaseModel, status: int = 200) -> Response:
    """A pydantic model as JSON; for what is known to be short."""
    return Response(shape.model_dump_json(), status, content_type="application/json")


def json_reply(data: dict[str, Any], status: int = 200) -> Response:
    """Any amount of JSON data, in pieces where it is long."""
    pieces = buffered(encoded(data))
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


def encoded(value: Any) -> Iterator[bytes]:
    """A value's JSON; no piece is much longer than WHOLE code points."""
    match value:
        case EncodedItems():
            yield b"["
            for number, item in enumerate(value):
                yield b"," + item if number else item
            yield b"]"
        case list():
            yield b"["
            for number, item in enumerate(value):
                yield b"," if number else b""
                yield from encoded(item)
            yield b"]"
        case dict():
            yield b"{"
            for number, (name, item) in enumerate(value.items()):
                yield f"{',' if number else ''}{_JSON.encode(name)}:".encode()
                yield from encoded(item)
            yield b"}"
        case str() if len(value) > WHOLE:
            yield b'"'
            for start in range(0, len(value), WHOLE):
                yield _JSON.encode(value[start : start + WHOLE])[1:-1].encode()
            yield b'"'
        case _:
            yield _JSON.encode(value).encode()


def buffered(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Small pieces joined to larger ones."""
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
    """The pieces that are not empty; other greenlets run between them."""
    slices = Slices()
    for piece in pieces:
        if piece:
            yield piece
        slices.pause()
