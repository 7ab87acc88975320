"""The one UPDATE that ends an answer, for all that end answers.

Four modules end answers: `owning` (its owner), `stopping` (Stop before a worker took it), and for
the sweep `reaping` (a dead owner's answer, and a question that no worker took). All of them lock
the row first and then call `end_locked` in the same transaction.

Guaranteed: body, length and sha256 are computed by Postgres from the saved pieces, never taken
from a process; the pieces go in the same transaction; the status is one that the lifecycle allows
from the row's present one; and an end is later than everything that was seen, asked or ended
before it in its conversation, although the database's clock may have jumped back.
"""

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from shared.errors import MESSAGE_ERRORS
from shared.lifecycle import TERMINAL, Status, sources
from shared.store.database import run


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

    def __post_init__(self) -> None:
        assert self.status in TERMINAL

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
FROM whole WHERE messages.id = :id AND status = ANY(:before) AND saved_len = whole.length
"""


def end_locked(connection: Connection, message_id: uuid.UUID, ending: Ending) -> None:
    """Compact and end a row that this transaction has locked."""
    usage = json.dumps(ending.usage) if ending.usage else None
    ended = run(
        connection,
        _END,
        id=message_id,
        before=sorted(sources(ending.status)),
        status=ending.status,
        finish_reason=ending.finish_reason,
        usage=usage,
        error_code=ending.error_code,
        error_message=ending.error_message,
        first_text=ending.first_text,
    )
    if ended.rowcount != 1:  # pragma: no cover - the row is ours and locked: a bug, not a race
        raise AssertionError(f"message {message_id} cannot end as {ending.status} with its pieces")
    run(connection, "DELETE FROM pieces WHERE message_id = :id", id=message_id)
