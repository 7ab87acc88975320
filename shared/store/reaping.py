"""What the sweep writes about messages that no owner will end (R5 and R6).

An answer whose owner is gone is ended with the text that was shown, or begun again if provably
none was. A question that no worker took is handed out again, or ended. `shared/sweep.py` decides
which; this module finds the rows, locks them and writes.
"""

import json
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection

from shared.body import Delta
from shared.lifecycle import MAX_TRIES, Status
from shared.store.clock import BELIEVED, DatabaseClock, passed
from shared.store.database import Database, run
from shared.store.ending import ORDER_OF_ENDS, Ending, end_locked
from shared.store.messages import SELECT, to_message
from shared.store.status_sql import OPEN_STATUSES, before
from shared.store.tape_sql import attempt_ended
from shared.store.turns import waits

#: Seconds until a question that no worker took is enqueued once more.
DISPATCH_AGAIN: Final = 10.0
#: Seconds for which a deleted conversation could be brought back.
UNDO_SECONDS: Final = 3600.0
#: SQL: a conversation was deleted too long ago to be brought back. Wants `undo`.
GONE: Final = passed("(deleted_at + make_interval(secs => :undo))", "deleted_at")
#: Conversations that are removed at once: each may be large, and a sweep must be short.
PURGED_AT_ONCE: Final = 10
#: Users whose conversations one sweep compares with the retention time: 10 us each.
USERS_AT_ONCE: Final = 1_000

_OVERDUE: Final = passed("hard_deadline", "started_at")
# Left by its owner: past lease or hard deadline (unless Postgres was away or its clock jumped so
# recently that no owner could have renewed), or owned by a boot that was seen to die.
_LAPSED: Final = f"""
status = '{Status.STREAMING}' AND (
    (CAST(:died AS text) IS NOT NULL AND split_part(owner, ':', 2) = :died)
    OR ((lease_until < clock_timestamp() OR {_OVERDUE}) AND {BELIEVED}))
"""


def lapsed(
    db: Database, grace: float, died: str | None = None, clock: DatabaseClock | None = None
) -> list[uuid.UUID]:
    """Open rows that their owner left: past lease or hard deadline, or owned by boot `died`.

    Not within `grace` seconds of Postgres' coming back, or of a jump of its clock: no owner could
    have renewed. `clock`: as this process knows it.
    """
    clock = clock or DatabaseClock(grace)
    clock.check(db)
    found = f"SELECT id FROM messages WHERE {_LAPSED} ORDER BY id LIMIT 1000"
    return [row.id for row in db.rows(found, died=died, grace=grace, **clock.parameters)]


class LapsedRow:
    """A lapsed row, locked: what the sweep may do with it until the transaction ends."""

    def __init__(self, connection: Connection, row: Any) -> None:
        self._connection = connection
        self.id: uuid.UUID = row.id
        self.owner: str = row.owner
        self.attempt: int = row.attempt
        self.claim: uuid.UUID | None = row.claim
        self.saved: int = row.saved_len
        self.stop_requested: bool = row.stop_requested
        self.overdue: bool = row.overdue
        self.may_restart: bool = row.saved_len == 0 and row.tries < MAX_TRIES and not row.overdue
        self._user_id: uuid.UUID = row.user_id
        self.body = to_message(row).body

    def salvage(self, deltas: Sequence[Delta]) -> None:
        """Save published text that the owner could not save any more."""
        for delta in filter(lambda delta: delta.text, deltas):  # an empty part is not stored
            run(
                self._connection,
                "INSERT INTO pieces (message_id, start, user_id, part, kind, meta, text)"
                " VALUES (:id, :start, :user, :part, :kind, CAST(:meta AS jsonb), :text)",
                id=self.id,
                user=self._user_id,
                start=delta.start,
                part=delta.part,
                kind=delta.kind,
                meta=json.dumps(delta.meta) if delta.meta else None,
                text=delta.text,
            )

    def end(self, ending: Ending) -> None:
        """End it; the attempt grows, so that the old owner's writes are refused."""
        run(
            self._connection,
            "UPDATE messages SET attempt = attempt + 1, saved_len = :length WHERE id = :id",
            id=self.id,
            length=self.body.length,
        )
        end_locked(self._connection, self.id, ending)

    def restart(self, queue_deadline: float) -> None:
        """Back to SENDING, due at once. Only when no character was ever published."""
        run(
            self._connection,
            f"WITH restarted AS (UPDATE messages SET status = '{Status.SENDING}',"
            " attempt = attempt + 1, owner = NULL, claim = NULL, lease_until = NULL,"
            " hard_deadline = NULL, dispatch_at = clock_timestamp(),"
            " queue_deadline = clock_timestamp() + make_interval(secs => :deadline)"
            f" WHERE id = :id AND status IN {before(Status.SENDING)} RETURNING id, started_at)"
            f" {attempt_ended('restarted', 'lost')}",
            id=self.id,
            deadline=queue_deadline,
        )


