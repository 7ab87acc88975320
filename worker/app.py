"""The worker's process: `python -m worker`.

Nothing connects at import, because Flower imports this too. A starting worker first makes psycopg2
cooperative (else one query would block every stream), then spawns the greenlets that all
generations share.
"""

import os
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gevent
import structlog
from celery import bootsteps, signals
from gevent.event import Event
from kombu.utils import functional
from prometheus_client import start_http_server

from shared import awake, gc_tuning, logs, watchdog
from shared.bus.keys import STOP_CHANNEL
from shared.bus.listener import Listener
from shared.bus.livelog import LiveLog
from shared.errors import StorageDown
from shared.jobs import ENQUEUE_SECONDS, Queue, make_app
from shared.line import Lines
from shared.settings import Settings
from shared.store.database import Database, cooperate
from shared.store.turns import Turns
from shared.sweep import Sweep
from worker import metrics
from worker.provider.client import Provider
from worker.pushing import Pushes
from worker.tasks import register
from worker.titles import Titles
from worker.writer import Writer

#: Seconds before a loop that failed is started again.
PAUSE = 1.0
#: Seconds between two batches of task events, and for the last one before the process ends.
EVENT_BATCH_SECONDS = 0.1
EXIT_GRACE_SECONDS = 0.3

log = structlog.get_logger("worker")

settings = Settings.from_env()
app = make_app(settings)


class TaskEventBatches(bootsteps.StartStopStep):
    """Sends task events to Flower in batches: one by one they cost more than the tasks."""

    requires = ("celery.worker.consumer.events:Events",)
    dispatcher: Any = None
    waiting = Event()

    def start(self, consumer: Any) -> None:
        """Take the consumer's dispatcher; called again after each reconnect, which makes one."""
        TaskEventBatches.dispatcher = consumer.event_dispatcher
        TaskEventBatches.dispatcher.buffer_group = frozenset({"task"})
        TaskEventBatches.dispatcher.on_send_buffered = TaskEventBatches.waiting.set


app.steps["consumer"].add(TaskEventBatches)


class WorkerProcess:
    """The greenlets of a worker process and what they share."""

    def __init__(self, node: str) -> None:
        """`node`: the name of this process in Celery and Flower."""
        cooperate()
        self._owner = f"{node}:{settings.boot}"
        self._db = db = Database(settings.database_url)
        self._livelog = LiveLog(
            settings.redis_url, settings.hard_deadline_seconds + 60, settings.prefix
        )
        provider = Provider(settings)
        # A queue of its own: a worker's may wait long for Redis, an end and a sweep must not.
        queue = Queue(make_app(settings, ENQUEUE_SECONDS))
        lines = Lines(settings, db, self._livelog, queue)
        self.writer = Writer(
            settings,
            db,
            self._livelog,
            provider,
            self._owner,
            enqueue=queue.enqueue,
            send_next=lines.move,
        )
        self.titles = Titles(settings, db, self._livelog, provider)
        self.pushes = Pushes(settings, db)
        self._sweep = Sweep(
            db,
            self._livelog,
            queue,
            lease=settings.lease_seconds,
            turns=Turns(settings.running, settings.queue_deadline_seconds),
            retention_days=settings.retention_days,
            lines=lines,
            take=self.writer.take,
            observe=metrics.swept,
        )

    def start(self) -> None:
        """Spawn the greenlets that run as long as the process."""
        writer = self.writer
        gevent.spawn(awake.watch)
        loops = (writer.publisher.run, writer.saver.run, writer.watch)
        for loop in (*loops, self.pushes.run, self._run_sweeps, _send_task_events):
            gevent.spawn(_restarting, loop)
        # A Stop that is lost with a connection is found by the next renewal of the lease.
        stops = Listener(
            self._livelog.subscription,
            received=lambda _, message_id: gevent.spawn(self._stop, message_id),
            subscribed=lambda _: None,
            lost=lambda: None,
        )
        stops.subscribe(STOP_CHANNEL)
        stops.start()
        gevent.spawn(self._db.warm)
        log.info("worker.started", owner=self._owner)

    def drain_and_exit(self, seconds: float) -> None:
        """Let running answers go on for `seconds` at most, then end the process.

        It does not return to Celery, which would wait four seconds longer for its polls. Nothing is
        lost: all answers have ended in Postgres, and the sweep dispatches tasks that did not begin.
        """
        self.writer.drain(seconds)
        time.sleep(EXIT_GRACE_SECONDS)
        log.info("worker.left", owner=self._owner)
        os._exit(0)

    def _run_sweeps(self) -> None:
        while True:
            time.sleep(settings.sweep_seconds)
            try:
                self._sweep.run()
            except StorageDown as error:
                log.warning("sweep.waits", code=error.code)

    def _stop(self, message_id: str) -> None:
        try:
            self.writer.stop(uuid.UUID(message_id))
        except (ValueError, StorageDown) as error:
            log.warning("stop.ignored", error=type(error).__name__)


