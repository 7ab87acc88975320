"""What operators and metrics ask about all messages: numbers, ids and codes, never a text."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from shared.lifecycle import OPEN, Status
from shared.store.database import Database, QueryBudget
from shared.store.status_sql import OPEN_STATUSES
from shared.store.turns import waits

#: These queries wait for one another, and hold up no user.
OPERATORS: Final = QueryBudget(connections=1, patience=2.0, statement=5.0)
#: Rows that are worth showing.
MOST: Final = 500
ERRORS: Final = 20


@dataclass(frozen=True, slots=True)
class Running:
    """An open message: its user and owner, its age in seconds, the code points saved."""

    id: uuid.UUID
    conversation_id: uuid.UUID
    user_id: uuid.UUID
    status: str
    model: str | None
    owner: str | None
    age: float
    characters: int


@dataclass(frozen=True, slots=True)
class Failed:
    """An answer that ended in ERROR."""

    id: uuid.UUID
    conversation_id: uuid.UUID
    user_id: uuid.UUID
    code: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Totals:
    """Open messages by status, the oldest that waits (seconds), and what failed lately."""

    running: int
    waiting: int
    oldest_waiting: float
    failed: int


def running(db: Database) -> list[Running]:
    """Open messages, those being written first, the oldest of each first."""
    rows = db.rows_within(
        OPERATORS,
        "SELECT id, conversation_id, user_id, status, model, owner,"
        " CAST(extract(epoch FROM clock_timestamp() - coalesce(started_at, created_at))"
        " AS float8), saved_len FROM messages"
        f" WHERE status IN {OPEN_STATUSES} ORDER BY status DESC, created_at LIMIT :most",
        most=MOST,
    )
    return [Running(*row) for row in rows]


def failed(db: Database) -> list[Failed]:
    """The last that ended in ERROR, newest first."""
    rows = db.rows_within(
        OPERATORS,
        "SELECT id, conversation_id, user_id, error_code, ended_at FROM messages"
        f" WHERE status = '{Status.ERROR}'"
        " ORDER BY ended_at DESC LIMIT :most",
        most=ERRORS,
    )
    return [Failed(*row) for row in rows]


def causes(db: Database) -> dict[str, int]:
    """How many of the last MOST errors of a day have each code, the most frequent first."""
    rows = db.rows_within(
        OPERATORS,
        "SELECT error_code, count(*) AS number FROM (SELECT error_code FROM messages"
        f" WHERE status = '{Status.ERROR}' AND ended_at > clock_timestamp() - interval '1 day'"
        " ORDER BY ended_at DESC LIMIT :most) AS newest GROUP BY 1 ORDER BY number DESC, 1",
        most=MOST,
    )
    return {row.error_code: row.number for row in rows}


def totals(db: Database, seconds: float) -> Totals:
    """Numbers over all; `failed`: in the last `seconds`."""
    [row] = db.rows_within(
        OPERATORS,
        f"SELECT count(*) FILTER (WHERE status = '{Status.STREAMING}') AS running,"
        f" count(*) FILTER (WHERE status = '{Status.SENDING}') AS waiting,"
        " CAST(coalesce(extract(epoch FROM clock_timestamp()"
        f" - min(created_at) FILTER (WHERE status = '{Status.SENDING}' AND NOT"
        f" {waits('messages')})), 0) AS float8) AS oldest,"
        f" (SELECT count(*) FROM messages WHERE status = '{Status.ERROR}'"
        " AND ended_at > clock_timestamp() - make_interval(secs => :seconds)) AS failed"
        f" FROM messages WHERE status IN {OPEN_STATUSES}",
        seconds=seconds,
    )
    return Totals(*row)


def count_open(db: Database) -> dict[str, int]:
    """Open messages by status, over all users."""
    rows = db.rows_within(
        OPERATORS,
        "SELECT status, count(*) AS number FROM messages"
        f" WHERE status IN {OPEN_STATUSES} GROUP BY status",
    )
    return {status.value: 0 for status in OPEN} | {row.status: row.number for row in rows}


def oldest_waiting(db: Database) -> float:
    """Seconds since the oldest SENDING message was asked that is with the workers; 0 without."""
    rows = db.rows_within(
        OPERATORS,
        "SELECT coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0) AS age"
        f" FROM messages WHERE status = '{Status.SENDING}' AND NOT {waits('messages')}",
    )
    return float(rows[0].age)
