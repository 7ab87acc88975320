"""How a message begins (R1): ask, Retry and Continue commit a question and a SENDING placeholder.

One transaction each. Requests of one user wait for each other where a key or a cap must be
checked; others wait only for requests in the same conversation. The same Idempotency-Key gives the
same messages again, no question is asked below an answer that is still open, and a user has at
most `max_open` open answers. Only after the commit is anything enqueued.

The file is long because ask, Retry and Continue are put together from the same pieces of SQL.
"""

import hashlib
import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import MAXYEAR
from typing import Any, Final, Self

from sqlalchemy import Connection

from shared import naming
from shared.body import Body, text_body
from shared.errors import Conflict, Invalid, KeyReused, NotFound, StorageDown, TooMany
from shared.lifecycle import OPEN, Status
from shared.media import File
from shared.settings import Settings
from shared.store import client_requests, files
from shared.store.access import may_write
from shared.store.database import Database, run
from shared.store.messages import SELECT, Message, to_body, to_message
from shared.store.status_sql import OPEN_STATUSES
from shared.store.token_use import TokenLimits, within_budget
from shared.store.turns import DISPATCH_AFTER, MUST_WAIT
from shared.tool_calls import ToolResult, calls_of, results_of


@dataclass(frozen=True, slots=True)
class Newest:
    """The parent of a question that names none: the newest answer, if there is one."""


NEWEST: Final = Newest()
Parent = uuid.UUID | None | Newest


@dataclass(frozen=True, slots=True)
class Asking:
    """Everything of a request but the question: who asks, which model, under which limits."""

    user_id: uuid.UUID
    model: str
    options: dict[str, Any]
    #: the Idempotency-Key, and the hash of the whole request it came with; both or neither
    key: str | None
    request_hash: str | None
    #: open answers this user may have; 0 is no cap
    max_open: int
    #: seconds after which the question expires
    queue_deadline: float
    #: whether the question may name its conversation
    titles: bool = True
    #: the service key that asks
    key_id: uuid.UUID | None = None
    #: budgets of a user who has no other; None: no budgets are checked
    tokens: TokenLimits | None = None
    #: answers of a user that are with the workers at a time; 0 is no limit
    running: int = 0
    #: what is kept of the request for its client (`store/client_requests.py`)
    request: Mapping[str, Any] | None = None
    #: seconds after the last reader left until the answer is stopped; None: it goes on
    on_disconnect: float | None = None

    @classmethod
    def under(
        cls,
        settings: Settings,
        tokens: TokenLimits | None,
        *,
        model: str | None,
        **request: Any,
    ) -> Self:
        """With the limits of a deployment, and its model unless another is wanted. `request`: the
        other fields."""
        return cls(
            model=model or settings.model,
            max_open=settings.open_answers,
            queue_deadline=settings.queue_deadline_seconds,
            titles=settings.titles,
            tokens=tokens,
            running=settings.running,
            **request,
        )

    @property
    def locks_user(self) -> bool:
        """Whether a question waits for the user's other requests: a key or a limit is checked."""
        return bool(self.key is not None or self.max_open or self.tokens is not None)


@dataclass(frozen=True, slots=True)
class Asked:
    """A question and the answer that will be written below it."""

    question: Message
    answer: Message
    #: False when an earlier request with the same key made them
    fresh: bool
    #: the answer is not to be enqueued: its turn comes later
    waits: bool = False


def ask(
    db: Database,
    asking: Asking,
    conversation_id: uuid.UUID,
    question: Body,
    parent: Parent = NEWEST,
    *,
    stored: Sequence[File] = (),
) -> Asked:
    """A question below `parent` and its answer's placeholder. `stored`: the question's files.

    Raises Invalid for results of tools that are not those of all calls of the answer above.
    """
    wanted = _both(asking, conversation_id, question, parent)
    results = results_of(question)
    if not (asking.locks_user or stored or results):
        # Only a request in the same conversation, or its deletion, can interfere. Those wait for
        # the conversation's row, so no lock on the user is needed.
        return _found(db.planned(_ENTER, _ASK, **wanted))
    with asking_transaction(db, asking) as (connection, known):
        if known:
            return known
        run(connection, _ENTER, **wanted)
        asked = _found(run(connection, _ASK, **wanted).all())
        if results:
            must_be_called(connection, asking.user_id, asked.question.parent_id, results)
        files.keep(connection, asking.user_id, [(asked.question.id, file) for file in stored])
        check_limits(connection, asking)
        return asked


