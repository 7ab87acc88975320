"""Every field of a chat completion is understood, passed on, or refused by name."""

import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from shared.errors import Invalid
from shared.text import normalise
from web.openai_errors import param_of
from web.openai_request import (
    CONVERSATION,
    DEPTH_MAX,
    SEPARATOR,
    ChatCompletion,
    ChatQuestion,
    question,
)

HELLO = {"role": "user", "content": "hello"}
SAID = [HELLO]

words = st.text("ab \n\x00\ud800\udc00😀", max_size=6)
plain = st.text("ab \n😀", max_size=6)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | plain,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(plain, inner, max_size=3),
    max_leaves=8,
)


def parsed(messages: Any = SAID, **fields: Any) -> ChatQuestion:
    return question(ChatCompletion.model_validate({"messages": messages, **fields}))


def refused(messages: Any = SAID, **fields: Any) -> str:
    """The field that is refused."""
    with pytest.raises((ValidationError, Invalid)) as caught:
        parsed(messages, **fields)
    error = caught.value
    if isinstance(error, Invalid):
        return str(error.fields["param"])
    assert isinstance(error, ValidationError)
    return param_of(error.errors()[0]["loc"])


# --- options --------------------------------------------------------------------------------------

PASSED = [
    *("logit_bias", "response_format", "user", "store", "service_tier", "prediction", "verbosity"),
    *("safety_identifier", "prompt_cache_key", "reasoning_effort", "top_k", "min_p", "thinking"),
    *("chat_template_kwargs", "guided_json", "repetition_penalty", "reasoning", "provider"),
]


@given(st.dictionaries(st.sampled_from(PASSED), values, max_size=4))
def test_what_is_passed_on_is_what_came(sent: dict[str, Any]) -> None:
    found = parsed(**sent).options

    assert found == {name: value for name, value in sent.items() if value is not None}


@given(words)
def test_text_that_cannot_be_stored_is_normalised_wherever_it_stands(text: str) -> None:
    sent = {"user": text, "logit_bias": {text: [text, {"x": text}]}, "stop": text}

    found = parsed(**sent).options

    clean = normalise(text)
    assert found == {
        "user": clean,
        "logit_bias": {clean: [clean, {"x": clean}]},
        "stop": clean,
    }


def test_what_says_nothing_is_accepted_and_not_passed_on() -> None:
    harmless = {
        "n": 1,
        "logprobs": False,
        "top_logprobs": 0,
        "modalities": ["text"],
        "tools": [],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "functions": [],
        "function_call": "none",
        "temperature": None,
        "stream_options": {"include_usage": True, "include_obfuscation": False},
    }

    assert parsed(**harmless).options == {}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", 2),
        ("n", True),
        ("logprobs", True),
        ("top_logprobs", 3),
        ("modalities", ["text", "audio"]),
        ("audio", {"voice": "x"}),
        ("tools", [{"type": "function"}]),
        ("tool_choice", "required"),
        ("functions", [{}]),
        ("web_search_options", {}),
        ("stream", "yes"),
        ("temperature", 3),
        ("max_tokens", 0),
        ("never_heard_of", None),
        ("stop", 5),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(field: str, value: Any) -> None:
    assert refused(**{field: value}) == field


def test_what_no_json_of_ours_can_hold_is_refused() -> None:
    deep: Any = "x"
    for _ in range(DEPTH_MAX + 1):
        deep = [deep]

    assert refused(user=deep) == "user"
    assert refused(user={"x": float("inf")}) == "user"
    assert refused(user=[float("nan")]) == "user"


def test_metadata_may_name_a_conversation_and_the_rest_is_passed_on() -> None:
    named = uuid.uuid4()

    alone = parsed(metadata={CONVERSATION: str(named)})
    beside = parsed(metadata={CONVERSATION: str(named), "other": "x"})

    assert (alone.conversation_id, alone.options) == (named, {})
    assert (beside.conversation_id, beside.options) == (named, {"metadata": {"other": "x"}})
    assert parsed(metadata={"other": "x"}).conversation_id is None
    bad: Any
    for bad in ("x", 5, None, []):
        assert refused(metadata={CONVERSATION: bad}) == f"metadata.{CONVERSATION}"


# --- messages -------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.sampled_from(["user", "assistant"]), words), max_size=6))
def test_turns_keep_their_order_and_their_text(turns: list[tuple[str, str]]) -> None:
    sent = [{"role": role, "content": text} for role, text in turns]

    found = parsed([*sent, HELLO])

    assert found.turns == [*((role, normalise(text)) for role, text in turns), ("user", "hello")]
    assert found.system is None


@given(st.lists(words, max_size=4))
def test_parts_of_text_are_joined(texts: list[str]) -> None:
    parts = [{"type": "text", "text": text} for text in texts]

    found = parsed([{"role": "assistant", "content": parts}, HELLO])

    assert found.turns[0][1] == SEPARATOR.join(normalise(text) for text in texts)


def test_instructions_come_first_and_are_joined() -> None:
    first = [{"role": "system", "content": "A"}, {"role": "developer", "content": "B"}]

    assert parsed([*first, HELLO])[:2] == ([("user", "hello")], "A\n\nB")
    assert refused([HELLO, *first, HELLO]) == "messages[1].role"


def test_an_answer_that_an_sdk_sends_back_is_its_text() -> None:
    back: dict[str, Any] = {
        "role": "assistant",
        "content": "Hi",
        "refusal": None,
        "annotations": [],
        "audio": None,
        "function_call": None,
        "tool_calls": None,
        "reasoning_content": "Hm.",
    }

    assert parsed([HELLO, back, HELLO]).turns[1] == ("assistant", "Hi")
    assert parsed([HELLO, {**back, "content": None}, HELLO]).turns[1] == ("assistant", "")


@pytest.mark.parametrize(
    ("messages", "field"),
    [
        ([], "messages"),
        ("hello", "messages"),
        ([{"role": "system", "content": "A"}], "messages[0].role"),
        ([HELLO, {"role": "assistant", "content": "Hi"}], "messages[1].role"),
        ([{"role": "user", "content": ""}], "messages[0].content"),
        ([{"role": "user", "content": []}], "messages[0].content"),
        ([{"role": "user", "content": 5}], "messages[0].content"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "messages[0].content"),
        ([{"role": "user", "content": [{"type": "text"}]}], "messages[0].content"),
        ([{"role": "tool", "content": "x", "tool_call_id": "1"}, HELLO], "messages[0].role"),
        ([{"content": "x"}], "messages[0].role"),
        ([{**HELLO, "name": "Ann"}], "messages[0].name"),
        ([{**HELLO, "weight": 1}], "messages[0].weight"),
        ([HELLO, {"role": "assistant", "tool_calls": [{}]}, HELLO], "messages[1].tool_calls"),
    ],
)
def test_a_turn_that_cannot_be_kept_is_refused_by_name(messages: Any, field: str) -> None:
    assert refused(messages) == field
