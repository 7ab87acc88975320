"""Every field of a response's request is understood, passed on, or refused by name."""

import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from shared.body import Body, Part
from shared.errors import Invalid
from shared.text import normalise
from shared.tool_calls import ToolCall, ToolResult, calls_of, results_of
from web.dialects.openai_errors import param_of
from web.dialects.responses_request import SAME, CreateResponse, Wanted, wanted

ME = uuid.uuid4()
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
CALL = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"a":1}'}
RESULT = {"type": "function_call_output", "call_id": "c1", "output": "2"}
TOOL = {"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": True}


def parsed(sent: Any = "hello", known: dict[str, Part] | None = None, **fields: Any) -> Wanted:
    found = known or {}
    return wanted(
        CreateResponse.model_validate({"input": sent, **fields}),
        ME,
        lambda names: {name: found[name] for name in names if name in found},
    )


def refused(sent: Any = "hello", **fields: Any) -> str:
    """The field that is refused."""
    with pytest.raises((ValidationError, Invalid)) as caught:
        parsed(sent, **fields)
    error = caught.value
    if isinstance(error, Invalid):
        return str(error.fields["param"])
    assert isinstance(error, ValidationError)
    return param_of(error.errors()[0]["loc"])


def said(found: Wanted) -> list[tuple[str, list[tuple[str, str]]]]:
    return [
        (turn.role, [(str(part.kind), part.text) for part in turn.body.parts])
        for turn in found.turns
    ]


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, Any]:
    content = [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}]
    return {"id": "msg_1", "type": "message", "role": "assistant", "content": content,
            "status": "completed"}  # fmt: skip


# --- input ----------------------------------------------------------------------------------------


@given(st.text("ab \n\x00\ud800😀", min_size=1))
def test_a_string_is_a_question(text: str) -> None:
    assert said(parsed(text)) == [("user", [("text", normalise(text))])]


def test_items_are_turns() -> None:
    thoughts = {"type": "reasoning", "id": "rs_1", "summary": [], "content": []}
    sent = [
        user("1"), thoughts, assistant("Look: "), CALL, RESULT, user("And?"),
        assistant("one"), user("2"),
    ]  # fmt: skip

    found = parsed(sent)

    assert said(found) == [
        ("user", [("text", "1")]),
        ("assistant", [("text", "Look: "), ("tool_call", '{"a":1}')]),
        ("user", [("tool_result", "2"), ("text", "And?")]),
        ("assistant", [("text", "one")]),
        ("user", [("text", "2")]),
    ]
    assert calls_of(found.turns[1].body) == [ToolCall("c1", "f", '{"a":1}')]
    assert results_of(found.turns[2].body) == [ToolResult("c1", "2")]


def test_texts_images_and_files_of_a_question_stay_in_their_order() -> None:
    content = [
        {"type": "input_text", "text": "See"},
        {"type": "input_image", "image_url": PIXEL, "detail": "low"},
        {"type": "input_image", "image_url": "https://x.test/a.png"},
        {"type": "input_file", "file_id": "file_1"},
        {"type": "input_text", "text": "there"},
    ]

    [turn] = parsed([{"role": "user", "content": content}]).turns

    kinds = [str(part.kind) for part in turn.body.parts]
    assert kinds == ["text", "image", "image", "file", "text"]
    assert [file.type for file in turn.files] == ["image/png"]
    assert (turn.body.parts[1].meta or {})["detail"] == "low"


def test_instructions_come_first_and_are_joined() -> None:
    sent = [{"role": "developer", "content": "Be brief."}, user("hello")]

    found = parsed(sent, instructions="Be kind.")

    assert found.system == "Be kind.\n\nBe brief."
    assert found.request["instructions"] == "Be kind."
    assert refused([user("hello"), {"role": "system", "content": "x"}]) == "input[1].role"
    assert "instructions" not in parsed(instructions="Be kind.").request


def test_a_reference_is_the_item_that_it_names() -> None:
    body = Body()
    body.write("text", "one")

    found = parsed(
        [user("1"), {"type": "item_reference", "id": "msg_1_0"}, user("2")],
        {"msg_1_0": body.parts[0]},
    )

    assert said(found)[1] == ("assistant", [("text", "one")])
    assert refused([{"type": "item_reference", "id": "msg_2_0"}, user("2")]) == "input[0].id"


