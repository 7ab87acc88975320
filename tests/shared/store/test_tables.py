"""The last line of defence: what the database refuses whatever a program does."""

import uuid

import pytest
from sqlalchemy.exc import DatabaseError

from shared.body import Body
from shared.lifecycle import OPEN, TRANSITIONS, Status
from tests.rig import Rig
from tests.store_fixtures import Store, migrate, new_database

Columns = dict[str, str]

_ENDED: Columns = {"body": "'[]'", "length": "0", "sha256": "''", "ended_at": "now()"}
#: The columns, as SQL, that decide which status a row is in.
COLUMNS: dict[Status, Columns] = {
    Status.SENDING: {"queue_deadline": "now()", "dispatch_at": "now()"},
    Status.STREAMING: {"owner": "'h:b'", "lease_until": "now()", "hard_deadline": "now()"},
    Status.DONE: _ENDED,
    Status.CANCELLED: _ENDED,
    Status.ERROR: {**_ENDED, "error_code": "'deadline'"},
}
_NOTHING: Columns = {name: "NULL" for columns in COLUMNS.values() for name in columns}


def status_columns(status: str, /, **changes: str) -> Columns:
    return {**_NOTHING, **COLUMNS[Status(status)], "status": f"'{status}'", **changes}


def insert(store: Store, status: str = "SENDING", /, **changes: str) -> uuid.UUID:
    """A row straight into the table; `changes` are SQL."""
    user = store.user()
    columns = {
        "id": f"'{uuid.uuid4()}'",
        "user_id": f"'{user}'",
        "conversation_id": f"'{store.conversation(user)}'",
        "role": "'assistant'",
        **status_columns(status, **changes),
    }
    names, values = ", ".join(columns), ", ".join(columns.values())
    store.run(f"INSERT INTO messages ({names}) VALUES ({values})")
    return uuid.UUID(columns["id"].strip("'"))


def update(store: Store, message_id: uuid.UUID, **changes: str) -> None:
    setting = ", ".join(f"{name} = {value}" for name, value in changes.items())
    assert store.run(f"UPDATE messages SET {setting} WHERE id = :id", id=message_id) == 1


# --- which rows can be ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("constraint", "status", "changes"),
    [
        ("messages_role", "SENDING", {"role": "'system'"}),
        ("messages_user_is_done", "SENDING", {"role": "'user'"}),
        ("messages_user_is_done", "ERROR", {"role": "'user'"}),
        *[
            ("messages_streaming", "STREAMING", {name: "NULL"})
            for name in COLUMNS[Status.STREAMING]
        ],
        *[
            ("messages_streaming", status, {name: value})
            for status in ("SENDING", "DONE", "CANCELLED", "ERROR")
            for name, value in COLUMNS[Status.STREAMING].items()
        ],
        *[("messages_sending", "SENDING", {name: "NULL"}) for name in COLUMNS[Status.SENDING]],
        *[
            ("messages_sending", status, {name: value})
            for status in ("STREAMING", "DONE", "CANCELLED", "ERROR")
            for name, value in COLUMNS[Status.SENDING].items()
        ],
        *[("messages_ended", "DONE", {name: "NULL"}) for name in _ENDED],
        *[
            ("messages_ended", status, {name: value})
            for status in ("SENDING", "STREAMING")
            for name, value in _ENDED.items()
        ],
        ("messages_error", "ERROR", {"error_code": "NULL"}),
        *[
            ("messages_error", status, {"error_code": "'deadline'"})
            for status in ("SENDING", "STREAMING", "DONE", "CANCELLED")
        ],
        ("messages_hashed", "SENDING", {"client_key": "'k'"}),
        ("messages_hashed", "SENDING", {"request_hash": "'h'"}),
    ],
)
def test_impossible_rows_are_refused(
    store: Store, constraint: str, status: str, changes: Columns
) -> None:
    with pytest.raises(DatabaseError, match=f'"{constraint}"'):
        insert(store, status, **changes)


def test_an_unknown_status_is_refused(store: Store) -> None:
    with pytest.raises(DatabaseError, match="violates check constraint"):
        insert(store, "SENDING", **{**_NOTHING, "status": "'PAUSED'"})


@pytest.mark.parametrize("status", Status)
def test_a_row_may_have_every_status(store: Store, status: Status) -> None:
    assert store.row(insert(store, status)).status == status


def test_a_message_belongs_to_the_user_of_its_conversation(store: Store) -> None:
    other = store.conversation(store.user())

    with pytest.raises(DatabaseError, match="messages_conversation"):
        insert(store, conversation_id=f"'{other}'")


def test_a_key_is_used_once_by_a_user_and_freely_by_others(store: Store) -> None:
    keyed = {"client_key": "'k'", "request_hash": "'h'"}
    first = store.row(insert(store, **keyed))
    insert(store, **keyed)

    with pytest.raises(DatabaseError, match="messages_client_key"):
        insert(
            store,
            user_id=f"'{first.user_id}'",
            conversation_id=f"'{first.conversation_id}'",
            **keyed,
        )


def piece(store: Store, message_id: uuid.UUID, start: int, text: str) -> None:
    store.run(
        "INSERT INTO pieces (message_id, start, user_id, part, kind, text)"
        " SELECT id, :start, user_id, 0, 'text', :text FROM messages WHERE id = :id",
        id=message_id,
        start=start,
        text=text,
    )


