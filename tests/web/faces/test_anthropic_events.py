"""The events of a message, from any body and any cuts: what the SDK's own helper makes of them."""

import json
from typing import Any

from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import Message as TheirMessage
from anthropic.types import RawMessageStreamEvent
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from shared import sse
from shared.body import Body
from shared.lifecycle import Status
from tests.strategies import bodies
from tests.web.faces.test_chat_chunks import long_bodies, message_of
from web.faces.anthropic import MessagesFace, stop_reason, usage, whole
from web.following.face import Then
from web.following.message_topic import MessageTopic

EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)


def written(message: Any, face: MessagesFace, cuts: list[int]) -> bytes:
    """What a reader is written while the body grows in pieces that end at `cuts`."""
    topic = MessageTopic(message.id, message.user_id)
    frames, place = face.open(topic, face.start)
    for cut in sorted({*cuts, message.body.length}):
        for delta in message.body.since(topic.body.length, cut):
            topic.body.append(delta)
        then = Then.MORE
        while then is Then.MORE:
            more, place, then = face.write(topic, place)
            frames += more
    topic.finish(message)
    then = Then.MORE
    while then is not Then.ENDED:
        more, place, then = face.write(topic, place)
        frames += more
    return frames


def events_of(frames: bytes) -> list[dict[str, Any]]:
    """The data of the events, whose names are their types."""
    found = []
    for event in sse.Decoder().feed(frames):
        data = json.loads(event.data)
        assert event.event == data["type"]
        found.append(data)
    return found


def check_order(events: list[dict[str, Any]]) -> None:
    """`start`, deltas and `stop` of one block after the other, counted from 0."""
    open_block, count = None, 0
    for event in events:
        if event["type"] == "content_block_start":
            assert open_block is None
            assert event["index"] == count
            open_block, count = count, count + 1
        elif event["type"] == "content_block_delta":
            assert event["index"] == open_block
        elif event["type"] == "content_block_stop":
            assert event["index"] == open_block
            open_block = None
    assert open_block is None


@given(bodies | long_bodies, st.lists(st.integers(0, 40), max_size=6))
def test_the_helper_puts_events_together_to_the_body(body: Body, cuts: list[int]) -> None:
    message = message_of(body)
    face = MessagesFace.of(message)

    events = events_of(written(message, face, [cut for cut in cuts if cut < body.length]))

    check_order(events)
    names = [event["type"] for event in events]
    assert (names[0], names[-2:]) == ("message_start", ["message_delta", "message_stop"])
    found: Any = None
    calls: dict[int, str] = {}
    for event in events:
        EVENT.validate_python(event)
        delta = event.get("delta", {})
        if delta.get("type") == "input_json_delta":  # this body's arguments are no JSON
            calls[event["index"]] = calls.get(event["index"], "") + delta["partial_json"]
            continue
        parsed: Any = EVENT.validate_python(event)
        found = accumulate_event(event=parsed, current_snapshot=found, json_bufs={})
    fields = {"text": "text", "reasoning": "thinking"}
    said = [
        calls[number] if block.type == "tool_use" else getattr(block, block.type)
        for number, block in enumerate(found.content)
    ]
    assert said == [part.text for part in body.parts]
    kinds = [fields.get(part.kind, "tool_use") for part in body.parts]
    assert [block.type for block in found.content] == kinds
    assert (found.usage.input_tokens, found.usage.output_tokens) == (11, 22)
    assert found.stop_reason == ("tool_use" if calls else "end_turn")


@given(bodies)
def test_a_whole_answer_says_the_same_as_its_events(body: Body) -> None:
    message = message_of(body)

    said = whole(message, MessagesFace.of(message))

    theirs = TheirMessage.construct(**said)
    assert [block["type"] for block in said["content"]] == [
        {"text": "text", "reasoning": "thinking"}.get(part.kind, "tool_use") for part in body.parts
    ]
    assert (theirs.id, theirs.stop_reason) == (f"msg_{message.id}", stop_reason(message))


@given(bodies)
def test_an_answer_that_failed_ends_with_an_error_and_nothing_after_it(body: Body) -> None:
    message = message_of(
        body, status=Status.ERROR, error_code="provider_cut", error_message="It broke."
    )

    events = events_of(written(message, MessagesFace.of(message), []))

    error = {"type": "api_error", "message": "It broke.", "code": "provider_cut"}
    assert events[-1] == {"type": "error", "error": error}
    assert sum(event["type"] in ("error", "message_stop") for event in events) == 1


def test_a_kind_that_this_version_does_not_know_takes_no_index() -> None:
    body = Body()
    for kind, text in (("text", "a"), ("hologram", "b"), ("text", "c")):
        body.write(kind, text, fresh=True)
    message = message_of(body)

    events = events_of(written(message, MessagesFace.of(message), []))

    check_order(events)
    assert [one["delta"]["text"] for one in events if one["type"] == "content_block_delta"] == [
        "a",
        "c",
    ]
    assert len(whole(message, MessagesFace.of(message))["content"]) == 2


def test_arguments_are_an_object_and_half_of_them_a_text() -> None:
    for text, arguments in (('{"a": 1}', {"a": 1}), ('{"a": ', '{"a": ')):
        body = Body()
        body.write("tool_call", text, {"name": "add"})
        message = message_of(body, status=Status.CANCELLED)

        [block] = whole(message, MessagesFace.of(message))["content"]

        called = {"type": "tool_use", "id": "call_0", "name": "add", "input": arguments}
        assert block == called
        assert stop_reason(message) == "end_turn"


def test_reasons_and_counts_are_in_their_words() -> None:
    for stored, said in (
        *(("length", "max_tokens"), ("content_filter", "refusal")),
        *(("stop", "end_turn"), ("tool_calls", "end_turn"), (None, "end_turn")),
    ):
        assert stop_reason(message_of(Body(), finish_reason=stored)) == said
    counted = {
        "prompt_tokens": 30,
        "completion_tokens": 4,
        "prompt_tokens_details": {"cached_tokens": 20},
        "source": "reported",
    }
    counts = {"input_tokens": 10, "output_tokens": 4, "cache_read_input_tokens": 20}
    assert usage(message_of(Body(), usage=counted)) == counts
    for used in (None, {"completion_tokens": 3, "source": "estimated"}):
        assert usage(message_of(Body(), usage=used)) == {"input_tokens": 0, "output_tokens": 0}


def test_a_cut_tears() -> None:
    face = MessagesFace.of(message_of(Body()))

    face.cut(100)  # returns None, as its type says
    assert face.fault() is None
