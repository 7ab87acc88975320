"""Whose turn it is: so that one user's thousand questions do not delay another user's first.

The queue is first in, first out. So at most `running` answers of a user are with the workers at a
time, queued or being written. Later questions wait for their turn in Postgres: their row is
SENDING and due at infinity, for the queue and for its deadline, which begins to count when their
turn comes. `lifecycle` knows nothing of it, and neither does the queue.

Turns come in the order in which the questions were asked. Who ends an answer gives the user's next
question its turn in the same statement (`ending`), and enqueues it after the commit. Turns that
nobody gave (a question that was put aside while the last answer ended, a Stop, a process that died
before it enqueued) are given by the next sweep of a worker. Without any worker web gives them to
the users who wait (`Sweep.sweep_forgotten`), so that their questions expire as others do. The limit
is soft: requests, or sweeps, at the same moment may take the last place more than once.
"""

import uuid
from dataclasses import dataclass
from typing import Final

from shared.lifecycle import Status
from shared.store.database import Database
from shared.store.status_sql import OPEN_STATUSES

#: Seconds until a question that no worker took is enqueued again.
DISPATCH_AFTER: Final = 5.0
#: Turns that one sweep gives.
GIVEN_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class Turns:
    """The rule. Who does not know it (web, on Stop) gives no turns: the sweep does."""

    #: answers of a user that are with the workers at a time; 0 is no limit
    running: int = 0
    #: seconds after which a question that no worker took expires
    queue_deadline: float = 0.0


NO_TURNS: Final = Turns()


def waits(row: str) -> str:
    """SQL: `row` is a question whose turn has not come."""
    return f"({row}.status = '{Status.SENDING}' AND {row}.dispatch_at = 'infinity')"


#: SQL: the user asks while `running` answers or more are open. Wants `running` and `user`.
MUST_WAIT: Final = f"""
CASE WHEN CAST(:running AS int) > 0 THEN (
    SELECT count(*) FROM messages WHERE user_id = :user AND status IN {OPEN_STATUSES}
) >= CAST(:running AS int) ELSE false END
"""
#: SQL: what an UPDATE sets when a turn comes. Wants `dispatch` and `deadline`, in seconds.
TURN_COMES: Final = """
dispatch_at = clock_timestamp() + make_interval(secs => CAST(:dispatch AS float8)),
    queue_deadline = clock_timestamp() + make_interval(secs => CAST(:deadline AS float8))
"""
_DUE: Final = f"""
WITH waiting AS (
    SELECT DISTINCT user_id FROM messages w WHERE {waits("w")}
), free AS (
    SELECT waiting.user_id, CASE WHEN CAST(:running AS int) > 0 THEN greatest(0, :running - (
        SELECT count(*) FROM messages o WHERE o.user_id = waiting.user_id
            AND o.status IN {OPEN_STATUSES} AND NOT {waits("o")}
    )) ELSE CAST(:most AS int) END AS places FROM waiting
), due AS (
    SELECT next.id FROM free CROSS JOIN LATERAL (
        SELECT id FROM messages m WHERE m.user_id = free.user_id AND {waits("m")}
        ORDER BY seq LIMIT free.places FOR UPDATE SKIP LOCKED
    ) AS next LIMIT :most
)
UPDATE messages SET {TURN_COMES} FROM due WHERE messages.id = due.id RETURNING messages.id, seq
"""


def give(db: Database, turns: Turns) -> list[uuid.UUID]:
    """Give the turns that are due and that nobody gave; the questions to enqueue, in order."""
    rows = db.rows(
        _DUE,
        running=turns.running,
        most=GIVEN_AT_ONCE,
        dispatch=DISPATCH_AFTER,
        deadline=turns.queue_deadline,
    )
    return [row.id for row in sorted(rows, key=lambda row: row.seq)]
