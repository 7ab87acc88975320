"""Clients that leave, under each policy of Outlive-On-Disconnect: what goes on, what is stopped.

ABANDONED_REQUESTS=1000 ./outlive test tests/end_to_end/test_abandonment.py -s
"""

import json
import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, Final

import httpx2
import pytest
import redis

import scripted
from local.programs import Web, Worker
from scripted import Record, done, finish, hold, long, say, script, usage
from shared.store.abandonment import GRACE, LEASE
from tests.client import Client, new_id
from tests.credentials import new_key, operate
from tests.rig import Rig, eventually, killing
from tests.stories import NEVER

#: Requests of the run with random moments, under each policy.
REQUESTS: Final = int(os.environ.get("ABANDONED_REQUESTS", "8"))
#: Clients at a time.
CLIENTS: Final = 24
#: Seconds that an answer takes, and after which a policy of the run stops it.
SECONDS: Final = 4.0
AFTER: Final = 1.0
#: Seconds between two sweeps of a worker; and that all else may take on a busy machine: to notice
#: that a client has left, and to have the worker close its request.
SWEEP: Final = 2.0
SLACK: Final = 3.0


@pytest.fixture(autouse=True)
def believed(rig: Rig, web: Web, worker: Worker) -> None:
    """Postgres has been there for so long that a process could have renewed."""
    since = "SELECT since < clock_timestamp() - make_interval(secs => :s) AS is_old FROM uptime"
    eventually(lambda: any(row.is_old for row in rig.rows(since, s=GRACE + 1)), 60)


@contextmanager
def asked(
    web: Web, question: str, policy: str | None, *, chat: bool = False, key: str | None = None
) -> Iterator[httpx2.Response]:
    """The stream that answers a question; it is read for as long as the block lasts."""
    headers = {"Accept": "text/event-stream"}
    if policy is not None:
        headers["Outlive-On-Disconnect"] = policy
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    with httpx2.Client(base_url=web.url, timeout=30, verify=False, headers=headers) as http:
        if chat:
            path, body = "/v1/chat/completions", chat_body(question, stream=True)
        else:
            place = http.post("/api/conversations", json={}).json()["id"]
            path, body = f"/api/conversations/{place}/messages", {"content": question}
        with http.stream("POST", path, json=body) as response:
            assert response.status_code == 200, response.read()
            yield response


def chat_body(question: str, *, stream: bool) -> dict[str, Any]:
    messages = [{"role": "user", "content": question}]
    return {"model": "scripted", "stream": stream, "messages": messages}


def id_of(response: httpx2.Response) -> str:
    return str(response.headers["Outlive-Message-Id"])


def held(tag: str) -> str:
    """A question whose answer begins and never ends by itself."""
    return script(say("The sky "), hold(NEVER + tag), finish(), usage(), done(), tag=tag)


def begin(response: httpx2.Response) -> None:
    """Read until the text has begun."""
    for line in response.iter_lines():
        if "The sky" in line:
            return


def record_of(rig: Rig, tag: str, *, ended: bool) -> Record:
    [record] = rig.scripted.wait_requests(1, contains=f'"tag":"{tag}"', ended=ended)
    return record


def goes_on(client: Client, answer: str, seconds: float = 1.0) -> bool:
    time.sleep(seconds)
    return bool(client.message(answer)["status"] == "STREAMING")


# --- one by one -----------------------------------------------------------------------------------


@pytest.mark.parametrize("chat", [False, True])
def test_stop_ends_the_request_as_soon_as_its_reader_leaves(
    rig: Rig, web: Web, client: Client, chat: bool
) -> None:
    tag = new_id()
    with asked(web, held(tag), "stop", chat=chat) as response:
        begin(response)
    left = time.monotonic()

    record = record_of(rig, tag, ended=True)
    message = client.ended(id_of(response))

    # It is silent, so that no write tells that the client has left.
    heartbeat = 15 / 5
    assert record.closed_at is not None
    assert record.closed_at - left < heartbeat + SLACK
    assert (message["status"], message["text"]) == ("CANCELLED", "The sky ")
    assert message["usage"]["source"] == "estimated"
    assert rig.rows("SELECT FROM message_readers WHERE message_id = :id", id=message["id"]) == []


