"""A drill against a running deployment: over HTTP, and on the processes that `--pid` names.

Its model has to be the scripted provider (`python -m scripted`), whose text is a pure function of
the question, so every character of every answer is known beforehand.
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
from drill.clients import ClientProcess
from drill.plan import Plan
from drill.reading import PromiseBroken, Reading
from drill.report import Run
from drill.verifier import Findings, InjectedFault, verify
from local.processes import program_name
from local.terminal import echo
from scripted import done, expected, finish, hostile, script

#: Seconds between two faults of a named process, and for which it is stopped.
PACE = (2.0, 6.0)
STOPPED = (0.5, 5.0)
#: After this share of the questions the named processes are killed.
KILL_AT = 0.6
#: Seconds between two polls of the clients.
POLL_EVERY = 0.1


class NotScripted(Exception):
    """There is no deployment at that address that can be drilled. The message is for the user."""


def run(options: argparse.Namespace) -> tuple[Run, str]:
    """Ask, cut our own connections, and stop and kill what was named."""
    url = options.against.rstrip("/")
    _check(url)
    begun = time.monotonic()
    plan = Plan([url], "", options.seed, uuid4().hex, options.generations, options.people,
                rendezvous=0)  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="outlive-drill-") as folder:
        clients = ClientProcess(plan, Path(folder) / "clients.jsonl")
        try:
            faults = _watch(options, clients, begun)
        finally:
            clients.process.kill()
    findings: Findings = verify(plan.questions(), clients.observations, faults, None, None)
    findings.violations += clients.unexpected_output
    if missing := options.generations - len(clients.observations):
        findings.violations.append(f"{missing} questions were not answered")
    seconds = time.monotonic() - begun
    plain = Run(options.seed, report.commit(), "theirs", round(seconds, 1))
    return report.counted(plain, clients.observations, faults, findings), "those of the deployment"


def _check(url: str) -> None:
    """Raise NotScripted unless it answers, and with the scripted provider's text."""
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
            f"The model of {url} is not the scripted provider. Start one with\n"
            "  python -m scripted --port 9000\n"
            "and start the deployment to be drilled with OPENAI_BASE_URL=http://…:9000/v1."
        )


def _watch(
    options: argparse.Namespace, clients: ClientProcess, begun: float
) -> list[InjectedFault]:
    """Wait for the clients; meanwhile stop the named processes now and then, and kill them late."""
    rng = random.Random(options.seed)  # noqa: S311 - a drill has no secrets
    faults: list[InjectedFault] = []
    stopped: dict[int, float] = {}
    due = time.monotonic() + rng.uniform(*PACE)
    shown = begun
    try:
        while not clients.ended:
            time.sleep(POLL_EVERY)
            clients.read_output()
            now = time.monotonic()
            for pid in [pid for pid, until in stopped.items() if now >= until]:
                _signal(pid, signal.SIGCONT)
                del stopped[pid]
            pids = [pid for pid in options.pid if program_name(pid) and pid not in stopped]
            if pids and now >= due:
                due = now + rng.uniform(*PACE)
                late = len(clients.observations) > KILL_AT * options.generations
                fault = _inject(rng, rng.choice(pids), stopped, kill=late)
                faults.append(fault)
                echo(f"  {now - begun:6.1f} s  {len(clients.observations)}/{options.generations}"
                    f"  {fault.kind}  {fault.what}")  # fmt: skip
            elif now > shown + 5:
                shown = now
                echo(f"  {now - begun:6.1f} s  {len(clients.observations)}/{options.generations}")
            if now > begun + options.seconds:
                clients.process.kill()
                clients.unexpected_output.append("the clients were not done in time")
    finally:
        for pid in stopped:
            _signal(pid, signal.SIGCONT)
    clients.read_output()
    return faults


def _inject(
    rng: random.Random, pid: int, stopped: dict[int, float], *, kill: bool
) -> InjectedFault:
    if kill:
        _signal(pid, signal.SIGKILL)
        return InjectedFault("process-kill", f"process {pid}", time.time(), running=True)
    seconds = rng.uniform(*STOPPED)
    _signal(pid, signal.SIGSTOP)
    stopped[pid] = time.monotonic() + seconds
    what = f"process {pid}, for {seconds:.1f} s"
    now = time.time()
    return InjectedFault("process-freeze", what, now, running=True, ended=now + seconds)


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)
