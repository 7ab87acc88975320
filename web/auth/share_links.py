"""Links to a shared conversation: `Authorization: Bearer ols_...`, for whoever was given the link.

The page at `/s` takes the secret from its address' fragment. No browser sends that to a server, so
no log, proxy or Referer ever holds it. Who reads by a link may read one conversation, and is no
user: the id of the share stands in the place of a user's (`shared/store/access.py`).

A link that is unknown, expired or revoked leads to nothing: 404, as for an address that does not
exist.
"""

import time
from functools import partial
from typing import Final

from flask import Request

from shared.errors import NotFound
from shared.secret_token import SHARE_LINK, hashed
from shared.store import shares
from shared.store.database import Database
from web.auth.checked import Checked
from web.auth.credential_kind import bearer
from web.auth.principal import Credential, Principal, Right
from web.auth.revocations import Revocations

RIGHTS: Final = frozenset({Right.READ_SHARED})


class ShareLinks:
    """Checks the secrets of links against Postgres."""

    def __init__(self, db: Database, revocations: Revocations) -> None:
        self._db = db
        self._checked = Checked(revocations)

    def authenticate(self, request: Request) -> Principal | None:
        """Who reads by this link."""
        token = bearer(request)
        if token is None or not token.startswith(SHARE_LINK.prefix):
            return None
        return self._checked.get_or(partial(self._check, token), token)

    def _check(self, token: str) -> Principal:
        checked_at = time.monotonic()
        good = SHARE_LINK.is_well_formed(token)
        link = shares.valid_link(self._db, hashed(token)) if good else None
        if link is None:
            raise NotFound("This link leads to nothing: it is unknown, expired or revoked.")
        return Principal(
            link.id,
            RIGHTS,
            Credential("share", str(link.id)),
            None if link.expires_at is None else link.expires_at.timestamp(),
            checked_at,
        )
