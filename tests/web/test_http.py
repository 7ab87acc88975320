"""The HTTP table: every call, every documented answer, through gunicorn's sockets."""

import json
import socket
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import httpx2
import pytest

from local.programs import Web, Worker
from scripted import cut, done, finish, long, reasoning, say, script, usage
from tests.client import Client, Connection, Reading, new_id, proof
from tests.rig import Rig, eventually
from tests.stories import Held, holding
from tests.tcp_proxy import TcpProxy

STRANGER = "00000000-0000-4000-8000-00000000dead"
EVENTS = "text/event-stream; charset=utf-8"
#: Connections of which each process of a master has some, most probably.
EVERY_PROCESS = 6


def _quick(text: str = "An answer.") -> str:
    return script(say(text), finish(), usage(), done(), tag=new_id())


def _problem(answer: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = dict(answer.json())
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["type"] == "about:blank"
    assert problem["title"]
    assert problem["detail"]
    return problem


@pytest.fixture
def open_answer(rig: Rig, client: Client, worker: Worker) -> Iterator[Held]:
    """An answer that is being written until somebody lets it end."""
    with holding(rig, client, say("So far"), say(" so good."), finish(), done()) as held:
        yield held


# --- conversations -------------------------------------------------------------------------------


def test_a_new_conversation_is_empty_and_may_have_a_title_and_a_system_text(client: Client) -> None:
    for sent in ({}, {"title": None}, {"title": "T", "system": "S"}, {"title": "", "system": ""}):
        made = client.http.post("/api/conversations", json=sent)

        assert made.status_code == 201
        assert made.headers["content-type"] == "application/json"
        body = made.json()
        assert set(body) == {"id", "title", "system", "created_at", "updated_at"}
        assert UUID(body["id"])
        assert (body["title"], body["system"]) == (sent.get("title"), sent.get("system"))
        shown = client.http.get(f"/api/conversations/{body['id']}")
        assert shown.status_code == 200
        assert shown.json() == {**body, "messages": []}


def test_no_body_at_all_is_an_empty_object(client: Client) -> None:
    assert client.http.post("/api/conversations").status_code == 201


def test_the_list_is_newest_first_and_comes_in_pages(client: Client) -> None:
    made = [client.conversation(title=str(n)) for n in range(7)]

    found: list[str] = []
    cursor, pages = None, 0
    while len(found) < 7:
        query = {"limit": "3", **({"cursor": cursor} if cursor else {})}
        page = client.http.get("/api/conversations", params=query).json()
        assert set(page) == {"items", "next"}
        assert len(page["items"]) == 3
        found += [item["id"] for item in page["items"]]
        cursor, pages = page["next"], pages + 1
    assert pages == 3
    assert found[:7] == made[::-1]

    # What is new meanwhile moves nothing.
    first = client.http.get("/api/conversations", params={"limit": 3}).json()
    client.conversation()
    then = {"limit": 3, "cursor": first["next"]}
    second = client.http.get("/api/conversations", params=then).json()
    assert [item["id"] for item in second["items"]] == made[3::-1][:3]


def test_the_last_page_has_no_next(client: Client) -> None:
    client.conversation()
    seen: set[str] = set()
    query: dict[str, str] = {"limit": "200"}
    while True:
        page = client.http.get("/api/conversations", params=query).json()
        ids = {item["id"] for item in page["items"]}
        assert not seen & ids
        seen |= ids
        if page["next"] is None:
            break
        query["cursor"] = page["next"]
    assert seen


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("limit=0", "invalid_limit"),
        ("limit=201", "invalid_limit"),
        ("limit=-1", "invalid_limit"),
        ("limit=many", "invalid_limit"),
        ("limit=", "invalid_limit"),
        ("limit=99999999999999999999", "invalid_limit"),
        ("limit=0000000011000000", "invalid_limit"),
        ("cursor=OTAwMDAwMDAwMDAwMDAwMDAwMA", "invalid_cursor"),  # a moment that no date can hold
        ("cursor=banana", "invalid_cursor"),
        ("cursor=MTIz!", "invalid_cursor"),
        ("cursor=LTE", "invalid_cursor"),
        ("cursor=%F0%9F%98%80", "invalid_cursor"),
    ],
)
def test_a_page_that_makes_no_sense_is_refused(client: Client, query: str, code: str) -> None:
    _problem(client.http.get(f"/api/conversations?{query}"), 422, code)