def test_a_client_that_waits_for_the_whole_answer_is_a_reader(
    rig: Rig, web: Web, client: Client
) -> None:
    tag = new_id()
    headers = {"Outlive-On-Disconnect": "stop"}
    with httpx2.Client(base_url=web.url, timeout=3, headers=headers, verify=False) as http:
        with pytest.raises(httpx2.ReadTimeout):
            http.post("/v1/chat/completions", json=chat_body(held(tag), stream=False))
        left = time.monotonic()

        record = record_of(rig, tag, ended=True)

    assert record.ended == "client_closed"
    assert record.closed_at is not None
    assert -0.1 < record.closed_at - left < SLACK


def test_readers_of_other_dialects_and_processes_count(
    rig: Rig, web: Web, other_web: Web, client: Client
) -> None:
    tag = new_id()
    with asked(web, held(tag), "stop", chat=True) as response:
        begin(response)
        answer = id_of(response)
        other = client.read(answer, other_web.url)
        stream = other.open()
    with stream:
        assert goes_on(client, answer)
        # One who comes and goes changes nothing.
        client.read(answer).open().socket.close()
        assert goes_on(client, answer)

    assert client.ended(answer)["status"] == "CANCELLED"
    assert record_of(rig, tag, ended=True).ended == "client_closed"


def test_who_comes_back_in_time_keeps_it(rig: Rig, web: Web, client: Client) -> None:
    tag = new_id()
    with asked(web, held(tag), "stop-after=2") as response:
        begin(response)
        answer = id_of(response)
    time.sleep(1)
    with client.read(answer).open():
        assert goes_on(client, answer, 2 + SWEEP)
    left = time.monotonic()

    record = record_of(rig, tag, ended=True)
    assert record.closed_at is not None
    assert 2 <= record.closed_at - left < 2 + SWEEP + 3 + SLACK


def test_continue_goes_on_and_a_wrong_policy_is_refused(rig: Rig, web: Web, client: Client) -> None:
    tag = new_id()
    with asked(web, held(tag), "continue") as response:
        begin(response)
    assert goes_on(client, id_of(response))
    rig.scripted.release(NEVER + tag)
    assert client.ended(id_of(response))["status"] == "DONE"

    wrong = {"Outlive-On-Disconnect": "perhaps"}
    place = client.conversation()
    path = f"/api/conversations/{place}/messages"
    refused = client.http.post(path, json={"content": "Why?"}, headers=wrong)
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid")
    assert "stop-after=SECONDS" in refused.json()["detail"]
    refused = client.http.post(
        "/v1/chat/completions", json=chat_body("Why?", stream=False), headers=wrong
    )
    assert refused.status_code == 400


def test_a_service_key_may_say_so_for_all_its_answers(
    rig: Rig, required_web: Web, worker: Worker
) -> None:
    key, _ = new_key(rig, "ask", "--on-disconnect", "stop")
    tag = new_id()
    with asked(required_web, held(tag), None, chat=True, key=key) as response:
        begin(response)

    assert record_of(rig, tag, ended=True).ended == "client_closed"
    listed = json.loads(operate(rig, "key", "list", "--json").stdout)
    assert "stop" in {one["on_disconnect"] for one in listed}
    wrong = operate(rig, "key", "add", "x", "--scope", "ask", "--on-disconnect", "perhaps")
    assert wrong.exit_code == 2


