"""Known vulnerabilities in what is installed, by pip-audit: `python -m local.audit`.

It asks PyPI about every locked version. Without a network, or behind a mirror that does not know,
nothing can be said: then it prints so and fails nothing, since the code has not changed. With
OUTLIVE_AUDIT=must that is a failure too, for a job that has a network.
"""

import json
import os
import subprocess
import sys
from typing import Any, Final

from local.processes import BIN, ROOT

#: The locks: what people install, and what developers do. (The second has the first in it.)
LOCKS: Final = ("requirements/dev.txt", "requirements/model.txt")
#: Vulnerabilities that do not concern us: their id, and why.
ACCEPTED: Final[dict[str, str]] = {}
#: Seconds for all of it; PyPI's answers are cached for the next time.
SECONDS: Final = 60


def main() -> int:
    """Audit; the exit status is 1 if a version has a vulnerability that is not accepted."""
    found = _audit()
    if found is None:
        return _not_audited("PyPI cannot be reached")
    unknown = [one["name"] for one in found if "skip_reason" in one]
    known = [one for one in found if "skip_reason" not in one]
    vulnerable = [
        f"{one['name']} {one['version']}: {flaw['id']},"
        f" mended in {', '.join(flaw['fix_versions']) or 'no version yet'}"
        for one in known
        for flaw in one["vulns"]
    ]
    print("\n".join(vulnerable) or f"No known vulnerability in {len(known)} packages")
    if vulnerable:
        return 1
    return _not_audited(f"PyPI does not know {len(unknown)} packages") if unknown else 0


def _audit() -> list[dict[str, Any]] | None:
    """What pip-audit says about each package; None if it could not ask."""
    words = [f"--requirement={lock}" for lock in LOCKS]
    words += [f"--ignore-vuln={one}" for one in ACCEPTED]
    try:
        done = subprocess.run(
            [
                BIN / "pip-audit", "--format=json", "--progress-spinner=off", "--desc=off",
                "--disable-pip", "--require-hashes", "--timeout=5", *words,
            ],
            cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False,
        )  # fmt: skip
        return list(json.loads(done.stdout)["dependencies"])
    except (subprocess.TimeoutExpired, ValueError, KeyError):
        return None


def _not_audited(why: str) -> int:
    must = os.environ.get("OUTLIVE_AUDIT") == "must"
    print(f"NOT AUDITED for known vulnerabilities: {why}", file=sys.stderr)
    return 1 if must else 0


if __name__ == "__main__":
    sys.exit(main())