def test_a_title_can_be_changed_and_taken_away(client: Client) -> None:
    conversation = client.conversation(title="before")
    place = f"/api/conversations/{conversation}"
    for title in ("after", "with \u2028 and \U0001f600", "", None):
        changed = client.http.patch(place, json={"title": title})
        assert changed.status_code == 200
        assert changed.json()["title"] == title
        assert client.http.get(place).json()["title"] == title
    _problem(client.http.patch(place, json={}), 422, "invalid")
    _problem(client.http.patch(place, json={"title": "x" * 201}), 422, "invalid")
    _problem(client.http.patch(place, json={"title": "x", "model": "y"}), 422, "invalid")


def test_a_first_question_names_its_conversation(client: Client, worker: Worker) -> None:
    conversation = client.conversation()
    client.ended(client.ask("Why is  the\nsky blue?", conversation))
    shown = client.http.get(f"/api/conversations/{conversation}").json()
    assert shown["title"] == "Why is the sky blue?"


# --- deleting ------------------------------------------------------------------------------------


def _streams(urls: Sequence[str], answer: str) -> set[int]:
    """The status of each of an answer's streams, in every process of these masters."""
    found = set()
    for url in urls:
        for what in (answer, f"{answer}/blocks"):
            for _ in range(EVERY_PROCESS):
                with Connection(url, what, after=None, last_id=None) as stream:
                    found.add(stream.status)
    return found


@pytest.mark.failure(37)
def test_what_is_deleted_is_gone_at_once_from_every_process_that_holds_it(
    client: Client, web: Web, other_web: Web, open_answer: Held
) -> None:
    urls = [web.url, other_web.url]
    assert _streams(urls, open_answer.id) == {200}  # it is in the memory of all of them now

    assert client.http.delete(f"/api/conversations/{open_answer.conversation}").is_success

    assert _streams(urls, open_answer.id) == {404}
    client.http.post(f"/api/conversations/{open_answer.conversation}/undelete")
    assert _streams(urls, open_answer.id) == {200}


@pytest.mark.parametrize("state", ["just asked", "ended"])
def test_what_was_never_read_here_or_has_ended_is_gone_as_soon_as_it_is_deleted(
    rig: Rig, client: Client, other_web: Web, worker: Worker, state: str
) -> None:
    """Who takes a question holds its answer before anybody reads it; who has shown an end keeps it
    for a while."""
    place = client.conversation()
    answer = client.ask(script(say("Short."), finish(), done()), place)
    if state == "ended":
        client.ended(answer)
        assert _streams([client.url], answer) == {200}

    with Client(other_web.url) as elsewhere:
        elsewhere.http.delete(f"/api/conversations/{place}").raise_for_status()

    assert _streams([client.url], answer) == {404}
    for seen in ("end", "3", "x"):
        path = f"{client.url}/api/messages/{answer}/stream"
        assert httpx2.get(path, headers={"Last-Event-ID": seen}).status_code == 404


def test_keys_of_what_is_deleted_are_not_found(client: Client) -> None:
    key, question = new_id(), new_id()
    headers = {"Idempotency-Key": key}
    made = client.http.post("/api/conversations", json={}, headers=headers)
    assert made.status_code == 201
    place = made.json()["id"]
    assert client.post_question("Why?", place, question).status_code == 202

    client.http.delete(f"/api/conversations/{place}")

    _problem(client.http.post("/api/conversations", json={}, headers=headers), 404, "not_found")
    _problem(client.post_question("Why?", place, question), 404, "not_found")
    client.http.post(f"/api/conversations/{place}/undelete")
    again = client.http.post("/api/conversations", json={}, headers=headers)
    assert (again.status_code, again.json()["id"]) == (201, place)
    assert client.post_question("Why?", place, question).status_code == 202


@pytest.mark.failure(37)
def test_a_deleted_conversation_ends_its_answers_and_readers_and_is_gone(
    client: Client, web: Web, other_web: Web, open_answer: Held
) -> None:
    place = f"/api/conversations/{open_answer.conversation}"
    readings = [Reading(open_answer.id, [url]) for url in (web.url, other_web.url) * 3]
    with ThreadPoolExecutor(6) as pool:
        connections = [reading.open() for reading in readings]
        reads = [
            pool.submit(_take_all, reading, connection)
            for connection, reading in zip(connections, readings, strict=True)
        ]

        deleted = client.http.delete(place)
        for read in reads:
            read.result()

    assert (deleted.status_code, deleted.content) == (204, b"")
    for connection, reading in zip(connections, readings, strict=True):
        connection.socket.close()
        assert reading.end is not None
        assert (reading.text, reading.end["status"]) == ("So far", "CANCELLED")
        assert reading.proven
    for answer in (
        client.http.get(place),
        client.http.patch(place, json={"title": "x"}),
        client.http.delete(place),
        client.post_question("and now?", open_answer.conversation),
        client.http.get(f"/api/messages/{open_answer.id}"),
        client.http.post(f"/api/messages/{open_answer.id}/stop"),
        client.http.post(f"/api/messages/{open_answer.id}/retry"),
        client.http.post(f"/api/messages/{open_answer.id}/continue"),
    ):
        _problem(answer, 404, "not_found")
    first = client.http.get("/api/conversations").json()["items"]
    assert open_answer.conversation not in {item["id"] for item in first}


