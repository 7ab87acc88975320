"""The events of AG-UI, from any body and any place: what a client puts together of them. Pure."""

import json
import socket
import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from flask import Flask, Response
from hypothesis import given
from hypothesis import strategies as st

from shared import numbering
from shared.body import Body
from shared.errors import StorageDown
from shared.lifecycle import Status
from shared.store.messages import Message
from tests.strategies import Written, writings
from web.dialects.ag_ui_events import About, AgUiFace, LinesFace
from web.dialects.ag_ui_messages import of_answer
from web.faces import ag_ui
from web.following.face import Then
from web.following.message_topic import MessageTopic

NOW = datetime(2026, 11, 28, tzinfo=UTC)
ABOUT = About(answer="a", conversation="c", thread="t", run="r")
FACE = AgUiFace(ABOUT)
HISTORY = [{"id": "u", "role": "user", "content": "Hello?"}]


def _body(calls: Sequence[Written]) -> Body:
    """A body in which each call of a tool is another one."""
    body = Body()
    for number, one in enumerate(calls):
        meta = {"id": f"c{number}", "name": "f"} if one.kind == "tool_call" else None
        body.write(one.kind, one.text, meta, fresh=one.fresh)
    return body


bodies = writings.map(_body)


def message_of(body: Body, **changes: Any) -> Message:
    plain = Message(
        id=uuid.uuid4(), user_id=uuid.uuid4(), conversation_id=uuid.uuid4(), parent_id=None,
        continues_id=None, role="assistant", status=Status.DONE, body=body, model='m"\n😀',
        length=body.length, sha256="", usage=None, finish_reason="stop", error_code=None,
        error_message=None, attempt=1, created_at=NOW, started_at=NOW, first_text_at=NOW,
        ended_at=NOW,
    )  # fmt: skip
    return replace(plain, **changes)


class Reader:
    """A client that keeps the rules of AG-UI, and what it has put together."""

    def __init__(self, shown: Sequence[dict[str, Any]] = ()) -> None:
        self.messages: dict[str, dict[str, Any]] = {one["id"]: dict(one) for one in shown}
        self.open: set[str] = set()
        self.numbers: list[int] = []
        self.ended: list[dict[str, Any]] = []
        self.started = 0

    def read(self, frames: bytes) -> "Reader":
        for frame in frames.decode().split("\n\n")[:-1]:
            number, data = frame.split("\n")
            self.numbers.append(int(number.removeprefix("id: ")))
            self._take(json.loads(data.removeprefix("data: ")))
        return self

    def _take(self, event: dict[str, Any]) -> None:
        assert not self.ended
        kind = event["type"]
        named = event.get("toolCallId") or event.get("messageId") or ""
        if kind == "RUN_STARTED":
            self.started += 1
        elif kind in ("RUN_FINISHED", "RUN_ERROR"):
            assert not self.open
            self.ended.append(event)
        elif kind == "MESSAGES_SNAPSHOT":
            new = {one["id"]: one for one in event["messages"]}
            keeps = not any(one["role"] == "reasoning" for one in new.values())
            kept = {
                key: one
                for key, one in self.messages.items()
                if keeps and one["role"] == "reasoning"
            }
            self.messages = {**kept, **new}
        elif kind in ("REASONING_START", "TOOL_CALL_START", "TEXT_MESSAGE_START"):
            self._begin(kind, named, event)
        elif kind == "REASONING_MESSAGE_START":
            assert named in self.open
            self.messages.setdefault(named, {"id": named, "role": "reasoning", "content": ""})
        elif kind in ("TEXT_MESSAGE_CONTENT", "REASONING_MESSAGE_CONTENT"):
            assert named in self.open
            assert event["delta"]
            message = self.messages[named]
            message["content"] = message.get("content", "") + event["delta"]
        elif kind == "TOOL_CALL_ARGS":
            assert named in self.open
            self._call(named)["function"]["arguments"] += event["delta"]
        elif kind in ("TEXT_MESSAGE_END", "TOOL_CALL_END", "REASONING_END"):
            self.open.remove(named)
        else:
            assert kind == "REASONING_MESSAGE_END"

    def _begin(self, kind: str, named: str, event: dict[str, Any]) -> None:
        assert not self.open
        self.open.add(named)
        if kind == "TEXT_MESSAGE_START":
            self.messages.setdefault(named, {"id": named, "role": "assistant"})
        elif kind == "TOOL_CALL_START":
            parent = event["parentMessageId"]
            owner = self.messages.setdefault(parent, {"id": parent, "role": "assistant"})
            function = {"name": event["toolCallName"], "arguments": ""}
            calls = owner.setdefault("toolCalls", [])
            if all(call["id"] != named for call in calls):
                calls.append({"id": named, "type": "function", "function": function})

    def _call(self, named: str) -> dict[str, Any]:
        calls = [call for one in self.messages.values() for call in one.get("toolCalls", ())]
        [call] = [call for call in calls if call["id"] == named]
        return dict(call)


