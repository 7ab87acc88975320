"""What Postgres knows of a message's life: load, claim, save, finish, stop.

Each is one guarded write: it names the status (and the attempt and owner) that it expects, and
losing the race is an ordinary answer, not an exception. Only the database's clock counts. The
rules R1 to R7 are told in ARCHITECTURE.md: how a message begins (R1) is in `asking`, what is
done with what was left behind (R5, R6) in `reaping`.
"""

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection

from shared.body import Body, Delta
from shared.database import Database, run
from shared.errors import MESSAGE_ERRORS, NotFound
from shared.lifecycle import MAX_TRIES, OPEN, Status

SELECT: Final = """
SELECT m.*, (
    SELECT json_agg(json_build_array(p.start, p.part, p.kind, p.text, p.meta) ORDER BY p.start)
    FROM pieces p WHERE p.message_id = m.id
) AS pieces
FROM messages m
"""


# Left by its owner: past lease or hard deadline (but not so soon after a start of Postgres that no
# owner could have renewed), or owned by a boot that somebody saw die.
LAPSED: Final = """
status = 'STREAMING' AND (
    (CAST(:died AS text) IS NOT NULL AND split_part(owner, ':', 2) = :died)
    OR ((lease_until < clock_timestamp() OR hard_deadline < clock_timestamp())
        AND clock_timestamp() > pg_postmaster_start_time() + make_interval(secs => :grace)))
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
    ended_at: datetime | None


_PLAIN_FIELDS = sorted(Message.__dataclass_fields__.keys() - {"status", "body"})


def to_message(row: Any) -> Message:
    """A Message from a row of SELECT."""
    plain = {name: getattr(row, name) for name in _PLAIN_FIELDS}
    return Message(status=Status(row.status), body=_body(row), **plain)


def _body(row: Any) -> Body:
    if row.body is None:
        return Body(Delta(*piece) for piece in row.pieces or ())
    body = Body()
    for part in row.body:
        body.write(part["kind"], part["text"], part["meta"], fresh=True)
    return body


def load(
    db: Database, message_id: uuid.UUID, user_id: uuid.UUID, *, deleted: bool = False
) -> Message:
    """Row and pieces in one statement, so that they belong together. Raises NotFound.

    `deleted`: also when its conversation was deleted, for a reader who was there before.
    """
    rows = db.rows(
        f"{SELECT} JOIN conversations c ON c.id = m.conversation_id"
        " WHERE m.id = :id AND m.user_id = :user AND (:deleted OR c.deleted_at IS NULL)",
        id=message_id,
        user=user_id,
        deleted=deleted,
    )
    if not rows:
        raise NotFound("There is no such message.")
    return to_message(rows[0])


def prompt(db: Database, message_id: uuid.UUID) -> tuple[str | None, list[tuple[str, Body]]]:
    """The conversation's system text, and (role, body) from the root to the question."""
    rows = db.rows(
        "WITH RECURSIVE path AS ("
        " SELECT id, parent_id, 0 AS depth FROM messages WHERE id = :id"
        " UNION ALL SELECT m.id, m.parent_id, depth + 1 FROM messages m"
        " JOIN path ON m.id = path.parent_id)"
        " SELECT m.role, m.body, c.system FROM path JOIN messages m USING (id)"
        " JOIN conversations c ON c.id = m.conversation_id ORDER BY depth DESC",
        id=message_id,
    )
    return rows[-1].system, [(row.role, _body(row)) for row in rows[:-1]]


# --- R2: claim -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Claim:
    """An answer that is now ours to write."""

    id: uuid.UUID
    attempt: int
    model: str
    options: dict[str, Any]
    #: seconds since it was asked
    waited: float


def claim(
    db: Database, message_id: uuid.UUID, owner: str, lease: float, hard_deadline: float
) -> Claim | None:
    """Take a SENDING message, or None: a duplicate delivery, or ended before anybody came."""
    rows = db.rows(
        "UPDATE messages SET status = 'STREAMING', attempt = attempt + 1, tries = tries + 1,"
        " owner = :owner, queue_deadline = NULL, dispatch_at = NULL,"
        " lease_until = clock_timestamp() + make_interval(secs => :lease),"
        " hard_deadline = clock_timestamp() + make_interval(secs => :deadline),"
        " started_at = clock_timestamp()"
        " WHERE id = :id AND status = 'SENDING' RETURNING id, attempt, model, options,"
        " CAST(extract(epoch FROM clock_timestamp() - created_at) AS float8)",
        id=message_id,
        owner=owner,
        lease=lease,
        deadline=hard_deadline,
    )
    return Claim(*rows[0]) if rows else None