def _take_all(reading: Reading, connection: Connection) -> None:
    for event in connection.events():
        reading.take(event)


# --- asking --------------------------------------------------------------------------------------


def test_a_question_is_accepted_with_both_messages(client: Client, worker: Worker) -> None:
    conversation, question = client.conversation(), _quick()
    accepted = client.post_question(question, conversation)

    assert accepted.status_code == 202
    body = accepted.json()
    assert set(body) == {"user", "assistant"}
    user, assistant = body["user"], body["assistant"]
    fields = {
        "id", "conversation_id", "parent_id", "continues_id", "role", "status", "text", "parts",
        "position", "length", "sha256", "model", "usage", "finish_reason", "error", "created_at",
        "started_at", "first_text_at", "ended_at",
    }  # fmt: skip
    assert set(user) == set(assistant) == fields
    assert accepted.headers["Outlive-Message-Id"] == assistant["id"]
    assert (user["role"], user["status"], user["text"]) == ("user", "DONE", question)
    assert user["parent_id"] is None
    assert (user["length"], user["sha256"]) == proof(question)
    assert (assistant["role"], assistant["parent_id"]) == ("assistant", user["id"])
    assert (assistant["status"], assistant["text"], assistant["position"]) == ("SENDING", "", 0)
    assert assistant["length"] is assistant["sha256"] is assistant["ended_at"] is None
    assert user["conversation_id"] == assistant["conversation_id"] == conversation

    done_one = client.ended(assistant["id"])
    assert (done_one["status"], done_one["text"]) == ("DONE", "An answer.")
    assert (done_one["length"], done_one["sha256"]) == proof("An answer.")
    assert done_one["finish_reason"] == "stop"
    assert done_one["usage"]["completion_tokens"] == 22
    assert done_one["model"] == "scripted"
    moments = [done_one[f"{name}_at"] for name in ("created", "started", "first_text", "ended")]
    assert moments == sorted(moments)


def test_the_partial_is_shown_while_it_is_written(client: Client, open_answer: Held) -> None:
    message = client.message(open_answer.id)
    assert (message["status"], message["text"]) == ("STREAMING", "So far")
    assert message["parts"] == [{"kind": "text", "text": "So far", "meta": None}]
    assert message["position"] == 6
    assert message["length"] is message["sha256"] is message["error"] is None


def test_stop_keeps_the_partial_and_is_harmless_afterwards(
    client: Client, open_answer: Held
) -> None:
    assert client.stop(open_answer.id)["id"] == open_answer.id
    ended = client.ended(open_answer.id)
    assert (ended["status"], ended["text"], ended["error"]) == ("CANCELLED", "So far", None)
    assert (ended["length"], ended["sha256"]) == proof("So far")
    assert client.stop(open_answer.id) == ended


def test_without_a_parent_one_asks_below_the_newest_answer(client: Client, worker: Worker) -> None:
    conversation = client.conversation()
    first = client.ask(_quick(), conversation)
    client.ended(first)

    second = client.post_question(_quick(), conversation).json()
    assert second["user"]["parent_id"] == first
    client.ended(second["assistant"]["id"])

    branch = client.post_question(_quick(), conversation, parent_id=first).json()
    assert branch["user"]["parent_id"] == first
    client.ended(branch["assistant"]["id"])

    root = client.post_question(_quick(), conversation, parent_id=None).json()
    assert root["user"]["parent_id"] is None
    client.ended(root["assistant"]["id"])

    last = client.post_question(_quick(), conversation).json()
    assert last["user"]["parent_id"] == root["assistant"]["id"]
    client.ended(last["assistant"]["id"])