def ask_in(connection: Connection, asking: Asking, conversation: uuid.UUID, content: str) -> Asked:
    """A question below the newest answer of a conversation that this transaction has locked, after
    its user. Raises what `ask` raises."""
    wanted = _both(asking, conversation, text_body(content), NEWEST)
    asked = _found(run(connection, _ASK, **wanted).all())
    check_limits(connection, asking)
    return asked


def must_be_called(
    connection: Connection,
    user_id: uuid.UUID,
    above: uuid.UUID | None,
    results: Sequence[ToolResult],
) -> None:
    """Raise Invalid unless there is one result for each call of the whole answer `above`."""
    rows = run(
        connection,
        f"SELECT body FROM messages WHERE id = :above AND {may_write('messages')}"
        f" AND status = '{Status.DONE}'",
        above=above,
        user=user_id,
    ).all()
    called = [call.id for row in rows for call in calls_of(to_body(row.body))]
    if sorted(called) != sorted(result.call_id for result in results):
        raise Invalid(code="invalid_tool_results")


def ask_again(db: Database, asking: Asking, answer_id: uuid.UUID) -> Asked:
    """Retry: another answer beside an ended one, below the same question."""
    with asking_transaction(db, asking) as (connection, known):
        if known:
            return known
        before = _ended_answer(connection, asking.user_id, answer_id)
        place, above, continues = before.conversation_id, before.parent_id, before.continues_id
        touch(connection, place)
        return begin_answer(
            connection, asking, place, above, continues=continues, system=before.system
        )


def ask_to_continue(db: Database, asking: Asking, answer_id: uuid.UUID, question: Body) -> Asked:
    """Continue: a question that asks an incomplete answer to go on, and its answer."""
    with asking_transaction(db, asking) as (connection, known):
        if known:
            return known
        before = _ended_answer(connection, asking.user_id, answer_id)
        if before.status == Status.DONE and before.finish_reason != "length":
            raise Conflict(code="complete")
        place = before.conversation_id
        touch(connection, place)
        asked = _answer(asking, place, uuid.uuid4(), uuid.uuid4(), answer_id)
        asked["system"] = before.system
        rows = run(connection, _GO_ON, above=answer_id, **body_columns(question), **asked)
        check_limits(connection, asking)
        return _pair(rows.all())


@contextmanager
def asking_transaction(db: Database, asking: Asking) -> Iterator[tuple[Connection, Asked | None]]:
    """A transaction that has locked the user, and what an earlier request with this key made."""
    with db.transaction() as connection:
        lock_user(connection, asking.user_id)
        yield connection, _known(connection, asking)


def begin_answer(
    connection: Connection,
    asking: Asking,
    conversation: uuid.UUID,
    question: uuid.UUID,
    *,
    continues: uuid.UUID | None = None,
    system: str | None = None,
    repeat_hash: str | None = None,
) -> Asked:
    """An answer's placeholder below a question that is there. Raises what `check_limits` raises.

    `system`: the system text of this answer, if it is another than its conversation's ("": none).
    `repeat_hash`: identifies the request for its repeats, which bring no Idempotency-Key.
    """
    answer = uuid.uuid4()
    row = _answer(asking, conversation, answer, question, continues)
    run(connection, _ANOTHER, **row | {"system": system, "repeat": repeat_hash})
    if asking.request is not None:
        client_requests.keep(connection, answer, asking.request)
    check_limits(connection, asking)
    return load_asked(connection, question, answer, fresh=True)


def enter(connection: Connection, user: uuid.UUID, conversation: uuid.UUID) -> None:
    """Lock a conversation until the commit, so that it is not deleted. Raises NotFound."""
    if not run(connection, _ENTER, user=user, conversation=conversation).first():
        raise NotFound("There is no such conversation.")


def lock_user(connection: Connection, user_id: uuid.UUID) -> None:
    """Wait for this user's other requests that create or delete; held until the commit.

    Raises StorageDown where nothing may be written: what such a server knows may be of an old
    primary alone, and decides nothing.
    """
    lock = (
        "SELECT pg_advisory_xact_lock(hashtextextended(:user, 0)),"
        " current_setting('transaction_read_only') AS read_only"
    )
    if run(connection, lock, user=str(user_id)).one().read_only == "on":
        raise StorageDown


def _known(connection: Connection, asking: Asking) -> Asked | None:
    if asking.key is None:
        return None
    row = run(
        connection,
        "SELECT m.id, m.parent_id, m.request_hash, c.deleted_at FROM messages m"
        " JOIN conversations c ON c.id = m.conversation_id"
        " WHERE m.user_id = :user AND m.client_key = :key",
        user=asking.user_id,
        key=asking.key,
    ).one_or_none()
    if row is None:
        return None
    if row.request_hash != asking.request_hash:
        raise KeyReused
    if row.deleted_at is not None:
        raise NotFound("The conversation of this key has been deleted.")
    return load_asked(connection, row.parent_id, row.id, fresh=False)


