"""What a process tells Postgres about readers of answers that are stopped without any."""

import time
import uuid
from typing import Any

import gevent
import pytest

from shared.errors import StorageDown
from shared.lifecycle import Status
from shared.store import abandonment
from tests.store_fixtures import Store
from web.faces import native
from web.following import presence
from web.following.message_topic import MessageTopic
from web.following.presence import Presence
from web.following.streaming import Readers, Stream


@pytest.fixture(autouse=True)
def believed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Postgres may have started a moment ago, and nothing is left of the test before."""
    monkeypatch.setattr(abandonment, "GRACE", 0.0)
    store.run("DELETE FROM message_readers")


@pytest.fixture
def here(store: Store) -> Presence:
    return Presence(store.db, store.sweep(lease=60))


def topic_of(store: Store, seconds: float | None) -> MessageTopic:
    """An answer that a worker writes, as it is followed."""
    user = store.user()
    claim = store.claim(store.ask(user, on_disconnect=seconds).answer.id)
    topic = MessageTopic(claim.id, user)
    topic.on_disconnect = seconds
    return topic


def come(here: Presence, topic: MessageTopic) -> None:
    topic.readers += 1
    here.enter(topic)


def go(here: Presence, topic: MessageTopic) -> None:
    topic.readers -= 1
    here.leave(topic)
    gevent.sleep(0)  # for the greenlet that writes it


def left(store: Store, topic: MessageTopic) -> list[float]:
    """Seconds until which each process speaks for readers."""
    rows = store.db.rows(
        "SELECT CAST(extract(epoch FROM until - clock_timestamp()) AS float8) AS seconds"
        " FROM message_readers WHERE message_id = :id",
        id=topic.id,
    )
    return [row.seconds for row in rows]


def test_nothing_is_done_for_answers_that_go_on(store: Store, here: Presence) -> None:
    topic = topic_of(store, None)
    statements = count_statements(here)

    come(here, topic)
    go(here, topic)

    assert statements == []


def count_statements(here: Presence) -> list[Any]:
    """Which calls of Postgres are made from now on."""
    made: list[Any] = []

    class Counting:
        def __getattr__(self, name: str) -> Any:
            made.append(name)
            raise StorageDown

    here._db = Counting()  # type: ignore[assignment]
    return made


def test_the_first_reader_is_noted_before_it_is_served_and_the_last_one_after(
    store: Store, here: Presence
) -> None:
    topic = topic_of(store, 5)
    come(here, topic)
    come(here, topic)
    assert 9 < left(store, topic)[0] <= abandonment.LEASE

    go(here, topic)
    assert left(store, topic)[0] > 9
    go(here, topic)
    assert left(store, topic)[0] <= 0
    assert not store.row(topic.id).stop_requested  # a sweep does it in time


def test_the_last_reader_of_all_processes_stops_it(store: Store, here: Presence) -> None:
    topic, there = topic_of(store, 0), Presence(store.db, store.sweep(lease=60))
    same = MessageTopic(topic.id, topic.user_id)
    same.on_disconnect = 0
    come(here, topic)
    come(there, same)

    go(here, topic)
    assert not store.row(topic.id).stop_requested
    go(there, same)

    assert store.row(topic.id).stop_requested
    assert left(store, topic) == []


def test_who_comes_while_another_one_leaves_keeps_it(store: Store, here: Presence) -> None:
    topic = topic_of(store, 0)
    come(here, topic)
    topic.readers -= 1
    here.leave(topic)
    come(here, topic)
    gevent.sleep(0)

    assert not store.row(topic.id).stop_requested
    assert left(store, topic)[0] > 9


def test_a_reader_who_was_cut_may_come_back(store: Store, here: Presence) -> None:
    topic = topic_of(store, 0)
    come(here, topic)
    topic.close()  # the process drains

    go(here, topic)

    assert not store.row(topic.id).stop_requested
    assert left(store, topic)[0] > 9


@pytest.mark.parametrize("client_left", [True, False])
def test_a_stream_says_whether_its_client_left(client_left: bool) -> None:
    """One of several responses, as with long polls, is no reason to stop."""
    topic = MessageTopic(uuid.uuid4(), uuid.uuid4())
    stream = Stream(native.FACE, topic, 0, heartbeat=60, deadline=time.monotonic() + 60)
    readers = Readers(lambda: False, heartbeat=60, max_seconds=60, max_streams=0)
    readers._open[stream] = object()  # type: ignore[assignment]

    stream.left = client_left
    readers._leave(stream)

    assert topic.was_cut != client_left


def test_an_answer_that_has_ended_is_forgotten(store: Store, here: Presence) -> None:
    topic = topic_of(store, 5)
    come(here, topic)
    topic.end = store.ask().answer  # any row
    assert topic.end.status == Status.SENDING

    go(here, topic)

    assert left(store, topic) == []


def test_renewals_are_one_statement_and_stop_with_the_last_reader(
    store: Store, here: Presence, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "RENEW_EVERY", 0.01)
    topics = [topic_of(store, 5) for _ in range(3)]
    for topic in topics:
        come(here, topic)
    written: list[int] = []
    plain = abandonment.speak_for

    def speak_for(db: Any, process: Any, ids: Any, seconds: float) -> None:
        written.append(len(ids))
        plain(db, process, ids, seconds)

    monkeypatch.setattr(abandonment, "speak_for", speak_for)
    gevent.sleep(0.1)
    assert set(written) == {3}
    for topic in topics:
        go(here, topic)
    gevent.sleep(0.05)
    written.clear()
    gevent.sleep(0.05)
    assert written == []


def test_without_postgres_readers_are_served(store: Store, here: Presence) -> None:
    topic = topic_of(store, 0)
    made = count_statements(here)

    come(here, topic)
    go(here, topic)

    assert made  # it was tried
