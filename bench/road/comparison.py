"""Run the workloads on every target in turn, as often as asked, and report what they measured.

Repetitions are interleaved (us, passthrough, follower, us, ...), so that changes of the load affect
all of them; the median is reported.
"""

import argparse
import json
import platform
import statistics
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

from bench.road import picture, targets
from bench.road.targets import TARGETS, Load, Process, Target
from bench.road.workloads import WORKLOADS, Bench, Numbers, Row, Workload
from local import data_dirs
from local.processes import ROOT

#: Where results go.
RESULTS: Final = ROOT / "var" / "bench"
REPEAT: Final = 3


@dataclass
class Results:
    """All numbers: workload, target, one dictionary a repetition."""

    numbers: dict[str, dict[str, list[Numbers]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )

    def median(self, workload: str, target: str, key: str) -> float | None:
        """A number's median; None where that was not measured."""
        found = [one[key] for one in self.numbers[workload].get(target, ()) if key in one]
        return statistics.median(found) if found else None

    def wrong(self) -> list[str]:
        """Whatever must not be and was."""
        return [
            f"{target}, {workload}: {key} {value:g}"
            for workload, found in self.numbers.items()
            for target, repetitions in found.items()
            for one in repetitions
            for key, value in one.items()
            if key.startswith("wrong") and value
        ]


class Field:
    """The targets, started when they are needed."""

    def __init__(
        self, home: Path, provider: Process, stack: ExitStack, before: Path | None
    ) -> None:
        self._home = home
        self._makers = targets.makers(before)
        self._provider = provider
        self._stack = stack
        self._running: dict[str, tuple[Target, ExitStack]] = {}
        self._number = 0

    def target(self, name: str, fresh: bool) -> Target:
        """One that runs; `fresh`: and has done nothing yet."""
        if name in self._running and fresh:
            self._running.pop(name)[1].close()
        if name not in self._running:
            self._number += 1
            stack = self._stack.enter_context(ExitStack())
            made = self._makers[name](self._home / f"{name}-{self._number}", self._provider.url)
            self._running[name] = stack.enter_context(made), stack
        return self._running[name][0]


def run(arguments: Sequence[str]) -> int:
    """Run what the arguments ask for; the exit status."""
    asked = _asked(arguments)
    peers = [name for name in asked.peers.split(",") if name]
    if unknown := [name for name in peers if name not in TARGETS]:
        print(f"There is no peer {', '.join(unknown)}; there are: {', '.join(TARGETS)}.")
        return 2
    if "follower" in peers and (why := targets.install()):
        print(f"  The peer follower is left out: {why}.", flush=True)
        peers.remove("follower")
    if asked.before is not None:
        peers.insert(peers.index("us") + 1 if "us" in peers else 0, "before")
    targets.allow_files()
    results = _measured(asked, peers)
    _print_table(results, asked.workloads, peers)
    asked.out.mkdir(parents=True, exist_ok=True)
    file = asked.out / "road.json"
    file.write_text(json.dumps({"machine": _machine(), "numbers": results.numbers}, indent=1))
    (asked.out / "road.svg").write_text(picture.draw(results, asked.workloads, peers))
    (asked.out / "road.md").write_text(_markdown(results, asked.workloads, peers))
    print(f"\n  Numbers, picture and table: {file}, road.svg, road.md")
    for line in results.wrong():
        print(f"  WRONG: {line}", flush=True)
    # What a peer loses when it is asked too much is its own.
    return 1 if any(line.startswith(("us,", "chat,")) for line in results.wrong()) else 0


def _asked(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("outlive bench road", description=__doc__)
    known = ", ".join(WORKLOADS)
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help=f"of {known}")
    parser.add_argument("--repeat", type=int, default=REPEAT, help="repetitions of each")
    parser.add_argument("--peers", default=",".join(TARGETS), help="which targets, by comma")
    parser.add_argument("--stall", type=float, default=60.0, help="seconds of the stalled reader")
    parser.add_argument(
        "--before", type=Path, help="another checkout, set up, that runs beside this one"
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help="a folder for the results")
    asked = parser.parse_args(arguments)
    if unknown := [name for name in asked.workloads if name not in WORKLOADS]:
        parser.error(f"no workload {', '.join(unknown)}; there are: {known}")
    asked.workloads = asked.workloads or list(WORKLOADS)
    return asked


def _machine() -> dict[str, Any]:
    return {
        "cores": targets.cores(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def _measured(asked: argparse.Namespace, peers: Sequence[str]) -> Results:
    results = Results()
    with data_dirs.temporary() as home, ExitStack() as stack:
        provider = stack.enter_context(targets.provider(home))
        load = stack.enter_context(Load(home))
        store = Field(home, provider, stack, asked.before)
        for name in asked.workloads:
            workload = WORKLOADS[name]
            print(f"\n  {name}: {workload.run.__doc__}", flush=True)
            for _ in range(1 if workload.once else asked.repeat):
                for peer in (one for one in peers if one in (*workload.peers, "before")):
                    bench = Bench(partial(store.target, peer), load, asked.stall)
                    if workload.fresh:
                        bench.renew()
                    begun = time.monotonic()
                    found = workload.run(bench)
                    results.numbers[name][peer].append(found)
                    _progress(peer, workload, found, time.monotonic() - begun)
    return results


def _progress(peer: str, workload: Workload, found: Numbers, seconds: float) -> None:
    shown = [f"{row.key} {_shown(found[row.key] / row.of)} {row.unit}" for row in workload.rows]
    if found.get("unfinished"):
        shown.append(f"{found['unfinished']:g} unfinished")
    print(f"    {peer:<12} {', '.join(shown)}   ({seconds:.0f} s)", flush=True)


def _print_table(results: Results, workloads: Sequence[str], peers: Sequence[str]) -> None:
    """The table: values, ratios, and whether they are what they have to be."""
    print(f"\n  {'':<42}{''.join(f'{peer:>14}' for peer in peers)}   goals", flush=True)
    for name in workloads:
        for row in WORKLOADS[name].rows:
            print(f"  {row.label:<42}{line(results, name, row, peers)}", flush=True)


def line(results: Results, workload: str, row: Row, peers: Sequence[str]) -> str:
    """One line: a value for each target, then each goal with the ratio that was reached."""
    values = {peer: results.median(workload, peer, row.key) for peer in peers}
    shown = "".join(f"{_with_unit(values[peer], row):>14}" for peer in peers)
    return f"{shown}   {'; '.join(verdicts(row, values))}"


def verdicts(row: Row, values: Mapping[str, float | None]) -> list[str]:
    """What is asked of our number, what it is, and "met" or "missed"."""
    ours = values.get("us")
    if ours is None:
        return []
    known = {peer: value / row.of for peer, value in values.items() if value is not None}
    found = [f"{known['us'] / known['before']:.2f} × before"] if known.get("before") else []
    for kind, goals in (("", row.least), ("aim ", row.aim)):
        for goal in goals:
            bound = goal.bound(known)
            if bound is None:
                continue
            reached = f"{known['us'] / known[goal.peer]:.2f} ×" if goal.peer else ""
            met = "met" if goal.met(known["us"], bound) else "MISSED"
            found.append(f"{kind}{goal}: {reached or _shown(known['us'])} {met}")
    return found


def _markdown(results: Results, workloads: Sequence[str], peers: Sequence[str]) -> str:
    """The table as docs/performance.md shows it."""
    lines = [
        f"| workload | {' | '.join(peers)} | goals |",
        f"| --- |{' ---: |' * len(peers)} --- |",
    ]
    for name in workloads:
        for row in WORKLOADS[name].rows:
            values = {peer: results.median(name, peer, row.key) for peer in peers}
            cells = [row.label, *(_with_unit(values[peer], row) for peer in peers)]
            lines.append(f"| {' | '.join([*cells, '<br>'.join(verdicts(row, values))])} |")
    return "\n".join(lines) + "\n"


def _with_unit(value: float | None, row: Row) -> str:
    return "-" if value is None else f"{_shown(value / row.of)} {row.unit}"


def _shown(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 20 else f"{value:.2f}"
