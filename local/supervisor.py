"""Keep every part running, replace two of them on a deploy, end all of them in order.

One thread and one loop. A part's death wakes the loop (SIGCHLD), as every other signal does;
between events it only checks the size of the logs. Nothing in the loop waits, except at the
beginning and the end, and for up to 2 s until the backends of a killed Postgres have ended.

    SIGTERM, SIGINT   stop; a second one stops without waiting
    SIGHUP            deploy: successors of web and worker first, then the old ones drain
"""

import json
import signal
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from local.processes import rotate, spawn
from local.programs import Environment, Program, sweep
from local.saved_addresses import write_private
from local.server import START_SECONDS, Server, StartError
from local.signals import Signals
from local.terminal import echo

#: Seconds between two starts of a part that keeps dying. It must not grow, because every part is
#: promised to be back within 2 s, the tenth time too.
PACE_SECONDS = 1.0
#: Postgres refuses to start until the last child of a killed one has ended, which is soon.
POSTGRES_PACE_SECONDS = 0.1
#: Seconds between two tries of a sweep that failed.
SWEEP_PACE_SECONDS = 2.0
#: Seconds between two turns of the loop while something is starting or ending.
POLL_SECONDS = 0.05

#: Seconds between two checks of the size of the logs.
LOG_SECONDS = 5.0

#: Stopping may take 5 s. After these seconds web is killed; the worker gets its second SIGTERM, so
#: that it ends its answers; the worker is killed; everything is.
WEB_SECONDS, DRAIN_SECONDS, WORKER_SECONDS, ALL_SECONDS = 2.0, 3.0, 3.8, 4.6

#: The keys of outlive.json.
PARTS = ("web", "worker", "flower", "postgres", "redis", "model")


