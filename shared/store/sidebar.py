"""A person's conversations as a list shows them: what is being written, what has ended unseen."""

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from shared.lifecycle import Status
from shared.store.access import owns
from shared.store.database import Database
from shared.store.status_sql import OPEN_STATUSES

#: Conversations in the state that a connection begins with, besides those being written.
STATE: Final = 100

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Entry:
    """A conversation, and the answer that is being written in it, else the last that ended."""

    id: uuid.UUID
    title: str | None
    created_at: datetime
    updated_at: datetime
    seen_at: datetime
    answer_id: uuid.UUID | None
    answer_status: str | None
    error_code: str | None
    ended_at: datetime | None
    #: questions in line, and when the line changed last
    waiting: int = 0
    line_changed_at: datetime | None = None

    @property
    def status(self) -> str:
        """waiting, writing, failed, unseen or idle."""
        if self.answer_id is None:
            return "idle"
        if self.ended_at is None:
            return "waiting" if self.answer_status == Status.SENDING else "writing"
        if self.ended_at <= self.seen_at or self.answer_status == Status.CANCELLED:
            return "idle"
        return "failed" if self.answer_status == Status.ERROR else "unseen"

    @property
    def place(self) -> int:
        """Where it stands in the list: microseconds, the greatest first."""
        return (self.updated_at - _EPOCH) // _MICROSECOND


@dataclass(frozen=True, slots=True)
class State:
    """The top of the list at a moment of the database's clock."""

    at: datetime
    entries: Mapping[uuid.UUID, Entry]
    #: the place after which there are more; None when these are all
    more: int | None
    #: what is deleted, and may come back
    deleted: frozenset[uuid.UUID] = frozenset()


_SELECT = f"""
WITH open AS (
    SELECT DISTINCT ON (conversation_id) conversation_id, id, status FROM messages
    WHERE {owns("messages")} AND status IN {OPEN_STATUSES}
    ORDER BY conversation_id, status DESC, seq DESC
), chosen AS (
    (SELECT id FROM conversations WHERE {owns("conversations")} AND deleted_at IS NULL
        AND (CAST(:before AS timestamptz) IS NULL OR updated_at < :before)
        ORDER BY updated_at DESC LIMIT :limit)
    UNION SELECT conversation_id FROM open WHERE CAST(:before AS timestamptz) IS NULL
)
SELECT c.id, c.title, c.created_at, c.updated_at, c.seen_at,
    coalesce(open.id, last.id) AS answer_id, coalesce(open.status, last.status) AS answer_status,
    CASE WHEN open.id IS NULL THEN last.error_code END AS error_code,
    CASE WHEN open.id IS NULL THEN last.ended_at END AS ended_at,
    coalesce(line.waiting, 0) AS waiting, line.changed_at
FROM chosen JOIN conversations c ON c.id = chosen.id
LEFT JOIN open ON open.conversation_id = c.id
LEFT JOIN LATERAL (
    SELECT id, status, error_code, ended_at FROM messages m
    WHERE m.conversation_id = c.id AND m.role = 'assistant' AND m.ended_at IS NOT NULL
    ORDER BY m.ended_at DESC LIMIT 1
) last ON true
LEFT JOIN LATERAL (
    SELECT count(*) AS waiting, max(changed_at) AS changed_at FROM questions_in_line q
    WHERE q.conversation_id = c.id
) line ON true
WHERE {owns("c")} AND c.deleted_at IS NULL ORDER BY c.updated_at DESC
"""


def page(db: Database, user_id: uuid.UUID, limit: int, before: int | None) -> list[Entry]:
    """Up to `limit` entries after a place, the most recently active first."""
    moment = None if before is None else _EPOCH + before * _MICROSECOND
    rows = db.rows(_SELECT, user=user_id, limit=limit, before=moment)
    return [Entry(*row) for row in rows]


def state(db: Database, user_id: uuid.UUID) -> State:
    """The top of the list, and everything that is being written."""
    [now] = db.rows("SELECT clock_timestamp() AS now")
    entries = page(db, user_id, STATE + 1, None)
    top = entries[:STATE]
    rest = [one for one in entries[STATE:] if one.ended_at is None and one.answer_id]
    more = top[-1].place if len(entries) > STATE else None
    rows = db.rows(
        f"SELECT id FROM conversations WHERE {owns('conversations')} AND deleted_at IS NOT NULL",
        user=user_id,
    )
    deleted = frozenset(row.id for row in rows)  # read last: what the list lacks is in it
    return State(now.now, {one.id: one for one in [*top, *rest]}, more, deleted)


# --- what changes --------------------------------------------------------------------------------

_ENDS = {Status.DONE: "finished", Status.ERROR: "failed", Status.CANCELLED: "stopped"}


@dataclass(frozen=True, slots=True)
class Change:
    """What became of a conversation; without an entry it is gone."""

    id: uuid.UUID
    what: list[str]
    entry: Entry | None


def changes(before: State, now: State) -> Iterator[Change]:
    """What a client that has seen `before` has to be sent."""
    if now.at < before.at:  # the clock jumped back: what is not known is new
        before = replace(before, at=_EPOCH)
    for entry in now.entries.values():
        old = before.entries.get(entry.id)
        if old != entry:
            what = _appeared(before, entry) if old is None else _what(old, entry)
            yield Change(entry.id, what, entry)
    for entry in before.entries.values():
        if entry.id not in now.entries and (entry.id in now.deleted or not _below(now, entry)):
            yield Change(entry.id, ["deleted"], None)


def _below(now: State, entry: Entry) -> bool:
    """Whether it only went below the part of the list that is read."""
    return now.more is not None and entry.place < now.more


def _appeared(before: State, entry: Entry) -> list[str]:
    if entry.created_at > before.at:
        return ["created", *_progress(None, entry)]
    if entry.updated_at > before.at:
        return ["updated", *_progress(None, entry)]
    return ["undeleted"]


def _what(old: Entry, entry: Entry) -> list[str]:
    what = _progress(old, entry)
    if old.title != entry.title:
        what.append("renamed")
    if old.status in ("unseen", "failed") and entry.status == "idle" and not what:
        what.append("seen")
    return what or ["updated"]


def _progress(old: Entry | None, entry: Entry) -> list[str]:
    """What its answer has come to."""
    known: Any = (old.answer_id, old.answer_status) if old else (None, None)
    if entry.answer_id is None or known == (entry.answer_id, entry.answer_status):
        return []
    if entry.ended_at is None:
        return ["started"]
    return [_ENDS[Status(entry.answer_status or "")]]
