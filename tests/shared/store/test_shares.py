"""What a share permits: one conversation, to be read, by whoever has the link or by one user."""

import uuid
from datetime import timedelta
from typing import Any

import pytest

from shared.body import text_body
from shared.errors import Invalid, NotFound, TooMany
from shared.store import (
    asking,
    branches,
    conversations,
    messages,
    search,
    shares,
    sidebar,
    stopping,
)
from shared.store.revoked import Held, revoked
from shared.store.shares import Share
from tests.client import new_id
from tests.store_fixtures import Store


class Shared:
    """A conversation with an answer, and its link."""

    def __init__(self, store: Store, **options: Any) -> None:
        self.db = store.db
        self.owner = store.user()
        self.answer = store.ended(self.owner)
        self.conversation = store.row(self.answer).conversation_id
        self.hash = new_id()
        self.link = self.share(token_hash=self.hash, **options)

    def share(self, **options: Any) -> Share:
        return shares.add(self.db, self.owner, self.conversation, **options)

    def is_read_by(self, reader: uuid.UUID) -> bool:
        """Whether every statement that reads lets this reader in; they all agree."""
        found = {
            _found(lambda: messages.load(self.db, self.answer, reader)),
            _found(lambda: messages.load_without_body(self.db, self.answer, reader)),
            _found(lambda: messages.status(self.db, self.answer, reader)),
            _found(lambda: conversations.load(self.db, reader, self.conversation)),
            bool(messages.readable(self.db, {(self.answer, reader)})),
            len(branches.turns(self.db, reader, self.conversation).turns) == 2,
        }
        assert len(found) == 1
        return found.pop()


def _found(read: Any) -> bool:
    try:
        read()
    except NotFound:
        return False
    return True


def named_user(store: Store) -> tuple[uuid.UUID, str]:
    """A user of a host product, and what that calls them."""
    user, subject = store.user(), new_id()
    store.run(
        "UPDATE users SET issuer = 'host', subject = :subject WHERE id = :id",
        id=user,
        subject=subject,
    )
    return user, subject


def test_a_link_reads_its_conversation_and_nothing_else(store: Store) -> None:
    shared, other = Shared(store), Shared(store)
    reader = shared.link.id
    found = shares.valid_link(store.db, shared.hash)

    assert found is not None
    assert found.id == reader
    assert shared.is_read_by(reader)
    assert not other.is_read_by(reader)
    assert [one.id for one in shares.shared_with(store.db, reader)] == [shared.conversation]
    assert conversations.newest(store.db, reader, 10, None) == ([], False)
    assert sidebar.page(store.db, reader, 10, None) == []
    assert search.search(store.db, reader, "because", 10, None) == []


def test_a_reader_changes_nothing(store: Store) -> None:
    shared = Shared(store)
    reader, subject = named_user(store)
    shared.share(token_hash=None, name=subject, issuer="host")

    for one in (shared.link.id, reader):
        assert shared.is_read_by(one)
        for change in (
            lambda one=one: conversations.change(store.db, one, shared.conversation, title="x"),
            lambda one=one: conversations.delete(store.db, one, shared.conversation),
            lambda one=one: conversations.undelete(store.db, one, shared.conversation),
            lambda one=one: conversations.mark_seen(store.db, one, shared.conversation, None),
            lambda one=one: stopping.stop(store.db, shared.answer, one),
            lambda one=one: asking.ask(
                store.db, store.asking(one), shared.conversation, text_body("Why?")
            ),
            lambda one=one: shares.add(store.db, one, shared.conversation, token_hash=new_id()),
            lambda one=one: shares.revoke(store.db, one, shared.link.id),
        ):
            with pytest.raises(NotFound):
                change()
        assert shares.of(store.db, one, shared.conversation) == []


def test_a_named_user_reads_and_nobody_else(store: Store) -> None:
    shared = Shared(store)
    reader, subject = named_user(store)
    stranger, _ = named_user(store)
    share = shared.share(token_hash=None, name=subject, issuer="host")

    assert shared.is_read_by(reader)
    assert not shared.is_read_by(stranger)
    assert [one.user for one in shares.of(store.db, shared.owner, shared.conversation)] == [
        subject,
        None,
    ]
    assert shares.revoke(store.db, shared.owner, share.id).with_user_id == reader
    assert not shared.is_read_by(reader)