def _send_task_events() -> None:
    while True:
        TaskEventBatches.waiting.wait()
        TaskEventBatches.waiting.clear()
        time.sleep(EVENT_BATCH_SECONDS)
        TaskEventBatches.dispatcher.flush()


def _restarting(loop: Callable[[], None]) -> None:
    """Run a loop that must never end. After a bug in it, log that and start it again."""
    while True:
        try:
            loop()
        except Exception:
            log.exception("worker.loop", loop=loop.__qualname__)
            time.sleep(PAUSE)


_worker: WorkerProcess | None = None


def _started() -> WorkerProcess:
    assert _worker is not None, "tasks run in a started worker only"
    return _worker


register(app, lambda: _started().writer, lambda: _started().titles)


@signals.setup_logging.connect
def _logging(**_: Any) -> None:
    logs.configure()


def _or_exit(step: Callable[[], None]) -> None:
    """Run a step of the start. If it fails, end the process with a last line that says why.

    Celery would only log the failure, and take tasks that nothing then writes.
    """
    try:
        step()
    except SystemExit as error:  # its code is a sentence
        reason = str(error.code)
    except Exception as error:
        log.exception("worker.cannot_start")
        # The system's own text is safe; others may quote an address with its password.
        detail = f": {error.strerror}" if isinstance(error, OSError) else ""
        reason = f"The worker cannot start: {type(error).__name__}{detail}"
    else:
        return
    sys.stderr.write(f"{reason}\n")
    sys.stderr.flush()
    os._exit(1)  # greenlets and threads that run already must not hold it up


@signals.worker_init.connect
def _start(sender: Any, **_: Any) -> None:
    _or_exit(lambda: _start_worker(sender))


def _start_worker(sender: Any) -> None:
    global _worker  # noqa: PLW0603 - Celery's signals know processes, not instances
    # kombu keeps the `sleep` that it found at its import. Celery imports it while gevent patches
    # the process, just before `time.sleep`, so it would block every greenlet while Redis is away.
    vars(functional)["sleep"] = time.sleep
    _worker = WorkerProcess(str(sender.hostname))
    _worker.start()
    watchdog.Watchdog().start("worker")
    if settings.metrics_port:
        start_http_server(settings.metrics_port)


@signals.worker_ready.connect
def _ready(**_: Any) -> None:
    _or_exit(_take_work)


def _take_work() -> None:
    assert _worker is not None, "worker_init runs before worker_ready"
    gc_tuning.freeze()
    if settings.ready_file:
        Path(settings.ready_file).touch()


@signals.worker_shutting_down.connect
def _shutting_down(how: str = "Warm", **_: Any) -> None:
    # Runs inside gevent's hub, where nothing may block. A second SIGTERM calls it again.
    if _worker is not None:
        gevent.spawn(_worker.drain_and_exit, settings.drain if how == "Warm" else 0.0)