# --- R3: save and heartbeat ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Save:
    """What is to be written of one message behind `offset`; without deltas it only renews."""

    id: uuid.UUID
    attempt: int
    offset: int
    deltas: Sequence[Delta] = ()

    @property
    def reaches(self) -> int:
        """The position behind the save."""
        return self.deltas[-1].end if self.deltas else self.offset


@dataclass(frozen=True, slots=True)
class Standing:
    """An open row as Postgres has it, while it is still ours."""

    attempt: int
    saved: int
    stop_requested: bool


# SKIP LOCKED: one row locked by somebody else must not hold up the other hundred.
_SAVE = """
WITH due AS (
    SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:attempts AS int[]), CAST(:offsets AS int[]),
        CAST(:reaches AS int[])) AS d (id, attempt, saved, reaches)
), mine AS (
    SELECT m.id, due.reaches FROM messages m JOIN due ON due.id = m.id
    WHERE m.attempt = due.attempt AND m.owner = :owner AND m.status = 'STREAMING'
        AND m.saved_len = due.saved
    ORDER BY m.id FOR UPDATE OF m SKIP LOCKED
), kept AS (
    UPDATE messages m SET saved_len = mine.reaches,
        lease_until = clock_timestamp() + make_interval(secs => :lease)
    FROM mine WHERE m.id = mine.id RETURNING m.id, m.user_id, m.stop_requested
), written AS (
    INSERT INTO pieces (message_id, start, user_id, part, kind, meta, text)
    SELECT p.id, p.start, kept.user_id, p.part, p.kind, CAST(p.meta AS jsonb), p.text
    FROM unnest(CAST(:piece_ids AS uuid[]), CAST(:starts AS int[]), CAST(:parts AS int[]),
        CAST(:kinds AS text[]), CAST(:metas AS text[]), CAST(:texts AS text[]))
        AS p (id, start, part, kind, meta, text)
    JOIN kept ON kept.id = p.id
)
SELECT id, stop_requested FROM kept
"""


def save(db: Database, owner: str, lease: float, saves: Sequence[Save]) -> dict[uuid.UUID, bool]:
    """Write and renew many in one statement: id -> stop_requested, of those that were done.

    A row that is missing was locked, saved before (a commit of unknown outcome) or taken away:
    ask `standing`.
    """
    with db.transaction() as connection:
        return _save(connection, owner, lease, saves)


def _save(
    connection: Connection, owner: str, lease: float, saves: Sequence[Save]
) -> dict[uuid.UUID, bool]:
    pieces = [(save.id, delta) for save in saves for delta in save.deltas]
    rows = run(
        connection,
        _SAVE,
        owner=owner,
        lease=lease,
        ids=[str(save.id) for save in saves],
        attempts=[save.attempt for save in saves],
        offsets=[save.offset for save in saves],
        reaches=[save.reaches for save in saves],
        piece_ids=[str(message_id) for message_id, _ in pieces],
        starts=[delta.start for _, delta in pieces],
        parts=[delta.part for _, delta in pieces],
        kinds=[delta.kind for _, delta in pieces],
        metas=[json.dumps(delta.meta) if delta.meta else None for _, delta in pieces],
        texts=[delta.text for _, delta in pieces],
    )
    return {row.id: row.stop_requested for row in rows}


def standing(db: Database, owner: str, ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, Standing]:
    """The rows among `ids` that are open and still `owner`'s."""
    rows = db.rows(
        "SELECT id, attempt, saved_len, stop_requested FROM messages"
        " WHERE id = ANY(CAST(:ids AS uuid[])) AND owner = :owner AND status = 'STREAMING'",
        ids=[str(message_id) for message_id in ids],
        owner=owner,
    )
    return {row.id: Standing(row.attempt, row.saved_len, row.stop_requested) for row in rows}


