"""Retention: conversations in which nothing is asked any more are removed, and no others."""

import uuid

import pytest

from shared.errors import NotFound
from shared.store import asking, conversations, reaping
from tests.store_fixtures import Store, at_once

DAYS = 30


def aged(store: Store, conversation: uuid.UUID, days: int = DAYS + 1) -> uuid.UUID:
    old = (
        "UPDATE conversations SET updated_at = now() - make_interval(days => :days) WHERE id = :id"
    )
    assert store.run(old, id=conversation, days=days) == 1
    return conversation


def left(store: Store) -> set[uuid.UUID]:
    return {row.id for row in store.db.rows("SELECT id FROM conversations")}


def test_what_is_older_goes_with_its_messages_and_the_rest_stays(store: Store) -> None:
    user = store.user()
    answer = store.ended(user)
    old = aged(store, store.row(answer).conversation_id)
    used, open_ = store.ended(user), store.sending(user)
    young = aged(store, store.row(used).conversation_id, DAYS - 1)
    being_written = aged(store, store.row(open_).conversation_id)
    assert old != being_written

    assert store.sweep(retention_days=DAYS).run().purged == 1
    assert left(store) == {young, being_written}
    assert store.db.rows("SELECT 1 FROM messages WHERE id = :id", id=answer) == []
    [use] = store.db.rows("SELECT answers FROM token_use WHERE user_id = :user", user=user)
    assert use.answers == 2


def test_without_a_retention_time_everything_stays(store: Store) -> None:
    old = aged(store, store.conversation(store.user()), 10_000)

    assert store.sweep().run().purged == 0
    assert left(store) == {old}


def test_each_sweep_removes_few_and_goes_on_with_the_next_users(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reaping, "USERS_AT_ONCE", 2)
    monkeypatch.setattr(reaping, "PURGED_AT_ONCE", 3)
    for user in [store.user() for _ in range(5)]:
        for _ in range(2):
            aged(store, store.conversation(user))
    sweep = store.sweep(retention_days=DAYS)
    people = store.db.rows("SELECT count(*) AS n FROM users")[0].n

    found = [sweep.run().purged for _ in range(people + 10)]

    assert max(found) <= 3
    assert sum(found) == 10
    assert left(store) == set()


def test_what_is_asked_at_the_same_moment_is_kept_or_not_found(store: Store) -> None:
    user = store.user()
    answers = [store.ended(user) for _ in range(8)]
    for answer in answers:
        aged(store, store.row(answer).conversation_id)

    def act(number: int) -> object:
        if number % 2:
            return reaping.retire(store.db, DAYS)
        return asking.ask_again(store.db, store.asking(user), answers[number // 2])

    done, errors = at_once(16, act)

    assert {type(error) for error in errors} <= {NotFound}
    asked = [one.answer for one in done if isinstance(one, asking.Asked)]
    assert {one.conversation_id for one in asked} <= left(store)
    for one in asked:
        assert conversations.load(store.db, user, one.conversation_id)
