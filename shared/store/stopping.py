"""R7: Stop. A waiting answer ends at once, a streaming one is flagged for its owner.

The owner learns of the flag from a Stop message through Redis, else with its next save or renewal.
Stop never takes text away: what was written until then is kept.
"""

import uuid
from typing import Any

from sqlalchemy import Connection

from shared.errors import NotFound
from shared.lifecycle import Status
from shared.store.access import may_write
from shared.store.database import Database, run
from shared.store.ending import Ending, end_locked


def stop(db: Database, message_id: uuid.UUID, user_id: uuid.UUID) -> Status:
    """End a SENDING answer, flag a STREAMING one for its owner; the status found. NotFound."""
    with db.transaction() as connection:
        row = run(
            connection,
            "SELECT m.id, m.status FROM messages m JOIN conversations c"
            " ON c.id = m.conversation_id WHERE m.id = :id"
            f" AND {may_write('m')} AND c.deleted_at IS NULL FOR UPDATE OF m",
            id=message_id,
            user=user_id,
        ).one_or_none()
        if row is None:
            raise NotFound("There is no such message.")
        stop_locked(connection, row)
        return Status(row.status)


def stop_locked(connection: Connection, row: Any) -> None:
    """Stop a row that this transaction has locked."""
    if row.status == Status.SENDING:
        end_locked(connection, row.id, Ending(Status.CANCELLED))
    elif row.status == Status.STREAMING:
        run(connection, "UPDATE messages SET stop_requested = true WHERE id = :id", id=row.id)
