"""The Celery app, and the only way to put work on its queue.

Celery carries a message's id to a worker and shows the work in Flower. It does not carry the
promise: that is the lease in Postgres and the sweep. So: no acknowledgements, no results, no
retries, one id as the only argument. (Why each setting: ARCHITECTURE.md, "What Celery is for".)
"""

import base64
import json
import logging
import re
import uuid
from contextlib import suppress
from queue import Empty
from typing import Any, Final, NamedTuple

from celery import Celery
from kombu.connection import Connection
from kombu.entity import Exchange
from kombu.entity import Queue as Declared
from kombu.transport import TRANSPORT_ALIASES, redis
from prometheus_client import Counter

from shared.bus.connection import QueueConnection
from shared.errors import GenerationFailed, RedisDown
from shared.settings import Settings
from shared.store.ending import Ending

TASK: Final = "outlive.generate"
TITLE_TASK: Final = "outlive.title"
#: The queue's name is the deployment's prefix, and this is its default.
QUEUE: Final = "outlive"
#: Bytes of an entry of the queue. Ours have about a thousand.
ENTRY_BYTES: Final = 16_384

BAD_ENTRIES = Counter("outlive_bad_entries", "Entries of the queue that were dropped", ["reason"])

#: Seconds that enqueueing may take; without it the sweep hands the question out.
ENQUEUE_SECONDS: Final = 1.5
#: What a task may be called: Flower shows it, and logs quote it.
_TASK_NAME: Final = re.compile("[0-9A-Za-z._-]{1,100}", re.ASCII)
#: The gaps of a form.
_ID, _TASK_ID, _TAG, _BODY = (f"<outlive-{gap}>" for gap in ("id", "task", "tag", "body"))

logger = logging.getLogger(__name__)

#: Seconds between tries to reach Redis again: at first, more for each, at most.
COME_BACK: Final = (0.5, 0.5, 2.0)


class Entry(NamedTuple):
    """All that a worker takes from an entry of the queue."""

    task: str
    task_id: str
    message_id: str

    def message(self, queue: str) -> dict[str, Any]:
        """A task's message as Celery's channels carry it, made anew of these words."""
        body = [[self.message_id], {}, dict.fromkeys(("callbacks", "errbacks", "chain", "chord"))]
        return {
            "body": base64.b64encode(json.dumps(body).encode()).decode(),
            "content-type": "application/json",
            "content-encoding": "utf-8",
            "headers": {
                "lang": "py",
                "task": self.task,
                "id": self.task_id,
                "root_id": self.task_id,
                "argsrepr": f"['{self.message_id}']",
                "kwargsrepr": "{}",
                "ignore_result": True,
                "retries": 0,
                "timelimit": [None, None],
            },
            "properties": {
                "correlation_id": self.task_id,
                "delivery_mode": 2,
                "delivery_info": {"exchange": "", "routing_key": queue},
                "priority": 0,
                "body_encoding": "base64",
                "delivery_tag": self.task_id,
            },
        }


class BadEntry(ValueError):
    """It is no task of ours. The message says why, in two words and without its content."""


def read_entry(data: bytes) -> Entry:
    """What an entry of the queue asks for. Raises BadEntry, and nothing else.

    Anybody who reaches Redis can write there, and the next version of this service may write more
    than this one knows. Celery would end the worker over an entry that has not the form it expects,
    and run what a good one carries along (callbacks, times, limits): so only three words of it are
    read, strictly, and none of its other fields has an effect.
    """
    if len(data) > ENTRY_BYTES:
        raise BadEntry("too large")
    headers, body = _opened(_object(_json(data)))
    task, task_id = headers.get("task"), headers.get("id")
    if task not in (TASK, TITLE_TASK):
        raise BadEntry("unknown task")
    if not (isinstance(task_id, str) and _TASK_NAME.fullmatch(task_id)):
        raise BadEntry("no id")
    match _json(body):
        case [[str(message_id), *_], dict(), dict()] if _is_id(message_id):
            return Entry(task, task_id, message_id)
    raise BadEntry("no message")