# --- R4: finish ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ending:
    """How an answer ended. ERROR, and only ERROR, has a code."""

    status: Status
    finish_reason: str | None = None
    usage: Mapping[str, Any] | None = None
    error_code: str | None = None
    error_message: str | None = None

    @classmethod
    def error(
        cls, code: str, message: str | None = None, usage: Mapping[str, Any] | None = None
    ) -> "Ending":
        """An ERROR with one of the codes of MESSAGE_ERRORS."""
        sentence, _ = MESSAGE_ERRORS[code]
        return cls(Status.ERROR, None, usage, code, message or sentence)


# Length and hash are computed here, from what is really saved, and copied everywhere else.
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
    error_message = :error_message, ended_at = clock_timestamp(), owner = NULL,
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
    )
    if ended.rowcount != 1:  # pragma: no cover - the row is ours and locked: a bug, not a race
        raise AssertionError(f"the pieces of message {message_id} are not its saved length")
    run(connection, "DELETE FROM pieces WHERE message_id = :id", id=message_id)


def finish(db: Database, owner: str, last: Save, ending: Ending) -> bool:
    """The last pieces, the compaction and the end in one transaction.

    False when the row is not as `last` expects: see `standing` and `has_ended`.
    """
    with db.transaction() as connection:
        if last.id not in _save(connection, owner, 60.0, [last]):
            return False
        end_locked(connection, last.id, ending)
        return True


def release(db: Database, owner: str, message_id: uuid.UUID, attempt: int, deadline: float) -> bool:
    """Give an answer of which nothing was shown back to the queue, due at once (a drain).

    `deadline`: seconds until nobody need take it any more. False when it is ours no longer, was
    claimed too often or somebody wants it stopped: then it has to be ended.
    """
    rows = db.rows(
        "UPDATE messages SET status = 'SENDING', attempt = attempt + 1, owner = NULL,"
        " lease_until = NULL, hard_deadline = NULL, dispatch_at = clock_timestamp(),"
        " queue_deadline = clock_timestamp() + make_interval(secs => :deadline)"
        " WHERE id = :id AND attempt = :attempt AND owner = :owner AND status = 'STREAMING'"
        " AND saved_len = 0 AND NOT stop_requested AND tries < :tries RETURNING id",
        id=message_id,
        attempt=attempt,
        owner=owner,
        deadline=deadline,
        tries=MAX_TRIES,
    )
    return bool(rows)


def has_ended(db: Database, message_id: uuid.UUID, attempt: int) -> bool:
    """Whether this very attempt ended the row: how a commit of unknown outcome is recognised.

    Nobody else can have: the sweep raises the attempt before it ends a row.
    """
    found = db.rows(
        "SELECT 1 FROM messages"
        " WHERE id = :id AND attempt = :attempt AND NOT (status = ANY(:open))",
        id=message_id,
        attempt=attempt,
        open=sorted(OPEN),
    )
    return bool(found)


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


@dataclass(frozen=True, slots=True)
class Glance:
    """As much of a row as tells whether a follower has to look closer."""

    saved: int
    ended: bool
    lapsed: bool


def glance(db: Database, ids: Sequence[uuid.UUID], grace: float) -> dict[uuid.UUID, Glance]:
    """Many rows in one statement; a row that is gone is missing."""
    rows = db.rows(
        f"SELECT id, saved_len, NOT (status = ANY(:open)) AS ended, ({LAPSED}"
        " OR (status = 'SENDING' AND queue_deadline < clock_timestamp())) AS lapsed"
        " FROM messages WHERE id = ANY(CAST(:ids AS uuid[]))",
        ids=[str(message_id) for message_id in ids],
        open=sorted(OPEN),
        grace=grace,
        died=None,
    )
    return {row.id: Glance(row.saved_len, row.ended, row.lapsed) for row in rows}


def count_open(db: Database) -> dict[str, int]:
    """Open messages by status, over all users."""
    rows = db.rows(
        "SELECT status, count(*) AS number FROM messages WHERE status = ANY(:open) GROUP BY status",
        open=sorted(OPEN),
    )
    return {status.value: 0 for status in OPEN} | {row.status: row.number for row in rows}


def oldest_waiting(db: Database) -> float:
    """Seconds since the oldest SENDING message was asked; 0 when none waits."""
    rows = db.rows(
        "SELECT coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0) AS age"
        " FROM messages WHERE status = 'SENDING'"
    )
    return float(rows[0].age)
