"""What is kept of a client's request for the API through which it asked.

A provider is sent an answer's `options`. What a client said besides (metadata, whether it waits)
is kept beside the answer, and given back where its API does so. Answers that were asked in another
way have nothing here, and can be read through such an API, too.

That a client deleted an answer is kept here, too: `store/client_deletions.py`.
"""

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection

from shared.errors import NotFound
from shared.store.access import owns
from shared.store.database import Database, run


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
