"""Checks the database's clock for jumps: whether time that passed there has really passed.

**Guaranteed.** After a jump of the database's clock no living owner loses its answer, and a dead
owner's answer is ended within two leases.

Leases and deadlines are moments of the database's clock. That clock can jump: it is set by hand,
by a time server or by the host of a virtual machine, or another server takes over. Forward, and
every lease seems to have lapsed while its owner is alive. Back, and the lease of a dead owner does
not lapse for as long as the jump was.

**How a jump is noticed.** Each process that sweeps checks the clock, by one statement, before it
judges anything. It compares the database's clock with its own monotonic clock since its last
check. A process that has not checked before has nothing to compare with and uses what the others
noted: the one row of the table `uptime` has the time of the last check. If that is long ago, the
process assumes a jump. A check that waited long because the database stood still is noticed by the
same comparison. A judgement counts only right after a check, so a jump between the two is noticed,
too.

**What happens then.** No owner could have renewed in time, so no lease counts as lapsed for one
lease: `since`, as after a start of Postgres. What a jump back left in the future is moved to now,
and keeps the time that it had. A jump that is certain (longer than our check took) is noted as
`jumped`: a deadline that was set before it counts its whole time anew from there. A living owner
ends its answer by its own monotonic clock anyway.

**When Postgres fails.** StorageDown is raised, and the caller judges nothing. A crash empties the
unlogged table `uptime`, which then counts as a jump.

**Invariant.** Clocks run a little differently and a statement takes time, so a difference of less
than `slack` is no jump. A lease outlives so small a jump: its owner renews it long before.
"""

import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from shared.lifecycle import Status
from shared.store.database import Database
from shared.store.status_sql import OPEN_STATUSES

#: Seconds, at least: a difference that is no jump, and the age of a check that still counts.
LEAST_SLACK: Final = 0.5
LEAST_AGE: Final = 1.0
#: Seconds without a check by any process, after which one that has nothing to compare with assumes
#: that the clock has jumped.
UNWATCHED: Final = 60.0

# `since` stays only if it is of this start of Postgres and nothing speaks against the clock. (The
# start is compared for equality: after a jump back it lies in the future.) Where there is no row,
# what it knew of jumps is lost.
_CHECK: Final = """
WITH clock AS (SELECT clock_timestamp() AS now, pg_postmaster_start_time() AS started)
INSERT INTO uptime AS up (since, looked, started, jumped) SELECT now, now, started, now FROM clock
ON CONFLICT (one) DO UPDATE SET looked = excluded.looked, started = excluded.started,
    since = CASE WHEN up.started = excluded.started
            AND (up.since >= excluded.started OR excluded.started > excluded.looked)
            AND up.since <= excluded.looked + make_interval(secs => :slack)
            AND up.looked <= excluded.looked + make_interval(secs => :slack)
            AND CASE WHEN CAST(:before AS timestamptz) IS NULL
                THEN up.looked > excluded.looked - make_interval(secs => :age)
                ELSE abs(extract(epoch FROM excluded.looked - CAST(:before AS timestamptz))
                    - CAST(:elapsed AS float8)) < :slack END
        THEN up.since ELSE excluded.since END,
    jumped = CASE WHEN CAST(:before AS timestamptz) IS NULL
            AND up.looked < excluded.looked - make_interval(secs => :unwatched)
        THEN excluded.looked ELSE up.jumped END
RETURNING looked AS now, since
"""
_JUMPED: Final = "UPDATE uptime SET since = looked, jumped = looked RETURNING since"

