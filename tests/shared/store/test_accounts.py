"""Accounts, their sessions, and what is noted of both.

The file is long because each of the three ends or begins with the others.
"""

import time
import uuid
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from shared.store import accounts, audit, sessions
from shared.store.accounts import Account
from shared.store.audit import Action
from shared.store.sessions import Begun, Lifetime
from tests.store_fixtures import Store, at_once

LIFETIME = Lifetime(idle=100, most=1_000)
HASH = "$argon2id$not-checked-here"


def new_login() -> str:
    return f"ann-{uuid.uuid4()}"


def new_account(store: Store, login: str | None = None) -> uuid.UUID:
    made = accounts.add(
        store.db, login or new_login(), name="Ann", password_hash=HASH, operator=False
    )
    assert made is not None
    return made


def begin(store: Store, user: uuid.UUID, token: str | None = None, **more: Any) -> Begun | None:
    return sessions.begin(
        store.db,
        user,
        token_hash=token or uuid.uuid4().hex,
        lifetime=more.pop("lifetime", LIFETIME),
        credential="password",
        **more,
    )


def begun(store: Store, user: uuid.UUID, token: str | None = None, **more: Any) -> Begun:
    found = begin(store, user, token, **more)
    assert found is not None
    return found


def actions(store: Store, user: uuid.UUID) -> list[str]:
    rows = store.db.rows(
        "SELECT action FROM audit WHERE user_id = :id OR object_id = CAST(:id AS text) ORDER BY id",
        id=user,
    )
    return [row.action for row in rows]


def _run(steps: list[Callable[[], object]], number: int) -> object:
    return steps[number]()


# --- accounts ------------------------------------------------------------------------------------


def test_a_login_is_taken_once_however_many_take_it_at_once(store: Store) -> None:
    login = new_login()

    made, errors = at_once(
        8,
        lambda _: accounts.add(store.db, login, name="Ann", password_hash=HASH, operator=False),
    )

    assert not errors
    assert sum(one is not None for one in made) == 1
    assert store.db.rows("SELECT count(*) FROM users WHERE login = :it", it=login)[0][0] == 1


def test_only_an_account_that_may_be_used_is_found(store: Store) -> None:
    login = new_login()
    user = new_account(store, login)
    assert accounts.find(store.db, login) == (user, HASH)
    assert accounts.find(store.db, new_login()) is None

    assert accounts.disable(store.db, user)
    assert accounts.find(store.db, login) is None
    assert accounts.user_with(store.db, login) == user
    assert not accounts.disable(store.db, user)

    assert accounts.enable(store.db, user)
    assert accounts.find(store.db, login) == (user, HASH)
    assert actions(store, user) == ["user_added", "user_disabled", "user_enabled"]


def test_a_hash_is_replaced_only_if_nobody_changed_the_password(store: Store) -> None:
    login = new_login()
    user = new_account(store, login)
    found = accounts.find(store.db, login)
    assert found is not None
    accounts.rehash(store.db, found, "newer")
    assert accounts.find(store.db, login) == (user, "newer")

    accounts.rehash(store.db, found, "late")

    assert accounts.find(store.db, login) == (user, "newer")


def changed(store: Store, user: uuid.UUID, session: uuid.UUID) -> list[uuid.UUID] | None:
    return accounts.change_password(
        store.db, Account(user, HASH), "newer", session_id=session, address="10.0.0.1"
    )


def test_a_user_who_changes_the_password_keeps_this_session_only(store: Store) -> None:
    user, other = new_account(store), new_account(store)
    session, *more = (begun(store, user).id for _ in range(3))
    begun(store, other)

    ended = changed(store, user, session)

    assert ended is not None
    assert set(ended) == set(more)
    left = store.db.rows(
        "SELECT user_id FROM sessions WHERE user_id IN (:user, :other)", user=user, other=other
    )
    assert {row.user_id for row in left} == {user, other}
    assert len(left) == 2
    assert actions(store, user)[-1] == "password_changed"


