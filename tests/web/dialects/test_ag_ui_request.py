"""What clients of AG-UI send: as turns, options and instructions, or refused. Pure."""

import json
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from shared.body import Body
from shared.errors import Invalid
from shared.media import KnownFile, file_of
from shared.parts import PartKind
from shared.tool_calls import calls_of, results_of
from tests.strategies import texts
from web.dialects import ag_ui_request
from web.dialects.ag_ui_input import RunAgentInput
from web.dialects.ag_ui_messages import of_answer
from web.dialects.ag_ui_request import Asked, Stored

USER = uuid.uuid4()
FILE = file_of(USER, "image/png", b"PNG")
KNOWN = KnownFile(FILE.id, FILE.type, FILE.size)
STORED = Stored(USER, {FILE.id: KNOWN})


def user(content: Any, **more: Any) -> dict[str, Any]:
    return {"id": "u", "role": "user", "content": content, **more}


def assistant(content: str | None, *calls: str) -> dict[str, Any]:
    called = [
        {"id": one, "type": "function", "function": {"name": "f", "arguments": "{}"}}
        for one in calls
    ]
    return {"id": "a", "role": "assistant", "content": content, "toolCalls": called}


def tool(call: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"id": "r", "role": "tool", "toolCallId": call, "content": content, **more}


def asked(*messages: dict[str, Any], **more: Any) -> Asked:
    sent = {"threadId": "t", "runId": "r", "messages": [*messages], **more}
    return ag_ui_request.question(RunAgentInput.model_validate_json(json.dumps(sent)), STORED)


def said(question: Asked) -> list[tuple[str, str]]:
    return [(turn.role, turn.body.text) for turn in question.turns]


# --- turns ----------------------------------------------------------------------------------------

#: Parts of an answer as they follow one another.
_parts = st.lists(
    st.tuples(st.sampled_from(["text", "reasoning", "tool_call"]), texts.filter(bool)),
    min_size=1,
    max_size=6,
)


@given(_parts)
def test_an_answer_that_comes_back_says_what_it_said(parts: list[tuple[str, str]]) -> None:
    answer = Body()
    for number, (kind, text) in enumerate(parts):
        meta = {"id": f"c{number}", "name": "f"} if kind == "tool_call" else None
        answer.write(kind, text, meta, fresh=True)
    shown = of_answer("a", answer, len(answer.parts))

    question = asked(user("Hello?"), *shown, user("And?"))

    spoken = [kind for kind, _ in parts if kind != "reasoning"]
    turns = [turn for turn in question.turns if turn.role == "assistant"]
    assert len(turns) == (1 if spoken else 0)
    for turn in turns:
        assert turn.body.text == answer.text
        assert calls_of(turn.body) == calls_of(answer)


def test_results_and_what_is_said_after_them_are_one_turn() -> None:
    question = asked(
        user("Hello?"),
        assistant("Look:", "c1", "c2"),
        tool("c2", "two"),
        tool("c1", [{"type": "text", "text": "one"}], error="It failed."),
        user("And?"),
    )

    assert said(question) == [("user", "Hello?"), ("assistant", "Look:"), ("user", "And?")]
    results = results_of(question.turns[-1].body)
    assert [tuple(one) for one in results] == [("c2", "two"), ("c1", "It failed.\n\none")]


def test_what_a_client_has_of_the_answer_is_no_turn() -> None:
    thought = {"id": "x", "role": "reasoning", "content": "Hm."}
    for partial in ([assistant("Hel")], [thought], [thought, assistant(None, "c1")]):
        question = asked(user("Hello?"), *partial)

        assert (said(question), question.shown, question.partial) == ([("user", "Hello?")], 1, True)
    assert not asked(thought, user("Hello?")).partial


