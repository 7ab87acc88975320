"""Whose streams a process ends, when it hears of a revocation and when it asks Postgres."""

import time
import uuid
from contextlib import nullcontext
from typing import Any

import pytest

from shared.errors import StorageDown
from shared.store import revoked
from shared.store.database import Database
from shared.store.revoked import Held
from tests.store_fixtures import Store
from tests.topics import PlainFace
from web.auth.principal import Credential, Principal
from web.auth.revocations import Revocations
from web.following import rights
from web.following.hub import Hub
from web.following.message_topic import MessageTopic
from web.following.rights import Rights, RightsTopic
from web.following.streaming import Readers, Stream


class Process:
    """The readers of a web process whose hub does not listen."""

    def __init__(self, db: Database) -> None:
        self.revocations = Revocations()
        self.readers = Readers(
            lambda: False,
            heartbeat=100.0,
            max_seconds=1e6,
            max_streams=0,
            revocations=self.revocations,
        )
        self.rights = Rights(Hub(_no_connection), db, self.readers, self.revocations)
        self.topic = RightsTopic()

    def open(self, principal: Principal) -> Stream:
        """A stream of theirs."""
        source = nullcontext(MessageTopic(uuid.uuid4(), principal.user_id))
        return self.readers.open(principal, PlainFace(), 0, source)

    def check(self) -> None:
        """Check, as if that were due."""
        self.rights._checked_at -= rights.CHECK_EVERY + 1
        self.rights.poll()


def _no_connection() -> Any:
    raise AssertionError


@pytest.fixture
def process(store: Store) -> Process:
    return Process(store.db)


def key_of(store: Store, user: uuid.UUID, **fields: Any) -> Credential:
    """A service key of a user."""
    key = uuid.uuid4()
    values = {"expires_at": None, "revoked_at": None, **fields}
    store.run(
        "INSERT INTO service_keys (id, user_id, name, prefix, token_hash, scopes, expires_at,"
        " revoked_at) VALUES (:id, :user, 'x', 'olk_x', :hash, '{}',"
        " CAST(:expires_at AS timestamptz), CAST(:revoked_at AS timestamptz))",
        id=key,
        user=user,
        hash=str(key),
        **values,
    )
    return Credential("key", str(key))


def session_of(store: Store, user: uuid.UUID, expires: str = "1 hour") -> Credential:
    """A session of a user."""
    session = uuid.uuid4()
    store.run(
        "INSERT INTO sessions (id, user_id, token_hash, expires_at)"
        " VALUES (:id, :user, :hash, now() + CAST(:expires AS interval))",
        id=session,
        user=user,
        hash=str(session),
        expires=expires,
    )
    return Credential("session", str(session))


def by(user: uuid.UUID, credential: Credential, **more: Any) -> Principal:
    return Principal(user, frozenset(), credential, checked_at=time.monotonic(), **more)


JWT = Credential("jwt", "abc")


def test_a_check_ends_the_streams_of_all_that_are_not_good_any_more(
    store: Store, process: Process
) -> None:
    users = {name: store.user() for name in ("good", "disabled", "deleted", "owner")}
    good = users["good"]
    stays = [
        by(good, JWT),
        by(good, key_of(store, good)),
        by(good, session_of(store, good)),
        by(good, key_of(store, users["owner"])),
        by(good, JWT, expires_at=time.time() + 60),
    ]
    goes = [
        by(users["disabled"], JWT),
        by(users["disabled"], key_of(store, good)),
        by(users["deleted"], JWT),
        by(good, key_of(store, good, revoked_at="now")),
        by(good, key_of(store, good, expires_at="now")),
        by(good, key_of(store, users["disabled"])),
        by(good, Credential("key", str(uuid.uuid4()))),
        by(good, session_of(store, good, "0 s")),
        by(good, session_of(store, users["owner"])),
        by(good, Credential("session", str(uuid.uuid4()))),
    ]
    streams = {one: process.open(one) for one in (*stays, *goes)}
    store.run("UPDATE users SET disabled_at = now() WHERE id = :id", id=users["disabled"])
    store.run("DELETE FROM users WHERE id = :id", id=users["deleted"])

    process.check()

    assert [streams[one]._evicted for one in stays] == [False] * len(stays)
    assert [streams[one]._evicted for one in goes] == [True] * len(goes)


def test_many_are_asked_for_at_a_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(revoked, "BATCH", 3)
    users = [store.user() for _ in range(7)]
    gone = [uuid.uuid4() for _ in range(4)]

    found = revoked.revoked(store.db, [Held(one, "jwt", "") for one in (*users, *gone)])

    assert {one.user_id for one in found} == set(gone)


def test_a_notification_ends_the_streams_that_it_names_and_no_other(process: Process) -> None:
    user, key = uuid.uuid4(), Credential("key", str(uuid.uuid4()))
    session = Credential("session", str(uuid.uuid4()))
    streams = [
        process.open(by(user, JWT)),
        process.open(by(uuid.uuid4(), key)),
        process.open(by(uuid.uuid4(), session)),
        process.open(by(uuid.uuid4(), JWT)),
    ]

    for number, payload in enumerate((f"user {user}", f"key {key.id}", f"session {session.id}")):
        process.rights.receive(process.topic, payload)
        assert [one._evicted for one in streams] == [True] * (number + 1) + [False] * (3 - number)


def test_a_stream_that_is_opened_meanwhile_is_ended_too(process: Process) -> None:
    late = by(uuid.uuid4(), JWT)
    process.rights.receive(process.topic, f"user {late.user_id}")

    assert process.open(late)._evicted
    assert not process.open(by(late.user_id, JWT))._evicted  # it was let in after that


@pytest.mark.parametrize(
    "payload",
    ["", "{}", "user", "user x", f"users {uuid.UUID(int=7)}", "key \x00", "user " + "9" * 10_000],
)
def test_a_payload_that_says_nothing_is_a_reason_to_ask(
    store: Store, process: Process, payload: str
) -> None:
    user = store.user()
    good, gone = process.open(by(user, JWT)), process.open(by(uuid.uuid4(), JWT))
    process.rights._checked_at -= rights.CHECK_AGAIN + 1

    process.rights.receive(process.topic, payload)
    assert not gone._evicted
    process.rights.poll()

    assert (good._evicted, gone._evicted) == (False, True)


def test_without_postgres_nothing_ends_and_it_is_asked_again(
    process: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = process.open(by(uuid.uuid4(), JWT))
    with monkeypatch.context() as patched:
        patched.setattr(rights, "revoked", _down)
        process.check()
    assert not gone._evicted

    process.rights._checked_at -= rights.CHECK_AGAIN + 1
    process.rights.poll()

    assert gone._evicted


def _down(*_: object) -> Any:
    raise StorageDown
