"""Accounts: users who sign in here, by a login and a password; and how users are disabled."""

import uuid
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection

from shared.store import audit
from shared.store.audit import Action
from shared.store.database import Database, run
from shared.store.sessions import end_every

#: Users that a list shows.
LISTED: Final = 10_000


class Account(NamedTuple):
    """What a sign-in is checked against."""

    id: uuid.UUID
    password_hash: str


class Names(NamedTuple):
    """What a user is called, and the login of one who has a password."""

    name: str
    login: str | None


class Password(NamedTuple):
    """A login and the hash of its password; both None for who signs in elsewhere."""

    login: str | None
    password_hash: str | None


class ListedUser(NamedTuple):
    """A user as they are listed."""

    id: uuid.UUID
    login: str | None
    name: str
    issuer: str | None
    operator: bool
    created_at: datetime
    #: the last use of a session
    seen_at: datetime | None
    disabled_at: datetime | None


_FOUND: Final = (
    "SELECT id, password_hash FROM users"
    " WHERE login = :login AND password_hash IS NOT NULL AND disabled_at IS NULL"
)


def find(db: Database, login: str) -> Account | None:
    """The account that may sign in by this login. Raises StorageDown."""
    for row in db.planned(_FOUND, login=login):
        return Account(*row)
    return None


def user_with(db: Database, login: str) -> uuid.UUID | None:
    """The id of the user with this login, disabled or not. Raises StorageDown."""
    for row in db.rows("SELECT id FROM users WHERE login = :login", login=login):
        return uuid.UUID(str(row.id))
    return None


def names_of(db: Database, user_id: uuid.UUID) -> Names:
    """What the user is called; an empty name if there is none. Raises StorageDown."""
    for row in db.planned(
        "SELECT name, login FROM users WHERE id = CAST(:id AS uuid)", id=str(user_id)
    ):
        return Names(*row)
    return Names("", None)


def password_of(db: Database, user_id: uuid.UUID) -> Password | None:
    """What a user signs in with; None for one who is disabled. Raises StorageDown."""
    for row in db.rows(
        "SELECT login, password_hash FROM users WHERE id = :id AND disabled_at IS NULL",
        id=user_id,
    ):
        return Password(*row)
    return None


def add(
    db: Database, login: str, *, name: str, password_hash: str, operator: bool
) -> uuid.UUID | None:
    """A new account's id; None if the login is taken. Raises StorageDown."""
    with db.transaction() as connection:
        made: uuid.UUID | None = run(
            connection,
            "INSERT INTO users (id, name, login, password_hash, operator)"
            " VALUES (:id, :name, :login, :hash, :operator)"
            " ON CONFLICT ON CONSTRAINT users_login DO NOTHING RETURNING id",
            id=uuid.uuid4(),
            name=name,
            login=login,
            hash=password_hash,
            operator=operator,
        ).scalar_one_or_none()
        if made is not None:
            _record(connection, Action.USER_ADDED, made)
    return made


def set_password(db: Database, user_id: uuid.UUID, password_hash: str) -> bool:
    """Change the password of an account and end its sessions; whether there is one."""
    with db.transaction() as connection:
        changed = _changed(
            connection, "password_hash = :hash", "login IS NOT NULL", user_id, hash=password_hash
        )
        if changed:
            end_every(connection, user_id)
            _record(connection, Action.PASSWORD_CHANGED, user_id)
    return changed


def change_password(
    db: Database,
    account: Account,
    password_hash: str,
    *,
    session_id: uuid.UUID,
    address: str | None,
) -> list[uuid.UUID] | None:
    """Change a password for its user, in a session of theirs, and end all the others; those.

    None, and nothing is changed, if that session has ended, the user was disabled, or the password
    is another than `account` says. Raises StorageDown.
    """
    with db.transaction() as connection:
        # A sign-in by the old password waits for this and fails, or comes first and is ended.
        changed = _changed(
            connection,
            "password_hash = :new",
            "password_hash = :old AND disabled_at IS NULL AND EXISTS (SELECT FROM sessions s"
            " WHERE s.id = :session AND s.user_id = users.id AND s.expires_at > clock_timestamp())",
            account.id,
            new=password_hash,
            old=account.password_hash,
            session=session_id,
        )
        if not changed:
            return None
        ended = end_every(connection, account.id, but=session_id)
        audit.record(
            connection,
            Action.PASSWORD_CHANGED,
            user_id=account.id,
            credential=f"session {session_id}",
            object_id=account.id,
            address=address,
        )
    return ended


def rehash(db: Database, account: Account, password_hash: str) -> None:
    """Keep the same password as a hash with the parameters of today. Raises StorageDown."""
    with db.alone() as connection:
        run(
            connection,
            "UPDATE users SET password_hash = :new WHERE id = :id AND password_hash = :old",
            id=account.id,
            old=account.password_hash,
            new=password_hash,
        )


def disable(db: Database, user_id: uuid.UUID) -> bool:
    """Let a user in no more, by whatever credential, and end their sessions; whether they could
    be used until now. Raises StorageDown."""
    with db.transaction() as connection:
        changed = _changed(
            connection, "disabled_at = clock_timestamp()", "disabled_at IS NULL", user_id
        )
        end_every(connection, user_id)
        if changed:
            _record(connection, Action.USER_DISABLED, user_id)
    return changed


def enable(db: Database, user_id: uuid.UUID) -> bool:
    """Let a disabled user in again; whether they were disabled. Raises StorageDown."""
    with db.transaction() as connection:
        changed = _changed(
            connection,
            "disabled_at = NULL",
            "disabled_at IS NOT NULL AND deleted_at IS NULL",
            user_id,
        )
        if changed:
            _record(connection, Action.USER_ENABLED, user_id)
    return changed


def set_operator(db: Database, user_id: uuid.UUID, *, operator: bool) -> bool:
    """Make a user an operator, or no more; whether that is a change. Raises StorageDown."""
    with db.transaction() as connection:
        changed = _changed(
            connection,
            "operator = :operator",
            "operator <> :operator",
            user_id,
            operator=operator,
        )
        if changed:
            _record(connection, Action.OPERATOR_CHANGED, user_id)
    return changed


def listed(db: Database, *, everybody: bool) -> list[ListedUser]:
    """Accounts, and with `everybody` also the users whom others name; the newest first."""
    rows: list[Any] = db.rows(
        "SELECT u.id, u.login, u.name, u.issuer, u.operator, u.created_at,"
        " (SELECT max(s.seen_at) FROM sessions s WHERE s.user_id = u.id) AS seen_at, u.disabled_at"
        " FROM users u WHERE u.deleted_at IS NULL"
        " AND (u.login IS NOT NULL OR (:everybody AND u.issuer IS NOT NULL))"
        " ORDER BY u.created_at DESC, u.id LIMIT :most",
        everybody=everybody,
        most=LISTED,
    )
    return [ListedUser(*row) for row in rows]


def _changed(
    connection: Connection, change: str, condition: str, user_id: uuid.UUID, **values: object
) -> bool:
    statement = f"UPDATE users SET {change} WHERE id = :id AND {condition}"
    return run(connection, statement, id=user_id, **values).rowcount > 0


def _record(connection: Connection, action: Action, user_id: uuid.UUID) -> None:
    """By an operator at the command line, whom nobody else knows."""
    audit.record(connection, action, credential="command", object_id=user_id)
