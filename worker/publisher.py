"""Hands what is new to readers, through Redis. One greenlet a process.

It flushes naturally: everything that waits goes as one pipeline, and by the time the answer is
back more waits. An idle system publishes each chunk at once, a busy one makes larger batches by
itself; deltas of one message that wait together become one.
"""

import time
from collections.abc import Callable, Sequence
from typing import Final

import gevent
import structlog
from gevent.event import Event

from shared import owning
from shared.database import Database
from shared.errors import RedisDown, StorageDown
from shared.livelog import LiveLog, Outcome, Publication
from worker.generation import Generation, Interrupted

#: Seconds until Redis, or Postgres, is asked again after it did not answer.
PAUSE: Final = 0.25

log = structlog.get_logger("publisher")


class Publisher:
    """The queue of generations that have something to publish."""

    def __init__(
        self,
        db: Database,
        livelog: LiveLog,
        owner: str,
        lease: float,
        observe: Callable[[int, float, float], None],
    ) -> None:
        """`observe` is told of each round: publications, its seconds, and the longest that
        text waited for it."""
        self._db = db
        self._livelog = livelog
        self._owner = owner
        self._lease = lease
        self._observe = observe
        self._waiting: dict[Generation, None] = {}
        self._wake = Event()

    def add(self, generation: Generation) -> None:
        """It has something to publish."""
        self._waiting[generation] = None
        self._wake.set()

    def run(self) -> None:
        """Publish for ever."""
        while True:
            self._wake.wait()
            self._wake.clear()
            waiting, self._waiting = self._waiting, {}
            batch = [g for g in waiting if not g.closing and not self._paused(g)]
            if batch:
                self._round(batch)

    def _paused(self, generation: Generation) -> bool:
        """Whether its lease ran out unrenewed: another worker may have it, so show nothing.

        The save that renews it adds it again.
        """
        return time.monotonic() - generation.renewed > self._lease

    def _round(self, batch: Sequence[Generation]) -> None:
        try:
            self._publish(batch)
        except (RedisDown, StorageDown) as error:
            log.warning("publisher.waits", code=error.code, messages=len(batch))
            gevent.sleep(PAUSE)
            for generation in batch:
                self.add(generation)

    def _publish(self, batch: Sequence[Generation]) -> None:
        pending = [(g, item) for g in batch if (item := _publication(g))]
        if not pending:
            return
        begun = time.monotonic()
        outcomes = self._livelog.publish([item for _, item in pending])
        missing, waited = [], [0.0]
        for (generation, item), outcome in zip(pending, outcomes, strict=True):
            if outcome == Outcome.FENCED:
                generation.interrupt(Interrupted(None))
            elif outcome == Outcome.MISSING:
                missing.append(generation)
            else:
                waited.append(generation.published_to(item.deltas[-1].end))
        self._observe(len(pending), time.monotonic() - begun, max(waited))
        if missing:
            self._confirm(missing)

    def _confirm(self, missing: Sequence[Generation]) -> None:
        """Redis lost text: begin again behind the last save, if the rows are still ours."""
        rows = owning.standing(self._db, self._owner, [g.id for g in missing])
        for generation in missing:
            row = rows.get(generation.id)
            if row is None or row.attempt != generation.attempt:
                generation.interrupt(Interrupted(None))
                continue
            generation.published = generation.saved
            generation.force = True
            self.add(generation)


def _publication(generation: Generation) -> Publication | None:
    deltas = generation.unpublished()
    if not deltas:
        return None
    return Publication(
        generation.id, generation.attempt, deltas, generation.saved_before, generation.force
    )
