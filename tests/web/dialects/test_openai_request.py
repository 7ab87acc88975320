"""Every field of a chat completion is understood, passed on, or refused by name."""

import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from shared.errors import Invalid
from shared.text import normalise
from web.dialects.openai_errors import param_of
from web.dialects.openai_request import (
    CONVERSATION,
    SEPARATOR,
    ChatCompletion,
    ChatQuestion,
    question,
)

HELLO = {"role": "user", "content": "hello"}
SAID = [HELLO]
TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}

words = st.text("ab \n\x00\ud800\udc00😀", max_size=6)
plain = st.text("ab \n😀", max_size=6)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-9, 9) | plain,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(plain, inner, max_size=3),
    max_leaves=8,
)


HELLO_PARTS = [{"type": "text", "text": "hello"}]
USER = uuid.uuid4()


def image_of(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def parsed(messages: Any = SAID, **fields: Any) -> ChatQuestion:
    return question(USER, ChatCompletion.model_validate({"messages": messages, **fields}))


def parts(found: ChatQuestion) -> list[Any]:
    """The turns: role, and the kind, text and meta of each part."""
    return [
        (turn.role, [(one.kind, one.text, one.meta) for one in turn.body.parts])
        for turn in found.turns
    ]


def texts(found: ChatQuestion) -> list[tuple[str, str]]:
    return [(turn.role, turn.body.text) for turn in found.turns]


def refused(messages: Any = SAID, **fields: Any) -> str:
    """The field that is refused."""
    with pytest.raises((ValidationError, Invalid)) as caught:
        parsed(messages, **fields)
    error = caught.value
    if isinstance(error, Invalid):
        return str(error.fields["param"])
    assert isinstance(error, ValidationError)
    first = error.errors()[0]
    return param_of(first["loc"], first["type"])


# --- options --------------------------------------------------------------------------------------

PASSED = [
    *("top_k", "min_p", "thinking", "chat_template_kwargs", "guided_json", "repetition_penalty"),
    *("reasoning", "provider", "structured_outputs", "keep_alive"),
]


@given(st.dictionaries(st.sampled_from(PASSED), values, max_size=4))
def test_what_is_passed_on_is_what_came(sent: dict[str, Any]) -> None:
    found = parsed(**sent).options

    assert found == {name: value for name, value in sent.items() if value is not None}


def test_options_are_those_of_every_face_and_tools_among_them() -> None:
    sent: dict[str, Any] = {
        "tools": [TOOL],
        "tool_choice": {"type": "function", "function": {"name": "add"}},
        "parallel_tool_calls": False,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "x", "schema": {"enum": [None, 1.0]}, "strict": True},
        },
        "seed": 1,
        "store": False,
        "metadata": {"a": "b"},
        "logit_bias": {"1": 2},
    }

    assert parsed(**sent).options == sent


@given(words)
def test_text_that_cannot_be_stored_is_normalised_wherever_it_stands(text: str) -> None:
    sent = {"user": "u" + text, "guided_json": {text: [text, {"x": text}]}, "stop": text}

    found = parsed(**sent).options

    clean = normalise(text)
    assert found == {
        "user": "u" + clean,
        "guided_json": {clean: [clean, {"x": clean}]},
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
        ("tools", [{"type": "custom", "custom": {"name": "x"}}]),
        ("response_format", {"type": "grammar"}),
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


def test_metadata_may_name_a_conversation_and_the_rest_is_passed_on() -> None:
    named = uuid.uuid4()

    alone = parsed(metadata={CONVERSATION: str(named)})
    beside = parsed(metadata={CONVERSATION: str(named), "other": "x"})

    assert (alone.conversation_id, alone.options) == (named, {})
    assert (beside.conversation_id, beside.options) == (named, {"metadata": {"other": "x"}})
    assert parsed(metadata={"other": "x"}).conversation_id is None
    assert refused(metadata={CONVERSATION: "x"}) == f"metadata.{CONVERSATION}"
    assert refused(metadata={CONVERSATION: 5}) == "metadata"


# --- messages -------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.sampled_from(["user", "assistant"]), words), max_size=6))
def test_turns_keep_their_order_and_their_text(turns: list[tuple[str, str]]) -> None:
    sent = [{"role": role, "content": text} for role, text in turns]

    found = parsed([*sent, HELLO])

    assert texts(found) == [
        *((role, normalise(text)) for role, text in turns),
        ("user", "hello"),
    ]
    assert found.system is None


@given(st.lists(plain.filter(bool), max_size=4))
def test_parts_of_a_question_stay_apart_and_those_of_others_are_joined(said: list[str]) -> None:
    content = [{"type": "text", "text": text} for text in said]

    found = parsed(
        [
            {"role": "system", "content": content},
            {"role": "assistant", "content": content},
            {"role": "user", "content": [*content, *HELLO_PARTS]},
        ]
    )

    assert found.system == (SEPARATOR.join(said) or None)
    assert found.turns[0].body.text == SEPARATOR.join(said)
    assert [part.text for part in found.turns[1].body.parts] == [*said, "hello"]


def test_instructions_come_first_and_are_joined() -> None:
    first = [{"role": "system", "content": "A"}, {"role": "developer", "content": "B"}]

    found = parsed([*first, HELLO])

    assert (texts(found), found.system) == ([("user", "hello")], "A\n\nB")
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
        "parsed": None,
        "reasoning_content": "Hm.",
    }

    assert texts(parsed([HELLO, back, HELLO]))[1] == ("assistant", "Hi")
    assert texts(parsed([HELLO, {**back, "content": None}, HELLO]))[1] == ("assistant", "")


