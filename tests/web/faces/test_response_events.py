"""The events of a response, written without servers and put together by the package's own code."""

import json
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai import omit
from openai._models import construct_type
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import ResponseStreamEvent

from shared import numbering, sse
from shared.body import Body
from shared.lifecycle import Status
from shared.sse import Decoder
from shared.store.client_requests import AskedWith
from shared.store.messages import Message
from tests.open_responses import check_event, check_resource
from tests.strategies import Written, bodies, body_of, thorough, writings
from web.dialects import responses_resource as shape
from web.faces.responses import ResponseFace
from web.following.face import Then
from web.following.message_topic import MessageTopic

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
ASKED = AskedWith({}, None, {}, None)
OPTIONS = {
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}},
    "temperature": 1,
    "max_completion_tokens": 5,
    "reasoning_effort": "low",
}

Event = dict[str, Any]
TYPES = {"text": "message", "reasoning": "reasoning", "tool_call": "function_call"}

#: A provider gives no id to two calls of an answer: the package refuses that.
answers = writings.map(
    lambda calls: body_of(
        [call._replace(meta={"id": str(place), "name": "f"}) for place, call in enumerate(calls)]
    )
)


def answered(body: Body, status: Status = Status.DONE, **more: Any) -> Message:
    nothing: dict[str, Any] = dict.fromkeys(
        ["parent_id", "continues_id", "length", "sha256", "usage", "error_message", "error_code"]
    )
    ended = {"finish_reason": "stop", "ended_at": NOW, "model": "m", **nothing, **more}
    return Message(
        id=uuid.uuid4(), user_id=uuid.uuid4(), conversation_id=uuid.uuid4(), role="assistant",
        status=status, body=body, attempt=1, created_at=NOW, started_at=NOW, first_text_at=NOW,
        **ended,
    )  # fmt: skip


def face_of(message: Message, asked: AskedWith = ASKED, after: int = -1) -> ResponseFace:
    return ResponseFace(message.id, sse.to_json(shape.head(message, asked)), False, after)


def topic_of(message: Message) -> MessageTopic:
    topic = MessageTopic(message.id, message.user_id)
    topic.finish(message)
    return topic


def events(message: Message, after: int = -1, asked: AskedWith = ASKED) -> list[Event]:
    """What a reader is written who has seen `after`."""
    face, topic, place = face_of(message, asked, after), topic_of(message), after
    found: list[Event] = []
    then = Then.MORE
    while then is Then.MORE:
        frames, place, then = face.write(topic, place)
        found += [json.loads(event.data) for event in Decoder().feed(frames)]
    assert then is Then.ENDED
    return found


def assembled(found: list[Event]) -> Any:
    """The final response as the package's helper has it."""
    state: ResponseStreamState[Any] = ResponseStreamState(input_tools=(), text_format=omit)
    for event in found:
        event_of_package: Any = construct_type(type_=ResponseStreamEvent, value=event)
        state.handle_event(event_of_package)
    return state._completed_response


def _as_sent(found: Any) -> Any:
    """Without what the helper adds."""
    if isinstance(found, list):
        return [_as_sent(one) for one in found]
    if isinstance(found, dict):
        return {name: _as_sent(one) for name, one in found.items() if "parsed" not in name}
    return found


@thorough(60)
@given(answers)
def test_every_event_has_its_schema_and_the_helper_puts_the_text_together(body: Body) -> None:
    message = answered(body)

    found = events(message)

    for event in found:
        check_event(event)
    numbers = [event["sequence_number"] for event in found]
    assert all(one < other for one, other in pairwise(numbers))
    final = assembled(found)
    assert final.output_text == body.text
    assert _as_sent(final.to_dict()["output"]) == found[-1]["response"]["output"]
    assert [event["type"] for event in found[:2]] == ["response.created", "response.in_progress"]
    assert found[0]["response"]["output"] == found[1]["response"]["output"] == []
    assert found[-1]["type"] == "response.completed"


@thorough(40)
@given(bodies, st.sampled_from(list(Status)))
def test_after_every_number_comes_exactly_the_rest(body: Body, status: Status) -> None:
    if status in (Status.SENDING, Status.STREAMING):
        status = Status.CANCELLED
    more = {"error_code": "worker_lost", "error_message": "x"} if status == Status.ERROR else {}
    message = answered(body, status, **more)
    whole = events(message)

    for place, event in enumerate(whole):
        assert events(message, event["sequence_number"]) == whole[place + 1 :]


@given(writings)
def test_parts_without_a_name_in_this_dialect_are_no_items(calls: list[Written]) -> None:
    odd = [replace_kind(call) for call in calls]
    message = answered(body_of(odd))

    found = events(message)

    indexes = sorted({one["output_index"] for one in found if "output_index" in one})
    assert indexes == list(range(len(indexes))) == list(range(len(found[-1]["response"]["output"])))


def replace_kind(call: Written) -> Written:
    return call._replace(kind="a kind of the next version") if call.kind == "reasoning" else call


