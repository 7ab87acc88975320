"""The Celery app, and the only way to put work on its queue.

Celery carries a message's id to a worker and shows the work in Flower. It does not carry the
promise: that is the lease in Postgres and the sweep. So: no acknowledgements, no results, no
retries, one id as the only argument. (Why each setting: ARCHITECTURE.md, "What Celery is for".)
"""

import logging
import uuid
from contextlib import suppress
from typing import Any, Final

from celery import Celery
from kombu.connection import Connection
from kombu.entity import Exchange
from kombu.entity import Queue as Declared
from kombu.exceptions import KombuError
from kombu.transport import TRANSPORT_ALIASES, redis

from shared.settings import Settings

TASK: Final = "outlive.generate"
TITLE_TASK: Final = "outlive.title"
QUEUE: Final = "outlive"

#: Seconds that enqueueing may take; without it the sweep hands the question out.
ENQUEUE_SECONDS: Final = 1.5

logger = logging.getLogger(__name__)

#: Seconds between tries to reach Redis again: at first, more for each, at most.
COME_BACK: Final = (0.5, 0.5, 2.0)


class Channel(redis.Channel):
    """Kombu's, with one client for all it says, and without what nobody needs."""

    _kept: Any = None

    def _create_client(self, asynchronous: bool = False) -> Any:
        """Kombu would make a new one for each message, which takes longer than to send it."""
        if asynchronous:
            return super()._create_client(asynchronous)  # type: ignore[no-untyped-call]
        if self._kept is None or self._kept.connection_pool is not self.pool:
            self._kept = super()._create_client()  # type: ignore[no-untyped-call]
        return self._kept

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
            # For who enqueues: give up at once, the sweep hands it out again.
            "max_retries": 1,
            "interval_start": 0,
            "connect_retries_timeout": 1,
        },
    )
    app.amqp.Connection = EagerConnection
    return app


class Queue:
    """The queue as web and the sweep see it."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def enqueue(self, message_id: uuid.UUID) -> bool:
        """Hand the id to a worker; False if Redis did not take it (no error: see R6)."""
        return self._send(TASK, message_id)

    def enqueue_title(self, message_id: uuid.UUID) -> bool:
        """Have the conversation of an answer named. If it is lost, the old name stays."""
        return self._send(TITLE_TASK, message_id)

    def warm(self) -> None:
        """Connect before somebody waits for it, if Redis is there."""
        with suppress(KombuError, OSError), self._app.producer_pool.acquire() as producer:
            producer.maybe_declare(self._app.amqp.queues[QUEUE])
            _ = self._app.backend  # looked up by its name, which loads a package

    def _send(self, task: str, message_id: uuid.UUID) -> bool:
        """The task's id begins with the message's, so that Flower can be searched for it."""
        try:
            self._app.send_task(
                task,
                args=[str(message_id)],
                task_id=f"{message_id}.{uuid.uuid4().hex[:8]}",
                retry=False,
                ignore_result=True,
            )
        except (KombuError, OSError) as error:
            logger.warning("not enqueued: %s %s", message_id, type(error).__name__)
            return False
        return True
