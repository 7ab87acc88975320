"""Reads everything of a user in pages, for an export: memory holds one page, or one long message.

Pages follow one another by sequence numbers, so what is asked meanwhile may or may not be in it,
and nothing comes twice.
"""

import uuid
from collections.abc import Iterator
from typing import Any, Final

from shared.errors import NotFound
from shared.store.access import owns
from shared.store.branches import TREES
from shared.store.conversations import Conversation
from shared.store.database import Database
from shared.store.messages import SELECT, Message, to_message

#: Rows and conversations of a page, messages of one, and code points of text in the latter.
ROWS: Final = 1_000
CONVERSATIONS: Final = 100
MESSAGES: Final = 100
CHARS: Final = 1 << 18

_CONVERSATIONS: Final = (
    "SELECT id, seq, title, title_by, system, created_at, updated_at FROM conversations"
    f" WHERE {owns('conversations')} AND deleted_at IS NULL AND seq > :after"
    " ORDER BY seq LIMIT :most"
)
#: The first one always; then as many as fit.
_MESSAGES: Final = f"""
WITH page AS (
    SELECT id, seq, row_number() OVER (ORDER BY seq) AS place,
        sum(coalesce(length, saved_len)) OVER (ORDER BY seq) AS chars
    FROM (
        SELECT id, seq, length, saved_len FROM messages
        WHERE conversation_id = :conversation AND {owns("messages")} AND seq > :after
        ORDER BY seq LIMIT :most
    ) AS next
)
{SELECT.replace("m.*,", "m.*, m.seq AS place,")} JOIN page ON page.id = m.id
WHERE page.place = 1 OR page.chars <= :chars ORDER BY m.seq
"""
_SUMS: Final = [
    f"CAST(sum({name}) AS bigint) AS {name}"
    for name in ("answers", "input_tokens", "output_tokens", "estimated_tokens")
]


def _all(db: Database, select: str, **values: Any) -> list[dict[str, Any]]:
    """The rows of a short table, at once."""
    return [dict(row._mapping) for row in db.rows_within(TREES, select, **values)]


def profile(db: Database, user_id: uuid.UUID) -> dict[str, Any]:
    """What is kept of the user besides conversations. Raises NotFound and StorageDown."""
    rows = db.rows_within(
        TREES,
        "SELECT id, name, login, issuer, subject, created_at FROM users WHERE id = :user",
        user=user_id,
    )
    if not rows:
        raise NotFound
    return dict(rows[0]._mapping)


def usage(db: Database, user_id: uuid.UUID) -> list[dict[str, Any]]:
    """The user's tokens by day. Raises StorageDown."""
    return _all(
        db,
        f"SELECT day, {', '.join(_SUMS)} FROM token_use WHERE user_id = :user"
        " GROUP BY day ORDER BY day",
        user=user_id,
    )


def shares(db: Database, user_id: uuid.UUID) -> Iterator[dict[str, Any]]:
    """The user's shares, without what would open them. Raises StorageDown, Busy and TooSlow."""
    return _in_pages(
        db,
        "SELECT id, conversation_id, token_hash IS NOT NULL AS link, created_at, expires_at,"
        " revoked_at FROM shares",
        user_id,
        uuid.UUID(int=0),
    )


def places(db: Database, user_id: uuid.UUID) -> Iterator[dict[str, Any]]:
    """Where the user was in each conversation. Raises StorageDown, Busy and TooSlow."""
    return _in_pages(
        db,
        "SELECT id, message_id, position, end_id, end_position, read_at"
        " FROM (SELECT *, conversation_id AS id FROM places) AS places",
        user_id,
        uuid.UUID(int=0),
    )


def line(db: Database, user_id: uuid.UUID, conversation: uuid.UUID) -> list[dict[str, Any]]:
    """The questions that wait in a conversation, in order. Raises StorageDown."""
    return _all(
        db,
        "SELECT id, conversation_id, content, model, problem, created_at, changed_at"
        " FROM questions_in_line WHERE user_id = :user AND conversation_id = :conversation"
        " ORDER BY seq",
        user=user_id,
        conversation=conversation,
    )


def keys(db: Database, user_id: uuid.UUID) -> list[dict[str, Any]]:
    """The user's service keys, without what would open them. Raises StorageDown."""
    return _all(
        db,
        "SELECT id, name, prefix, scopes, created_at, used_at, expires_at, revoked_at"
        " FROM service_keys WHERE user_id = :user ORDER BY created_at, id",
        user=user_id,
    )


def sessions(db: Database, user_id: uuid.UUID) -> list[dict[str, Any]]:
    """Where the user is signed in. Raises StorageDown."""
    return _all(
        db,
        "SELECT id, created_at, seen_at, expires_at FROM sessions WHERE user_id = :user"
        " ORDER BY created_at, id",
        user=user_id,
    )


def notified(db: Database, user_id: uuid.UUID) -> list[dict[str, Any]]:
    """The browsers in which the user is notified, without what reaches them. Raises StorageDown."""
    return _all(
        db,
        "SELECT id, with_text, created_at FROM push_subscriptions WHERE user_id = :user"
        " ORDER BY created_at, id",
        user=user_id,
    )


def events(db: Database, user_id: uuid.UUID) -> Iterator[dict[str, Any]]:
    """What the audit table has of the user, oldest first. Raises StorageDown, Busy and TooSlow."""
    select = "SELECT id, at, action, credential, object_id, address FROM audit"
    return _in_pages(db, select, user_id, 0)


def _in_pages(
    db: Database, select: str, user_id: uuid.UUID, after: object
) -> Iterator[dict[str, Any]]:
    """All rows of the user after the id `after`."""
    more = f"{select} WHERE user_id = :user AND id > :after ORDER BY id LIMIT :most"
    rows: list[Any] = [None]
    while rows:
        rows = db.rows_within(TREES, more, user=user_id, after=after, most=ROWS)
        for row in rows:
            yield dict(row._mapping)
            after = row.id


def files(db: Database, user_id: uuid.UUID) -> Iterator[dict[str, Any]]:
    """The files of the user's questions, one at a time. Raises StorageDown, Busy and TooSlow."""
    after = uuid.UUID(int=0)
    while rows := db.rows_within(
        TREES,
        "SELECT id, type AS media_type, created_at, data FROM files"
        " WHERE user_id = :user AND id > :after ORDER BY id LIMIT 1",
        user=user_id,
        after=after,
    ):
        after = rows[0].id
        yield {**rows[0]._mapping, "data": bytes(rows[0].data)}


def conversations(db: Database, user_id: uuid.UUID) -> Iterator[Conversation]:
    """All of the user's, oldest first. Raises StorageDown, Busy and TooSlow."""
    after = 0
    while True:
        rows = db.rows_within(TREES, _CONVERSATIONS, user=user_id, after=after, most=CONVERSATIONS)
        for row in rows:
            yield Conversation(*row)
        if len(rows) < CONVERSATIONS:
            return
        after = rows[-1].seq


def messages(db: Database, user_id: uuid.UUID, conversation: uuid.UUID) -> Iterator[Message]:
    """All messages of a conversation, oldest first, of all branches. Raises likewise."""
    after = 0
    while True:
        rows = db.rows_within(
            TREES,
            _MESSAGES,
            user=user_id,
            conversation=conversation,
            after=after,
            most=MESSAGES,
            chars=CHARS,
        )
        if not rows:
            return
        after = rows[-1].place
        while rows:
            yield to_message(rows.pop(0))
