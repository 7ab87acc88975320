"""What a dead worker cannot report, the sweep that ends its answers reports to Flower."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import httpx2
import pytest

from local.programs import Flower, Worker
from scripted import done, finish, hold, say, script
from shared.jobs import Queue, make_app
from shared.settings import Settings
from tests.client import Client, new_id
from tests.rig import Rig, eventually, killing
from tests.stories import start_worker, sweep


@pytest.fixture
def window(rig: Rig, no_workers: None) -> Iterator[httpx2.Client]:
    """Flower, which has listened before anything happens, and to no worker of an earlier story."""
    flower: Flower = rig.flower()
    with httpx2.Client(base_url=flower.url, timeout=10) as window:
        yield window
    flower.kill()


def _listens(window: httpx2.Client, worker: Worker) -> None:
    """Wait until Flower knows the worker."""
    eventually(lambda: _workers(window).get(_node(worker)))


def _node(worker: Worker) -> str:
    return f"outlive-{worker.boot[:8]}"


def _workers(window: httpx2.Client) -> dict[str, bool]:
    """Which workers there are, and whether they are online."""
    shown = window.get("/workers", params={"json": 1}).json()["data"]
    return {one["hostname"].partition("@")[0]: bool(one["status"]) for one in shown}


def _task(window: httpx2.Client, message_id: str) -> dict[str, Any]:
    """The one task of a message."""
    tasks = dict(window.get("/api/tasks").json())
    found = [task for name, task in tasks.items() if message_id in name]
    assert len(found) <= 1
    return dict(found[0]) if found else {"state": None}


def _becomes(window: httpx2.Client, message_id: str, state: str) -> dict[str, Any]:
    eventually(lambda: _task(window, message_id)["state"] == state)
    return _task(window, message_id)


@pytest.mark.failure(60)
def test_flower_shows_the_task_of_a_killed_worker_as_failed_and_it_as_offline(
    rig: Rig, client: Client, window: httpx2.Client
) -> None:
    worker = start_worker(rig).wait()
    with killing(worker):
        _listens(window, worker)
        answer = client.ask(script(say("half of it"), hold(new_id()), finish(), done()))
        client.shown(answer, 10)
        _becomes(window, answer, "STARTED")

        worker.kill()
        sweep(rig, died=worker.boot)

    assert client.ended(answer)["error"]["code"] == "worker_lost"
    task = _becomes(window, answer, "FAILURE")
    assert "worker_lost" in task["exception"]
    assert task["worker"].startswith(_node(worker))
    assert task["args"] == f"['{answer}']"
    eventually(lambda: _workers(window)[_node(worker)] is False)
    # The sweep that reported it is not shown as a worker.
    assert set(_workers(window)) == {_node(worker)}


@pytest.mark.failure(60)
def test_flower_shows_an_answer_that_begins_again_as_one_retried_task(
    rig: Rig, client: Client, window: httpx2.Client
) -> None:
    name = f"flower {new_id()}"
    first = start_worker(rig).wait()
    with killing(first):
        _listens(window, first)
        answer = client.ask(script(hold(name), say("at last"), finish(), done()))
        _becomes(window, answer, "STARTED")
        eventually(lambda: client.message(answer)["status"] == "STREAMING")

        first.kill()
        sweep(rig, died=first.boot)

    _becomes(window, answer, "RETRY")
    second = start_worker(rig).wait()
    with killing(second):
        _listens(window, second)
        rig.scripted.release(name)
        assert client.ended(answer)["text"] == "at last"
        task = _becomes(window, answer, "SUCCESS")
        assert task["worker"].startswith(_node(second))
        assert _workers(window)[_node(first)] is False


def test_flower_shows_a_task_that_is_delivered_twice_once(
    rig: Rig, client: Client, window: httpx2.Client
) -> None:
    name = f"flower {new_id()}"
    worker = start_worker(rig).wait()
    with killing(worker):
        _listens(window, worker)
        answer = client.ask(script(say("so far"), hold(name), finish(), done()))
        client.shown(answer, 6)
        _becomes(window, answer, "STARTED")
        _again(rig, answer)
        other = client.ask(script(say("after it"), finish(), done()))
        client.ended(other)
        _becomes(window, other, "SUCCESS")

        assert _task(window, answer)["state"] == "STARTED"

        rig.scripted.release(name)
        _becomes(window, answer, "SUCCESS")


def _again(rig: Rig, message_id: str) -> None:
    """Enqueue a message once more, as a sweep does that believes its task lost."""
    queue = Queue(make_app(Settings.model_validate({"REDIS_URL": rig.redis.url})))
    assert queue.enqueue(UUID(message_id))
