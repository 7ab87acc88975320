"""All clients of a drill: `python -m drill.clients PLAN`, a process of its own.

The drill can start other processes meanwhile (a fork beside threads may hang). `ClientProcess` is
the drill's side of it; see `plan` for what they send each other.
"""

import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Final

import httpx2

from drill.client import DrillClient
from drill.plan import RENDEZVOUS_OVER, Observation, Plan
from drill.rendezvous import RaceTimer
from local.processes import Command, spawn

#: Seconds that a request may take.
REQUEST_SECONDS: Final = 15.0
#: Rendezvous at a time: more would disturb each other's timing.
RENDEZVOUS_CLIENTS: Final = 4


class ClientProcess:
    """The process, and what it has reported so far."""

    def __init__(self, plan: Plan, output: Path) -> None:
        words = ["-m", "drill.clients", json.dumps(asdict(plan))]
        output.touch()
        self._output = output.open()
        self._rest = ""
        self.process = spawn(Command([sys.executable, *words], output))
        self.observations: list[Observation] = []
        self.rendezvous_over = False
        #: lines that are no report: a traceback
        self.unexpected_output: list[str] = []

    def read_output(self) -> None:
        """Take what was reported since the last call."""
        *lines, self._rest = (self._rest + self._output.read()).split("\n")
        for line in lines:
            try:
                value = json.loads(line)
            except ValueError:
                self.unexpected_output.append(line)
                continue
            if isinstance(value, dict):
                self.observations.append(Observation(**value))
            else:
                self.rendezvous_over = True

    @property
    def ended(self) -> bool:
        """Whether the process has ended, well or not."""
        return self.process.poll() is not None


def main() -> None:
    """Ask everything in the plan, the rendezvous first."""
    plan = Plan(**json.loads(sys.argv[1]))
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=0)
    with httpx2.Client(timeout=REQUEST_SECONDS, limits=limits, trust_env=False) as http:
        timers = {url: RaceTimer() for url in plan.urls}

        def ask(number: int) -> None:
            report(asdict(DrillClient(plan, plan.question(number), http, timers).run()))

        with ThreadPoolExecutor(RENDEZVOUS_CLIENTS) as pool:
            list(pool.map(ask, range(plan.rendezvous)))
        report(RENDEZVOUS_OVER)
        with ThreadPoolExecutor(plan.clients) as pool:
            list(pool.map(ask, range(plan.rendezvous, plan.generations)))


_REPORTING: Final = threading.Lock()


def report(value: object) -> None:
    """Print one line, whole."""
    with _REPORTING:
        print(json.dumps(value), flush=True)


if __name__ == "__main__":
    main()
