"""A drill against a deployment that is somebody else's: over HTTP, and processes that were named.

Its model has to be the scripted provider (`python -m scripted`), whose text is a pure
function of the question: so that we know every character of every answer beforehand.
"""

import argparse
import os
import random
import signal
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import httpx2

from drill import report
from drill.clients import Task
from drill.reading import PromiseBroken, Reading
from drill.report import Run
from drill.scheduler import People
from drill.verifier import Happened, Verdict, verify
from local.processes import program_name
from local.terminal import echo
from scripted import done, expected, finish, hostile, script

#: Seconds between two things that are done to a named process, and for which it is stopped.
PACE = (2.0, 6.0)
STOPPED = (0.5, 5.0)
#: Behind this share of the questions the named processes are killed.
KILL_AT = 0.6
TURN = 0.1


class NotScripted(Exception):
    """There is nothing to be drilled at that address. The message is for a person."""


def run(options: argparse.Namespace) -> tuple[Run, str]:
    """Ask, cut our own connections, and stop and kill what was named."""
    url = options.against.rstrip("/")
    _check(url)
    begun = time.monotonic()
    task = Task([url], "", options.seed, uuid4().hex, options.generations, options.people,
                rendezvous=0)  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="outlive-drill-") as folder:
        people = People(task, Path(folder) / "people.jsonl")
        try:
            happened = _watch(options, people, begun)
        finally:
            people.process.kill()
    verdict: Verdict = verify(task.questions(), people.seen, happened, None, None)
    verdict.violations += people.strange
    if missing := options.generations - len(people.seen):
        verdict.violations.append(f"{missing} questions have no story")
    seconds = time.monotonic() - begun
    plain = Run(options.seed, report.commit(), "theirs", round(seconds, 1))
    return report.counted(plain, people.seen, happened, verdict), "those of the deployment"


def _check(url: str) -> None:
    """Whether it answers, and with the scripted provider's words."""
    probe = script(hostile(200), finish(), done())
    try:
        with httpx2.Client(base_url=url, timeout=10, trust_env=False) as http:
            place = http.post("/api/conversations", json={}).raise_for_status().json()["id"]
            asked = http.post(f"/api/conversations/{place}/messages", json={"content": probe})
            answer = asked.raise_for_status().json()["assistant"]["id"]
        reading = Reading(answer, [url]).to_end()
    except (httpx2.HTTPError, ValueError, KeyError, PromiseBroken) as error:
        raise NotScripted(f"Outlive does not answer at {url}: {type(error).__name__}") from error
    if reading.text != expected(probe).text:
        raise NotScripted(
            f"The model behind {url} is not the scripted provider. Start one with\n"
            "  python -m scripted --port 9000\n"
            "and start the deployment to be drilled with OPENAI_BASE_URL=http://…:9000/v1."
        )


def _watch(options: argparse.Namespace, people: People, begun: float) -> list[Happened]:
    """Wait for the people; meanwhile stop the named processes now and then, and kill them late."""
    dice = random.Random(options.seed)  # noqa: S311 - a drill has no secrets
    happened: list[Happened] = []
    stopped: dict[int, float] = {}
    due = time.monotonic() + dice.uniform(*PACE)
    told = begun
    try:
        while not people.gone:
            time.sleep(TURN)
            people.listen()
            now = time.monotonic()
            for pid in [pid for pid, until in stopped.items() if now >= until]:
                _signal(pid, signal.SIGCONT)
                del stopped[pid]
            pids = [pid for pid in options.pid if program_name(pid) and pid not in stopped]
            if pids and now >= due:
                due = now + dice.uniform(*PACE)
                late = len(people.seen) > KILL_AT * options.generations
                one = _harm(dice, dice.choice(pids), stopped, kill=late)
                happened.append(one)
                echo(f"  {now - begun:6.1f} s  {len(people.seen)}/{options.generations}"
                    f"  {one.kind}  {one.what}")  # fmt: skip
            elif now > told + 5:
                told = now
                echo(f"  {now - begun:6.1f} s  {len(people.seen)}/{options.generations}")
            if now > begun + options.seconds:
                people.process.kill()
                people.strange.append("the drill's time was over before its people were")
    finally:
        for pid in stopped:
            _signal(pid, signal.SIGCONT)
    people.listen()
    return happened


def _harm(dice: random.Random, pid: int, stopped: dict[int, float], *, kill: bool) -> Happened:
    if kill:
        _signal(pid, signal.SIGKILL)
        return Happened("process-kill", f"process {pid}", time.time(), running=True)
    seconds = dice.uniform(*STOPPED)
    _signal(pid, signal.SIGSTOP)
    stopped[pid] = time.monotonic() + seconds
    what = f"process {pid}, for {seconds:.1f} s"
    now = time.time()
    return Happened("process-freeze", what, now, running=True, ended=now + seconds)


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
