"""A user is deleted: gone at once for everybody outside, and bit by bit from the tables."""

import uuid
from datetime import timedelta

import pytest

from shared.errors import NotFound
from shared.store import deletion, places, reaping, service_keys, shares, users
from shared.store.deletion import Ended
from shared.store.places import Point
from shared.store.tables import LOCAL_USER
from tests.client import new_id
from tests.store_fixtures import Store


def begin(store: Store, user: uuid.UUID) -> list[Ended]:
    return deletion.begin(store.db, user, by=user, credential="jwt")


def left(store: Store, user: uuid.UUID) -> dict[str, int]:
    """How many rows of each table are the user's."""
    tables = tuple(NOTHING)
    return {
        table: store.db.rows(f"SELECT count(*) AS n FROM {table} WHERE user_id = :id", id=user)[0].n
        for table in tables
    }


NOTHING = {
    "conversations": 0, "messages": 0, "pieces": 0, "sessions": 0, "service_keys": 0, "shares": 0,
    "places": 0,
}  # fmt: skip


def age(store: Store, user: uuid.UUID, **when: timedelta) -> None:
    """Move moments of the user's row into the past."""
    for column, ago in when.items():
        sql = f"UPDATE users SET {column} = clock_timestamp() - CAST(:ago AS interval)"
        assert store.run(f"{sql} WHERE id = :id", id=user, ago=ago) == 1


def test_everything_of_a_user_goes_and_nothing_of_others(store: Store) -> None:
    user, other = store.user(), store.user()
    for one in (user, other):
        answer = store.ended(one)
        conversation = store.row(answer).conversation_id
        shares.add(store.db, one, conversation, token_hash=new_id())
        places.keep(store.db, one, conversation, Point(answer, 1), Point(answer, 1))
    before = left(store, other)

    begin(store, user)
    store.sweep().run()

    assert left(store, user) == NOTHING
    assert left(store, other) == before


def test_what_is_written_is_stopped_and_purged_once_it_is_at_rest(store: Store) -> None:
    user = store.user()
    waiting, writing = store.sending(user), store.streaming(user)

    begin(store, user)
    stopped = deletion.stop_all(store.db, user)

    assert set(stopped) == {waiting, writing.id}
    assert store.row(waiting).status == "CANCELLED"
    assert store.row(writing.id).stop_requested
    store.sweep(lease=60).run()
    assert left(store, user)["conversations"] == 1  # its owner still writes
    store.make_overdue(writing.id, "lease_until", "hard_deadline")
    store.sweep().run()
    store.sweep().run()
    assert left(store, user) == NOTHING


def test_a_sweep_finds_what_is_left_without_any_notice(store: Store) -> None:
    """Whoever began may have died right after the commit."""
    user = store.user()
    store.sending(user)
    begin(store, user)
    store.sending(user)  # by a process that has not been notified yet

    store.sweep().run()

    assert left(store, user) == NOTHING


def test_each_statement_removes_few(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deletion, "PURGED_AT_ONCE", 2)
    user = store.user()
    for _ in range(5):
        store.conversation(user)
    begin(store, user)

    assert [deletion.purge(store.db, user) for _ in range(4)] == [2, 2, 1, 0]


def test_nothing_is_removed_of_a_user_who_was_not_deleted(store: Store) -> None:
    user = store.user()
    store.sending(user)

    assert deletion.stop_all(store.db, user) == []
    assert deletion.purge(store.db, user) == 0
    assert left(store, user)["conversations"] == 1


def test_a_tombstone_keeps_the_host_from_making_the_user_anew(store: Store) -> None:
    subject = new_id()
    user = users.by_subject(store.db, "host", subject).id
    begin(store, user)

    found = users.by_subject(store.db, "host", subject)

    assert (found.id, found.disabled) == (user, True)
    [row] = store.db.rows("SELECT * FROM users WHERE id = :id", id=user)
    assert (row.name, row.login, row.password_hash) == ("", None, None)


def test_a_tombstone_goes_when_nothing_is_left_and_its_time_has_passed(store: Store) -> None:
    subject = new_id()
    user = users.by_subject(store.db, "host", subject).id
    store.ended(user)
    begin(store, user)
    sweep = store.sweep()
    sweep.run()
    assert user in deletion.tombstones(store.db)  # a process may still let the user in
    age(store, user, deleted_at=timedelta(hours=1))
    sweep.run()
    assert user not in deletion.tombstones(store.db)
    assert deletion.remove_tombstones(store.db) == 0

    age(store, user, purged_at=timedelta(days=deletion.TOMBSTONE_DAYS, hours=1))
    store.sweep().run()

    assert store.db.rows("SELECT 1 FROM users WHERE id = :id", id=user) == []
    assert store.db.rows("SELECT 1 FROM token_use WHERE user_id = :id", id=user) == []
    assert users.by_subject(store.db, "host", subject).id != user
    actions = store.db.rows(
        "SELECT action FROM audit WHERE object_id = :id ORDER BY id", id=str(user)
    )
    assert [row.action for row in actions] == ["user_deleted", "user_purged"]


def test_all_whose_streams_have_to_end_are_named(store: Store) -> None:
    user, reader, subject = store.user(), store.user(), new_id()
    store.run(
        "UPDATE users SET issuer = 'host', subject = :subject WHERE id = :id",
        id=reader,
        subject=subject,
    )
    conversation = store.conversation(user)
    link = shares.add(store.db, user, conversation, token_hash=new_id())
    shares.add(store.db, user, conversation, token_hash=None, name=subject, issuer="host")
    key = service_keys.add(store.db, name="x", token=("olk_x", new_id()), scopes=["ask"])
    store.run("UPDATE service_keys SET user_id = :user WHERE id = :id", id=key, user=user)

    ended = begin(store, user)

    assert ended[0] == Ended("user", user)
    assert set(ended[1:]) == {Ended("key", key), Ended("share", link.id), Ended("user", reader)}
    assert begin(store, user) == [Ended("user", user)]  # once more is harmless


def test_nobody_deletes_the_local_user_or_a_stranger(store: Store) -> None:
    for user in (LOCAL_USER, uuid.uuid4()):
        with pytest.raises(NotFound):
            begin(store, user)


def test_a_deleted_conversation_need_not_wait_for_its_undo(store: Store) -> None:
    user = store.user()
    conversation = store.conversation(user)
    store.run("UPDATE conversations SET deleted_at = now() WHERE id = :id", id=conversation)
    assert reaping.purge(store.db) == 0

    begin(store, user)
    store.sweep().run()

    assert left(store, user) == NOTHING
