"""R1: how a message begins. Ask, Retry and Continue commit a SENDING placeholder.

One transaction each, one at a time for a user where that matters: the same Idempotency-Key gives
the same messages again, nothing is asked below an answer that is still open, nobody has more open
answers than allowed. Only after the commit is anything enqueued.
"""

import hashlib
import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection

from shared.database import Database, run
from shared.errors import Conflict, Invalid, KeyReused, NotFound, TooMany
from shared.lifecycle import OPEN, Status
from shared.messages import SELECT, Message, to_message

#: Seconds until a question that nobody took is handed to the queue again.
DISPATCH_AFTER: Final = 5.0
TITLE_CHARS: Final = 60


@dataclass(frozen=True, slots=True)
class Newest:
    """The parent of a question that names none: the newest answer, if there is one."""


NEWEST: Final = Newest()
Parent = uuid.UUID | None | Newest


@dataclass(frozen=True, slots=True)
class Asking:
    """Who asks and how: everything of a request but the question itself."""

    user_id: uuid.UUID
    model: str
    options: dict[str, Any]
    #: the Idempotency-Key, and the hash of the whole request it came with
    key: str | None
    request_hash: str
    #: open answers this user may have; 0 is no cap
    max_open: int
    #: seconds after which nobody need take it any more
    queue_deadline: float
    #: whether the question may name its conversation
    titles: bool = True


@dataclass(frozen=True, slots=True)
class Asked:
    """A question and the answer that will be written below it."""

    question: Message
    answer: Message
    #: False when an earlier request with the same key made them
    fresh: bool


def ask(
    db: Database,
    asking: Asking,
    conversation_id: uuid.UUID,
    content: str,
    parent: Parent = NEWEST,
) -> Asked:
    """A question below `parent` and its answer's placeholder."""
    # Without a key and a cap it can only meet what is asked in the same conversation, or its
    # deletion; and those wait for the conversation's row.
    alone = asking.key is not None or asking.max_open > 0
    with _transaction(db, asking, alone=alone) as (connection, known):
        if known:
            return known
        _enter_conversation(connection, asking, conversation_id, content)
        parent_id = _parent(connection, conversation_id, parent)
        _within_cap(connection, asking)
        return _insert_both(connection, asking, conversation_id, content, above=parent_id)


def ask_again(db: Database, asking: Asking, answer_id: uuid.UUID) -> Asked:
    """Retry: another answer beside an ended one, below the same question."""
    with _transaction(db, asking) as (connection, known):
        if known:
            return known
        before = _ended_answer(connection, asking.user_id, answer_id)
        _within_cap(connection, asking)
        place, above, continues = before.conversation_id, before.parent_id, before.continues_id
        _touch(connection, place)
        fresh_id = uuid.uuid4()
        row = _answer(asking, place, fresh_id, above, continues)
        run(connection, f"{_INSERT} {_ANSWER}", **row)
        return _asked(connection, above, fresh_id, fresh=True)


def ask_to_continue(db: Database, asking: Asking, answer_id: uuid.UUID, content: str) -> Asked:
    """Continue: a question that asks an incomplete answer to go on, and its answer."""
    with _transaction(db, asking) as (connection, known):
        if known:
            return known
        before = _ended_answer(connection, asking.user_id, answer_id)
        if before.status == Status.DONE and before.finish_reason != "length":
            raise Conflict("This answer is complete; there is nothing to continue.", "complete")
        _within_cap(connection, asking)
        place = before.conversation_id
        _touch(connection, place)
        return _insert_both(
            connection, asking, place, content, above=answer_id, continues=answer_id
        )


@contextmanager
def _transaction(
    db: Database, asking: Asking, *, alone: bool = True
) -> Iterator[tuple[Connection, Asked | None]]:
    """A transaction, and what is known already of this request.

    `alone`: this user's requests of that kind come one at a time.
    """
    with db.transaction() as connection:
        if alone:
            lock_user(connection, asking.user_id)
        yield connection, _known(connection, asking)


def lock_user(connection: Connection, user_id: uuid.UUID) -> None:
    """Wait for this user's other requests that create or delete; held until the commit."""
    lock = "SELECT pg_advisory_xact_lock(hashtextextended(:user, 0))"
    run(connection, lock, user=str(user_id))


def _known(connection: Connection, asking: Asking) -> Asked | None:
    if asking.key is None:
        return None
    row = run(
        connection,
        "SELECT id, parent_id, request_hash FROM messages"
        " WHERE user_id = :user AND client_key = :key",
        user=asking.user_id,
        key=asking.key,
    ).one_or_none()
    if row is None:
        return None
    if row.request_hash != asking.request_hash:
        raise KeyReused
    return _asked(connection, row.parent_id, row.id, fresh=False)


def _enter_conversation(
    connection: Connection, asking: Asking, conversation_id: uuid.UUID, content: str
) -> None:
    title = " ".join(content[: 4 * TITLE_CHARS].split())
    if len(title) > TITLE_CHARS:
        title = title[: TITLE_CHARS - 1].rstrip() + "…"
    entered = run(
        connection,
        "UPDATE conversations SET updated_at = clock_timestamp(),"
        " title = coalesce(title, CAST(:title AS text)), title_by = CASE"
        " WHEN title IS NULL AND CAST(:title AS text) IS NOT NULL THEN 'question' ELSE title_by END"
        " WHERE id = :id AND user_id = :user AND deleted_at IS NULL",
        id=conversation_id,
        user=asking.user_id,
        title=title if asking.titles else None,
    )
    if not entered.rowcount:
        raise NotFound("There is no such conversation.")