def test_a_parent_must_be_an_answer_of_this_conversation(client: Client, worker: Worker) -> None:
    elsewhere = client.ask(_quick())
    client.ended(elsewhere)
    conversation = client.conversation()
    asked = client.post_question(_quick(), conversation).json()
    client.ended(asked["assistant"]["id"])
    for parent in (elsewhere, STRANGER, asked["user"]["id"]):
        refused = client.post_question("x", conversation, parent_id=parent)
        _problem(refused, 422, "invalid_parent")


def test_nobody_asks_below_an_open_answer(client: Client, open_answer: Held) -> None:
    for more in ({}, {"parent_id": open_answer.id}):
        refused = client.post_question("x", open_answer.conversation, **more)
        _problem(refused, 409, "answer_open")
    for verb in ("retry", "continue"):
        refused = client.http.post(f"/api/messages/{open_answer.id}/{verb}")
        _problem(refused, 409, "answer_open")
    # Another root is no part of that talk.
    root = client.ask(_quick(), open_answer.conversation, parent_id=None)
    assert client.ended(root)["status"] == "DONE"


def test_retry_is_a_sibling_and_continue_a_child(client: Client, worker: Worker) -> None:
    conversation = client.conversation()
    failed = client.ask(script(say("Half an"), cut(), tag=new_id()), conversation)
    assert client.ended(failed)["status"] == "ERROR"

    again = client.http.post(f"/api/messages/{failed}/retry")
    assert again.status_code == 202
    assert again.json()["assistant"]["parent_id"] == client.message(failed)["parent_id"]
    client.ended(again.json()["assistant"]["id"])

    more = client.http.post(f"/api/messages/{failed}/continue")
    assert more.status_code == 202
    assert more.json()["user"]["parent_id"] == failed
    assert more.json()["assistant"]["continues_id"] == failed
    complete = more.json()["assistant"]["id"]
    client.ended(complete)
    _problem(client.http.post(f"/api/messages/{complete}/continue"), 409, "complete")
    user = more.json()["user"]["id"]
    _problem(client.http.post(f"/api/messages/{user}/retry"), 422, "not_an_answer")


def test_a_branch_is_the_path_to_its_leaf_and_knows_what_stands_beside_it(
    client: Client, worker: Worker
) -> None:
    conversation = client.conversation()
    place = f"/api/conversations/{conversation}"
    one = client.post_question(_quick(), conversation).json()
    client.ended(one["assistant"]["id"])
    two = client.post_question(_quick(), conversation).json()
    client.ended(two["assistant"]["id"])
    edited = client.post_question(_quick(), conversation, parent_id=one["assistant"]["id"]).json()
    client.ended(edited["assistant"]["id"])

    def ids(path: str) -> list[str]:
        return [message["id"] for message in client.http.get(path).json()["messages"]]

    common = [one["user"]["id"], one["assistant"]["id"]]
    first = [*common, two["user"]["id"], two["assistant"]["id"]]
    second = [*common, edited["user"]["id"], edited["assistant"]["id"]]
    assert ids(place) == second
    assert ids(f"{place}?leaf={two['assistant']['id']}") == first
    assert ids(f"{place}?leaf={one['assistant']['id']}") == common
    siblings = client.http.get(place).json()["messages"][2]["siblings"]
    assert siblings == [
        {"id": two["user"]["id"], "leaf": two["assistant"]["id"]},
        {"id": edited["user"]["id"], "leaf": edited["assistant"]["id"]},
    ]
    _problem(client.http.get(f"{place}?leaf={STRANGER}"), 404, "not_found")
    _problem(client.http.get(f"{place}?leaf=banana"), 422, "invalid_leaf")


# --- what the provider is asked ------------------------------------------------------------------

BYTES = {
    "as it is": 'é 日本 \U0001f600 \u2028\u2029 \r\n\r \t \x01 \x7f \x85 \ufeff "\\" </script>',
    "with what cannot be stored": "a\x00b\ud800c\udfffd",
    "with a split pair": "\ud83d\ude00",
    "long": "0123456789" * 20_000,
}


@pytest.mark.parametrize("kind", BYTES)
def test_a_question_reaches_the_provider_byte_for_byte(
    rig: Rig, client: Client, worker: Worker, kind: str
) -> None:
    mark = new_id()
    sent = f"{BYTES[kind]} {mark}"
    body = json.dumps({"content": sent})  # ASCII: lone surrogates as escapes
    path = f"/api/conversations/{client.conversation()}/messages"
    headers = {"Content-Type": "application/json"}
    asked = client.http.post(path, content=body, headers=headers)
    assert asked.status_code == 202

    arrived = sent.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    arrived = arrived.replace("\x00", "\ufffd")
    [record] = rig.scripted.wait_requests(1, contains=mark)
    assert record.request is not None
    assert record.request["messages"] == [{"role": "user", "content": arrived}]
    assert asked.json()["user"]["text"] == arrived
    client.stop(asked.json()["assistant"]["id"])


