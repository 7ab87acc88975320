"""Reads messages: rows with their bodies, and the states that readers poll. Writes nothing.

A body comes from the pieces while the answer is open, and from the row once it has ended. Row and
pieces are read by one statement, so they always belong together.

How a message begins is in `asking` (R1), what its owner writes in `owning` (R2 to R4), what a
sweep does in `reaping` (R5, R6), Stop in `stopping` (R7), and the end that they share in `ending`.
"""

import uuid
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from shared import tape
from shared.body import Body, Delta
from shared.errors import NotFound
from shared.lifecycle import Status
from shared.parts import PartKind
from shared.store.access import may_read, owns
from shared.store.database import Database
from shared.store.status_sql import OPEN_STATUSES
from shared.store.turns import waits
from shared.tape import Sample

#: Code points of text in a page of messages or conversations, however many there are.
PAGE_CHARS: Final = 1 << 20

SELECT: Final = """
SELECT m.*, (
    SELECT json_agg(json_build_array(p.start, p.part, p.kind, p.text, p.meta, p.at)
        ORDER BY p.start)
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
    #: of one that ended in ERROR: `status` and `code`, as far as a provider that refused named them
    upstream: dict[str, Any] | None = None
    #: seconds after its last reader left until it is stopped; None: it goes on
    on_disconnect: float | None = None
    #: of an answer that began with reasoning: how long that took
    thought_ms: int | None = None


_PLAIN_FIELDS = sorted(Message.__dataclass_fields__.keys() - {"status", "body", "thought_ms"})


def to_message(row: Any) -> Message:
    """A Message from a row of SELECT."""
    plain = {name: getattr(row, name) for name in _PLAIN_FIELDS}
    body = _body(row)
    return Message(status=Status(row.status), body=body, thought_ms=_thought_ms(row, body), **plain)


def _body(row: Any) -> Body:
    if row.body is None:
        return Body(Delta(*piece[:5]) for piece in row.pieces or ())
    return to_body(row.body)


def _thought_ms(row: Any, body: Body) -> int | None:
    """Milliseconds from the first character of an answer to the end of the reasoning it begins
    with: when what follows came, as its tape knows it, or that of its pieces."""
    if len(body.parts) < 2 or body.parts[0].kind != PartKind.REASONING:
        return None
    if row.body is None:
        pieces = sorted((at, start + len(text)) for start, _, _, text, _, at in row.pieces if at)
        samples = [Sample(*piece) for piece in pieces]
    else:
        samples = tape.decode(bytes(row.tape or b""))
    ended = tape.passed(samples, body.parts[0].end)
    if ended is None:
        return None
    first: timedelta | None = row.first_text_at and row.first_text_at - row.started_at
    began = tape.passed(samples, 0) or 0 if first is None else first // timedelta(milliseconds=1)
    return max(0, ended - began)


def to_body(parts: Sequence[Mapping[str, Any]]) -> Body:
    """A Body from what the row of an ended message holds."""
    body = Body()
    for part in parts:
        body.write(part["kind"], part["text"], part["meta"], fresh=True)
    return body


_IDS = "m.id = ANY(CAST(CAST(:ids AS text[]) AS uuid[]))"
_LOAD = (
    f"{SELECT} JOIN conversations c ON c.id = m.conversation_id"
    f" WHERE {_IDS} AND {may_read('m')} AND (:deleted OR c.deleted_at IS NULL)"
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
        f" WHERE m.id = :id AND {may_read('m')} AND c.deleted_at IS NULL",
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
    found: dict[uuid.UUID, Message] = {}
    for user, ids in _by_user(wanted.items()).items():
        rows = db.planned(_LOAD, ids=ids, user=user, deleted=deleted)
        found |= {row.id: to_message(row) for row in rows}
    return found


def stopped(db: Database, user_id: uuid.UUID, ids: Collection[uuid.UUID]) -> dict[uuid.UUID, Body]:
    """The bodies of those among a user's answers that were stopped, by id."""
    if not ids:
        return {}
    wanted = f"{SELECT} WHERE {_IDS} AND {owns('m')} AND m.status = '{Status.CANCELLED}'"
    rows = db.rows(wanted, ids=[str(one) for one in ids], user=user_id)
    return {row.id: _body(row) for row in rows}


