"""What the owner of an answer writes: claim, save and renew, finish, release (R2 to R4).

**Guaranteed.** At most one worker writes an answer, and what it saved is exactly its text up to
`saved_len`, without a gap and without a repeat.

**How.** Each rule is one guarded statement. `(claim, owner, STREAMING)` is in the condition of
every write. A save also names the length that it expects, so a statement that is sent twice writes
once. A lost race is an ordinary result (None, False, a missing row), not an exception. `attempt`,
`claim` and `owner` are set by claim, release and the sweep only; an end clears `owner`.

A claim is named by a random token, not by its number. A database that went back (an asynchronous
standby was promoted, a backup was restored) gives out the same attempt again, perhaps to the same
worker. It cannot give out the same token, and nothing is ever continued from one token to another.

**When something fails.** If the connection breaks at a commit, the outcome is unknown:
`lease_state` and `has_ended` read it, because only the owner moves `saved_len` under its claim. If
a row is locked by another statement, a save skips it and writes the others. If the lease passes, a
sweep may take the row; a later save finds no row, and the owner stops. If Postgres went back and
the row has less text than its owner wrote, the owner saves it again from memory. Whatever asks
Postgres raises StorageDown, as `Database.transaction` does.

**Invariant.** Only the database's clock counts here; no argument is a moment of this process.

The file is long because all that an owner may write stands in one place, under one guard.
"""

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection

from shared.body import Body, Delta
from shared.lifecycle import MAX_TRIES, OPEN, Status
from shared.store.database import Database, run
from shared.store.ending import Called, Ending, end_locked
from shared.store.messages import to_body
from shared.store.part_sql import prompt_parts
from shared.store.status_sql import OPEN_STATUSES, before
from shared.store.tape_sql import SINCE_CLAIM, attempt_ended
from shared.store.turns import NO_TURNS, Turns

#: Code points of history where no setting limits them: more than one text in Postgres can hold.
MAX_HISTORY: Final = 1 << 31
#: Seconds of the lease that the last save of an answer writes. Any number is right: the end that
#: follows in the same transaction clears it.
_LAST_LEASE: Final = 60.0
#: Code points of a prompt that are counted.
PROMPT_MOST: Final = (1 << 31) - 1

# --- R2: claim -----------------------------------------------------------------------------------


def new_token() -> uuid.UUID:
    """A token for a claim: never the same twice, whatever any server forgets."""
    return uuid.uuid4()


@dataclass(frozen=True, slots=True)
class Claim:
    """An answer that is now ours to write."""

    id: uuid.UUID
    attempt: int
    model: str
    options: dict[str, Any]
    #: seconds since it was asked
    waited: float
    user_id: uuid.UUID
    #: what is to be answered: its conversation's system text, and (role, body) down to the
    #: question, of bodies what is sent to the provider
    system: str | None = None
    path: Sequence[tuple[str, Body]] = ()
    #: random, and of this claim alone
    token: uuid.UUID = field(default_factory=new_token)


# One statement reads what the provider is asked and claims the row, noting the size of that for the
# ledger. The path's root comes first and the claimed row last. Postgres walks up from the question
# and stops where the next turn would exceed the limit: a conversation may hold more text than a
# worker has memory, and an answer's reasoning, which is not sent, may be as long. It does not stop
# between the results of tools and the answer that called them: no provider takes one without the
# other.
_CLAIM = f"""
WITH RECURSIVE path AS (
    SELECT id, parent_id, 0 AS depth, CAST(NULL AS text) AS role, CAST('[]' AS jsonb) AS parts,
        CAST(0 AS bigint) AS chars, CAST(:history AS bigint) AS room, false AS begun,
        false AS results
    FROM messages WHERE id = :id AND status IN {before(Status.STREAMING)}
    UNION ALL
    SELECT m.id, m.parent_id, depth + 1, m.role, turn.parts, turn.chars,
        path.room - turn.chars, path.begun OR turn.chars > 0, turn.results
    FROM path JOIN messages m ON m.id = path.parent_id CROSS JOIN LATERAL
        {prompt_parts("m.body")} AS turn (parts, chars, results)
    WHERE NOT path.begun OR path.results OR turn.chars <= path.room
), mine AS (
    UPDATE messages SET status = '{Status.STREAMING}', attempt = attempt + 1, tries = tries + 1,
        owner = :owner, claim = CAST(:token AS uuid), queue_deadline = NULL, dispatch_at = NULL,
        lease_until = clock_timestamp() + make_interval(secs => :lease),
        hard_deadline = clock_timestamp() + make_interval(secs => :deadline),
        started_at = clock_timestamp(), prompt_chars = CAST(least((
            SELECT sum(chars) FROM path) + coalesce(char_length(system), (
            SELECT char_length(c.system) FROM conversations c WHERE c.id = conversation_id
            ), 0) + coalesce(char_length(options ->> 'tools'), 0), {PROMPT_MOST}) AS int)
    WHERE id = :id AND status IN {before(Status.STREAMING)}
    RETURNING id, conversation_id, attempt, claim, model, options, user_id,
        system AS instructions,
        CAST(greatest(extract(epoch FROM clock_timestamp() - created_at), 0) AS float8) AS waited
)
SELECT path.role, path.parts, mine.*, coalesce(mine.instructions, c.system) AS system
FROM path
LEFT JOIN mine ON mine.id = path.id LEFT JOIN conversations c ON c.id = mine.conversation_id
WHERE EXISTS (SELECT FROM mine) ORDER BY depth DESC
"""