def test_model_and_options_are_merged_at_the_top_level(
    rig: Rig, client: Client, worker: Worker
) -> None:
    options = {
        "temperature": 0.5, "top_p": 1, "max_tokens": 7, "max_completion_tokens": 8,
        "presence_penalty": -1.5, "frequency_penalty": 2, "seed": -3, "stop": ["a", "b"],
        "reasoning_effort": "low",
    }  # fmt: skip
    question = _quick()
    answer = client.ask(question, model="another-model", options=options)
    client.ended(answer)

    [record] = rig.scripted.requests(contains=question)
    assert record.request == {
        "model": "another-model",
        "messages": [{"role": "user", "content": question}],
        "stream": True,
        "stream_options": {"include_usage": True},
        **options,
    }
    assert client.message(answer)["model"] == "another-model"


def test_options_that_are_not_given_are_not_sent(rig: Rig, client: Client, worker: Worker) -> None:
    question = _quick()
    client.ended(client.ask(question, options={"temperature": None}))
    [record] = rig.scripted.requests(contains=question)
    assert record.request is not None
    assert set(record.request) == {"model", "messages", "stream", "stream_options"}
    assert record.request["model"] == "scripted"


def test_the_prompt_is_the_path_with_partial_answers_and_without_empty_ones(
    rig: Rig, client: Client, worker: Worker
) -> None:
    conversation = client.conversation(system="Be brief.")
    whole, partial, empty = (
        script(reasoning("hidden"), say("A whole one."), finish(), done(), tag=new_id()),
        script(say("Half of"), cut(), tag=new_id()),
        script(cut(at=0), tag=new_id()),
    )
    for question in (whole, partial, empty):
        client.ended(client.ask(question, conversation))
    beside = client.ask(_quick("another branch"), conversation, parent_id=None)
    client.ended(beside)
    leaf = client.http.get(f"/api/conversations/{conversation}").json()["messages"][-1]["id"]
    assert leaf == beside
    rows = rig.rows(
        "SELECT id FROM messages WHERE conversation_id = :id AND role = 'assistant' ORDER BY seq",
        id=conversation,
    )
    last = _quick()
    client.ended(client.ask(last, conversation, parent_id=str(rows[2].id)))

    [record] = rig.scripted.requests(contains=last)
    assert record.request is not None
    assert record.request["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": whole},
        {"role": "assistant", "content": "A whole one."},
        {"role": "user", "content": partial},
        {"role": "assistant", "content": "Half of"},
        {"role": "user", "content": f"{empty}\n\n{last}"},  # roles take turns
    ]


# --- the same request again ----------------------------------------------------------------------


def test_the_same_key_and_body_give_the_same_messages_as_they_are_now(
    rig: Rig, client: Client, worker: Worker
) -> None:
    conversation, key, question = client.conversation(), f"key {new_id()}", _quick()
    first = client.post_question(question, conversation, key=key)
    answer = first.json()["assistant"]["id"]
    client.ended(answer)

    second = client.post_question(question, conversation, key=key)

    assert first.status_code == second.status_code == 202
    assert second.json()["user"] == first.json()["user"]
    assert second.json()["assistant"] == client.message(answer)
    assert second.headers["Outlive-Message-Id"] == answer
    assert len(rig.scripted.requests(contains=question)) == 1


def test_the_same_key_with_anything_else_is_refused(client: Client, worker: Worker) -> None:
    conversation, key = client.conversation(), f"key {new_id()}"
    asked = client.post_question(_quick(), conversation, key=key)
    answer = asked.json()["assistant"]["id"]
    client.ended(answer)
    content = asked.json()["user"]["text"]
    for refused in (
        client.post_question("something else", conversation, key=key),
        client.post_question(content, conversation, key=key, model="x"),
        client.post_question(content, conversation, key=key, parent_id=None),
        client.post_question(content, conversation, key=key, options={"seed": 1}),
        client.post_question(content, key=key),
        client.http.post(f"/api/messages/{answer}/retry", headers={"Idempotency-Key": key}),
    ):
        _problem(refused, 422, "idempotency_key_reused")


