"""The hub and its messages without a web process: what they cost when many readers come."""

import math
import uuid
from collections.abc import Iterator
from datetime import MAXYEAR
from typing import Any
from unittest.mock import patch

import gevent
import pytest

from shared.body import Body
from shared.bus.livelog import LiveLog
from shared.errors import NotFound, StorageDown
from shared.store import conversations, messages
from tests.rig import join, until
from tests.store_fixtures import Store
from web.following.hub import Hub
from web.following.message_keeper import MessageKeeper
from web.following.message_topic import MessageTopic, read

MANY = 3 * MessageKeeper.open_batch


def _written(store: Store, user: uuid.UUID, number: int) -> tuple[uuid.UUID, str]:
    """An answer that has begun, half of it saved, all of it in its log; its id and what is saved.

    The whole text is what is saved, twice.
    """
    claim, body = store.streaming(user), Body()
    body.write("text", f"answer {number}. ")
    saved = body.text
    assert store.save(claim, body)
    body.write("text", saved)
    store.publish(claim, body)
    return claim.id, saved


def _topics(keeper: MessageKeeper, user: uuid.UUID, *ids: uuid.UUID) -> dict[uuid.UUID, str | None]:
    """What each topic holds for a reader who begins to follow all of them at the same moment."""

    readers = {one: gevent.spawn(_text, keeper, one, user) for one in ids}
    join(list(readers.values()))
    return {one: reader.value for one, reader in readers.items()}


def test_messages_entered_at_once_are_opened_in_batches(
    store: Store, keeper: MessageKeeper
) -> None:
    user = store.user()
    written = dict(_written(store, user, number) for number in range(MANY))

    with patch("web.following.message_topic.messages.load_all", wraps=messages.load_all) as loads:
        found = _topics(keeper, user, *written)

    assert found == written
    assert loads.call_count == MANY / MessageKeeper.open_batch


def test_access_of_readers_that_come_at_once_is_checked_together(
    store: Store, keeper: MessageKeeper
) -> None:
    user, stranger = store.user(), store.user()
    written, text = _written(store, user, 1)

    with (
        keeper.follow(written, user),
        patch("web.following.message_topic.messages.load_all", wraps=messages.load_all) as loads,
        patch("web.following.read_access.messages.readable", wraps=messages.readable) as asked,
    ):
        readers = [gevent.spawn(_text, keeper, written, user) for _ in range(MANY)]
        strangers = [gevent.spawn(_text, keeper, written, stranger) for _ in range(MANY)]
        join([*readers, *strangers])

    assert {reader.value for reader in readers} == {text}
    assert {reader.value for reader in strangers} == {None}
    assert loads.call_count == 0
    assert asked.call_count <= 3


def _text(keeper: MessageKeeper, message_id: uuid.UUID, user: uuid.UUID) -> str | None:
    try:
        with keeper.follow(message_id, user) as topic:
            return topic.body.text
    except NotFound:
        return None


def test_deletion_refuses_new_readers_and_cuts_none(store: Store, keeper: MessageKeeper) -> None:
    user = store.user()
    written, text = _written(store, user, 1)
    with keeper.follow(written, user) as topic:
        conversations.delete(store.db, user, store.row(written).conversation_id)

        assert _text(keeper, written, user) is None

        assert (topic.body.text, topic.closed) == (text, False)


def test_poll_gives_a_turn_to_a_question_that_no_worker_is_left_to_call(
    store: Store, keeper: MessageKeeper
) -> None:
    user = store.user()
    queued, waiting = (store.ask(user, running=1).answer.id for _ in range(2))
    with keeper.follow(waiting, user) as topic:
        topic.opened.wait()

        for deadline in (None, "queue_deadline"):
            assert store.row(waiting).dispatch_at.year == MAXYEAR
            if deadline:
                store.make_overdue(queued, deadline)
            topic.received_at = -math.inf  # it has been silent for long
            keeper.poll()
            gevent.sleep(0)

        until(lambda: store.queue.ids)
    assert store.queue.ids == [waiting]
    assert store.row(queued).error_code == "queue_timeout"


def test_a_body_in_memory_is_not_shown_without_postgres(
    store: Store, keeper: MessageKeeper
) -> None:
    user = store.user()
    written, _ = _written(store, user, 1)
    with (
        keeper.follow(written, user),
        patch("web.following.read_access.messages.readable", side_effect=StorageDown),
        pytest.raises(StorageDown),
        keeper.follow(written, user),
    ):
        pass  # pragma: no cover


def test_a_batch_refuses_strangers_and_unknown_messages_only(
    store: Store, keeper: MessageKeeper
) -> None:
    user, stranger = store.user(), store.user()
    mine, text = _written(store, user, 1)
    theirs, other = _written(store, stranger, 2)
    ended, unknown = store.ended(user), uuid.uuid4()

    found = _topics(keeper, user, mine, theirs, ended, unknown)

    assert found == {mine: text, theirs: None, ended: "Because.", unknown: None}
    # What was refused is not held against its owner.
    assert _topics(keeper, stranger, theirs, mine) == {theirs: other, mine: None}


class SilentListener:
    """Subscribes, but receives nothing, not even the confirmations."""

    connected = True

    def __init__(self, livelog: LiveLog) -> None:
        self._subscription = livelog.subscription()
        self.subscribe = self._subscription.subscribe
        self.unsubscribe = self._subscription.unsubscribe
        self.close = self._subscription.close


@pytest.fixture
def silent_keeper(store: Store) -> Iterator[MessageKeeper]:
    """A keeper whose Redis sends nothing."""
    hub = Hub(store.livelog.subscription)
    hub._started = True  # nothing listens and nothing polls
    listener: Any = SilentListener(store.livelog)
    hub._listener = listener
    yield MessageKeeper(hub, store.db, store.livelog, store.sweep())
    listener.close()


def test_an_expected_answer_is_read_if_its_subscription_was_not_confirmed(
    store: Store, silent_keeper: MessageKeeper
) -> None:
    user = store.user()
    written, text = _written(store, user, 1)

    silent_keeper.expect(written, user, uuid.uuid4())

    assert _topics(silent_keeper, user, written) == {written: 2 * text}


def test_expect_keeps_an_existing_topic(store: Store, silent_keeper: MessageKeeper) -> None:
    user = store.user()
    answer = store.sending(user)

    with silent_keeper.follow(answer, user) as found:
        silent_keeper.expect(answer, user, uuid.uuid4())
        with silent_keeper.follow(answer, user) as expected:
            assert expected is found


def test_messages_read_together_each_get_their_own_log(store: Store) -> None:
    user = store.user()
    written = [_written(store, user, number) for number in range(5)]
    ended, asked, unknown = store.ended(user), store.sending(user), uuid.uuid4()
    ids = [unknown, *(one for one, _ in written), ended, asked]
    ones = {message_id: MessageTopic(message_id, user) for message_id in ids}

    whole = read(store.db, store.livelog, ones.values(), first=True)

    assert whole == {ones[one]: True for one in ids if one != unknown}
    for message_id, saved in written:
        assert ones[message_id].body.text == 2 * saved
    assert ones[ended].end is not None
    assert ones[asked].body.length == 0
