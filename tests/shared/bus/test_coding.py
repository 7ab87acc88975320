"""Payloads of a channel: what `encode` wrote is decoded, anything else is None."""

import json
import uuid
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from shared.body import Body, Delta
from shared.bus.coding import (
    WAKE_UP,
    Payload,
    Retrying,
    decode,
    decode_retrying,
    encode,
    encode_retrying,
)
from tests.strategies import bodies

CLAIM = uuid.uuid4()
HEAD = f'[0,0,"{CLAIM.hex}","",null]'
DELTA: list[Any] = [3, 0, "text", "abc", None]

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["\x00", "\ud800", "", "9" * 5000, CLAIM.hex])
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=4), inner, max_size=6)
    ),
    max_leaves=12,
)


def is_possible(payload: Payload) -> bool:
    """Whether the deltas could be in a body, in Postgres, and be sent to a browser."""
    for start, part, kind, text, meta in payload.deltas:
        everything = kind + text + json.dumps(meta, ensure_ascii=False, allow_nan=False)
        everything.encode()
        assert "\x00" not in kind + text
        assert start >= 0
        assert part >= 0
        assert text or meta  # an empty part is opened by its meta
    return True


@given(bodies.filter(lambda body: body.length > 0))
def test_payloads_survive_encoding(body: Body) -> None:
    deltas = body.since(0)

    assert decode(encode(CLAIM, deltas)) == Payload(CLAIM, deltas)


@pytest.mark.parametrize("state", [Retrying(), Retrying(3), Retrying(40, answered=False)])
def test_retrying_survives_encoding_and_is_no_text(state: Retrying) -> None:
    payload = encode_retrying(CLAIM, state)

    assert decode_retrying(payload) == (CLAIM, state)
    assert decode(payload) is None
    assert decode_retrying(payload + " ") is decode_retrying(f"[{HEAD}]") is None


@given(st.text() | st.binary().map(lambda raw: raw.decode("utf-8", "surrogateescape")))
def test_any_text_is_a_payload_or_none(payload: str) -> None:
    decoded = decode(payload)

    assert decoded is None or decoded is WAKE_UP or is_possible(decoded)


@given(values)
def test_any_json_is_a_payload_or_none(value: Any) -> None:
    decoded = decode(json.dumps(value, ensure_ascii=False))

    assert decoded is None or decoded is WAKE_UP or is_possible(decoded)


@given(st.lists(values | st.just(DELTA), min_size=1, max_size=4), st.booleans())
def test_one_invalid_delta_makes_a_payload_invalid(found: Sequence[Any], claimed: bool) -> None:
    rest = ",".join(json.dumps(one, ensure_ascii=False) for one in found)

    decoded = decode(f"[{HEAD + ',' if claimed else ''}{rest}]")

    assert decoded is None or is_possible(decoded)
    if all(one == DELTA for one in found):
        assert decoded == Payload(CLAIM if claimed else None, [Delta(*DELTA)] * len(found))


@given(st.integers(0, 4), values)
def test_a_delta_with_a_field_of_another_type_is_invalid(place: int, value: Any) -> None:
    assume(type(value) not in (int, int, str, str, dict)[place : place + 1])
    assume(place < 4 or value is not None)
    changed = [*DELTA[:place], value, *DELTA[place + 1 :]]

    assert decode(f"[{HEAD},{json.dumps(changed, ensure_ascii=False)}]") is None


#: Not payloads of this version. Some may be of the next one.
FOREIGN = {
    "empty": "",
    "no JSON": "no JSON",
    "a number": "7",
    "null": "null",
    "true": "true",
    "a string": '"abcde"',
    "an object": '{"a": 1}',
    "an object of five letters": '{"claim": 1}',
    "an empty list": "[]",
    "a list of numbers": "[7]",
    "a list of strings": '["abcde"]',
    "a list of objects": '[{"start": 0}]',
    "a claim and no text": f"[{HEAD}]",
    "a claim and a comma": f"[{HEAD},]",
    "a claim that is not hexadecimal": f'[[0,0,"{"z" * 32}","",null],[0,0,"text","a",null]]',
    "half a claim": '[[0,0,"abc","",null],[0,0,"text","a",null]]',
    "a longer claim": f'[[0,0,"{CLAIM.hex}:2","",null],[0,0,"text","a",null]]',
    "a longer head": f'[[0,0,"{CLAIM.hex}","",null,1],[0,0,"text","a",null]]',
    "two claims": f'[{HEAD},{HEAD},[0,0,"text","a",null]]',
    "a missing field": f'[{HEAD},[0,0,"text","a"]]',
    "an extra field": f'[{HEAD},[0,0,"text","a",null,1]]',
    "empty text": f'[{HEAD},[0,0,"text","",null]]',
    "text that is a number": f'[{HEAD},[0,0,"text",7,null]]',
    "text that is a list": f'[{HEAD},[0,0,"text",["a"],null]]',
    "a kind that is null": f'[{HEAD},[0,0,null,"a",null]]',
    "a start that is text": f'[{HEAD},["0",0,"text","a",null]]',
    "a start that is true": f'[{HEAD},[true,0,"text","a",null]]',
    "a start that is not whole": f'[{HEAD},[0.5,0,"text","a",null]]',
    "a start before the beginning": f'[{HEAD},[-1,0,"text","ab",null]]',
    "a start of 5,000 digits": f'[{HEAD},[{"9" * 5000},0,"text","a",null]]',
    "a part before the first": f'[{HEAD},[0,-1,"text","a",null]]',
    "meta that is a list": f'[{HEAD},[0,0,"text","a",[]]]',
    "meta that is NaN": f'[{HEAD},[0,0,"text","a",{{"n": NaN}}]]',
    "meta with NUL": f'[{HEAD},[0,0,"text","a",{{"n": [{{"\\u0000": 1}}]}}]]',
    "text with NUL": f'[{HEAD},[0,0,"text","a\\u0000",null]]',
    "half a surrogate pair": f'[{HEAD},[0,0,"text","\\ud83d",null]]',
    "bytes that were not UTF-8": f'[{HEAD},[0,0,"text","\udcff",null]]',
    "space after it": f'[{HEAD},[0,0,"text","a",null]] ',
    "two payloads": f'[{HEAD},[0,0,"text","a",null]][]',
    "space before it": f' [{HEAD},[0,0,"text","a",null]]',
    "a payload that is cut": f'[{HEAD},[0,0,"text","a',
    "very deep": "[" * 100_000,
    "very deep meta": f'[{HEAD},[0,0,"text","a",' + '{"a":' * 5000 + "1" + "}" * 5000 + "]]",
    "a wake-up with a reason": '{"why": "ended"}',
}


@pytest.mark.parametrize("payload", FOREIGN.values(), ids=FOREIGN)
def test_foreign_payloads_are_none(payload: str) -> None:
    assert decode(payload) is None


def test_payloads_of_the_version_before_have_no_claim() -> None:
    assert decode('[[0,0,"text","a",null],[1,1,"tool_call","{}",{"id":"1"}]]') == Payload(
        None, [Delta(0, 0, "text", "a"), Delta(1, 1, "tool_call", "{}", {"id": "1"})]
    )


def test_readers_of_the_version_before_skip_the_claim_and_take_the_text() -> None:
    """They take each item for a delta, and skip those that end at or before the body's end."""
    body = Body()

    for item in json.loads(encode(CLAIM, [Delta(0, 0, "text", "as ever")])):
        body.append(Delta(*item))

    assert [part.text for part in body.parts] == ["as ever"]
