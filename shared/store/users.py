"""Users whom a host product or an identity provider names: found, or made at their first request.

Such a user is known by an issuer and that issuer's name for them, the subject.
"""

import uuid
from typing import Any, NamedTuple

from shared.store.database import Database, run


class KnownUser(NamedTuple):
    """A user's id, and whether they may not use the service any more."""

    id: uuid.UUID
    disabled: bool


_FOUND = (
    "SELECT id, disabled_at IS NOT NULL AS disabled FROM users"
    " WHERE issuer = :issuer AND subject = :subject"
)
#: Does nothing where another request made the same user meanwhile.
_MADE = (
    "INSERT INTO users (id, name, issuer, subject)"
    " VALUES (CAST(:id AS uuid), CAST(:name AS text), CAST(:issuer AS text),"
    " CAST(:subject AS text)) ON CONFLICT ON CONSTRAINT users_subject DO NOTHING"
)


def by_subject(db: Database, issuer: str, subject: str, name: str | None = None) -> KnownUser:
    """The user whom `issuer` calls `subject`; `name` is what a new one is called.

    Raises StorageDown.
    """
    names: dict[str, Any] = {"issuer": issuer, "subject": subject}
    found = db.planned(_FOUND, **names)
    if not found:
        with db.transaction() as connection:
            run(connection, _MADE, id=uuid.uuid4(), name=name or subject, **names)
        found = db.planned(_FOUND, **names)
    [row] = found
    return KnownUser(row.id, row.disabled)
