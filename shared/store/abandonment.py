"""Answers that are to be stopped some time after their last reader left.

**Guaranteed.** An answer with `messages.on_disconnect` (seconds) is stopped, like a Stop (R7), once
that many seconds have passed since its last reader left, whichever dialect and web process it was
read through. A reader who comes back in time prevents it.

**How.** `message_readers` has a row for each answer and each web process in which it is read: until
when that process speaks for its readers. While there are any, the process renews the row; when the
last one leaves, it sets the row to that moment. A process that dies says nothing more, so its
readers count as gone LEASE seconds after they were last renewed, at most. The last reader of all
left at the latest `until`. An answer that was never read counts from FIRST_READER seconds after it
was asked for: who got a 202 opens a stream then.

**When it counts.** As with owners' leases, not while Postgres has just come back or its clock has
jumped (`store/clock.py`): no process could have renewed.

There is no foreign key, so renewing never waits for what locks an answer. Rows of ended answers are
removed by the process that made them, or by a sweep. Answers without a policy have no rows, and
nothing is asked about them.
"""

import uuid
from collections.abc import Collection
from typing import Final

from shared.store.clock import BELIEVED, DatabaseClock
from shared.store.database import Database, run
from shared.store.ending import ORDER_OF_ENDS
from shared.store.status_sql import OPEN_STATUSES
from shared.store.stopping import stop_locked

#: Seconds for which a process speaks for its readers, and for which a reader who was cut by us may
#: take to come back. Seconds between two renewals.
LEASE: Final = 10.0
RENEW_EVERY: Final = 2.5
#: Seconds after a start of Postgres, or a jump of its clock, in which nothing counts as abandoned.
GRACE: Final = LEASE
#: Seconds that a client has to open its first stream.
FIRST_READER: Final = 10.0
#: Answers that are stopped, and rows that are removed, by one statement.
STOPPED_AT_ONCE: Final = 500
REMOVED_AT_ONCE: Final = 1_000

_IDS: Final = "ANY(CAST(CAST(:ids AS text[]) AS uuid[]))"

_SPEAK: Final = f"""
INSERT INTO message_readers AS known (message_id, process, until)
SELECT m.id, :process, clock_timestamp() + make_interval(secs => :seconds)
FROM messages m WHERE m.id = {_IDS} AND m.status IN {OPEN_STATUSES}
ON CONFLICT (message_id, process) DO UPDATE SET until = excluded.until
"""


def speak_for(db: Database, process: uuid.UUID, ids: Collection[uuid.UUID], seconds: float) -> None:
    """These answers are read in this process for so many seconds from now; with 0, until now.

    Raises StorageDown.
    """
    if ids:
        with db.transaction() as connection:
            named = [str(one) for one in ids]
            run(connection, _SPEAK, process=process, ids=named, seconds=seconds)


def forget(db: Database, process: uuid.UUID, ids: Collection[uuid.UUID]) -> None:
    """These answers have ended. Raises StorageDown."""
    if ids:
        with db.transaction() as connection:
            run(
                connection,
                f"DELETE FROM message_readers WHERE process = :process AND message_id = {_IDS}",
                process=process,
                ids=[str(one) for one in ids],
            )


_ABANDONED: Final = f"""
SELECT m.id, m.status FROM messages m
WHERE m.on_disconnect IS NOT NULL AND m.status IN {OPEN_STATUSES} AND NOT m.stop_requested
    AND (CAST(:ids AS text[]) IS NULL OR m.id = {_IDS})
    AND make_interval(secs => m.on_disconnect) + coalesce(
        (SELECT max(r.until) FROM message_readers r WHERE r.message_id = m.id),
        m.created_at + make_interval(secs => :first)) < clock_timestamp()
    AND {BELIEVED}
ORDER BY {ORDER_OF_ENDS} LIMIT {STOPPED_AT_ONCE} FOR UPDATE OF m SKIP LOCKED
"""


def stop_abandoned(
    db: Database, clock: DatabaseClock, ids: Collection[uuid.UUID] | None = None
) -> list[uuid.UUID]:
    """Stop abandoned answers: some of these, or of all. Returns those that were stopped.

    `clock` was checked just now. Raises StorageDown.
    """
    with db.transaction() as connection:
        rows = run(
            connection,
            _ABANDONED,
            ids=None if ids is None else [str(one) for one in ids],
            first=FIRST_READER,
            grace=GRACE,
            **clock.parameters,
        ).all()
        for row in rows:
            stop_locked(connection, row)
        stopped = [row.id for row in rows]
        if stopped:
            named = [str(one) for one in stopped]
            run(connection, f"DELETE FROM message_readers WHERE message_id = {_IDS}", ids=named)
        return stopped


def tidy(db: Database) -> None:
    """Remove some rows of answers that have ended or are gone. Raises StorageDown."""
    db.rows(
        "DELETE FROM message_readers WHERE ctid = ANY(ARRAY(SELECT r.ctid FROM message_readers r"
        " WHERE r.until < clock_timestamp() - make_interval(secs => :seconds) AND NOT EXISTS ("
        f"SELECT FROM messages m WHERE m.id = r.message_id AND m.status IN {OPEN_STATUSES})"
        " LIMIT :most)) RETURNING 1",
        seconds=LEASE,
        most=REMOVED_AT_ONCE,
    )
