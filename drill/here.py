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
from drill.clients import Task
from drill.database_probe import DatabaseProbe
from drill.faults import Field
from drill.fleet import TIMINGS, Fleet
from drill.report import Run
from drill.scheduler import People, Scheduler
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
    """Break our own; the run in numbers, and its timings in words."""
    for name in [name for name in os.environ if name.startswith("OUTLIVE_")]:
        del os.environ[name]  # the person's own settings are not the drill's
    with data_dirs.temporary() as home:
        echo("Starting servers, web and workers")
        clock = "clock-jump" in options.faults
        if clock and libfaketime() is None:
            echo("libfaketime is missing (Debian: apt install faketime): the clock does not jump")
            clock = False
        dice = _dice(options, "fleet")
        with Fleet(home, options.timings, options.workers, dice, clock=clock) as fleet:
            begun = time.monotonic()
            found = _drill(options, fleet, home, begun)
        if found.violations:
            place = KEPT / f"seed-{options.seed}"
            shutil.rmtree(place, ignore_errors=True)
            shutil.copytree(home / "log", place)
            echo(f"  The logs are in {place}")
    return found, _timings(options.timings)


def _dice(options: argparse.Namespace, whose: str) -> random.Random:
    """Each has its own, so that the order in which they throw does not matter."""
    return random.Random(f"{options.seed} {whose}")  # noqa: S311 - a drill has no secrets


def _drill(options: argparse.Namespace, fleet: Fleet, home: Path, begun: float) -> Run:
    task = Task(
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
    people = People(task, home / "log" / "people.jsonl")
    scheduler = Scheduler(
        Field(fleet, probe, queue, _dice(options, "faults"), begun),
        people,
        options.faults,
        task.questions(),
        begun + options.seconds,
        seed=options.seed,
        first=options.first,
    )
    try:
        scheduler.run()
        if not options.first:
            _settle(fleet, probe, people)
        return _judged(options, scheduler, time.monotonic() - begun)
    finally:
        people.process.kill()
        probe.close()


def _settle(fleet: Fleet, probe: DatabaseProbe, people: People) -> None:
    """Let everything come back and end what nobody reads any more."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while probe.still_open() != 0:
        if time.monotonic() > deadline:
            people.strange.append(f"answers are open {SETTLE_SECONDS:.0f} s after the last reader")
            return
        fleet.tend()
        time.sleep(0.1)


def _judged(options: argparse.Namespace, scheduler: Scheduler, seconds: float) -> Run:
    calls = Counter(
        record.texts[-1] for record in scheduler.field.fleet.provider.requests() if record.texts
    )
    people, probe = scheduler.people, scheduler.field.probe
    rows = None if options.first else probe.rows()
    verdict = verify(scheduler.questions, people.seen, scheduler.happened, rows, calls)
    verdict.violations += scheduler.late + people.strange
    missing = len(scheduler.questions) - len(people.seen)
    if missing and not options.first:
        verdict.violations.append(f"{missing} questions have no story")
    run = Run(
        options.seed,
        report.commit(),
        options.timings,
        round(seconds, 1),
        looks=probe.looks,
        late=len(scheduler.late),
    )
    return report.counted(run, people.seen, scheduler.happened, verdict)


def _timings(name: str) -> str:
    words = [
        f"{variable.removeprefix('OUTLIVE_').removesuffix('_SECONDS').lower()} {value} s"
        for variable, value in TIMINGS[name].items()
    ]
    return f"{name}: " + ", ".join(words)