@pytest.mark.parametrize("name", ["nobody at all", "the owner", "of another host", "disabled"])
def test_there_must_be_such_a_user(store: Store, name: str) -> None:
    shared = Shared(store)
    user, subject = named_user(store)
    issuer = "host"
    if name == "the owner":
        shared.owner, shared.conversation = user, store.conversation(user)
    elif name == "of another host":
        issuer = "another"
    elif name == "disabled":
        store.run("UPDATE users SET disabled_at = now() WHERE id = :id", id=user)
    else:
        subject = name

    with pytest.raises(Invalid):
        shared.share(token_hash=None, name=subject, issuer=issuer)


def test_the_system_text_is_not_shared(store: Store) -> None:
    owner = store.user()
    made = conversations.create(store.db, owner, None, "Speak like a pirate.")
    link = shares.add(store.db, owner, made.id, token_hash=new_id())

    assert conversations.load(store.db, owner, made.id).system == "Speak like a pirate."
    assert conversations.load(store.db, link.id, made.id).system is None


@pytest.mark.parametrize("how", ["revoked", "expired", "owner disabled"])
def test_what_is_over_opens_nothing(store: Store, how: str) -> None:
    shared = Shared(store, lifetime=timedelta(days=1))
    reader = shared.link.id
    held = Held(reader, "share", str(reader))
    assert list(revoked(store.db, [held])) == []
    if how == "revoked":
        shares.revoke(store.db, shared.owner, reader)
        shares.revoke(store.db, shared.owner, reader)  # harmless
    elif how == "expired":
        store.run("UPDATE shares SET expires_at = now() WHERE id = :id", id=reader)
    else:
        store.run("UPDATE users SET disabled_at = now() WHERE id = :id", id=shared.owner)

    assert shares.valid_link(store.db, shared.hash) is None
    assert list(revoked(store.db, [held])) == [held]
    assert shares.shared_with(store.db, reader) == []
    assert not shared.is_read_by(reader)
    assert shared.is_read_by(shared.owner)


def test_a_deleted_conversation_is_gone_for_its_readers_until_it_is_back(store: Store) -> None:
    shared = Shared(store)
    reader = shared.link.id
    conversations.delete(store.db, shared.owner, shared.conversation)

    assert shares.shared_with(store.db, reader) == []
    with pytest.raises(NotFound):
        conversations.load(store.db, reader, shared.conversation)
    conversations.undelete(store.db, shared.owner, shared.conversation)
    assert shared.is_read_by(reader)


def test_a_conversation_has_so_many_shares_at_most(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shares, "MOST", 2)
    shared = Shared(store)
    second = shared.share(token_hash=new_id())

    with pytest.raises(TooMany):
        shared.share(token_hash=new_id())
    shares.revoke(store.db, shared.owner, second.id)
    shared.share(token_hash=new_id())


def test_a_share_and_its_end_are_noted_without_content(store: Store) -> None:
    shared = Shared(store, by="session x", address="192.0.2.1")
    shares.revoke(store.db, shared.owner, shared.link.id)

    rows = store.db.rows(
        "SELECT action, user_id, credential, object_id, address FROM audit"
        " WHERE object_id = :id ORDER BY id",
        id=str(shared.link.id),
    )
    assert [tuple(row) for row in rows] == [
        ("shared", shared.owner, "session x", str(shared.link.id), "192.0.2.1"),
        ("unshared", shared.owner, "", str(shared.link.id), None),
    ]


def test_for_the_owner_shares_are_not_looked_up(store: Store) -> None:
    shared = Shared(store)
    plan = "\n".join(
        row[0]
        for row in store.db.rows(
            "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) " + messages._READABLE,
            ids=[str(shared.answer)],
            user=shared.owner,
        )
    )

    # of the two ways to look for a share that Postgres may choose from, none ran
    assert "on shares" in plan
    assert all("never executed" in line for line in plan.splitlines() if "on shares" in line)
