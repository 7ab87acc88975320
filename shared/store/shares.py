"""Shares: a conversation that others may read, by a link or as a named user.

A link is a secret of which only a hash is kept. What a share permits is said in `access`; here
they are made, listed, found and revoked.
"""

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from shared import logins
from shared.errors import Invalid, NotFound, TooMany
from shared.store import audit
from shared.store.access import GOOD, may_write
from shared.store.audit import Action
from shared.store.conversations import NOT_THERE
from shared.store.database import Database, run

#: Shares of one conversation that are not revoked.
MOST: Final = 100
#: Conversations in a list of what is shared with somebody.
LISTED: Final = 200


@dataclass(frozen=True, slots=True)
class Share:
    """A share as its owner sees it."""

    id: uuid.UUID
    #: the name of the user whom it is for; None: whoever has the link
    user: str | None
    with_user_id: uuid.UUID | None
    created_at: datetime
    expires_at: datetime | None

    @property
    def reader_id(self) -> uuid.UUID:
        """The user who reads by it: of a link, that is the link."""
        return self.with_user_id or self.id


class ValidLink(NamedTuple):
    """A link that can be used now."""

    id: uuid.UUID
    expires_at: datetime | None


class Revoked(NamedTuple):
    """A share that was revoked just now."""

    id: uuid.UUID
    #: the user whom it was for; None: it was a link
    with_user_id: uuid.UUID | None


class SharedConversation(NamedTuple):
    """A conversation that somebody else shares with the one who asks."""

    id: uuid.UUID
    title: str | None
    created_at: datetime
    updated_at: datetime
    shared_at: datetime


def add(
    db: Database,
    owner: uuid.UUID,
    conversation_id: uuid.UUID,
    *,
    token_hash: str | None,
    name: str | None = None,
    issuer: str = "",
    lifetime: timedelta | None = None,
    by: str = "",
    address: str = "",
) -> Share:
    """A new share: a link with this hash, or for the user whom `name` means.

    That is the login of an account, or `issuer`'s id of a user who was here before. `by` and
    `address` are for the audit table. Raises NotFound, Invalid (no such user), TooMany and
    StorageDown.
    """
    with db.transaction() as connection:
        # Locked, so that shares of one conversation are counted one after the other.
        there = run(
            connection,
            f"SELECT 1 FROM conversations WHERE id = :id AND {may_write('conversations')}"
            " AND deleted_at IS NULL FOR NO KEY UPDATE",
            id=conversation_id,
            user=owner,
        )
        if there.first() is None:
            raise NotFound(NOT_THERE)
        count = "SELECT count(*) FROM shares WHERE conversation_id = :id AND revoked_at IS NULL"
        if run(connection, count, id=conversation_id).scalar_one() >= MOST:
            raise TooMany(code="too_many_shares", limit=MOST)
        reader = None
        if name is not None:
            reader = _user(connection, name, issuer)
            if reader is None or reader == owner:
                raise Invalid(code="no_such_user")
        row = run(
            connection,
            "INSERT INTO shares (id, conversation_id, user_id, token_hash, with_user_id,"
            " expires_at) VALUES (:id, :conversation, :owner, :hash, :reader,"
            " clock_timestamp() + CAST(:lifetime AS interval))"
            " RETURNING id, CAST(:name AS text) AS user, with_user_id, created_at, expires_at",
            id=uuid.uuid4(),
            conversation=conversation_id,
            owner=owner,
            hash=token_hash,
            reader=reader,
            lifetime=lifetime,
            name=name,
        ).one()
        audit.record(
            connection,
            Action.SHARED,
            user_id=owner,
            credential=by,
            object_id=row.id,
            address=address,
        )
    return Share(**row._mapping)


def _user(connection: Any, name: str, issuer: str) -> uuid.UUID | None:
    """The user whom a name means, if they may use the service."""
    found = run(
        connection,
        "SELECT id FROM users WHERE (login = :login"
        " OR (issuer = :issuer AND subject = :name)) AND disabled_at IS NULL",
        login=logins.normal(name),
        name=name,
        issuer=issuer,
    )
    row = found.first()
    return None if row is None else uuid.UUID(str(row.id))


def of(db: Database, owner: uuid.UUID, conversation_id: uuid.UUID) -> list[Share]:
    """The shares of a conversation that are not revoked, the newest first. StorageDown."""
    rows = db.rows(
        "SELECT s.id, coalesce(u.login, u.subject, u.name) AS user, s.with_user_id, s.created_at,"
        " s.expires_at"
        " FROM shares s LEFT JOIN users u ON u.id = s.with_user_id"
        f" WHERE s.conversation_id = :id AND {may_write('s')} AND s.revoked_at IS NULL"
        " ORDER BY s.created_at DESC, s.id",
        id=conversation_id,
        user=owner,
    )
    return [Share(*row) for row in rows]


def revoke(
    db: Database, owner: uuid.UUID, share_id: uuid.UUID, *, by: str = "", address: str = ""
) -> Revoked:
    """Revoke a share for good; harmless if it is revoked. Raises NotFound and StorageDown."""
    with db.transaction() as connection:
        row = run(
            connection,
            "UPDATE shares AS s SET revoked_at = coalesce(revoked_at, clock_timestamp())"
            f" WHERE s.id = :id AND {may_write('s')} RETURNING id, with_user_id",
            id=share_id,
            user=owner,
        ).one_or_none()
        if row is None:
            raise NotFound
        audit.record(
            connection,
            Action.UNSHARED,
            user_id=owner,
            credential=by,
            object_id=share_id,
            address=address,
        )
    return Revoked(**row._mapping)


_VALID: Final = (
    "SELECT s.id, s.expires_at FROM shares s JOIN users o ON o.id = s.user_id"
    f" WHERE s.token_hash = :hash AND {GOOD}"
)


def valid_link(db: Database, token_hash: str) -> ValidLink | None:
    """The link with this hash, if it can be used. Raises StorageDown."""
    for row in db.planned(_VALID, hash=token_hash):
        return ValidLink(*row)
    return None


def shared_with(db: Database, reader: uuid.UUID) -> list[SharedConversation]:
    """What others share with a user, or what a link leads to; the newest share first."""
    rows = db.rows(
        "SELECT c.id, c.title, c.created_at, c.updated_at, max(s.created_at) AS shared_at"
        " FROM shares s JOIN users o ON o.id = s.user_id"
        " JOIN conversations c ON c.id = s.conversation_id AND c.deleted_at IS NULL"
        f" WHERE (s.id = :reader OR s.with_user_id = :reader) AND {GOOD}"
        " GROUP BY c.id ORDER BY shared_at DESC, c.id LIMIT :most",
        reader=reader,
        most=LISTED,
    )
    return [SharedConversation(*row) for row in rows]