@pytest.mark.failure(26)
def test_twenty_racing_equal_questions_are_one_message_and_one_call(
    rig: Rig, web: Web, other_web: Web, client: Client, worker: Worker
) -> None:
    conversation, key, question = client.conversation(), f"key {new_id()}", _quick()
    with Client(other_web.url) as other, ThreadPoolExecutor(20) as pool:

        def ask(one: Client) -> httpx2.Response:
            return one.post_question(question, conversation, key=key)

        answers = list(pool.map(ask, [client, other] * 10))

    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["user"]["id"] for answer in answers}) == 1
    [answer_id] = {answer.json()["assistant"]["id"] for answer in answers}
    assert client.ended(answer_id)["status"] == "DONE"
    assert len(rig.scripted.requests(contains=question)) == 1
    count = "SELECT count(*) FROM messages WHERE conversation_id = :id"
    assert rig.rows(count, id=conversation)[0][0] == 2


@pytest.mark.failure(26)
def test_a_web_that_dies_between_the_commit_and_its_reply_has_asked_once(
    rig: Rig, client: Client, worker: Worker
) -> None:
    place, key = client.conversation(), new_id()
    question = script(say("Once."), finish(), done(), tag=f"dies {key}")
    with TcpProxy(rig.redis.url) as proxy, ThreadPoolExecutor(1) as pool:
        victim = rig.web(REDIS_URL=proxy.url)
        with rig.gone(victim), Client(victim.url) as other, proxy.blocked():
            # given: it has committed, and is about to enqueue
            lost = pool.submit(other.post_question, question, place, key)
            there = "SELECT 1 FROM messages WHERE client_key = :key"
            eventually(lambda: rig.rows(there, key=key))
            victim.kill()
            assert isinstance(lost.exception(), httpx2.TransportError)

    # when
    again = client.post_question(question, place, key)

    # then
    assert again.status_code == 202
    assert client.ended(again.json()["assistant"]["id"])["text"] == "Once."
    assert len(client.http.get(f"/api/conversations/{place}").json()["messages"]) == 2
    assert len(rig.scripted.requests(contains=question)) == 1


@pytest.mark.parametrize("key", ["", "x" * 201, "a\tb"])
def test_a_key_must_be_a_key(client: Client, key: str) -> None:
    path = f"/api/conversations/{client.conversation()}/messages"
    headers = {"Idempotency-Key": key}
    answer = client.http.post(path, json={"content": "x"}, headers=headers)
    _problem(answer, 422, "invalid_idempotency_key")


# --- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body", ["{", '{"content": }', "[1,", "nul", "{'a': 1}", "[" * 100_000, "9" * 5000]
)
def test_what_is_no_json_is_refused(client: Client, body: str) -> None:
    headers = {"Content-Type": "application/json"}
    answer = client.http.post("/api/conversations", content=body, headers=headers)
    _problem(answer, 400, "malformed_json")


def test_what_is_no_utf8_is_refused(client: Client) -> None:
    headers = {"Content-Type": "application/json"}
    answer = client.http.post("/api/conversations", content=b'{"title": "\xff"}', headers=headers)
    _problem(answer, 400, "malformed_json")


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", None]
)
def test_another_content_type_is_refused(client: Client, content_type: str | None) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    answer = client.http.post("/api/conversations", content=b"{}", headers=headers)
    _problem(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"content": ""},
        {"content": None},
        {"content": 7},
        {"content": ["x"]},
        {"content": "x", "unknown": 1},
        {"content": "x", "parent_id": "banana"},
        {"content": "x", "parent_id": 7},
        {"content": "x", "model": ""},
        {"content": "x", "model": 7},
        {"content": "x", "options": None},
        {"content": "x", "options": []},
        {"content": "x", "options": {"unknown": 1}},
        {"content": "x", "options": {"stream": False}},
        {"content": "x", "options": {"messages": []}},
        {"content": "x", "options": {"temperature": "hot"}},
        {"content": "x", "options": {"temperature": 3}},
        {"content": "x", "options": {"temperature": True}},
        {"content": "x", "options": {"max_tokens": 0}},
        {"content": "x", "options": {"max_tokens": "7"}},
        {"content": "x", "options": {"stop": [1]}},
        {"content": "x", "options": {"reasoning_effort": "extreme"}},
        {"content": "x" * 1_000_001},
        [],
        "x",
        None,
        7,
    ],
    ids=lambda body: json.dumps(body)[:50],
)
def test_a_question_that_makes_no_sense_is_refused(client: Client, body: object) -> None:
    path = f"/api/conversations/{client.conversation()}/messages"
    problem = _problem(client.http.post(path, json=body), 422, "invalid")
    assert problem["errors"]
    assert client.http.get(path.removesuffix("/messages")).json()["messages"] == []


