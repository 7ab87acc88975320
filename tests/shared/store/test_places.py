"""Where a person was: the last reading wins, whatever order the reports come in."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest

from shared.errors import NotFound
from shared.store import conversations, exporting, places
from shared.store.places import Point
from tests.store_fixtures import Store


@pytest.fixture
def read(store: Store) -> tuple[uuid.UUID, uuid.UUID, uuid.UUID]:
    """A user, a conversation and an answer in it."""
    user = store.user()
    answer = store.ended(user)
    return user, store.row(answer).conversation_id, answer


def test_the_last_reading_stays_and_a_late_report_of_an_earlier_one_is_dropped(
    store: Store, read: tuple[uuid.UUID, uuid.UUID, uuid.UUID]
) -> None:
    user, conversation, answer = read
    now = places.load(store.db, user, conversation).now

    def keep(position: int, ago: float) -> None:
        at, end = Point(answer, position), Point(answer, position + 5)
        places.keep(store.db, user, conversation, at, end, read_at=now - timedelta(seconds=ago))

    keep(7, ago=60)
    keep(3, ago=30)
    keep(9, ago=45)  # by a slow tab

    found = places.load(store.db, user, conversation).place
    assert found is not None
    assert (found.at, found.end) == (Point(answer, 3), Point(answer, 8))
    assert found.read_at == now - timedelta(seconds=30)
    [exported] = exporting.places(store.db, user)
    assert (exported["id"], exported["position"]) == (conversation, 3)


@pytest.mark.parametrize(
    "wrong", [datetime(9999, 12, 31, tzinfo=UTC), datetime(1, 1, 1, tzinfo=UTC)]
)
def test_a_wrong_clock_blocks_nothing(
    store: Store, read: tuple[uuid.UUID, uuid.UUID, uuid.UUID], wrong: datetime
) -> None:
    user, conversation, answer = read
    places.keep(store.db, user, conversation, Point(answer, 1), Point(answer, 1), read_at=wrong)
    found = places.load(store.db, user, conversation)
    assert found.place is not None
    assert found.place.read_at <= found.now

    places.keep(store.db, user, conversation, Point(answer, 2), Point(answer, 2))

    now = places.load(store.db, user, conversation).place
    assert now is not None
    assert now.at.position == 2


def test_a_message_of_another_conversation_is_no_place(
    store: Store, read: tuple[uuid.UUID, uuid.UUID, uuid.UUID]
) -> None:
    user, conversation, answer = read
    other = store.ended(user)

    for at, end in ((other, answer), (answer, other)):
        with pytest.raises(NotFound):
            places.keep(store.db, user, conversation, Point(at, 1), Point(end, 1))
    assert places.load(store.db, user, conversation).place is None


def test_what_was_begun_again_since_is_named(store: Store) -> None:
    user = store.user()
    answer = store.streaming(user).id
    conversation = store.row(answer).conversation_id
    store.run("UPDATE messages SET tries = 3 WHERE id = :id", id=answer)
    assert places.load(store.db, user, conversation).restarted == []

    places.keep(store.db, user, conversation, Point(answer, 1), Point(answer, 1))

    assert places.load(store.db, user, conversation).restarted == [(answer, 2)]


def test_a_place_goes_with_its_conversation(
    store: Store, read: tuple[uuid.UUID, uuid.UUID, uuid.UUID]
) -> None:
    user, conversation, answer = read
    places.keep(store.db, user, conversation, Point(answer, 1), Point(answer, 1))

    conversations.delete(store.db, user, conversation)

    with pytest.raises(NotFound):
        places.load(store.db, user, conversation)
    with pytest.raises(NotFound):
        places.keep(store.db, user, conversation, Point(answer, 2), Point(answer, 2))
    store.run("DELETE FROM conversations WHERE id = :id", id=conversation)
    assert list(exporting.places(store.db, user)) == []