def test_a_run_is_the_same_whatever_ids_and_spaces_its_messages_have() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    answered = {"id": "a", "role": "assistant", "content": "", "toolCalls": [call]}
    function = {"name": "f", "arguments": '{ "a": 1 }'}
    anew = {**answered, "id": "b", "toolCalls": [{**call, "function": function}]}
    first = asked(user("Hello?"), answered, tool("c1", "one"))

    again = asked({**user("Hello?"), "id": "x"}, anew, tool("c1", "one"), assistant("Hel"))
    others = (
        asked(user("Hello!"), answered, tool("c1", "one")),
        asked(user("Hello?"), answered, tool("c1", "two")),
        asked(user("Hello?"), answered, tool("c1", "one"), forwardedProps={"seed": 1}),
    )

    same = ag_ui_request.same("t", first)
    assert ag_ui_request.same("t", again) == same
    assert (
        len(
            {
                same,
                ag_ui_request.same("u", first),
                *(ag_ui_request.same("t", one) for one in others),
            }
        )
        == 5
    )


def test_instructions_and_context_are_the_system_text() -> None:
    question = asked(
        {"id": "s", "role": "system", "content": "Be kind."},
        {"id": "d", "role": "developer", "content": "Be brief."},
        user("Hello?"),
        context=[{"description": "The page", "value": "Orders"}],
    )

    assert question.system == "Be kind.\n\nBe brief.\n\nThe page:\nOrders"
    assert asked(user("Hello?")).system is None


# --- options and tools ----------------------------------------------------------------------------


def test_tools_are_functions_and_forwarded_props_are_options() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "number"}}}
    props = {"model": "m", "temperature": 0.5, "tool_choice": "auto"}

    question = asked(
        user("Hello?"),
        tools=[
            {"name": "add", "description": "Adds.", "parameters": schema, "metadata": {"a": 1}},
            {"name": "now", "description": ""},
        ],
        forwardedProps=props,
        data=props,
    )

    assert question.model == "m"
    assert question.options == {
        "temperature": 0.5,
        "tool_choice": "auto",
        "tools": [
            {
                "type": "function",
                "function": {"name": "add", "description": "Adds.", "parameters": schema},
            },
            {"type": "function", "function": {"name": "now", "description": ""}},
        ],
    }
    assert asked(user("Hello?"), state={}, tools=[], context=[], forwardedProps={}).options == {}


def test_options_may_have_names_in_camel_case() -> None:
    """As assistant-ui sends its call settings and model, and CopilotKit the choice of a tool."""
    choice = {"type": "function", "function": {"name": "f"}}
    props = {"maxTokens": 9, "topP": 0.5, "modelName": "m", "toolChoice": choice}

    question = asked(user("Hello?"), forwardedProps=props)

    assert question.model == "m"
    assert question.options == {"max_tokens": 9, "top_p": 0.5, "tool_choice": choice}
    for both in ({"topP": 0.5, "top_p": 0.5}, {"apiKey": "x"}):
        with pytest.raises(ValidationError):
            asked(user("Hello?"), forwardedProps=both)


# --- media ----------------------------------------------------------------------------------------


def source(value: str, media_type: str) -> dict[str, str]:
    return {"type": "data", "value": value, "mimeType": media_type}


@pytest.mark.parametrize(
    ("part", "kind"),
    [
        ({"type": "image", "source": source("UE5H", "image/png")}, PartKind.IMAGE),
        ({"type": "image", "source": {"type": "url", "value": "https://a.b/c"}}, PartKind.IMAGE),
        ({"type": "image", "source": {"type": "url", "value": f"/api/files/{FILE.id}"}},
         PartKind.IMAGE),
        ({"type": "audio", "source": source("UE5H", "audio/wav")}, PartKind.AUDIO),
        ({"type": "document", "source": source("UE5H", "application/pdf"),
          "metadata": {"filename": "a.pdf"}}, PartKind.FILE),
        ({"type": "binary", "mimeType": "image/png", "data": "UE5H"}, PartKind.IMAGE),
        ({"type": "binary", "mimeType": "image/png", "url": "https://a.b/c"}, PartKind.IMAGE),
        ({"type": "binary", "mimeType": "audio/mpeg", "data": "UE5H"}, PartKind.AUDIO),
        ({"type": "binary", "mimeType": "text/plain", "data": "UE5H", "filename": "a"},
         PartKind.FILE),
        ({"type": "binary", "mimeType": "text/plain", "id": "file-1"}, PartKind.FILE),
    ],
)  # fmt: skip
def test_media_are_parts_of_the_question(part: dict[str, Any], kind: PartKind) -> None:
    [turn] = asked(user([{"type": "text", "text": "Look:"}, part])).turns

    assert [one.kind for one in turn.body.parts] == [PartKind.TEXT, kind]


