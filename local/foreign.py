"""Third-party programs that some tests need and that are in no wheel.

In CI each of them has to be there (`.ci/run` installs them). Elsewhere the tests that need a
missing one are skipped, and `outlive test` says so before it starts.
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

#: Debian keeps servers in folders that are often not in a user's PATH.
_SBIN: Final = "/usr/sbin:/usr/local/sbin"


class Foreign(NamedTuple):
    """A program, and what is not tested without it."""

    name: str
    #: Debian's package
    package: str
    tests: str

    def find(self) -> str | None:
        """Its path, or None."""
        return shutil.which(self.name, path=f"{os.environ.get('PATH', '')}:{_SBIN}")


PROGRAMS: Final[Mapping[str, Foreign]] = {
    program.name: program
    for program in (
        Foreign("nginx", "nginx-light", "the product behind a proxy"),
        Foreign("pgbouncer", "pgbouncer", "the product behind a connection pooler"),
        Foreign("systemd-analyze", "systemd", "the units of a deployment"),
        Foreign("faketime", "faketime", "jumps of the database's clock"),
        Foreign("openssl", "openssl", "certificates, of the proxy and unknown ones"),
        Foreign("node", "nodejs", "stock clients from npm"),
        Foreign("npm", "npm", "stock clients from npm"),
        Foreign("curl", "curl", "a client of the streams"),
        Foreign("firefox-esr", "firefox-esr", "the page in Firefox"),
    )
}


def libfaketime() -> str | None:
    """The library that fakes the time, for LD_PRELOAD; None where it is not installed."""
    places = ("/usr/lib/*/faketime", "/usr/lib/faketime", "/usr/local/lib/faketime")
    for place in places:
        root, _, rest = place.partition("*")
        folders = Path(root).glob(f"*{rest}") if rest else [Path(place)]
        for folder in folders:
            if (found := folder / "libfaketime.so.1").exists():
                return str(found)
    return None
