"""What a process remembers of credentials, and when it forgets."""

import time
import uuid
from dataclasses import replace

import pytest

from web.auth import checked, revocations
from web.auth.checked import Checked
from web.auth.principal import Credential, Principal
from web.auth.revocations import FRESH, Revocations


def checked_now(kind: str = "key") -> Principal:
    credential = Credential("key" if kind == "key" else "session", str(uuid.uuid4()))
    return Principal(uuid.uuid4(), frozenset(), credential, None, time.monotonic())


def test_a_credential_is_trusted_for_a_minute() -> None:
    cache, found = Checked(Revocations()), checked_now()
    cache.put(found, "token", "user")
    cache.put(replace(found, checked_at=found.checked_at - FRESH - 1), "old")

    assert cache.get("token", "user") is found
    assert cache.get("token") is cache.get("tokenuser") is None
    assert cache.get("old") is None


def test_a_credential_is_trusted_until_it_expires() -> None:
    cache, found = Checked(Revocations()), checked_now()
    cache.put(replace(found, expires_at=time.time() + 60), "good")
    cache.put(replace(found, expires_at=time.time()), "expired")

    assert cache.get("good")
    assert cache.get("expired") is None


def test_what_is_revoked_is_asked_for_again() -> None:
    known = Revocations()
    cache, one, other = Checked(known), checked_now(), checked_now("session")
    cache.put(one, "one")
    cache.put(other, "other")

    known.note(one.credential)
    assert cache.get("one") is None
    assert cache.get("other") is other
    known.note(other.user_id)
    assert cache.get("other") is None


def test_what_postgres_said_before_the_revocation_is_not_kept_after_it() -> None:
    known = Revocations()
    cache, asked_before = Checked(known), checked_now()
    known.note(asked_before.user_id)

    cache.put(asked_before, "token")  # its answer comes late

    assert cache.get("token") is None
    cache.put(replace(asked_before, checked_at=time.monotonic()), "token")
    assert cache.get("token")


def test_after_a_doubt_everything_is_asked_for_again() -> None:
    known = Revocations()
    cache, found = Checked(known), checked_now()
    cache.put(found, "token")

    known.doubt()

    assert cache.get("token") is None


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checked, "MOST", 10)
    monkeypatch.setattr(revocations, "_REMEMBERED", 10)
    known = Revocations()
    cache, found = Checked(known), checked_now()
    for number in range(100):
        cache.put(found, str(number))
    assert [number for number in range(100) if cache.get(str(number))] == list(range(90, 100))

    for _ in range(100):
        known.note(uuid.uuid4())

    assert len(known._at) <= 10
    assert known.has_revoked(found)  # not one is forgotten