@pytest.mark.parametrize("meanwhile", ["disabled", "changed", "signed out", "expired", "another's"])
def test_no_password_is_changed_for_who_may_not_any_more(store: Store, meanwhile: str) -> None:
    login = new_login()
    user = new_account(store, login)
    session = begun(store, user).id
    match meanwhile:
        case "disabled":
            accounts.disable(store.db, user)
        case "changed":
            store.run("UPDATE users SET password_hash = 'another' WHERE id = :id", id=user)
        case "signed out":
            sessions.end(store.db, user, session, None)
        case "expired":
            store.run("UPDATE sessions SET expires_at = now() WHERE id = :id", id=session)
        case _:
            session = begun(store, new_account(store)).id

    assert changed(store, user, session) is None

    [row] = store.db.rows("SELECT password_hash FROM users WHERE id = :id", id=user)
    assert row.password_hash == ("another" if meanwhile == "changed" else HASH)
    assert "password_changed" not in actions(store, user)


def test_only_accounts_have_passwords(store: Store) -> None:
    user = store.user()
    assert not accounts.set_password(store.db, user, HASH)
    assert accounts.password_of(store.db, user) == (None, None)
    assert accounts.names_of(store.db, user).login is None


def test_an_operator_is_made_and_unmade(store: Store) -> None:
    login = new_login()
    user = new_account(store, login)
    assert accounts.set_operator(store.db, user, operator=True)
    assert not accounts.set_operator(store.db, user, operator=True)
    begun(store, user, "operator's" + login)
    found = sessions.valid(store.db, "operator's" + login)
    assert found is not None
    assert found.operator

    assert accounts.set_operator(store.db, user, operator=False)
    assert [one.operator for one in accounts.listed(store.db, everybody=False) if one.id == user] \
        == [False]  # fmt: skip


# --- sessions ------------------------------------------------------------------------------------


def test_a_session_is_found_by_its_hash_until_it_expires(store: Store) -> None:
    user, token = new_account(store), uuid.uuid4().hex
    session = begun(store, user, token)

    found = sessions.valid(store.db, token)

    assert found is not None
    assert (found.id, found.user_id, found.operator, found.unnoted) == (
        session.id, user, False, False,
    )  # fmt: skip
    store.run("UPDATE sessions SET expires_at = clock_timestamp() WHERE id = :id", id=session.id)
    assert sessions.valid(store.db, token) is None
    assert sessions.valid(store.db, "another") is None


def test_a_session_lives_no_longer_than_the_shorter_of_its_two_times(store: Store) -> None:
    user, token = new_account(store), uuid.uuid4().hex
    begun(store, user, token, lifetime=Lifetime(idle=1_000, most=100))

    found = sessions.valid(store.db, token)

    assert found is not None
    assert 90 < found.expires_at.timestamp() - time.time() <= 101


def test_noting_a_use_moves_the_end(store: Store) -> None:
    user, token = new_account(store), uuid.uuid4().hex
    session = begun(store, user, token)
    store.run(
        "UPDATE sessions SET seen_at = seen_at - interval '80 s',"
        " expires_at = expires_at - interval '80 s' WHERE id = :id",
        id=session.id,
    )
    before = sessions.valid(store.db, token)

    sessions.note_use(store.db, session.id, LIFETIME)
    sessions.note_use(store.db, session.id, Lifetime(1, 1))  # within a minute: not noted

    after = sessions.valid(store.db, token)
    assert before is not None
    assert after is not None
    assert (before.unnoted, after.unnoted) == (True, False)
    assert 75 < (after.expires_at - before.expires_at).total_seconds() < 85


def test_a_session_that_has_ended_is_not_revived_by_a_late_use(store: Store) -> None:
    user, token = new_account(store), uuid.uuid4().hex
    session = begun(store, user, token)
    store.run(
        "UPDATE sessions SET seen_at = seen_at - interval '2 min',"
        " expires_at = clock_timestamp() WHERE id = :id",
        id=session.id,
    )

    sessions.note_use(store.db, session.id, LIFETIME)

    assert sessions.valid(store.db, token) is None


def test_no_session_begins_for_who_was_disabled_or_got_another_password_meanwhile(
    store: Store,
) -> None:
    user = new_account(store)
    accounts.set_password(store.db, user, "another")
    assert begin(store, user, password_hash=HASH) is None
    assert begin(store, user, password_hash="another") is not None

    accounts.disable(store.db, user)

    assert begin(store, user, password_hash="another") is None
    assert begin(store, user) is None
    assert not store.db.rows("SELECT 1 FROM sessions WHERE user_id = :id", id=user)


