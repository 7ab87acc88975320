"""`outlive test [pytest's arguments]`: runs pytest on all tests, or on those that are named.

The servers and the browser are started by the fixtures (tests/rig.py).

With `--record-durations` alone it runs all of them, too, and notes how long each file took
(tests/durations.json), so that the next runs begin with the longest.
"""

import os
import sys
from collections.abc import Sequence

from local import chromium, foreign
from local.processes import ROOT

#: All tests: three files at a time, each on servers of its own, in the order of tests/conftest.py.
#: On two cores, as a test waits for half of its time. See tests/turns_of_tests.py.
WHOLE = ("--numprocesses", "3", "--dist", "loadfile", "--no-loadscope-reorder")


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
    words = [*WHOLE, *arguments] if whole else arguments
    os.execv(sys.executable, [sys.executable, "-m", "pytest", *words])  # noqa: S606


if __name__ == "__main__":
    main(sys.argv[1:])