def calling(*calls: tuple[str, str, str]) -> dict[str, Any]:
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": one, "type": "function", "function": {"name": name, "arguments": arguments}}
            for one, name, arguments in calls
        ],
    }


def result(call_id: str, content: Any = "3", **more: Any) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": call_id, "content": content, **more}


CALLS = calling(("c1", "add", '{"a": 1}'), ("c2", "now", ""))


def test_calls_and_results_are_turns() -> None:
    history = [HELLO, CALLS, result("c2", [{"type": "text", "text": "noon"}]), result("c1")]

    found = parts(parsed(history))

    results = [
        ("tool_result", "noon", {"tool_call_id": "c2"}),
        ("tool_result", "3", {"tool_call_id": "c1"}),
    ]
    assert found[1:] == [
        (
            "assistant",
            [
                ("tool_call", '{"a": 1}', {"id": "c1", "name": "add"}),
                ("tool_call", "{}", {"id": "c2", "name": "now"}),
            ],
        ),
        ("user", results),
    ]
    following = parts(parsed([*history, HELLO]))
    assert following[2:] == [("user", [*results, ("text", "hello", None)])]
    assert [role for role, _ in parts(parsed([*history, CALLS, *history[2:]]))] == [
        *("user", "assistant", "user", "assistant", "user")
    ]


def test_what_an_sdk_adds_to_calls_says_nothing() -> None:
    added = calling(("c1", "add", "{}"))
    added["tool_calls"][0] |= {"index": 0}
    added["tool_calls"][0]["function"] |= {"parsed_arguments": {}}
    named = result("c1", name="add")

    assert parts(parsed([HELLO, added, named])) == parts(
        parsed([HELLO, calling(("c1", "add", "{}")), result("c1")])
    )


def test_media_are_parts_and_files() -> None:
    data = "data:image/png;base64,iVBORw0K"
    content = [
        {"type": "text", "text": "What?"},
        {"type": "image_url", "image_url": {"url": "https://a/b.png", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": data}},
        {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
        {"type": "file", "file": {"file_id": "file-7"}},
    ]

    [turn] = parsed([{"role": "user", "content": content}]).turns

    kinds = [part.kind for part in turn.body.parts]
    assert kinds == ["text", "image", "image", "audio", "file"]
    assert [file.type for file in turn.files] == ["image/png", "audio/wav"]


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
        (
            [{"role": "user", "content": [{"type": "image_url"}]}],
            "messages[0].content[0].image_url",
        ),
        ([{"role": "user", "content": [{"type": "text"}]}], "messages[0].content[0].text"),
        ([{"role": "user", "content": [{"type": "movie"}]}], "messages[0].content[0].type"),
        ([{"role": "user", "content": [image_of("ftp://x")]}], "messages[0].content"),
        (
            [{"role": "assistant", "content": [image_of("https://x")]}, HELLO],
            "messages[0].content[0].type",
        ),
        (
            [{"role": "tool", "content": "x", "tool_call_id": "1"}, HELLO],
            "messages[0].tool_call_id",
        ),
        ([{"role": "function", "content": "x", "name": "f"}, HELLO], "messages[0].role"),
        ([{"content": "x"}], "messages[0].role"),
        ([{**HELLO, "name": "Ann"}], "messages[0].name"),
        ([{**HELLO, "weight": 1}], "messages[0].weight"),
        ([HELLO, {"role": "assistant", "tool_calls": [{}]}, HELLO], "messages[1].tool_calls[0].id"),
        ([HELLO, CALLS], "messages[1].role"),
        ([HELLO, CALLS, HELLO], "messages[2].role"),
        ([HELLO, CALLS, result("c1")], "messages[2].role"),
        ([HELLO, CALLS, result("c1"), HELLO], "messages[3].role"),
        ([HELLO, CALLS, result("c1"), result("c1")], "messages[3].tool_call_id"),
        ([HELLO, CALLS, result("c1", name="now"), result("c2")], "messages[2].name"),
        ([HELLO, CALLS, result("c1", [image_of("https://x")])], "messages[2].content[0].type"),
    ],
)
def test_a_turn_that_cannot_be_kept_is_refused_by_name(messages: Any, field: str) -> None:
    assert refused(messages) == field