# A row from the future keeps the time that it had, and one that waits for its turn goes on waiting
# (it is due at infinity). Only within a lease of a doubt, for a process with a longer lease than
# ours may have renewed it. A queue deadline before the row's creation was set after the jump, by a
# sweep that gave the question back.
_FROM_THE_FUTURE: Final = f"""
WITH clock AS (SELECT clock_timestamp() AS now), found AS (
    SELECT id, now FROM messages, clock WHERE status IN {OPEN_STATUSES}
        AND (lease_until > now + make_interval(secs => :lease)
            OR started_at > now + make_interval(secs => :slack)
            OR status = '{Status.SENDING}' AND created_at > now + make_interval(secs => :slack)
            OR dispatch_at > now + make_interval(secs => :dispatch + :slack)
                AND dispatch_at < 'infinity')
    ORDER BY id LIMIT 1000 FOR UPDATE OF messages SKIP LOCKED
)
UPDATE messages m SET
    created_at = created_at
        - CASE WHEN status = '{Status.SENDING}' THEN greatest(created_at - now, '0') ELSE '0' END,
    queue_deadline = queue_deadline - CASE
        WHEN queue_deadline >= created_at THEN greatest(created_at - now, '0') ELSE '0' END,
    dispatch_at = CASE WHEN dispatch_at < 'infinity'
        THEN least(dispatch_at, now + make_interval(secs => :dispatch)) ELSE dispatch_at END,
    started_at = started_at - greatest(started_at - now, '0'),
    hard_deadline = hard_deadline - greatest(started_at - now, '0'),
    lease_until = lease_until - greatest(lease_until - now - make_interval(secs => :lease), '0')
FROM found WHERE m.id = found.id RETURNING m.id
"""

#: In a condition on messages: the clock was checked just now, and has been believed for `grace`.
#: Wants `grace`, in seconds, and `DatabaseClock.parameters`.
BELIEVED: Final = """
EXISTS (SELECT FROM uptime WHERE started = pg_postmaster_start_time()
    AND clock_timestamp() > since + make_interval(secs => :grace)
    AND abs(extract(epoch FROM clock_timestamp() - looked)) < :age)
"""


def passed(deadline: str, begun: str) -> str:
    """SQL: whether the column `deadline`, set when `begun` was, has passed; after a jump of the
    clock its whole time counts anew."""
    return (
        f"({deadline} < clock_timestamp() AND NOT EXISTS (SELECT FROM uptime WHERE jumped > {begun}"
        f" AND clock_timestamp() < jumped + ({deadline} - {begun})))"
    )


@dataclass(frozen=True, slots=True)
class _Reading:
    """The database's clock, and between which monotonic seconds of ours it was read."""

    at: datetime
    earliest: float
    latest: float


class DatabaseClock:
    """The database's clock as one process knows it."""

    def __init__(self, lease: float, dispatch: float = 10.0) -> None:
        """`lease`: seconds, the same in all processes. `dispatch`: seconds until a question is
        handed to the queue again, at most."""
        self._lease = lease
        self._dispatch = dispatch
        self._slack = max(LEAST_SLACK, lease / 3)
        self._age = max(LEAST_AGE, lease / 2)
        self._last: _Reading | None = None

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of BELIEVED."""
        return {"age": self._age}

    def check(self, db: Database) -> bool:
        """Check the clock, and put right what a jump left; whether it is believed without doubt.

        Raises StorageDown.
        """
        last, earliest = self._last, time.monotonic()
        [row] = db.rows(
            _CHECK,
            slack=self._slack,
            age=self._age,
            unwatched=UNWATCHED,
            before=last.at if last else None,
            elapsed=earliest - last.latest if last else 0.0,
        )
        seen = _Reading(row.now, earliest, time.monotonic())
        since = row.since
        if last is not None and self._jump(last, seen) > self._slack:
            [noted] = db.rows(_JUMPED)
            since = noted.since
        self._last = seen  # not before the jump is noted, or it never would be
        doubtful = (row.now - since).total_seconds() < self._lease
        if doubtful:
            self._put_right(db)
        return not doubtful

    @staticmethod
    def _jump(before: _Reading, now: _Reading) -> float:
        """Seconds by which the clock jumped, either way, at least."""
        moved = (now.at - before.at).total_seconds()
        shortest, longest = now.earliest - before.latest, now.latest - before.earliest
        return max(moved - longest, shortest - moved, 0.0)

    def _put_right(self, db: Database) -> None:
        while (
            len(
                db.rows(
                    _FROM_THE_FUTURE, lease=self._lease, slack=self._slack, dispatch=self._dispatch
                )
            )
            == 1000
        ):
            pass
