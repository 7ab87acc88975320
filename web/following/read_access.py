"""Asks Postgres whether a user may read a message, before anything in memory answers.

A conversation that any process deletes must be gone at once, so a body that this process holds is
no reason to show it. Many readers ask at the same moment (after a deploy all of them): those that
wait together are answered by one statement. Without Postgres nothing is granted: StorageDown.
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
BATCH: Final = 500


@dataclass(frozen=True, slots=True)
class Granted:
    """A message that may be read: when it ended, if it has, and when Postgres was asked
    (monotonic)."""

    ended_at: datetime | None
    asked_at: float


class ReadAccess:
    """Asks for all readers that wait, one statement after the other."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._waiting: list[tuple[uuid.UUID, uuid.UUID, AsyncResult[Granted | None]]] = []
        self._asking = False

    def check(self, message_id: uuid.UUID, user_id: uuid.UUID) -> Granted:
        """The result of a statement begun after this call. Raises NotFound and StorageDown."""
        result: AsyncResult[Granted | None] = AsyncResult()
        self._waiting.append((message_id, user_id, result))
        if not self._asking:
            self._asking = True
            gevent.spawn(self._ask)
        granted: Granted | None = result.get()
        if granted is None:
            raise NotFound(NOT_THERE)
        return granted

    def _ask(self) -> None:
        while self._waiting:
            waiting, self._waiting = self._waiting[:BATCH], self._waiting[BATCH:]
            asked_at = time.monotonic()
            try:
                found = messages.readable(self._db, {(one, user) for one, user, _ in waiting})
            except Exception as error:  # noqa: BLE001 - raised again where each of them waits
                for _, _, result in waiting:
                    result.set_exception(error)
                continue
            for message_id, user_id, result in waiting:
                wanted = message_id, user_id
                result.set(Granted(found[wanted], asked_at) if wanted in found else None)
        self._asking = False  # safe: no greenlet ran since the list was found empty
