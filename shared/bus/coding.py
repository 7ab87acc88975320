"""The payload of a publication: deltas of one claim as JSON. Pure.

A payload is stored in the live log and published on the message's channel as it is, so its writer
encodes once, and each web process decodes once for all readers. It names its claim, because all
claims of a message share its channel: a reader takes it only if its body is that claim's.

Anything may be published by anyone who reaches Redis, and the next version of this service may
write more than this one knows. Therefore `decode` accepts exactly the shape that `encode` writes,
with values that Postgres can store and browsers can be sent; everything else is None.
"""

import json
import math
import re
import uuid
from collections.abc import Sequence
from functools import lru_cache
from json.encoder import encode_basestring
from typing import Any, Final, NamedTuple

from shared.body import Delta
from shared.text import is_storable

#: Claims whose encoded head, or parsed token, is remembered.
KNOWN_CLAIMS: Final = 1024
#: A payload that says: something has changed, read the row.
WAKE: Final = "{}"
_DECODER: Final = json.JSONDecoder()


class Payload(NamedTuple):
    """Deltas of a claim. Without deltas it is a wake-up: the row is worth reading."""

    claim: uuid.UUID | None
    deltas: Sequence[Delta]


#: `WAKE`, decoded.
WAKE_UP: Final = Payload(None, ())


def encode(claim: uuid.UUID, deltas: Sequence[Delta]) -> str:
    """Encode deltas: [[0, 0, claim, "", null], [start, part, kind, text, meta], ...].

    The first item names the claim. It has the shape of an empty delta, so that readers of the
    version before claims had tokens drop it as text they already have, and take the others.
    """
    return encode_after(head(claim), deltas)


def encode_after(payload_head: str, deltas: Sequence[Delta]) -> str:
    """The same, for a caller that remembers the head of its claim."""
    return f"{payload_head}{','.join(map(_encoded, deltas))}]"


@lru_cache(maxsize=KNOWN_CLAIMS)
def head(claim: uuid.UUID) -> str:
    """The characters with which every payload of this claim begins (also known to publish.lua)."""
    return f'[[0,0,"{claim.hex}","",null],'


class Retrying(NamedTuple):
    """What readers of an answer are told while its provider is asked again."""

    #: how often it was asked again; 0: it has accepted the request
    times: int = 0
    #: it answered that it cannot answer now, rather than not at all
    answered: bool = True


#: Tries that a reader is told of at most.
RETRIES_MAX: Final = 1_000
_RETRYING: Final = re.compile(r'\{"retry":(\d{1,4}),"answered":([01]),"claim":"([0-9a-f]{32})"\}')


def encode_retrying(claim: uuid.UUID, state: Retrying) -> str:
    """Encode that a claim's owner asks its provider again. It is published and never stored.

    (For a version that does not know it, it is a reason to read the row.)
    """
    times = min(state.times, RETRIES_MAX)
    return f'{{"retry":{times},"answered":{int(state.answered)},"claim":"{claim.hex}"}}'


def decode_retrying(payload: str) -> tuple[uuid.UUID, Retrying] | None:
    """The claim and its state; None for any other payload."""
    found = _RETRYING.fullmatch(payload)
    if found is None:
        return None
    times, answered, claim = found.groups()
    return _parsed_token(claim), Retrying(int(times), answered == "1")


def _encoded(delta: Delta) -> str:
    # Field by field: `json.dumps` of the whole takes four times as long.
    start, part, kind, text, meta = delta
    encoded_meta = json.dumps(meta) if meta else "null"
    return f'[{start},{part},"{kind}",{encode_basestring(text)},{encoded_meta}]'


def decode(payload: str) -> Payload | None:
    """Decode a payload; None if it is not exactly what `encode` writes, or a wake-up."""
    if payload == WAKE:
        return WAKE_UP
    claim, at = None, 1
    try:
        # The head is recognised by its characters: parsing it would cost as much as the rest.
        if payload[39:50] == '","",null],':
            claim, at = _parsed_token(payload[7:39]), 50
            if payload[:at] != head(claim):
                return None
        elif not payload.startswith("["):
            return None
        deltas = []
        while True:
            item, at = _DECODER.raw_decode(payload, at)
            deltas.append(_valid(item))
            rest = payload[at : at + 2]
            if rest == "]":
                return Payload(claim, deltas)
            if rest[:1] != ",":
                return None
            at += 1
    except (ValueError, TypeError, RecursionError):  # RecursionError: very deep nesting
        return None


@lru_cache(maxsize=KNOWN_CLAIMS)
def _parsed_token(text: str) -> uuid.UUID:
    return uuid.UUID(hex=text)


def _valid(item: Any) -> Delta:
    """The delta in a JSON value. Raises ValueError or TypeError if it is not a possible one.

    An empty delta with meta opens a part; without meta it would be a damaged head.

    JSON objects and strings of five items can be unpacked, too: their items are not numbers.
    """
    start, part, kind, text, meta = item
    if (
        type(start) is type(part) is int
        and type(kind) is type(text) is str
        and (text or meta)
        and start >= 0 <= part
        and is_storable(text)
        and is_storable(kind)
        and (meta is None or (type(meta) is dict and _is_valid_meta(meta)))
    ):
        return Delta(start, part, kind, text, meta)
    raise ValueError


def _is_valid_meta(value: Any) -> bool:
    if isinstance(value, str):
        return is_storable(value)
    if isinstance(value, dict):
        return all(map(_is_valid_meta, (*value.keys(), *value.values())))
    if isinstance(value, list):
        return all(map(_is_valid_meta, value))
    return not isinstance(value, float) or math.isfinite(value)