def claim(
    db: Database,
    message_id: uuid.UUID,
    owner: str,
    lease: float,
    hard_deadline: float,
    *,
    token: uuid.UUID | None = None,
    history: int = MAX_HISTORY,
) -> Claim | None:
    """Take a SENDING message; None if it is taken already or has ended.

    `lease`, `hard_deadline`: seconds. `token`: from `new_token`, for a caller who has to know it
    even if the statement's outcome is unknown. The path has the question, and of the turns above
    it the newest whose texts have at most `history` code points together with it.
    """
    rows = db.planned(
        _CLAIM,
        id=message_id,
        owner=owner,
        token=token or new_token(),
        lease=lease,
        deadline=hard_deadline,
        history=min(history, MAX_HISTORY),
    )
    if not rows:
        return None
    *path, row = rows
    return Claim(
        id=row.id,
        attempt=row.attempt,
        model=row.model,
        options=row.options,
        waited=row.waited,
        user_id=row.user_id,
        system=row.system,
        path=[(turn.role, to_body(turn.parts)) for turn in path],
        token=row.claim,
    )


# --- R3: save and renewal ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Save:
    """What to write of one message from `offset` on; without deltas it only renews the lease."""

    id: uuid.UUID
    #: the token of the claim under which it is written
    claim: uuid.UUID
    offset: int
    deltas: Sequence[Delta] = ()

    @property
    def reaches(self) -> int:
        """The position after the save."""
        return self.deltas[-1].end if self.deltas else self.offset


@dataclass(frozen=True, slots=True)
class LeaseState:
    """A row that is still ours, as Postgres has it."""

    claim: uuid.UUID
    saved: int
    stop_requested: bool


# SKIP LOCKED: one row that another statement locks must not hold up the other hundred.
_SAVE = f"""
WITH due AS (
    SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:claims AS uuid[]), CAST(:offsets AS int[]),
        CAST(:reaches AS int[])) AS d (id, claim, saved, reaches)
), mine AS (
    SELECT m.id, due.reaches FROM messages m JOIN due ON due.id = m.id
    WHERE m.claim = due.claim AND m.owner = :owner AND m.status = '{Status.STREAMING}'
        AND m.saved_len = due.saved
    ORDER BY m.id FOR UPDATE OF m SKIP LOCKED
), kept AS (
    UPDATE messages m SET saved_len = mine.reaches,
        lease_until = clock_timestamp() + make_interval(secs => :lease)
    FROM mine WHERE m.id = mine.id RETURNING m.id, m.claim, m.user_id, m.stop_requested,
        {SINCE_CLAIM} AS at
), written AS (
    INSERT INTO pieces (message_id, start, user_id, part, kind, meta, text, at)
    SELECT p.id, p.start, kept.user_id, p.part, p.kind, CAST(p.meta AS jsonb), p.text, kept.at
    FROM unnest(CAST(:piece_ids AS uuid[]), CAST(:piece_claims AS uuid[]),
        CAST(:starts AS int[]), CAST(:parts AS int[]), CAST(:kinds AS text[]),
        CAST(:metas AS text[]), CAST(:texts AS text[]))
        AS p (id, claim, start, part, kind, meta, text)
    JOIN kept ON kept.id = p.id AND kept.claim = p.claim
)
SELECT id, stop_requested FROM kept
"""


def save(db: Database, owner: str, lease: float, saves: Sequence[Save]) -> dict[uuid.UUID, bool]:
    """Write and renew many in one statement: id -> stop_requested, of those that were done.

    `lease`: seconds. A row that is missing was locked, saved before (a commit of unknown outcome)
    or taken away: ask `lease_state`.
    """
    with db.alone() as connection:
        return _save(connection, owner, lease, saves)


