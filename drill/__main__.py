"""`outlive drill --local` or `--against URL`: break it, and prove that no character was lost."""

import argparse
import random
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from drill import local_run, remote_run, report
from drill.faults import FAULT_KINDS
from drill.fleet import TIMINGS
from local.processes import ROOT
from local.terminal import echo

LEDGER = ROOT / "var" / "drill.json"


def main(arguments: Sequence[str]) -> int:
    """Run one drill; 0 when nothing was found, 1 when something was, 2 when it cannot be run."""
    options = parse(arguments)
    for number in (signal.SIGINT, signal.SIGTERM):  # both ask it to end
        signal.signal(number, signal.default_int_handler)
    echo(f"Drill with seed {options.seed}: {options.generations} generations")
    try:
        run, timings = (local_run.run if options.local else remote_run.run)(options)
    except remote_run.NotScripted as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        echo("Interrupted; nothing is left behind")
        return 130
    for violation in run.violations[:50]:
        echo(f"  VIOLATION  {violation}")
    runs = report.resume(options.resume, run) if options.resume else [run]
    echo(
        f"\nThis run and {len(runs) - 1} earlier ones of the same commit\n" if len(runs) > 1 else ""
    )
    for line in report.table(report.added(runs), timings):
        echo(line)
    if run.violations:
        echo(f"\nRun it again: outlive drill {_again(options)}")
    return 1 if run.violations else 0


def _again(options: argparse.Namespace) -> str:
    """The arguments that ask the same questions and inject the same faults in the same order."""
    where = (
        f"--timings {options.timings} --local" if options.local else f"--against {options.against}"
    )
    kinds = "all" if options.faults == list(FAULT_KINDS) else ",".join(options.faults) or "none"
    return (
        f"{where} --generations {options.generations} --people {options.people}"
        f" --rendezvous {options.rendezvous} --workers {options.workers} --faults {kinds}"
        f" --seed {options.seed}"
    )


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="outlive drill",
        description="Break everything while answers are written, and check every character.",
        epilog="Kinds of faults: " + ", ".join(FAULT_KINDS),
    )
    add = parser.add_argument
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--local", action="store_true", help="on servers and processes of its own")
    where.add_argument(
        "--against", metavar="URL", help="a deployment whose model is the scripted provider"
    )
    add("--generations", type=int, default=300, help="answers to ask for (%(default)s)")
    add("--seed", type=int, help="repeat the drill with this seed")
    add("--people", type=int, default=16, help="clients at a time (%(default)s)")
    add("--seconds", type=float, default=600, help="the longest it may take (%(default)s)")
    add("--resume", type=Path, nargs="?", const=LEDGER, metavar="FILE",
        help="add up with earlier runs of this commit, in FILE (var/drill.json)")  # fmt: skip
    add("--rendezvous", type=int,
        help="with --local: readers that arrive as the last text does (an eighth)")  # fmt: skip
    add("--first", action="store_true", help="with --local: stop at the first violation")
    add("--workers", type=int, default=4, help="with --local (%(default)s)")
    add("--timings", choices=TIMINGS, default="short",
        help="with --local: short leases, or the default ones (%(default)s)")  # fmt: skip
    add("--faults", default="all", help="with --local: all, none, or kinds (a,b,c)")
    add("--pid", type=int, action="append", default=[],
        help="with --against: a process to stop now and then, and to kill late")  # fmt: skip
    options = parser.parse_args(arguments)
    options.faults = _kinds(parser, options.faults)
    if options.rendezvous is None:
        options.rendezvous = min(options.generations // 8, 40)
    if options.seed is None:
        options.seed = random.SystemRandom().randrange(10**6)
    return options


def _kinds(parser: argparse.ArgumentParser, names: str) -> list[str]:
    if names in ("all", "none"):
        return list(FAULT_KINDS) if names == "all" else []
    unknown = [name for name in names.split(",") if name not in FAULT_KINDS]
    if unknown:
        parser.error(f"no such kind of fault: {', '.join(unknown)}")
    return names.split(",")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
