"""Where a person was in a conversation: kept for every device, by the time at which it was read.

A place is a position of a body, so it means the same text on every screen. With it goes the end of
the branch as it was then: what comes after that end is new to the reader who comes back.

Several tabs and devices report places, and reports may be late. The one that was read last stays:
a slow tab takes nobody back.
"""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from shared.errors import NotFound
from shared.store.access import may_write, owns
from shared.store.conversations import must_own
from shared.store.database import Database

#: Answers that are named for having been begun again.
RESTARTED: Final = 100


class Point(NamedTuple):
    """A position in the body of a message."""

    message_id: uuid.UUID
    position: int


@dataclass(frozen=True, slots=True)
class Place:
    """Where a reader was, where the text ended then, and when that was."""

    at: Point
    end: Point
    read_at: datetime


class Restarted(NamedTuple):
    """An answer that was begun again, and how often; nothing of it had been shown."""

    message_id: uuid.UUID
    times: int


@dataclass(frozen=True, slots=True)
class Found:
    """A place, the database's clock, and the answers since that were begun more than once."""

    place: Place | None
    now: datetime
    restarted: list[Restarted]


# A time in the future is a wrong clock's: it counts as now, and does not stay for ever. One before
# this service existed counts as its beginning, so that any can be read back.
_KEEP: Final = f"""
WITH here AS (
    SELECT c.user_id, c.id FROM conversations c
    JOIN messages m ON m.conversation_id = c.id AND m.id = :message
    JOIN messages e ON e.conversation_id = c.id AND e.id = :end_message
    WHERE c.id = :id AND {may_write("c")} AND c.deleted_at IS NULL
), kept AS (
    INSERT INTO places
        (user_id, conversation_id, message_id, position, end_id, end_position, read_at)
    SELECT user_id, id, :message, :position, :end_message, :end_position, least(clock_timestamp(),
        greatest('2000-01-01Z', coalesce(CAST(:read_at AS timestamptz), clock_timestamp())))
    FROM here
    ON CONFLICT (user_id, conversation_id) DO UPDATE SET message_id = excluded.message_id,
        position = excluded.position, end_id = excluded.end_id,
        end_position = excluded.end_position, read_at = excluded.read_at
    WHERE places.read_at < excluded.read_at OR places.read_at > clock_timestamp()
)
SELECT 1 FROM here
"""


def keep(
    db: Database,
    user_id: uuid.UUID,
    conversation_id: uuid.UUID,
    at: Point,
    end: Point,
    *,
    read_at: datetime | None = None,
) -> None:
    """Keep where the user was at `read_at` (now), unless a later place is known. NotFound."""
    found = db.rows(
        _KEEP,
        user=user_id,
        id=conversation_id,
        message=at.message_id,
        position=at.position,
        end_message=end.message_id,
        end_position=end.position,
        read_at=read_at,
    )
    if not found:
        raise NotFound("There is no such message in this conversation.")


_RESTARTED: Final = f"""
SELECT id, tries - 1 AS times FROM messages
WHERE conversation_id = :id AND {owns("messages")} AND tries > 1
    AND (ended_at IS NULL OR ended_at > :since) ORDER BY seq LIMIT :most
"""


def load(db: Database, user_id: uuid.UUID, conversation_id: uuid.UUID) -> Found:
    """Where the user was in a conversation, if that is known. NotFound."""
    must_own(db, user_id, conversation_id)
    [row] = db.rows(
        "SELECT clock_timestamp() AS now, places.* FROM (SELECT 1) AS one LEFT JOIN places"
        f" ON conversation_id = :id AND {owns('places')}",
        id=conversation_id,
        user=user_id,
    )
    if row.read_at is None:
        return Found(None, row.now, [])
    at, end = Point(row.message_id, row.position), Point(row.end_id, row.end_position)
    rows = db.rows(_RESTARTED, id=conversation_id, user=user_id, since=row.read_at, most=RESTARTED)
    restarted = [Restarted(one.id, one.times) for one in rows]
    return Found(Place(at, end, row.read_at), row.now, restarted)
