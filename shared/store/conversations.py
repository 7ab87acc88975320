"""A user's conversations: made, listed, changed, seen, deleted and brought back."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from shared.errors import KeyReused, NotFound
from shared.store.access import may_read_conversation, may_write, owns
from shared.store.asking import lock_user
from shared.store.database import Database, run
from shared.store.ending import ORDER_OF_ENDS
from shared.store.messages import PAGE_CHARS
from shared.store.reaping import GONE, UNDO_SECONDS
from shared.store.status_sql import OPEN_STATUSES
from shared.store.stopping import stop_locked


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation without its messages; `seq` orders a person's conversations."""

    id: uuid.UUID
    seq: int
    title: str | None
    #: who gave it: question, model, person
    title_by: str | None
    system: str | None
    created_at: datetime
    updated_at: datetime


NOT_THERE: Final = "There is no such conversation."
_COLUMNS = "id, seq, title, title_by, system, created_at, updated_at"


def create(
    db: Database,
    user_id: uuid.UUID,
    title: str | None,
    system: str | None,
    *,
    key: str | None = None,
    request_hash: str | None = None,
) -> Conversation:
    """A conversation without messages. The same key gives the same one.

    Raises KeyReused, and NotFound where the one of this key has been deleted.
    """
    rows = db.rows(
        "INSERT INTO conversations (id, user_id, title, title_by, system, client_key, request_hash)"
        " VALUES (:id, :user, CAST(:title AS text),"
        " CASE WHEN CAST(:title AS text) IS NOT NULL THEN 'person' END, :system, :key, :hash)"
        f" ON CONFLICT (user_id, client_key) DO NOTHING RETURNING {_COLUMNS}",
        id=uuid.uuid4(),
        user=user_id,
        title=title,
        system=system,
        key=key,
        hash=request_hash if key is not None else None,
    )
    return Conversation(*rows[0]) if rows else _known(db, user_id, key, request_hash)


def _known(
    db: Database, user_id: uuid.UUID, key: str | None, request_hash: str | None
) -> Conversation:
    rows = db.rows(
        f"SELECT {_COLUMNS}, request_hash, deleted_at FROM conversations"
        " WHERE user_id = :user AND client_key = :key",
        user=user_id,
        key=key,
    )
    if rows and rows[0].request_hash != request_hash:
        raise KeyReused
    if not rows or rows[0].deleted_at is not None:  # purged since, or to be purged
        raise NotFound("The conversation of this key has been deleted.")
    return Conversation(*rows[0][:-2])


def newest(
    db: Database, user_id: uuid.UUID, limit: int, before: int | None
) -> tuple[list[Conversation], bool]:
    """Up to `limit` conversations, newest first, older than sequence number `before`, with at most
    PAGE_CHARS of system text (the first one always); whether there are more."""
    rows = db.rows(
        f"SELECT {_COLUMNS}, number FROM ("
        " SELECT *, count(*) OVER () AS number, coalesce(sum(length(system)) OVER ("
        " ORDER BY seq DESC ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW), 0) AS chars,"
        " row_number() OVER (ORDER BY seq DESC) AS place FROM ("
        f"  SELECT * FROM conversations WHERE {owns('conversations')} AND deleted_at IS NULL"
        "  AND (CAST(:before AS bigint) IS NULL OR seq < :before)"
        "  ORDER BY seq DESC LIMIT :limit + 1) AS page) AS counted"
        " WHERE place = 1 OR (place <= :limit AND chars <= :chars) ORDER BY seq DESC",
        user=user_id,
        before=before,
        limit=limit,
        chars=PAGE_CHARS,
    )
    return [Conversation(*row[:-1]) for row in rows], bool(rows) and rows[0].number > len(rows)


def load(db: Database, user_id: uuid.UUID, conversation_id: uuid.UUID) -> Conversation:
    """One that this user may read. Its system text is its owner's alone. Raises NotFound."""
    columns = _COLUMNS.replace("system,", f"CASE WHEN {owns('conversations')} THEN system END,")
    return _one(
        db.rows(
            f"SELECT {columns} FROM conversations"
            f" WHERE id = :id AND {may_read_conversation('conversations')} AND deleted_at IS NULL",
            id=conversation_id,
            user=user_id,
        )
    )