def test_numbers_that_are_none_are_refused(client: Client) -> None:
    path = f"/api/conversations/{client.conversation()}/messages"
    for number in ("NaN", "Infinity", "-Infinity", "1e999"):
        body = f'{{"content": "x", "options": {{"temperature": {number}}}}}'
        answer = client.http.post(path, content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code in (400, 422), number
        assert answer.json()["code"] in ("invalid", "malformed_json")


@pytest.mark.failure(32)
def test_a_huge_body_is_refused_by_its_length_and_in_chunks(client: Client, web: Web) -> None:
    big = b'{"title": "' + b"x" * (4 << 20) + b'"}'
    headers = {"Content-Type": "application/json"}
    answer = client.http.post("/api/conversations", content=big, headers=headers)
    _problem(answer, 413, "too_large")

    def pieces() -> Iterator[bytes]:
        yield from (big[at : at + 65536] for at in range(0, len(big), 65536))

    answer = client.http.post("/api/conversations", content=pieces(), headers=headers)
    _problem(answer, 413, "too_large")
    padded = b"{}" + b" " * (4 << 20)  # of which what is allowed would make sense
    answer = client.http.post("/api/conversations", content=iter([padded]), headers=headers)
    _problem(answer, 413, "too_large")
    fits = b"{}" + b" " * ((4 << 20) - 2)
    answer = client.http.post("/api/conversations", content=iter([fits]), headers=headers)
    assert answer.status_code == 201
    assert client.http.get("/healthz").status_code == 200


def test_a_body_that_is_announced_and_huge_is_not_waited_for(web: Web) -> None:
    where = urlsplit(web.url)
    with socket.create_connection((where.hostname or "", where.port or 80), 10) as peer:
        peer.sendall(
            b"POST /api/conversations HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nContent-Length: 10000000000\r\n\r\n"
        )
        assert peer.recv(65536).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/api/conversations", "GET, HEAD, OPTIONS, POST"),
        ("DELETE", "/api/conversations", "GET, HEAD, OPTIONS, POST"),
        ("POST", f"/api/conversations/{STRANGER}", "DELETE, GET, HEAD, OPTIONS, PATCH"),
        ("GET", f"/api/conversations/{STRANGER}/messages", "OPTIONS, POST"),
        ("POST", f"/api/messages/{STRANGER}", "GET, HEAD, OPTIONS"),
        ("POST", f"/api/messages/{STRANGER}/stream", "GET, HEAD, OPTIONS"),
        ("GET", f"/api/messages/{STRANGER}/stop", "OPTIONS, POST"),
        ("GET", f"/api/messages/{STRANGER}/retry", "OPTIONS, POST"),
        ("BREW", "/api/conversations", "GET, HEAD, OPTIONS, POST"),
    ],
)
def test_a_wrong_method_is_told_the_right_ones(
    client: Client, method: str, path: str, allowed: str
) -> None:
    answer = client.http.request(method, path)
    _problem(answer, 405, "method_not_allowed")
    assert answer.headers["Allow"] == allowed


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api"),
        ("GET", "/api/"),
        ("GET", "/api/nothing"),
        ("POST", "/api/conversations/"),
        ("GET", "/api/conversations/banana"),
        ("DELETE", "/api/conversations/1"),
        ("POST", "/api/conversations/banana/messages"),
        ("GET", "/api/messages/banana"),
        ("GET", "/api/messages/banana/stream"),
        ("POST", "/api/messages/banana/stop"),
        ("GET", f"/api/messages/{STRANGER[:-1]}"),
        ("GET", f"/api/conversations/{STRANGER}"),
        ("PATCH", f"/api/conversations/{STRANGER}"),
        ("DELETE", f"/api/conversations/{STRANGER}"),
        ("POST", f"/api/conversations/{STRANGER}/messages"),
        ("GET", f"/api/messages/{STRANGER}"),
        ("GET", f"/api/messages/{STRANGER}/stream"),
        ("POST", f"/api/messages/{STRANGER}/stop"),
        ("POST", f"/api/messages/{STRANGER}/retry"),
        ("POST", f"/api/messages/{STRANGER}/continue"),
    ],
)
def test_what_is_not_there_is_a_404(client: Client, method: str, path: str) -> None:
    bodies: dict[str, object] = {"PATCH": {"title": "x"}, "POST": {}}
    if path.endswith("/messages"):
        bodies["POST"] = {"content": "x"}
    answer = client.http.request(method, path, json=bodies.get(method))
    _problem(answer, 404, "not_found")


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:8000"},
        {"Host": "localhost.evil.example"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "10.0.0.1"},
        {"Host": "[::2]"},
    ],
    ids=str,
)
def test_a_foreign_host_is_refused(client: Client, headers: dict[str, str]) -> None:
    for method, path in (
        ("GET", "/api/conversations"),
        ("POST", "/api/conversations"),
        ("GET", "/"),
    ):
        answer = client.http.request(method, path, headers=headers)
        _problem(answer, 403, "not_local")


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:9", "127.0.0.1", "127.0.0.1:9", "[::1]:80"]
)
def test_every_name_of_this_machine_is_welcome(client: Client, host: str) -> None:
    answer = client.http.get("/api/conversations", headers={"Host": host})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
    ids=str,
)
def test_another_site_may_change_nothing(client: Client, headers: dict[str, str]) -> None:
    conversation = client.conversation(title="mine")
    place = f"/api/conversations/{conversation}"
    for method, path, body in (
        ("POST", "/api/conversations", {}),
        ("POST", f"{place}/messages", {"content": "x"}),
        ("PATCH", place, {"title": "theirs"}),
        ("DELETE", place, None),
        ("POST", f"/api/messages/{STRANGER}/stop", None),
    ):
        answer = client.http.request(method, path, json=body, headers=headers)
        _problem(answer, 403, "cross_site")
    assert client.http.get(place).json()["title"] == "mine"


