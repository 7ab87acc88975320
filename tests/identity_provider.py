"""An identity provider as a process of its own; `tests.oidc_provider` is what it runs."""

import sys
from pathlib import Path
from typing import Any, Final

from local import ports
from local.processes import Command
from local.programs import answers_http
from local.server import Server

CLIENT_ID: Final = "outlive"
CLIENT_SECRET: Final = "a-secret-of-the-client-that-nobody-else-knows"
CALLBACK: Final = "/sign-in/oidc/callback"

#: What can be wrong with an ID token: claims that are other than they should be, or missing.
FLAWS: Final[dict[str, dict[str, Any]]] = {
    "nonce": {"nonce": "another"},
    "no nonce": {"nonce": None},
    "audience": {"aud": "another"},
    "audiences": {"aud": [CLIENT_ID, "another"]},
    "party": {"azp": "another"},
    "issuer": {"iss": "https://another.example"},
    "expired": {"exp": 1},
    "no expiry": {"exp": None},
    "future": {"iat": 1 << 40},
    "hash": {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"},
    "no subject": {"sub": None},
    "empty subject": {"sub": ""},
    "long subject": {"sub": "x" * 256},
    "number": {"sub": 1},
    # and what is wrong with the signature
    "key": {},
    "algorithm": {},
    "unsigned": {},
    # and with the whole response
    "no token": {},
    "huge": {},
    "html": {},
}


def oidc_settings() -> dict[str, str]:
    """The environment of a deployment that accepts a provider's word, at a port that is free."""
    return {
        "OUTLIVE_AUTH": "required",
        "OUTLIVE_OIDC_ISSUER": f"http://127.0.0.1:{ports.choose()}",
        "OUTLIVE_OIDC_CLIENT_ID": CLIENT_ID,
        "OUTLIVE_OIDC_CLIENT_SECRET": CLIENT_SECRET,
    }


class IdentityProvider(Server):
    """The process."""

    name = "oidc-provider"

    def __init__(self, home: Path, port: int, client: str) -> None:
        """`client`: the address of the only client."""
        super().__init__()
        self._home = home
        self._port = port
        self._client = client

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def command(self) -> Command:
        return Command(
            [sys.executable, "-m", "tests.oidc_provider", str(self._port), self._client],
            log=self._home / "oidc-provider.log",
            env={"AUTHLIB_INSECURE_TRANSPORT": "1"},
        )

    def ready(self) -> bool:
        return answers_http(self.url, "/keys")
