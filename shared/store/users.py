"""Users: those whom a host product or an identity provider names, and anyone as an operator does.

The former are known by an issuer and that issuer's name for them, the subject. They are found, or
made at their first request.
"""

import uuid
from typing import Any, NamedTuple

from shared import logins
from shared.errors import NotFound
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


def find(db: Database, who: str) -> uuid.UUID:
    """The user with this id, this login, or this subject. Raises NotFound and StorageDown.

    Also NotFound where a login and subjects of several issuers are the same: then only an id means
    one, and always does.
    """
    rows = db.rows(
        "SELECT id, CAST(id AS text) = lower(:who) AS is_id FROM users WHERE login = :login"
        " OR subject = :who OR CAST(id AS text) = lower(:who) ORDER BY is_id DESC LIMIT 2",
        login=logins.normal(who),
        who=who,
    )
    if not rows:
        raise NotFound("There is no such user; `outlive user list --all` shows all.")
    if len(rows) > 1 and not rows[0].is_id:
        raise NotFound("Several users have this name; `outlive user list --all` shows their ids.")
    return uuid.UUID(str(rows[0].id))
