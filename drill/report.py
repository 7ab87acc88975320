"""What a drill found: a table of numbers, and a ledger that adds up runs."""

import json
import subprocess
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from drill.percentiles import percentiles
from drill.plan import Observation
from drill.verifier import Findings, InjectedFault
from local.processes import ROOT
from local.saved_addresses import write_private


@dataclass
class Run:
    """One drill in numbers."""

    seed: int
    commit: str
    timings: str
    seconds: float
    statuses: dict[str, int] = field(default_factory=dict)
    characters: int = 0
    rendezvous: int = 0
    #: answers that were read by chat completions, and the responses that it took
    chats: int = 0
    chat_responses: int = 0
    connections: int = 0
    cuts: int = 0
    cuts_running: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    faults_running: int = 0
    #: polls of the deadlines of open rows, and rows found past theirs
    polls: int = 0
    late: int = 0
    #: seconds from a worker's death until the last reader knew
    truth: list[float] = field(default_factory=list)
    lost_together: int = 0
    #: answers that lost something with a failover, and the most characters that one lost
    went_back: int = 0
    lost_back: int = 0
    violations: list[str] = field(default_factory=list)

    @property
    def generations(self) -> int:
        """Answers that were asked for."""
        return sum(self.statuses.values())


def counted(
    run: Run,
    observations: Sequence[Observation],
    faults: Sequence[InjectedFault],
    findings: Findings,
) -> Run:
    """The run with the numbers of what was observed and injected."""
    return replace(
        run,
        statuses=dict(Counter(one.status or "?" for one in observations)),
        characters=sum(one.length for one in observations),
        rendezvous=sum(one.rendezvous for one in observations),
        chats=sum(one.chats > 0 for one in observations),
        chat_responses=sum(one.chats for one in observations),
        connections=sum(one.connections for one in observations),
        cuts=sum(one.cuts for one in observations),
        cuts_running=sum(one.cuts_running for one in observations),
        faults=dict(sorted(Counter(one.kind for one in faults).items())),
        faults_running=sum(one.running for one in faults),
        truth=[round(one, 2) for one in findings.truth],
        lost_together=findings.lost_together,
        went_back=findings.went_back,
        lost_back=findings.lost_back,
        violations=findings.violations,
    )


def added(runs: Iterable[Run]) -> Run:
    """Several runs as one; the seed and timings are the last one's."""
    runs = list(runs)
    last = runs[-1]
    whole = Run(last.seed, last.commit, " + ".join(sorted({run.timings for run in runs})), 0.0)
    for name, value in asdict(whole).items():
        parts = [getattr(run, name) for run in runs]
        if name in ("lost_together", "lost_back"):
            setattr(whole, name, max(parts))
        elif isinstance(value, dict):
            total: Counter[str] = Counter()
            for part in parts:
                total.update(part)
            setattr(whole, name, dict(sorted(total.items())))
        elif isinstance(value, list):
            setattr(whole, name, [item for part in parts for item in part])
        elif name not in ("seed", "commit", "timings"):
            setattr(whole, name, sum(parts))
    return whole


def table(run: Run, timings: str) -> list[str]:
    """The small table; `timings`: what was shortened, in words."""
    total = sum(run.faults.values())
    rows = [
        ("seed, commit", f"{run.seed}, {run.commit}"),
        ("timings", timings),
        ("seconds", f"{run.seconds:,.0f}"),
        ("generations", f"{run.generations:,}: {_listed(run.statuses)}"),
        ("characters", f"{run.characters:,}"),
        ("rendezvous", f"{run.rendezvous:,}"),
        ("read by chat completions", f"{run.chats:,}, in {run.chat_responses:,} responses"),
        ("connections of readers", f"{run.connections:,}"),
        (
            "  of which cut at a random byte",
            f"{run.cuts:,}, {run.cuts_running:,} while it was written",
        ),
        ("faults", f"{total:,}, {_share(run.faults_running, total)} while an answer was written"),
        *((f"  {kind}", f"{number:,}") for kind, number in run.faults.items()),
    ]
    if run.truth:
        rows.append(("", percentiles()))
        knows = "seconds from a worker's death until its readers know"
        rows.append((knows, f"{percentiles(run.truth)}   (promised: its lease and 5 s)"))
    if run.polls:
        rows.append(("rows open past their deadline + 5 s", f"{run.late} in {run.polls:,} polls"))
    if run.faults.get("postgres-failover"):
        rows.append(("answers that lost something with a failover", f"{run.went_back:,}"))
        most = f"{run.lost_back:,} at most (allowed: what those seconds wrote)"
        rows.append(("most characters that one of them lost", most))
    if run.faults.get("worker-and-redis-loss") or run.faults.get("redis-rewind"):
        most = f"{run.lost_together} at most (allowed: 200, or a second of text)"
        rows.append(("characters lost with a worker and Redis at once", most))
    rows.append(("violations", f"{len(run.violations)}"))
    width = max(len(name) for name, _ in rows)
    return [f"  {name:<{width}}  {value}" for name, value in rows]


def _listed(statuses: dict[str, int]) -> str:
    return ", ".join(f"{number:,} {status}" for status, number in sorted(statuses.items()))


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "none"


# --- the ledger ----------------------------------------------------------------------------------


def commit() -> str:
    """The commit that is checked out, `-changed` when files differ from it."""
    try:
        head = _git("rev-parse", "--short=12", "HEAD")
        return head + ("-changed" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def resume(file: Path, run: Run) -> list[Run]:
    """Add a run to the ledger; all runs of the same commit, this one last."""
    runs: list[dict[str, Any]] = json.loads(file.read_text()) if file.exists() else []
    runs.append(asdict(run))
    file.parent.mkdir(parents=True, exist_ok=True)
    write_private(file, json.dumps(runs, indent=1) + "\n")
    return [Run(**one) for one in runs if one["commit"] == run.commit]
