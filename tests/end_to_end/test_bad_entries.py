"""Bad entries in the queue and on Celery's channels delay no question and end no worker."""

import base64
import json
import pickle
import re
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import redis

from local.programs import Worker
from scripted import done, finish, hold, say, script
from shared.jobs import Queue, make_app
from shared.queue_entries import TASK
from shared.settings import Settings
from tests.client import Client, new_id
from tests.rig import Rig, eventually
from tests.stories import holding, only_request


def _bad(rig: Rig, secret: str) -> list[bytes]:
    """Entries of many kinds; those with room for it contain the secret."""
    settings = Settings.model_validate({"REDIS_URL": rig.redis.url})
    whole = json.loads(Queue(make_app(settings))._template(TASK).render(secret, secret))
    lost = [{name: value for name, value in whole.items() if name != gone} for gone in whole]
    values: tuple[Any, ...] = (None, 5, [], secret)
    odd = [whole | {name: value} for name in whole for value in values]
    odd += [whole | {"headers": whole["headers"] | {"task": name}} for name in (secret, 5, None)]
    odd += [whole | {"content-type": "application/x-python-serialize", "body": secret}]
    return [
        b"x",
        secret.encode(),
        b"5",
        b"[]",
        b"{}",
        b"\xff\xfe",
        b"\x80\x04\x95",
        b"[" * 5000,
        json.dumps([secret]).encode(),
        b'{"body": "' + b"x" * (20 << 20) + b'"}',
        *(json.dumps(entry).encode() for entry in (whole, *lost, *odd)),
    ]


@pytest.mark.failure(57)
def test_bad_queue_entries_are_dropped_and_counted_and_delay_no_question(
    rig: Rig, client: Client, worker: Worker
) -> None:
    worker.kill()  # whatever earlier tests did to it, this one asks for remote control
    worker.start().wait()
    secret, name, pid = f"canary-{new_id()}", f"held {new_id()}", worker.pid
    running = client.ask(script(say("so far"), hold(name), say(" and on"), finish(), done()))
    client.shown(running, 6)
    before = _dropped(client)
    bad = _bad(rig, secret)
    topics = ("/0.outlive.pidbox", "/0.outlive.events/worker.heartbeat")

    with redis.Redis.from_url(rig.redis.url) as server:
        for entry in bad:
            server.lpush("outlive", entry)
        for topic in topics:
            for entry in bad:
                server.publish(topic, entry)
    answer = client.ask(script(say("all is well"), finish(), done()))

    # A worker that was shutting down would take no question while it writes the other one.
    assert client.ended(answer)["status"] == "DONE"
    rig.scripted.release(name)
    assert client.ended(running)["text"] == "so far and on"
    assert (worker.alive(), worker.pid) == (True, pid)
    assert _dropped(client) - before >= len(bad)
    log = (rig.home / "log" / "worker.log").read_text()
    assert "bad entry dropped: too large, 20971532 bytes" in log
    assert secret not in log
    # It still obeys remote control.
    settings = Settings.model_validate({"REDIS_URL": rig.redis.url})
    eventually(lambda: make_app(settings).control.inspect(timeout=1).ping())


def _dropped(client: Client) -> float:
    text = client.http.get("/metrics").text
    found = re.findall(r"^outlive_bad_entries_total\{.*\} (\S+)$", text, re.MULTILINE)
    return sum(map(float, found))


def test_a_task_for_an_unknown_message_is_ignored(rig: Rig, client: Client, worker: Worker) -> None:
    queue = Queue(make_app(Settings.model_validate({"REDIS_URL": rig.redis.url})))
    for _ in range(3):
        assert queue.enqueue(UUID(new_id()))

    answer = client.ask(script(say("still here"), finish(), done()))

    assert client.ended(answer)["text"] == "still here"


class _Touches:
    """What makes a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.file,))


_ODD: tuple[Any, ...] = (1, 1.5, None, True, "", [], {})


def test_forged_tasks_do_nothing(rig: Rig, client: Client, worker: Worker, tmp_path: Path) -> None:
    settings = Settings.model_validate({"REDIS_URL": rig.redis.url})
    template = Queue(make_app(settings))._template(TASK)
    pickled, marker = pickle.dumps([[_Touches(tmp_path / "ran")], {}, {}]), tmp_path / "ran"
    ended = client.ask(script(say("as it was"), finish(), done()))
    before = client.ended(ended)

    def forged(body: Any, **changes: Any) -> str:
        entry = json.loads(template.render(new_id(), new_id()))
        entry["body"] = base64.b64encode(
            body if isinstance(body, bytes) else json.dumps(body).encode()
        ).decode()
        return json.dumps(entry | changes)

    python = {"content-type": "application/x-python-serialize", "content-encoding": "binary"}
    with holding(rig, client, say("so far"), say(" and on"), finish(), done()) as held:
        genuine = template.render(held.id, held.id)
        with redis.Redis.from_url(rig.redis.url) as server:
            for entry in (
                forged(pickled, **python),
                forged(pickled),
                forged([[ended], {}, {}]),  # whose end nothing may change
                *[forged([[new_id()], {}, {}]) for _ in range(20)],
                *[forged([[odd], {}, {}]) for odd in _ODD],
                forged([[[held.id]], {}, {}]),
                forged([["x" * 1_000_000], {}, {}]),
                forged([[held.id], {"embed": "x" * 1_000_000}, {}]),
                *[genuine] * 50,  # of an answer that is being written
            ):
                server.lpush("outlive", entry)
            server.publish("/0.outlive.pidbox", forged(pickled, **python))
            eventually(lambda: server.llen("outlive") == 0)
        held.go_on()
        assert client.ended(held.id)["text"] == "so far and on"

    assert not marker.exists()
    assert client.message(ended) == before
    only_request(rig, held.question)
    pickle.loads(pickled)
    assert marker.exists()  # so it was a real one
