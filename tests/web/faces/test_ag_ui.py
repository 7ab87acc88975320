"""AG-UI over HTTP, on the real processes: runs, coming back, conversations, stops, refusals."""

import json
from typing import Any

import httpx2
import pytest

from local.programs import Worker
from scripted import done, finish, reasoning, say, script, usage
from tests.client import Client, new_id
from tests.rig import Rig

TOOL = {"name": "look", "description": "Looks.", "parameters": {"type": "object"}}


def user(text: str, **more: Any) -> dict[str, Any]:
    return {"id": new_id(), "role": "user", "content": text, **more}


def run_input(*messages: dict[str, Any], **more: Any) -> dict[str, Any]:
    """What HttpAgent sends."""
    empty = {"state": {}, "tools": [], "context": [], "forwardedProps": {}}
    return {"threadId": new_id(), "runId": new_id(), "messages": [*messages], **empty, **more}


class Event(dict[str, Any]):
    """An event, and its SSE id."""

    id = ""


def events_of(body: str) -> list[Event]:
    found = []
    for frame in body.removesuffix("\n\n").split("\n\n"):
        lines = dict(line.split(": ", 1) for line in frame.split("\n") if not line.startswith(":"))
        found.append(event := Event(json.loads(lines["data"])))
        event.id = lines["id"]
    return found


class Api:
    """The face as programs use it."""

    def __init__(self, http: httpx2.Client) -> None:
        self.http = http

    def post(self, sent: dict[str, Any], **headers: str) -> httpx2.Response:
        return self.http.post("/ag-ui", json=sent, headers=headers)

    def run(self, sent: dict[str, Any], **headers: str) -> list[Event]:
        answer = self.post(sent, **headers)
        assert answer.status_code == 200, answer.text
        return events_of(answer.text)

    def begun(self, sent: dict[str, Any], *, until: str = "CONTENT") -> list[Event]:
        """The events up to one of a kind; then the client leaves."""
        seen: list[Event] = []
        with self.http.stream("POST", "/ag-ui", json=sent) as answer:
            text = ""
            for piece in answer.iter_text():
                text += piece
                whole, _, _ = text.rpartition("\n\n")
                seen = events_of(whole) if whole else []
                if any(until in event["type"] for event in seen):
                    break
        return seen


@pytest.fixture
def api(client: Client) -> Api:
    return Api(client.http)


def types(events: list[Event]) -> list[str]:
    return [event["type"] for event in events]


def text_of(events: list[Event]) -> str:
    said = [event for event in events if event["type"] == "TEXT_MESSAGE_CONTENT"]
    return "".join(event["delta"] for event in said)


def test_a_run_is_an_ordinary_answer(rig: Rig, api: Api, client: Client, worker: Worker) -> None:
    question = script(
        reasoning("Hm."), say("Hello 😀"), say("\n\u2028there"), finish(), usage(), done(),
        tag=new_id(),
    )  # fmt: skip
    sent = run_input(
        {"id": "s", "role": "system", "content": "Be kind."},
        user(question),
        context=[{"description": "The time", "value": "noon"}],
        forwardedProps={"temperature": 0.5, "model": "other"},
    )

    answer = api.post(sent)

    events = events_of(answer.text)
    assert [name for name in types(events) if not name.endswith("CONTENT")] == [
        "RUN_STARTED",
        "REASONING_START", "REASONING_MESSAGE_START", "REASONING_MESSAGE_END", "REASONING_END",
        "TEXT_MESSAGE_START", "TEXT_MESSAGE_END",
        "RUN_FINISHED",
    ]  # fmt: skip
    assert text_of(events) == "Hello 😀\n\u2028there"
    message = client.message(answer.headers["Outlive-Message-Id"])
    assert (message["status"], message["text"]) == ("DONE", text_of(events))
    assert message["conversation_id"] == answer.headers["Outlive-Conversation-Id"]
    assert (events[0]["threadId"], events[0]["runId"]) == (sent["threadId"], sent["runId"])
    assert {event["messageId"] for event in events if "TEXT" in event["type"]} == {message["id"]}
    numbers = [int(event.id) for event in events]
    assert numbers == sorted(set(numbers))
    [record] = rig.scripted.wait_requests(1, contains=question)
    assert record.request is not None
    assert record.request["messages"][0]["content"] == "Be kind.\n\nThe time:\nnoon"
    assert (record.request["temperature"], record.request["model"]) == (0.5, "other")
