"""Publications are stored and published as one, at most once, and never by a fenced claim."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from shared.body import Body
from shared.bus.coding import Payload, decode
from shared.bus.connection import ReplyError
from shared.bus.keys import message_channel
from shared.bus.listener import PubSubMessage
from shared.bus.livelog import LiveLog
from shared.bus.publishing import ENDED_TTL, Publication, PublishResult
from shared.errors import RedisDown
from tests.shared.bus.publications import CLAIM, log_ids, publication
from tests.store_fixtures import Store, at_once, body_of, publish_all, publish_on

WRITTEN, LANDED, MISSING, FENCED = PublishResult


@pytest.fixture
def published(store: Store, opened: uuid.UUID) -> Iterator[Callable[[], list[str]]]:
    """Returns the payloads that came on the message's channel since the last call."""
    subscription = store.livelog.subscription()
    subscription.subscribe(message_channel(opened))
    assert subscription.listen(5) == PubSubMessage("subscribe", message_channel(opened), "1")

    def payloads() -> list[str]:
        subscription.ping()
        found = []
        while (one := subscription.listen(5)) and one.kind == "message":
            found.append(one.payload)
        return found

    yield payloads
    subscription.close()


def test_deltas_are_stored_and_published_alike(
    store: Store, opened: uuid.UUID, published: Callable[[], list[str]]
) -> None:
    body = body_of(("reasoning", "Hm 😀"), "é\u2028\n", ("tool_call", "{}"))

    results = store.publish_all([Publication(opened, CLAIM, 1, body.since(0), 0)])

    assert results == [WRITTEN]
    assert log_ids(store, opened) == ["1-0", f"1-{body.length}"]
    assert store.livelog.read({opened: CLAIM})[opened] == body.since(0)
    assert [decode(payload) for payload in published()] == [Payload(CLAIM, body.since(0))]


def test_each_publication_of_a_batch_has_its_result(store: Store, opened: uuid.UUID) -> None:
    other, fenced, unknown = (uuid.uuid4() for _ in range(3))
    store.open(other, CLAIM, 3)
    store.livelog.fence(fenced, CLAIM, 3)
    store.publish_all([publication(opened, 0, "ab")])

    batch = [
        publication(opened, 0, "ab"),
        publication(other, 0, "x", attempt=3),
        publication(fenced, 0, "x", attempt=3),
        publication(unknown, 0, "x"),
    ]

    assert store.publish_all(batch) == [LANDED, WRITTEN, FENCED, MISSING]


@pytest.mark.failure(8)
def test_a_repeated_publication_has_landed_and_is_not_published_twice(
    store: Store, opened: uuid.UUID, published: Callable[[], list[str]]
) -> None:
    again = publication(opened, 0, "abc")
    store.publish_all([again])

    assert store.publish_all([again, publication(opened, 0, "ab")]) == [LANDED, LANDED]

    assert len(published()) == 1
    assert log_ids(store, opened) == ["1-0", "1-3"]


def test_a_publication_may_overlap_what_is_stored(store: Store, opened: uuid.UUID) -> None:
    store.publish_all([publication(opened, 0, "abc")])

    assert store.publish_all([publication(opened, 0, "abcdef")]) == [WRITTEN]

    assert Body(store.livelog.read({opened: CLAIM})[opened]).text == "abcdef"


@pytest.mark.parametrize("lost", ["all", "the end"])
def test_a_gap_in_the_log_is_missing_and_not_published(
    store: Store, opened: uuid.UUID, published: Callable[[], list[str]], lost: str
) -> None:
    if lost == "all":
        store.redis.flushdb()

    results = store.publish_all([publication(opened, 2, "c")])

    assert results == [MISSING]
    assert published() == []
    assert log_ids(store, opened) == ([] if lost == "all" else ["1-0"])


def test_the_first_text_of_an_unopened_log_is_missing(store: Store) -> None:
    assert store.publish_all([publication(uuid.uuid4(), 0, "a")]) == [MISSING]


def test_entries_of_an_older_attempt_do_not_count(store: Store, opened: uuid.UUID) -> None:
    store.publish_all([publication(opened, 0, "abc")])

    assert store.publish_all([publication(opened, 0, "abc", attempt=2)]) == [MISSING]


