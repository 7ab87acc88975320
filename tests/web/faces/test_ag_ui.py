"""AG-UI over HTTP, on the real processes: runs, coming back, conversations, stops, refusals."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest

from local.programs import Web, Worker
from scripted import done, finish, hold, reasoning, say, script, tool_call, usage
from tests.client import Client, new_id
from tests.credentials import client_with, token
from tests.rig import Rig
from tests.stories import NEVER
from tests.web.faces.test_tools import data_url, unique_png
from tests.web.wire import problem

TOOL = {"name": "look", "description": "Looks.", "parameters": {"type": "object"}}


def user(text: str, **more: Any) -> dict[str, Any]:
    return {"id": new_id(), "role": "user", "content": text, **more}


def run_input(*messages: dict[str, Any], **more: Any) -> dict[str, Any]:
    """What HttpAgent sends."""
    empty: dict[str, Any] = {"state": {}, "tools": [], "context": [], "forwardedProps": {}}
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

    def begun(self, sent: dict[str, Any]) -> list[Event]:
        """The events up to the first text; then the client leaves."""
        with self.http.stream("POST", "/ag-ui", json=sent) as answer:
            text = ""
            for piece in answer.iter_text():
                text += piece
                whole = text.rpartition("\n\n")[0]
                if "TEXT_MESSAGE_CONTENT" in whole:
                    return events_of(whole)
        raise AssertionError(text)


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


def calls_of_provider(rig: Rig, question: str) -> int:
    return len(rig.scripted.requests(contains=question))


# --- coming back ----------------------------------------------------------------------------------


def test_a_repeated_run_goes_on_after_the_number_that_was_seen(
    rig: Rig, api: Api, worker: Worker
) -> None:
    gate = new_id()
    question = script(reasoning("Hm."), say("One, "), hold(gate), say("two."), finish(), done())
    sent = run_input(user(question))
    name = {"X-Run-Id": sent["runId"]}
    begun = api.begun(sent)
    rig.scripted.release(gate)

    rest = api.run(sent, **name, **{"Last-Event-ID": begun[-1].id})
    again = api.run(sent, **name, **{"Last-Event-ID": begun[-1].id})
    whole = api.run(sent, **name)

    assert text_of(begun) + text_of(rest) == text_of(whole) == "One, two."
    assert types(rest)[-1] == "RUN_FINISHED"
    assert int(rest[0].id) > int(begun[-1].id)
    assert "".join(map(json.dumps, rest)) == "".join(map(json.dumps, again))
    assert calls_of_provider(rig, question) == 1


def test_the_same_run_with_another_question_is_refused(api: Api, worker: Worker) -> None:
    sent = run_input(user(script(say("One"), finish(), done(), tag=new_id())))
    api.run(sent)

    other = api.post({**sent, "messages": [user("Another?")]})

    problem(other, 422, "idempotency_key_reused")


def test_a_client_that_comes_back_is_never_given_a_second_answer(
    rig: Rig, api: Api, client: Client, worker: Worker
) -> None:
    # given: two runs of one question, of which the second has joined the answer of the first
    gate = new_id()
    question = script(say("One, "), hold(gate), say("two."), finish(), done(), tag=new_id())
    first = run_input(user(question))
    second = {**first, "runId": new_id()}
    api.begun(first)
    begun = api.begun(second)
    rig.scripted.release(gate)
    client.ended(begun[0]["metadata"]["outlive"]["message"])

    # when: the second comes back after the end
    rest = api.run(second, **{"Last-Event-ID": begun[-1].id})

    assert text_of(begun) + text_of(rest) == "One, two."
    assert calls_of_provider(rig, question) == 1
    # and without a number it is another question of the same words
    assert text_of(api.run({**first, "runId": new_id()})) == "One, two."
    assert calls_of_provider(rig, question) == 2


def test_a_run_is_read_by_its_name_or_the_id_of_its_answer(
    api: Api, client: Client, worker: Worker
) -> None:
    sent = run_input(user(script(say("Hello"), finish(), done(), tag=new_id())))
    answer = api.run(sent)[0]["metadata"]["outlive"]["message"]

    for name in (sent["runId"], answer):
        read = client.http.get("/ag-ui", params={"runId": name, "offset": "-1"})

        events = events_of(read.text)
        assert types(events)[:2] == ["RUN_STARTED", "TEXT_MESSAGE_START"]
        assert (text_of(events), types(events)[-1]) == ("Hello", "RUN_FINISHED")
        assert read.headers["Outlive-Message-Id"] == answer
    for name in ("none", new_id()):
        problem(client.http.get("/ag-ui", params={"runId": name}), 404, "not_found")


def test_a_conversation_is_read_with_its_open_run(
    rig: Rig, api: Api, client: Client, worker: Worker
) -> None:
    called = script(
        reasoning("Hm."), say("Look:"), tool_call("c1", "look", '{"a":1}'), finish("tool_calls"),
        done(), after=[say("Seen, "), hold(gate := new_id()), finish(), done()], tag=new_id(),
    )  # fmt: skip
    asked, thread = user(called), new_id()
    first = run_input(asked, threadId=thread, tools=[TOOL])
    api.run(first)
    call = {"name": "look", "arguments": '{"a": 1}'}
    answered = {
        "id": "a",
        "role": "assistant",
        "content": "Look:",
        "toolCalls": [{"id": "c1", "type": "function", "function": call}],
    }
    result = {"id": "r", "role": "tool", "toolCallId": "c1", "content": "blue"}
    second = run_input(asked, answered, result, threadId=thread, tools=[TOOL])
    api.begun(second)

    found = client.http.get("/ag-ui", params={"threadId": thread}).json()

    assert found["activeRun"] == {"runId": second["runId"]}
    assert [(one["role"], one["parts"]) for one in found["messages"]] == [
        ("user", [{"type": "text", "content": called}]),
        (
            "assistant",
            [
                {"type": "thinking", "content": "Hm."},
                {"type": "text", "content": "Look:"},
                {
                    "type": "tool-call", "id": "c1", "name": "look", "arguments": '{"a":1}',
                    "state": "complete", "input": {"a": 1}, "output": "blue",
                },
                {
                    "type": "tool-result", "toolCallId": "c1", "content": "blue",
                    "state": "complete",
                },
            ],
        ),
        ("assistant", [{"type": "text", "content": "Seen, "}]),
    ]  # fmt: skip
    rig.scripted.release(gate)
    client.ended(found["messages"][-1]["id"])
    found = client.http.get("/ag-ui", params={"threadId": thread}).json()
    assert found["activeRun"] is None
    last = client.http.get("/ag-ui", params={"threadId": thread, "limit": 1}).json()
    assert [one["id"] for one in last["messages"]] == [found["messages"][-1]["id"]]
    plain = client.http.get("/ag-ui", params={"threadId": thread, "format": "ag-ui"}).json()
    assert [(one["role"], one["content"]) for one in plain["messages"]] == [
        ("user", called),
        ("reasoning", "Hm."),
        ("assistant", "Look:"),
        ("tool", "blue"),
        ("assistant", "Seen, "),
    ]
    assert text_of(api.run(run_input(*plain["messages"], threadId=thread, tools=[TOOL]))) == ""
    assert calls_of_provider(rig, called) == 2
    problem(client.http.get("/ag-ui", params={"threadId": thread, "format": "x"}), 422, "invalid")
    more = {"threadId": thread, "before": last["page"]["cursor"]}
    earlier = client.http.get("/ag-ui", params=more).json()
    assert earlier["messages"] == found["messages"][:2]


def test_a_conversation_that_is_not_there_has_no_messages(client: Client) -> None:
    found = client.http.get("/ag-ui", params={"threadId": new_id()}).json()

    assert found == {"messages": [], "activeRun": None}


def test_images_stay_what_they_are_in_a_conversation_that_is_read(
    rig: Rig, api: Api, client: Client, worker: Worker
) -> None:
    image, thread = data_url(unique_png()), new_id()
    question = script(say("Nice."), finish(), done(), tag=new_id())
    source = {"type": "data", "value": image.partition(",")[2], "mimeType": "image/png"}
    parts = [{"type": "text", "text": question}, {"type": "image", "source": source}]
    api.run(run_input(user("", content=parts), threadId=thread))
    [asked, answered] = client.http.get("/ag-ui", params={"threadId": thread}).json()["messages"]
    _, shown = asked["parts"]
    assert client.http.get(shown["source"]["value"]).status_code == 200

    following = script(say("Still."), finish(), done(), tag=new_id())
    sent = run_input(
        user("", content=[parts[0], shown]),
        {"id": "a", "role": "assistant", "content": "Nice."},
        user(following),
        threadId=thread,
    )
    assert text_of(api.run(sent)) == "Still."

    [record] = rig.scripted.requests(contains=following)
    assert record.request is not None
    assert record.request["messages"][0]["content"][1] == {
        "type": "image_url",
        "image_url": {"url": image},
    }
    after = client.http.get("/ag-ui", params={"threadId": thread}).json()["messages"]
    assert [one["id"] for one in after[:2]] == [asked["id"], answered["id"]]


@pytest.mark.parametrize("name", ["threadId", "runId"])
def test_a_name_that_is_too_long_is_refused(client: Client, name: str) -> None:
    for length, status in ((255, 200 if name == "threadId" else 404), (256, 422)):
        found = client.http.get("/ag-ui", params={name: "x" * length})

        assert found.status_code == status


# --- stopping, strangers, refusals ----------------------------------------------------------------


def test_a_run_is_stopped_by_its_name(api: Api, client: Client, worker: Worker) -> None:
    sent = run_input(user(script(say("Some"), hold(NEVER), tag=new_id())), protocolVersion="1.0")
    api.begun(sent)

    stopped = client.http.post("/ag-ui/stop", json={"runId": sent["runId"]})

    assert stopped.status_code == 202
    events = api.run(sent)
    assert events[-1]["outcome"] == {"type": "cancelled"}
    assert client.message(stopped.json()["id"])["status"] == "CANCELLED"
    problem(client.http.post("/ag-ui/stop", json={"runId": "none"}), 404, "not_found")


def test_another_user_finds_neither_run_nor_conversation(
    rig: Rig, required_web: Web, worker: Worker
) -> None:
    sent = run_input(user(script(say("Mine"), finish(), done(), tag=new_id())))
    names = {"runId": sent["runId"]}
    with client_with(required_web, token(new_id())) as owner:
        answer = Api(owner.http).run(sent)[0]["metadata"]["outlive"]["message"]
    with client_with(required_web, token(new_id())) as other:
        for run_id in (sent["runId"], answer):
            problem(other.http.get("/ag-ui", params={"runId": run_id}), 404, "not_found")
        problem(other.http.post("/ag-ui/stop", json=names), 404, "not_found")
        found = other.http.get("/ag-ui", params={"threadId": sent["threadId"]}).json()
        assert found == {"messages": [], "activeRun": None}
        # The same names are a run and a conversation of their own.
        events = Api(other.http).run(sent)

    assert text_of(events) == "Mine"
    assert events[0]["metadata"]["outlive"]["message"] != answer


@pytest.mark.parametrize(
    ("field", "more"),
    [
        ("state", {"state": {"a": 1}}),
        ("resume", {"resume": [{"interruptId": "i", "status": "resolved"}]}),
        ("forwardedProps.userName", {"forwardedProps": {"userName": "Ann"}}),
        ("forwardedProps.logprobs", {"forwardedProps": {"logprobs": True}}),
        ("forwardedProps.tools", {"forwardedProps": {"tools": []}}),
        ("data", {"forwardedProps": {}, "data": {"seed": 1}}),
        ("command", {"command": "x"}),
        ("messages.0.user.name", {"messages": [user("Hi", name="Ann")]}),
        ("messages", {"messages": []}),
    ],
)
def test_what_cannot_be_passed_on_is_refused_by_name(
    api: Api, field: str, more: dict[str, Any]
) -> None:
    answer = api.post(run_input(user("Hello?"), **more))

    assert answer.status_code == 422
    assert field in answer.json()["detail"]


def test_a_header_that_names_another_run_is_refused(api: Api) -> None:
    problem(api.post(run_input(user("Hello?")), **{"X-Run-Id": "other"}), 422, "invalid")


# --- other people's validator ---------------------------------------------------------------------


def test_the_validator_of_ag_ui_finds_nothing(
    api: Api, web: Web, worker: Worker, tmp_path: Path
) -> None:
    """`ag-ui-validate`, by the address and of a recording with more in it, joined in the middle."""
    question = script(
        reasoning("Hm."), say("Look:"), tool_call("c1", "look", "{}"), finish("tool_calls"),
        usage(), done(), tag=new_id(),
    )  # fmt: skip
    sent = run_input(user(question), tools=[TOOL])
    whole = api.post(sent).text
    partial = {"id": "a", "role": "assistant", "content": "Loo"}
    messages = [*sent["messages"], partial]
    joined = api.post({**sent, "runId": new_id(), "messages": messages}).text
    assert "MESSAGES_SNAPSHOT" in joined
    found = []
    for place, recorded in enumerate((whole, joined)):
        (tmp_path / str(place)).write_text(recorded)
        found.append(str(tmp_path / str(place)))

    for source in (f"{web.url}/ag-ui", *found):
        ran = subprocess.run(
            [Path(sys.executable).with_name("ag-ui-validate"), source, "--json", "--fail-on",
             "warning"],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stdout
