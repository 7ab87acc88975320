"""Counts: shared by all processes through Redis, which no request waits for."""

import time

import gevent
import pytest

from local.redis import Redis
from shared.bus import counting
from shared.bus.counting import Counters
from tests.rig import frozen, until
from tests.store_fixtures import Store


@pytest.fixture(autouse=True)
def one_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test lies on the turn of a minute."""
    monkeypatch.setattr(time, "time", lambda: 90.0)


def test_processes_count_together_and_deployments_apart(store: Store) -> None:
    one, other = Counters(store.redis_url), Counters(store.redis_url)
    elsewhere = Counters(store.redis_url, "another")

    for counter in (one, one, other, elsewhere):
        counter.add("a", 60)
    assert all(counter.flush() for counter in (one, other, elsewhere, one))

    assert other.add("a", 60) == (4, 30.0)
    assert elsewhere.add("a", 60).number == 2
    one.add("b", 60, 5)
    assert one.flush()
    assert store.redis.mget("outlive:count:a:1", "another:count:a:1", "outlive:count:b:1") == [
        "3", "1", "5",
    ]  # fmt: skip
    assert all(0 < store.redis.ttl(key) <= 60 for key in store.redis.keys("*"))


def test_what_is_new_is_brought_to_redis_by_itself(store: Store) -> None:
    one, other = Counters(store.redis_url), Counters(store.redis_url)
    one.add("new", 60)

    until(lambda: store.redis.get("outlive:count:new:1") == "1")
    other.add("new", 60)
    until(lambda: store.redis.get("outlive:count:new:1") == "2")

    assert other.add("new", 60).number == 3


def test_a_count_begins_anew_when_its_time_is_over(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    counters, found = Counters(store.redis_url), []
    for now in (119.0, 119.5, 120.0):
        monkeypatch.setattr(time, "time", lambda now=now: now)
        found.append(counters.add("a", 60))

    assert found == [(1, 1.0), (2, 0.5), (1, 60.0)]


def test_a_silent_redis_holds_up_nobody_and_gets_everything_later(server: Redis) -> None:
    counters, other = Counters(server.url), Counters(server.url)

    with frozen(server):
        numbers = [counters.add("a", 60).number for _ in range(200)]
        assert not counters.flush()
        assert counters.add("a", 60).number == 201

    assert numbers == list(range(1, 201))
    assert counters.flush()
    other.add("a", 60)
    assert other.flush()
    assert other.add("a", 60).number == 203


def test_a_process_keeps_only_so_many_counts(nowhere: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "KEPT", 3)
    counters = Counters(f"redis://{nowhere}/0")

    for name in "abcab":
        counters.add(name, 60)
    counters.add("d", 60)

    assert len(counters._kept) == len(counters._changed) == 3
    assert counters.add("b", 60).number == 3
    assert counters.add("c", 60).number == 1  # it was the oldest


def test_a_flush_that_waits_loses_nothing_that_comes_meanwhile(server: Redis) -> None:
    counters = Counters(server.url)
    counters.add("w", 60)
    with frozen(server):
        waiting = gevent.spawn(counters.flush)
        gevent.sleep(0)
        counters.add("w", 60)
    waiting.join()

    assert counters.flush()
    assert counters.add("w", 60).number == 3