def test_a_piece_has_text_and_a_place_of_its_own(store: Store) -> None:
    message_id = insert(store)
    piece(store, message_id, 0, "a")

    with pytest.raises(DatabaseError, match="pieces_text"):
        piece(store, message_id, 1, "")
    with pytest.raises(DatabaseError, match="pieces_pkey"):
        piece(store, message_id, 0, "b")


def test_pieces_go_with_their_message(store: Store) -> None:
    message_id = insert(store)
    piece(store, message_id, 0, "a")

    store.run("DELETE FROM messages WHERE id = :id", id=message_id)

    assert store.pieces(message_id) == []


# --- which moves can be ---------------------------------------------------------------------------


@pytest.mark.parametrize("after", Status)
@pytest.mark.parametrize("before", Status)
def test_the_database_allows_exactly_the_moves_of_the_table(
    store: Store, before: Status, after: Status
) -> None:
    message_id = insert(store, before)
    possible = after in TRANSITIONS[before] or before == after in OPEN

    try:
        update(store, message_id, **status_columns(after))
        moved = True
    except DatabaseError:
        moved = False

    assert moved == possible
    assert store.row(message_id).status == (after if possible else before)


@pytest.mark.parametrize("status", sorted(set(Status) - OPEN))
@pytest.mark.parametrize(
    "change",
    [
        {"body": "'[1]'"},
        {"length": "1"},
        {"sha256": "'x'"},
        {"usage": "'{}'"},
        {"finish_reason": "'stop'"},
        {"ended_at": "now()"},
        {"attempt": "attempt + 1"},
        {"saved_len": "1"},
        {"stop_requested": "true"},
        {"error_message": "'x'"},
        {"status": "status"},
    ],
)
def test_a_row_that_has_ended_never_changes(store: Store, status: Status, change: Columns) -> None:
    message_id = insert(store, status)
    before = store.row(message_id)

    with pytest.raises(DatabaseError, match="has ended and never changes"):
        update(store, message_id, **change)

    assert store.row(message_id) == before


@pytest.mark.parametrize("status", ["SENDING", "STREAMING"])
@pytest.mark.parametrize("column", ["attempt", "tries", "saved_len"])
def test_attempt_tries_and_saved_len_only_grow(store: Store, status: str, column: str) -> None:
    message_id = insert(store, status, **{column: "2"})

    with pytest.raises(DatabaseError, match="only grow"):
        update(store, message_id, **{column: "1"})

    update(store, message_id, **{column: "2"})
    update(store, message_id, **{column: "3"})
    assert getattr(store.row(message_id), column) == 3


def test_only_a_claim_sets_a_claim_and_nothing_changes_it(store: Store) -> None:
    one, other = uuid.uuid4(), uuid.uuid4()
    message_id = insert(store)

    update(store, message_id, claim=f"'{one}'")
    assert store.row(message_id).claim is None  # no worker has claimed it

    update(store, message_id, **status_columns("STREAMING", claim=f"'{one}'"))
    update(store, message_id, saved_len="0")
    for changed in (f"'{other}'", "NULL"):
        with pytest.raises(DatabaseError, match="does not change while it is written"):
            update(store, message_id, claim=changed)
        with pytest.raises(DatabaseError, match="does not change while it is written"):
            update(store, message_id, **status_columns("DONE", claim=changed))
    assert store.row(message_id).claim == one

    update(store, message_id, **status_columns("SENDING"))  # as the version before gives back
    assert store.row(message_id).claim is None
    update(store, message_id, **status_columns("STREAMING", claim=f"'{other}'"))
    update(store, message_id, **status_columns("DONE"))
    assert store.row(message_id).claim == other


def test_workers_of_the_version_before_claim_without_a_token(store: Store) -> None:
    message_id = insert(store)

    update(store, message_id, **status_columns("STREAMING"))
    update(store, message_id, saved_len="0")
    update(store, message_id, **status_columns("ERROR"))

    assert store.row(message_id).claim is None


def test_an_answer_that_was_never_claimed_ends_without_a_claim(store: Store) -> None:
    message_id = insert(store)

    with pytest.raises(DatabaseError, match="does not change while it is written"):
        update(store, message_id, **status_columns("ERROR", claim=f"'{uuid.uuid4()}'"))


def test_an_answer_with_saved_text_cannot_begin_again(store: Store) -> None:
    message_id = insert(store, "STREAMING", saved_len="1")

    with pytest.raises(DatabaseError, match="was shown and cannot begin again"):
        update(store, message_id, **status_columns("SENDING"))

    update(store, message_id, **status_columns("ERROR"))


# --- what a write costs ---------------------------------------------------------------------------


def test_saves_and_renewals_touch_no_index(rig: Rig) -> None:
    with new_database(rig, "counted") as url:  # of its own: Postgres counts for all sessions
        migrate(url)
        store = Store(url, rig.redis.url)
        claim = store.streaming()
        body = Body()
        before = updates(store)

        for _ in range(20):
            body.write("text", "ten chars.")
            assert store.save(claim, body, body.length - 10)
            assert store.save(claim, body, body.length)
        after = updates(store)
        store.close()

    assert [now - was for now, was in zip(after, before, strict=True)] == [40, 40]


def updates(store: Store) -> tuple[int, int]:
    """How many updates `messages` has had, and how many of them were HOT."""
    store.db.rows("SELECT 1 FROM pg_stat_force_next_flush()")  # of this session, the only one
    [row] = store.db.rows(
        "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relname = 'messages'"
    )
    return row.n_tup_upd, row.n_tup_hot_upd
