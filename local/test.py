"""`outlive test [pytest's arguments]`: all tests, on real servers, with a real browser."""

import os
import sys
from collections.abc import Sequence

from local import chromium
from local.processes import ROOT

WITHOUT_BROWSER = """\
+---------------------------------------------------------------------------------+
| No Chromium here: THE BROWSER TESTS ARE NOT RUN.                                |
| Install it (Debian, Ubuntu: apt install chromium) or name it in CHROMIUM.       |
+---------------------------------------------------------------------------------+"""

#: All of it: two files at a time, each on servers of its own, in the order of tests/conftest.py.
WHOLE = ("--numprocesses", "2", "--dist", "loadfile", "--no-loadscope-reorder")


def main(arguments: Sequence[str]) -> None:
    """Become pytest. Where nobody watches, a missing browser is a failure, not a skip."""
    browser = chromium.find()
    if browser:
        os.environ["CHROMIUM"] = browser
    elif os.environ.get("CI") == "true":
        sys.exit(f"{WITHOUT_BROWSER}\nWith CI=true that is an error.")
    else:
        print(WITHOUT_BROWSER, flush=True)
    os.chdir(ROOT)
    words = arguments or WHOLE
    os.execv(sys.executable, [sys.executable, "-m", "pytest", *words])  # noqa: S606


if __name__ == "__main__":
    main(sys.argv[1:])
