"""Flower shows which answers are written and how they ended, and no text of them."""

import json
import os
import subprocess
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from local.programs import Flower, Worker
from scripted import done, error_object, finish, hold, reasoning, say, script
from tests.client import Client, new_id
from tests.rig import Rig, eventually


@pytest.fixture(scope="module")
def flower(rig: Rig, worker_of_file: Worker) -> Iterator[Flower]:
    """Flower, started by the Procfile's line."""
    if not worker_of_file.alive():  # a story before this one has killed it
        worker_of_file.start().wait()
    flower = rig.flower()
    with httpx2.Client(base_url=flower.url, timeout=10) as window:
        # It knows only what happens after it has subscribed.
        eventually(lambda: window.get("/api/workers", params={"refresh": 1}).json())
    yield flower
    flower.kill()


def _tasks(flower: Flower, message_id: str) -> dict[str, Any]:
    with httpx2.Client(base_url=flower.url, timeout=10) as window:
        tasks = dict(window.get("/api/tasks").json())
    return {name: task for name, task in tasks.items() if message_id in name}


def _ended(flower: Flower, message_id: str) -> dict[str, Any]:
    """The one task of a message, once it has ended."""

    def task() -> dict[str, Any] | None:
        tasks = _tasks(flower, message_id)
        assert len(tasks) <= 1
        [found] = tasks.values() or [None]
        return found if found and found["state"] in ("SUCCESS", "FAILURE") else None

    eventually(task)
    return task() or {}


def test_flower_shows_an_answer_as_a_succeeded_task_named_by_its_message(
    flower: Flower, client: Client, worker: Worker
) -> None:
    answer = client.ask(script(say("all is well"), finish(), done()))
    client.ended(answer)

    task = _ended(flower, answer)

    assert task["state"] == "SUCCESS"
    assert task["name"] == "outlive.generate"
    assert task["uuid"].startswith(f"{answer}.")
    assert task["args"] == f"['{answer}']"
    assert task["kwargs"] == "{}"


def test_flower_shows_running_answers_as_started(
    flower: Flower, rig: Rig, client: Client, worker: Worker
) -> None:
    name = f"flower {new_id()}"
    answer = client.ask(script(say("so far"), hold(name), finish(), done()))
    client.shown(answer, 6)

    eventually(lambda: [t["state"] for t in _tasks(flower, answer).values()] == ["STARTED"])

    rig.scripted.release(name)
    assert _ended(flower, answer)["state"] == "SUCCESS"


def test_flower_shows_an_answer_that_ended_in_error_as_failed_with_its_code(
    flower: Flower, client: Client, worker: Worker
) -> None:
    answer = client.ask(script(say("half of"), error_object()))
    assert client.ended(answer)["error"]["code"] == "provider_error"

    task = _ended(flower, answer)

    assert task["state"] == "FAILURE"
    assert "provider_error" in task["exception"]
    assert task["args"] == f"['{answer}']"


def test_flower_shows_a_stopped_answer_as_succeeded(
    flower: Flower, rig: Rig, client: Client, worker: Worker
) -> None:
    answer = client.ask(script(say("so far"), hold(new_id()), finish(), done()))
    client.shown(answer, 6)
    client.stop(answer)
    assert client.ended(answer)["status"] == "CANCELLED"

    assert _ended(flower, answer)["state"] == "SUCCESS"


def test_flower_shows_no_text_of_a_conversation(
    flower: Flower, client: Client, worker: Worker
) -> None:
    canary = f"canary-{new_id()}"
    conversation = client.conversation(title=f"title {canary}", system=f"system {canary}")
    says = [reasoning(f"think {canary}"), say(f"say {canary}")]
    good = client.ask(script(*says, finish(), done()), conversation)
    client.ended(good)
    bad = client.ask(script(*says, error_object({"message": canary})), conversation)
    client.ended(bad)
    tasks = [_ended(flower, good), _ended(flower, bad)]
    pages = ["/", "/tasks", "/broker", *(f"/task/{task['uuid']}" for task in tasks)]

    with httpx2.Client(base_url=flower.url, timeout=10) as window:
        shown = "".join(window.get(page).text for page in pages)
        shown += "".join(window.get(f"/api/task/info/{task['uuid']}").text for task in tasks)

    assert good in shown
    assert bad in shown
    assert canary not in shown + json.dumps(tasks)


# --- refused requests ----------------------------------------------------------------------------

