"""The Celery app, and the only way to put work on its queue.

Celery carries a message's id to a worker and shows the work in Flower. It carries no promise: that
is the lease in Postgres and the sweep. So there are no acknowledgements, no results and no retries,
and the id is a task's only argument. (Why: docs/decisions/celery-carries-the-id.md.)

Enqueueing is one LPUSH, of a message that Celery made once and in which ids are filled in. Celery's
own `send_task`, over a kept connection, takes 380 to 410 us of CPU for each task where this takes
90 to 100 us (medians of nine times 1,000, interleaved, twice). The 300 us are 16 % of what web
spends on a question (1,810 us with ours), which is why this code is here.

If Redis fails, `enqueue` returns False within ENQUEUE_SECONDS. The question is in Postgres, and a
sweep dispatches it. (The entries as workers read them: `queue_entries`. The transport: `broker`.)
"""

import base64
import json
import logging
import uuid
from contextlib import suppress
from typing import Any, Final, NamedTuple

from celery import Celery
from kombu.connection import Connection
from kombu.entity import Exchange
from kombu.entity import Queue as QueueDeclaration

from shared.broker import EagerConnection
from shared.bus.connection import QueueConnection
from shared.errors import GenerationFailed, RedisDown
from shared.queue_entries import TASK, TITLE_TASK
from shared.settings import Settings
from shared.store.ending import Ending

#: The default prefix, which is also the queue's name.
QUEUE: Final = "outlive"

#: Seconds that enqueueing may take.
ENQUEUE_SECONDS: Final = 1.5
#: The gaps of a task template.
_ID, _TASK_ID, _TAG, _BODY = (f"<outlive-{gap}>" for gap in ("id", "task", "tag", "body"))

logger = logging.getLogger(__name__)


def make_app(settings: Settings, timeout: float = 5.0) -> Celery:
    """A Celery app for this process; nothing connects yet.

    `timeout`: seconds that a call to Redis may take. A worker waits for work in such calls, so it
    needs more than a process that only enqueues while a person waits.
    """
    app = Celery("outlive", broker=settings.redis_url, set_as_current=False)
    queue = settings.prefix
    app.conf.update(
        task_default_queue=queue,
        # Messages among Celery's processes, and to Flower: each deployment has its own.
        control_exchange=queue,
        event_exchange=f"{queue}.events",
        event_queue_prefix=f"{queue}.events",
        # Nothing is acknowledged: under gevent a lost task never comes back anyway, a late
        # acknowledgement makes a healthy long task run twice, an early one costs four commands.
        task_queues=[QueueDeclaration(queue, Exchange(queue), routing_key=queue, no_ack=True)],  # type: ignore[no-untyped-call]
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        result_backend=None,
        result_backend_thread_safe=True,  # else each greenlet makes a backend that is never used
        worker_prefetch_multiplier=1,
        worker_concurrency=settings.worker_concurrency,
        worker_send_task_events=True,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # A Redis that refuses (out of memory, read-only) counts as down. By default Celery ends
        # the worker then, and with it every answer that it is writing.
        broker_channel_error_retry=True,
        broker_connection_timeout=1,
        broker_transport_options={
            "socket_timeout": timeout,
            "socket_connect_timeout": 1.0,
            "socket_keepalive": True,
            "health_check_interval": 25,
            "task_queue": queue,
            # Kombu's own names do not begin with the prefix, and a deployment would sweep away the
            # bindings of another one.
            **{
                f"{key}_key": f"{queue}.{key}"
                for key in ("unacked", "unacked_index", "unacked_mutex")
            },
            "keyprefix_queue": f"{queue}.binding.%s",
            "keyprefix_binding_permanent": f"{queue}.binding_permanent.%s",
            "keyprefix_binding_deadlines": f"{queue}.binding_deadlines",
            # One list is the queue, not one for each of four priorities.
            "priority_steps": [0],
            "visibility_timeout": 2 * int(settings.hard_deadline_seconds) + 60,
            # Events for Flower: give up at once.
            "max_retries": 1,
            "interval_start": 0,
            "connect_retries_timeout": 1,
        },
    )
    app.amqp.Connection = EagerConnection
    return app