@dataclass
class Supervisor:
    """All parts of one `outlive up`."""

    environment: Environment
    signals: Signals
    #: URLs of parts that we do not run; None for those that do not exist
    elsewhere: dict[str, str | None] = field(default_factory=dict)
    parts: dict[str, Server] = field(default_factory=dict)
    successors: list[Program] = field(default_factory=list)
    draining: list[Program] = field(default_factory=list)
    #: by boot: the sweep for a worker that died, and when it began
    sweeps: dict[str, tuple["subprocess.Popen[bytes]", float]] = field(default_factory=dict)
    #: names of parts that ended and wait for their next start
    dead: set[str] = field(default_factory=set)
    #: when the sizes of the logs were checked last
    rotated: float = 0.0
    reported: bool = False

    @property
    def file(self) -> Path:
        """outlive.json, which names every part."""
        return self.environment.data / "outlive.json"

    # --- the beginning ---

    def begin(self, parts: Sequence[Server]) -> None:
        """Start the parts and wait until each is ready; from then on it is kept running."""
        waiting = list(parts)
        deadline = time.monotonic() + START_SECONDS
        try:
            for part in parts:
                part.start()
            while waiting:
                self._await(waiting, deadline)
        finally:  # those that did not become ready have to be ended, too
            self.parts |= {part.name: part for part in waiting}

    def _await(self, waiting: list[Server], deadline: float) -> None:
        for part in list(waiting):
            if not part.alive():
                raise StartError(f"{part.name} ended while starting", part.name)
            if part.ready():
                echo(f"  {part.name:<9} {time.monotonic() - part.started:4.1f} s")
                self.parts[part.name] = part
                waiting.remove(part)
            elif time.monotonic() > deadline:
                raise StartError(f"{part.name} was not ready in {START_SECONDS:.0f} s", part.name)
        if waiting:
            self._turn()

    def run_once(self, program: Program) -> None:
        """Run a program to its end, which has to be a good one."""
        self.parts[program.name] = program.start()
        while program.alive():
            self.signals.wait(POLL_SECONDS)
        del self.parts[program.name]
        if program.crashed():
            raise StartError(f"{program.name} failed", program.name)
        echo(f"  {program.name:<9} {time.monotonic() - program.started:4.1f} s")

    # --- the loop ---

    def run(self) -> None:
        """Write outlive.json and keep everything running until a signal stops us."""
        self.reported = True
        self._report()
        while True:
            self._turn()

    def _turn(self) -> None:
        """Wait for an event, then handle everything that has happened."""
        busy = self.successors or self.sweeps or self.dead
        self.signals.wait(POLL_SECONDS if busy or not self.reported else LOG_SECONDS)
        self._rotate()
        for part in list(self.parts.values()):
            if not part.alive():
                self._restart(part)
        self._reap()
        if self.successors:
            self._watch_deploy()
        elif self.signals.take_deploy() and self.reported:
            self._deploy()

    def _rotate(self) -> None:
        """Rotate the logs that have become too large."""
        if time.monotonic() > self.rotated + LOG_SECONDS:
            self.rotated = time.monotonic()
            for log in (self.environment.data / "log").glob("*.log"):
                rotate(log)

    def _restart(self, part: Server) -> None:
        if part.name not in self.dead:
            self.dead.add(part.name)
            self._clean_up(part)
            if time.monotonic() > part.started + PACE_SECONDS:  # else it was printed before
                echo(f"  {part.name} ended unexpectedly; starting it again")
        pace = POSTGRES_PACE_SECONDS if part.name == "postgres" else PACE_SECONDS
        if time.monotonic() < part.started + pace:
            return
        try:
            part.start()
        except OSError as error:  # such as a program file that is being replaced
            echo(f"  {part.name}: {error}")
            return
        self.dead.remove(part.name)
        self._report()

    def _clean_up(self, part: Server) -> None:
        """Clean up after a part. A crashed worker is swept now, not when its lease has lapsed."""
        part.ended()
        if isinstance(part, Program) and part.needs_sweep and part.crashed():
            self.sweep(part.boot)

    def sweep(self, boot: str) -> None:
        """End the answers of a dead worker, in the background."""
        self.sweeps[boot] = spawn(sweep(boot, self.environment)), time.monotonic()

    def _reap(self) -> None:
        for boot, (process, begun) in list(self.sweeps.items()):
            status = process.poll()
            if status == 0:
                del self.sweeps[boot]
                (self.environment.data / "run" / f"worker-{boot}.ready").unlink(missing_ok=True)
            elif status is not None and time.monotonic() > begun + SWEEP_PACE_SECONDS:
                self.sweep(boot)  # Postgres was away, too: repeat it until it succeeds
        for program in [old for old in self.draining if not old.alive()]:
            self.draining.remove(program)
            self._clean_up(program)

    def _report(self) -> None:
        if not self.reported:
            return
        state: dict[str, dict[str, object] | None] = {}
        for name in PARTS:
            if name in self.parts:
                part = self.parts[name]
                state[name] = {"url": part.url, "pid": part.pid} if part.url else {"pid": part.pid}
            else:
                url = self.elsewhere.get(name)
                state[name] = {"url": url} if url else None
        write_private(self.file, json.dumps(state, indent=2) + "\n")

    # --- a deploy ---

    def _deploy(self) -> None:
        echo("Deploying: starting successors of web and worker")
        current = [self.parts["web"], self.parts["worker"]]
        self.successors = [old.successor() for old in current if isinstance(old, Program)]
        for program in self.successors:
            program.start()

    def _watch_deploy(self) -> None:
        if not all(program.alive() for program in self.successors):
            self._give_up("one ended while starting")
        elif all(program.ready() for program in self.successors):
            self._hand_over()
        elif any(time.monotonic() > each.started + START_SECONDS for each in self.successors):
            self._give_up(f"not ready in {START_SECONDS:.0f} s")

    def _hand_over(self) -> None:
        for program in self.successors:
            old = self.parts[program.name]
            self.parts[program.name] = program
            self.dead.discard(program.name)
            if isinstance(old, Program) and old.alive():
                old.signal(signal.SIGTERM)
                self.draining.append(old)
        self.successors = []
        self._report()
        echo("Deployed; the old web and worker are draining")

    def _give_up(self, reason: str) -> None:
        for program in self.successors:
            program.kill()
            program.ended()
        self.successors = []
        logs = self.environment.data / "log"
        echo(f"Not deployed: {reason}. The old web and worker run on; see {logs}")

    # --- the end ---

    def end(self) -> None:
        """End everything within 5 s: first what uses Postgres and Redis, then these."""
        self.file.unlink(missing_ok=True)
        started = time.monotonic()
        programs = [part for part in self.parts.values() if isinstance(part, Program)]
        programs += self.successors + self.draining
        for program in programs:
            program.signal(program.stop_signal)
        web = [program for program in programs if program.name != "worker"]
        self._kill_after(web, started + WEB_SECONDS, programs)
        self._wait_for(programs, started + DRAIN_SECONDS)
        for program in programs:
            program.signal(program.stop_signal)
        self._kill_after(programs, started + WORKER_SECONDS)
        servers = [part for part in self.parts.values() if not isinstance(part, Program)]
        for server in servers:
            server.signal(server.stop_signal)
        self._kill_after(servers, started + ALL_SECONDS)
        for process, _ in self.sweeps.values():
            process.kill()

    def _kill_after(
        self, parts: Iterable[Server], deadline: float, watched: Iterable[Server] | None = None
    ) -> None:
        """Wait until all, or all of `watched`, have ended, as `_wait_for` does; then kill."""
        parts = list(parts)
        self._wait_for(parts if watched is None else watched, deadline)
        for part in parts:
            part.kill()
            part.ended()

    def _wait_for(self, parts: Iterable[Server], deadline: float) -> None:
        """Wait until all have ended, the deadline, or a second signal."""
        parts = list(parts)
        while any(part.alive() for part in parts):
            if time.monotonic() >= deadline or self.signals.impatient:
                return
            self.signals.doze(POLL_SECONDS)
