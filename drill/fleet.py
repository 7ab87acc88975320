"""What a local drill breaks: two web masters and several workers on servers of their own.

They are started by the Procfile's lines. What dies is started again, as a supervisor would do.
Nothing in here waits for more than a moment, because what was stopped has to go on in time.
"""

import os
import random
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Self, TypeVar

from local import procfile
from local.postgres import Postgres
from local.processes import children, spawn
from local.programs import Environment, Program, Web, Worker, sweep
from local.redis import Redis
from local.server import Server
from local.standby import Replicated
from scripted import Scripted, start_scripted
from shared.settings import Settings

P = TypeVar("P", bound=Program)

MASTERS = 2
#: Seconds until something that died is started again, least and most.
AWAY = (0.1, 1.5)

#: What a drill of minutes shortens, so that many leases lapse in it.
SHORT: Mapping[str, str] = {
    "OUTLIVE_LEASE_SECONDS": "4",
    "OUTLIVE_HEARTBEAT_SECONDS": "0.8",
    "OUTLIVE_SWEEP_SECONDS": "0.5",
    "OUTLIVE_SSE_HEARTBEAT_SECONDS": "2",
}
#: Of the defaults only this is changed: readers should notice a dead connection within the drill.
DEFAULT: Mapping[str, str] = {"OUTLIVE_SSE_HEARTBEAT_SECONDS": "2"}
TIMINGS = {"short": SHORT, "default": DEFAULT}
#: The share of dead workers that are named to a sweep, as `outlive up` does with all of them.
NAMED = {"short": 0.3, "default": 0.0}


class Fleet:
    """The servers, the scripted provider, web and workers."""

    def __init__(
        self, home: Path, timings: str, workers: int, rng: random.Random, *, clock: bool
    ) -> None:
        """`clock`: whether the clock of Postgres can be set, which needs libfaketime."""
        self.home = home
        #: seconds by which that clock is ahead; None where it cannot be set
        self.clock = 0.0 if clock else None
        default = Settings.model_fields["lease_seconds"].default
        self.lease = float(TIMINGS[timings].get("OUTLIVE_LEASE_SECONDS", default))
        self.rng = rng
        self._name = timings
        self._number = workers
        self._stack = ExitStack()
        self._words = procfile.read()
        #: what has ended and when it is started again
        self._due: dict[Server, float] = {}
        self.workers: list[Worker] = []
        self.draining: list[Worker] = []
        self.webs: list[Web] = []
        #: what is stopped by SIGSTOP now
        self.frozen: set[Server] = set()

    def __enter__(self) -> Self:
        Environment(self.home, {}).make_folders()
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        for server in list(self.frozen):
            self.thaw(server)
        for program in [*self.webs, *self.workers, *self.draining]:
            program.kill()
            program.ended()
        self._stack.close()

    def _start(self) -> None:
        log = self.home / "log"
        enter = self._stack.enter_context
        clock = None if self.clock is None else self.home / "clock"
        log_file = log / "postgres.log"
        postgres = enter(Postgres(self.home / "postgres", log=log_file, clock=clock))
        self.cluster = enter(Replicated(self.home / "replicated", postgres, log_file))
        self.redis = enter(Redis(self.home / "redis", log=log / "redis.log"))
        self.provider: Scripted = enter(start_scripted())
        release = Program("release", self._words["release"], self._environment()).start()
        while release.alive():
            time.sleep(0.05)
        if release.crashed():
            raise RuntimeError("the migrations failed")
        for _ in range(MASTERS):
            self.webs.append(self._web())
        self.workers = [self.start_worker(f"worker-{number + 1}") for number in range(self._number)]
        for program in [*self.webs, *self.workers]:
            program.wait()

    def _environment(self) -> Environment:
        env = {
            "DATABASE_URL": self.cluster.url,
            "REDIS_URL": self.redis.url,
            "OPENAI_BASE_URL": self.provider.url,
            "OPENAI_API_KEY": "none",
            "OUTLIVE_AUTH": "local",
            "OUTLIVE_MODEL": "scripted",
            "WEB_CONCURRENCY": "1",
            **TIMINGS[self._name],
        }
        return Environment(self.home, env)

    def _web(self) -> Web:
        """Start a web master on a socket of ours, which stays open whatever happens to web."""
        return Web.on_loopback(self._words["web"], self._environment(), self._stack).start()

    def start_worker(self, name: str) -> Worker:
        """Start a worker, without waiting for it."""
        return Worker(name, self._words["worker"], self._environment()).start()

    # --- what runs

    @property
    def postgres(self) -> Postgres:
        """The primary, whichever it is now."""
        return self.cluster.primary

    @property
    def urls(self) -> list[str]:
        """Where web answers."""
        return [web.url for web in self.webs]

    def at_work(self, programs: Sequence[P]) -> list[P]:
        """Those that live, have become ready and are not frozen."""
        return [
            one
            for one in programs
            if one.alive() and one not in self.frozen and one.ready_file.exists()
        ]

    def boots(self) -> set[str]:
        """The boots of workers that live and are not frozen, draining ones included."""
        living = [*self.workers, *self.draining]
        return {one.boot for one in living if one.alive() and one not in self.frozen}

    # --- faults

    def restart_ended(self) -> None:
        """Start again what has ended, once its time has come."""
        now = time.monotonic()
        for server in [self.postgres, self.redis, *self.webs, *self.workers]:
            if server.alive():
                continue
            if server not in self._due:
                self._clean_up(server)
                self._due[server] = now + self.rng.uniform(*AWAY)
            elif now >= self._due[server]:
                del self._due[server]
                server.start()
        for worker in [old for old in self.draining if not old.alive()]:
            self.draining.remove(worker)
            worker.ended()

    def _clean_up(self, server: Server) -> None:
        server.ended()
        self.frozen.discard(server)
        if isinstance(server, Worker) and self.rng.random() < NAMED[self._name]:
            spawn(sweep(server.boot, server.environment))

    def kill(self, server: Server) -> None:
        """End it as a crash would."""
        server.kill()
        self.frozen.discard(server)

    def deploy(self, old: Worker) -> None:
        """Start a successor and drain the old worker."""
        self.workers[self.workers.index(old)] = self.start_worker(old.name)
        old.signal(signal.SIGTERM)
        self.draining.append(old)

    def freeze(self, server: Server) -> None:
        """Stop it and its children by SIGSTOP."""
        self.frozen.add(server)
        _signal_tree(server.pid, signal.SIGSTOP)

    def thaw(self, server: Server) -> None:
        """It goes on as if nothing had faults."""
        self.frozen.discard(server)
        if server.alive():
            _signal_tree(server.pid, signal.SIGCONT)

    def set_clock(self, seconds: float) -> None:
        """Set the clock of Postgres ahead of ours by some seconds."""
        self.clock = seconds
        self.postgres.set_clock(seconds)

    def rewind_redis(self, snapshot: Path) -> None:
        """Kill Redis and put a snapshot in the place of what it kept."""
        self.kill(self.redis)
        self.redis.rewind(snapshot)

    def lose_redis(self) -> None:
        """Kill Redis and throw away what it kept."""
        self.kill(self.redis)
        for file in sorted((self.home / "redis").glob("appendonlydir/*")):
            file.unlink()


def _signal_tree(pid: int, number: signal.Signals) -> None:
    """Postgres' backends and gunicorn's workers too; the parent first, so that none is new."""
    for one in (pid, *children(pid)):
        with suppress(ProcessLookupError):
            os.kill(one, number)
