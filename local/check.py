"""`outlive check`: all static checks."""

import subprocess
import sys

from local.processes import BIN, ROOT

CHECKS = (
    ("ruff", "check", "."),
    ("ruff", "format", "--check", "."),
    ("mypy",),
    ("lint-imports",),
)


def main() -> int:
    """Run every check, also after one has failed; the exit status is the number of failures."""
    failed = []
    for check in CHECKS:
        print(f"$ {' '.join(check)}", flush=True)
        done = subprocess.run([BIN / check[0], *check[1:]], cwd=ROOT, check=False)
        failed += [check[0]] if done.returncode else []
    print(f"Failed: {', '.join(failed)}" if failed else "All checks passed", flush=True)
    return len(failed)


if __name__ == "__main__":
    sys.exit(main())
