"""Service keys: secrets by which programs use the API. Only a hash of each is kept."""

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from shared.errors import NotFound
from shared.store import audit
from shared.store.audit import Action
from shared.store.database import Database, run


@dataclass(frozen=True, slots=True)
class ValidKey:
    """A key that may be used now."""

    id: uuid.UUID
    #: the user whom it belongs to
    user_id: uuid.UUID
    scopes: frozenset[str]
    expires_at: datetime | None
    #: its use was not noted in the last minute
    unnoted: bool
    #: what becomes of its answers when their readers leave; None: as the deployment says
    on_disconnect: str | None = None


@dataclass(frozen=True, slots=True)
class ListedKey:
    """A key as it is listed."""

    id: uuid.UUID
    name: str
    prefix: str
    scopes: Sequence[str]
    user: str
    created_at: datetime
    used_at: datetime | None
    expires_at: datetime | None
    revoked_at: datetime | None
    on_disconnect: str | None = None


_VALID: Final = (
    "SELECT k.id, k.user_id, k.scopes, k.expires_at, k.on_disconnect,"
    " coalesce(k.used_at < clock_timestamp() - interval '1 minute', true) AS unnoted"
    " FROM service_keys k JOIN users u ON u.id = k.user_id AND u.disabled_at IS NULL"
    " WHERE k.token_hash = :hash AND k.revoked_at IS NULL"
    " AND (k.expires_at IS NULL OR k.expires_at > clock_timestamp())"
)


def valid(db: Database, token_hash: str) -> ValidKey | None:
    """The key with this hash, if it and its user may be used. Raises StorageDown."""
    for row in db.planned(_VALID, hash=token_hash):
        return ValidKey(
            row.id,
            row.user_id,
            frozenset(row.scopes),
            row.expires_at,
            row.unnoted,
            row.on_disconnect,
        )
    return None


def note_use(db: Database, key_id: uuid.UUID) -> None:
    """Note that a key was used, at most once a minute; the first use of a day also in the audit
    table. Raises StorageDown."""
    with db.transaction() as connection:
        first = run(
            connection,
            "UPDATE service_keys AS k SET used_at = clock_timestamp()"
            " FROM (SELECT id, used_at FROM service_keys WHERE id = :id FOR UPDATE) AS old"
            " WHERE k.id = old.id AND (old.used_at IS NULL"
            " OR old.used_at < clock_timestamp() - interval '1 minute')"
            " RETURNING k.user_id, coalesce(old.used_at < date_trunc('day', clock_timestamp(),"
            " 'UTC'), true) AS of_day",
            id=key_id,
        ).one_or_none()
        if first is not None and first.of_day:
            audit.record(
                connection, Action.KEY_USED, user_id=first.user_id, credential=f"key {key_id}"
            )


def add(
    db: Database,
    *,
    name: str,
    token: tuple[str, str],
    scopes: Collection[str],
    login: str | None = None,
    lifetime: timedelta | None = None,
    on_disconnect: str | None = None,
) -> uuid.UUID:
    """A new key's id. `token`: its prefix and its hash.

    It belongs to the account `login`; without one, to a new user of its own. Raises NotFound if
    there is no such account, and StorageDown.
    """
    key_id, (prefix, token_hash) = uuid.uuid4(), token
    with db.transaction() as connection:
        if login is None:
            user_id = uuid.uuid4()
            made = "INSERT INTO users (id, name) VALUES (:id, :name)"
            run(connection, made, id=user_id, name=name)
        else:
            there = "SELECT id FROM users WHERE login = :login AND disabled_at IS NULL"
            found = run(connection, there, login=login).scalar_one_or_none()
            if found is None:
                raise NotFound(f"There is no account {login!r}, or it is disabled.")
            user_id = found
        run(
            connection,
            "INSERT INTO service_keys (id, user_id, name, prefix, token_hash, scopes, expires_at,"
            " on_disconnect) VALUES (:id, :user, :name, :prefix, :hash, CAST(:scopes AS text[]),"
            " clock_timestamp() + CAST(:lifetime AS interval), :on_disconnect)",
            id=key_id,
            user=user_id,
            name=name,
            prefix=prefix,
            hash=token_hash,
            scopes=sorted(scopes),
            lifetime=lifetime,
            on_disconnect=on_disconnect,
        )
        audit.record(connection, Action.KEY_ADDED, credential="command", object_id=key_id)
    return key_id


def listed(db: Database) -> list[ListedKey]:
    """All keys, the newest first. Raises StorageDown."""
    rows: list[Any] = db.rows(
        "SELECT k.id, k.name, k.prefix, k.scopes, coalesce(u.login, u.name) AS user, k.created_at,"
        " k.used_at, k.expires_at, k.revoked_at, k.on_disconnect"
        " FROM service_keys k JOIN users u ON u.id = k.user_id ORDER BY k.created_at DESC, k.id"
    )
    return [ListedKey(**row._mapping) for row in rows]


def revoke(db: Database, key_id: uuid.UUID) -> None:
    """Revoke a key for good. Raises StorageDown."""
    with db.transaction() as connection:
        revoked = run(
            connection,
            "UPDATE service_keys SET revoked_at = clock_timestamp()"
            " WHERE id = :id AND revoked_at IS NULL",
            id=key_id,
        )
        if revoked.rowcount:
            audit.record(connection, Action.KEY_REVOKED, credential="command", object_id=key_id)
