"""Questions in line: asked while an answer is written, sent one by one when it has ended.

A line belongs to a conversation. Its first question is *due* when no answer of the conversation is
open and the newest one is DONE (or there is none). After an answer that failed or was stopped the
line waits: a person sends it, or asks something else whose answer ends DONE. The question goes
below the newest answer.

**Guaranteed.** A question is sent exactly once, whatever dies: one transaction asks it and takes it
out of the line, under the locks that every question takes (its user, its conversation). After the
commit it is an ordinary question, which the queue or a sweep brings to a worker.

**How a line moves.** `due_at` of its first question says when a sweep looks at it. It is set by
what may let the line move: a question that is added, an answer that ends DONE (in the transaction
that ends it, see `ending`), a change. Who did that also calls `send_next` after the commit. If it
died, the next sweep does. A question that cannot be sent is put off: by WAIT_SECONDS while an
answer is open, as an end that has not committed yet may have missed a question that was just added;
for ever where only what sets `due_at` can change the matter.

**What is refused** (a cap of open answers, a budget) stays in line with the code of the refusal. A
cap is tried again after REFUSED_SECONDS, a budget when a person says so: nobody expects a question
of last month to be sent on the first.
"""

import json
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection

from shared.errors import Conflict, Forbidden, KeyReused, NotFound, TooMany
from shared.lifecycle import Status
from shared.store.access import may_write, owns
from shared.store.asking import Asked, Asking, ask_in, enter, lock_user
from shared.store.database import Database, run
from shared.store.status_sql import OPEN_STATUSES

#: Questions that may wait in a conversation.
LINE_MOST: Final = 20
#: Seconds until a sweep looks again at a line whose answer is open, and at one that was refused
#: because its user has too many open answers.
WAIT_SECONDS: Final = 5.0
REFUSED_SECONDS: Final = 10.0
#: The same for one whose conversation is deleted or whose user is disabled: both may come back.
GONE_SECONDS: Final = 3600.0
#: Lines that one sweep moves.
MOVED_AT_ONCE: Final = 100


@dataclass(frozen=True, slots=True)
class InLine:
    """A question that waits."""

    id: uuid.UUID
    content: str
    model: str | None
    #: code of the refusal that it got when its turn came
    problem: str | None
    created_at: datetime
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class Line:
    """The questions that wait in a conversation, in order.

    `held`: why they wait although no answer is being written: "stopped" or "failed" (the newest
    answer), "refused" (see the first question's `problem`); None: they are sent by themselves.
    """

    items: Sequence[InLine]
    held: str | None


@dataclass(frozen=True, slots=True)
class NewInLine:
    """A question to put in line, and what its request came with (as in `Asking`)."""

    content: str
    model: str | None
    options: dict[str, Any]
    key: str | None
    request_hash: str | None
    key_id: uuid.UUID | None


@dataclass(frozen=True, slots=True)
class Turn:
    """The first of a line, as it is sent: `Terms` makes the limits that hold for it."""

    user_id: uuid.UUID
    model: str | None
    options: dict[str, Any]
    key: str | None
    request_hash: str | None
    key_id: uuid.UUID | None


Terms = Callable[[Turn], Asking]


class Now(NamedTuple):
    """A question that somebody sends, and the service key that does."""

    question: uuid.UUID
    key_id: uuid.UUID | None


# --- what a person does with a line ---------------------------------------------------------------


def read(db: Database, user: uuid.UUID, conversation: uuid.UUID) -> Line:
    """The line of a conversation of this user. Raises NotFound."""
    rows = db.rows(_READ, user=user, conversation=conversation)
    if not rows:
        raise NotFound("There is no such conversation.")
    items = [
        InLine(row.id, row.content, row.model, row.problem, row.created_at, row.changed_at)
        for row in rows
        if row.id is not None
    ]
    if not items or rows[0].open:
        return Line(items, None)
    if items[0].problem:
        return Line(items, "refused")
    return Line(items, _HELD.get(rows[0].newest))


_HELD: Final = {Status.CANCELLED: "stopped", Status.ERROR: "failed"}
_OPEN: Final = (
    "EXISTS (SELECT FROM messages m"
    f" WHERE m.conversation_id = c.id AND m.status IN {OPEN_STATUSES})"
)
_NEWEST: Final = (
    "(SELECT m.status FROM messages m WHERE m.conversation_id = c.id AND m.role = 'assistant'"
    " ORDER BY m.seq DESC LIMIT 1)"
)
_READ: Final = (
    f"SELECT {_OPEN} AS open, {_NEWEST} AS newest, l.* FROM conversations c"
    " LEFT JOIN questions_in_line l ON l.conversation_id = c.id"
    f" WHERE c.id = :conversation AND {owns('c')} AND c.deleted_at IS NULL ORDER BY l.seq"
)


