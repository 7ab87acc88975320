"""Asking and reading in one request: POST with `Accept: text/event-stream`."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import httpx2
import pytest

from local.programs import Worker
from scripted import cut, done, finish, hold, say, script
from shared.errors import TooMany
from shared.sse import Decoder, Event
from shared.store import messages
from shared.store.asking import Asked
from shared.store.tables import LOCAL_USER
from tests.client import Client, Reading, new_id
from tests.rig import Rig
from tests.web.wire import EVENTS, STRANGER, problem
from web.faces.native import AskedFace

ACCEPT = {"Accept": "text/event-stream"}


@contextmanager
def asking(
    client: Client, path: str, body: dict[str, Any], **headers: str
) -> Iterator[tuple[httpx2.Response, Iterator[Event]]]:
    """The open response, and its events; they end where the response does."""
    sent = ACCEPT | {name.replace("_", "-"): value for name, value in headers.items()}
    with client.http.stream("POST", path, json=body, headers=sent) as response:
        decoder = Decoder(limit=1 << 24)
        yield response, (event for data in response.iter_raw() for event in decoder.feed(data))


def asked(
    client: Client, path: str, body: dict[str, Any], **headers: str
) -> tuple[dict[str, Any], Reading]:
    """Ask and read to the end: both messages, and what a reader of the rest knows."""
    with asking(client, path, body, **headers) as (response, events):
        assert response.status_code == 200
        assert response.headers["Content-Type"] == EVENTS
        accepted = next(events)
        assert (accepted.event, accepted.id) == ("accepted", "")
        both: dict[str, Any] = json.loads(accepted.data)
        assert response.headers["Outlive-Message-Id"] == both["assistant"]["id"]
        reading = Reading(both["assistant"]["id"], [client.url])
        for event in events:
            reading.take(event)
    return both, reading


def place(client: Client) -> str:
    """The path of the questions of a new conversation."""
    return f"/api/conversations/{client.conversation()}/messages"


def question(*steps: Any) -> dict[str, Any]:
    """The body of a question that nobody else asks."""
    return {"content": script(*(steps or (say("An answer."), finish(), done())), tag=new_id())}


def test_question_is_answered_by_its_stream(client: Client, worker: Worker) -> None:
    path, body = place(client), question()

    both, reading = asked(client, path, body)

    assert both["user"]["text"] == body["content"]
    assert (both["assistant"]["status"], both["assistant"]["position"]) == ("SENDING", 0)
    assert both["assistant"]["parent_id"] == both["user"]["id"]
    assert reading.text == "An answer."
    assert reading.proven
    assert both["user"] == client.message(both["user"]["id"])
    ended = client.message(reading.message_id)
    assert set(both["assistant"]) == set(ended)
    assert reading.end == {name: ended[name] for name in reading.end or {}}


def test_accepted_has_the_same_messages_as_the_reply_without_a_stream(
    client: Client, worker: Worker
) -> None:
    path, body, key = place(client), question(hold(f"same {new_id()}"), done()), new_id()
    headers = {"Idempotency-Key": key}
    plain = client.http.post(path, json=body, headers=headers)
    assert plain.status_code == 202

    with asking(client, path, body, Idempotency_Key=key) as (_, events):
        both = json.loads(next(events).data)

    assert both["user"] == plain.json()["user"]
    started = {"status", "started_at"}  # a worker may have taken it meanwhile
    assert {name: both["assistant"][name] for name in both["assistant"].keys() - started} == {
        name: value for name, value in plain.json()["assistant"].items() if name not in started
    }
    client.stop(both["assistant"]["id"])


@pytest.mark.parametrize(
    "accept", ["*/*", "application/json", "application/json, text/event-stream", "text/html"]
)
def test_client_that_does_not_prefer_events_gets_json(client: Client, accept: str) -> None:
    path = place(client)

    answer = client.http.post(path, json=question(), headers={"Accept": accept})

    assert answer.status_code == 202
    assert answer.json().keys() == {"user", "assistant"}
    client.stop(answer.json()["assistant"]["id"])


def test_cut_reader_resumes_on_the_messages_own_stream(
    rig: Rig, client: Client, worker: Worker
) -> None:
    name = f"cut {new_id()}"
    body = question(say("Once "), hold(name), say("upon a time"), finish(), done())
    with asking(client, place(client), body) as (_, events):
        reading = Reading(json.loads(next(events).data)["assistant"]["id"], [client.url])
        reading.take(next(events))
    assert reading.last_id == "5"

    rig.scripted.release(name)
    reading.to_end()

    assert reading.text == "Once upon a time"
    assert reading.proven


def test_repeated_request_joins_the_same_answer_from_its_beginning(
    rig: Rig, client: Client, worker: Worker
) -> None:
    name, path, key = f"joined {new_id()}", place(client), f"key {new_id()}"
    body = question(say("Once "), hold(name), say("more."), finish(), done())
    with asking(client, path, body, Idempotency_Key=key) as (_, first):
        answer = json.loads(next(first).data)["assistant"]["id"]
        assert json.loads(next(first).data)["text"] == "Once "

        with asking(client, path, body, Idempotency_Key=key) as (_, second):
            accepted = json.loads(next(second).data)
            assert accepted["assistant"]["id"] == answer
            assert accepted["assistant"]["status"] == "STREAMING"
            assert json.loads(next(second).data)["text"] == "Once "

    rig.scripted.release(name)
    client.ended(answer)
    both, reading = asked(client, path, body, Idempotency_Key=key)
    assert (both["assistant"]["status"], both["assistant"]["text"]) == ("DONE", "")
    assert reading.text == "Once more."
    assert reading.proven
    assert len(rig.scripted.requests(contains=body["content"])) == 1


def test_repeated_request_may_say_how_far_it_has_read(client: Client, worker: Worker) -> None:
    path, body, key = place(client), question(), new_id()
    _, reading = asked(client, path, body, Idempotency_Key=key, Last_Event_ID="7")
    assert reading.text == "An answer."  # a new answer cannot have been read

    with asking(client, path, body, Idempotency_Key=key, Last_Event_ID="3") as (_, events):
        kinds = [(event.event, event.id) for event in events]

    assert kinds == [("accepted", ""), ("delta", "10"), ("end", "end")]
    with asking(client, path, body, Idempotency_Key=key, Last_Event_ID="end") as (response, _):
        assert response.status_code == 204


def test_retry_and_continue_are_answered_in_the_same_way(client: Client, worker: Worker) -> None:
    _, partial = asked(client, place(client), question(say("Half an"), cut()))
    assert partial.end
    assert partial.end["status"] == "ERROR"

    both, _ = asked(client, f"/api/messages/{partial.message_id}/retry", {})
    assert both["assistant"]["parent_id"] == client.message(partial.message_id)["parent_id"]

    both, reading = asked(client, f"/api/messages/{partial.message_id}/continue", {})
    assert both["assistant"]["continues_id"] == partial.message_id
    assert reading.end


def test_refusals_before_the_stream_are_problem_documents(client: Client, worker: Worker) -> None:
    path, key = place(client), new_id()
    both, _ = asked(client, path, question(), Idempotency_Key=key)

    def refused(path: str, body: dict[str, Any], **headers: str) -> httpx2.Response:
        return client.http.post(path, json=body, headers=ACCEPT | headers)

    problem(refused(path, {"content": ""}), 422, "invalid")
    problem(refused(path, {"content": "x", "stream": True}), 422, "invalid")
    reused = refused(path, question(), **{"Idempotency-Key": key})
    problem(reused, 422, "idempotency_key_reused")
    elsewhere = refused(f"/api/conversations/{STRANGER}/messages", question())
    problem(elsewhere, 404, "not_found")
    whole = refused(f"/api/messages/{both['assistant']['id']}/continue", {})
    problem(whole, 409, "complete")


def test_question_is_accepted_even_if_no_stream_can_begin(
    rig: Rig, client: Client, worker: Worker
) -> None:
    """It was committed: a refusal would make its client ask again."""
    both, _ = asked(client, place(client), question())
    user, assistant = (
        messages.load(rig.db, UUID(both[who]["id"]), LOCAL_USER) for who in ("user", "assistant")
    )

    response = AskedFace(Asked(user, assistant, fresh=True)).refusal(TooMany("Too many streams."))

    assert response.status_code == 200
    assert response.content_type == EVENTS
    [only] = Decoder().feed(response.get_data())
    assert (only.event, json.loads(only.data)["user"]) == ("accepted", both["user"])


def test_long_question_comes_back_whole(client: Client, worker: Worker) -> None:
    body = {"content": "日本 \U0001f600\u2028" * 100_000 + new_id()}
    with asking(client, place(client), body) as (_, events):
        both = json.loads(next(events).data)

    assert both["user"]["text"] == body["content"]
    client.stop(both["assistant"]["id"])