#: What a foreign page can ask for, by method and path; `{}` is a worker, a task or a queue.
ASKED = (
    ("GET", "/"),
    ("GET", "/tasks"),
    ("GET", "/broker"),
    ("GET", "/metrics"),
    ("GET", "/api/workers"),
    ("GET", "/api/tasks"),
    ("GET", "/api/queues/length"),
    ("POST", "/api/worker/queue/cancel-consumer/{}?queue=outlive"),
    ("POST", "/api/worker/queue/add-consumer/{}?queue=other"),
    ("POST", "/api/worker/shutdown/{}"),
    ("POST", "/api/worker/pool/shrink/{}?n=1"),
    ("POST", "/api/task/revoke/{}?terminate=true"),
    ("POST", "/api/task/send-task/outlive.generate"),
    ("POST", "/api/task/async-apply/outlive.generate"),
    ("GET", "/tasks/datatable"),
    ("GET", "/nothing"),
    ("OPTIONS", "/api/workers"),
    ("DELETE", "/api/workers"),
)
FOREIGN: tuple[dict[str, str], ...] = (
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://localhost:1"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
    {"Sec-Fetch-Site": "cross-site", "Upgrade": "websocket", "Connection": "upgrade"},
)
NAMES = (
    "evil.example",
    "a.localhost",
    "localhost.",
    "127.0.0.1.evil.example",
    "",
    "[::ffff:7f00:1]",
)


def _statuses(flower: Flower, url: str, headers: dict[str, str]) -> set[int]:
    """What all of it is answered with; nothing is readable from elsewhere."""
    name = f"outlive-{flower.boot[:8]}@vm"
    found = set()
    with httpx2.Client(base_url=url, timeout=10) as window:
        for method, path in ASKED:
            answer = window.request(method, path.format(name), headers=headers, content=b"x")
            assert not [name for name in answer.headers if name.startswith("access-control")]
            found.add(answer.status_code)
    return found


@pytest.mark.failure(58)
def test_flower_refuses_requests_without_its_credentials(flower: Flower) -> None:
    wrong = f"http://operator:wrong@127.0.0.1:{flower.port}"
    assert _statuses(flower, flower.address, {}) == {401}
    assert _statuses(flower, wrong, {}) == {401}
    for header in ("Basic", "Basic !", "Basic /w==", "Bearer x", "Basic b3BlcmF0b3I6"):
        with httpx2.Client(base_url=flower.address) as window:
            answer = window.get("/api/workers", headers={"Authorization": header})
            assert (answer.status_code, header) == (401, header)
    assert httpx2.get(f"{flower.address}/healthcheck").text == "OK"


@pytest.mark.failure(58)
@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_flower_refuses_requests_from_other_sites_even_with_credentials(
    flower: Flower, headers: dict[str, str]
) -> None:
    assert _statuses(flower, flower.url, headers) == {403}


@pytest.mark.parametrize("host", NAMES)
def test_flower_answers_to_its_own_name_only(flower: Flower, host: str) -> None:
    assert _statuses(flower, flower.url, {"Host": host}) <= {400, 403}


def test_the_sign_in_link_sets_a_session_cookie(flower: Flower) -> None:
    with httpx2.Client(base_url=flower.address) as browser:
        wrong = browser.get("/sign-in", params={"token": "x" * 64})
        assert (wrong.status_code, list(wrong.cookies)) == (401, [])

        answer = browser.get(flower.link)

        assert (answer.status_code, answer.headers["Location"]) == (303, "/")
        cookie = answer.headers["Set-Cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        secret = flower.credential.partition(":")[2]
        assert secret not in cookie + flower.link
        assert browser.get("/").status_code == 200
        assert browser.get("/api/workers", params={"refresh": 1}).json()
        # Which no other site's page can use.
        for headers in FOREIGN:
            assert browser.get("/api/workers", headers=headers).status_code == 403
        # From a page of another name, such as localhost, a link is followed in two steps.
        followed = {
            "Sec-Fetch-Site": "cross-site",
            "Sec-Fetch-Mode": "navigate",
            "Sec-Fetch-Dest": "document",
        }
        assert 'url=/"' in browser.get(flower.link, headers=followed).text


def test_flower_sends_security_headers(flower: Flower) -> None:
    with httpx2.Client(base_url=flower.url) as window:
        for path in ("/", "/api/workers", "/static/css/flower.css", "/nothing", "/healthcheck"):
            headers = window.get(path).headers
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
            assert headers["Referrer-Policy"] == "no-referrer"


def test_a_request_cannot_forge_lines_in_flowers_log(flower: Flower, rig: Rig) -> None:
    tag = new_id()
    with httpx2.Client(base_url=flower.url) as window:
        for path in ("/worker/", "/task/", "/api/task/info/", "/api/worker/shutdown/"):
            method = "POST" if "shutdown" in path else "GET"
            window.request(method, f"{path}{tag}%0aFORGED%1b%5b31m")
    log = rig.home / "log" / "flower.log"
    eventually(lambda: tag in log.read_text())
    lines = log.read_text().split("\n")
    assert all(line.isprintable() for line in lines)
    assert not [line for line in lines if line.startswith("FORGED")]


def test_flower_does_not_start_without_credentials(rig: Rig) -> None:
    env = {**os.environ, **rig.env()}
    done_ = subprocess.run(
        [*rig.procfile["flower"], "--port=0"],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done_.returncode == 1
    assert "FLOWER_BASIC_AUTH" in done_.stderr
