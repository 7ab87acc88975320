"""What a turn says, in SQL: equal for what is equal, different for all else, and never an error."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from shared.body import Body
from shared.parts import PartKind
from shared.store.asking import body_columns
from tests.store_fixtures import Store

_SAID = """
SELECT message_said(role, CAST(body AS jsonb)) AS said
FROM unnest(CAST(:roles AS text[]), CAST(:bodies AS text[])) WITH ORDINALITY AS t (role, body, n)
ORDER BY n
"""

plain = st.text('ab"\\.0e :,{}\n😀é', max_size=8)
numbers = st.integers(-1000, 1000) | st.sampled_from([1.5, -0.25, 100.001, 1e-7, 2.0**70, 10**25])
values = st.recursive(
    st.none() | st.booleans() | numbers | plain,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(plain, inner, max_size=3),
    max_leaves=8,
)

#: The statements write nothing, so one store serves all examples.
same_store = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def said(store: Store, *turns: tuple[str, Body]) -> list[bytes]:
    bodies = [body_columns(body)["body"] for _, body in turns]
    rows = store.db.rows(_SAID, roles=[role for role, _ in turns], bodies=bodies)
    return [bytes(row.said) for row in rows]


def body(*parts: tuple[str, str, Any]) -> Body:
    made = Body()
    for kind, text, meta in parts:
        made.write(kind, text, meta, fresh=True)
    return made


def call(arguments: str, name: str = "f", call_id: str | None = "c") -> Body:
    return body((PartKind.TOOL_CALL, arguments, {"id": call_id, "name": name}))


def of_calls(store: Store, arguments: Sequence[str]) -> list[bytes]:
    return said(store, *[("assistant", call(one)) for one in arguments])


def with_zeros(value: Any) -> Any:
    """Whole numbers as `1.0`, as some clients spell them."""
    match value:
        case int() if not isinstance(value, bool) and abs(value) < 2**50:
            return float(value)
        case list():
            return [with_zeros(one) for one in value]
        case dict():
            return {name: with_zeros(one) for name, one in value.items()}
    return value


def turned_round(value: Any) -> Any:
    """Objects with their fields in the other order."""
    match value:
        case list():
            return [turned_round(one) for one in value]
        case dict():
            return {name: turned_round(one) for name, one in reversed(value.items())}
    return value


@same_store
@given(values)
@example({"a": "1.50", "b": [1.5, "x\\", '"1.0'], "c\\": 10.0})
def test_arguments_count_as_a_value_not_as_they_are_spelled(store: Store, value: Any) -> None:
    spelled = [
        json.dumps(value),
        json.dumps(value, indent=2, ensure_ascii=False),
        json.dumps(turned_round(value), separators=(",", ":")),
        json.dumps(with_zeros(value)),
    ]

    assert len(set(of_calls(store, spelled))) == 1


@same_store
@given(values, values)
@example("1.0", "1")
@example(1, "1")
@example([1.05], [1.5])
@example({"a": "x"}, {"a": "x "})
def test_other_values_are_other_arguments(store: Store, one: Any, other: Any) -> None:
    [mine, theirs] = of_calls(store, [json.dumps(one), json.dumps(other)])

    def canonical(value: Any) -> str:
        return json.dumps(with_zeros(value), sort_keys=True)

    assert (mine == theirs) == (canonical(one) == canonical(other))


@pytest.mark.parametrize(
    "arguments",
    [
        "not JSON",
        '{"a":',
        "[" * 100_000 + "]" * 100_000,
        r'"\u0000"',
        r'"\ud800"',
        "1e131071",
        "1e999999999999",
        "[" + "1e99," * 50_000 + "1]",
        '"' + "\\n" * 120_000 + '"',
        "1." + "0" * 200_000,
        "\\" * 200_000,
        '"' * 200_001,
        '{"hash": "12e12345"}',
    ],
)
def test_no_arguments_keep_an_answer_from_ending(store: Store, arguments: str) -> None:
    [one, same, other] = of_calls(store, [arguments, arguments, arguments + "1"])

    assert len(one) == 32
    assert one == same != other


def test_no_number_becomes_long(store: Store) -> None:
    """A large exponent stays as it is written, but for those in strings."""
    [row] = store.db.rows(
        "SELECT json_value_of('[1e400]') AS kept, json_value_of('{ \"1e400\": 1.50 }') AS found"
    )

    assert (row.kept, row.found) == ("[1e400]", '{"1e400": 1.5}')


def test_each_of_these_says_something_else(store: Store) -> None:
    text, image = PartKind.TEXT, PartKind.IMAGE
    result = PartKind.TOOL_RESULT
    different = [
        ("user", body((text, "a", None))),
        ("assistant", body((text, "a", None))),
        ("user", body((text, "ab", None))),
        ("user", body((text, "a", None), (text, "b", None))),
        ("user", body((image, "https://a", None))),
        ("user", body((image, "https://a", {"detail": "low"}))),
        ("user", body((image, "https://a", None), (text, "a", None))),
        ("user", body((text, "a", None), (image, "https://a", None))),
        ("user", body((result, "a", {"tool_call_id": "1"}))),
        ("user", body((result, "a", {"tool_call_id": "2"}))),
        ("user", body((result, " ", {"tool_call_id": "2"}))),
        ("user", body((result, " ", {"tool_call_id": "2", "empty": True}))),
        ("assistant", call("{}")),
        ("assistant", call("{}", name="g")),
        ("assistant", call("{}", call_id="d")),
        ("assistant", body()),
        ("user", body()),
    ]

    assert len(set(said(store, *different))) == len(different)


def test_these_say_the_same(store: Store) -> None:
    text, thought, calls = PartKind.TEXT, PartKind.REASONING, PartKind.TOOL_CALL
    meta = {"id": "c", "name": "f"}
    same = [
        ("assistant", body((text, "ab", None), (calls, "{}", meta))),
        ("assistant", body((thought, "Hm", None), (text, "a", None), (calls, "{}", meta))),
        ("assistant", body((calls, "{ }", meta), (text, "ab", None))),
    ]
    same[1][1].write(text, "b", fresh=True)
    stored = [
        ("user", body((PartKind.IMAGE, "/api/files/1", {"file": "1", "type": "t", "bytes": 1}))),
        ("user", body((PartKind.IMAGE, "/api/files/1", {"file": "1", "type": "t", "bytes": 1}))),
    ]
    unnamed = [("assistant", call("{}", call_id=one)) for one in (None, "", "call_0")]

    for turns in (same, stored, unnamed):
        assert len(set(said(store, *turns))) == 1