def must_own(db: Database, user_id: uuid.UUID, conversation_id: uuid.UUID) -> None:
    """Raise NotFound for one that is not this user's."""
    there = f"SELECT 1 FROM conversations WHERE id = :id AND {owns('conversations')}"
    if not db.rows(f"{there} AND deleted_at IS NULL", id=conversation_id, user=user_id):
        raise NotFound(NOT_THERE)


def change(
    db: Database, user_id: uuid.UUID, conversation_id: uuid.UUID, **changes: str | None
) -> Conversation:
    """Give it another title or system text. Raises NotFound.

    A title is a person's from then on; without one the next question names it again.
    """
    title, system = changes.get("title"), changes.get("system")
    return _one(
        db.rows(
            "UPDATE conversations SET"
            " title = CASE WHEN :retitled THEN CAST(:title AS text) ELSE title END,"
            " title_by = CASE WHEN NOT :retitled THEN title_by"
            " WHEN CAST(:title AS text) IS NOT NULL THEN 'person' END,"
            " system = CASE WHEN :instructed THEN CAST(:system AS text) ELSE system END"
            f" WHERE id = :id AND {may_write('conversations')} AND deleted_at IS NULL"
            f" RETURNING {_COLUMNS}",
            id=conversation_id,
            user=user_id,
            title=title,
            retitled="title" in changes,
            system=system,
            instructed="system" in changes,
        )
    )


def undelete(db: Database, user_id: uuid.UUID, conversation_id: uuid.UUID) -> Conversation:
    """Bring it back; harmless if it was never gone. Raises NotFound when it is too late."""
    return _one(
        db.rows(
            "UPDATE conversations SET deleted_at = NULL"
            f" WHERE id = :id AND {may_write('conversations')}"
            f" AND (deleted_at IS NULL OR NOT {GONE}) RETURNING {_COLUMNS}",
            id=conversation_id,
            user=user_id,
            undo=UNDO_SECONDS,
        )
    )


def mark_seen(
    db: Database, user_id: uuid.UUID, conversation_id: uuid.UUID, message_id: uuid.UUID | None
) -> bool:
    """Its answers were seen, up to the end of this one or up to now; whether that was news.

    Raises NotFound.
    """
    must_own(db, user_id, conversation_id)
    rows = db.rows(
        "UPDATE conversations SET seen_at = seen.at FROM (SELECT CASE"
        " WHEN CAST(:message AS uuid) IS NULL THEN greatest(clock_timestamp(),"
        " (SELECT max(ended_at) FROM messages WHERE conversation_id = :id AND role = 'assistant'"
        " AND ended_at IS NOT NULL))"
        " ELSE (SELECT ended_at FROM messages WHERE id = :message AND conversation_id = :id"
        f" AND {owns('messages')}) END AS at) AS seen"
        f" WHERE id = :id AND {may_write('conversations')} AND deleted_at IS NULL"
        " AND seen_at < seen.at"
        " RETURNING 1",
        id=conversation_id,
        user=user_id,
        message=message_id,
    )
    return bool(rows)


def _one(rows: Sequence[Any]) -> Conversation:
    if not rows:
        raise NotFound(NOT_THERE)
    return Conversation(*rows[0])


def delete(db: Database, user_id: uuid.UUID, conversation_id: uuid.UUID) -> list[uuid.UUID]:
    """Hide it and stop its open answers (R7); their ids. Purged by the sweep later. NotFound."""
    with db.transaction() as connection:
        lock_user(connection, user_id)
        hidden = run(
            connection,
            "UPDATE conversations SET deleted_at = clock_timestamp()"
            f" WHERE id = :id AND {may_write('conversations')} AND deleted_at IS NULL",
            id=conversation_id,
            user=user_id,
        )
        if not hidden.rowcount:
            raise NotFound(NOT_THERE)
        rows = run(
            connection,
            "SELECT id, status FROM messages WHERE conversation_id = :id"
            f" AND {may_write('messages')} AND status IN {OPEN_STATUSES}"
            f" ORDER BY {ORDER_OF_ENDS} FOR UPDATE",
            id=conversation_id,
            user=user_id,
        ).all()
        for row in rows:
            stop_locked(connection, row)
        return [row.id for row in rows]
