"""The chunks of a UI message stream: put together as the AI SDK does, and resumed after each."""

import json
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.body import Body
from shared.lifecycle import Status
from shared.numbering import NOTHING
from shared.store.messages import Message
from tests.strategies import Opened, Written, bodies, grow, growth
from web.dialects import ui_chunks
from web.dialects.ui_chunks import Chunk, finish_reason, tool_call

NOW = datetime(2026, 11, 1, tzinfo=UTC)
#: What an answer may end as.
ENDS: list[dict[str, Any]] = [
    {},
    {"finish_reason": "length"},
    {"status": Status.CANCELLED, "finish_reason": None},
    {"status": Status.ERROR, "error_code": "provider_cut", "error_message": 'Cut.\n"😀'},
]


def message_of(body: Body, **changes: Any) -> Message:
    plain = Message(
        id=uuid.uuid4(), user_id=uuid.uuid4(), conversation_id=uuid.uuid4(), parent_id=None,
        continues_id=None, role="assistant", status=Status.DONE, body=body, model="m",
        length=body.length, sha256="", usage=None, finish_reason="stop", error_code=None,
        error_message=None, attempt=1, created_at=NOW, started_at=NOW, first_text_at=NOW,
        ended_at=NOW,
    )  # fmt: skip
    return replace(plain, **changes)


def chunks_of(message: Message, after: int = NOTHING) -> list[Chunk]:
    return list(ui_chunks.after(after, message.id, message.body, message))


class Reader:
    """What the AI SDK makes of chunks, with its rules about their order."""

    def __init__(self, message: Message) -> None:
        self.message = message
        self.parts: list[dict[str, Any]] = []
        self.open: dict[str, dict[str, Any]] = {}
        self.types: list[str] = []
        self.error: str | None = None

    def take(self, one: Chunk) -> None:
        assert one.json.isascii()
        assert "\n" not in one.json
        chunk = json.loads(one.json)
        kind = chunk["type"]
        assert self.error is None, "nothing is read after an error"
        self.types.append(kind)
        match kind.split("-"):
            case ["start"]:
                assert chunk["messageId"] == str(self.message.id)
            case ["tool", "input", step]:
                self._call(step, chunk)
            case [("text" | "reasoning") as part, "start"]:
                self._begin(chunk["id"], {"kind": part, "text": ""})
            case [("text" | "reasoning") as part, "delta"]:
                assert self.open[chunk["id"]]["kind"] == part
                self.open[chunk["id"]]["text"] += chunk["delta"]
            case [("text" | "reasoning"), "end"]:
                del self.open[chunk["id"]]
            case ["error"]:
                self.error = chunk["errorText"]

    def _begin(self, key: str, part: dict[str, Any]) -> None:
        self.open[key] = part
        self.parts.append(part)

    def _call(self, step: str, chunk: dict[str, Any]) -> None:
        key = "call " + chunk["toolCallId"]
        if step == "start":
            self._begin(key, {"kind": "tool_call", "text": "", "name": chunk["toolName"]})
        elif step == "delta":
            self.open[key]["text"] += chunk["inputTextDelta"]
        else:
            part = self.open.pop(key)
            assert chunk["toolName"] == part["name"]
            if step == "available":
                assert chunk["input"] == json.loads(part["text"])
            else:
                assert chunk["input"] == part["text"]


def put_together(message: Message, chunks: list[Chunk]) -> Reader:
    reader = Reader(message)
    for chunk in chunks:
        reader.take(chunk)
    return reader


@given(bodies, st.sampled_from(ENDS))
def test_chunks_hold_the_body_and_its_end(body: Body, end: dict[str, Any]) -> None:
    message = message_of(body, **end)
    chunks = chunks_of(message)

    reader = put_together(message, chunks)

    assert [(one["kind"], one["text"]) for one in reader.parts] == [
        (part.kind, part.text) for part in body.parts
    ]
    assert not reader.open
    assert reader.types[:2] == ["start", "start-step"]
    assert reader.types[-2] == "finish-step"
    assert reader.types[-1] == ("error" if message.status == Status.ERROR else "finish")
    assert reader.error == end.get("error_message")
    assert all(one.number < other.number for one, other in pairwise(chunks))


@given(bodies, st.sampled_from(ENDS))
def test_after_every_chunk_comes_the_rest(body: Body, end: dict[str, Any]) -> None:
    message = message_of(body, **end)
    whole = chunks_of(message)

    for place, chunk in enumerate(whole):
        assert chunks_of(message, chunk.number) == whole[place + 1 :]


@given(growth, st.lists(st.integers(0, 12), max_size=4), st.sampled_from(ENDS))
def test_a_reader_who_is_given_a_body_as_it_grows_has_all_of_it(
    calls: list[Written | Opened], pauses: list[int], end: dict[str, Any]
) -> None:
    body, seen = Body(), NOTHING
    message = message_of(body, **end)
    reader = Reader(message)

    for number, call in enumerate(calls):
        grow(body, call)
        if number in pauses:
            for chunk in ui_chunks.after(seen, message.id, body):
                assert chunk.number > seen
                reader.take(chunk)
                seen = chunk.number
    whole = Body(delta for delta in body.since(0) if delta.text)  # as it is saved
    for chunk in chunks_of(replace(message, body=whole), seen):
        assert chunk.number > seen
        reader.take(chunk)
        seen = chunk.number

    known = [part for part in whole.parts if part.kind in ("text", "reasoning", "tool_call")]
    assert [(one["kind"], one["text"]) for one in reader.parts] == [
        (part.kind, part.text) for part in known
    ]
    assert not reader.open


@pytest.mark.parametrize(
    ("arguments", "available"),
    [
        ('{"a": [1, "é\\n"]}', True),
        ("{}", True),
        ('{"a": 1', False),
        ('{"a": NaN}', False),
        ("[" * 100_000, False),
        ('{"a": ' + "1" * 5_000 + "}", False),
    ],
)
def test_arguments_of_a_call_are_given_as_json_only_if_they_are(
    arguments: str, available: bool
) -> None:
    body = Body()
    body.write("tool_call", arguments, {"id": 'a"\n', "name": "look"}, fresh=True)

    message = message_of(body)
    reader = put_together(message, chunks_of(message))

    assert ("tool-input-available" in reader.types) is available
    assert ("tool-input-error" in reader.types) is not available


def test_calls_without_an_id_are_named_by_their_place() -> None:
    body = Body()
    body.write("text", "Look: ")
    body.write("tool_call", "{}", {"name": "look"}, fresh=True)
    body.write("tool_call", "{}", {"name": "see"}, fresh=True)

    assert [tool_call(body, index) for index in (1, 2)] == [("call_0", "look"), ("call_1", "see")]


def test_a_reader_beyond_the_end_of_an_answer_is_told_that_it_has_ended() -> None:
    """Redis and the worker died together, and what was saved is shorter than what was shown."""
    body = Body()
    body.write("text", "Short.")
    message = message_of(body)

    [last] = chunks_of(message, 1000)

    assert last.number == 1001
    assert json.loads(last.json)["type"] == "finish"


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        ({"finish_reason": "content_filter"}, "content-filter"),
        ({"finish_reason": "tool_calls"}, "tool-calls"),
        ({"finish_reason": "a new one"}, "other"),
        ({"finish_reason": None}, "stop"),
        ({"status": Status.CANCELLED}, "other"),
    ],
)
def test_reasons_are_words_that_the_sdk_knows(end: dict[str, Any], reason: str) -> None:
    assert finish_reason(message_of(Body(), **end)) == reason
