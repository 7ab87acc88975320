"""The native face through gunicorn's sockets: every call and every documented answer."""

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import httpx2
import pytest

from local.programs import Web, Worker
from scripted import cut, done, finish, long, reasoning, say, script, usage
from tests.client import Client, Reading, StreamConnection, new_id, proof
from tests.rig import Rig, eventually, killing
from tests.stories import Held, holding
from tests.tcp_proxy import TcpProxy
from tests.web.wire import EVENTS, STRANGER, problem

#: Connections of which each process of a master has some, most probably.
EVERY_PROCESS = 6


@pytest.fixture
def open_answer(rig: Rig, client: Client, worker: Worker) -> Iterator[Held]:
    """An answer that is open until the test lets it go on."""
    with holding(rig, client, say("So far"), say(" so good."), finish(), done()) as held:
        yield held


# --- conversations --------------------------------------------------------------------------------


def test_new_conversation_is_empty_and_may_have_a_title_and_a_system_text(client: Client) -> None:
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


def test_title_can_be_changed_and_removed(client: Client) -> None:
    conversation = client.conversation(title="before")
    place = f"/api/conversations/{conversation}"
    for title in ("after", "with \u2028 and \U0001f600", "", None):
        changed = client.http.patch(place, json={"title": title})
        assert changed.status_code == 200
        assert changed.json()["title"] == title
        assert client.http.get(place).json()["title"] == title
    problem(client.http.patch(place, json={}), 422, "invalid")
    problem(client.http.patch(place, json={"title": "x" * 201}), 422, "invalid")
    problem(client.http.patch(place, json={"title": "x", "model": "y"}), 422, "invalid")


def test_first_question_names_its_conversation(client: Client, worker: Worker) -> None:
    conversation = client.conversation()
    client.ended(client.ask("Why is  the\nsky blue?", conversation))
    shown = client.http.get(f"/api/conversations/{conversation}").json()
    assert shown["title"] == "Why is the sky blue?"


# --- deleting -------------------------------------------------------------------------------------


def _streams(urls: Sequence[str], answer: str) -> set[int]:
    """The status of each of an answer's streams, in every process of these masters."""
    found = set()
    for url in urls:
        for what in (answer, f"{answer}/blocks"):
            for _ in range(EVERY_PROCESS):
                with StreamConnection(url, what, after=None, last_id=None) as stream:
                    found.add(stream.status)
    return found


@pytest.mark.failure(37)
def test_deleted_answer_is_not_found_at_once_in_every_process_that_holds_it(
    client: Client, web: Web, other_web: Web, open_answer: Held
) -> None:
    urls = [web.url, other_web.url]
    assert _streams(urls, open_answer.id) == {200}  # it is in the memory of all of them now

    assert client.http.delete(f"/api/conversations/{open_answer.conversation}").is_success

    assert _streams(urls, open_answer.id) == {404}
    client.http.post(f"/api/conversations/{open_answer.conversation}/undelete")
    assert _streams(urls, open_answer.id) == {200}


@pytest.mark.parametrize("state", ["just asked", "ended"])
def test_deleted_answer_is_not_found_where_it_was_expected_or_has_ended(
    rig: Rig, client: Client, other_web: Web, worker: Worker, state: str
) -> None:
    """The process that takes a question holds its answer before any reader comes; one that has
    shown an end keeps it for a while."""
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


def test_keys_of_a_deleted_conversation_are_not_found(client: Client) -> None:
    key, question = new_id(), new_id()
    headers = {"Idempotency-Key": key}
    made = client.http.post("/api/conversations", json={}, headers=headers)
    assert made.status_code == 201
    place = made.json()["id"]
    assert client.post_question("Why?", place, question).status_code == 202

    client.http.delete(f"/api/conversations/{place}")

    problem(client.http.post("/api/conversations", json={}, headers=headers), 404, "not_found")
    problem(client.post_question("Why?", place, question), 404, "not_found")
    client.http.post(f"/api/conversations/{place}/undelete")
    again = client.http.post("/api/conversations", json={}, headers=headers)
    assert (again.status_code, again.json()["id"]) == (201, place)
    assert client.post_question("Why?", place, question).status_code == 202