def test_an_image_of_ours_is_the_same_part_by_its_address_and_by_its_data() -> None:
    address = {"type": "url", "value": f"/api/files/{FILE.id}"}
    parts = [
        {"type": "image", "source": one, "metadata": {"detail": "low"}}
        for one in (address, source("UE5H", "image/png"))
    ]

    one, other = (asked(user([part])).turns[0] for part in parts)

    assert one.body.since(0) == other.body.since(0)
    assert (one.files, other.files) == ([KNOWN], [FILE])


@pytest.mark.parametrize(
    "part",
    [
        {"type": "video", "source": source("UE5H", "video/mp4")},
        {"type": "image", "source": source("UE5H", "image/svg+xml")},
        {"type": "image", "source": {"type": "url", "value": "http://a.b/c"}},
        {"type": "image", "source": {"type": "url", "value": f"/api/files/{uuid.uuid4()}"}},
        {"type": "image", "source": {"type": "url", "value": f"/api/files/{'-' * 36}"}},
        {"type": "document", "source": {"type": "url", "value": "https://a.b/c"}},
        {"type": "audio", "source": source("UE5H", "audio/flac")},
        {"type": "binary", "mimeType": "video/mp4", "data": "UE5H"},
        {"type": "binary", "mimeType": "image/png"},
    ],
)
def test_what_no_question_can_hold_is_refused(part: dict[str, Any]) -> None:
    with pytest.raises(Invalid):
        asked(user([part]))


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("messages", "place"),
    [
        ([assistant("Hello")], "messages.0"),
        ([user("")], "messages.0"),
        ([user([])], "messages.0"),
        ([user("Hi"), {"id": "s", "role": "system", "content": "x"}], "messages.1"),
        ([user("Hi"), {"id": "s", "role": "system", "content": "x"}, user("Hi")], "messages.1"),
        ([user("Hi"), tool("c1", "one")], "messages.1"),
    ],
)
def test_a_history_that_is_none_is_refused(messages: list[dict[str, Any]], place: str) -> None:
    with pytest.raises(Invalid, match=place):
        asked(*messages)


#: JSON of any kind, with names that the request has among others.
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text("a\0\ud800😀", max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["id", "role", "content", "type", "source", "value", "function", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)
_fields = st.sampled_from(
    ["messages", "tools", "context", "state", "forwardedProps", "data", "resume", "metadata"]
)


@given(st.dictionaries(_fields, _json, max_size=4))
def test_any_json_is_understood_or_refused(changes: dict[str, Any]) -> None:
    sent = {"threadId": "t", "runId": "r", "messages": [user("Hello?")], **changes}
    try:
        found = ag_ui_request.question(RunAgentInput.model_validate(sent), STORED)
    except (ValidationError, Invalid):
        return
    assert found.turns[-1].role == "user"
    assert found.turns[-1].body.length


@given(st.integers(60, 2_000))
def test_json_that_is_nested_deeply_is_refused(depth: int) -> None:
    state: Any = {}
    for _ in range(depth):
        state = [state]

    with pytest.raises(ValidationError):
        RunAgentInput.model_validate(
            {"threadId": "t", "runId": "r", "messages": [user("Hi")], "state": state}
        )
