"""A message as Postgres has it: its row and body, how any answer ends, and Stop.

The rules R1 to R7 are told in ARCHITECTURE.md: how a message begins (R1) is in `asking`, what
its owner writes (R2 to R4) in `owning`, what is done with what was left behind (R5, R6) in
`reaping`; here are Stop (R7) and the end that they all share. Only the database's clock counts.
"""

import json
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection

from shared.body import Body, Delta
from shared.errors import MESSAGE_ERRORS, NotFound
from shared.lifecycle import OPEN, Status
from shared.store.database import Database, Kind, run

#: What operators and metrics ask about all messages waits for itself, and for nobody else.
OPERATORS: Final = Kind(connections=1, patience=2.0, statement=5.0)

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


# --- an end -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ending:
    """How an answer ended. ERROR, and only ERROR, has a code."""

    status: Status
    finish_reason: str | None = None
    usage: Mapping[str, Any] | None = None
    error_code: str | None = None
    error_message: str | None = None
    #: seconds from the claim to the first character, where that is known
    first_text: float | None = None

    @classmethod
    def error(cls, code: str, message: str | None = None) -> "Ending":
        """An ERROR with one of the codes of MESSAGE_ERRORS."""
        sentence, _ = MESSAGE_ERRORS[code]
        return cls(Status.ERROR, None, None, code, message or sentence)


# Length and hash are computed here, from what is really saved, and copied everywhere else.
# An end comes after everything that was seen, asked or ended before, though the clock jump back.
_END = """
WITH parts AS (
    SELECT part, min(kind) AS kind, (array_agg(meta ORDER BY start))[1] AS meta,
        string_agg(text, '' ORDER BY start) AS text
    FROM pieces WHERE message_id = :id GROUP BY part
), whole AS (
    SELECT coalesce(jsonb_agg(jsonb_build_object('kind', kind, 'meta', meta, 'text', text)
            ORDER BY part), '[]') AS body,
        coalesce(sum(char_length(text)), 0) AS length,
        coalesce(string_agg(text, '' ORDER BY part), '') AS content
    FROM parts
)
UPDATE messages SET status = :status, body = whole.body, length = whole.length,
    sha256 = encode(sha256(convert_to(whole.content, 'UTF8')), 'hex'),
    finish_reason = :finish_reason, usage = CAST(:usage AS jsonb), error_code = :error_code,
    error_message = :error_message, owner = NULL,
    ended_at = greatest(clock_timestamp(), interval '1 microsecond' + greatest((
        SELECT greatest(c.seen_at, c.updated_at) FROM conversations c
        WHERE c.id = messages.conversation_id), (
        SELECT max(b.ended_at) FROM messages b WHERE b.conversation_id = messages.conversation_id
            AND b.role = 'assistant' AND b.ended_at IS NOT NULL))),
    first_text_at = started_at + make_interval(secs => CAST(:first_text AS float8)),
    lease_until = NULL, hard_deadline = NULL, queue_deadline = NULL, dispatch_at = NULL
FROM whole WHERE messages.id = :id AND status = ANY(:open) AND saved_len = whole.length
"""


def end_locked(connection: Connection, message_id: uuid.UUID, ending: Ending) -> None:
    """Compact and end a row that this transaction has locked."""
    usage = json.dumps(ending.usage) if ending.usage else None
    ended = run(
        connection,
        _END,
        id=message_id,
        open=sorted(OPEN),
        status=ending.status,
        finish_reason=ending.finish_reason,
        usage=usage,
        error_code=ending.error_code,
        error_message=ending.error_message,
        first_text=ending.first_text,
    )
    if ended.rowcount != 1:  # pragma: no cover - the row is ours and locked: a bug, not a race
        raise AssertionError(f"the pieces of message {message_id} are not its saved length")
    run(connection, "DELETE FROM pieces WHERE message_id = :id", id=message_id)


# --- R7: stop ------------------------------------------------------------------------------------


def stop(db: Database, message_id: uuid.UUID, user_id: uuid.UUID) -> Status:
    """End a SENDING answer, flag a STREAMING one for its owner; the status found. NotFound."""
    with db.transaction() as connection:
        row = run(
            connection,
            "SELECT m.id, m.status FROM messages m JOIN conversations c"
            " ON c.id = m.conversation_id WHERE m.id = :id AND m.user_id = :user"
            " AND c.deleted_at IS NULL FOR UPDATE OF m",
            id=message_id,
            user=user_id,
        ).one_or_none()
        if row is None:
            raise NotFound("There is no such message.")
        stop_locked(connection, row)
        return Status(row.status)


def stop_locked(connection: Connection, row: Any) -> None:
    """The same for a row that this transaction has locked."""
    if row.status == Status.SENDING:
        end_locked(connection, row.id, Ending(Status.CANCELLED))
    elif row.status == Status.STREAMING:
        run(connection, "UPDATE messages SET stop_requested = true WHERE id = :id", id=row.id)


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


def count_open(db: Database) -> dict[str, int]:
    """Open messages by status, over all users."""
    rows = db.rows_within(
        OPERATORS,
        "SELECT status, count(*) AS number FROM messages WHERE status = ANY(:open) GROUP BY status",
        open=sorted(OPEN),
    )
    return {status.value: 0 for status in OPEN} | {row.status: row.number for row in rows}


def oldest_waiting(db: Database) -> float:
    """Seconds since the oldest SENDING message was asked; 0 when none waits."""
    rows = db.rows_within(
        OPERATORS,
        "SELECT coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0) AS age"
        " FROM messages WHERE status = 'SENDING'",
    )
    return float(rows[0].age)
