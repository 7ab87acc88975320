"""Whether a message may be read now: asked of Postgres before anything in memory answers.

Whoever deletes a conversation, in whatever process, must find it gone at once. So a body that is
held here is no reason to show it. Many readers come at the same moment (after a deploy all of
them), and what is waiting is asked for as one statement.
"""

import time
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import gevent
from gevent.event import AsyncResult

from shared.errors import NotFound
from shared.store import messages
from shared.store.database import Database

NOT_THERE: Final = "There is no such message."
#: Messages that one statement asks about.
OPEN_BATCH: Final = 500


@dataclass(frozen=True, slots=True)
class Right:
    """A message that may be read: when it ended, if it has, and when that was asked (monotonic)."""

    ended_at: datetime | None
    asked: float


class Rights:
    """Asks for all who wait, one statement after the other."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._waiting: list[tuple[uuid.UUID, uuid.UUID, AsyncResult[Right | None]]] = []
        self._asking = False

    def of(self, message_id: uuid.UUID, user_id: uuid.UUID) -> Right:
        """Asked for after this call began. Raises NotFound and StorageDown."""
        result: AsyncResult[Right | None] = AsyncResult()
        self._waiting.append((message_id, user_id, result))
        if not self._asking:
            self._asking = True
            gevent.spawn(self._ask)
        right: Right | None = result.get()
        if right is None:
            raise NotFound(NOT_THERE)
        return right

    def _ask(self) -> None:
        while self._waiting:
            waiting, self._waiting = self._waiting[:OPEN_BATCH], self._waiting[OPEN_BATCH:]
            asked = time.monotonic()
            try:
                found = messages.readable(self._db, {message_id for message_id, _, _ in waiting})
            except Exception as error:  # noqa: BLE001 - each of them is told
                for _, _, result in waiting:
                    result.set_exception(error)
                continue
            for message_id, user_id, result in waiting:
                owner, ended_at = found.get(message_id, (None, None))
                result.set(Right(ended_at, asked) if owner == user_id else None)
        self._asking = False  # no switch since the list was found empty