def test_whichever_comes_first_nobody_keeps_a_session_by_an_old_password(store: Store) -> None:
    for _ in range(10):
        user = new_account(store)
        steps: list[Callable[[], object]] = [
            partial(begin, store, user, password_hash=HASH),
            partial(accounts.set_password, store.db, user, "another"),
        ]

        _, errors = at_once(2, partial(_run, steps))

        assert not errors
        assert not store.db.rows("SELECT 1 FROM sessions WHERE user_id = :id", id=user)


def test_whichever_comes_first_only_the_session_that_changed_the_password_is_left(
    store: Store,
) -> None:
    for _ in range(10):
        user = new_account(store)
        session = begun(store, user).id
        steps: list[Callable[[], object]] = [
            partial(begin, store, user, password_hash=HASH),
            partial(changed, store, user, session),
        ]

        _, errors = at_once(2, partial(_run, steps))

        assert not errors
        left = store.db.rows("SELECT id FROM sessions WHERE user_id = :id", id=user)
        assert [row.id for row in left] == [session]


def test_a_sign_in_ends_the_browsers_session_before(store: Store) -> None:
    user, other = new_account(store), new_account(store)
    first = begun(store, user, "first" + str(user))

    second = begun(store, other, replaces="first" + str(user))

    assert second.ended == [first.id]
    assert sessions.valid(store.db, "first" + str(user)) is None


def test_a_sign_in_removes_what_has_expired(store: Store) -> None:
    user = new_account(store)
    old = begun(store, user)
    store.run("UPDATE sessions SET expires_at = clock_timestamp() WHERE id = :id", id=old.id)

    begun(store, new_account(store))

    assert not store.db.rows("SELECT 1 FROM sessions WHERE id = :id", id=old.id)


def test_a_user_has_a_bounded_number_of_sessions(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "MOST", 2)
    user = new_account(store)
    first, second = begun(store, user), begun(store, user)

    third = begun(store, user)

    assert third.ended == [first.id]
    left = store.db.rows("SELECT id FROM sessions WHERE user_id = :id", id=user)
    assert {row.id for row in left} == {second.id, third.id}


def test_nobody_ends_a_session_of_another_user(store: Store) -> None:
    user, other = new_account(store), new_account(store)
    session = begun(store, user, "kept" + str(user))

    sessions.end(store.db, other, session.id, None)
    sessions.end_all(store.db, other, session.id, None)

    assert sessions.valid(store.db, "kept" + str(user)) is not None
    sessions.end(store.db, user, session.id, "10.0.0.1")
    assert sessions.valid(store.db, "kept" + str(user)) is None
    assert actions(store, user) == ["user_added", "sign_in", "sign_out"]


@pytest.mark.parametrize("end", ["disable", "password", "everywhere"])
def test_all_sessions_of_a_user_end_together(store: Store, end: str) -> None:
    user, other = new_account(store), new_account(store)
    session, _ = begun(store, user), begun(store, user)
    kept = begun(store, other)

    match end:
        case "disable":
            accounts.disable(store.db, user)
        case "password":
            accounts.set_password(store.db, user, HASH)
        case "everywhere":
            sessions.end_all(store.db, user, session.id, None)

    left = store.db.rows("SELECT id FROM sessions WHERE user_id IN (:user, :other)",
                         user=user, other=other)  # fmt: skip
    assert [row.id for row in left] == [kept.id]


# --- the audit table -----------------------------------------------------------------------------


def test_a_row_says_who_did_what_with_which_credential_and_from_where(store: Store) -> None:
    user, thing = uuid.uuid4(), uuid.uuid4()

    audit.record(
        store.db,
        Action.SHARED,
        user_id=user,
        credential="key 1",
        object_id=thing,
        address="10.0.0.1",
    )

    [row] = store.db.rows("SELECT * FROM audit WHERE user_id = :id", id=user)
    assert (row.action, row.credential, row.object_id, row.address) == (
        "shared", "key 1", str(thing), "10.0.0.1",
    )  # fmt: skip
    assert row.at is not None


def test_a_row_is_kept_with_what_it_is_about_or_not_at_all(store: Store) -> None:
    user = uuid.uuid4()

    def fail() -> None:
        with store.db.transaction() as connection:
            audit.record(connection, Action.SIGN_IN, user_id=user)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()

    assert actions(store, user) == []