@contextmanager
def lock_lapsed(
    db: Database,
    message_id: uuid.UUID,
    grace: float,
    died: str | None = None,
    clock: DatabaseClock | None = None,
) -> Iterator[LapsedRow | None]:
    """Lock a lapsed row for the sweep; None when it is locked already or its owner renewed it."""
    clock = clock or DatabaseClock(grace)
    clock.check(db)  # in a transaction of its own: every process writes that row
    with db.transaction() as connection:
        row = run(
            connection,
            f"SELECT m.*, NULL AS pieces, {_OVERDUE} AS overdue"
            f" FROM messages m WHERE id = :id AND {_LAPSED} FOR UPDATE SKIP LOCKED",
            id=message_id,
            died=died,
            grace=grace,
            **clock.parameters,
        ).one_or_none()
        yield LapsedRow(connection, _with_pieces(connection, row)) if row else None


def _with_pieces(connection: Connection, row: Any) -> Any:
    """The locked row again with its pieces: read after the lock was had, so they are the last."""
    whole = SELECT.replace("m.*,", f"m.*, {_OVERDUE} AS overdue,")
    return run(connection, f"{whole} WHERE m.id = :id", id=row.id).one()


# --- R6: the queue -------------------------------------------------------------------------------


_WAITED: Final = passed("queue_deadline", "created_at")


def expire(db: Database) -> list[uuid.UUID]:
    """End questions that no worker took in time."""
    with db.transaction() as connection:
        rows = run(
            connection,
            f"SELECT id FROM messages WHERE status = '{Status.SENDING}' AND {_WAITED}"
            f" ORDER BY {ORDER_OF_ENDS} LIMIT 500 FOR UPDATE SKIP LOCKED",
        ).all()
        for row in rows:
            end_locked(connection, row.id, Ending.error("queue_timeout"))
        return [row.id for row in rows]


def cancel_disabled(db: Database) -> list[uuid.UUID]:
    """End questions of disabled users that wait for their turn: nobody could read the answers."""
    with db.transaction() as connection:
        rows = run(
            connection,
            f"SELECT id FROM messages m WHERE {waits('m')} AND EXISTS (SELECT FROM users u"
            " WHERE u.id = m.user_id AND u.disabled_at IS NOT NULL)"
            f" ORDER BY {ORDER_OF_ENDS} LIMIT 500 FOR UPDATE SKIP LOCKED",
        ).all()
        for row in rows:
            end_locked(connection, row.id, Ending(Status.CANCELLED))
        return [row.id for row in rows]


def undispatched(db: Database) -> list[uuid.UUID]:
    """Questions that are due to be enqueued again; each is due once more after DISPATCH_AGAIN."""
    rows = db.rows(
        "UPDATE messages SET dispatch_at = clock_timestamp() + make_interval(secs => :again)"
        f" WHERE id IN (SELECT id FROM messages WHERE status = '{Status.SENDING}'"
        " AND dispatch_at < clock_timestamp() ORDER BY id LIMIT 500 FOR UPDATE SKIP LOCKED)"
        " RETURNING id",
        again=DISPATCH_AGAIN,
    )
    return [row.id for row in rows]


#: SQL: no answer of the conversation `c` is open.
AT_REST: Final = (
    "NOT EXISTS (SELECT 1 FROM messages m"
    f" WHERE m.conversation_id = c.id AND m.status IN {OPEN_STATUSES})"
)


def purge(db: Database) -> int:
    """Remove conversations that were deleted long enough ago and are at rest; their number."""
    rows = db.rows(
        "DELETE FROM conversations WHERE id = ANY(ARRAY(SELECT id FROM conversations c"
        f" WHERE {GONE} AND {AT_REST} LIMIT :most FOR UPDATE SKIP LOCKED)) RETURNING id",
        undo=UNDO_SECONDS,
        most=PURGED_AT_ONCE,
    )
    return len(rows)


# Through the index (user_id, updated_at): one on the time alone would cost every question, and this
# costs 10 us for each user. What is asked at the same moment is safe: it locks the conversation and
# moves its time, and the lock that is taken here compares the time again.
_RETIRE: Final = f"""
WITH people AS (
    SELECT id FROM users WHERE id > :after ORDER BY id LIMIT :users
), old AS (
    SELECT found.id FROM people CROSS JOIN LATERAL (
        SELECT c.id FROM conversations c WHERE c.user_id = people.id
            AND c.updated_at < clock_timestamp() - make_interval(days => :days) AND {AT_REST}
        ORDER BY c.updated_at LIMIT :most FOR UPDATE OF c SKIP LOCKED
    ) AS found LIMIT :most
), removed AS (
    DELETE FROM conversations USING old WHERE conversations.id = old.id RETURNING 1
)
SELECT (SELECT count(*) FROM removed) AS removed, (SELECT count(*) FROM people) AS people,
    (SELECT id FROM people ORDER BY id DESC LIMIT 1) AS last
"""


@dataclass(frozen=True, slots=True)
class Retired:
    """How many conversations were removed, and after which user to go on."""

    removed: int
    after: uuid.UUID


#: Before all users.
FIRST: Final = uuid.UUID(int=0)


def retire(db: Database, days: int, after: uuid.UUID = FIRST) -> Retired:
    """Remove some conversations in which nothing was asked for so many days and which are at rest.

    Goes through the users in many calls, beginning anew after the last.
    """
    [row] = db.rows(_RETIRE, days=days, after=after, users=USERS_AT_ONCE, most=PURGED_AT_ONCE)
    if row.removed == PURGED_AT_ONCE:  # these users may have more
        return Retired(row.removed, after)
    return Retired(row.removed, FIRST if row.people < USERS_AT_ONCE else row.last)