def _save(
    connection: Connection, owner: str, lease: float, saves: Sequence[Save]
) -> dict[uuid.UUID, bool]:
    # An empty part has no piece: Postgres has it from its first character on.
    pieces = [(save, delta) for save in saves for delta in save.deltas if delta.text]
    rows = run(
        connection,
        _SAVE,
        owner=owner,
        lease=lease,
        ids=[str(save.id) for save in saves],
        claims=[str(save.claim) for save in saves],
        offsets=[save.offset for save in saves],
        reaches=[save.reaches for save in saves],
        piece_ids=[str(save.id) for save, _ in pieces],
        piece_claims=[str(save.claim) for save, _ in pieces],
        starts=[delta.start for _, delta in pieces],
        parts=[delta.part for _, delta in pieces],
        kinds=[delta.kind for _, delta in pieces],
        metas=[json.dumps(delta.meta) if delta.meta else None for _, delta in pieces],
        texts=[delta.text for _, delta in pieces],
    )
    return {row.id: row.stop_requested for row in rows}


def lease_state(db: Database, owner: str, ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, LeaseState]:
    """The rows among `ids` that `owner` writes. Under which claim is for the caller to compare."""
    rows = db.rows(
        "SELECT id, claim, saved_len, stop_requested FROM messages"
        " WHERE id = ANY(CAST(:ids AS uuid[])) AND owner = :owner"
        f" AND status = '{Status.STREAMING}'",
        ids=[str(message_id) for message_id in ids],
        owner=owner,
    )
    return {row.id: LeaseState(row.claim, row.saved_len, row.stop_requested) for row in rows}


# --- R4: finish ----------------------------------------------------------------------------------


def finish(
    db: Database, owner: str, last: Save, ending: Ending, turns: Turns = NO_TURNS
) -> Called | None:
    """The last pieces, the compaction and the end in one transaction.

    Returns what its end gives a turn; None when the row is not as `last` expects: see `lease_state`
    and `has_ended`.
    """
    with db.transaction() as connection:
        if last.id not in _save(connection, owner, _LAST_LEASE, [last]):
            return None
        return end_locked(connection, last.id, ending, turns)


# --- giving back, in place of an end --------------------------------------------------------------


def release(
    db: Database, owner: str, message_id: uuid.UUID, claim: uuid.UUID, deadline: float
) -> bool:
    """Give an answer of which nothing was shown back to the queue, due at once (a drain).

    `deadline`: seconds until the question expires. False when it is no longer ours, was claimed
    too often or was stopped: then it has to be ended.
    """
    rows = db.rows(
        f"WITH released AS (UPDATE messages SET status = '{Status.SENDING}', attempt = attempt + 1,"
        " owner = NULL, claim = NULL, lease_until = NULL, hard_deadline = NULL,"
        " dispatch_at = clock_timestamp(),"
        " queue_deadline = clock_timestamp() + make_interval(secs => :deadline)"
        " WHERE id = :id AND claim = :claim AND owner = :owner"
        f" AND status IN {before(Status.SENDING)}"
        " AND saved_len = 0 AND NOT stop_requested AND tries < :tries RETURNING id, started_at"
        f"), noted AS ({attempt_ended('released', 'released')}) SELECT id FROM released",
        id=message_id,
        claim=claim,
        owner=owner,
        deadline=deadline,
        tries=MAX_TRIES,
    )
    return bool(rows)


# --- how a message stands, for a worker that does not own it (any more) ---------------------------


class StoredState(NamedTuple):
    """Whether a message is open, and the code of the error with which it ended, if it did."""

    open: bool
    error_code: str | None


def stored_state(db: Database, message_id: uuid.UUID) -> StoredState:
    """Whether a message is open, or how it ended. One that is gone has ended."""
    found = db.rows("SELECT status, error_code FROM messages WHERE id = :id", id=message_id)
    return (
        StoredState(found[0].status in OPEN, found[0].error_code)
        if found
        else StoredState(False, None)
    )


def has_ended(db: Database, message_id: uuid.UUID, claim: uuid.UUID, attempt: int) -> bool:
    """Whether the owner ended the row under this claim: how a commit of unknown outcome is
    recognised.

    `attempt` distinguishes it from the sweep, which leaves the claim (the text is that claim's)
    and raises the attempt before it ends a row.
    """
    found = db.rows(
        "SELECT 1 FROM messages WHERE id = :id AND claim = :claim AND attempt = :attempt"
        f" AND status NOT IN {OPEN_STATUSES}",
        id=message_id,
        claim=claim,
        attempt=attempt,
    )
    return bool(found)
