"""The queue on a real Redis: what a task costs, and that it is what Celery would have sent."""

import base64
import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery

from shared.jobs import QUEUE, Queue, make_app
from shared.queue_entries import TASK, TITLE_TASK
from shared.settings import Settings
from tests.rig import Rig
from tests.store_fixtures import OURS, Store


@pytest.fixture
def app(rig: Rig, store: Store) -> Iterator[Celery]:
    """A Celery app on this test's Redis."""
    app = make_app(Settings.model_validate({"REDIS_URL": rig.redis.url.removesuffix("/0") + OURS}))
    yield app
    app.close()


def _commands(store: Store) -> dict[str, int]:
    """Commands of the queue since the last call, by name."""
    found: dict[str, dict[str, Any]] = store.redis.info("commandstats")
    store.redis.config_resetstat()
    ignored = {"info", "config|resetstat", "client|setinfo", "client|setname", "select", "ping"}
    names = {name.removeprefix("cmdstat_"): one["calls"] for name, one in found.items()}
    return {name: calls for name, calls in names.items() if name not in ignored}


def test_enqueue_is_one_lpush_and_consume_one_brpop(app: Celery, store: Store) -> None:
    queue, taken = Queue(app), []
    queue.warm()
    assert queue.enqueue(uuid.uuid4())
    message_id = uuid.uuid4()
    with app.connection_for_read() as connection:
        consumer = app.amqp.TaskConsumer(connection.channel())
        consumer.register_callback(lambda _, message: taken.append(message))
        consumer.consume()
        while not taken:
            connection.drain_events(timeout=5)
        _commands(store)

        assert queue.enqueue(message_id)
        while len(taken) < 2:
            connection.drain_events(timeout=5)
        for message in taken:
            message.ack()

        commands = _commands(store)
    assert taken[1].headers["task"] == TASK
    assert taken[1].headers["id"].startswith(str(message_id))
    assert commands["lpush"] == 1
    assert set(commands) <= {"lpush", "brpop"}
    assert not store.redis.exists(QUEUE, "unacked", "unacked_index")


def _newest(store: Store) -> dict[str, Any]:
    """The newest message in the queue, its body as it was before it was wrapped."""
    [text] = store.redis.lrange(QUEUE, 0, 0)
    message: dict[str, Any] = json.loads(text)
    assert message["properties"]["body_encoding"] == "base64"
    return {**message, "body": json.loads(base64.b64decode(message["body"]))}


@pytest.mark.parametrize("task", [TASK, TITLE_TASK])
def test_a_task_is_what_celery_itself_would_send(app: Celery, store: Store, task: str) -> None:
    queue, message_id = Queue(app), uuid.uuid4()
    assert queue.enqueue_title(message_id) if task == TITLE_TASK else queue.enqueue(message_id)
    ours = _newest(store)

    app.send_task(task, [str(message_id)], task_id=ours["headers"]["id"], ignore_result=True)

    theirs = _newest(store)
    tags = [entry["properties"].pop("delivery_tag") for entry in (ours, theirs)]
    assert len(set(tags)) == 2
    assert ours == theirs
    assert ours["body"][0] == [str(message_id)]
