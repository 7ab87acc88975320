"""JSON from a provider: values that follow one another, and limits on what parsing may cost. Pure.

Parsing cannot be interrupted, and while it runs no other stream of the process is served. A parser
takes half a microsecond for each list, object and comma, so a document with too much structure is
refused before it is parsed.
"""

import json
import re
from collections.abc import Iterator
from typing import Any, Final

from shared.errors import GenerationFailed

#: Bytes of one line of a stream, and of a reply that is one document. With as many parts as an
#: answer may have, at 400 bytes each, that is less than a MiB.
LINE_LIMIT: Final = 700_000
#: Lists and objects that a document may have, and commas outside of strings.
STRUCTURE_MAX: Final = 40_000
COMMAS_MAX: Final = 120_000
#: Characters of a document that is parsed without being counted.
STRUCTURE_FREE: Final = 1 << 14
#: Unescaped quotes of a document whose structure is counted without its strings.
QUOTES_MAX: Final = 100_000
#: Bytes of a document in which a value is searched for first; then eight times as many, and so on.
WINDOW: Final = 1 << 12

#: Stands for [DONE] among values.
DONE: Final = object()

#: (value, end) of the JSON value at a place. Raw control characters in strings are forgiven.
decode: Final = json.JSONDecoder(strict=False).raw_decode
#: A JSON string. Written so that text without escapes costs nearly nothing.
_STRING: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_BLANKS: Final = re.compile(r"\s*")


def values(data: str) -> Iterator[Any]:
    """The JSON values that follow one another; DONE for [DONE]. Raises GenerationFailed."""
    at, data = 0, data.strip()
    if not is_cheap(data):
        raise GenerationFailed("provider_malformed")
    while at < len(data):
        if _is_done(data, at):
            yield DONE
            return
        try:
            value, at = decode(data, at)
        except (ValueError, RecursionError):
            raise GenerationFailed("provider_malformed") from None
        yield value
        at = _next(data, at)


def clean(document: bytes) -> bytes:
    """A document as valid UTF-8 without blanks around it. Raises GenerationFailed if too large."""
    text = document.decode("utf-8", "replace").strip()
    valid = text.encode()
    if len(valid) > LINE_LIMIT or not is_cheap(text):  # replaced bytes have become longer
        raise GenerationFailed("provider_malformed")
    return valid


def value_at(document: bytes, at: int, room: int) -> tuple[Any, int] | None:
    """The value that begins at `at` (DONE for [DONE]), and where the next one begins.

    Only `room` bytes are decoded, as a document may hold many values; None if the value may not end
    within them. Raises GenerationFailed.
    """
    if _is_done(document, at):
        return DONE, len(document)
    text = document[at : at + room].decode("utf-8", "ignore")  # may cut the last character in half
    last = at + room >= len(document)
    try:
        value, end = decode(text)
    except (ValueError, RecursionError):
        if last:
            raise GenerationFailed("provider_malformed") from None
        return None
    end = _next(text, end)
    return (value, at + len(text[:end].encode())) if last or end < len(text) else None


def is_cheap(data: str) -> bool:
    """Whether parsing it takes little time, however it is made."""
    if len(data) <= STRUCTURE_FREE or _has_little_structure(data):
        return True
    if data.count('"') - data.count('\\"') > QUOTES_MAX:
        return False
    return _has_little_structure(_STRING.sub("", data))  # brackets and commas may be in its text


def _has_little_structure(data: str) -> bool:
    objects = data.count("[") + data.count("{")
    return objects <= STRUCTURE_MAX and data.count(",") <= COMMAS_MAX


def _is_done(data: str | bytes, at: int) -> bool:
    """Whether all that is left is [DONE]."""
    return len(data) - at == len("[DONE]") and data[at:] in ("[DONE]", b"[DONE]")


def _next(data: str, at: int) -> int:
    """Where the next value begins."""
    found = _BLANKS.match(data, at)
    return found.end() if found else at
