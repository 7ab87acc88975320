"""The live log is read, fenced and never trusted; wake-ups reach readers and workers."""

import signal
import time
import uuid
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest
import redis

from local.redis import Redis
from shared.body import Body, Delta
from shared.bus.connection import TIMEOUT
from shared.bus.keys import STOP_CHANNEL, message_channel, user_channel
from shared.bus.listener import PubSubMessage, Subscription
from shared.bus.livelog import LiveLog
from shared.bus.publishing import PublishResult
from shared.errors import RedisDown
from tests.shared.bus.publications import CLAIM, log_ids, publication
from tests.store_fixtures import Store, at_once, open_log, publish_all

WRITTEN, LANDED, MISSING, FENCED = PublishResult


def test_an_open_log_proves_that_nothing_was_published(store: Store, opened: uuid.UUID) -> None:
    assert store.livelog.fence(opened, CLAIM, 1) == (True, [])
    assert log_ids(store, opened) == ["1-0", "2-0"]


def test_fencing_twice_gives_the_same(store: Store, opened: uuid.UUID) -> None:
    store.livelog.fence(opened, CLAIM, 1)

    assert store.livelog.fence(opened, CLAIM, 1) == (True, [])


def test_a_fence_returns_the_published_text(store: Store, opened: uuid.UUID) -> None:
    store.publish_all([publication(opened, 0, "a"), publication(opened, 1, "b", trim=1)])

    untouched, published = store.livelog.fence(opened, CLAIM, 1)

    assert not untouched
    assert Body(published).text == "ab"
    assert store.livelog.fence(opened, CLAIM, 1) == (untouched, published)


def test_a_missing_log_proves_nothing_but_can_be_fenced(store: Store) -> None:
    message_id = uuid.uuid4()

    assert store.livelog.fence(message_id, CLAIM, 1) == (False, [])

    assert store.publish_all([publication(message_id, 0, "a", force=True)]) == [FENCED]
    assert store.livelog.fence(message_id, CLAIM, 1) == (False, [])


def test_the_open_of_an_older_attempt_proves_nothing(store: Store, opened: uuid.UUID) -> None:
    store.livelog.fence(opened, CLAIM, 1)

    assert store.livelog.fence(opened, CLAIM, 3) == (False, [])


def test_a_later_attempt_opens_the_log_after_the_fence(store: Store, opened: uuid.UUID) -> None:
    store.livelog.fence(opened, CLAIM, 1)

    store.open(opened, CLAIM, 3)

    assert store.livelog.fence(opened, CLAIM, 3) == (True, [])
    store.open(opened, CLAIM, 1)
    assert log_ids(store, opened) == ["1-0", "2-0", "3-0", "4-0"]


def test_reading_returns_text_only(store: Store, opened: uuid.UUID) -> None:
    store.publish_all([publication(opened, 0, "a")])
    store.livelog.fence(opened, CLAIM, 1)

    assert store.livelog.read({opened: CLAIM})[opened] == [Delta(0, 0, "text", "a")]
    assert store.livelog.read({(unknown := uuid.uuid4()): CLAIM}) == {unknown: []}


def test_a_stop_reaches_workers_and_the_readers_of_the_message(
    store: Store, subscription: Subscription
) -> None:
    message_id = uuid.uuid4()
    subscription.subscribe(STOP_CHANNEL, message_channel(message_id))
    assert [getattr(subscription.listen(5), "kind", "") for _ in range(2)] == ["subscribe"] * 2

    store.livelog.notify_stop(message_id)

    assert subscription.listen(5) == PubSubMessage("message", STOP_CHANNEL, str(message_id))
    assert subscription.listen(5) == PubSubMessage("message", message_channel(message_id), "{}")


def test_a_user_is_notified_again_after_the_connection_was_lost(store: Store) -> None:
    user = uuid.uuid4()
    with closing(store.livelog.subscription()) as subscription:
        subscription.subscribe(user_channel(user))
        assert subscription.listen(5) == PubSubMessage("subscribe", user_channel(user), "1")
        for _ in range(2):
            store.livelog.notify_user(user)
            store.livelog.notify_user(user)
            assert [subscription.listen(5) for _ in range(2)] == [
                PubSubMessage("message", user_channel(user), "{}")
            ] * 2
            store.redis.client_kill_filter(_type="normal", skipme=True)


# --- a Redis that is down, frozen or full --------------------------------------------------------


def calls_of(livelog: LiveLog, message_id: uuid.UUID) -> dict[str, Callable[[], object]]:
    return {
        "publishing": livelog.publish_connection,
        "fence": lambda: livelog.fence(message_id, CLAIM, 1),
        "read": lambda: livelog.read({message_id: CLAIM})[message_id],
        "ended": lambda: livelog.notify_ended(message_id, CLAIM),
        "stop": lambda: livelog.notify_stop(message_id),
        "ping": livelog.ping,
        "subscription": livelog.subscription,
    }


def test_an_absent_redis_is_redis_down_for_every_call(server: Redis, livelog: LiveLog) -> None:
    server.kill()

    for use in calls_of(livelog, uuid.uuid4()).values():
        with pytest.raises(RedisDown):
            use()


def test_a_frozen_redis_costs_every_call_two_seconds_at_most(
    server: Redis, livelog: LiveLog
) -> None:
    server.signal(signal.SIGSTOP)
    calls = list(calls_of(livelog, uuid.uuid4()).values())

    def timed(number: int) -> float:
        begun = time.monotonic()
        with pytest.raises(RedisDown):
            calls[number]()
        return time.monotonic() - begun

    took, errors = at_once(len(calls), timed)
    server.signal(signal.SIGCONT)

    assert errors == []
    assert max(took) < 2 * TIMEOUT + 0.9


def test_a_live_log_goes_on_after_a_restart(server: Redis, livelog: LiveLog) -> None:
    message_id = uuid.uuid4()
    open_log(livelog, message_id, CLAIM)
    publish_all(livelog, [publication(message_id, 0, "a")])
    server.kill()
    server.start().wait()

    assert publish_all(livelog, [publication(message_id, 0, "ab")]) == [WRITTEN]

    # The append-only file kept the beginning.
    assert Body(livelog.read({message_id: CLAIM})[message_id]).text == "ab"


def test_a_full_redis_is_redis_down_and_still_sends_wake_ups(
    server: Redis, livelog: LiveLog
) -> None:
    message_id = uuid.uuid4()
    open_log(livelog, message_id, CLAIM)
    admin: Any = redis.Redis.from_url(server.url)
    admin.config_set("maxmemory", 1)
    admin.close()

    with pytest.raises(RedisDown):
        publish_all(livelog, [publication(message_id, 0, "a")])
    with pytest.raises(RedisDown):
        livelog.fence(message_id, CLAIM, 1)

    livelog.notify_ended(message_id, CLAIM)
    livelog.notify_stop(message_id)
