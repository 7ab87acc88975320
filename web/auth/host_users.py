"""The host product's users: known by its own id of them, and made here at their first request."""

import time
from functools import partial
from typing import Final

from shared.store import users
from shared.store.database import Database
from web.auth.checked import Checked
from web.auth.principal import Credential, Principal
from web.auth.revocations import Revocations
from web.errors import BadCredential

#: Characters of a host's user id (OpenID Connect Core, 2: at most 255).
SUBJECT_CHARS: Final = 255
#: The issuer of users where OUTLIVE_JWT_ISSUER names none.
UNNAMED: Final = "host"


def is_subject(value: object) -> bool:
    """Whether this can be a host's id of a user."""
    return isinstance(value, str) and 0 < len(value) <= SUBJECT_CHARS and value.isprintable()


class HostUsers:
    """Finds the users of one issuer."""

    def __init__(self, db: Database, issuer: str, revocations: Revocations) -> None:
        self._db = db
        self._issuer = issuer or UNNAMED
        self._checked = Checked(revocations)

    def find(self, subject: str) -> Principal:
        """A principal without rights, for this user. Raises BadCredential for a disabled one, and
        StorageDown."""
        return self._checked.get_or(partial(self._check, subject), subject)

    def _check(self, subject: str) -> Principal:
        checked_at = time.monotonic()
        user = users.by_subject(self._db, self._issuer, subject)
        if user.disabled:
            raise BadCredential(code="user_disabled")
        return Principal(user.id, frozenset(), Credential("jwt"), None, checked_at)
