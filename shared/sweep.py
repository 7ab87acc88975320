"""Ends what a dead owner left, and enqueues what the queue lost (R5, R6).

Runs in every worker, in web for a message that a reader waits for, and by hand when a worker was
seen to die (`outlive sweep --died BOOT`). Any number of sweeps may run at once.

**Guaranteed.** Every open message ends or goes on within its deadlines, whatever died. An answer
is ended with all text that was published, as far as Redis still has it. It begins again only if it
is certain that no character was shown.

**How.** For each lapsed row: lock it, put a fence on the live log of its claim (from then on Redis
refuses the old owner), save the published text that Postgres lacks, then end the row or restart
it, and commit. The order matters: after the fence no text can be published that is not in the row.

**When a lease counts.** A lapsed lease is evidence only for a sweep that could have seen it
renewed. If this process stood still (`awake`), or Postgres did not answer it, owners may have been
in the same place: for one lease's time no lease counts as lapsed and no question as expired.
Postgres knows of its own restarts, and its clock is checked for jumps (`store/clock.py`). A worker
that was *seen* to die is dead in any case.

**When something fails.** Without Redis it ends rows with what Postgres has, and never restarts
one, since nothing proves that no text was shown. Redis may cost one sweep REDIS_BUDGET seconds. A
sweep that dies half-way leaves a fence and an unchanged row; the next one repeats it. A row that
cannot be swept is logged and does not hold up the others.

**Invariant.** Whatever is decided here is written under the lock of the row that it is decided
from.
"""

import math
import time
import uuid
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import structlog

from shared import awake
from shared.body import Delta
from shared.bus.livelog import LiveLog, extend
from shared.errors import RedisDown, StorageDown
from shared.jobs import Queue
from shared.lifecycle import Status
from shared.line import Lines
from shared.store import abandonment, audit, deletion, files, reaping, tapes
from shared.store.clock import DatabaseClock
from shared.store.database import Database
from shared.store.ending import Ending
from shared.store.reaping import LapsedRow
from shared.store.turns import Turns, give

#: Seconds that Redis may cost one sweep; after them it ends rows with what Postgres has.
REDIS_BUDGET: Final = 10.0
#: Seconds: a grace that never passes.
NEVER: Final = 1e9
#: Silence of this process or of Postgres is harmless for this share of a lease: an owner renews
#: more often. And seconds that a statement may take without counting as silence.
UNNOTICED: Final = 0.5
QUICK: Final = 1.0
#: Seconds for which a dead worker's last statement may lock its rows, and between two tries.
LAST_STATEMENT: Final = 2.0
LOCKED_PAUSE: Final = 0.05
#: Seconds that purging deleted users may take of one sweep.
PURGE_SECONDS: Final = 1.0
#: Seconds between two times that old rows of the audit table and old tombstones are removed.
TIDY_EVERY: Final = 60.0

