"""Sessions: the cookie of a browser whose user has signed in.

A browser sends the cookie by itself, also where another site's page caused the request. So whatever
writes needs the session's CSRF token, too (`session_cookies`), beside the check of the site that
holds for every request (`site`).
"""

import time
from contextlib import suppress
from typing import Final

import gevent
from flask import Request

from shared.errors import Forbidden, StorageDown
from shared.settings import Settings
from shared.store import sessions
from shared.store.database import Database
from shared.store.sessions import Lifetime, ValidSession
from web.auth.checked import Checked
from web.auth.credential_kind import bearer
from web.auth.principal import Credential, Principal
from web.auth.revocations import Revocations
from web.auth.scopes import OPERATOR, OWN, rights_of
from web.auth.session_cookies import SessionCookies
from web.errors import BadCredential

#: Seconds.
DAY: Final = 86_400.0
#: Methods that change nothing (RFC 9110, 9.2.1).
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})


def lifetime(settings: Settings) -> Lifetime:
    """How long sessions live here."""
    return Lifetime(DAY * settings.session_idle_days, DAY * settings.session_max_days)


class Sessions:
    """Checks sessions against Postgres."""

    def __init__(
        self, settings: Settings, db: Database, cookies: SessionCookies, revocations: Revocations
    ) -> None:
        self._db = db
        self._live = settings.live
        self._lifetime = lifetime(settings)
        self._cookies = cookies
        self._checked = Checked(revocations)

    def authenticate(self, request: Request) -> Principal | None:
        """The user who has signed in."""
        token = self._cookies.token(request)
        if token is None or bearer(request) is not None:
            return None
        found = self._checked.get_or(lambda: self._check(self._cookies.hash(request)), token)
        if request.method not in _SAFE and not self._cookies.has_csrf(request):
            raise Forbidden(code="csrf_failed")
        return found

    def _check(self, token_hash: str | None) -> Principal:
        checked_at = time.monotonic()
        row = None if token_hash is None else sessions.valid(self._db, token_hash)
        if row is None:
            raise BadCredential(code="session_ended")
        if row.unnoted:
            gevent.spawn(self._note_use, row)
        return Principal(
            row.user_id,
            rights_of(OPERATOR if row.operator else OWN, live=self._live),
            Credential("session", str(row.id)),
            row.expires_at.timestamp(),
            checked_at,
        )

    def _note_use(self, row: ValidSession) -> None:
        with suppress(StorageDown):
            sessions.note_use(self._db, row.id, self._lifetime)
