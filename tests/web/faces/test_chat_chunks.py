"""The chunks of a chat completion, from any body and any place: what they are put together to."""

import json
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from shared import sse
from shared.body import Body
from shared.lifecycle import Status
from shared.parts import is_text
from shared.store.messages import Message
from shared.tool_calls import calls_of
from tests.strategies import bodies
from web.dialects.completions import ChunkFace, completion, finish_reason
from web.following.face import Then
from web.following.message_topic import MessageTopic

NOW = datetime(2026, 11, 28, tzinfo=UTC)
USED = {"prompt_tokens": 11, "completion_tokens": 22, "source": "reported"}


def _fresh(texts: list[str]) -> Body:
    body = Body()
    for text in texts:
        body.write("text", text, fresh=True)
    return body


#: Texts that take several frames, and several turns of `write`.
_long = st.builds(
    lambda unit, count: unit * count,
    st.text("a😀\n", min_size=1, max_size=3),
    st.integers(3_000, 9_000),
)
long_bodies = st.lists(_long, min_size=1, max_size=3).map(_fresh)


class Read(NamedTuple):
    """What a client has read."""

    content: str
    thoughts: str
    calls: list[tuple[str, str]]
    reasons: list[str]
    usages: list[dict[str, Any]]
    errors: list[dict[str, Any]]
    done: int


def message_of(body: Body, **changes: Any) -> Message:
    plain = Message(
        id=uuid.uuid4(), user_id=uuid.uuid4(), conversation_id=uuid.uuid4(), parent_id=None,
        continues_id=None, role="assistant", status=Status.DONE, body=body, model='m"\n😀',
        length=body.length, sha256="", usage=USED, finish_reason="stop", error_code=None,
        error_message=None, attempt=1, created_at=NOW, started_at=NOW, first_text_at=NOW,
        ended_at=NOW,
    )  # fmt: skip
    return replace(plain, **changes)


def written(message: Message, face: ChunkFace, cuts: list[int]) -> bytes:
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


def read(frames: bytes, face: ChunkFace) -> Read:
    """As an SDK does, which checks each chunk's shape."""
    found = Read("", "", [], [], [], [], 0)
    for event in sse.Decoder().feed(frames):
        assert event.event == "message"
        if event.data == "[DONE]":
            found = found._replace(done=found.done + 1)
            continue
        data = json.loads(event.data)
        if "error" in data:
            found.errors.append(data["error"])
            continue
        ChatCompletionChunk.model_validate(data, strict=True)
        assert (data["id"], data["model"], data["created"]) == (face.id, face.model, face.created)
        assert data["object"] == "chat.completion.chunk"
        assert ("usage" in data) == face.include_usage
        if data.get("usage"):
            found.usages.append(data["usage"])
        for choice in data["choices"]:
            delta = choice["delta"]
            found = found._replace(
                content=found.content + (delta.get("content") or ""),
                thoughts=found.thoughts + delta.get("reasoning_content", ""),
            )
            for piece in delta.get("tool_calls", ()):
                if "id" in piece:
                    assert piece["index"] == len(found.calls)
                    found.calls.append((piece["id"], ""))
                called, arguments = found.calls[piece["index"]]
                arguments += piece["function"]["arguments"]
                found.calls[piece["index"]] = called, arguments
            if choice["finish_reason"]:
                found.reasons.append(choice["finish_reason"])
    return found


@given(bodies | long_bodies, st.lists(st.integers(0, 40), max_size=6), st.booleans())
def test_chunks_are_put_together_to_the_body(
    body: Body, cuts: list[int], include_usage: bool
) -> None:
    message = message_of(body)
    face = ChunkFace.of(message, include_usage=include_usage)

    found = read(written(message, face, [cut for cut in cuts if cut < body.length]), face)

    assert found.content == body.text
    assert found.thoughts == "".join(one.text for one in body.parts if one.kind == "reasoning")
    assert found.calls == [(call.id, call.arguments) for call in calls_of(body)]
    assert (found.reasons, found.errors, found.done) == (["stop"], [], 1)
    total = {"prompt_tokens": 11, "completion_tokens": 22, "total_tokens": 33}
    assert found.usages == ([total] if include_usage else [])


@given(bodies)
def test_a_whole_answer_says_the_same_as_its_chunks(body: Body) -> None:
    message = message_of(body)
    face = ChunkFace.of(message, include_usage=False)
    found = read(written(message, face, []), face)

    whole = completion(message, face)

    said = ChatCompletion.model_validate(whole, strict=True).choices[0]
    assert (said.message.content or "") == found.content
    calls = [one for one in said.message.tool_calls or () if one.type == "function"]
    assert [(one.id, one.function.arguments) for one in calls] == found.calls
    assert [said.finish_reason] == found.reasons
    assert whole["id"] == face.id


@given(bodies)
def test_a_kind_that_this_version_does_not_know_is_left_out(body: Body) -> None:
    other = Body()
    for part in body.parts:
        other.write("hologram" if is_text(part.kind) else part.kind, part.text, fresh=True)
    message = message_of(other)
    face = ChunkFace.of(message, include_usage=False)

    assert read(written(message, face, []), face).content == ""


@given(bodies)
def test_an_answer_that_failed_ends_with_an_error_and_nothing_after_it(body: Body) -> None:
    message = message_of(
        body, status=Status.ERROR, error_code="provider_cut", error_message="It broke."
    )
    face = ChunkFace.of(message, include_usage=True)

    frames = written(message, face, [])

    found = read(frames, face)
    assert found.content == body.text
    error = {"message": "It broke.", "type": "server_error", "param": None, "code": "provider_cut"}
    assert (found.errors, found.reasons, found.done) == ([error], [], 0)
    assert b'{"error"' in frames.split(b"\n\n")[-2]


def test_a_reason_is_one_that_clients_know() -> None:
    for stored, said in (("length", "length"), ("other", "stop"), (None, "stop")):
        assert finish_reason(message_of(Body(), finish_reason=stored)) == said


def test_a_usage_that_nobody_reported_is_none() -> None:
    for used in (None, {"completion_tokens": 3, "source": "estimated"}):
        message = message_of(Body(), usage=used)
        assert completion(message, ChunkFace.of(message, include_usage=True))["usage"] is None


def test_a_cut_tears() -> None:
    face = ChunkFace.of(message_of(Body()), include_usage=False)

    face.cut(100)  # returns None, as its type says
    assert face.fault() is None
