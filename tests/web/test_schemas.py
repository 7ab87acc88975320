"""The shapes of the native face: nothing unknown, nothing coerced, all text storable."""

import base64
import json
from contextlib import suppress
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from shared.errors import Invalid
from web.paging import decode_cursor, encode_cursor
from web.requests import request_hash
from web.schemas import (
    CONTENT_CHARS,
    AnswerRequest,
    ConversationChange,
    NewConversation,
    Options,
    Question,
)

Shape = TypeVar("Shape", bound=BaseModel)


def parsed(shape: type[Shape], value: Any) -> Shape:
    """As a route does it."""
    return shape.model_validate(json.loads(json.dumps(value)))


def refused(shape: type[BaseModel], value: Any) -> list[str]:
    with pytest.raises(ValidationError) as error:
        parsed(shape, value)
    return [str(problem["loc"][0]) for problem in error.value.errors()]


# --- options --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 0},
        {"temperature": 0.7, "top_p": 1, "seed": -3},
        {"max_tokens": 1, "max_completion_tokens": 5},
        {"presence_penalty": -2, "frequency_penalty": 2},
        {"stop": "\n"},
        {"stop": ["a", "b"]},
        {"reasoning_effort": "low"},
    ],
)
def test_allowed_options_are_passed_on_as_they_came(options: dict[str, Any]) -> None:
    passed = parsed(Options, options).model_dump(exclude_none=True)

    assert json.dumps(passed) == json.dumps(options)


@pytest.mark.parametrize(
    "name",
    ["model", "messages", "stream", "n", "tools", "extra_body", "api_key", "base_url", "user", ""],
)
def test_no_other_option_reaches_the_provider(name: str) -> None:
    assert refused(Options, {name: 1}) == [name]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", "0.7"),
        ("temperature", 2.1),
        ("temperature", True),
        ("temperature", float("nan")),
        ("top_p", float("inf")),
        ("top_p", -0.1),
        ("max_tokens", 0),
        ("max_tokens", 1.0),
        ("max_completion_tokens", "5"),
        ("presence_penalty", -2.1),
        ("seed", 1.5),
        ("stop", 7),
        ("stop", ["a"] * 9),
        ("stop", [7]),
        ("reasoning_effort", "extreme"),
    ],
)
def test_an_option_of_another_kind_is_refused_not_coerced(name: str, value: Any) -> None:
    assert name in refused(Options, {name: value})


def test_an_option_that_is_null_is_left_out() -> None:
    assert parsed(Options, {"seed": None}).model_dump(exclude_none=True) == {}


# --- texts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [NewConversation, ConversationChange, AnswerRequest, Question])
def test_an_unknown_field_is_refused(shape: type[BaseModel]) -> None:
    assert "colour" in refused(shape, {"content": "x", "title": "x", "colour": "red"})


def test_a_question_needs_something_to_ask() -> None:
    assert refused(Question, {}) == refused(Question, {"content": ""}) == ["content"]
    assert refused(Question, {"content": None}) == refused(Question, {"content": 7}) == ["content"]


@pytest.mark.failure(32)
def test_a_question_may_be_long_but_not_longer() -> None:
    assert len(parsed(Question, {"content": "😀" * CONTENT_CHARS}).content) == CONTENT_CHARS
    assert refused(Question, {"content": "x" * (CONTENT_CHARS + 1)}) == ["content"]


@pytest.mark.parametrize(
    ("sent", "kept"),
    [("a\x00b", "a\ufffdb"), ("a\ud800", "a\ufffd"), ("😀\u2028\r\n", "😀\u2028\r\n")],
)
def test_every_text_is_made_storable(sent: str, kept: str) -> None:
    new = parsed(NewConversation, {"title": sent, "system": sent})
    question = parsed(Question, {"content": sent, "model": sent, "options": {"stop": [sent]}})

    assert (new.title, new.system) == (kept, kept)
    assert (question.content, question.model, question.options.stop) == (kept, kept, [kept])
    assert parsed(ConversationChange, {"title": sent}).title == kept


def test_a_parent_that_is_null_is_not_a_parent_that_is_left_out() -> None:
    assert parsed(Question, {"content": "x", "parent_id": None}).names_parent
    assert not parsed(Question, {"content": "x"}).names_parent
    assert refused(Question, {"content": "x", "parent_id": "newest"}) == ["parent_id"]


def test_a_title_can_be_taken_away_but_not_forgotten() -> None:
    assert parsed(ConversationChange, {"title": None}).title is None
    assert parsed(ConversationChange, {"system": None}).model_fields_set == {"system"}
    with pytest.raises(ValidationError, match="must be there"):
        parsed(ConversationChange, {})


# --- idempotency ----------------------------------------------------------------------------------


def hashed(value: Any, path: str = "/a") -> str:
    return request_hash(path, parsed(Question, value))


def test_the_same_request_has_the_same_hash_in_any_order_and_in_every_process() -> None:
    one = hashed({"content": "é😀", "options": {"seed": 1, "stop": ["x"]}})
    other = hashed({"options": {"stop": ["x"], "seed": 1}, "content": "é😀"})

    assert one == other == "d8b4bc93565028c26816fdd437af004be26e4826563c66500a6184a2d49bb43b"


def test_every_other_request_has_another_hash() -> None:
    requests: list[dict[str, Any]] = [
        {"content": "a"},
        {"content": "b"},
        {"content": "a", "model": "m"},
        {"content": "a", "parent_id": None},
        {"content": "a", "options": {"seed": 1}},
        {"content": "a", "options": {"seed": 2}},
    ]

    hashes = {hashed(request) for request in requests} | {hashed(requests[0], "/b")}

    assert len(hashes) == len(requests) + 1


# --- cursors --------------------------------------------------------------------------------------


@given(st.integers(0, (1 << 57) - 1))
def test_a_cursor_names_its_place_and_can_stand_in_a_url(seq: int) -> None:
    name = encode_cursor(seq)

    assert decode_cursor(name) == seq
    assert name.replace("-", "").replace("_", "").isalnum()


@pytest.mark.parametrize("place", ["-1", str(1 << 63), "1.5", "", "x", "9" * 5000])
def test_a_cursor_for_no_place_is_refused(place: str) -> None:
    forged = base64.urlsafe_b64encode(place.encode()).decode()

    with pytest.raises(Invalid, match="invalid_cursor"):
        decode_cursor(forged)


@given(st.text(max_size=12))
def test_any_other_text_is_no_cursor_or_a_place(value: str) -> None:
    with suppress(Invalid):
        assert 0 <= decode_cursor(value) < 1 << 63
