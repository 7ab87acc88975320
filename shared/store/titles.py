"""Titles made by a model: one replaces the question's first words, once, and never a person's."""

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from shared.lifecycle import Status
from shared.store import token_use
from shared.store.database import Database
from shared.store.part_sql import joined_text

#: Code points of the question and of the answer that a title is made from.
BEGINNING: Final = 2_000
#: Tokens that a title may have.
TOKENS: Final = 32


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


# What it will cost is counted as an estimate before anything is asked, and noted with the claim. So
# a worker that dies has counted it, and `_settle` puts it right whatever the day is then.
_CLAIM = f"""
WITH wanted AS ({_UNTITLED}),
guess AS (
    SELECT CAST(clock_timestamp() AT TIME ZONE 'UTC' AS date) AS day,
        {token_use.estimated("(length(question) + length(answer))")} AS input,
        CAST(:tokens AS bigint) AS output FROM wanted
), mine AS (
    UPDATE conversations c
    SET title_usage = jsonb_build_object('asked', day, 'input', input, 'output', output)
    FROM messages m, guess
    WHERE m.id = :id AND c.id = m.conversation_id AND c.title_usage IS NULL
    RETURNING c.user_id, m.key_id
), cost AS (
    SELECT user_id, key_id, day, 0 AS answers, input, output, input + output AS estimated
    FROM mine, guess
), charged AS ({token_use.ADD})
SELECT wanted.* FROM wanted, mine
"""


def claim(db: Database, message_id: uuid.UUID) -> Exchange | None:
    """What to make a title from, if one is wanted and no other worker makes it: a conversation is
    named, and that is paid for, once."""
    rows = db.rows(_CLAIM, id=message_id, beginning=BEGINNING, tokens=TOKENS)
    return Exchange(*rows[0]) if rows else None


# The ledger gets the difference to what was guessed; a person may have named it meanwhile.
_SETTLE: Final = f"""
WITH asked AS (
    SELECT c.id, c.user_id, m.key_id, c.title_by = 'question' AS open,
        CAST(c.title_usage ->> 'asked' AS date) AS day,
        CAST(c.title_usage ->> 'input' AS bigint) AS guessed_input,
        CAST(c.title_usage ->> 'output' AS bigint) AS guessed_output
    FROM messages m JOIN conversations c ON c.id = m.conversation_id
    WHERE m.id = :id AND jsonb_exists(c.title_usage, 'asked') FOR UPDATE OF c
), named AS (
    UPDATE conversations c SET title_usage = CAST(:usage AS jsonb),
        title = CASE WHEN open THEN coalesce(CAST(:title AS text), title) ELSE title END,
        title_by = CASE WHEN open AND CAST(:title AS text) IS NOT NULL THEN 'model'
            ELSE title_by END
    FROM asked WHERE c.id = asked.id
), cost AS (
    SELECT user_id, key_id, day, 0 AS answers,
        coalesce(CAST(:input AS bigint), guessed_input) - guessed_input AS input,
        coalesce(CAST(:output AS bigint), guessed_output) - guessed_output AS output,
        CASE WHEN CAST(:input AS bigint) IS NULL THEN 0 ELSE -guessed_input END
            + CASE WHEN CAST(:output AS bigint) IS NULL THEN 0 ELSE -guessed_output END
            AS estimated
    FROM asked
), charged AS ({token_use.ADD})
SELECT user_id FROM asked WHERE open
"""


def release(db: Database, message_id: uuid.UUID) -> None:
    """It could not be made and cost nothing: the next answer may try."""
    _settle(db, message_id, None, None, token_use.Tokens(0, 0))


def set_title(
    db: Database, message_id: uuid.UUID, title: str | None, usage: Mapping[str, Any]
) -> uuid.UUID | None:
    """Name the claimed conversation of this answer, unless a person has meanwhile; its user if
    that was done. Without a title only what it cost is kept."""
    return _settle(db, message_id, title, json.dumps(dict(usage)), token_use.reported(usage))


def _settle(
    db: Database,
    message_id: uuid.UUID,
    title: str | None,
    usage: str | None,
    tokens: token_use.Tokens,
) -> uuid.UUID | None:
    rows = db.rows(_SETTLE, id=message_id, title=title, usage=usage, **tokens._asdict())
    return rows[0].user_id if rows else None
