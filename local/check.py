"""`outlive check`: all static checks."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from local.processes import BIN, ROOT

#: What bandit reads: all that runs. (tests/ and bench/ break rules on purpose.)
ROOMS = ("web", "worker", "shared", "cli", "doctor", "local", "drill", "scripted", "clients/python")
CHECKS = (
    ("ruff", "check", "."),
    ("ruff", "format", "--check", "."),
    ("mypy",),
    ("lint-imports",),
    ("bandit", "--quiet", "--configfile", "pyproject.toml", "--recursive", *ROOMS),
    ("python", "-m", "local.secret_scan"),
    ("python", "-m", "local.audit"),
)


def main() -> int:
    """Run every check, also after one has failed; the exit status is the number of failures.

    They run side by side, and what each printed follows in their order.
    """
    failed = []
    with ThreadPoolExecutor(len(CHECKS)) as pool:
        for check, done in zip(CHECKS, pool.map(_run, CHECKS), strict=True):
            print(f"$ {' '.join(check)}\n{done.stdout}", end="", flush=True)
            failed += [" ".join(check[:3])] if done.returncode else []
    print(f"Failed: {', '.join(failed)}" if failed else "All checks passed", flush=True)
    return len(failed)


def _run(check: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BIN / check[0], *check[1:]],
        cwd=ROOT,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


if __name__ == "__main__":
    sys.exit(main())
