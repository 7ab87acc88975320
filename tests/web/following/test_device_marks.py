"""Which devices of its owner's were there while an answer was written, as its tape has it."""

import uuid

import gevent
import pytest

from shared.errors import StorageDown
from shared.lifecycle import Status
from shared.store import tapes
from shared.store.messages import load
from tests.store_fixtures import Store
from web.following.device_marks import DeviceMarks
from web.following.message_topic import MessageTopic

PHONE, DESK = "phone Safari", "desktop Chrome"


@pytest.fixture
def topic(store: Store) -> MessageTopic:
    claim = store.streaming()
    return MessageTopic(claim.id, claim.user_id)


@pytest.fixture
def marks(store: Store) -> DeviceMarks:
    return DeviceMarks(store.db, linger=0.05, gather=0.01)


def noted(store: Store, topic: MessageTopic) -> list[tuple[str, str]]:
    rows = store.db.rows(
        "SELECT kind, device FROM message_marks WHERE message_id = :id ORDER BY at", id=topic.id
    )
    return [(row.kind, row.device) for row in rows]


def test_a_device_comes_and_leaves_once_however_many_streams_it_has(
    store: Store, topic: MessageTopic, marks: DeviceMarks
) -> None:
    marks.came(topic, DESK)
    marks.came(topic, PHONE)
    marks.came(topic, PHONE)
    marks.went(topic, PHONE)
    gevent.sleep(0.2)
    assert sorted(noted(store, topic)) == [("joined", DESK), ("joined", PHONE)]
    marks.went(topic, PHONE)
    gevent.sleep(0.2)
    assert noted(store, topic)[-1] == ("left", PHONE)


def test_a_stream_that_is_cut_and_comes_back_has_not_left(
    store: Store, topic: MessageTopic
) -> None:
    marks = DeviceMarks(store.db, linger=0.2, gather=0.01)
    marks.came(topic, PHONE)
    marks.went(topic, PHONE)
    marks.came(topic, PHONE)
    gevent.sleep(0.5)
    assert noted(store, topic) == [("joined", PHONE)]


def test_of_an_ended_answer_nothing_is_noted(
    store: Store, marks: DeviceMarks, monkeypatch: pytest.MonkeyPatch
) -> None:
    user = store.user()
    ended = store.ended(user)
    topic = MessageTopic(ended, user)
    topic.finish(load(store.db, ended, user))
    assert topic.end is not None
    assert topic.end.status == Status.DONE
    monkeypatch.setattr(tapes, "note", lambda *_: pytest.fail("nothing is written"))
    marks.came(topic, PHONE)
    marks.went(topic, PHONE)
    gevent.sleep(0.1)
    assert marks.idle


def test_without_postgres_notes_are_dropped_and_later_ones_are_written(
    store: Store, topic: MessageTopic, marks: DeviceMarks, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise StorageDown

    with monkeypatch.context() as patch:
        patch.setattr(tapes, "note", away)
        marks.came(topic, PHONE)
        gevent.sleep(0.1)
    marks.came(MessageTopic(uuid.uuid4(), topic.user_id), PHONE)
    marks.came(topic, DESK)
    gevent.sleep(0.1)
    assert noted(store, topic) == [("joined", DESK)]
