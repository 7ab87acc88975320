"""The one UPDATE that ends an answer, for all that end answers.

Four modules end answers: `owning` (its owner), `stopping` (Stop before a worker took it), and for
the sweep `reaping` (a dead owner's answer, and a question that no worker took). All of them lock
the row first and then call `end_locked` in the same transaction.

Guaranteed: body, length and sha256 are computed by Postgres from the saved pieces, never taken
from a process; the pieces go in the same transaction; the status is one that the lifecycle allows
from the row's present one; and an end is later than everything that was seen, asked or ended
before it in its conversation, although the database's clock may have jumped back. Its tape is wound
up (`tape_sql`) and what it cost is added to the ledger (`token_use`) by the same statement, and the
user's next question may get its turn (`turns`). Where the user wants to be notified, a row says so
(`pushes`). After DONE the first question in line of its conversation is due (`line`).

Invariant: who ends several answers in one transaction does so in the order of ORDER_OF_ENDS.
"""

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection

from shared.chain import linked
from shared.errors import MESSAGE_ERRORS
from shared.lifecycle import TERMINAL, Status, sources
from shared.store import pushes, token_use
from shared.store.database import run_planned
from shared.store.status_sql import OPEN_STATUSES
from shared.store.tape_sql import marks_of, tape_of
from shared.store.turns import DISPATCH_AFTER, NO_TURNS, TURN_COMES, Turns, waits

#: SQL: the order in which a transaction locks rows of the ledger.
ORDER_OF_ENDS: Final = "user_id, key_id NULLS FIRST, id"


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
    #: what a provider said when it refused: `status`, and `code` if it named one
    upstream: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        assert self.status in TERMINAL

    @classmethod
    def error(
        cls, code: str, message: str | None = None, upstream: Mapping[str, Any] | None = None
    ) -> "Ending":
        """An ERROR with one of the codes of MESSAGE_ERRORS."""
        sentence, _ = MESSAGE_ERRORS[code]
        return cls(Status.ERROR, None, None, code, message or sentence, upstream=upstream)


class Called(NamedTuple):
    """What an end gives its turn: questions to enqueue, and a conversation whose line moves."""

    questions: Sequence[uuid.UUID] = ()
    line: uuid.UUID | None = None


# Length and hash are computed here, from what is really saved, and copied everywhere else.
# An end comes after everything that was seen, asked or ended before, though the clock jump back.
_ENDED: Final = f"""
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
), ended AS (
    UPDATE messages SET status = :status, body = whole.body, length = whole.length,
        sha256 = encode(sha256(convert_to(whole.content, 'UTF8')), 'hex'),
        finish_reason = :finish_reason, usage = CAST(:usage AS jsonb), error_code = :error_code,
        error_message = :error_message, upstream = CAST(:upstream AS jsonb), owner = NULL,
        chain = (SELECT {linked("q.chain", "assistant", "whole.body")}
            FROM messages q WHERE q.id = messages.parent_id AND q.chain IS NOT NULL),
        ended_at = greatest(clock_timestamp(), interval '1 microsecond' + greatest((
            SELECT greatest(c.seen_at, c.updated_at) FROM conversations c
            WHERE c.id = messages.conversation_id), (
            SELECT max(b.ended_at) FROM messages b
                WHERE b.conversation_id = messages.conversation_id AND b.role = 'assistant'
                AND b.ended_at IS NOT NULL))),
        first_text_at = started_at + make_interval(secs => CAST(:first_text AS float8)),
        tape = {tape_of(":id")}, marks = {marks_of(":id", "created_at")},
        lease_until = NULL, hard_deadline = NULL, queue_deadline = NULL, dispatch_at = NULL
    FROM whole WHERE messages.id = :id AND status = ANY(:before) AND saved_len = whole.length
    RETURNING id, user_id, conversation_id, key_id, tries, messages.length, prompt_chars, ended_at
), compacted AS (
    DELETE FROM pieces USING ended WHERE message_id = ended.id
), noted AS (
    DELETE FROM message_marks USING ended WHERE message_id = ended.id
), cost AS ({token_use.COST}), charged AS ({token_use.ADD}), told AS ({pushes.NOTE}), line AS (
    UPDATE questions_in_line SET due_at = clock_timestamp() FROM ended CROSS JOIN LATERAL (
        SELECT id FROM questions_in_line q WHERE q.conversation_id = ended.conversation_id
        ORDER BY q.seq LIMIT 1
    ) AS first
    WHERE questions_in_line.id = first.id AND CAST(:status AS text) = '{Status.DONE}'
    RETURNING questions_in_line.conversation_id AS id
)
"""
#: What a row of the result says.
_WHATS: Final = ("ended", "line", "called")
_FOUND: Final = "SELECT id, 'ended' AS what FROM ended UNION ALL SELECT id, 'line' FROM line"
_END: Final = f"{_ENDED} {_FOUND}"
_END_AND_CALL: Final = f"""{_ENDED}, next AS (
    SELECT m.id FROM ended JOIN messages m ON m.user_id = ended.user_id
    WHERE {waits("m")}
    ORDER BY m.seq LIMIT (
        SELECT greatest(0, CAST(:running AS int) - count(*)) FROM ended JOIN messages o
        ON o.user_id = ended.user_id
        WHERE o.status IN {OPEN_STATUSES} AND o.id <> ended.id AND NOT {waits("o")}
    ) FOR UPDATE OF m SKIP LOCKED
), called AS (
    UPDATE messages SET {TURN_COMES} FROM next WHERE messages.id = next.id RETURNING messages.id
)
{_FOUND} UNION ALL SELECT id, 'called' FROM called
"""


def end_locked(
    connection: Connection, message_id: uuid.UUID, ending: Ending, turns: Turns = NO_TURNS
) -> Called:
    """Compact and end a row that this transaction has locked.

    Returns what is to be done after the commit. (If it is not, a sweep does it.)
    """
    tokens = token_use.reported(ending.usage)
    calls = {
        "running": turns.running,
        "dispatch": DISPATCH_AFTER,
        "deadline": turns.queue_deadline,
    }
    rows = run_planned(
        connection,
        _END_AND_CALL if turns.running else _END,
        id=message_id,
        before=sorted(sources(ending.status)),
        status=ending.status,
        finish_reason=ending.finish_reason,
        usage=json.dumps(ending.usage) if ending.usage else None,
        error_code=ending.error_code,
        error_message=ending.error_message,
        upstream=json.dumps(ending.upstream) if ending.upstream else None,
        first_text=ending.first_text,
        input=tokens.input,
        output=tokens.output,
        **(calls if turns.running else {}),
    )
    found = {what: [row.id for row in rows if row.what == what] for what in _WHATS}
    if not found["ended"]:  # pragma: no cover - the row is ours and locked: a bug
        raise AssertionError(f"message {message_id} cannot end as {ending.status} with its pieces")
    return Called(found["called"], next(iter(found["line"]), None))
