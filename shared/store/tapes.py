"""Reads the tape of an answer, and notes what happens to one while it is written.

What a tape holds was saved: its samples come with the pieces of the claim whose text the answer is
(`tape_sql`), so an attempt that was fenced has left nothing in it. An answer of an earlier version
has none.

Notes are bounded for each answer, and none is worth a wait: they lock no answer, and those that
come after its end are dropped.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from shared import tape
from shared.errors import NotFound
from shared.lifecycle import Status
from shared.store.access import may_read
from shared.store.database import Database, run
from shared.store.status_sql import OPEN_STATUSES
from shared.store.tape_sql import marks_of, tape_of
from shared.tape import Mark, Sample

#: Notes of an answer. One that comes when there are so many is dropped.
MARKS_MAX: Final = 64
#: Notes that one statement writes.
NOTED_AT_ONCE: Final = 500
#: Rows of `message_marks` that one sweep removes, and after how many seconds a row is old.
REMOVED_AT_ONCE: Final = 1_000
OLD_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Tape:
    """How an answer was written. Samples count from the claim, marks from the question."""

    user_id: uuid.UUID
    status: Status
    error_code: str | None
    continues: bool
    asked_at: datetime
    started_at: datetime | None
    first_text_at: datetime | None
    ended_at: datetime | None
    length: int
    #: None: it was written before there were tapes
    samples: list[Sample] | None
    marks: list[Mark]

    def since_asked(self, moment: datetime | None) -> int | None:
        """Milliseconds from the question to this moment."""
        if moment is None:
            return None
        return max(0, (moment - self.asked_at) // timedelta(milliseconds=1))


_LOAD: Final = f"""
SELECT m.user_id, m.status, m.error_code, m.continues_id, m.created_at, m.started_at,
    m.first_text_at, m.ended_at, coalesce(m.length, m.saved_len) AS length,
    coalesce(m.tape, {tape_of("m.id")}) AS tape,
    coalesce(m.marks, {marks_of("m.id", "m.created_at")}) AS marks
FROM messages m JOIN conversations c ON c.id = m.conversation_id
WHERE m.id = :id AND m.role = 'assistant' AND {may_read("m")} AND c.deleted_at IS NULL
"""


def load(db: Database, message_id: uuid.UUID, user_id: uuid.UUID) -> Tape:
    """The tape of an answer, or what there is of it so far. Raises NotFound and StorageDown."""
    rows = db.rows(_LOAD, id=message_id, user=user_id)
    if not rows:
        raise NotFound("There is no such answer.")
    [row] = rows
    samples = None
    if row.tape is not None or not row.length:
        samples = tape.decode(bytes(row.tape or b""))
    return Tape(
        user_id=row.user_id,
        status=Status(row.status),
        error_code=row.error_code,
        continues=row.continues_id is not None,
        asked_at=row.created_at,
        started_at=row.started_at,
        first_text_at=row.first_text_at,
        ended_at=row.ended_at,
        length=row.length,
        samples=samples,
        marks=tape.settled([Mark(*mark) for mark in row.marks or ()][:MARKS_MAX]),
    )


class Noted(NamedTuple):
    """A mark that is to be written: of which answer, and how many seconds ago it was."""

    message_id: uuid.UUID
    kind: str
    device: str | None
    ago: float = 0.0


_NOTE: Final = f"""
INSERT INTO message_marks (message_id, at, kind, device)
SELECT m.id, clock_timestamp() - make_interval(secs => n.ago), n.kind, n.device
FROM unnest(CAST(:ids AS uuid[]), CAST(:kinds AS text[]), CAST(:devices AS text[]),
    CAST(:ago AS float8[])) AS n (id, kind, device, ago)
JOIN messages m ON m.id = n.id AND m.status IN {OPEN_STATUSES}
WHERE (SELECT count(*) FROM message_marks k WHERE k.message_id = m.id) < {MARKS_MAX}
"""


def note(db: Database, noted: Sequence[Noted]) -> None:
    """Write marks of answers that are open. Raises StorageDown."""
    with db.transaction() as connection:
        run(
            connection,
            _NOTE,
            ids=[str(one.message_id) for one in noted],
            kinds=[one.kind for one in noted],
            devices=[one.device for one in noted],
            ago=[one.ago for one in noted],
        )


def tidy(db: Database) -> None:
    """Remove some rows of answers that have ended or are gone. Raises StorageDown."""
    db.rows(
        "DELETE FROM message_marks WHERE ctid = ANY(ARRAY(SELECT k.ctid FROM message_marks k"
        " WHERE k.at < clock_timestamp() - make_interval(secs => :seconds) AND NOT EXISTS ("
        f"SELECT FROM messages m WHERE m.id = k.message_id AND m.status IN {OPEN_STATUSES})"
        " LIMIT :most)) RETURNING 1",
        seconds=OLD_SECONDS,
        most=REMOVED_AT_ONCE,
    )