def grown(topic: MessageTopic, body: Body, length: int) -> None:
    """Let the topic's body grow to `length`."""
    for delta in body.since(topic.body.length, length):
        topic.body.append(delta)


def topic_of(body: Body, length: int | None = None, **ending: Any) -> MessageTopic:
    """A topic of which `length` code points are known; without that it has ended."""
    message = message_of(body, **ending)
    topic = MessageTopic(message.id, message.user_id)
    grown(topic, body, body.length if length is None else length)
    if length is None:
        topic.finish(message)
    return topic


def written(topic: MessageTopic, place: int, face: AgUiFace = FACE) -> tuple[bytes, int]:
    """Everything after `place`, and the place after it."""
    frames, then = b"", Then.MORE
    while then is Then.MORE:
        more, place, then = face.write(topic, place)
        frames += more
    assert (then is Then.ENDED) == (topic.end is not None)
    return frames, place


def whole(body: Body) -> dict[str, dict[str, Any]]:
    return {one["id"]: one for one in of_answer("a", body, len(body.parts))}


@given(bodies, st.lists(st.integers(0, 100), max_size=4))
def test_a_client_puts_every_part_together(body: Body, cuts: list[int]) -> None:
    topic, place, reader = topic_of(body, 0), FACE.start, Reader()
    for cut in sorted(min(cut, body.length) for cut in cuts):
        grown(topic, body, cut)
        frames, place = written(topic, place)
        reader.read(frames)
    topic.finish(message_of(body))

    reader.read(written(topic, place)[0])

    assert reader.messages == whole(body)
    assert (reader.started, len(reader.ended)) == (1, 1)
    assert reader.numbers == sorted(set(reader.numbers))


@given(bodies, st.integers(0, 100))
def test_every_number_is_followed_by_exactly_the_rest(body: Body, seen: int) -> None:
    early, late = topic_of(body, min(seen, body.length)), topic_of(body)
    first = written(early, FACE.start)[0].decode().split("\n\n")[:-1]

    for count in range(1, len(first) + 1):
        begun = "".join(f"{frame}\n\n" for frame in first[:count]).encode()
        reader = Reader().read(begun)

        reader.read(written(late, reader.numbers[-1])[0])

        assert reader.messages == whole(body)
        assert (reader.started, len(reader.ended)) == (1, 1)
        assert reader.numbers == sorted(set(reader.numbers))


@given(bodies, st.integers(0, 100), st.integers(0, 100), st.booleans())
def test_a_client_that_shows_something_joins_by_a_snapshot(
    body: Body, seen: int, more: int, late: bool
) -> None:
    partial = min(seen, body.length)
    there = None if late else min(partial + more, body.length)
    shown = Reader(HISTORY).read(written(topic_of(body, partial), FACE.start)[0]).messages
    face, topic = AgUiFace(ABOUT, shown=HISTORY), topic_of(body, there)
    reader = Reader(list(shown.values()))

    frames, place = face.open(topic, face.start)
    reader.read(frames)
    grown_frames, place = written(topic, place, face)
    reader.read(grown_frames)
    if not late:
        topic.finish(message_of(body))
        reader.read(written(topic, place, face)[0])

    assert reader.messages == {"u": HISTORY[0], **whole(body)}
    assert (reader.started, len(reader.ended)) == (1, 1)


