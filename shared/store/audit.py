"""The audit table: who did what and when, without content.

Rows name users, credentials and things by their ids; no text of a person is in them, nor what
somebody typed as a login that does not exist. They are kept for KEPT_DAYS; the sweep removes older
ones.
"""

import uuid
from datetime import datetime
from enum import StrEnum
from typing import Final, NamedTuple

from sqlalchemy import Connection

from shared.store.database import Database, run

#: Days for which a row is kept.
KEPT_DAYS: Final = 400
#: Rows that one statement removes.
FORGOTTEN_AT_ONCE: Final = 1_000


class Action(StrEnum):
    """What is noted."""

    SIGN_IN = "sign_in"
    SIGN_IN_FAILED = "sign_in_failed"
    SIGN_OUT = "sign_out"
    SIGN_OUT_EVERYWHERE = "sign_out_everywhere"
    USER_ADDED = "user_added"
    USER_DISABLED = "user_disabled"
    USER_ENABLED = "user_enabled"
    PASSWORD_CHANGED = "password_changed"  # noqa: S105 - it is none
    OPERATOR_CHANGED = "operator_changed"
    KEY_ADDED = "key_added"
    #: the first use of a day (UTC)
    KEY_USED = "key_used"
    KEY_REVOKED = "key_revoked"
    SHARED = "shared"
    UNSHARED = "unshared"
    EXPORTED = "exported"
    #: a deletion began, and nothing was left
    USER_DELETED = "user_deleted"
    USER_PURGED = "user_purged"


class Noted(NamedTuple):
    """A row of the table."""

    id: int
    at: datetime
    #: an Action, or one of another version
    action: str
    user_id: uuid.UUID | None
    credential: str | None
    object_id: str | None
    address: str | None


_RECORD: Final = (
    "INSERT INTO audit (action, user_id, credential, object_id, address)"
    " VALUES (:action, CAST(:user AS uuid), :credential, :object, :address)"
)


def record(
    where: Connection | Database,
    action: Action,
    *,
    user_id: uuid.UUID | None = None,
    credential: str | None = None,
    object_id: object = None,
    address: str | None = None,
) -> None:
    """Add a row: in a connection's transaction, or alone. Raises StorageDown.

    `user_id`: who did it, or whom it is about where nobody was signed in. `credential`: a kind
    ("session", "key", "password", "oidc", "command") and perhaps its id, with a blank between.
    `object_id`: what it was done to. `address`: where the request came from.
    """
    row = {
        "action": str(action),
        "user": None if user_id is None else str(user_id),
        "credential": credential,
        "object": None if object_id is None else str(object_id),
        "address": address or None,
    }
    if isinstance(where, Database):
        with where.alone() as connection:
            run(connection, _RECORD, **row)
    else:
        run(where, _RECORD, **row)


_COLUMNS: Final = "id, at, action, user_id, credential, object_id, address"


def listed(
    db: Database,
    limit: int,
    before: int | None = None,
    *,
    user_id: uuid.UUID | None = None,
    action: Action | None = None,
) -> list[Noted]:
    """Up to `limit` rows, the newest first, older than the row `before`.

    Of one user: what they did, and what was done to them. Raises StorageDown.
    """
    rows = db.rows(
        f"SELECT {_COLUMNS} FROM audit"
        " WHERE (CAST(:before AS bigint) IS NULL OR id < :before)"
        " AND (CAST(:user AS uuid) IS NULL OR user_id = :user"
        " OR object_id = CAST(CAST(:user AS uuid) AS text))"
        " AND (CAST(:action AS text) IS NULL OR action = :action)"
        " ORDER BY id DESC LIMIT :limit",
        before=before,
        user=user_id,
        action=action,
        limit=limit,
    )
    return [Noted(*row) for row in rows]


def forget(db: Database) -> int:
    """Remove some rows that are old enough; their number. Raises StorageDown."""
    rows = db.rows(
        "DELETE FROM audit WHERE id IN (SELECT id FROM audit"
        " WHERE at < clock_timestamp() - make_interval(days => :days)"
        " ORDER BY at LIMIT :most FOR UPDATE SKIP LOCKED) RETURNING id",
        days=KEPT_DAYS,
        most=FORGOTTEN_AT_ONCE,
    )
    return len(rows)
