"""Writes the end of an answer, or finds that it is no longer ours to end.

It guarantees that an end is not lost while the process lives: it is tried until Postgres answers.
A finish is one transaction (last text, compaction, length and hash, status) under the claim, so it
lands once or not at all.

When Postgres is away the answer waits here, with its text in memory. After STORAGE_PATIENCE its end
becomes ERROR `storage`, because readers have then waited for longer than an answer should need. A
commit of unknown outcome is recognised: `owning.has_ended` asks for our claim and attempt, which
only our own finish leaves in an ended row. Redis only announces the end, and need not answer.

If the process dies first, the row is still STREAMING, and the sweep ends it when the lease lapses.
"""

import re
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Final

import gevent
import structlog

from shared import awake
from shared.errors import StorageDown
from shared.lifecycle import Status
from shared.store import owning
from shared.store.database import Database
from shared.store.ending import Called, Ending
from shared.store.turns import Turns
from worker import metrics
from worker.generation import Generation, Result
from worker.publisher import Publisher
from worker.saver import Saver

#: Seconds that Postgres may be away before an answer ends as "could not be saved".
STORAGE_PATIENCE: Final = 60.0
#: Seconds between two tries.
STORAGE_PAUSE: Final = 0.25

log = structlog.get_logger("generation")


class Finisher:
    """Ends the answers of this process."""

    def __init__(
        self,
        db: Database,
        owner: str,
        turns: Turns,
        publisher: Publisher,
        saver: Saver,
        *,
        enqueue: Callable[[uuid.UUID], bool],
        send_next: Callable[[uuid.UUID], None],
    ) -> None:
        """`turns.queue_deadline`: also of a released message. `enqueue` takes the questions whose
        turn comes when an answer ends, `send_next` the conversation whose line moves then."""
        self._db = db
        self._owner = owner
        self._turns = turns
        self._enqueue = enqueue
        self._send_next = send_next
        self._publisher = publisher
        self._saver = saver

    def finish(self, generation: Generation, result: Result) -> Ending | None:
        """Write the end and return it, however long Postgres takes.

        None if the message went back to the queue, or is not ours any more.
        """
        generation.outbox.closed = True
        self._saver.remove(generation.save_state)
        ending = result.ending
        if ending is None:
            _report(generation, None)
            return None
        if ending.status != Status.DONE:
            ending = replace(ending, usage=generation.estimated_usage())
        if result.release and not generation.body.length:
            with suppress(StorageDown):
                if self.release(generation.id, generation.claim):
                    return None
        if generation.first_text is not None:
            ending = replace(ending, first_text=generation.first_text - generation.claimed)
        written, called = self._persist(generation, ending)
        self._publisher.end(generation.outbox)
        _report(generation, written)
        for question in called.questions:  # if Redis does not take one, a sweep enqueues it
            self._enqueue(question)
        if called.line:
            self._send_next(called.line)
        return written

    def release(self, message_id: uuid.UUID, token: uuid.UUID) -> bool:
        """Give a message back to the queue. False if it has to be ended. Raises StorageDown."""
        return owning.release(self._db, self._owner, message_id, token, self._turns.queue_deadline)

    def _persist(self, generation: Generation, ending: Ending) -> tuple[Ending | None, Called]:
        """Try until the end is written, or the row is known to be another's: then it is None.

        And what it gives a turn.
        """
        begun = time.monotonic()
        while True:
            try:
                last = generation.save_state.to_save()
                finished = owning.finish(self._db, self._owner, last, ending, self._turns)
                if finished:
                    return ending, finished
                if not self._still_ours(generation):
                    landed = owning.has_ended(
                        self._db, generation.id, generation.claim, generation.attempt
                    )
                    return ending if landed else None, Called()
            except StorageDown:
                if awake.since(begun) > STORAGE_PATIENCE:
                    ending = Ending.error("storage")
            gevent.sleep(STORAGE_PAUSE)

    def _still_ours(self, generation: Generation) -> bool:
        """Whether we still write the row; if so, the next try starts from what it has."""
        row = owning.lease_state(self._db, self._owner, [generation.id]).get(generation.id)
        if row is None or row.claim != generation.claim:
            return False
        state = generation.save_state
        if row.saved > state.saved:  # an earlier commit of unknown outcome had landed
            state.saved_to(row.saved, time.monotonic())
        elif row.saved < state.saved:  # Postgres went back
            state.rewind(row.saved)
        return True


def _report(generation: Generation, ending: Ending | None) -> None:
    """Count a generation, and log its life in one line without any of its text."""
    now = time.monotonic()
    first = generation.first_text
    status = ending.status if ending else "LOST"
    metrics.generation(
        status,
        ending.error_code if ending else None,
        generation.body.length,
        first - generation.claimed if first else None,
        now - generation.claimed,
    )
    log.info(
        "generation",
        message_id=str(generation.id),
        attempt=generation.attempt,
        status=status,
        finish_reason=_loggable(ending.finish_reason) if ending else None,
        code=ending.error_code if ending else None,
        characters=generation.body.length,
        first_text=round(first - generation.claimed, 3) if first else None,
        seconds=round(now - generation.claimed, 3),
    )


def _loggable(reason: str | None) -> str | None:
    """A finish reason for the log. One that is not a plain word may quote anything."""
    return reason if reason is None or re.fullmatch("[A-Za-z_]{1,40}", reason) else "other"
