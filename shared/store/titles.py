"""Titles made by a model: one replaces the question's first words, once, and never a person's."""

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from shared.lifecycle import Status
from shared.store.database import Database
from shared.store.part_sql import joined_text

#: Code points of the question and of the answer that a title is made from.
BEGINNING: Final = 2_000


@dataclass(frozen=True, slots=True)
class Exchange:
    """A question and its answer, whose conversation has no title of its own."""

    model: str
    question: str
    answer: str


def _beginning(body: str) -> str:
    return f"left({joined_text(body, lambda its: its.titled)}, :beginning)"


_UNTITLED = f"""
SELECT m.model, {_beginning("q.body")} AS question, {_beginning("m.body")} AS answer
FROM messages m JOIN messages q ON q.id = m.parent_id
JOIN conversations c ON c.id = m.conversation_id
WHERE m.id = :id AND m.status = '{Status.DONE}' AND c.title_by = 'question'
    AND c.title_usage IS NULL AND c.deleted_at IS NULL
"""


def untitled(db: Database, message_id: uuid.UUID) -> Exchange | None:
    """What a title can be made from, if one is wanted."""
    rows = db.rows(_UNTITLED, id=message_id, beginning=BEGINNING)
    return Exchange(*rows[0]) if rows else None


_CLAIM = f"""
WITH wanted AS ({_UNTITLED}),
mine AS (
    UPDATE conversations c SET title_usage = '{{}}' FROM messages m
    WHERE m.id = :id AND c.id = m.conversation_id AND c.title_usage IS NULL
        AND EXISTS (SELECT 1 FROM wanted) RETURNING c.id
)
SELECT wanted.* FROM wanted, mine
"""


def claim(db: Database, message_id: uuid.UUID) -> Exchange | None:
    """What to make a title from, if one is wanted and no other worker makes it: a conversation is
    named, and that is paid for, once."""
    rows = db.rows(_CLAIM, id=message_id, beginning=BEGINNING)
    return Exchange(*rows[0]) if rows else None


def release(db: Database, message_id: uuid.UUID) -> None:
    """It could not be made and cost nothing: the next answer may try."""
    db.rows(
        "UPDATE conversations c SET title_usage = NULL FROM messages m"
        " WHERE m.id = :id AND c.id = m.conversation_id AND c.title_usage = '{}' RETURNING c.id",
        id=message_id,
    )


def set_title(
    db: Database, message_id: uuid.UUID, title: str | None, usage: Mapping[str, Any]
) -> uuid.UUID | None:
    """Name the claimed conversation of this answer, unless a person has meanwhile; its user if
    that was done. Without a title only what it cost is kept."""
    rows = db.rows(
        "UPDATE conversations c SET title = coalesce(CAST(:title AS text), title),"
        " title_by = CASE WHEN CAST(:title AS text) IS NULL THEN title_by ELSE 'model' END,"
        " title_usage = CAST(:usage AS jsonb)"
        " FROM messages m WHERE m.id = :id AND c.id = m.conversation_id"
        " AND c.title_by = 'question' AND c.title_usage = '{}' RETURNING c.user_id",
        id=message_id,
        title=title,
        usage=json.dumps(dict(usage)),
    )
    return rows[0].user_id if rows else None
