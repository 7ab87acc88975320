"""Deletion of one answer, through an API that knows answers and no conversations.

An answer is one of many in a conversation, and the history of those below it. So this stops it and
hides it from such APIs; its text stays in the conversation, which is deleted with the last of its
answers.
"""

import uuid
from typing import Final

from shared.errors import NotFound
from shared.store.access import may_write
from shared.store.client_requests import is_there
from shared.store.database import Database, run
from shared.store.stopping import stop_locked

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
        again = (
            f"SELECT id, status FROM messages WHERE id = :id AND {may_write('messages')} FOR UPDATE"
        )
        stop_locked(connection, run(connection, again, id=message_id, user=user_id).one())
        run(connection, _HIDE, id=message_id)
        run(connection, _DELETE_EMPTY, conversation=place.conversation_id)