def _by_user(pairs: Iterable[tuple[uuid.UUID, uuid.UUID]]) -> dict[uuid.UUID, list[str]]:
    """The ids that each user wants. A statement for each user: joining a list of pairs takes
    Postgres two to three times as long for 500 messages, and there is one user so far."""
    wanted: dict[uuid.UUID, list[str]] = defaultdict(list)
    for message_id, user in pairs:
        wanted[user].append(str(message_id))
    return wanted


def is_deleted(db: Database, message_id: uuid.UUID, user_id: uuid.UUID) -> bool:
    """Whether it is in a conversation that this user deleted and can still bring back."""
    found = db.rows(
        "SELECT FROM messages m JOIN conversations c ON c.id = m.conversation_id"
        f" WHERE m.id = :id AND {owns('m')} AND c.deleted_at IS NOT NULL",
        id=message_id,
        user=user_id,
    )
    return bool(found)


def status(db: Database, message_id: uuid.UUID, user_id: uuid.UUID) -> Status:
    """The status of one message of this user, without its body. Raises NotFound."""
    rows = db.rows(
        "SELECT m.status FROM messages m JOIN conversations c ON c.id = m.conversation_id"
        f" WHERE m.id = :id AND {may_read('m')} AND c.deleted_at IS NULL",
        id=message_id,
        user=user_id,
    )
    if not rows:
        raise NotFound("There is no such message.")
    return Status(rows[0].status)


def id_of_key(db: Database, user_id: uuid.UUID, key: str) -> uuid.UUID | None:
    """The answer that this user asked for with an Idempotency-Key."""
    rows = db.rows(
        "SELECT m.id FROM messages m JOIN conversations c ON c.id = m.conversation_id"
        " WHERE m.user_id = :user AND m.client_key = :key AND c.deleted_at IS NULL",
        user=user_id,
        key=key,
    )
    return rows[0].id if rows else None


def key_of(db: Database, user_id: uuid.UUID, message_id: uuid.UUID) -> str | None:
    """The Idempotency-Key with which this user asked for an answer."""
    rows = db.rows(
        "SELECT client_key FROM messages WHERE id = :id AND user_id = :user",
        id=message_id,
        user=user_id,
    )
    return rows[0].client_key if rows else None


# --- what a hub asks -----------------------------------------------------------------------------

_READABLE: Final = f"""
SELECT m.id, m.ended_at FROM messages m JOIN conversations c ON c.id = m.conversation_id
WHERE {_IDS} AND {may_read("m")} AND c.deleted_at IS NULL
"""


def readable(
    db: Database, wanted: Collection[tuple[uuid.UUID, uuid.UUID]]
) -> dict[tuple[uuid.UUID, uuid.UUID], datetime | None]:
    """Which of these (message, user) the user may read now, and when each message ended."""
    return {
        (row.id, user): row.ended_at
        for user, ids in _by_user(wanted).items()
        for row in db.planned(_READABLE, ids=ids, user=user)
    }


@dataclass(frozen=True, slots=True)
class MessageState:
    """The part of a row by which a follower decides whether to read it again."""

    saved: int
    ended: bool
    lapsed: bool
    claim: uuid.UUID | None
    #: it waits for its turn, and nothing of its user is left that could end and give it
    forgotten: bool = False


def poll_states(db: Database, ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, MessageState]:
    """Many rows in one statement; a row that is gone is missing."""
    rows = db.rows(_STATES, ids=[str(message_id) for message_id in ids])
    return {
        row.id: MessageState(row.saved_len, row.ended, row.lapsed, row.claim, row.forgotten)
        for row in rows
    }


def _lapsed(row: str) -> str:
    """SQL: a deadline of `row` has passed."""
    first = f"least({row}.lease_until, {row}.hard_deadline, {row}.queue_deadline)"
    return f"coalesce({first} < clock_timestamp(), false)"


_STATES: Final = f"""
SELECT id, claim, saved_len, status NOT IN {OPEN_STATUSES} AS ended, {_lapsed("m")} AS lapsed,
    {waits("m")} AND NOT EXISTS (SELECT FROM messages o WHERE o.user_id = m.user_id
        AND o.status IN {OPEN_STATUSES} AND NOT {waits("o")} AND NOT {_lapsed("o")}) AS forgotten
FROM messages m WHERE id = ANY(CAST(:ids AS uuid[]))
"""