def test_a_confirmed_owner_may_begin_the_log_after_what_is_saved(
    store: Store, opened: uuid.UUID, published: Callable[[], list[str]]
) -> None:
    store.redis.flushdb()

    assert store.publish_all([publication(opened, 2, "c", force=True)]) == [WRITTEN]
    assert store.publish_all([publication(opened, 3, "d")]) == [WRITTEN]

    assert log_ids(store, opened) == ["1-3", "1-4"]
    assert len(published()) == 2


def test_a_fenced_claim_publishes_nothing_even_with_force(
    store: Store, opened: uuid.UUID, published: Callable[[], list[str]]
) -> None:
    store.publish_all([publication(opened, 0, "ab")])
    store.livelog.fence(opened, CLAIM, 1)
    before = log_ids(store, opened)

    late = [
        publication(opened, 2, "c"),
        publication(opened, 2, "c", force=True),
        publication(opened, 0, "ab"),
    ]

    assert store.publish_all(late) == [FENCED] * 3
    assert log_ids(store, opened) == before
    assert len(published()) == 1


def test_concurrent_publications_are_stored_once_and_in_order(
    store: Store, opened: uuid.UUID
) -> None:
    writer = body_of("0123456789" * 10)

    def publish(number: int) -> list[PublishResult]:
        items = [Publication(opened, CLAIM, 1, writer.since(0), 0) for _ in range(5)]
        return store.publish_all(items if number else items[:1])

    results, errors = at_once(4, publish)

    assert errors == []
    assert [one for batch in results for one in batch].count(WRITTEN) == 1
    assert Body(store.livelog.read({opened: CLAIM})[opened]).text == writer.text


def test_a_forgotten_script_is_redis_down_until_the_next_connection(
    store: Store, opened: uuid.UUID
) -> None:
    with closing(store.livelog.publish_connection()) as connection:
        assert publish_on(connection, [publication(opened, 0, "a")]) == [WRITTEN]
        store.redis.script_flush()
        with pytest.raises(RedisDown):
            publish_on(connection, [publication(opened, 1, "b")])

    assert (
        store.publish_all([publication(opened, 1, "b"), publication(opened, 2, "c")])
        == [WRITTEN] * 2
    )


@pytest.mark.parametrize("reply", ["odd", "", None, 1, [], ["written"], ReplyError("OOM")])
def test_unknown_results_are_redis_down(
    store: Store, opened: uuid.UUID, monkeypatch: pytest.MonkeyPatch, reply: Any
) -> None:
    with closing(store.livelog.publish_connection()) as connection:
        monkeypatch.setattr(connection._reader, "feed", lambda data: [reply])

        with pytest.raises(RedisDown):
            publish_on(connection, [publication(opened, 0, "a")])


def test_saved_entries_are_trimmed(store: Store, opened: uuid.UUID) -> None:
    for place in range(10):
        store.publish_all([publication(opened, place, "x")])

    store.publish_all([publication(opened, 10, "x", trim=7)])

    # The entry that ends just where Postgres does stays: a reader sees that nothing is between.
    assert log_ids(store, opened) == ["1-7", "1-8", "1-9", "1-10", "1-11"]


def test_trimming_never_takes_the_newest_entry(store: Store, opened: uuid.UUID) -> None:
    store.publish_all([publication(opened, 0, "abc", trim=3)])
    assert log_ids(store, opened) == ["1-3"]

    store.publish_all([publication(opened, 3, "d", trim=3)])
    assert log_ids(store, opened) == ["1-3", "1-4"]


def test_a_log_expires_some_time_after_its_last_entry(store: Store, opened: uuid.UUID) -> None:
    key = f"outlive:log:{opened}:{CLAIM}"
    assert 59_000 < store.redis.pttl(key) <= 60_000

    store.redis.pexpire(key, 1000)
    store.publish_all([publication(opened, 0, "a")])
    assert 59_000 < store.redis.pttl(key) <= 60_000

    store.redis.pexpire(key, 1000)
    store.livelog.fence(opened, CLAIM, 1)
    assert 59_000 < store.redis.pttl(key) <= 60_000


def test_the_log_of_an_ended_message_expires_soon(store: Store, opened: uuid.UUID) -> None:
    long_lived = LiveLog(store.redis_url, ttl=3600)
    publish_all(long_lived, [publication(opened, 0, "a")])

    long_lived.notify_ended(opened, CLAIM)

    assert 0 < store.redis.pttl(f"outlive:log:{opened}:{CLAIM}") <= ENDED_TTL
