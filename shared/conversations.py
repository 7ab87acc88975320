"""A person's conversations: trees of messages, and the branch one is looking at."""

import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from shared.asking import lock_user
from shared.database import Database, run
from shared.errors import NotFound
from shared.messages import SELECT, Message, stop_locked, to_message


@dataclass(frozen=True, slots=True)
class Conversation:
    """A conversation without its messages; `seq` orders a person's conversations."""

    id: uuid.UUID
    seq: int
    title: str | None
    system: str | None
    created_at: datetime
    updated_at: datetime


_COLUMNS = "id, seq, title, system, created_at, updated_at"


@dataclass(frozen=True, slots=True)
class Turn:
    """A message on a branch, and the messages it could be exchanged for."""

    message: Message
    #: (sibling, newest leaf below it), oldest first, itself included
    siblings: list[tuple[uuid.UUID, uuid.UUID]]


def create(db: Database, user_id: uuid.UUID, title: str | None, system: str | None) -> Conversation:
    """A conversation without messages."""
    rows = db.rows(
        "INSERT INTO conversations (id, user_id, title, system)"
        f" VALUES (:id, :user, :title, :system) RETURNING {_COLUMNS}",
        id=uuid.uuid4(),
        user=user_id,
        title=title,
        system=system,
    )
    return Conversation(*rows[0])


def newest(db: Database, user_id: uuid.UUID, limit: int, before: int | None) -> list[Conversation]:
    """Up to `limit` conversations, newest first, older than sequence number `before`."""
    rows = db.rows(
        f"SELECT {_COLUMNS} FROM conversations WHERE user_id = :user AND deleted_at IS NULL"
        " AND (CAST(:before AS bigint) IS NULL OR seq < :before) ORDER BY seq DESC LIMIT :limit",
        user=user_id,
        before=before,
        limit=limit,
    )
    return [Conversation(*row) for row in rows]


def load(db: Database, user_id: uuid.UUID, conversation_id: uuid.UUID) -> Conversation:
    """One of this user's. Raises NotFound."""
    return _one(
        db.rows(
            f"SELECT {_COLUMNS} FROM conversations"
            " WHERE id = :id AND user_id = :user AND deleted_at IS NULL",
            id=conversation_id,
            user=user_id,
        )
    )


def rename(
    db: Database, user_id: uuid.UUID, conversation_id: uuid.UUID, title: str | None
) -> Conversation:
    """Give it another title. Raises NotFound."""
    return _one(
        db.rows(
            "UPDATE conversations SET title = :title"
            f" WHERE id = :id AND user_id = :user AND deleted_at IS NULL RETURNING {_COLUMNS}",
            id=conversation_id,
            user=user_id,
            title=title,
        )
    )


def _one(rows: Sequence[Any]) -> Conversation:
    if not rows:
        raise NotFound("There is no such conversation.")
    return Conversation(*rows[0])


def delete(db: Database, user_id: uuid.UUID, conversation_id: uuid.UUID) -> list[uuid.UUID]:
    """Hide it and stop its open answers (R7); their ids. Purged by the sweep later. NotFound."""
    with db.transaction() as connection:
        lock_user(connection, user_id)
        hidden = run(
            connection,
            "UPDATE conversations SET deleted_at = clock_timestamp()"
            " WHERE id = :id AND user_id = :user AND deleted_at IS NULL",
            id=conversation_id,
            user=user_id,
        )
        if not hidden.rowcount:
            raise NotFound("There is no such conversation.")
        rows = run(
            connection,
            "SELECT id, status FROM messages WHERE conversation_id = :id AND user_id = :user"
            " AND status IN ('SENDING', 'STREAMING') ORDER BY id FOR UPDATE",
            id=conversation_id,
            user=user_id,
        ).all()
        for row in rows:
            stop_locked(connection, row)
        return [row.id for row in rows]


def branch(
    db: Database, user_id: uuid.UUID, conversation_id: uuid.UUID, leaf: uuid.UUID | None
) -> list[Turn]:
    """The path from the root to `leaf`, by default to the newest message. Raises NotFound."""
    tree = db.rows(
        "SELECT id, parent_id FROM messages"
        " WHERE conversation_id = :id AND user_id = :user ORDER BY seq",
        id=conversation_id,
        user=user_id,
    )
    if not tree and leaf is None:
        return []
    parents = {row.id: row.parent_id for row in tree}
    end = tree[-1].id if leaf is None else leaf
    if end not in parents:
        raise NotFound("There is no such message in this conversation.")
    path = _path(parents, end)
    siblings = _siblings(parents)
    rows = db.rows(
        f"{SELECT} WHERE m.id = ANY(CAST(:ids AS uuid[])) AND m.user_id = :user",
        ids=[str(message_id) for message_id in path],
        user=user_id,
    )
    found = {row.id: to_message(row) for row in rows}
    return [Turn(found[node], siblings[parents[node]]) for node in path if node in found]


Parents = dict[uuid.UUID, uuid.UUID | None]


def _path(parents: Parents, leaf: uuid.UUID) -> list[uuid.UUID]:
    path, node = [], leaf
    while True:
        path.append(node)
        above = parents[node]
        if above is None:
            return path[::-1]
        node = above


def _siblings(
    parents: Parents,
) -> dict[uuid.UUID | None, list[tuple[uuid.UUID, uuid.UUID]]]:
    """parent -> its children, oldest first, each with the newest message below it."""
    # From the newest: whoever is the first to reach a node from below is the newest below it.
    leaf: dict[uuid.UUID, uuid.UUID] = {}
    for newest_left in reversed(parents):
        node: uuid.UUID | None = newest_left
        while node is not None and node not in leaf:
            leaf[node] = newest_left
            node = parents[node]
    children: dict[uuid.UUID | None, list[tuple[uuid.UUID, uuid.UUID]]] = defaultdict(list)
    for child, above in parents.items():
        children[above].append((child, leaf[child]))
    return children
