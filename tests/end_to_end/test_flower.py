"""Flower tells which answers are written and how they ended, and not a word of them."""

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from local.programs import Flower, Worker
from local.scripted import done, error_object, finish, hold, reasoning, say, script
from tests.client import Client, new_id
from tests.rig import Rig, eventually


@pytest.fixture(scope="module")
def flower(rig: Rig, long_lived_worker: Worker) -> Iterator[Flower]:
    """By the Procfile's line."""
    flower = rig.flower()
    with httpx2.Client(base_url=flower.url, timeout=10) as window:
        # It knows only what happens after it has begun to listen.
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


def test_flower_lists_a_task_by_its_message_and_tells_that_it_went_well(
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


def test_flower_shows_what_runs_now(
    flower: Flower, rig: Rig, client: Client, worker: Worker
) -> None:
    name = f"flower {new_id()}"
    answer = client.ask(script(say("so far"), hold(name), finish(), done()))
    client.shown(answer, 6)

    eventually(lambda: [t["state"] for t in _tasks(flower, answer).values()] == ["STARTED"])

    rig.scripted.release(name)
    assert _ended(flower, answer)["state"] == "SUCCESS"


def test_an_answer_that_ended_in_error_is_a_failed_task_with_its_code(
    flower: Flower, client: Client, worker: Worker
) -> None:
    answer = client.ask(script(say("half of"), error_object()))
    assert client.ended(answer)["error"]["code"] == "provider_error"

    task = _ended(flower, answer)

    assert task["state"] == "FAILURE"
    assert "provider_error" in task["exception"]
    assert task["args"] == f"['{answer}']"


def test_a_stopped_answer_is_no_failure(
    flower: Flower, rig: Rig, client: Client, worker: Worker
) -> None:
    answer = client.ask(script(say("so far"), hold(new_id()), finish(), done()))
    client.shown(answer, 6)
    client.stop(answer)
    assert client.ended(answer)["status"] == "CANCELLED"

    assert _ended(flower, answer)["state"] == "SUCCESS"


def test_flower_knows_no_word_of_a_conversation(
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
