"""Browsers that are notified of ended answers, and the answers of which they have to be.

**Guaranteed.** Each answer that ends DONE or ERROR, whoever ends it, gets one row in `pushes`, by
the statement that ends it, if its user has a subscription then. A worker deletes the row, commits,
and only then sends: so an answer is notified of at most once, whichever process dies at whichever
moment. What is lost is the notification of an answer whose worker dies between the two.

**How.** A row is due some seconds after the end. By then a page that shows the answer has said that
it was seen, and nothing is sent. Nothing is sent either of a conversation that is deleted, for a
disabled user, or long after the end, when no worker was there.

Questions of service keys are asked by programs, and nobody is notified of their answers.
"""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from shared.errors import NotFound
from shared.lifecycle import Status
from shared.store.database import Database, run

#: Seconds from an end until its notification is due, and after which it is not sent any more.
DELAY: Final = 3.0
STALE: Final = 3_600.0
#: Browsers of one user: those that subscribed last are kept.
MOST: Final = 10
#: Characters of an answer that may be shown in a notification.
TEXT_CHARS: Final = 200

#: Adds the row for what a CTE `ended` ended as `status`.
NOTE: Final = f"""
    INSERT INTO pushes (message_id, due_at)
    SELECT id, clock_timestamp() + interval '{DELAY} seconds' FROM ended
    WHERE CAST(:status AS text) <> '{Status.CANCELLED}' AND key_id IS NULL
        AND EXISTS (SELECT FROM push_subscriptions s WHERE s.user_id = ended.user_id)
    ON CONFLICT DO NOTHING
"""


@dataclass(frozen=True, slots=True)
class Subscription:
    """A browser in which a user is notified. `endpoint`: where it is reached."""

    id: uuid.UUID
    endpoint: str
    p256dh: str
    auth: str
    with_text: bool
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Push:
    """An ended answer, of which these browsers are to be told."""

    message_id: uuid.UUID
    conversation_id: uuid.UUID
    status: str
    title: str | None
    #: how the answer begins
    text: str
    subscriptions: list[Subscription]


_COLUMNS: Final = "id, endpoint, p256dh, auth, with_text, created_at"


def subscribe(
    db: Database,
    user_id: uuid.UUID,
    session_id: uuid.UUID | None,
    *,
    endpoint: str,
    p256dh: str,
    auth: str,
    with_text: bool,
) -> Subscription:
    """Notify this browser from now on; one that was known is this user's now, with these keys.

    Raises StorageDown.
    """
    with db.transaction() as connection:
        # Locked, so that those of one user are counted one after the other.
        run(connection, "SELECT 1 FROM users WHERE id = :user FOR NO KEY UPDATE", user=user_id)
        row = run(
            connection,
            "INSERT INTO push_subscriptions"
            " (id, user_id, session_id, endpoint, p256dh, auth, with_text)"
            " VALUES (:id, :user, :session, :endpoint, :p256dh, :auth, :text)"
            " ON CONFLICT (endpoint) DO UPDATE SET user_id = excluded.user_id,"
            " session_id = excluded.session_id, p256dh = excluded.p256dh, auth = excluded.auth,"
            " with_text = excluded.with_text, created_at = clock_timestamp()"
            f" RETURNING {_COLUMNS}",
            id=uuid.uuid4(),
            user=user_id,
            session=session_id,
            endpoint=endpoint,
            p256dh=p256dh,
            auth=auth,
            text=with_text,
        ).one()
        run(
            connection,
            "DELETE FROM push_subscriptions WHERE id IN (SELECT id FROM push_subscriptions"
            " WHERE user_id = :user ORDER BY created_at DESC, id OFFSET :most)",
            user=user_id,
            most=MOST,
        )
    return Subscription(**row._mapping)


def of(db: Database, user_id: uuid.UUID) -> list[Subscription]:
    """The browsers in which a user is notified, the newest first. Raises StorageDown."""
    rows = db.rows(
        f"SELECT {_COLUMNS} FROM push_subscriptions WHERE user_id = :user"
        " ORDER BY created_at DESC, id",
        user=user_id,
    )
    return [Subscription(**row._mapping) for row in rows]


def unsubscribe(db: Database, user_id: uuid.UUID, subscription_id: uuid.UUID) -> None:
    """Notify this browser no more. Raises NotFound and StorageDown."""
    gone = db.rows(
        "DELETE FROM push_subscriptions WHERE id = :id AND user_id = :user RETURNING id",
        id=subscription_id,
        user=user_id,
    )
    if not gone:
        raise NotFound


def expired(db: Database, subscription: Subscription) -> None:
    """The push service does not know it any more. Raises StorageDown."""
    db.rows(
        "DELETE FROM push_subscriptions WHERE id = :id AND endpoint = :endpoint RETURNING id",
        id=subscription.id,
        endpoint=subscription.endpoint,
    )


_TAKE: Final = """
WITH taken AS (
    DELETE FROM pushes WHERE message_id = ANY(ARRAY(
        SELECT message_id FROM pushes WHERE due_at < clock_timestamp()
        ORDER BY due_at LIMIT :most FOR UPDATE SKIP LOCKED))
    RETURNING message_id, due_at
)
SELECT m.id, m.conversation_id, m.status, c.title, s.*, CASE WHEN s.with_text THEN
    left(jsonb_path_query_first(m.body, '$[*] ? (@.kind == "text").text') #>> '{}', :chars)
    END AS text
FROM taken JOIN messages m ON m.id = taken.message_id
JOIN conversations c ON c.id = m.conversation_id AND c.deleted_at IS NULL
    AND c.seen_at < m.ended_at
JOIN users u ON u.id = m.user_id AND u.disabled_at IS NULL
JOIN LATERAL (
    SELECT p.id AS subscription, p.endpoint, p.p256dh, p.auth, p.with_text, p.created_at
    FROM push_subscriptions p LEFT JOIN sessions ON sessions.id = p.session_id
    WHERE p.user_id = m.user_id
        AND (p.session_id IS NULL OR sessions.expires_at > clock_timestamp())
) s ON true
WHERE taken.due_at > clock_timestamp() - make_interval(secs => :stale)
ORDER BY taken.due_at, m.id, s.created_at
"""


def take(db: Database, most: int) -> list[Push]:
    """Some of what is due: the caller sends it, as nobody else will. Raises StorageDown."""
    found: dict[uuid.UUID, Push] = {}
    for row in db.rows(_TAKE, most=most, chars=TEXT_CHARS, stale=STALE):
        push = found.setdefault(
            row.id, Push(row.id, row.conversation_id, row.status, row.title, "", [])
        )
        push.subscriptions.append(_subscription(row))
        if row.text:
            found[row.id] = Push(
                row.id, row.conversation_id, row.status, row.title, row.text, push.subscriptions
            )
    return list(found.values())


def _subscription(row: Any) -> Subscription:
    return Subscription(
        row.subscription, row.endpoint, row.p256dh, row.auth, row.with_text, row.created_at
    )


def forget(db: Database) -> None:
    """Remove what is too old to be sent, where no worker of a deployment sends. StorageDown."""
    db.rows(
        "DELETE FROM pushes WHERE message_id = ANY(ARRAY(SELECT message_id FROM pushes"
        " WHERE due_at < clock_timestamp() - make_interval(secs => :stale)"
        " LIMIT 1000 FOR UPDATE SKIP LOCKED)) RETURNING message_id",
        stale=STALE,
    )
