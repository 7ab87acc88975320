"""What else the audit table holds: shares, keys, exports and deletions; how it is read, and kept.

`audit.record` writes it. Rows are kept for KEPT_DAYS; the sweep removes older ones.
"""

import uuid
from datetime import datetime
from enum import StrEnum
from typing import Final, NamedTuple

from shared.store.database import Database

#: Days for which a row is kept.
KEPT_DAYS: Final = 400
#: Rows that one statement removes.
FORGOTTEN_AT_ONCE: Final = 1_000


class Noted(StrEnum):
    """What is noted of shares, keys, and whole users."""

    SHARED = "shared"
    UNSHARED = "unshared"
    KEY_ADDED = "key_added"
    #: the first use of a day (UTC)
    KEY_USED = "key_used"
    KEY_REVOKED = "key_revoked"
    EXPORTED = "exported"
    USER_DELETED = "user_deleted"
    USER_PURGED = "user_purged"


class AuditRow(NamedTuple):
    """A row of the audit table."""

    id: int
    at: datetime
    action: str
    user_id: uuid.UUID | None
    credential: str | None
    object_id: str | None
    address: str | None


def listed(
    db: Database,
    limit: int,
    before: int | None = None,
    *,
    user_id: uuid.UUID | None = None,
    action: str | None = None,
) -> list[AuditRow]:
    """Up to `limit` rows, the newest first, older than the row `before`. Raises StorageDown.

    Of one user: what they did, and what was done to them.
    """
    rows = db.rows(
        "SELECT id, at, action, user_id, credential, object_id, address FROM audit"
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
    return [AuditRow(*row) for row in rows]


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