@pytest.mark.parametrize(
    ("sent", "param"),
    [
        (None, "input"),
        (3, "input"),
        ("", "input"),
        ([], "input"),
        ([user("1"), assistant("one")], "input"),
        ([user("")], "input"),
        ([3], "input[0]"),
        ([{"role": "tool", "content": "x"}], "input[0].role"),
        ([{"type": "computer_call"}], "input[0].type"),
        ([user("1"), {"role": "user", "content": "x", "odd": 1}], "input[1].odd"),
        ([{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}],
         "input[0].content[0].image_url"),
        ([{"role": "user", "content": [{"type": "input_audio"}]}], "input[0].content[0]"),
        ([{"role": "user", "content": [{"type": "input_image", "image_url": "http://x"}]}],
         "input[0]"),
        ([RESULT], "input[0].call_id"),
        ([user("1"), CALL, user("2")], "input[2].call_id"),
        ([user("1"), CALL, RESULT, RESULT], "input[2].call_id"),
        ([user("1"), CALL, {**RESULT, "call_id": "c2"}], "input[2].call_id"),
    ],
)  # fmt: skip
def test_what_is_no_input_is_refused_by_its_place(sent: Any, param: str) -> None:
    assert refused(sent) == param


def test_results_alone_follow_an_answer_that_is_named() -> None:
    found = parsed([RESULT], previous_response_id="resp_1")

    assert said(found) == [("user", [("tool_result", "2")])]
    assert (found.previous, found.conversation) == ("resp_1", None)
    assert parsed([RESULT], conversation={"id": "conv_1"}).conversation == "conv_1"
    assert refused(conversation="c", previous_response_id="r") == "previous_response_id"


# --- options --------------------------------------------------------------------------------------


def test_options_are_passed_on_in_the_form_of_a_chat_completion() -> None:
    schema = {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}
    found = parsed(
        tools=[TOOL],
        tool_choice={"type": "function", "name": "f"},
        parallel_tool_calls=False,
        max_output_tokens=5,
        text={"format": schema, "verbosity": "low"},
        reasoning={"effort": "high", "summary": "auto"},
        temperature=0.5,
        top_p=1,
        user="u",
        top_k=3,
    )

    assert found.options == {
        "tools": [
            {
                "type": "function",
                "function": {"name": "f", "parameters": {"type": "object"}, "strict": True},
            }
        ],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "parallel_tool_calls": False,
        "max_completion_tokens": 5,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True},
        },
        "verbosity": "low",
        "reasoning_effort": "high",
        "temperature": 0.5,
        "top_p": 1,
        "user": "u",
        "top_k": 3,
    }


def test_what_a_provider_is_not_sent_is_kept() -> None:
    found = parsed(background=True, metadata={"a": "b\x00"}, truncation="auto", tool_choice="none")

    assert found.options == {}
    assert found.request == {
        "background": True,
        "metadata": {"a": "b\ufffd"},
        "truncation": "auto",
        "tool_choice": "none",
        "previous": "",
    }


HARMLESS: dict[str, Any] = {
    "tools": [], "tool_choice": "auto", "parallel_tool_calls": True, "include": [],
    "store": True, "top_logprobs": 0, "stream": True, "text": {"format": {"type": "text"}},
    "stream_options": {"include_obfuscation": False}, "max_tool_calls": None, "prompt": None,
}  # fmt: skip


@pytest.mark.parametrize("name", HARMLESS)
def test_what_says_nothing_is_not_passed_on(name: str) -> None:
    assert parsed(**{name: HARMLESS[name]}).options == {}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"store": False}, "store"),
        ({"include": ["reasoning.encrypted_content"]}, "include"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"max_tool_calls": 1}, "max_tool_calls"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tools": [TOOL], "tool_choice": {"type": "allowed_tools"}}, "tool_choice"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"reasoning": {"summary": "detailed"}}, "reasoning"),
        ({"text": {"format": {"type": "json_schema", "schema": {}}}}, "text.format"),
        ({"temperature": 3}, "temperature"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"metadata": {"a": 1}}, "metadata"),
        ({"stream_options": {"include_obfuscation": True}}, "stream_options.include_obfuscation"),
        ({"messages": []}, "messages"),
        ({"max_tokens": 1}, "max_tokens"),
        ({"response_format": {"type": "text"}}, "response_format"),
        ({"odd": None, "odder": 1}, "odder"),
    ],
)
def test_everything_else_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    assert refused(**fields) == param


@given(st.text("abcdefgh_", min_size=1, max_size=8), st.integers())
def test_no_unknown_field_is_dropped(name: str, value: int) -> None:
    if name not in SAME and name not in CreateResponse.model_fields:
        assert refused(**{name: value}) == name
