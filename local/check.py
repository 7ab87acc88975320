"""`outlive check`: all static checks."""

import subprocess
import sys

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
    """Run every check, also after one has failed; the exit status is the number of failures."""
    failed = []
    for check in CHECKS:
        print(f"$ {' '.join(check)}", flush=True)
        done = subprocess.run([BIN / check[0], *check[1:]], cwd=ROOT, check=False)
        failed += [" ".join(check[:3])] if done.returncode else []
    print(f"Failed: {', '.join(failed)}" if failed else "All checks passed", flush=True)
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