def task_id_of(task: str, message_id: uuid.UUID) -> str:
    """The id of a message's task: Flower has one entry for it, however often it is enqueued."""
    return f"{message_id}.{task.rpartition('.')[2]}"


class TaskTemplate(NamedTuple):
    """A task's message as Celery and Kombu put it into Redis, with gaps in the place of ids."""

    message: str
    body: str

    def render(self, message_id: str, task_id: str) -> str:
        """Fill the gaps. (The delivery tag is not used here, but Kombu expects one.)"""
        body = base64.b64encode(self.body.replace(_ID, message_id).encode()).decode()
        values = {_TASK_ID: task_id, _ID: message_id, _TAG: task_id, _BODY: body}
        message = self.message
        for gap, value in values.items():
            message = message.replace(gap, value)
        return message


class Queue:
    """The queue as web and the sweep use it."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._name = str(app.conf.task_default_queue)
        self._templates: dict[str, TaskTemplate] = {}
        timeout = app.conf.broker_transport_options["socket_timeout"]
        self._connection = QueueConnection(app.conf.broker_url, timeout)

    def enqueue(self, message_id: uuid.UUID) -> bool:
        """Hand the id to a worker; False if Redis did not take it (a sweep dispatches it later)."""
        return self._push(TASK, message_id)

    def enqueue_title(self, message_id: uuid.UUID) -> bool:
        """Have the conversation of an answer named. If the task is lost, the old name stays."""
        return self._push(TITLE_TASK, message_id)

    def report_lost(
        self, message_id: uuid.UUID, owner: str, ending: Ending | None, *, offline: bool = True
    ) -> None:
        """Report to Flower what an answer's worker cannot: its task failed or was stopped.

        `owner` is the row's. `ending`: None if the answer begins again. `offline`: the worker is
        dead.

        Flower keeps tasks by worker, so the event is sent in that worker's name. It counts as a
        sign of life, so the event that the worker is offline comes after it. If an event is lost,
        Flower shows a wrong state until it is started again, and nothing else is wrong.
        """
        node = owner.rpartition(":")[0]
        fields = {
            "uuid": task_id_of(TASK, message_id),
            "name": TASK,
            "args": f"['{message_id}']",
            "kwargs": "{}",
        }
        try:
            with (
                self._app.pool.acquire(block=True) as connection,
                self._app.events.Dispatcher(
                    connection, hostname=node, buffer_while_offline=False
                ) as events,
            ):
                if ending is None:
                    events.send("task-retried", exception=_exception("worker_lost"), **fields)
                elif ending.error_code is None:
                    events.send("task-revoked", terminated=True, **fields)
                else:
                    events.send("task-failed", exception=_exception(ending.error_code), **fields)
                if offline:
                    events.send("worker-offline")
        except Exception as error:  # noqa: BLE001
            logger.warning("not reported to flower: %s %s", message_id, type(error).__name__)

    def warm(self) -> None:
        """Connect before a person waits for it, if Redis is there."""
        self._template(TASK)
        with suppress(RedisDown):
            self._connection.connect()

    def _push(self, task: str, message_id: uuid.UUID) -> bool:
        entry = self._template(task).render(str(message_id), task_id_of(task, message_id))
        try:
            self._connection.push(self._name, entry)
        except RedisDown as error:
            logger.warning("not enqueued: %s %s", message_id, error.code)
            return False
        return True

    def _template(self, task: str) -> TaskTemplate:
        """The template, made once by Celery and Kombu for a broker in this process' memory."""
        if task not in self._templates:
            with Connection("memory://") as connection:  # type: ignore[no-untyped-call]
                self._app.send_task(
                    task,
                    args=[_ID],
                    task_id=_TASK_ID,
                    producer=self._app.amqp.Producer(connection),
                    retry=False,
                    ignore_result=True,
                )
                message: Any = connection.default_channel._get(self._name)
            body = base64.b64decode(message["body"]).decode()
            message["body"], message["properties"]["delivery_tag"] = _BODY, _TAG
            self._templates[task] = TaskTemplate(json.dumps(message), body)
        return self._templates[task]


def _exception(code: str) -> str:
    """What a task raised, as Celery shows it."""
    return f"{GenerationFailed.__name__}({code!r})"