def add(db: Database, user: uuid.UUID, conversation: uuid.UUID, question: NewInLine) -> None:
    """Put a question at the end. The same key puts it there once, also after it was sent.

    Raises NotFound, KeyReused and TooMany (line_full).
    """
    with db.transaction() as connection:
        lock_user(connection, user)
        if _is_known(connection, user, question):
            return
        enter(connection, user, conversation)
        count = "SELECT count(*) FROM questions_in_line WHERE conversation_id = :conversation"
        if run(connection, count, conversation=conversation).scalar_one() >= LINE_MOST:
            raise TooMany(code="line_full", limit=LINE_MOST)
        run(
            connection,
            "INSERT INTO questions_in_line (id, user_id, conversation_id, content, model, options,"
            " client_key, request_hash, key_id) VALUES (:id, :user, :conversation, :content,"
            " :model, CAST(:options AS jsonb), :key, :hash, :key_id)",
            id=uuid.uuid4(),
            user=user,
            conversation=conversation,
            content=question.content,
            model=question.model,
            options=json.dumps(question.options),
            key=question.key,
            hash=question.request_hash,
            key_id=question.key_id,
        )


def _is_known(connection: Connection, user: uuid.UUID, question: NewInLine) -> bool:
    if question.key is None:
        return False
    found = run(
        connection,
        "SELECT request_hash FROM questions_in_line WHERE user_id = :user AND client_key = :key"
        " UNION ALL SELECT request_hash FROM messages WHERE user_id = :user AND client_key = :key",
        user=user,
        key=question.key,
    ).first()
    if found and found.request_hash != question.request_hash:
        raise KeyReused
    return found is not None


def change(
    db: Database, user: uuid.UUID, conversation: uuid.UUID, question: uuid.UUID, content: str
) -> None:
    """Give a question another text; a refusal of the old one is forgotten. Raises NotFound."""
    text = (
        "UPDATE questions_in_line SET content = :content, problem = NULL,"
        f" changed_at = clock_timestamp() WHERE {_MINE}"
    )
    with db.transaction() as connection:
        enter(connection, user, conversation)
        where = {"id": question, "conversation": conversation}
        if not run(connection, text, content=content, **where).rowcount:
            raise NotFound(_SENT)
        _put_off(connection, conversation, 0)


def remove(db: Database, user: uuid.UUID, conversation: uuid.UUID, question: uuid.UUID) -> None:
    """Take a question out of the line. Raises NotFound."""
    with db.transaction() as connection:
        enter(connection, user, conversation)
        gone = f"DELETE FROM questions_in_line WHERE {_MINE}"
        if not run(connection, gone, id=question, conversation=conversation).rowcount:
            raise NotFound(_SENT)
        _put_off(connection, conversation, 0)  # another one is the first now


_SENT: Final = "This question is not in line any more: it was sent, or removed."
#: Of a conversation that was entered: it is the user's.
_MINE: Final = "id = :id AND conversation_id = :conversation"

# --- how a line moves -----------------------------------------------------------------------------


def due(db: Database) -> list[uuid.UUID]:
    """Conversations whose line may move, and that nobody moved."""
    rows = db.rows(
        "SELECT conversation_id FROM questions_in_line WHERE due_at <= clock_timestamp()"
        " ORDER BY due_at LIMIT :most",
        most=MOVED_AT_ONCE,
    )
    return list({row.conversation_id: None for row in rows})


def send_next(db: Database, conversation: uuid.UUID, terms: Terms) -> Asked | None:
    """Ask the first question of a line, if it is due. None: nothing was asked.

    Raises StorageDown. What refuses the question is noted in the line.
    """
    users = "SELECT user_id FROM questions_in_line WHERE conversation_id = :conversation LIMIT 1"
    found = db.rows(users, conversation=conversation)
    if not found:
        return None
    try:
        return _send(db, found[0].user_id, conversation, None, terms)
    except (TooMany, Forbidden):
        return None


