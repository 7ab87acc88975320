"""Saves new text to Postgres and renews the leases. One greenlet a process.

It guarantees, while Postgres answers, that new text is saved after `seconds` or once there are
`chars` code points of it (or by the next statement, if one is under way then), and that every lease
is renewed after `heartbeat` seconds.

How. An answer is due when one of these three limits is reached. All that are due go as one
statement, with every answer that has reached half of a limit: a statement for a hundred rows costs
little more than for one. What arrives during a statement goes with the next one. A save names the
claim, the owner and the length that it expects in the row, so it lands once or not at all.

When something fails:

* Postgres is away. The round is repeated until it answers; text stays in memory, and above
  UNSAVED_MAX the provider is not read on. After the outage there may be too much for one statement:
  it then renews every lease and carries the oldest text, STATEMENT_MAX code points at most.
* A save's outcome is unknown, or its row was skipped. `_check_rows` reads the row. More text than
  expected: the lost commit had landed. Less: Postgres went back (a standby was promoted, a backup
  restored), and the missing text is saved again. As expected: another transaction had locked it,
  try again soon. No row of this claim: the answer is LOST, and its generation is interrupted.
* Redis is away: nothing changes here. A lost wake-up for Stop costs a heartbeat at most, since each
  save also returns whether a stop was requested.

Invariant: only this greenlet saves an answer until `remove` returns, and after that only the
final write does. So of all changes to `saved_len` under our claim, each is ours, and a row with
more text than we know of proves that our own commit landed.
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
from shared.store.ending import Ending
from shared.store.owning import Save
from worker.generation import LOST, Result, SaveState

#: Seconds before Postgres is tried again after it did not answer, or after a row was locked.
PAUSE: Final = 0.25
LOCKED_PAUSE: Final = 0.02
#: Code points that one statement carries at most.
STATEMENT_MAX: Final = 1 << 20
#: Share of a limit from which on an answer is saved together with those that are due.
EARLY: Final = 0.5

log = structlog.get_logger("saver")


class Saver:
    """The answers that are running in this process, and when each is due."""

    def __init__(
        self,
        db: Database,
        owner: str,
        *,
        lease: float,
        heartbeat: float,
        chars: int,
        seconds: float,
        renewed: Callable[[uuid.UUID], None],
        observe: Callable[[int, int, float], None],
    ) -> None:
        """`renewed` is called with the id of each message that a round wrote; `observe` after each
        round with its messages, characters and seconds."""
        self._db = db
        self._owner = owner
        self._lease = lease
        self._heartbeat = heartbeat
        self._chars = chars
        self._seconds = seconds
        self._renewed = renewed
        self._observe = observe
        self._running: dict[uuid.UUID, SaveState] = {}
        self._under_way: frozenset[SaveState] = frozenset()
        self._round_ended = Event()
        self._wake = Event()
        self._sleeps_until = 0.0

    def add(self, state: SaveState) -> None:
        """Save its text and renew its lease from now on.

        An earlier generation of the same message, which this process lost without knowing it, is
        interrupted.
        """
        before = self._running.get(state.id)
        if before is not None:
            before.reading.interrupt(LOST)
        self._running[state.id] = state
        self._wake.set()

    def grown(self, state: SaveState) -> None:
        """Note that it has unsaved text, which may make it due earlier."""
        if self._due_at(state) < self._sleeps_until:
            self._wake.set()

    def remove(self, state: SaveState) -> None:
        """Leave it to its final write. Returns when no save of it is under way."""
        self._forget(state)
        while state in self._under_way:
            self._round_ended.wait()

    def _forget(self, state: SaveState) -> None:
        if self._running.get(state.id) is state:
            del self._running[state.id]

    def run(self) -> None:
        """Save for ever."""
        while True:
            now = time.monotonic()
            running = self._running.values()
            first = min(map(self._due_at, running), default=math.inf)
            if first <= now:
                self._sleeps_until = 0.0
                self._round([state for state in running if self._due_at(state, EARLY) <= now])
            else:
                self._sleeps_until = first
                self._wake.wait(first - now if running else None)
                self._wake.clear()

    def _due_at(self, state: SaveState, share: float = 1.0) -> float:
        """The monotonic time at which this share of one of its limits is reached."""
        if state.unsaved >= self._chars * share:
            return 0.0
        renewal = state.renewed + self._heartbeat * share
        if state.unsaved_since is None:
            return renewal
        return min(state.unsaved_since + self._seconds * share, renewal)

    def _round(self, due: Sequence[SaveState]) -> None:
        self._under_way = frozenset(due)
        self._round_ended.clear()
        pause = 0.0
        try:
            if not self._save(due):
                pause = LOCKED_PAUSE
        except StorageDown as error:
            log.warning("saver.waits", code=error.code, messages=len(due))
            pause = PAUSE
        finally:
            self._under_way = frozenset()
            self._round_ended.set()
        if pause:
            gevent.sleep(pause)

    def _save(self, due: Sequence[SaveState]) -> bool:
        """Save them in one statement; False if a row was locked and has to be tried again."""
        begun = time.monotonic()
        due = sorted(due, key=_waiting_since)
        saves = _within_one_statement(due)
        done = owning.save(self._db, self._owner, self._lease, saves)
        for state, save in zip(due, saves, strict=True):
            if state.id in done:
                self._saved(state, save.reaches, begun, stop=done[state.id])
        characters = sum(save.reaches - save.offset for save in saves if save.id in done)
        self._observe(len(done), characters, time.monotonic() - begun)
        skipped = [state for state in due if state.id not in done]
        return self._check_rows(skipped, begun) if skipped else True

    def _check_rows(self, skipped: Sequence[SaveState], begun: float) -> bool:
        """Find out why rows were not written (see above); False if one was only locked."""
        rows = owning.lease_state(self._db, self._owner, [state.id for state in skipped])
        locked = False
        for state in skipped:
            row = rows.get(state.id)
            if row is None or row.claim != state.claim:
                state.reading.interrupt(LOST)
                self._forget(state)
            elif row.saved > state.saved:
                self._saved(state, row.saved, begun, stop=row.stop_requested)
            elif row.saved < state.saved:
                log.warning("saver.goes_back", message_id=str(state.id), saved=row.saved)
                state.rewind(row.saved)
            else:
                locked = True
        return not locked

    def _saved(self, state: SaveState, reaches: int, begun: float, *, stop: bool) -> None:
        state.saved_to(reaches, begun)
        if stop:
            state.reading.interrupt(Result(Ending(Status.CANCELLED)))
        self._renewed(state.id)


def _waiting_since(state: SaveState) -> float:
    return math.inf if state.unsaved_since is None else state.unsaved_since


def _within_one_statement(due: Sequence[SaveState]) -> list[Save]:
    """A save for each, of STATEMENT_MAX code points in all; where there is no room, a renewal."""
    saves, room = [], STATEMENT_MAX
    for state in due:
        saves.append(state.to_save(room))
        room -= saves[-1].reaches - saves[-1].offset
    return saves
