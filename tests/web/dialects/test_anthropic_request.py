"""What becomes of a request in Anthropic's form."""

import json
import uuid
from typing import Any

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from shared.errors import Invalid, OutliveError
from shared.media import StoredFile
from web.dialects import anthropic_errors
from web.dialects.anthropic_request import Question, question
from web.dialects.anthropic_shapes import Messages

USER = uuid.UUID(int=7)
HELLO = {"role": "user", "content": "Hello"}
PDF = {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="}


def asked(*messages: Any, **more: Any) -> Question:
    sent = {"max_tokens": 100, "messages": list(messages) or [HELLO], **more}
    return question(Messages.model_validate(sent), USER)


def parts(found: Question) -> list[tuple[str, str, Any]]:
    """(role and kind, text, meta) of all parts of all turns."""
    return [
        (f"{turn.role} {part.kind}", part.text, part.meta)
        for turn in found.turns
        for part in turn.body.parts
    ]


def test_a_string_is_one_text() -> None:
    found = asked(HELLO, system="Be kind.")

    assert parts(found) == [("user text", "Hello", None)]
    assert (found.system, found.options, found.streams) == ("Be kind.", {"max_tokens": 100}, False)
    assert found.ignored == []


def test_a_tool_loop_becomes_calls_and_results() -> None:
    found = asked(
        HELLO,
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": "s"},
                {"type": "text", "text": "Let me see."},
                {"type": "tool_use", "id": "c1", "name": "add", "input": {"b": [1, "é"]}},
                {"type": "tool_use", "id": "c2", "name": "now", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "And?"},
                {"type": "tool_result", "tool_use_id": "c1", "content": "3", "is_error": True},
                {
                    "type": "tool_result",
                    "tool_use_id": "c2",
                    "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}],
                },
            ],
        },
    )

    assert parts(found) == [
        ("user text", "Hello", None),
        ("assistant text", "Let me see.", None),
        ("assistant tool_call", '{"b": [1, "é"]}', {"id": "c1", "name": "add"}),
        ("assistant tool_call", "{}", {"id": "c2", "name": "now"}),
        ("user tool_result", "3", {"tool_call_id": "c1"}),
        ("user tool_result", "a\n\nb", {"tool_call_id": "c2"}),
        ("user text", "And?", None),
    ]
    assert found.ignored == ["is_error", "thinking"]


CALLS = {
    "role": "assistant",
    "content": [
        {"type": "tool_use", "id": call, "name": "now", "input": {}} for call in ("c1", "c2")
    ],
}


def results(*calls: str) -> dict[str, Any]:
    content = [{"type": "tool_result", "tool_use_id": call} for call in calls]
    return {"role": "user", "content": content}


def test_what_is_said_after_results_belongs_to_them() -> None:
    found = asked(HELLO, CALLS, results("c1"), results("c2"), HELLO)

    assert [turn.role for turn in found.turns] == ["user", "assistant", "user"]
    kinds = [part.kind for part in found.turns[-1].body.parts]
    assert kinds == ["tool_result", "tool_result", "text"]


def test_media_are_stored_or_named() -> None:
    image = {"type": "base64", "media_type": "image/png", "data": "aGVsbG8="}
    found = asked(
        {
            "role": "user",
            "content": [
                {"type": "image", "source": image, "cache_control": {"type": "ephemeral"}},
                {"type": "image", "source": {"type": "url", "url": "https://a.example/b.png"}},
                {"type": "document", "source": PDF, "title": "Tides"},
                {
                    "type": "document",
                    "source": {"type": "text", "media_type": "text/plain", "data": "é"},
                },
                {"type": "document", "source": {"type": "file", "file_id": "file-1"}},
            ],
        }
    )

    [turn] = found.turns
    files = [file.data for file in turn.files if isinstance(file, StoredFile)]
    assert files == [b"hello", b"%PDF", "é".encode()]
    kinds = [part.kind for part in turn.body.parts]
    assert kinds == ["image", "image", "file", "file", "file"]
    names = [(part.meta or {}).get("filename") for part in turn.body.parts]
    assert names == [None, None, "Tides", "document.txt", None]
    assert [turn.body.parts[place].text for place in (1, 4)] == [
        "https://a.example/b.png",
        "file-1",
    ]
    assert found.ignored == ["cache_control"]


def test_options_have_openais_names() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    found = asked(
        HELLO,
        stop_sequences=["\n"],
        temperature=0.5,
        top_p=0.9,
        top_k=3,
        thinking={"type": "enabled", "budget_tokens": 1024},
        metadata={"user_id": "u1"},
        service_tier="standard_only",
        output_config={"effort": "max", "format": {"type": "json_schema", "schema": schema}},
        tools=[{"name": "add", "description": "Adds.", "input_schema": schema, "strict": True}],
        tool_choice={"type": "any", "disable_parallel_tool_use": True},
        stream=True,
    )

    function = {"name": "add", "description": "Adds.", "parameters": schema, "strict": True}
    assert found.options == {
        "max_tokens": 100,
        "stop": ["\n"],
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 3,
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "user": "u1",
        "service_tier": "default",
        "reasoning_effort": "max",
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "schema": schema, "strict": True},
        },
        "tools": [{"type": "function", "function": function}],
        "tool_choice": "required",
        "parallel_tool_calls": False,
    }
    assert found.streams


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ({"type": "auto"}, "auto"),
        ({"type": "none"}, "none"),
        ({"type": "tool", "name": "add"}, {"type": "function", "function": {"name": "add"}}),
    ],
)
def test_a_choice_of_tools_is_theirs_in_our_words(theirs: Any, ours: Any) -> None:
    assert asked(HELLO, tool_choice=theirs).options["tool_choice"] == ours


