"""Writes what is new to Postgres and keeps the leases. One greenlet a process.

A save is due at so many unsaved characters, or so long after the first of them; a quiet message
is renewed every heartbeat. All that is due, and all that soon would be, goes as one statement;
what arrives during it goes with the next. After a time without Postgres a statement renews all
leases and carries as much text as is good for it, the oldest first; the rest goes with the next
ones.
"""

import math
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Final

import gevent
import structlog
from gevent.event import Event

from shared.errors import StorageDown
from shared.lifecycle import Status
from shared.store import owning
from shared.store.database import Database
from shared.store.messages import Ending
from shared.store.owning import Save
from worker.generation import Generation, Interrupted

#: Seconds until Postgres is asked again after it did not answer, or a row was locked.
PAUSE: Final = 0.25
LOCKED_PAUSE: Final = 0.02
#: Code points that one statement carries at most.
STATEMENT_MAX: Final = 1 << 20
#: Who has waited for this share of its time, or its text, is taken along by who is due: a statement
#: for a hundred costs little more than one for one.
ALONG: Final = 0.5

log = structlog.get_logger("saver")


class Saver:
    """Knows every running generation of the process, by when it is due."""

    def __init__(
        self,
        db: Database,
        owner: str,
        *,
        lease: float,
        heartbeat: float,
        chars: int,
        seconds: float,
        renewed: Callable[[Generation], None],
        observe: Callable[[int, int, float], None],
    ) -> None:
        """`renewed` is told of each generation that was written; `observe` of each round:
        messages, characters and seconds."""
        self._db = db
        self._owner = owner
        self._lease = lease
        self._heartbeat = heartbeat
        self._chars = chars
        self._seconds = seconds
        self._renewed = renewed
        self._observe = observe
        self._running: dict[uuid.UUID, Generation] = {}
        self._under_way: frozenset[Generation] = frozenset()
        self._wake = Event()
        self._sleeps_until = 0.0
        self._round_over = Event()

    def add(self, generation: Generation) -> None:
        """Keep its lease and save its text from now on.

        If this process had its message before and lost it without knowing, that is over.
        """
        before = self._running.get(generation.id)
        if before is not None:
            before.interrupt(Interrupted(None))
        self._running[generation.id] = generation
        self._wake.set()

    def grown(self, generation: Generation) -> None:
        """It has unsaved text: the first of it sets its time, enough of it makes it due."""
        if self._due_at(generation) < self._sleeps_until:
            self._wake.set()

    def remove(self, generation: Generation) -> None:
        """Leave it to its own finish; returns when no save of it is under way."""
        generation.closing = True
        self._forget(generation)
        while generation in self._under_way:
            self._round_over.wait()

    def _forget(self, generation: Generation) -> None:
        if self._running.get(generation.id) is generation:
            del self._running[generation.id]

    def run(self) -> None:
        """Save for ever."""
        while True:
            now = time.monotonic()
            running = self._running.values()
            first = min(map(self._due_at, running), default=math.inf)
            if first <= now:
                self._sleeps_until = 0.0
                self._round([g for g in running if self._due_at(g, ALONG) <= now])
            else:
                self._sleeps_until = first
                self._wake.wait(first - now if running else None)
                self._wake.clear()

    def _due_at(self, generation: Generation, share: float = 1.0) -> float:
        """When it has to be saved or renewed; a `share` of that, when it has waited so much."""
        if generation.unsaved >= self._chars * share:
            return 0.0
        renewal = generation.renewed + self._heartbeat * share
        if generation.unsaved_since is None:
            return renewal
        return min(generation.unsaved_since + self._seconds * share, renewal)

    def _round(self, due: Sequence[Generation]) -> None:
        self._under_way = frozenset(due)
        self._round_over.clear()
        try:
            all_done = self._save(due)
        except StorageDown as error:
            log.warning("saver.waits", code=error.code, messages=len(due))
            all_done = None
        finally:
            self._under_way = frozenset()
            self._round_over.set()
        if not all_done:
            gevent.sleep(PAUSE if all_done is None else LOCKED_PAUSE)

    def _save(self, due: Sequence[Generation]) -> bool:
        """Whether every row was written or is known not to be ours."""
        begun = time.monotonic()
        due = sorted(due, key=_waiting_since)
        saves = _within_one_statement(due)
        done = owning.save(self._db, self._owner, self._lease, saves)
        for generation, save in zip(due, saves, strict=True):
            if generation.id in done:
                self._saved(generation, save.reaches, begun, stop=done[generation.id])
        characters = sum(save.reaches - save.offset for save in saves if save.id in done)
        self._observe(len(done), characters, time.monotonic() - begun)
        missing = [generation for generation in due if generation.id not in done]
        return self._look_again(missing, begun) if missing else True

    def _look_again(self, missing: Sequence[Generation], begun: float) -> bool:
        """A row that was not written is locked, written before, gone back, or ours no more."""
        rows = owning.lease_state(self._db, self._owner, [g.id for g in missing])
        locked = False
        for generation in missing:
            row = rows.get(generation.id)
            if row is None or row.claim != generation.claim:
                generation.interrupt(Interrupted(None))
                self._forget(generation)
            elif row.saved > generation.saved:  # a commit of unknown outcome had landed
                self._saved(generation, row.saved, begun, stop=row.stop_requested)
            elif row.saved < generation.saved:
                log.warning("saver.goes_back", message_id=str(generation.id), saved=row.saved)
                generation.save_again(row.saved)
            else:
                locked = True
        return not locked

    def _saved(self, generation: Generation, reaches: int, begun: float, *, stop: bool) -> None:
        generation.saved_to(reaches, begun)
        if stop:
            generation.interrupt(Interrupted(Ending(Status.CANCELLED)))
        self._renewed(generation)


def _waiting_since(generation: Generation) -> float:
    return math.inf if generation.unsaved_since is None else generation.unsaved_since


def _within_one_statement(due: Sequence[Generation]) -> list[Save]:
    saves, room = [], STATEMENT_MAX
    for generation in due:
        saves.append(generation.to_save(room))
        room -= saves[-1].reaches - saves[-1].offset
    return saves