def touch(connection: Connection, conversation_id: uuid.UUID) -> None:
    """Move a conversation in which something is asked to the top of the list."""
    move = f"UPDATE conversations AS place SET updated_at = {_ON_TOP} WHERE id = :id"
    if not run(connection, move, id=conversation_id).rowcount:
        raise NotFound("There is no such conversation.")  # purged a moment ago


def _must_have_ended(status: str) -> None:
    if status in OPEN:
        raise Conflict(code="answer_open")


def _ended_answer(connection: Connection, user: uuid.UUID, answer: uuid.UUID) -> Any:
    row = run(
        connection,
        "SELECT m.role, m.status, m.finish_reason, m.conversation_id, m.parent_id, m.continues_id,"
        " m.system"
        " FROM messages m JOIN conversations c ON c.id = m.conversation_id"
        f" WHERE m.id = :id AND {may_write('m')} AND c.deleted_at IS NULL",
        id=answer,
        user=user,
    ).one_or_none()
    if row is None:
        raise NotFound("There is no such message.")
    if row.role != "assistant":
        raise Invalid(code="not_an_answer")
    _must_have_ended(row.status)
    return row


def check_limits(connection: Connection, asking: Asking) -> None:
    """Raise TooMany if the answer that was just begun is one too many, or BudgetExhausted: the
    transaction undoes it."""
    if asking.tokens is not None:
        within_budget(connection, asking.tokens, asking.user_id, asking.key_id)
    if not asking.max_open:
        return
    count = f"SELECT count(*) FROM messages WHERE user_id = :user AND status IN {OPEN_STATUSES}"
    found = run(connection, count, user=asking.user_id).scalar_one()
    if found > asking.max_open:
        raise TooMany(limit=asking.max_open)


#: A time after that of all conversations of the same user, even if the clock jumped back. The
#: newest is found by comparing rows: with `user_id =` and max(), a plan made while the table was
#: new reads all conversations of the user (0.08 ms for 600 of them, this 0.01).
_ON_TOP: Final = (
    "greatest(clock_timestamp(), interval '1 microsecond' + (SELECT other.updated_at"
    " FROM conversations other"
    " WHERE (other.user_id, other.updated_at) <= (place.user_id, 'infinity')"
    " ORDER BY other.user_id DESC, other.updated_at DESC LIMIT 1))"
)

_COLUMNS: Final = (
    "id, user_id, conversation_id, parent_id, continues_id, role, status, saved_len, body, length,"
    " sha256, ended_at, model, options, client_key, request_hash, key_id, repeat_hash, system,"
    " queue_deadline, dispatch_at, on_disconnect"
)
#: A question below fits.above, and an answer below the question.
_QUESTION: Final = f"""
    SELECT CAST(:question AS uuid), CAST(:user AS uuid), CAST(:conversation AS uuid), fits.above,
        CAST(NULL AS uuid), 'user', '{Status.DONE}', CAST(:length AS int), CAST(:body AS jsonb),
        CAST(:length AS int), CAST(:sha256 AS text), clock_timestamp(), CAST(NULL AS text),
        CAST('{{}}' AS jsonb), CAST(NULL AS text), CAST(NULL AS text), CAST(NULL AS uuid),
        CAST(NULL AS text), CAST(NULL AS text), CAST(NULL AS timestamptz),
        CAST(NULL AS timestamptz), CAST(NULL AS float8)
    FROM fits"""
_ANSWER: Final = f"""
    SELECT CAST(:answer AS uuid), CAST(:user AS uuid), CAST(:conversation AS uuid),
        CAST(:question AS uuid), CAST(:continues AS uuid), 'assistant', '{Status.SENDING}', 0,
        CAST(NULL AS jsonb), CAST(NULL AS int), CAST(NULL AS text), CAST(NULL AS timestamptz),
        CAST(:model AS text), CAST(:options AS jsonb), CAST(:key AS text), CAST(:hash AS text),
        CAST(:key_id AS uuid), CAST(:repeat AS text), CAST(:system AS text),
        CASE WHEN waits THEN 'infinity'
            ELSE clock_timestamp() + make_interval(secs => :deadline) END,
        CASE WHEN waits THEN 'infinity'
            ELSE clock_timestamp() + make_interval(secs => :dispatch) END,
        CAST(:on_disconnect AS float8)
    FROM fits CROSS JOIN (SELECT {MUST_WAIT} AS waits) AS turn"""
_BOTH: Final = f"INSERT INTO messages ({_COLUMNS}) {_QUESTION} UNION ALL {_ANSWER} RETURNING *"

