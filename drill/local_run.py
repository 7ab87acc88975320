"""A drill on servers and processes of its own."""

import argparse
import os
import random
import shutil
import time
from collections import Counter
from pathlib import Path
from uuid import uuid4

from drill import report
from drill.clients import ClientProcess
from drill.database_probe import DatabaseProbe
from drill.faults import FaultContext
from drill.fleet import TIMINGS, Fleet
from drill.plan import Plan
from drill.report import Run
from drill.scheduler import Scheduler
from drill.verifier import verify
from local import data_dirs
from local.foreign import libfaketime
from local.processes import ROOT
from local.terminal import echo
from shared.jobs import Queue, make_app
from shared.settings import Settings

#: Where the logs of a drill that found something are kept.
KEPT = ROOT / "var" / "drill"
#: Seconds after the last reader in which every row must have ended.
SETTLE_SECONDS = 40.0


def run(options: argparse.Namespace) -> tuple[Run, str]:
    """Run a drill; its numbers, and its timings in words."""
    for name in [name for name in os.environ if name.startswith("OUTLIVE_")]:
        del os.environ[name]  # the user's own settings are not the drill's
    with data_dirs.temporary() as home:
        echo("Starting servers, web and workers")
        clock = "clock-jump" in options.faults
        if clock and libfaketime() is None:
            echo("libfaketime is missing (Debian: apt install faketime): the clock does not jump")
            clock = False
        rng = _rng(options, "fleet")
        with Fleet(home, options.timings, options.workers, rng, clock=clock) as fleet:
            begun = time.monotonic()
            found = _drill(options, fleet, home, begun)
        if found.violations:
            place = KEPT / f"seed-{options.seed}"
            shutil.rmtree(place, ignore_errors=True)
            shutil.copytree(home / "log", place)
            echo(f"  The logs are in {place}")
    return found, _timings(options.timings)


def _rng(options: argparse.Namespace, purpose: str) -> random.Random:
    """A source for each purpose, so that the order in which they draw does not matter."""
    return random.Random(f"{options.seed} {purpose}")  # noqa: S311 - a drill has no secrets


def _drill(options: argparse.Namespace, fleet: Fleet, home: Path, begun: float) -> Run:
    plan = Plan(
        fleet.urls,
        fleet.provider.url,
        options.seed,
        uuid4().hex,
        options.generations,
        options.people,
        options.rendezvous,
    )
    probe = DatabaseProbe(fleet.cluster.url, fleet.lease)
    queue = Queue(make_app(Settings.model_validate({"REDIS_URL": fleet.redis.url}), 1.0))
    clients = ClientProcess(plan, home / "log" / "clients.jsonl")
    scheduler = Scheduler(
        FaultContext(fleet, probe, queue, _rng(options, "faults"), begun),
        clients,
        options.faults,
        plan.questions(),
        begun + options.seconds,
        seed=options.seed,
        first=options.first,
    )
    try:
        scheduler.run()
        if not options.first:
            _settle(fleet, probe, clients)
        return _result(options, scheduler, time.monotonic() - begun)
    finally:
        clients.process.kill()
        probe.close()


def _settle(fleet: Fleet, probe: DatabaseProbe, clients: ClientProcess) -> None:
    """Wait until everything is back and every answer has ended."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while probe.still_open() != 0:
        if time.monotonic() > deadline:
            clients.unexpected_output.append(
                f"answers are open {SETTLE_SECONDS:.0f} s after the last reader"
            )
            return
        fleet.restart_ended()
        time.sleep(0.1)


def _result(options: argparse.Namespace, scheduler: Scheduler, seconds: float) -> Run:
    calls = Counter(
        record.texts[-1] for record in scheduler.context.fleet.provider.requests() if record.texts
    )
    clients, probe = scheduler.clients, scheduler.context.probe
    rows = None if options.first else probe.rows()
    findings = verify(scheduler.questions, clients.observations, scheduler.faults, rows, calls)
    findings.violations += scheduler.late + clients.unexpected_output
    missing = len(scheduler.questions) - len(clients.observations)
    if missing and not options.first:
        findings.violations.append(f"{missing} questions were not answered")
    run = Run(
        options.seed,
        report.commit(),
        options.timings,
        round(seconds, 1),
        polls=probe.polls,
        late=len(scheduler.late),
    )
    return report.counted(run, clients.observations, scheduler.faults, findings)


def _timings(name: str) -> str:
    words = [
        f"{variable.removeprefix('OUTLIVE_').removesuffix('_SECONDS').lower()} {value} s"
        for variable, value in TIMINGS[name].items()
    ]
    return f"{name}: " + ", ".join(words)
