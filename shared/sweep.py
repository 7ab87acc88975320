"""End what a dead owner left, hand out what the queue lost (R5, R6).

Runs in every worker, on a reader's behalf in web, and by hand when somebody saw a worker die
(`outlive sweep --died BOOT`). Any number of them may run at once.

A lease that has lapsed is evidence only for a sweep that could have seen it being renewed. If this
process stood still for a while (`awake`), or Postgres did not answer it, the owners may have been
in the same place: then no lease counts as lapsed and no question as untaken until they have had a
lease's time to come back. Postgres knows of its own restarts (see reaping), but not that it was
paused, or unreachable. Its clock is watched for jumps (`clock`). Who was *seen* to die is dead,
whoever slept.
"""

import math
import time
import uuid
from collections.abc import Callable
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
from shared.store import reaping
from shared.store.clock import DatabaseClock
from shared.store.database import Database
from shared.store.ending import Ending
from shared.store.reaping import LapsedRow

#: Seconds that Redis may cost one sweep over all; behind that it ends with what Postgres has.
REDIS_BUDGET: Final = 10.0
#: Seconds of grace after a start of Postgres that never pass.
NEVER: Final = 1e9
#: The share of a lease for which silence, of this process or of Postgres, makes no difference: an
#: owner renews more often than that. And seconds that a statement may take without being silence.
UNNOTICED: Final = 0.5
QUICK: Final = 1.0
#: Seconds for which a dead worker's last statement may hold its rows, and between looks at them.
LAST_STATEMENT: Final = 2.0
LOCKED_PAUSE: Final = 0.05

log = structlog.get_logger("sweep")


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep did, by number."""

    ended: int = 0
    restarted: int = 0
    expired: int = 0
    dispatched: int = 0
    purged: int = 0


class Sweep:
    """The sweep, over the three doors it needs."""

    def __init__(
        self,
        db: Database,
        livelog: LiveLog,
        queue: Queue,
        *,
        lease: float,
        queue_deadline: float,
        take: Callable[[uuid.UUID], bool] | None = None,
        observe: Callable[[str], None] | None = None,
    ) -> None:
        """`lease`: seconds for which an owner that cannot renew may be alive, and 0 for none.

        `take` writes a message here and now, if it says so: what a worker can do for questions
        that Redis does not take. `observe` is told each action by name (for metrics)."""
        self._db = db
        self._livelog = livelog
        self._queue = queue
        self._lease = lease
        self._doubted = -math.inf
        self._clock = DatabaseClock(lease, reaping.DISPATCH_AGAIN)
        self._queue_deadline = queue_deadline
        self._take = take
        self._observe = observe

    def run(self, died: str | None = None) -> Swept:
        """One round over everything. `died` is the boot of a worker that somebody saw die."""
        begun = time.monotonic()
        actions = self._reap_all(died, begun)
        return Swept(
            ended=actions.count("ended"),
            restarted=actions.count("restarted"),
            expired=len(self._expire(begun)),
            dispatched=self._dispatch(),
            purged=reaping.purge(self._db),
        )

    def _reap_all(self, died: str | None, begun: float) -> list[str]:
        """What became of each lapsed row. Who saw a worker die looks until none is locked: there
        will be no other round that names it, and Postgres still ends what it had begun."""
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
        """Postgres did not answer: leases may have lapsed that nobody could renew."""
        self._doubted = time.monotonic()

    def answered(self, asked: float) -> bool:
        """Postgres has answered what it was asked at `asked`: whether so late that it was silent,
        and what it says of leases is in doubt."""
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
        """Look at the database's clock, so that a later sweep of this process can tell a jump, and
        put right what one left. Raises StorageDown."""
        self._clock.check(self._db)

    # --- one by one

    def sweep_message(self, message_id: uuid.UUID) -> None:
        """The same for a message that a reader waits for."""
        begun = time.monotonic()
        self._reap(message_id, None, begun)
        self._expire(begun)

    def _expire(self, begun: float) -> list[uuid.UUID]:
        expired = [] if self._in_doubt() else reaping.expire(self._db)
        for message_id in expired:
            self._tell("expired", message_id, code="queue_timeout")
            self._wake(message_id, None, begun)
        return expired

    def _dispatch(self) -> int:
        """Hand out what is due. Once Redis has refused one it is not asked about the others, which
        would cost its patience each: they are written here, or are due again soon."""
        waiting = reaping.undispatched(self._db)
        queued = True
        for done, message_id in enumerate(waiting):
            queued = queued and self._queue.enqueue(message_id)
            if not queued and not (self._take and self._take(message_id)):
                return done
            self._tell("dispatched" if queued else "taken", message_id)
        return len(waiting)

    def _try_reap(self, message_id: uuid.UUID, died: str | None, begun: float) -> str:
        """One row must not hold up the others, whatever is wrong with it."""
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
                row.restart(self._queue_deadline)
            else:
                row.end(ending)
        return self._reaped(row, ending, begun)

    def _reaped(self, row: LapsedRow, ending: Ending | None, begun: float) -> str:
        if ending is None:
            self._tell("restarted", row.id)
            return "restarted"
        self._tell("ended", row.id, status=ending.status, code=ending.error_code)
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
        """Whether Redis took it; if not, followers look at the row by themselves."""
        if awake.since(begun) < REDIS_BUDGET:
            with suppress(RedisDown):
                self._livelog.notify_ended(message_id, claim)
                return True
        return False

    def _tell(self, action: str, message_id: uuid.UUID, **fields: str | None) -> None:
        if self._observe:
            self._observe(action)
        log.info("sweep", action=action, message_id=str(message_id), **fields)


def _tail(row: LapsedRow, published: list[Delta]) -> list[Delta]:
    """The published text behind what is saved. Entries may overlap; a gap ends it."""
    extend(row.body, published)
    return row.body.since(row.saved)


def _ending(row: LapsedRow, *, untouched: bool) -> Ending | None:
    """How a lapsed answer ends, or None: provably nothing was shown, it may begin again."""
    if row.stop_requested:
        return Ending(Status.CANCELLED)
    if untouched and row.may_restart:
        return None
    return Ending.error("deadline" if row.overdue else "worker_lost")