def _opened(entry: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """The headers and the body of an entry."""
    properties, body = _object(entry.get("properties")), entry.get("body")
    if entry.get("content-type") != "application/json" or not isinstance(body, str):
        raise BadEntry("not JSON")
    try:
        wrapped = properties.get("body_encoding") == "base64"
        return _object(entry.get("headers")), base64.b64decode(body) if wrapped else body.encode()
    except ValueError:
        raise BadEntry("no body") from None


def _json(data: bytes) -> Any:
    try:
        return json.loads(data.decode())
    except (ValueError, RecursionError):  # a ValueError also for what is not UTF-8
        raise BadEntry("not JSON") from None


def _object(found: Any) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise BadEntry("no object")
    return found


def _is_id(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


class Channel(redis.Channel):
    """Kombu's, without what nobody needs, and which drops what is no message of ours."""

    from_transport_options: Any = (*redis.Channel.from_transport_options, "task_queue")
    #: The list whose entries are tasks.
    task_queue = QUEUE

    def basic_ack(self, delivery_tag: str, multiple: bool = False) -> None:
        """Nothing: no queue of ours is acknowledged, and Kombu would ask Redis all the same."""

    def _brpop_read(self, **options: Any) -> bool:
        """Take what a list had. As Kombu does, which raises what it cannot read: for Celery that is
        the end of the worker."""
        try:
            try:
                found = self.client.parse_response(self.client.connection, "BRPOP", **options)
            except self.connection_errors:
                self.client.connection.disconnect()
                raise
            if not found:
                raise Empty
            name = bytes(found[0]).decode().rsplit(self.sep, 1)[0]
            self._queue_cycle.rotate(name)
            if name == self.task_queue:
                self._deliver_task(bytes(found[1]))
            else:
                self._deliver_other(bytes(found[1]), name)
            return True
        finally:
            self._in_poll: Any = None

    def _receive_one(self, subclient: Any) -> bool:
        """Take what was said on a channel, likewise."""
        try:
            said = subclient.parse_response()
        except self.connection_errors:
            self._in_listen: Any = None
            raise
        handle: Any = self._handle_message
        heard = handle(subclient, said) if isinstance(said, list | tuple) else {}
        if bytes(heard.get("type", b"")).endswith(b"message") and heard["data"]:
            topic = bytes(heard["channel"]).decode().removeprefix(self.keyprefix_fanout)
            queue = self._fanout_to_queue.get(topic.split("/", 1)[0])
            if queue is not None:
                self._deliver_other(bytes(heard["data"]), queue)
        return True

    def _deliver_task(self, data: bytes) -> None:
        try:
            message = read_entry(data).message(self.task_queue)
        except BadEntry as error:
            _drop(str(error), data)
        else:
            self.connection._deliver(message, self.task_queue)

    def _deliver_other(self, data: bytes, queue: str) -> None:
        """What Celery's own processes tell each other. What is wrong with it they find out in many
        places, so all errors count; no text of it is logged, and another message will come."""
        try:
            self.connection._deliver(_told(data), queue)
        except BadEntry as error:
            _drop(str(error), data)
        except Exception as error:  # noqa: BLE001
            _drop(type(error).__name__, data)


def _told(data: bytes) -> dict[str, Any]:
    """A message of Celery's own: its body is an object, or several of them."""
    message = _object(_json(data))
    _, body = _opened(message)
    said = _json(body)
    for one in said if isinstance(said, list) else [said]:
        _object(one)
    return message


def _drop(reason: str, data: bytes) -> None:
    BAD_ENTRIES.labels(reason).inc()
    logger.warning("bad entry dropped: %s, %d bytes", reason, len(data))


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
    queue = settings.prefix
    app.conf.update(
        task_default_queue=queue,
        # What its processes tell one another, and Flower: each deployment has its own.
        control_exchange=queue,
        event_exchange=f"{queue}.events",
        # Nothing is acknowledged: under gevent a lost task never comes back anyhow, late
        # acknowledgements make a healthy long one run twice, and early ones cost four commands.
        task_queues=[Declared(queue, Exchange(queue), routing_key=queue, no_ack=True)],  # type: ignore[no-untyped-call]
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
            "task_queue": queue,
            **{
                f"{key}_key": f"{queue}.{key}"
                for key in ("unacked", "unacked_index", "unacked_mutex")
            },
            "visibility_timeout": 2 * int(settings.hard_deadline_seconds) + 60,
            # For what is told to Flower: give up at once.
            "max_retries": 1,
            "interval_start": 0,
            "connect_retries_timeout": 1,
        },
    )
    app.amqp.Connection = EagerConnection
    return app


def task_id_of(task: str, message_id: uuid.UUID) -> str:
    """The id of a message's task: however often it is handed on, Flower has one entry for it."""
    return f"{message_id}.{task.rpartition('.')[2]}"


def _failure(code: str) -> str:
    """As Celery shows what a task raised."""
    return f"{GenerationFailed.__name__}({code!r})"


def _shown(message_id: uuid.UUID) -> dict[str, str]:
    """What Flower shows of an answer's task."""
    task_id = task_id_of(TASK, message_id)
    return {"uuid": task_id, "name": TASK, "args": f"['{message_id}']", "kwargs": "{}"}


class Form(NamedTuple):
    """A task's message as Celery and Kombu put it into Redis, with gaps: see `Queue._form`."""

    message: str
    body: str

    def filled(self, message_id: str, task_id: str) -> str:
        """With an id. The delivery's is of no use to anybody, but Kombu expects one."""
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
        self._name = str(app.conf.task_default_queue)
        self._forms: dict[str, Form] = {}
        patience = app.conf.broker_transport_options["socket_timeout"]
        self._connection = QueueConnection(app.conf.broker_url, patience)

    def enqueue(self, message_id: uuid.UUID) -> bool:
        """Hand the id to a worker; False if Redis did not take it (no error: see R6)."""
        return self._send(TASK, message_id)

    def enqueue_title(self, message_id: uuid.UUID) -> bool:
        """Have the conversation of an answer named. If it is lost, the old name stays."""
        return self._send(TITLE_TASK, message_id)

    def report_lost(
        self, message_id: uuid.UUID, owner: str, ending: Ending | None, *, offline: bool = True
    ) -> None:
        """Tell Flower what its worker cannot: the answer's task failed, was stopped, or (None) will
        begin again. `owner` is the row's; `offline`: that worker is gone.

        It is a worker's event in that worker's name, as Flower keeps tasks by worker; and since it
        counts as a sign of life, its end is told after it. If it is lost, Flower is wrong until it
        is started again, and nothing else.
        """
        node, fields = owner.rpartition(":")[0], _shown(message_id)
        try:
            with (
                self._app.pool.acquire(block=True) as connection,
                self._app.events.Dispatcher(
                    connection, hostname=node, buffer_while_offline=False
                ) as events,
            ):
                if ending is None:
                    events.send("task-retried", exception=_failure("worker_lost"), **fields)
                elif ending.error_code is None:
                    events.send("task-revoked", terminated=True, **fields)
                else:
                    events.send("task-failed", exception=_failure(ending.error_code), **fields)
                if offline:
                    events.send("worker-offline")
        except Exception as error:  # noqa: BLE001
            logger.warning("flower not told: %s %s", message_id, type(error).__name__)

    def warm(self) -> None:
        """Connect before somebody waits for it, if Redis is there."""
        self._form(TASK)
        with suppress(RedisDown):
            self._connection.connect()

    def _send(self, task: str, message_id: uuid.UUID) -> bool:
        try:
            task_id = task_id_of(task, message_id)
            self._connection.push(self._name, self._form(task).filled(str(message_id), task_id))
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
                message: Any = connection.default_channel._get(self._name)
            body = base64.b64decode(message["body"]).decode()
            message["body"], message["properties"]["delivery_tag"] = _BODY, _TAG
            self._forms[task] = Form(json.dumps(message), body)
        return self._forms[task]