def test_our_own_page_may(client: Client) -> None:
    headers = {"Origin": client.url, "Sec-Fetch-Site": "same-origin"}
    assert client.http.post("/api/conversations", json={}, headers=headers).status_code == 201


def test_a_credential_is_ignored_where_none_is_asked_for(client: Client) -> None:
    headers = {"Authorization": "Bearer whatever"}
    assert client.http.get("/api/conversations", headers=headers).status_code == 200


# --- health --------------------------------------------------------------------------------------


def test_it_tells_that_it_lives_and_that_it_can_work(client: Client) -> None:
    alive = client.http.get("/healthz")
    assert (alive.status_code, alive.json()) == (200, {"status": "alive"})
    ready = client.http.get("/readyz")
    assert ready.status_code == 200
    assert ready.json() == {"status": "ready", "postgres": "ok", "redis": "ok"}
    # A load balancer asks by whatever name it likes.
    for path in ("/healthz", "/readyz"):
        assert client.http.get(path, headers={"Host": "10.1.2.3"}).status_code == 200


def test_head_says_what_get_would(client: Client, worker: Worker) -> None:
    """Status and headers, of what is there and of what is not."""
    place = client.conversation()
    answer = client.ask(script(long(10), finish(), done()), place)
    client.ended(answer)
    there = [f"/api/conversations/{place}", f"/api/messages/{answer}", f"/c/{place}"]
    faces = ["stream", "stream?after=end", "stream?after=-1", "stream?after=5", "blocks/stream"]
    there += [f"/api/messages/{answer}/{face}" for face in [*faces, "blocks"]]
    gone = [path.replace(place, STRANGER).replace(answer, STRANGER) for path in there]
    others = [
        "/", "/api", "/api/nothing", "/api/conversations", "/api/conversations?limit=0",
        "/api/search?q=a", "/api/sidebar", f"/api/conversations/{place}/turns", "/api/models",
        f"/api/messages/{answer}/stop", "/healthz", "/readyz", "/static/app.js", "/static/none.js",
    ]  # fmt: skip

    for path in [*there, *gone, *others]:
        get, head = client.http.get(path), client.http.head(path)
        assert (head.status_code, head.content) == (get.status_code, b""), path
        for name in ("content-type", "cache-control", "allow", "x-accel-buffering"):
            assert head.headers.get(name) == get.headers.get(name), path
        length = head.headers.get("content-length")
        assert length is None or length == get.headers.get("content-length"), path
    with client.http.stream("GET", "/api/notices") as get:
        head = client.http.head("/api/notices")
        assert (head.status_code, head.headers["content-type"]) == (200, EVENTS)
        assert (get.status_code, get.headers["content-type"]) == (200, EVENTS)


def test_the_stream_is_not_cached_and_not_buffered(client: Client, worker: Worker) -> None:
    answer = client.ask(script(long(10), finish(), done()))
    client.ended(answer)
    headers = client.http.get(f"/api/messages/{answer}/stream").headers
    assert headers["content-type"] == EVENTS
    assert headers["cache-control"] == "no-cache, no-transform"
    assert headers["x-accel-buffering"] == "no"
