"""Credentials that were found good lately, so that not every request costs a check.

A token is kept as its SHA-256 only.
"""

import hashlib
import time
from collections.abc import Callable
from typing import Final

from web.auth.principal import Principal
from web.auth.revocations import Revocations

#: Entries of one cache; each takes about half a kilobyte.
MOST: Final = 10_000


class Checked:
    """The principals of tokens, each for a minute at most."""

    def __init__(self, revocations: Revocations) -> None:
        self._revocations = revocations
        self._found: dict[bytes, Principal] = {}

    def get_or(self, check: Callable[[], Principal], *token: str) -> Principal:
        """The principal that is known, or that `check` finds. Raises what `check` raises."""
        found = self.get(*token)
        if found is None:
            found = check()
            self.put(found, *token)
        return found

    def get(self, *token: str) -> Principal | None:
        """The principal, if what was found is still current."""
        key = _digest(token)
        found = self._found.get(key)
        if found is None:
            return None
        expired = found.expires_at is not None and found.expires_at <= time.time()
        if expired or not self._revocations.is_current(found):
            self._found.pop(key, None)
            return None
        return found

    def put(self, principal: Principal, *token: str) -> None:
        """Keep it, in the place of the oldest if there are too many."""
        if len(self._found) >= MOST:
            del self._found[next(iter(self._found))]
        self._found[_digest(token)] = principal


def _digest(token: tuple[str, ...]) -> bytes:
    # no header has a NUL in it
    return hashlib.sha256("\0".join(token).encode()).digest()
