"""What is kept of a client's request for the API through which it asked, and deletion there.

A provider is sent an answer's `options`. What a client said besides (metadata, whether it waits)
is kept beside the answer, and given back where its API does so. Answers that were asked in another
way have nothing here, and can be read through such an API, too.

An answer is one of many in a conversation, and the history of those below it. So deleting it
through such an API stops it and hides it from that API. Its conversation is deleted with the last
of its answers.
"""

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection

from shared.errors import NotFound
from shared.store.access import may_write, owns
from shared.store.database import Database, run
from shared.store.stopping import stop_locked


@dataclass(frozen=True, slots=True)
class AskedWith:
    """What an answer was asked with."""

    options: Mapping[str, Any]
    #: the system text of this answer, or else that of its conversation; None: none
    system: str | None
    request: Mapping[str, Any]
    #: the answer above the turns that came with the request, as far as is known
    above: uuid.UUID | None


def is_there(row: str) -> str:
    """SQL: whether `row`, of messages, was not deleted by its client."""
    return (
        f"NOT EXISTS (SELECT FROM client_requests r WHERE r.message_id = {row}.id"
        " AND r.deleted_at IS NOT NULL)"
    )


def keep(connection: Connection, answer: uuid.UUID, request: Mapping[str, Any]) -> None:
    """Keep what was said of the request of an answer that this transaction begins."""
    run(
        connection,
        "INSERT INTO client_requests (message_id, request) VALUES (:id, CAST(:request AS jsonb))",
        id=answer,
        request=json.dumps(request),
    )


_LOAD: Final = f"""
SELECT m.options, coalesce(r.request, '{{}}') AS request, q.parent_id AS above,
    nullif(coalesce(m.system, c.system), '') AS system
FROM messages m JOIN conversations c ON c.id = m.conversation_id
    LEFT JOIN messages q ON q.id = m.parent_id
    LEFT JOIN client_requests r ON r.message_id = m.id
WHERE m.id = :id AND {owns("m")} AND m.role = 'assistant' AND c.deleted_at IS NULL
    AND r.deleted_at IS NULL
"""


def load(db: Database, message_id: uuid.UUID, user_id: uuid.UUID) -> AskedWith:
    """What an answer of this user was asked with. Raises NotFound, also for one that was deleted
    here."""
    rows = db.rows(_LOAD, id=message_id, user=user_id)
    if not rows:
        raise NotFound("There is no such answer.")
    [row] = rows
    return AskedWith(row.options, row.system, row.request, row.above)


_LOCK: Final = f"""
SELECT m.conversation_id FROM messages m
JOIN conversations c ON c.id = m.conversation_id
WHERE m.id = :id AND {may_write("m")} AND m.role = 'assistant' AND c.deleted_at IS NULL
    AND {is_there("m")}
FOR NO KEY UPDATE OF c
"""
_HIDE: Final = """
INSERT INTO client_requests (message_id, deleted_at) VALUES (:id, clock_timestamp())
ON CONFLICT (message_id) DO UPDATE SET deleted_at = clock_timestamp()
"""
_DELETE_EMPTY: Final = f"""
UPDATE conversations SET deleted_at = clock_timestamp()
WHERE id = :conversation AND NOT EXISTS (
    SELECT FROM messages m
    WHERE m.conversation_id = :conversation AND m.role = 'assistant' AND {is_there("m")})
"""


def delete(db: Database, message_id: uuid.UUID, user_id: uuid.UUID) -> None:
    """Stop an answer, hide it from the APIs of others, and delete its conversation if it was the
    last one there. Raises NotFound."""
    with db.transaction() as connection:
        # The conversation first, as whatever asks in it or deletes it does.
        place = run(connection, _LOCK, id=message_id, user=user_id).one_or_none()
        if place is None:
            raise NotFound("There is no such answer.")
        again = f"SELECT id, status FROM messages WHERE id = :id AND {owns('messages')} FOR UPDATE"
        stop_locked(connection, run(connection, again, id=message_id, user=user_id).one())
        run(connection, _HIDE, id=message_id)
        run(connection, _DELETE_EMPTY, conversation=place.conversation_id)
