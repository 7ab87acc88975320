"""Passwords are checked beside the loop: one at a time, in bounded number."""

import resource
import time

import gevent
import pytest
from argon2 import PasswordHasher

from shared import passwords
from web.auth import hashing
from web.auth.hashing import Hashing, Verdict
from web.errors import TooBusy

PASSWORD = "correct horse"
#: Seconds that a turn of the loop may take.
TURN = 0.05


@pytest.fixture(scope="module")
def encoded() -> str:
    return passwords.hashed(PASSWORD)


def test_a_password_is_right_or_wrong(encoded: str) -> None:
    checks = Hashing()

    assert checks.check(PASSWORD, encoded) == Verdict(right=True)
    assert checks.check("another", encoded) == Verdict(right=False)
    assert checks.check(PASSWORD, None) == Verdict(right=False)


def test_an_outdated_hash_is_made_anew(encoded: str) -> None:
    weaker = PasswordHasher(time_cost=1, memory_cost=1024, parallelism=1).hash(PASSWORD)

    verdict = Hashing().check(PASSWORD, weaker)

    assert verdict.right
    assert verdict.rehashed is not None
    assert passwords.matches(PASSWORD, verdict.rehashed)
    assert not passwords.is_outdated(verdict.rehashed)
    assert Hashing().check("another", weaker).rehashed is None


def test_an_unknown_login_costs_as_much_as_a_known_one(encoded: str) -> None:
    checks = Hashing()

    def cost(account: str | None) -> float:
        """Seconds of CPU of one check: the least of several."""
        seconds = []
        for _ in range(7):
            before = time.process_time()
            checks.check("a wrong password", account)
            seconds.append(time.process_time() - before)
        return min(seconds)

    assert 0.5 < cost(None) / cost(encoded) < 2


def test_a_hundred_at_once_take_the_memory_of_one_and_leave_the_loop_free(encoded: str) -> None:
    checks = Hashing()
    checks.check(PASSWORD, encoded)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    turns = 0
    done = False

    def turn() -> None:
        nonlocal turns
        while not done:
            gevent.sleep(0.001)
            turns += 1

    turning = gevent.spawn(turn)
    ones = [gevent.spawn(checks.check, PASSWORD, encoded) for _ in range(100)]
    gevent.joinall(ones, timeout=60)
    done = True
    turning.join()

    assert [one.value for one in ones] == [Verdict(right=True)] * 100
    assert turns > 100  # at least one for each check
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 3 * passwords.MEMORY_KIB


def test_more_than_can_wait_are_refused_at_once(
    encoded: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hashing, "WAITING", 3)
    checks = Hashing()

    ones = [gevent.spawn(checks.check, PASSWORD, encoded) for _ in range(4)]
    gevent.joinall(ones)

    assert [type(one.exception) for one in ones] == [type(None)] * 3 + [TooBusy]
    assert checks.check(PASSWORD, encoded).right