def send_now(
    db: Database,
    user: uuid.UUID,
    conversation: uuid.UUID,
    question: uuid.UUID,
    terms: Terms,
    *,
    key_id: uuid.UUID | None,
) -> Asked:
    """Ask this question of a line now, whatever became of the newest answer. `key_id`: the service
    key that says so.

    Raises NotFound, Conflict while an answer is being written, and what refuses a question.
    """
    asked = _send(db, user, conversation, Now(question, key_id), terms)
    if asked is None:
        raise NotFound(_SENT)
    return asked


def _send(
    db: Database,
    user: uuid.UUID,
    conversation: uuid.UUID,
    now: Now | None,
    terms: Terms,
) -> Asked | None:
    first = None
    try:
        with db.transaction() as connection:
            lock_user(connection, user)
            place = run(connection, _PLACE, user=user, conversation=conversation).one_or_none()
            if place is None:
                _put_off(connection, conversation, GONE_SECONDS)
                return None
            first = _locked(connection, conversation, now.question if now else None)
            if first is None:
                return None
            # A statement of its own: it sees what was asked while the locks were waited for.
            state = run(connection, _STATE, conversation=conversation, key_id=first.key_id).one()
            if state.open:
                if now:
                    raise Conflict(code="answer_open")
                _put_off(connection, conversation, WAIT_SECONDS)
                return None
            if now is None and state.newest not in (None, Status.DONE):
                _put_off(connection, conversation, None)
                return None
            if now is None and not state.key_good:
                raise Forbidden(code="key_invalid")
            key = None if _key_taken(connection, first) else first.client_key
            turn = Turn(
                user,
                first.model,
                first.options,
                key,
                key and first.request_hash,
                now.key_id if now else first.key_id,
            )
            asked = ask_in(connection, terms(turn), conversation, first.content)
            run(connection, "DELETE FROM questions_in_line WHERE id = :id", id=first.id)
            _put_off(connection, conversation, WAIT_SECONDS)
            return asked
    except (TooMany, Forbidden) as error:
        if first is not None:
            _refused(db, first.id, error.code)
        raise


def _locked(connection: Connection, conversation: uuid.UUID, question: uuid.UUID | None) -> Any:
    return run(
        connection,
        "SELECT * FROM questions_in_line WHERE conversation_id = :conversation"
        " AND (CAST(:id AS uuid) IS NULL OR id = :id) ORDER BY seq LIMIT 1 FOR UPDATE",
        conversation=conversation,
        id=question,
    ).one_or_none()


def _key_taken(connection: Connection, first: Any) -> bool:
    """Whether another request has asked with the key of this question meanwhile."""
    taken = "SELECT 1 FROM messages WHERE user_id = :user AND client_key = :key"
    return run(connection, taken, user=first.user_id, key=first.client_key).first() is not None


_PLACE: Final = (
    "SELECT c.id FROM conversations c JOIN users u ON u.id = c.user_id"
    f" WHERE c.id = :conversation AND {may_write('c')} AND c.deleted_at IS NULL"
    " AND u.disabled_at IS NULL FOR NO KEY UPDATE OF c"
)
_STATE: Final = f"""
SELECT {_OPEN} AS open, {_NEWEST} AS newest, NOT EXISTS (
    SELECT FROM service_keys k WHERE k.id = CAST(:key_id AS uuid)
    AND (k.revoked_at IS NOT NULL OR k.expires_at < clock_timestamp())) AS key_good
FROM conversations c WHERE c.id = :conversation
"""


def _put_off(connection: Connection, conversation: uuid.UUID, seconds: float | None) -> None:
    """When a sweep looks at this line again; None: when something happens."""
    run(
        connection,
        "UPDATE questions_in_line SET due_at = coalesce(clock_timestamp()"
        " + make_interval(secs => CAST(:seconds AS float8)), 'infinity')"
        " WHERE conversation_id = :conversation",
        conversation=conversation,
        seconds=seconds,
    )


def _refused(db: Database, question: uuid.UUID, code: str) -> None:
    again = REFUSED_SECONDS if code == TooMany.code else None
    db.rows(
        "UPDATE questions_in_line SET problem = :code, changed_at = CASE WHEN problem = :code"
        " THEN changed_at ELSE clock_timestamp() END, due_at = coalesce(clock_timestamp()"
        " + make_interval(secs => CAST(:seconds AS float8)), 'infinity')"
        " WHERE id = :id RETURNING id",
        id=question,
        code=code,
        seconds=again,
    )
