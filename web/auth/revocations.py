"""What was revoked lately, as far as this process was notified.

A credential that Postgres found good is trusted for FRESH seconds, unless this process is notified
that it was revoked after Postgres was asked. Notifications come through Redis and may be lost; when
that is possible nothing that was asked before is trusted.

A stream that is being opened while its credential is revoked is caught by the same comparison: it
is opened with a principal that was checked before the revocation.
"""

import math
import time
import uuid
from typing import Final

from web.auth.principal import Credential, Principal

#: Seconds for which Postgres' answer about a credential is trusted.
FRESH: Final = 60.0
#: Revocations that are remembered one by one.
_REMEMBERED: Final = 10_000

#: A user, or one credential.
Revoked = uuid.UUID | Credential


class Revocations:
    """The revocations of the last FRESH seconds."""

    def __init__(self) -> None:
        self._at: dict[Revoked, float] = {}
        self._everything = -math.inf

    def note(self, revoked: Revoked) -> None:
        """A user or a credential was revoked just now, or before."""
        if len(self._at) >= _REMEMBERED:
            self.doubt()
        self._at[revoked] = time.monotonic()

    def doubt(self) -> None:
        """Anything may have been revoked up to now."""
        self._everything = time.monotonic()
        self._at.clear()

    def is_current(self, principal: Principal) -> bool:
        """Whether Postgres' answer about this principal can still be trusted."""
        fresh = time.monotonic() - principal.checked_at <= FRESH
        return fresh and not self.has_revoked(principal)

    def has_revoked(self, principal: Principal) -> bool:
        """Whether it may have been revoked after Postgres was asked."""
        return self.has_revoked_since(principal.checked_at, principal.user_id, principal.credential)

    def has_revoked_since(self, moment: float, *ones: Revoked) -> bool:
        """Whether one of these may have been revoked after a moment (monotonic)."""
        revoked = self._everything
        if self._at:
            revoked = max(revoked, *(self._at.get(one, -math.inf) for one in ones))
        return moment <= revoked
