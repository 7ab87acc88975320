"""Sends questions from the lines of conversations (`store/line.py` says when, and why once).

Workers and web both do it: whoever ended an answer or changed a line, and any sweep.
"""

import uuid
from contextlib import suppress

import structlog

from shared.bus.livelog import LiveLog
from shared.errors import RedisDown, StorageDown
from shared.jobs import Queue
from shared.settings import Settings
from shared.store import line
from shared.store.asking import Asked, Asking
from shared.store.database import Database
from shared.store.line import Turn
from shared.store.token_use import TokenLimits

log = structlog.get_logger("line")


class Lines:
    """What one process does with lines."""

    def __init__(self, settings: Settings, db: Database, livelog: LiveLog, queue: Queue) -> None:
        self._settings = settings
        self._db = db
        self._livelog = livelog
        self._queue = queue
        self._tokens = TokenLimits.checked(settings)

    def move(self, conversation: uuid.UUID) -> None:
        """Send the first question of a line, if its turn has come. If Postgres does not answer, a
        sweep does it."""
        with suppress(StorageDown):
            self._tell(line.send_next(self._db, conversation, self._terms))

    def send_now(
        self,
        user: uuid.UUID,
        conversation: uuid.UUID,
        question: uuid.UUID,
        *,
        key_id: uuid.UUID | None,
    ) -> Asked:
        """Send a question that waits. Raises what `store.line.send_now` raises."""
        asked = line.send_now(self._db, user, conversation, question, self._terms, key_id=key_id)
        self._tell(asked)
        return asked

    def sweep(self) -> int:
        """Move the lines that are due; how many questions were sent. Raises StorageDown."""
        sent = 0
        for conversation in line.due(self._db):
            asked = line.send_next(self._db, conversation, self._terms)
            self._tell(asked)
            sent += asked is not None
        return sent

    def _terms(self, turn: Turn) -> Asking:
        """The limits of an ordinary question, whose answer nobody need read."""
        return Asking.under(
            self._settings,
            self._tokens,
            user_id=turn.user_id,
            model=turn.model,
            options=turn.options,
            key=turn.key,
            request_hash=turn.request_hash,
            key_id=turn.key_id,
        )

    def _tell(self, asked: Asked | None) -> None:
        """After the commit: to the workers, and to the pages that show the conversation."""
        if asked is None:
            return
        if not asked.waits:
            self._queue.enqueue(asked.answer.id)
        with suppress(RedisDown):
            self._livelog.notify_user(asked.answer.user_id)
        log.info("line.sent", message_id=str(asked.answer.id))