@pytest.mark.failure(37)
def test_deletion_cancels_answers_and_ends_their_readers(
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
        problem(answer, 404, "not_found")
    first = client.http.get("/api/conversations").json()["items"]
    assert open_answer.conversation not in {item["id"] for item in first}


def _take_all(reading: Reading, connection: StreamConnection) -> None:
    for event in connection.events():
        reading.take(event)


# --- asking ---------------------------------------------------------------------------------------


def _quick(text: str = "An answer.") -> str:
    return script(say(text), finish(), usage(), done(), tag=new_id())


def test_question_is_accepted_with_both_messages(client: Client, worker: Worker) -> None:
    conversation, question = client.conversation(), _quick()
    accepted = client.post_question(question, conversation)

    assert accepted.status_code == 202
    body = accepted.json()
    assert set(body) == {"user", "assistant"}
    user, assistant = body["user"], body["assistant"]
    fields = {
        "id", "conversation_id", "parent_id", "continues_id", "role", "status", "text", "parts",
        "position", "length", "sha256", "model", "usage", "finish_reason", "error", "created_at",
        "started_at", "first_text_at", "thought_ms", "ended_at",
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


def test_open_answer_is_shown_as_far_as_published(client: Client, open_answer: Held) -> None:
    message = client.message(open_answer.id)
    assert (message["status"], message["text"]) == ("STREAMING", "So far")
    assert message["parts"] == [{"kind": "text", "text": "So far", "meta": None}]
    assert message["position"] == 6
    assert message["length"] is message["sha256"] is message["error"] is None


def test_stop_keeps_the_partial_and_may_be_repeated(client: Client, open_answer: Held) -> None:
    assert client.stop(open_answer.id)["id"] == open_answer.id
    ended = client.ended(open_answer.id)
    assert (ended["status"], ended["text"], ended["error"]) == ("CANCELLED", "So far", None)
    assert (ended["length"], ended["sha256"]) == proof("So far")
    assert client.stop(open_answer.id) == ended


def test_question_without_parent_is_asked_below_the_newest_answer(
    client: Client, worker: Worker
) -> None:
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


def test_parent_must_be_an_answer_of_the_conversation(client: Client, worker: Worker) -> None:
    elsewhere = client.ask(_quick())
    client.ended(elsewhere)
    conversation = client.conversation()
    asked = client.post_question(_quick(), conversation).json()
    client.ended(asked["assistant"]["id"])
    for parent in (elsewhere, STRANGER, asked["user"]["id"]):
        refused = client.post_question("x", conversation, parent_id=parent)
        problem(refused, 422, "invalid_parent")


def test_asking_below_an_open_answer_is_a_conflict(client: Client, open_answer: Held) -> None:
    for more in ({}, {"parent_id": open_answer.id}):
        refused = client.post_question("x", open_answer.conversation, **more)
        problem(refused, 409, "answer_open")
    for verb in ("retry", "continue"):
        refused = client.http.post(f"/api/messages/{open_answer.id}/{verb}")
        problem(refused, 409, "answer_open")
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
    problem(client.http.post(f"/api/messages/{complete}/continue"), 409, "complete")
    user = more.json()["user"]["id"]
    problem(client.http.post(f"/api/messages/{user}/retry"), 422, "not_an_answer")


def test_branch_is_the_path_to_its_leaf_with_siblings(client: Client, worker: Worker) -> None:
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
    problem(client.http.get(f"{place}?leaf={STRANGER}"), 404, "not_found")
    problem(client.http.get(f"{place}?leaf=banana"), 422, "invalid_leaf")


# --- what the provider gets -----------------------------------------------------------------------

BYTES = {
    "as it is": 'é 日本 \U0001f600 \u2028\u2029 \r\n\r \t \x01 \x7f \x85 \ufeff "\\" </script>',
    "with what cannot be stored": "a\x00b\ud800c\udfffd",
    "with a split pair": "\ud83d\ude00",
    "long": "0123456789" * 20_000,
}


@pytest.mark.parametrize("kind", BYTES)
def test_question_reaches_the_provider_byte_for_byte(
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


def test_prompt_is_the_path_with_partial_and_without_empty_answers(
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


# --- the same request again -----------------------------------------------------------------------


def test_repeated_key_gives_the_same_messages_as_they_are_now(
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


def test_key_of_another_request_is_refused(client: Client, worker: Worker) -> None:
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
        problem(refused, 422, "idempotency_key_reused")


@pytest.mark.failure(26)
def test_twenty_racing_requests_with_one_key_are_one_message_and_one_call(
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
def test_web_killed_between_commit_and_reply_has_asked_once(
    rig: Rig, client: Client, worker: Worker
) -> None:
    place, key = client.conversation(), new_id()
    question = script(say("Once."), finish(), done(), tag=f"dies {key}")
    with TcpProxy(rig.redis.url) as proxy, ThreadPoolExecutor(1) as pool:
        victim = rig.web(REDIS_URL=proxy.url)
        with killing(victim), Client(victim.url) as other, proxy.blocked():
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


# --- the stream -----------------------------------------------------------------------------------


def test_stream_is_neither_cached_nor_buffered(client: Client, worker: Worker) -> None:
    answer = client.ask(script(long(10), finish(), done()))
    client.ended(answer)
    headers = client.http.get(f"/api/messages/{answer}/stream").headers
    assert headers["content-type"] == EVENTS
    assert headers["cache-control"] == "no-cache, no-transform"
    assert headers["x-accel-buffering"] == "no"