def refusal(**sent: Any) -> str:
    """The message of a refusal, in Anthropic's form."""
    error: ValidationError | OutliveError
    try:
        question(Messages.model_validate({"messages": [HELLO], **sent}), USER)
    except (ValidationError, OutliveError) as caught:
        error = caught
    with Flask(__name__).app_context():
        response = anthropic_errors.response_to(error)
    assert response.status_code == 400
    document: Any = response.get_json()
    assert (document["type"], document["error"]["type"]) == ("error", "invalid_request_error")
    return str(document["error"]["message"])


def block(**fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [fields]}]}


@pytest.mark.parametrize(
    ("sent", "begins"),
    [
        ({"messages": []}, "messages: "),
        ({"never_heard_of": 1}, "never_heard_of: This field is not known here."),
        ({"container": "c"}, "container: "),
        ({"thread": {"type": "create"}}, "thread: "),
        ({"mcp_servers": [{"url": "x"}]}, "mcp_servers: "),
        ({"context_management": {}}, "context_management: "),
        ({"speed": "fast"}, "speed: "),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools.0.type: "),
        ({"tool_choice": {"type": "tool"}}, "tool_choice.name: "),
        ({"stop_sequences": [1]}, "stop_sequences.0: "),
        (block(type="search_result", source="secret"), "messages.0.user.content.0: Not supported"),
        (block(type="secret", source="secret"), "messages.0.user.content.0: Not supported"),
        (
            block(type="document", source=PDF, citations={"enabled": True}),
            "messages.0.user.content.0.document.citations.enabled: ",
        ),
        (block(type="document", source={"type": "url", "url": "x"}), "messages.0.user.content.0"),
        (
            block(
                type="tool_result",
                tool_use_id="a",
                content=[{"type": "image", "source": {"type": "url", "url": "x"}}],
            ),
            "messages.0.user.content.0.tool_result.content.0",
        ),
        (
            block(
                type="image",
                source={"type": "base64", "media_type": "image/png", "data": "secret!"},
            ),
            "messages.0.content: Data is base64",
        ),
        (
            {"messages": [HELLO, {"role": "assistant", "content": "I"}]},
            "messages.1.role: the last message must be the user's",
        ),
        ({"messages": [HELLO, {"role": "system", "content": "x"}, HELLO]}, "messages.1.role: "),
        ({"messages": [{"role": "user", "content": ""}]}, "messages.0.content: "),
        ({"messages": [{"role": "secret", "content": ""}]}, "messages.0: Not supported"),
        ({"messages": [HELLO, CALLS, results("c1")]}, "messages.2: the call c2 needs"),
        ({"messages": [HELLO, CALLS, HELLO]}, "messages.2: the call c1 needs"),
        ({"messages": [HELLO, CALLS]}, "messages.1: the call c1 needs"),
        ({"messages": [HELLO, results("c")]}, "messages.1.content.0.tool_use_id: no call"),
    ],
)
def test_what_is_not_passed_on_is_refused_by_name(sent: dict[str, Any], begins: str) -> None:
    said = refusal(**sent)

    assert said.startswith(begins)
    assert "secret" not in said


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
_types = st.sampled_from(
    ["text", "image", "document", "tool_result", "tool_use", "thinking", "redacted_thinking"]
)
_fields = st.sampled_from(
    ["text", "source", "content", "id", "name", "input", "thinking", "tool_use_id", "data"]
)
_blocks = st.builds(
    lambda kind, more: {**more, "type": kind}, _types, st.dictionaries(_fields, _values)
)
_messages = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["user", "assistant", "system"]),
        "content": st.text(max_size=5) | st.lists(_blocks, max_size=3),
    }
)


@given(
    st.lists(_messages, max_size=4),
    st.dictionaries(st.sampled_from(list(Messages.model_fields)), _values),
)
def test_any_request_is_understood_or_refused(messages: Any, more: dict[str, Any]) -> None:
    try:
        found = question(Messages.model_validate({**more, "messages": messages}), USER)
    except (ValidationError, Invalid):
        return

    assert found.turns[-1].role == "user"
    assert found.turns[-1].body.length
    json.dumps(found.options)


@given(st.text(), st.lists(st.text(min_size=1), max_size=3))
def test_texts_come_through_as_they_are(system: str, texts: list[str]) -> None:
    content = [{"type": "text", "text": text} for text in [*texts, "?"]]

    found = asked({"role": "user", "content": content}, system=system)

    storable = [text.replace("\0", "\ufffd") for text in [*texts, "?"]]
    assert [part.text for part in found.turns[0].body.parts] == storable
    assert (found.system or "") == system.replace("\0", "\ufffd")