@given(bodies)
def test_who_saw_the_end_is_given_it_again_under_another_number(body: Body) -> None:
    topic, end = topic_of(body), numbering.end_number(body)
    for seen in (end, end + 7):
        reader = Reader().read(written(topic, seen)[0])

        assert reader.numbers == [seen + 1]
        assert [event["type"] for event in reader.ended] == ["RUN_FINISHED"]


@given(bodies)
def test_lines_have_the_same_numbers_and_events(body: Body) -> None:
    topic = topic_of(body)
    lines = [json.loads(line) for line in written(topic, -1, LinesFace(ABOUT))[0].splitlines()]

    frames = [frame.split("\n") for frame in written(topic, -1)[0].decode().split("\n\n")[:-1]]

    assert [(f"id: {line['id']}", line["chunk"]) for line in lines] == [
        (number, json.loads(data.removeprefix("data: "))) for number, data in frames
    ]


def ended(is_modern: bool, **ending: Any) -> dict[str, Any]:
    face = AgUiFace(replace(ABOUT, is_modern=is_modern))
    [event] = Reader().read(face.end(message_of(Body(), **ending))).ended
    return event


@pytest.mark.parametrize(
    ("is_modern", "more"),
    [(True, {"outcome": {"type": "cancelled"}}), (False, {"result": {"status": "cancelled"}})],
)
def test_only_one_point_zero_knows_that_a_run_was_cancelled(
    is_modern: bool, more: dict[str, Any]
) -> None:
    event = ended(is_modern, status=Status.CANCELLED)

    assert event == {"type": "RUN_FINISHED", "threadId": "t", "runId": "r", **more}


def test_an_answer_that_failed_is_an_error_with_its_code() -> None:
    event = ended(False, status=Status.ERROR, error_code="provider_error", error_message="No.")

    assert event == {"type": "RUN_ERROR", "message": "No.", "code": "provider_error"}


def test_what_the_provider_reported_is_the_usage() -> None:
    used = {"prompt_tokens": 11, "completion_tokens": 22, "total_tokens": 33}

    event = ended(False, usage={**used, "source": "reported"}, model="m")

    counts = {"inputTokens": 11, "outputTokens": 22, "totalTokens": 33}
    assert event["usage"] == [{"model": "m", **counts}]
    assert "usage" not in ended(False, usage={**used, "source": "estimated"})


def test_long_texts_take_several_frames_and_turns() -> None:
    body = Body()
    body.write("text", "a😀\n" * 40_000)
    frames, _, then = FACE.write(topic_of(body), FACE.start)

    assert then is Then.MORE
    assert len(frames) < 100_000
    assert Reader().read(written(topic_of(body), -1)[0]).messages == whole(body)


def test_only_a_client_that_comes_back_is_held_while_postgres_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ag_ui, "HOLD_STEP", 0.001)
    app, tries = Flask(__name__), iter([StorageDown(), StorageDown(), None])

    def answer() -> Response:
        if (error := next(tries)) is not None:
            raise error
        return Response("there")

    with app.test_request_context(method="POST", headers={"Last-Event-ID": "7"}):
        assert ag_ui.patiently(answer).get_data() == b"there"
        monkeypatch.setattr(ag_ui, "HOLD_SECONDS", -1)
        tries = iter([StorageDown()])
        assert ag_ui.patiently(answer).get_data() == b":\n"
    tries = iter([StorageDown()])
    with app.test_request_context(method="POST"), pytest.raises(StorageDown):
        ag_ui.patiently(answer)


def test_the_stream_of_a_new_run_that_cannot_begin_is_torn_after_its_first_event() -> None:
    ours, theirs = socket.socketpair()
    with (
        ours,
        theirs,
        Flask(__name__).test_request_context(
            method="POST", environ_overrides={"gunicorn.socket": ours}
        ),
    ):
        assert AgUiFace(ABOUT).refusal(StorageDown()) is None
        refusal = AgUiFace(ABOUT, fresh=True).refusal(StorageDown())

        assert refusal is not None
        assert Reader().read(refusal.get_data()).started == 1
        assert theirs.recv(1) == b""