def _touch(connection: Connection, conversation_id: uuid.UUID) -> None:
    """Something is asked in it: it comes to the top of the list."""
    touch = "UPDATE conversations SET updated_at = clock_timestamp() WHERE id = :id"
    run(connection, touch, id=conversation_id)


def _parent(connection: Connection, conversation: uuid.UUID, parent: Parent) -> uuid.UUID | None:
    if parent is None:
        return None
    newest = isinstance(parent, Newest)
    row = run(
        connection,
        "SELECT id, role, status FROM messages WHERE conversation_id = :conversation"
        " AND (id = CAST(:id AS uuid) OR (:newest AND role = 'assistant'))"
        " ORDER BY seq DESC LIMIT 1",
        conversation=conversation,
        id=None if newest else parent,
        newest=newest,
    ).one_or_none()
    if row is None and newest:
        return None
    if row is None or row.role != "assistant":
        raise Invalid("parent_id must name an answer of this conversation.", "invalid_parent")
    _must_have_ended(row.status)
    return uuid.UUID(str(row.id))


def _must_have_ended(status: str) -> None:
    if status in OPEN:
        raise Conflict("That answer is still being written; stop it or wait.", "answer_open")


def _ended_answer(connection: Connection, user: uuid.UUID, answer: uuid.UUID) -> Any:
    row = run(
        connection,
        "SELECT m.* FROM messages m JOIN conversations c ON c.id = m.conversation_id"
        " WHERE m.id = :id AND m.user_id = :user AND c.deleted_at IS NULL",
        id=answer,
        user=user,
    ).one_or_none()
    if row is None:
        raise NotFound("There is no such message.")
    if row.role != "assistant":
        raise Invalid("Only an answer can be retried or continued.", "not_an_answer")
    _must_have_ended(row.status)
    return row


def _within_cap(connection: Connection, asking: Asking) -> None:
    if not asking.max_open:
        return
    count = "SELECT count(*) FROM messages WHERE user_id = :user AND status = ANY(:open)"
    found = run(connection, count, user=asking.user_id, open=sorted(OPEN)).scalar_one()
    if found >= asking.max_open:
        raise TooMany


_INSERT: Final = (
    "INSERT INTO messages (id, user_id, conversation_id, parent_id, continues_id, role, status,"
    " saved_len, body, length, sha256, ended_at, model, options, client_key, request_hash,"
    " queue_deadline, dispatch_at) VALUES"
)
_QUESTION: Final = (
    "(:question, :user, :conversation, :above, NULL, 'user', 'DONE',"
    " :length, CAST(:body AS jsonb), :length, :sha256, clock_timestamp(), NULL, DEFAULT, NULL,"
    " NULL, NULL, NULL)"
)
_ANSWER: Final = (
    "(:answer, :user, :conversation, :question, :continues, 'assistant', 'SENDING',"
    " DEFAULT, NULL, NULL, NULL, NULL, :model, CAST(:options AS jsonb), :key, :hash,"
    " clock_timestamp() + make_interval(secs => :deadline),"
    " clock_timestamp() + make_interval(secs => :dispatch))"
)


def _insert_both(
    connection: Connection,
    asking: Asking,
    conversation: uuid.UUID,
    content: str,
    *,
    above: uuid.UUID | None,
    continues: uuid.UUID | None = None,
) -> Asked:
    """A question below `above` and its answer, in one statement."""
    question = uuid.uuid4()
    rows = run(
        connection,
        f"{_INSERT} {_QUESTION}, {_ANSWER} RETURNING *, NULL AS pieces",
        above=above,
        length=len(content),
        body=json.dumps([{"kind": "text", "text": content, "meta": None}]),
        sha256=hashlib.sha256(content.encode()).hexdigest(),
        **_answer(asking, conversation, uuid.uuid4(), question, continues),
    )
    found = {row.role: to_message(row) for row in rows}
    return Asked(found["user"], found["assistant"], True)


def _answer(
    asking: Asking,
    conversation: uuid.UUID,
    answer: uuid.UUID,
    question: uuid.UUID,
    continues: uuid.UUID | None,
) -> dict[str, Any]:
    """The parameters of _ANSWER."""
    return {
        "answer": answer,
        "user": asking.user_id,
        "conversation": conversation,
        "question": question,
        "continues": continues,
        "model": asking.model,
        "options": json.dumps(asking.options),
        "key": asking.key,
        "hash": asking.request_hash if asking.key is not None else None,
        "deadline": asking.queue_deadline,
        "dispatch": DISPATCH_AFTER,
    }


def _asked(connection: Connection, question: Any, answer: Any, *, fresh: bool) -> Asked:
    both = f"{SELECT} WHERE m.id IN (:question, :answer)"
    rows = run(connection, both, question=question, answer=answer)
    found = {row.id: to_message(row) for row in rows}
    return Asked(found[question], found[answer], fresh)
