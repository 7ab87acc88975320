"""Everything that runs in production, as real processes on real servers.

A `Rig` has one Postgres, one Redis and one scripted provider. It starts web masters and workers on
them by the Procfile's lines, with the environment that a test needs.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import gevent

from local import ports, procfile
from local.postgres import Postgres
from local.programs import Environment, Flower, Program, Web, Worker
from local.redis import Redis
from local.server import Server, wait_until
from scripted import Scripted, start_scripted
from shared.body import Delta
from shared.bus.livelog import LiveLog
from shared.settings import with_driver
from shared.store.database import Database

#: Seconds that a story waits for one event before it fails: generous, so that a busy machine fails
#: nothing. How soon things happen is measured by the drill and by `outlive bench promises`.
PATIENCE = 60.0
API_KEY = "sk-canary-key-5f3a"


def eventually(condition: Callable[[], Any], seconds: float = PATIENCE) -> None:
    """Wait until a condition holds; fail the test if it does not in time."""
    assert wait_until(lambda: bool(condition()), seconds), "the condition did not become true"


def until(condition: Callable[[], Any], seconds: float = PATIENCE) -> None:
    """The same where greenlets of this process make it true."""
    with gevent.Timeout(seconds):
        while not condition():
            gevent.sleep(0.01)


def join(greenlets: Sequence["gevent.Greenlet[..., Any]"]) -> None:
    """Wait for all greenlets, and raise what one of them raised.

    Not by joinall's own timeout, which counts from when the loop last ran in this process: that may
    be long ago, and then it does not wait at all.
    """
    with gevent.Timeout(PATIENCE):
        gevent.joinall(greenlets, raise_error=True)


@contextmanager
def killing(*programs: Program) -> Iterator[None]:
    """Kill these programs at the end of the block, however the block ends."""
    try:
        yield
    finally:
        for program in programs:
            program.kill()


@contextmanager
def frozen(server: Server) -> Iterator[None]:
    """Stop a server by SIGSTOP within the block: it is there but does not answer."""
    server.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        server.signal(signal.SIGCONT)


class Rig:
    """Servers, and the processes of the service on them."""

    def __init__(self, home: Path, *, durable: bool = False, clock: bool = False) -> None:
        """`clock`: whether the clock of Postgres can be set (`postgres.set_clock`)."""
        self.home = home
        self.durable = durable
        self.clock = home / "clock" if clock else None
        self._stack = ExitStack()
        #: all that were ever started
        self.workers: list[Worker] = []
        Environment(home, {}).make_folders()
        self.procfile = procfile.read()

    def __enter__(self) -> Self:
        enter = self._stack.enter_context
        log = self.home / "log"
        postgres, redis = self.home / "postgres", self.home / "redis"
        self.postgres = enter(
            Postgres(postgres, log=log / "postgres.log", durable=self.durable, clock=self.clock)
        )
        self.redis = enter(Redis(redis, log=log / "redis.log"))
        self.scripted: Scripted = enter(start_scripted())
        self.database_url = self.address()
        self.db = Database(with_driver(self.env()["DATABASE_URL"]))
        self._stack.callback(self.db.dispose)
        self.release()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def address(self) -> str:
        """The URL of Postgres for all processes."""
        return self.postgres.url

    def env(self, **more: str) -> dict[str, str]:
        """The environment of every process."""
        return {
            "DATABASE_URL": self.database_url,
            "REDIS_URL": self.redis.url,
            "OPENAI_BASE_URL": self.scripted.url,
            "OPENAI_API_KEY": API_KEY,
            "OUTLIVE_AUTH": "local",
            "OUTLIVE_MODEL": "scripted",
            "OUTLIVE_STALL_SECONDS": "300",  # answers are held for as long as a slow machine needs
            "PROMETHEUS_MULTIPROC_DIR": str(self.home / "metrics"),
            "WEB_CONCURRENCY": "2",
            "PYTHONWARNINGS": "default",
            **more,
        }

    def words(self, line: str, env: Mapping[str, str]) -> list[str]:
        """The Procfile's line; run by tests/patched_process.py where `env` asks for a patch."""
        program, *words = self.procfile[line]
        if not any(name.startswith("PATCHED_") for name in env):
            return [program, *words]
        return [sys.executable, "-m", "tests.patched_process", Path(program).name, *words]

    def release(self) -> None:
        """Run the Procfile's release line: migrations."""
        subprocess.run(self.procfile["release"], env={**os.environ, **self.env()}, check=True)

    def web(self, **more: str) -> Web:
        """Start a gunicorn master; return once it serves."""
        return self.new_web(**more).start().wait()

    def new_web(self, **more: str) -> Web:
        """A gunicorn master that is not started yet."""
        environment = Environment(self.home, self.env(**more))
        web = Web.on_loopback(self.words("web", more), environment, self._stack)
        self._stack.callback(web.stop)
        return web

    def worker(self, **more: str) -> Worker:
        """Start a Celery worker without titles; return once it takes questions."""
        more = {"OUTLIVE_TITLES": "off", **more}
        environment = Environment(self.home, self.env(**more))
        worker = Worker("worker", self.words("worker", more), environment)
        self._stack.callback(worker.kill)
        self.workers.append(worker)
        return worker.start().wait()

    def flower(self, **more: str) -> Flower:
        """Start Flower as `outlive up` does; return once it answers."""
        environment = Environment(self.home, self.env(**more))
        flower = Flower(self.procfile["flower"], environment, ports.choose())
        self._stack.callback(flower.kill)
        return flower.start().wait()

    def logs(self) -> str:
        """All that the processes have logged so far."""
        return "".join(file.read_text(errors="replace") for file in self.home.glob("log/*"))

    def live_log(self, message_id: str) -> list[Delta]:
        """The live log of an answer, under the claim that its row has."""
        [row] = self.rows("SELECT id, claim FROM messages WHERE id = :id", id=message_id)
        return LiveLog(self.redis.url, 60).read({row.id: row.claim})[row.id]

    def rows(self, sql: str, **parameters: Any) -> list[Any]:
        """The rows of a statement in Postgres."""
        return self.db.rows(sql, **parameters)
