"""The Celery app, and the only way to put work on its queue.

Celery carries a message's id to a worker and shows the work in Flower. It does not carry the
promise: that is the lease in Postgres and the sweep. So: no acknowledgements, no results, no
retries, one id as the only argument. (Why each setting: ARCHITECTURE.md, "What Celery is for".)
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
from kombu.entity import Queue as Declared
from kombu.transport import TRANSPORT_ALIASES, redis

from shared.errors import RedisDown
from shared.livelog import Work
from shared.settings import Settings

TASK: Final = "outlive.generate"
TITLE_TASK: Final = "outlive.title"
QUEUE: Final = "outlive"

#: Seconds that enqueueing may take; without it the sweep hands the question out.
ENQUEUE_SECONDS: Final = 1.5
#: The gaps of a form.
_ID, _TASK_ID, _TAG, _BODY = (f"<outlive-{gap}>" for gap in ("id", "task", "tag", "body"))

logger = logging.getLogger(__name__)

#: Seconds between tries to reach Redis again: at first, more for each, at most.
COME_BACK: Final = (0.5, 0.5, 2.0)


class Channel(redis.Channel):
    """Kombu's, without what nobody needs."""

    def basic_ack(self, delivery_tag: str, multiple: bool = False) -> None:
        """Nothing: no queue of ours is acknowledged, and Kombu would ask Redis all the same."""


class Transport(redis.Transport):
    """Kombu's, with our channels."""

    Channel = Channel


# Under the names of Kombu's own: who is told a transport by another one shows that as an address.
TRANSPORT_ALIASES.update(dict.fromkeys(("redis", "rediss"), f"{__name__}:{Transport.__name__}"))


class EagerConnection(Connection):
    """A connection that is back two seconds after Redis is, however long that was away.

    Kombu's own pause grows to thirty seconds, in which questions would wait for nothing.
    """

    def ensure_connection(self, *arguments: Any, **options: Any) -> Connection:
        """Connect, with the pauses of COME_BACK."""
        pauses = zip(("interval_start", "interval_step", "interval_max"), COME_BACK, strict=True)
        return super().ensure_connection(*arguments, **options | dict(pauses))  # type: ignore[no-untyped-call,no-any-return]


def make_app(settings: Settings, patience: float = 5.0) -> Celery:
    """A Celery app for this process; nothing connects yet.

    `patience`: seconds that Redis gets for one call. A worker waits in its calls for work, so it
    needs more than who only enqueues while a person waits.
    """
    app = Celery("outlive", broker=settings.redis_url, set_as_current=False)
    app.conf.update(
        task_default_queue=QUEUE,
        # Nothing is acknowledged: under gevent a lost task never comes back anyhow, late
        # acknowledgements make a healthy long one run twice, and early ones cost four commands.
        task_queues=[Declared(QUEUE, Exchange(QUEUE), routing_key=QUEUE, no_ack=True)],  # type: ignore[no-untyped-call]
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        result_backend=None,
        result_backend_thread_safe=True,  # or each greenlet would make one, of which none is used
        worker_prefetch_multiplier=1,
        worker_concurrency=settings.worker_concurrency,
        worker_send_task_events=True,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # A Redis that answers with a refusal (full, read-only) is away like any other: Celery
        # would end the worker, and what it is writing with it.
        broker_channel_error_retry=True,
        broker_connection_timeout=1,
        broker_transport_options={
            "socket_timeout": patience,
            "socket_connect_timeout": 1.0,
            "socket_keepalive": True,
            "health_check_interval": 25,
            "visibility_timeout": 2 * int(settings.hard_deadline_seconds) + 60,
            # For what is told to Flower: give up at once.
            "max_retries": 1,
            "interval_start": 0,
            "connect_retries_timeout": 1,
        },
    )
    app.amqp.Connection = EagerConnection
    return app


class Form(NamedTuple):
    """A task's message as Celery and Kombu put it into Redis, with gaps: see `Queue._form`."""

    message: str
    body: str

    def filled(self, message_id: str) -> str:
        """With an id. The task's begins with the message's, so that Flower can be searched for it;
        the delivery's is of no use to anybody, but Kombu expects one."""
        task_id = f"{message_id}.{uuid.uuid4().hex[:8]}"
        body = base64.b64encode(self.body.replace(_ID, message_id).encode()).decode()
        gaps = {_TASK_ID: task_id, _ID: message_id, _TAG: task_id, _BODY: body}
        message = self.message
        for gap, filling in gaps.items():
            message = message.replace(gap, filling)
        return message


class Queue:
    """The queue as web and the sweep see it.

    Celery makes a task's message once, and what changes in it is filled in: making it anew each
    time and handing it on through Kombu takes more than twice as long.
    """

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._forms: dict[str, Form] = {}
        patience = app.conf.broker_transport_options["socket_timeout"]
        self._work = Work(app.conf.broker_url, patience)

    def enqueue(self, message_id: uuid.UUID) -> bool:
        """Hand the id to a worker; False if Redis did not take it (no error: see R6)."""
        return self._send(TASK, message_id)

    def enqueue_title(self, message_id: uuid.UUID) -> bool:
        """Have the conversation of an answer named. If it is lost, the old name stays."""
        return self._send(TITLE_TASK, message_id)

    def warm(self) -> None:
        """Connect before somebody waits for it, if Redis is there."""
        self._form(TASK)
        with suppress(RedisDown):
            self._work.ready()

    def _send(self, task: str, message_id: uuid.UUID) -> bool:
        try:
            self._work.hand_on(QUEUE, self._form(task).filled(str(message_id)))
        except RedisDown as error:
            logger.warning("not enqueued: %s %s", message_id, error.code)
            return False
        return True

    def _form(self, task: str) -> Form:
        """Made by Celery and Kombu, for a broker that keeps it in this process' memory."""
        if task not in self._forms:
            with Connection("memory://") as connection:  # type: ignore[no-untyped-call]
                self._app.send_task(
                    task,
                    args=[_ID],
                    task_id=_TASK_ID,
                    producer=self._app.amqp.Producer(connection),
                    retry=False,
                    ignore_result=True,
                )
                message: Any = connection.default_channel._get(QUEUE)
            body = base64.b64decode(message["body"]).decode()
            message["body"], message["properties"]["delivery_tag"] = _BODY, _TAG
            self._forms[task] = Form(json.dumps(message), body)
        return self._forms[task]
