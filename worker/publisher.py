"""Hands what is new to readers, through Redis. One greenlet and one connection a process.

Everything that waits goes as one pipeline, at once; deltas of one message that wait together
become one. Nobody waits for what Redis says of it: that is read behind the next round, or a
moment later. Until then it is unknown, and if the connection breaks it is sent again, from the
last place that is known to be there. Redis recognises what it has.
"""

import time
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

import gevent
import structlog
from gevent.event import Event

from shared import awake
from shared.bus.connection import TIMEOUT
from shared.bus.livelog import LiveLog
from shared.bus.publishing import Publication, PublishConnection, PublishResult
from shared.errors import RedisDown, StorageDown
from shared.store import owning
from shared.store.database import Database
from worker.generation import Generation, Interrupted

#: Seconds until Redis, or Postgres, is asked again after it did not answer.
PAUSE: Final = 0.25
#: Seconds a connection has to have been good for, or another one is not made at once.
RECONNECT: Final = 1.0
#: Seconds from the beginning of a round to that of the next, at least. Whoever is alone never waits
#: for it; where much is written, each round costs Redis, and every web process, a wake-up.
GATHER: Final = 0.002
#: Replies that may be outstanding; with more the publisher waits for Redis.
UNKNOWN_MAX: Final = 2_000

log = structlog.get_logger("publisher")


class Sent(NamedTuple):
    """A publication of which nobody knows yet what became of it."""

    generation: Generation
    end: int
    at: float


class Publisher:
    """The queue of generations that have something to say."""

    def __init__(
        self,
        db: Database,
        livelog: LiveLog,
        owner: str,
        lease: float,
        observe: Callable[[int, int, float], None],
    ) -> None:
        """`observe` is told now and then of publications, of the rounds in which they went, and of
        the longest that text waited for its round."""
        self._db = db
        self._livelog = livelog
        self._owner = owner
        self._lease = lease
        self._observe = observe
        self._published, self._rounds, self._lag = 0, 0, 0.0
        self._line: PublishConnection | None = None
        self._connected = 0.0
        self._opened: list[Generation] = []
        self._waiting: dict[Generation, None] = {}
        self._ended: list[Generation] = []
        self._unknown: deque[Sent] = deque()
        self._missing: dict[Generation, None] = {}
        self._wake = Event()

    def open(self, generation: Generation) -> None:
        """Its log begins."""
        self._opened.append(generation)
        self._wake.set()

    def add(self, generation: Generation) -> None:
        """It has something to publish."""
        self._waiting[generation] = None
        self._wake.set()

    def end(self, generation: Generation) -> None:
        """It has ended in Postgres: whoever follows it may look."""
        self._ended.append(generation)
        self._wake.set()

    def look(self) -> None:
        """Read what Redis has said, if something is outstanding. To be called now and then."""
        if self._unknown:
            self._wake.set()
        if self._rounds:
            self._observe(self._published, self._rounds, self._lag)
            self._published, self._rounds, self._lag = 0, 0, 0.0

    def run(self) -> None:
        """Publish for ever; connected before there is anything to say."""
        while True:
            begun = time.monotonic()
            self.round()
            self._wake.wait()
            left = begun + GATHER - time.monotonic()
            if left > 0:
                gevent.sleep(left)
            self._wake.clear()

    def round(self) -> None:
        """Everything that waits; what could not be is tried again, a moment later if need be."""
        try:
            if self._line is None:
                self._connected = time.monotonic()
                self._line = self._livelog.publish_connection()
            self._say(self._line)
            self._hear(self._line)
            if self._missing:
                self._confirm()
        except RedisDown as error:
            self._lose()
            self._try_again(error, at_once=time.monotonic() - self._connected >= RECONNECT)
        except StorageDown as error:
            self._try_again(error, at_once=False)

    def _try_again(self, error: RedisDown | StorageDown, *, at_once: bool) -> None:
        if self._waiting:
            log.warning("publisher.waits", code=error.code, messages=len(self._waiting))
        if not at_once:
            gevent.sleep(PAUSE)
        self._wake.set()

    def _say(self, line: PublishConnection) -> None:
        # Once only: if this round is lost, text of it may be there while its beginning is not.
        opened, self._opened = self._opened, []
        for generation in opened:
            line.open(generation.id, generation.claim, generation.attempt, generation.user_id)
        now = time.monotonic()
        waiting, self._waiting = self._waiting, {}
        for generation in waiting:
            since = generation.unsent_since
            item = self._publication(generation, now)
            if item is not None:
                line.publish(item)
                self._unknown.append(Sent(generation, generation.sent, now))
                self._published += 1
                self._lag = max(self._lag, now - since)
        ended = len(self._ended)
        for generation in self._ended:
            line.notify_ended(generation.id, generation.claim, generation.user_id)
        line.flush()
        del self._ended[:ended]  # more may have come meanwhile
        if waiting:
            self._rounds += 1

    def _publication(self, generation: Generation, now: float) -> Publication | None:
        """What of it is new, which is then sent.

        While its lease has run out unrenewed another worker may have it, so nothing is shown:
        the save that renews it adds it again. (Real seconds: a lease runs out for who sleeps, too.)
        """
        if generation.closing or now - generation.renewed > self._lease:
            return None
        force = generation.force
        deltas = generation.send()
        if not deltas:
            return None
        return Publication(
            generation.id,
            generation.claim,
            generation.attempt,
            deltas,
            generation.saved_before,
            force,
        )

    def _hear(self, line: PublishConnection) -> None:
        """What became of what was sent, as far as that has come."""
        for outcome in line.read_results(TIMEOUT if line.outstanding > UNKNOWN_MAX else 0.0):
            generation, end, _ = self._unknown.popleft()
            if outcome == PublishResult.FENCED:
                generation.interrupt(Interrupted(None))
            elif outcome == PublishResult.MISSING:
                self._missing[generation] = None
            else:
                generation.published_to(end)
        if self._unknown and awake.since(self._unknown[0].at) > TIMEOUT:
            raise RedisDown

    def _confirm(self) -> None:
        """Redis lost text: begin again behind the last save, if the rows are still ours."""
        missing = [one for one in self._missing if not one.closing]
        rows = owning.lease_state(self._db, self._owner, [one.id for one in missing])
        self._missing.clear()  # nobody else adds to it
        for generation in missing:
            row = rows.get(generation.id)
            if row is None or row.claim != generation.claim:
                generation.interrupt(Interrupted(None))
                continue
            generation.send_again(generation.saved, force=True)
            self.add(generation)

    def _lose(self) -> None:
        """The connection is gone, and nobody knows what of the last rounds has landed."""
        if self._line is not None:
            self._line.close()
            self._line = None
        for generation, _, _ in self._unknown:
            generation.send_again(generation.published)
            self._waiting[generation] = None
        self._unknown.clear()
