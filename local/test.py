"""`outlive test [pytest's arguments]`: runs pytest on all tests, or on those that are named.

The servers and the browser are started by the fixtures (tests/rig.py).

In a run of all tests, a few that failed are run once more when nothing else runs: two files of
tests and all their processes share two cores, so one may have been late. What fails again has
failed; what passes is named.

With `--record-durations` alone it runs all of them, too, and notes how long each file took
(tests/durations.json), so that the next runs begin with the longest.
"""

import os
import sys
from collections.abc import Sequence

import pytest

from local import chromium, foreign
from local.processes import ROOT

#: All tests: two files at a time, each on servers of its own, in the order of tests/conftest.py.
#: On two slow cores three are late in too many places. See tests/turns_of_tests.py.
WHOLE = ("--numprocesses", "2", "--dist", "loadfile", "--no-loadscope-reorder")
#: So many failed tests at most may be late ones; more are no accident.
LATE = 12


class Failures:
    """Names the tests that failed in a run, of all its processes."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and report.nodeid not in self.names:
            self.names.append(report.nodeid)

    @property
    def may_be_late(self) -> bool:
        """Whether it is worth to run them once more."""
        return 0 < len(self.names) <= LATE


def missing() -> list[str]:
    """A line for each missing program: what is not tested without it, and how to install it."""
    lines = [
        f"{program.name:<10} {program.tests}. Debian, Ubuntu: apt install {program.package}"
        for program in foreign.PROGRAMS.values()
        if program.find() is None
    ]
    if chromium.find() is None:
        lines.append("chromium   the browser tests. apt install chromium, or name it in CHROMIUM")
    return lines


def main(arguments: Sequence[str]) -> None:
    """Exec pytest. In CI a missing program is an error; elsewhere its tests are skipped."""
    if lines := missing():
        print("Not on this machine, and therefore NOT TESTED:", *lines, sep="\n  ", flush=True)
        if os.environ.get("CI") == "true":
            sys.exit("With CI=true that is an error.")
    if browser := chromium.find():
        os.environ["CHROMIUM"] = browser
    os.chdir(ROOT)
    whole = set(arguments) <= {"--record-durations"}
    if whole:
        failures = Failures()
        code = pytest.main([*WHOLE, *arguments], [failures])
        if code != pytest.ExitCode.TESTS_FAILED or not failures.may_be_late:
            sys.exit(code)
        print("Failed beside other tests; once more, alone:", *failures.names, sep="\n  ")
        sys.stdout.flush()
        arguments = failures.names
    os.execv(sys.executable, [sys.executable, "-m", "pytest", *arguments])  # noqa: S606


if __name__ == "__main__":
    main(sys.argv[1:])