def test_a_run_with_thoughts_a_text_and_a_call_has_the_official_events() -> None:
    body = Body()
    body.write("reasoning", "Hm.")
    body.write("text", "So")
    body.write("tool_call", "{}", {"id": "call_1", "name": "f"})

    found = events(answered(body))

    text = ["output_item.added", "content_part.added", "X.delta", "X.done", "content_part.done"]
    expected = [
        *("created", "in_progress"),
        *(name.replace("X", "reasoning_text") for name in text), "output_item.done",
        *(name.replace("X", "output_text") for name in text), "output_item.done",
        "output_item.added", "function_call_arguments.delta", "function_call_arguments.done",
        *("output_item.done", "completed"),
    ]  # fmt: skip
    assert [event["type"].removeprefix("response.") for event in found] == expected
    reasoning, message, call = found[-1]["response"]["output"]
    assert reasoning["content"] == [{"type": "reasoning_text", "text": "Hm."}]
    assert message["content"][0]["text"] == "So"
    assert (call["call_id"], call["name"], call["arguments"]) == ("call_1", "f", "{}")
    assert [one["item_id"] for one in found if one["type"].endswith("arguments.done")] == [
        call["id"]
    ]


@pytest.mark.parametrize(
    ("status", "more", "said"),
    [
        (Status.SENDING, {"ended_at": None}, ("queued", None, None)),
        (Status.STREAMING, {"ended_at": None}, ("in_progress", None, None)),
        (Status.DONE, {}, ("completed", None, None)),
        (Status.DONE, {"finish_reason": "tool_calls"}, ("completed", None, None)),
        (Status.DONE, {"finish_reason": "length"}, ("incomplete", "max_output_tokens", None)),
        (Status.DONE, {"finish_reason": "content_filter"}, ("incomplete", "content_filter", None)),
        (Status.CANCELLED, {"finish_reason": None}, ("cancelled", None, None)),
        (
            Status.ERROR,
            {"error_code": "provider_cut", "error_message": "It broke."},
            ("failed", None, {"code": "provider_cut", "message": "It broke."}),
        ),
    ],
)
def test_all_six_statuses(status: Status, more: dict[str, Any], said: tuple[Any, ...]) -> None:
    body = Body()
    body.write("text", "So far")
    found = shape.resource(answered(body, status, **more), ASKED)

    check_resource(found)
    details = found["incomplete_details"]
    assert (found["status"], details and details["reason"], found["error"]) == said
    [item] = found["output"]
    expected = {"queued": "incomplete", "completed": "completed", "in_progress": "in_progress"}
    assert item["status"] == expected.get(found["status"], "incomplete")
    assert (found["completed_at"] is None) == (found["status"] != "completed")


@pytest.mark.parametrize(
    ("status", "event"),
    [
        (Status.CANCELLED, "response.incomplete"),
        (Status.ERROR, "response.failed"),
        (Status.DONE, "response.completed"),
    ],
)
def test_how_each_end_is_called(status: Status, event: str) -> None:
    body = Body()
    body.write("text", "So")
    more = {"error_code": "worker_lost", "error_message": "x"} if status == Status.ERROR else {}

    last = events(answered(body, status, **more))[-1]

    assert last["type"] == event
    assert last["sequence_number"] == numbering.end_number(body)


def test_what_an_answer_was_asked_with_is_given_back_in_this_form() -> None:
    request = {"background": True, "metadata": {"a": "b"}, "truncation": "auto", "previous": ""}
    asked = AskedWith(OPTIONS, "Be kind.", request, uuid.uuid4())

    found = shape.resource(answered(Body()), asked)

    check_resource(found)
    schema = {"type": "function", "name": "f", "parameters": {"type": "object"}}
    assert found["tools"] == [{**schema, "description": None, "strict": None}]
    assert found["tool_choice"] == {"type": "function", "name": "f"}
    assert found["text"]["format"]["name"] == "n"
    assert (found["max_output_tokens"], found["reasoning"]["effort"]) == (5, "low")
    assert (found["background"], found["metadata"]) == (True, {"a": "b"})
    assert (found["instructions"], found["previous_response_id"]) == ("Be kind.", None)


def test_an_answer_of_another_dialect_names_the_one_above() -> None:
    above = uuid.uuid4()

    found = shape.resource(answered(Body()), AskedWith({}, None, {}, above))

    assert found["previous_response_id"] == f"resp_{above}"


def test_usage_is_counted_in_the_words_of_this_dialect() -> None:
    used = {
        "source": "reported", "prompt_tokens": 3, "completion_tokens": 4,
        "completion_tokens_details": {"reasoning_tokens": 2},
        "prompt_tokens_details": {"cached_tokens": 1},
    }  # fmt: skip
    found = shape.usage(answered(Body(), usage=used))

    assert found == {
        "input_tokens": 3,
        "input_tokens_details": {"cached_tokens": 1, "cache_write_tokens": 0},
        "output_tokens": 4,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 7,
    }
    assert shape.usage(answered(Body(), usage={"source": "estimated", "prompt_tokens": 3})) is None


@given(st.uuids(), st.sampled_from(["{}", "resp_{}", "chatcmpl-{}", "msg_{}"]))
def test_every_dialects_id_of_an_answer_is_understood(answer: uuid.UUID, form: str) -> None:
    assert shape.message_id(form.format(answer)) == answer


@given(st.text())
def test_other_ids_are_not(name: str) -> None:
    assert shape.message_id(name) is None
    assert shape.part_of(name) is None


@given(bodies)
def test_the_id_of_an_item_names_its_part(body: Body) -> None:
    message = answered(body)
    for item, (index, part) in zip(shape.output(message), enumerate(body.parts), strict=True):
        assert shape.part_of(item["id"]) == (message.id, index)
        assert item["type"] == TYPES[part.kind]


def test_replies_that_another_reader_was_given_are_shared() -> None:
    message = answered(Body())

    assert face_of(message) == face_of(message, after=5)
    assert replace(face_of(message), background=True) != face_of(message)
