"""The worker's process: `celery --app worker.app worker --pool gevent`.

Nothing connects at import, because Flower imports this too. A starting worker makes psycopg2
cooperative first (without it one query would hold up every stream), then spawns the greenlets
that all generations share.
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
from shared.bus.livelog import LiveLog
from shared.errors import RedisDown, StorageDown
from shared.jobs import ENQUEUE_SECONDS, Queue, make_app
from shared.settings import Settings
from shared.store.database import Database, cooperate
from shared.sweep import Sweep
from worker import metrics
from worker.provider.client import Provider
from worker.tasks import register
from worker.titles import Titles
from worker.writer import Writer

#: Seconds between looks at a silent stop channel, and before a failed loop goes on.
LISTEN_SECONDS = 5.0
PAUSE = 1.0
#: Seconds between batches of what Flower is told, and for the last of it.
TELL_SECONDS = 0.1
FAREWELL = 0.3

log = structlog.get_logger("worker")

settings = Settings.from_env()
app = make_app(settings)


class Batches(bootsteps.StartStopStep):
    """What Flower is told of tasks goes in batches: one by one it costs more than the tasks."""

    requires = ("celery.worker.consumer.events:Events",)
    dispatcher: Any = None
    waiting = Event()

    def start(self, consumer: Any) -> None:
        """Also after each reconnect, which makes another dispatcher."""
        Batches.dispatcher = consumer.event_dispatcher
        Batches.dispatcher.buffer_group = frozenset({"task"})
        Batches.dispatcher.on_send_buffered = Batches.waiting.set


app.steps["consumer"].add(Batches)


class Worker:
    """The greenlets of a worker process and what they share."""

    def __init__(self, node: str) -> None:
        """`node`: Celery's name for this process, by which Flower knows it."""
        cooperate()
        self._owner = f"{node}:{settings.boot}"
        self._db = db = Database(settings.database_url)
        self._livelog = LiveLog(
            settings.redis_url, settings.hard_deadline_seconds + 60, settings.prefix
        )
        provider = Provider(settings)
        self.writer = Writer(settings, db, self._livelog, provider, self._owner)
        self.titles = Titles(settings, db, self._livelog, provider)
        self._sweep = Sweep(
            db,
            self._livelog,
            # A sweep must not wait as long as a worker waits for work.
            Queue(make_app(settings, ENQUEUE_SECONDS)),
            lease=settings.lease_seconds,
            queue_deadline=settings.queue_deadline_seconds,
            take=self.writer.take,
            observe=metrics.swept,
        )

    def start(self) -> None:
        """Spawn what runs beside the generations, for as long as the process lives."""
        writer = self.writer
        gevent.spawn(awake.watch)
        for loop in (writer.publisher.run, writer.saver.run, writer.watch, self._sweeps, _tell):
            gevent.spawn(_for_ever, loop)
        gevent.spawn(_for_ever, self._stops)
        gevent.spawn(self._db.warm)
        log.info("worker.started", owner=self._owner)

    def leave(self, seconds: float) -> None:
        """Drain, then end the process.

        Celery would wait out its polls for four more seconds. Nothing is left to lose: answers
        have ended in Postgres, and a task that was not begun is only a hint.
        """
        self.writer.drain(seconds)
        time.sleep(FAREWELL)
        log.info("worker.left", owner=self._owner)
        os._exit(0)

    def _sweeps(self) -> None:
        while True:
            time.sleep(settings.sweep_seconds)
            try:
                self._sweep.run()
            except StorageDown as error:
                log.warning("sweep.waits", code=error.code)

    def _stops(self) -> None:
        """Listen for ids that somebody wants stopped. Lost ones come with the next heartbeat."""
        while True:
            try:
                subscription = self._livelog.subscription()
                subscription.subscribe(STOP_CHANNEL)
                while True:
                    heard = subscription.expect(LISTEN_SECONDS)
                    if heard.kind == "message":
                        gevent.spawn(self._stop, heard.payload)
            except RedisDown:
                time.sleep(PAUSE)

    def _stop(self, message_id: str) -> None:
        try:
            self.writer.stop(uuid.UUID(message_id))
        except (ValueError, StorageDown) as error:
            log.warning("stop.ignored", error=type(error).__name__)


def _tell() -> None:
    while True:
        Batches.waiting.wait()
        Batches.waiting.clear()
        time.sleep(TELL_SECONDS)
        Batches.dispatcher.flush()


def _for_ever(loop: Callable[[], None]) -> None:
    """Run a loop that must never end; a bug in it is told and it begins again."""
    while True:
        try:
            loop()
        except Exception:
            log.exception("worker.loop", loop=loop.__qualname__)
            time.sleep(PAUSE)


_worker: Worker | None = None


def _started() -> Worker:
    assert _worker is not None, "tasks run in a started worker only"
    return _worker


register(app, lambda: _started().writer, lambda: _started().titles)


@signals.setup_logging.connect
def _logging(**_: Any) -> None:
    logs.configure()


def _or_end(step: Callable[[], None]) -> None:
    """Part of the start. When it fails the process ends, and its last line says why.

    Celery would log it somewhere and take work all the same, which nobody then writes.
    """
    try:
        step()
    except SystemExit as error:  # a sentence already
        reason = str(error.code)
    except Exception as error:
        log.exception("worker.cannot_start")
        # The system's words are safe; others may quote an address with its password.
        words = f": {error.strerror}" if isinstance(error, OSError) else ""
        reason = f"The worker cannot start: {type(error).__name__}{words}"
    else:
        return
    sys.stderr.write(f"{reason}\n")
    sys.stderr.flush()
    os._exit(1)  # also past whatever greenlets and threads have begun


@signals.worker_init.connect
def _start(sender: Any, **_: Any) -> None:
    _or_end(lambda: _begin(sender))


def _begin(sender: Any) -> None:
    global _worker  # noqa: PLW0603 - Celery knows processes, not instances
    # Celery has gevent patch the process, and while locks are patched one of its lazy names loads
    # kombu: before `time.sleep` is patched. While Redis is away it would stop every greenlet.
    vars(functional)["sleep"] = time.sleep
    _worker = Worker(str(sender.hostname))
    _worker.start()
    watchdog.Watchdog().start("worker")
    if settings.metrics_port:
        start_http_server(settings.metrics_port)


@signals.worker_ready.connect
def _ready(**_: Any) -> None:
    _or_end(_take_work)


def _take_work() -> None:
    assert _worker is not None, "it never began"
    gc_tuning.freeze()
    if settings.ready_file:
        Path(settings.ready_file).touch()


@signals.worker_shutting_down.connect
def _shutting_down(how: str = "Warm", **_: Any) -> None:
    # Runs inside gevent's hub: no blocking call here. A second SIGTERM comes here again.
    if _worker is not None:
        gevent.spawn(_worker.leave, settings.drain if how == "Warm" else 0.0)
