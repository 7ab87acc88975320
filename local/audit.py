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
    if isinstance(found, str):
        return _not_audited(found)
    known = [one for one in found if "skip_reason" not in one]
    vulnerable = [
        f"{one['name']} {one['version']}: {flaw['id']},"
        f" mended in {', '.join(flaw['fix_versions']) or 'no version yet'}"
        for one in known
        for flaw in one["vulns"]
    ]
    if known:
        print("\n".join(vulnerable) or f"No known vulnerability in {len(known)} packages")
    if vulnerable:
        return 1
    unknown = len(found) - len(known)
    return _not_audited(f"PyPI does not know {unknown} packages") if unknown else 0


def _audit() -> list[dict[str, Any]] | str:
    """What pip-audit says about each package; or why it could not say."""
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
    except subprocess.TimeoutExpired:
        return f"PyPI did not answer within {SECONDS} s"
    try:  # its exit status is the same for an error and for a finding
        return list(json.loads(done.stdout)["dependencies"])
    except (ValueError, KeyError):
        return (done.stderr.strip() or "pip-audit said nothing").splitlines()[-1]


def _not_audited(why: str) -> int:
    must = os.environ.get("OUTLIVE_AUDIT") == "must"
    print(f"NOT AUDITED for known vulnerabilities: {why}", file=sys.stderr)
    return 1 if must else 0


if __name__ == "__main__":
    sys.exit(main())
