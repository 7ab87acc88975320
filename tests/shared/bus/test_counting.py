"""Counts: shared by all processes through Redis, and kept by each while it is away."""

import time

import pytest

from local.redis import Redis
from shared.bus import counting
from shared.bus.counting import Counters
from tests.rig import frozen
from tests.store_fixtures import Store


def test_processes_count_together_and_deployments_apart(store: Store) -> None:
    one, other = Counters(store.redis_url), Counters(store.redis_url)
    elsewhere = Counters(store.redis_url, "another")

    assert [counter.add("a", 60).number for counter in (one, other, one, elsewhere)] == [1, 2, 3, 1]
    assert one.add("b", 60, 5).number == 5
    assert 50 < one.add("a", 60).left <= 60
    assert sorted(store.redis.keys("*")) == [
        "another:count:a",
        "outlive:count:a",
        "outlive:count:b",
    ]


def test_a_count_begins_anew_when_its_time_is_over(store: Store) -> None:
    counters = Counters(store.redis_url)
    counters.add("a", 1)
    store.redis.pexpire("outlive:count:a", 1)

    time.sleep(0.01)

    assert counters.add("a", 1).number == 1


def test_a_silent_redis_holds_up_one_request_and_no_other(
    server: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    counters = Counters(server.url)
    assert counters.add("a", 60).number == 1

    with frozen(server):
        begun = time.monotonic()
        numbers = [counters.add("a", 60).number for _ in range(200)]
        waited = time.monotonic() - begun

    assert numbers == list(range(1, 201))  # its own, from the beginning
    assert waited < counting.AWAY_SECONDS

    # It is asked again later, and then all count together again.
    monkeypatch.setattr(time, "monotonic", lambda: begun + 2 * counting.AWAY_SECONDS)
    assert counters.add("a", 60).number < 200


def test_a_process_keeps_only_so_many_counts(nowhere: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "KEPT", 3)
    counters = Counters(f"redis://{nowhere}/0")

    for name in "abcab":
        counters.add(name, 60)
    counters.add("d", 60)

    assert len(counters._kept) == 3
    assert counters.add("b", 60).number == 3
    assert counters.add("c", 60).number == 1  # it was the oldest