_ANOTHER: Final = f"WITH fits AS (SELECT) INSERT INTO messages ({_COLUMNS}) {_ANSWER}"
_GO_ON: Final = (
    f"WITH fits AS (SELECT CAST(:above AS uuid) AS above), asked AS ({_BOTH})"
    " SELECT *, NULL AS pieces FROM asked"
)
#: First, as a statement of its own: the next one then sees what was asked while it waited.
_ENTER: Final = (
    f"SELECT id FROM conversations WHERE id = :conversation AND {may_write('conversations')}"
    " AND deleted_at IS NULL FOR NO KEY UPDATE"
)
#: Says what it found, and both messages if they fit.
_ASK: Final = f"""
WITH place AS (
    SELECT id FROM conversations
    WHERE id = :conversation AND {may_write("conversations")} AND deleted_at IS NULL
), parent AS (
    SELECT m.id, m.role, m.status FROM messages m JOIN place ON place.id = m.conversation_id
    WHERE m.id = CAST(:parent AS uuid) OR (:newest AND m.role = 'assistant')
    ORDER BY m.seq DESC LIMIT 1
), fits AS (
    SELECT parent.id AS above FROM place LEFT JOIN parent ON true
    WHERE :root OR (:newest AND parent.id IS NULL)
        OR (parent.role = 'assistant' AND parent.status NOT IN {OPEN_STATUSES})
), entered AS (
    UPDATE conversations AS place SET updated_at = {_ON_TOP},
        title = coalesce(title, CAST(:title AS text)),
        title_by = CASE WHEN title IS NULL AND CAST(:title AS text) IS NOT NULL THEN 'question'
            ELSE title_by END
    FROM fits WHERE place.id = :conversation
), asked AS ({_BOTH})
SELECT place.id AS place, parent.role AS parent_role, parent.status AS parent_status,
    asked.*, NULL AS pieces
FROM (VALUES (1)) AS always LEFT JOIN place ON true LEFT JOIN parent ON true
    LEFT JOIN asked ON true
"""


def _both(
    asking: Asking, conversation: uuid.UUID, question: Body, parent: Parent
) -> dict[str, Any]:
    """The parameters of _ENTER and _ASK."""
    newest = isinstance(parent, Newest)
    return {
        "parent": None if newest else parent,
        "newest": newest,
        "root": parent is None,
        "title": _title(question) if asking.titles else None,
        **body_columns(question),
        **_answer(asking, conversation, uuid.uuid4(), uuid.uuid4(), None),
    }


def _title(question: Body) -> str | None:
    """What the question calls its conversation: its words, or without any its first named file."""
    names = ((part.meta or {}).get("filename") for part in question.parts)
    return naming.by_question(question.text) or naming.by_file(str(next(filter(None, names), "")))


def _found(rows: Sequence[Any]) -> Asked:
    """What _ASK made. Raises for what it found instead."""
    [row, *_] = rows
    if row.place is None:
        raise NotFound("There is no such conversation.")
    if row.id is None:
        if row.parent_role != "assistant":
            raise Invalid(code="invalid_parent")
        _must_have_ended(row.parent_status)
    return _pair(rows)


def _pair(rows: Sequence[Any]) -> Asked:
    made = {row.role: to_message(row) for row in rows}
    return Asked(made["user"], made["assistant"], True, any(map(_waits, rows)))


def _waits(row: Any) -> bool:
    """Whether the row's turn has not come: psycopg2 has no infinity, and says the last year."""
    return row.dispatch_at is not None and row.dispatch_at.year == MAXYEAR


def body_columns(question: Body) -> dict[str, Any]:
    """What the row of a message holds of its body; the parameters of _QUESTION that _ANSWER has
    not."""
    return {
        "length": question.length,
        "body": json.dumps(
            [{"kind": one.kind, "text": one.text, "meta": one.meta} for one in question.parts]
        ),
        "sha256": hashlib.sha256(question.content.encode()).hexdigest(),
    }


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
        "hash": asking.request_hash,
        "key_id": asking.key_id,
        "repeat": None,
        "system": None,
        "deadline": asking.queue_deadline,
        "dispatch": DISPATCH_AFTER,
        "running": asking.running,
        "on_disconnect": asking.on_disconnect,
    }


def load_asked(connection: Connection, question: Any, answer: Any, *, fresh: bool) -> Asked:
    both = f"{SELECT} WHERE m.id IN (:question, :answer)"
    rows = run(connection, both, question=question, answer=answer).all()
    found = {row.id: row for row in rows}
    waits = _waits(found[answer])
    return Asked(to_message(found[question]), to_message(found[answer]), fresh, waits)
