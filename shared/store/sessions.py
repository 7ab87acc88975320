"""Sessions: sign-ins of browsers. They live in Postgres only, so losing Redis ends none.

A session ends when it was not used for `idle` seconds, and in any case `most` seconds after the
sign-in. `expires_at` is the earlier of the two, and moves with each use that is noted.
"""

import uuid
from datetime import datetime
from typing import Final, NamedTuple

from sqlalchemy import Connection

from shared.store import audit
from shared.store.audit import Action
from shared.store.database import Database, run

#: Sessions of one user: those that were used last are kept.
MOST: Final = 50
#: Expired rows that a sign-in removes, of whichever user.
SWEPT: Final = 100


class Lifetime(NamedTuple):
    """How long sessions live, in seconds: without use, and in any case."""

    idle: float
    most: float


class ValidSession(NamedTuple):
    """A session that may be used now."""

    id: uuid.UUID
    user_id: uuid.UUID
    operator: bool
    expires_at: datetime
    #: its use was not noted in the last minute
    unnoted: bool


class Begun(NamedTuple):
    """A session that was begun, and those that ended for it."""

    id: uuid.UUID
    ended: list[uuid.UUID]


_VALID: Final = (
    "SELECT s.id, s.user_id, u.operator, s.expires_at,"
    " s.seen_at < clock_timestamp() - interval '1 minute' AS unnoted"
    " FROM sessions s JOIN users u ON u.id = s.user_id AND u.disabled_at IS NULL"
    " WHERE s.token_hash = :hash AND s.expires_at > clock_timestamp()"
)
_BEGIN: Final = (
    "INSERT INTO sessions (id, user_id, token_hash, expires_at)"
    " SELECT :id, u.id, :hash, clock_timestamp() + make_interval(secs => LEAST(:idle, :most))"
    " FROM users u WHERE u.id = :user AND u.disabled_at IS NULL"
    " AND (CAST(:password AS text) IS NULL OR u.password_hash = CAST(:password AS text))"
    " FOR SHARE RETURNING id"
)
_SWEEP: Final = (
    "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions"
    " WHERE expires_at <= clock_timestamp() ORDER BY expires_at LIMIT :swept"
    " FOR UPDATE SKIP LOCKED)"
)
_TOO_MANY: Final = (
    "DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE user_id = :user"
    " ORDER BY seen_at DESC, id OFFSET :most) RETURNING id"
)


def valid(db: Database, token_hash: str) -> ValidSession | None:
    """The session with this hash, if it and its user may be used. Raises StorageDown."""
    for row in db.planned(_VALID, hash=token_hash):
        return ValidSession(*row)
    return None


def note_use(db: Database, session_id: uuid.UUID, lifetime: Lifetime) -> None:
    """Note that a session was used, at most once a minute; it expires later then."""
    with db.alone() as connection:
        run(
            connection,
            "UPDATE sessions SET seen_at = clock_timestamp(), expires_at = LEAST("
            " clock_timestamp() + make_interval(secs => :idle),"
            " created_at + make_interval(secs => :most))"
            " WHERE id = :id AND expires_at > clock_timestamp()"
            " AND seen_at < clock_timestamp() - interval '1 minute'",
            id=session_id,
            **lifetime._asdict(),
        )


def begin(
    db: Database,
    user_id: uuid.UUID,
    *,
    token_hash: str,
    lifetime: Lifetime,
    credential: str,
    password_hash: str | None = None,
    replaces: str | None = None,
    address: str | None = None,
) -> Begun | None:
    """A new session; None if the user was disabled or got another password meanwhile.

    `password_hash`: what the password was checked against; None where none was. `replaces`: the
    hash of the browser's session before, which ends. `credential`: how the user signed in.
    """
    with db.transaction() as connection:
        # FOR SHARE: who disables the user or changes the password waits, and then ends this one
        made = run(
            connection,
            _BEGIN,
            id=uuid.uuid4(),
            user=user_id,
            hash=token_hash,
            password=password_hash,
            **lifetime._asdict(),
        ).scalar_one_or_none()
        if made is None:
            return None
        ended: list[uuid.UUID] = []
        if replaces is not None:
            before = "DELETE FROM sessions WHERE token_hash = :hash RETURNING id"
            ended += run(connection, before, hash=replaces).scalars()
        run(connection, _SWEEP, swept=SWEPT)
        ended += run(connection, _TOO_MANY, user=user_id, most=MOST).scalars()
        audit.record(
            connection,
            Action.SIGN_IN,
            user_id=user_id,
            credential=credential,
            object_id=made,
            address=address,
        )
    return Begun(made, ended)


def end(db: Database, user_id: uuid.UUID, session_id: uuid.UUID, address: str | None) -> None:
    """End one session of the user. Raises StorageDown."""
    with db.transaction() as connection:
        ended = run(
            connection,
            "DELETE FROM sessions WHERE id = :id AND user_id = :user",
            id=session_id,
            user=user_id,
        ).rowcount
        if ended:
            audit.record(
                connection,
                Action.SIGN_OUT,
                user_id=user_id,
                credential=f"session {session_id}",
                object_id=session_id,
                address=address,
            )


def end_every(
    connection: Connection, user_id: uuid.UUID, *, but: uuid.UUID | None = None
) -> list[uuid.UUID]:
    """End the sessions of a user, in the caller's transaction, but for one; those that ended."""
    rows = run(
        connection,
        "DELETE FROM sessions WHERE user_id = :user"
        " AND id IS DISTINCT FROM CAST(:but AS uuid) RETURNING id",
        user=user_id,
        but=but,
    )
    return list(rows.scalars())


def end_all(db: Database, user_id: uuid.UUID, session_id: uuid.UUID, address: str | None) -> None:
    """End all sessions of the user, who asks for it with this one. Raises StorageDown."""
    with db.transaction() as connection:
        end_every(connection, user_id)
        audit.record(
            connection,
            Action.SIGN_OUT_EVERYWHERE,
            user_id=user_id,
            credential=f"session {session_id}",
            object_id=user_id,
            address=address,
        )