def test_a_killed_web_process_and_an_emptied_redis_change_nothing(
    rig: Rig, web: Web, client: Client
) -> None:
    tags = [new_id(), new_id()]
    dying = rig.new_web(WEB_CONCURRENCY="1").start()
    with killing(dying):
        dying.wait()
        with (
            asked(dying, held(tags[0]), "stop") as left_alone,
            asked(dying, held(tags[1]), "stop") as read_elsewhere,
        ):
            begin(left_alone)
            begin(read_elsewhere)
            alone, elsewhere = id_of(left_alone), id_of(read_elsewhere)
            stream = client.read(elsewhere).open()
            with closing(redis.Redis.from_url(rig.redis.url)) as server:
                server.flushall()
            dying.kill()
            killed = time.monotonic()
    with stream:
        record = record_of(rig, tags[0], ended=True)
        assert record.closed_at is not None
        assert record.closed_at - killed < LEASE + SWEEP + SLACK
        assert client.ended(alone)["status"] == "CANCELLED"
        assert goes_on(client, elsewhere)
    assert client.ended(elsewhere)["status"] == "CANCELLED"


# --- many, at random moments ----------------------------------------------------------------------


@dataclass
class Left:
    """A request whose client has left."""

    policy: str
    answer: str
    question: str
    tag: str
    #: monotonic seconds
    left: float
    #: it had read the end
    whole: bool


def ask_and_go(web: Web, policy: str, number: int) -> Left:
    """Ask in some dialect, and leave at a random moment."""
    tag, dialect = new_id(), number % 3
    steps = long(720, rate=180, chunk=(3, 9), seed=number), finish(), usage(), done()
    question = script(*steps, tag=tag)
    leaving = time.monotonic() + random.uniform(0.2, SECONDS + 1)
    whole = False
    if dialect == 2:
        headers = {"Outlive-On-Disconnect": policy, "Idempotency-Key": tag}
        timeout = httpx2.Timeout(30, read=max(0.1, leaving - time.monotonic()))
        with httpx2.Client(base_url=web.url, headers=headers, timeout=timeout, verify=False) as one:
            try:
                body = chat_body(question, stream=False)
                response = one.post("/v1/chat/completions", json=body)
                answer, whole = id_of(response), True
            except httpx2.ReadTimeout:
                answer = ""
        left = time.monotonic()
    else:
        with asked(web, question, policy, chat=dialect == 1) as response:
            answer = id_of(response)
            for line in response.iter_lines():
                whole = whole or line.startswith(("event: end", "data: [DONE]"))
                if time.monotonic() > leaving:
                    break
        left = time.monotonic()
    return Left(policy, answer, question, tag, left, whole)


def test_requests_end_exactly_when_their_policy_says(rig: Rig, web: Web, client: Client) -> None:
    policies = {"continue": None, "stop": 0.0, f"stop-after={AFTER}": AFTER}
    wanted = [(policy, number) for number in range(REQUESTS) for policy in policies]
    with ThreadPoolExecutor(CLIENTS) as pool:
        found = list(pool.map(lambda one: ask_and_go(web, *one), wanted))

    late: Counter[str] = Counter()
    slowest: dict[str, float] = {}
    stopped: Counter[str] = Counter()
    for one in found:
        record = record_of(rig, one.tag, ended=True)
        assert record.closed_at is not None
        seconds, text = policies[one.policy], scripted.expected(one.question).text
        if one.answer:
            message = client.ended(one.answer)
            assert message["text"] == text[: len(message["text"])]
            assert (message["status"] == "CANCELLED") == (record.ended == "client_closed"), one
            assert message["status"] in ("DONE", "CANCELLED")
            assert message["usage"] is not None
        if seconds is None or one.whole:
            assert record.ended == "whole", one
            continue
        after = record.closed_at - one.left
        if record.ended == "whole":  # it was nearly written, or the worker had read all of it
            assert after < seconds + (SWEEP if seconds else 0) + SLACK, one
            continue
        stopped[one.policy] += 1
        slowest[one.policy] = max(slowest.get(one.policy, 0.0), after - seconds)
        # Not before, and then soon.
        assert after > seconds - 0.1, one
        if after > seconds + (SWEEP if seconds else 0) + SLACK:
            late[one.policy] += 1
    print(json.dumps({"requests": len(found), "stopped": stopped, "slowest": slowest}))
    assert not late, slowest
    assert all(stopped[policy] for policy, seconds in policies.items() if seconds is not None)