log = structlog.get_logger("sweep")


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep did, by number."""

    ended: int = 0
    restarted: int = 0
    expired: int = 0
    #: of users who are disabled
    cancelled: int = 0
    dispatched: int = 0
    purged: int = 0
    #: whose last reader left long enough ago
    abandoned: int = 0
    #: from the lines of conversations
    sent: int = 0


class Sweep:
    """The sweep of one process."""

    def __init__(
        self,
        db: Database,
        livelog: LiveLog,
        queue: Queue,
        *,
        lease: float,
        turns: Turns,
        retention_days: int = 0,
        lines: Lines | None = None,
        take: Callable[[uuid.UUID], bool] | None = None,
        observe: Callable[[str], None] | None = None,
    ) -> None:
        """`lease`: seconds for which an owner that cannot renew may be alive; 0: none is alive.
        `turns`: whose question may go to the workers, and for how long it may wait there.
        `retention_days`: after which an unused conversation is removed; 0: it is kept.
        `lines`: moves the lines of conversations; None: another process does.

        `take` writes a message in this process and returns whether it does: how a worker takes
        questions that Redis does not. `observe` is called with each action's name (for metrics).
        """
        self._db = db
        self._livelog = livelog
        self._queue = queue
        self._lease = lease
        self._doubted = -math.inf
        self._clock = DatabaseClock(lease, reaping.DISPATCH_AGAIN)
        self._turns = turns
        self._retention_days = retention_days
        self._lines = lines
        #: the user up to whom conversations were compared with the retention time
        self._retired = reaping.FIRST
        #: the file up to which files were compared with the messages that refer to them
        self._files = files.FIRST
        self._tidied = -math.inf
        self._take = take
        self._observe = observe

    def run(self, died: str | None = None) -> Swept:
        """Sweep everything once. `died`: the boot of a worker that was seen to die."""
        begun = time.monotonic()
        actions = self._reap_all(died, begun)
        return Swept(
            ended=actions.count("ended"),
            restarted=actions.count("restarted"),
            expired=len(self._expire(begun)),
            cancelled=len(self._cancel(begun)),
            dispatched=self._dispatch(),
            sent=self._lines.sweep() if self._lines else 0,
            purged=reaping.purge(self._db) + self._retire() + self._purge_users(begun),
            abandoned=len(self._stop_abandoned(begun, None)),
        )

    def stop_abandoned(self, ids: Collection[uuid.UUID]) -> None:
        """Stop those of these answers that are abandoned. Raises StorageDown."""
        self.check_clock()
        self._stop_abandoned(time.monotonic(), ids)

    def _stop_abandoned(self, begun: float, ids: Collection[uuid.UUID] | None) -> list[uuid.UUID]:
        if self._in_doubt():
            return []
        abandoned = abandonment.stop_abandoned(self._db, self._clock, ids)
        for message_id in abandoned:
            self._report("abandoned", message_id)
            self._stop(message_id, begun)
        return abandoned

    def _purge_users(self, begun: float) -> int:
        """Stop and remove some of what is left of deleted users; how many conversations."""
        purged = 0
        until = time.monotonic() + PURGE_SECONDS
        for user_id in deletion.tombstones(self._db):
            for message_id in deletion.stop_all(self._db, user_id):
                self._stop(message_id, begun)
            while time.monotonic() < until and (number := deletion.purge(self._db, user_id)):
                purged += number
        if time.monotonic() - self._tidied > TIDY_EVERY:
            self._tidied = time.monotonic()
            deletion.remove_tombstones(self._db)
            audit.forget(self._db)
            abandonment.tidy(self._db)
            tapes.tidy(self._db)
            self._files = files.remove_unused(self._db, self._files)
        return purged

    def _stop(self, message_id: uuid.UUID, begun: float) -> None:
        """Tell the owner of an answer that it is to stop, and its readers to read the row."""
        if awake.since(begun) < REDIS_BUDGET:
            with suppress(RedisDown):
                self._livelog.notify_stop(message_id)

    def _retire(self) -> int:
        """Remove some of the conversations that are older than they may be; the number."""
        if not self._retention_days:
            return 0
        retired = reaping.retire(self._db, self._retention_days, self._retired)
        self._retired = retired.after
        return retired.removed

    def _reap_all(self, died: str | None, begun: float) -> list[str]:
        """Reap all lapsed rows; what became of each.

        For a worker named dead, rows that its last statement still locks are tried again: no later
        sweep will name it.
        """
        patience = time.monotonic() + (LAST_STATEMENT if died else 0.0)
        actions: list[str] = []
        while True:
            lapsed = self._lapsed(died)
            found = [self._try_reap(message_id, died, begun) for message_id in lapsed]
            actions += found
            if "lost" not in found or time.monotonic() > patience:
                return actions
            time.sleep(LOCKED_PAUSE)

    def _lapsed(self, died: str | None) -> list[uuid.UUID]:
        begun = time.monotonic()
        try:
            found = reaping.lapsed(self._db, self._grace(), died, self._clock)
        except StorageDown:
            self.doubt()
            raise
        return found if self.answered(begun) or died else []

    # --- whether a lease can have lapsed

    def doubt(self) -> None:
        """Postgres did not answer: leases may have lapsed that no owner could renew."""
        self._doubted = time.monotonic()

    def answered(self, asked: float) -> bool:
        """Note an answer of Postgres to a statement that was sent at `asked`. False if it came so
        late that leases are in doubt."""
        if time.monotonic() - asked <= max(QUICK, UNNOTICED * self._lease):
            return True
        self.doubt()
        return False

    def _in_doubt(self) -> bool:
        now, lease = time.monotonic(), self._lease
        slept = 2 * lease - awake.since(now - 2 * lease)
        return now - self._doubted < lease or slept > UNNOTICED * lease

    def _grace(self) -> float:
        """Seconds after a start of Postgres in which no lease counts as lapsed."""
        return NEVER if self._in_doubt() else self._lease

    def check_clock(self) -> None:
        """Check the database's clock, so that a later sweep of this process can notice a jump.

        Raises StorageDown.
        """
        self._clock.check(self._db)

    # --- one by one

    def sweep_message(self, message_id: uuid.UUID) -> None:
        """Sweep one message that a reader waits for."""
        begun = time.monotonic()
        self._reap(message_id, None, begun)
        self._expire(begun)

    def sweep_forgotten(self) -> None:
        """End and enqueue what is due, as `run` does: for readers of a question that waits for its
        turn, where no worker is left whose sweep gives one."""
        begun = time.monotonic()
        self._reap_all(None, begun)
        self._expire(begun)
        self._dispatch()

    def _expire(self, begun: float) -> list[uuid.UUID]:
        expired = [] if self._in_doubt() else reaping.expire(self._db)
        for message_id in expired:
            self._report("expired", message_id, code="queue_timeout")
            self._wake(message_id, None, begun)
        return expired

    def _cancel(self, begun: float) -> list[uuid.UUID]:
        cancelled = reaping.cancel_disabled(self._db)
        for message_id in cancelled:
            self._report("cancelled", message_id)
            self._wake(message_id, None, begun)
        return cancelled

    def _dispatch(self) -> int:
        """Enqueue what is due; the number. After Redis refused one, the others are not tried, which
        would cost a timeout each: they are written here, or are due again soon."""
        waiting = [*reaping.undispatched(self._db), *give(self._db, self._turns)]
        queued = True
        for done, message_id in enumerate(waiting):
            queued = queued and self._queue.enqueue(message_id)
            if not queued and not (self._take and self._take(message_id)):
                return done
            self._report("dispatched" if queued else "taken", message_id)
        return len(waiting)

    def _try_reap(self, message_id: uuid.UUID, died: str | None, begun: float) -> str:
        """Reap one row. Whatever is wrong with it, the others are swept."""
        try:
            return self._reap(message_id, died, begun)
        except StorageDown:
            raise
        except Exception:
            log.exception("sweep.bug", message_id=str(message_id))
            return "failed"

    def _reap(self, message_id: uuid.UUID, died: str | None, begun: float) -> str:
        asked = time.monotonic()
        with reaping.lock_lapsed(self._db, message_id, self._grace(), died, self._clock) as row:
            if row is None or not (self.answered(asked) or died):
                return "lost"
            untouched, published = self._fence(row, begun)
            row.salvage(_tail(row, published))
            ending = _ending(row, untouched=untouched)
            if ending is None:
                self._queue.report_lost(row.id, row.owner, None)  # before another worker reports
                row.restart(self._turns.queue_deadline)
            else:
                row.end(ending)
        return self._reaped(row, ending, begun)

    def _reaped(self, row: LapsedRow, ending: Ending | None, begun: float) -> str:
        if ending is None:
            self._report("restarted", row.id)
            return "restarted"
        self._report("ended", row.id, status=ending.status, code=ending.error_code)
        if self._wake(row.id, row.claim, begun):
            self._queue.report_lost(row.id, row.owner, ending, offline=not row.overdue)
        return "ended"

    def _fence(self, row: LapsedRow, begun: float) -> tuple[bool, list[Delta]]:
        if awake.since(begun) < REDIS_BUDGET:
            try:
                return self._livelog.fence(row.id, row.claim, row.attempt)
            except RedisDown:
                pass
        return False, []

    def _wake(self, message_id: uuid.UUID, claim: uuid.UUID | None, begun: float) -> bool:
        """Wake the readers; whether Redis took it. If not, they poll the row."""
        if awake.since(begun) < REDIS_BUDGET:
            with suppress(RedisDown):
                self._livelog.notify_ended(message_id, claim)
                return True
        return False

    def _report(self, action: str, message_id: uuid.UUID, **fields: str | None) -> None:
        if self._observe:
            self._observe(action)
        log.info("sweep", action=action, message_id=str(message_id), **fields)


def _tail(row: LapsedRow, published: list[Delta]) -> list[Delta]:
    """The published text after what is saved. Entries may overlap; a gap ends it."""
    extend(row.body, published)
    return row.body.since(row.saved)


def _ending(row: LapsedRow, *, untouched: bool) -> Ending | None:
    """How a lapsed answer ends; None: provably nothing was shown, so it begins again."""
    if row.stop_requested:
        return Ending(Status.CANCELLED)
    if untouched and row.may_restart:
        return None
    return Ending.error("deadline" if row.overdue else "worker_lost")
