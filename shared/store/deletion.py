"""Deletes users: at once from outside, and bit by bit from the tables.

`begin` is one short transaction. From its commit on nobody gets in as this user: the row is a
*tombstone*, disabled, without login, password and name, and their sessions, keys and shares are
gone. A second transaction stops what is being written. Then any sweep purges, a few conversations
at a time (`purge`), and goes on where the last one died: what is left to do is always read from
the tables.

The tombstone keeps what the host product calls the user, so that a token that is still valid does
not make the user anew; it is refused like one of a disabled user. It goes TOMBSTONE_DAYS later,
together with the user's rows of the ledger: until then the budget of a service key that asked for
them stays right.

Invariant: `purged_at` is set only when nothing is left and no process can still let the user in.
"""

import uuid
from typing import Final, NamedTuple

from shared.errors import NotFound
from shared.store import audit, files
from shared.store.asking import lock_user
from shared.store.audit import Action
from shared.store.database import Database, run
from shared.store.ending import ORDER_OF_ENDS
from shared.store.reaping import AT_REST, PURGED_AT_ONCE
from shared.store.sessions import end_every
from shared.store.status_sql import OPEN_STATUSES
from shared.store.stopping import stop_locked
from shared.store.tables import LOCAL_USER

#: Days for which a tombstone is kept: longer than a host's token is good, and than any month.
TOMBSTONE_DAYS: Final = 35
#: Seconds after which no process lets the user in from memory any more.
FORGOTTEN_SECONDS: Final = 300.0
#: Answers that one transaction stops, and users that one sweep purges.
STOPPED_AT_ONCE: Final = 100
USERS_AT_ONCE: Final = 10


class Ended(NamedTuple):
    """A credential, or all of a user, whose streams have to end: what `notify_revoked` takes."""

    kind: str
    id: uuid.UUID


def begin(
    db: Database, user_id: uuid.UUID, *, by: uuid.UUID | None, credential: str, address: str = ""
) -> list[Ended]:
    """Make a user's row a tombstone; whose streams have to end. `by`: who deletes, None for an
    operator.

    Raises NotFound, also for the local user, who cannot be deleted, and StorageDown.
    """
    ended = [Ended("user", user_id)]
    with db.transaction() as connection:
        lock_user(connection, user_id)
        row = run(
            connection,
            "SELECT deleted_at FROM users WHERE id = :id AND id <> :local FOR UPDATE",
            id=user_id,
            local=LOCAL_USER,
        ).one_or_none()
        if row is None:
            raise NotFound
        if row.deleted_at is not None:
            return ended
        run(
            connection,
            "UPDATE users SET deleted_at = clock_timestamp(), name = '', login = NULL,"
            " password_hash = NULL, operator = false,"
            " disabled_at = coalesce(disabled_at, clock_timestamp()) WHERE id = :id",
            id=user_id,
        )
        end_every(connection, user_id)
        run(connection, "DELETE FROM shares WHERE with_user_id = :id", id=user_id)
        run(connection, "DELETE FROM push_subscriptions WHERE user_id = :id", id=user_id)
        keys = "DELETE FROM service_keys WHERE user_id = :id RETURNING id"
        ended += [Ended("key", row.id) for row in run(connection, keys, id=user_id)]
        links = "DELETE FROM shares WHERE user_id = :id RETURNING id, with_user_id"
        ended += [
            Ended("user", row.with_user_id) if row.with_user_id else Ended("share", row.id)
            for row in run(connection, links, id=user_id)
        ]
        audit.record(
            connection,
            Action.USER_DELETED,
            user_id=by,
            credential=credential,
            object_id=user_id,
            address=address,
        )
    return ended


def stop_all(db: Database, user_id: uuid.UUID) -> list[uuid.UUID]:
    """Stop some of what is still written for a deleted user; the ids, to be woken."""
    with db.transaction() as connection:
        lock_user(connection, user_id)
        rows = run(
            connection,
            "SELECT id, status FROM messages WHERE user_id = :user"
            " AND EXISTS (SELECT FROM users WHERE users.id = :user AND deleted_at IS NOT NULL)"
            f" AND status IN {OPEN_STATUSES} AND NOT stop_requested"
            f" ORDER BY {ORDER_OF_ENDS} LIMIT :most FOR UPDATE",
            user=user_id,
            most=STOPPED_AT_ONCE,
        ).all()
        for row in rows:
            stop_locked(connection, row)
        return [row.id for row in rows]


def tombstones(db: Database) -> list[uuid.UUID]:
    """Some users of whom something may be left; those of whom there is something first."""
    rows = db.rows(
        "SELECT id FROM users WHERE deleted_at IS NOT NULL AND purged_at IS NULL"
        " ORDER BY EXISTS (SELECT FROM conversations WHERE user_id = users.id) DESC, random()"
        " LIMIT :most",
        most=USERS_AT_ONCE,
    )
    return [row.id for row in rows]


def purge(db: Database, user_id: uuid.UUID) -> int:
    """Remove a few conversations of a deleted user that are at rest, or then a few files; their
    number.

    Notes when nothing is left.
    """
    rows = db.rows(
        # As an array: IN may be planned as a join, which runs the SELECT for each row and so has no
        # limit.
        "DELETE FROM conversations WHERE id = ANY(ARRAY(SELECT c.id FROM conversations c"
        " JOIN users u ON u.id = c.user_id AND u.deleted_at IS NOT NULL"
        f" WHERE c.user_id = :user AND {AT_REST} LIMIT :most FOR UPDATE OF c SKIP LOCKED))"
        " RETURNING id",
        user=user_id,
        most=PURGED_AT_ONCE,
    )
    removed = len(rows) or files.remove_of_deleted(db, user_id)
    if not removed:
        _note_purged(db, user_id)
    return removed


def _note_purged(db: Database, user_id: uuid.UUID) -> None:
    with db.transaction() as connection:
        noted = run(
            connection,
            "UPDATE users SET purged_at = clock_timestamp() WHERE id = :id AND purged_at IS NULL"
            " AND deleted_at < clock_timestamp() - make_interval(secs => :seconds)"
            " AND NOT EXISTS (SELECT FROM conversations WHERE user_id = :id)"
            " AND NOT EXISTS (SELECT FROM files WHERE user_id = :id)",
            id=user_id,
            seconds=FORGOTTEN_SECONDS,
        )
        if noted.rowcount:
            audit.record(connection, Action.USER_PURGED, object_id=user_id)


def remove_tombstones(db: Database) -> int:
    """Remove the rows of users who were purged long enough ago; their number."""
    rows = db.rows(
        "DELETE FROM users WHERE id IN (SELECT id FROM users WHERE deleted_at IS NOT NULL"
        " AND purged_at < clock_timestamp() - make_interval(days => :days)"
        " LIMIT :most FOR UPDATE SKIP LOCKED) RETURNING id",
        days=TOMBSTONE_DAYS,
        most=USERS_AT_ONCE,
    )
    return len(rows)
