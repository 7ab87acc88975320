"""A message as Postgres has it: its row and body, how any answer ends, and Stop.

The rules R1 to R7 are told in ARCHITECTURE.md: how a message begins (R1) is in `asking`, what
its owner writes (R2 to R4) in `owning`, what is done with what was left behind (R5, R6) in
`reaping`; here are Stop (R7) and the end that they all share. Only the database's clock counts.
"""

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from shared.body import Body, Delta
from shared.errors import NotFound
from shared.lifecycle import OPEN, Status
from shared.store.database import Database

SELECT: Final = """
SELECT m.*, (
    SELECT json_agg(json_build_array(p.start, p.part, p.kind, p.text, p.meta) ORDER BY p.start)
    FROM pieces p WHERE p.message_id = m.id
) AS pieces
FROM messages m
"""


@dataclass(frozen=True, slots=True)
class Message:
    """A row and its body: the saved pieces while it is open, the whole once it has ended."""

    id: uuid.UUID
    user_id: uuid.UUID
    conversation_id: uuid.UUID
    parent_id: uuid.UUID | None
    continues_id: uuid.UUID | None
    role: str
    status: Status
    body: Body
    model: str | None
    length: int | None
    sha256: str | None
    usage: dict[str, Any] | None
    finish_reason: str | None
    error_code: str | None
    error_message: str | None
    attempt: int
    created_at: datetime
    started_at: datetime | None
    first_text_at: datetime | None
    ended_at: datetime | None
    #: the token of the claim whose text this is; None before a worker has claimed it
    claim: uuid.UUID | None = None


_PLAIN_FIELDS = sorted(Message.__dataclass_fields__.keys() - {"status", "body"})


def to_message(row: Any) -> Message:
    """A Message from a row of SELECT."""
    plain = {name: getattr(row, name) for name in _PLAIN_FIELDS}
    return Message(status=Status(row.status), body=_body(row), **plain)


def _body(row: Any) -> Body:
    if row.body is None:
        return Body(Delta(*piece) for piece in row.pieces or ())
    return to_body(row.body)


def to_body(parts: Sequence[Mapping[str, Any]]) -> Body:
    """A Body from what the row of an ended message holds."""
    body = Body()
    for part in parts:
        body.write(part["kind"], part["text"], part["meta"], fresh=True)
    return body


_LOAD = (
    f"{SELECT} JOIN conversations c ON c.id = m.conversation_id"
    " WHERE m.id = ANY(CAST(CAST(:ids AS text[]) AS uuid[]))"
    " AND (:deleted OR c.deleted_at IS NULL)"
)


def load(
    db: Database, message_id: uuid.UUID, user_id: uuid.UUID, *, deleted: bool = False
) -> Message:
    """One message of this user. Raises NotFound."""
    found = load_all(db, {message_id: user_id}, deleted=deleted)
    if not found:
        raise NotFound("There is no such message.")
    return found[message_id]


def load_without_body(db: Database, message_id: uuid.UUID, user_id: uuid.UUID) -> Message:
    """The same but for its text, which may be long: its body is empty."""
    rows = db.rows(
        f"SELECT {', '.join(f'm.{name}' for name in _PLAIN_FIELDS)}, m.status, NULL AS body,"
        " NULL AS pieces FROM messages m JOIN conversations c ON c.id = m.conversation_id"
        " WHERE m.id = :id AND m.user_id = :user AND c.deleted_at IS NULL",
        id=message_id,
        user=user_id,
    )
    if not rows:
        raise NotFound("There is no such message.")
    return to_message(rows[0])


def load_all(
    db: Database, wanted: Mapping[uuid.UUID, uuid.UUID], *, deleted: bool = False
) -> dict[uuid.UUID, Message]:
    """Those messages (id -> their user) that there are, by id.

    Row and pieces in one statement, so that they belong together. `deleted`: also where the
    conversation was deleted, for a reader who was there before.
    """
    rows = db.planned(_LOAD, ids=[str(message_id) for message_id in wanted], deleted=deleted)
    return {row.id: to_message(row) for row in rows if row.user_id == wanted[row.id]}


# --- what a hub asks -----------------------------------------------------------------------------

_READABLE: Final = """
SELECT m.id, m.user_id, m.ended_at
FROM messages m JOIN conversations c ON c.id = m.conversation_id
WHERE m.id = ANY(CAST(CAST(:ids AS text[]) AS uuid[])) AND c.deleted_at IS NULL
"""


def readable(
    db: Database, ids: Collection[uuid.UUID]
) -> dict[uuid.UUID, tuple[uuid.UUID, datetime | None]]:
    """Which of these there are, deleted ones left out: id -> their user, when it ended."""
    found = db.planned(_READABLE, ids=[str(message_id) for message_id in ids])
    return {row.id: (row.user_id, row.ended_at) for row in found}


@dataclass(frozen=True, slots=True)
class MessageState:
    """As much of a row as tells whether a follower has to look closer."""

    saved: int
    ended: bool
    lapsed: bool
    claim: uuid.UUID | None


def poll_states(db: Database, ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, MessageState]:
    """Many rows in one statement; a row that is gone is missing."""
    rows = db.rows(
        "SELECT id, claim, saved_len, NOT (status = ANY(:open)) AS ended, coalesce("
        "least(lease_until, hard_deadline, queue_deadline) < clock_timestamp(), false) AS lapsed"
        " FROM messages WHERE id = ANY(CAST(:ids AS uuid[]))",
        ids=[str(message_id) for message_id in ids],
        open=sorted(OPEN),
    )
    return {row.id: MessageState(row.saved_len, row.ended, row.lapsed, row.claim) for row in rows}
