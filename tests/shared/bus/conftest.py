"""A message with an opened log, a subscription, and a Redis that tests may freeze and kill."""

import signal
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.redis import Redis
from shared.bus.listener import Subscription
from shared.bus.livelog import LiveLog
from tests.shared.bus.publications import CLAIM
from tests.store_fixtures import Store


@pytest.fixture
def opened(store: Store) -> uuid.UUID:
    """A message whose first attempt has opened its log."""
    message_id = uuid.uuid4()
    store.open(message_id, CLAIM, 1)
    return message_id


@pytest.fixture
def subscription(store: Store) -> Iterator[Subscription]:
    """A connection to the tests' Redis that listens."""
    one = store.livelog.subscription()
    yield one
    one.close()


@pytest.fixture(scope="module")
def own_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    with Redis(Path(tmp_path_factory.mktemp("redis"))) as redis:
        yield redis


@pytest.fixture
def server(own_redis: Redis) -> Iterator[Redis]:
    """The same Redis, which runs again after a test has frozen or killed it."""
    yield own_redis
    own_redis.signal(signal.SIGCONT)
    if not own_redis.alive():
        own_redis.start().wait()


@pytest.fixture
def livelog(server: Redis) -> Iterator[LiveLog]:
    """A live log on it that has connected before."""
    livelog = LiveLog(server.url, ttl=60)
    livelog.ping()
    yield livelog
    server.restart()
