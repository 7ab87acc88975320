"""Following, without a web process: what it costs the servers when many come at once."""

import uuid
from collections.abc import Iterator
from unittest.mock import patch

import gevent
import pytest

from shared.body import Body
from shared.bus.livelog import LiveLog
from shared.errors import NotFound, StorageDown
from shared.store import conversations, messages
from tests.rig import join
from tests.store_fixtures import Store
from web.following.hub import OPEN_BATCH, Hub
from web.following.topic import MessageTopic, read

MANY = 3 * OPEN_BATCH


@pytest.fixture
def hub(store: Store, nowhere: str) -> Iterator[Hub]:
    """One without Redis, as its listener would wait for that and stop this process."""
    stops: list[bool] = []
    hub = Hub(store.db, LiveLog(f"redis://{nowhere}", ttl=60), store.sweep())
    hub.serving_while(lambda: not stops)
    yield hub
    stops.append(True)


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


def _topics(hub: Hub, user: uuid.UUID, *ids: uuid.UUID) -> dict[uuid.UUID, str | None]:
    """What each holds for who begins to follow all of them at the same moment."""

    readers = {one: gevent.spawn(_text, hub, one, user) for one in ids}
    join(list(readers.values()))
    return {one: reader.value for one, reader in readers.items()}


def test_many_who_come_at_once_to_as_many_answers_cost_a_few_statements(
    store: Store, hub: Hub
) -> None:
    user = store.user()
    written = dict(_written(store, user, number) for number in range(MANY))

    with patch("web.following.topic.messages.load_all", wraps=messages.load_all) as loads:
        found = _topics(hub, user, *written)

    assert found == written
    assert loads.call_count == MANY / OPEN_BATCH


def test_many_who_come_at_once_to_a_body_that_is_here_cost_a_statement_or_two(
    store: Store, hub: Hub
) -> None:
    user, stranger = store.user(), store.user()
    written, text = _written(store, user, 1)

    with (
        hub.follow(written, user),
        patch("web.following.topic.messages.load_all", wraps=messages.load_all) as loads,
        patch("web.following.read_access.messages.readable", wraps=messages.readable) as asked,
    ):
        readers = [gevent.spawn(_text, hub, written, user) for _ in range(MANY)]
        strangers = [gevent.spawn(_text, hub, written, stranger) for _ in range(MANY)]
        join([*readers, *strangers])

    assert {reader.value for reader in readers} == {text}
    assert {reader.value for reader in strangers} == {None}
    assert loads.call_count == 0
    assert asked.call_count <= 3


def _text(hub: Hub, message_id: uuid.UUID, user: uuid.UUID) -> str | None:
    try:
        with hub.follow(message_id, user) as topic:
            return topic.body.text
    except NotFound:
        return None


def test_who_reads_when_it_is_deleted_reads_on_and_nobody_else_begins(
    store: Store, hub: Hub
) -> None:
    user = store.user()
    written, text = _written(store, user, 1)
    with hub.follow(written, user) as topic:
        conversations.delete(store.db, user, store.row(written).conversation_id)

        assert _text(hub, written, user) is None

        assert (topic.body.text, topic.gone) == (text, False)


def test_a_body_that_is_here_is_not_shown_while_postgres_cannot_be_asked(
    store: Store, hub: Hub
) -> None:
    user = store.user()
    written, _ = _written(store, user, 1)
    with (
        hub.follow(written, user),
        patch("web.following.read_access.messages.readable", side_effect=StorageDown),
        pytest.raises(StorageDown),
        hub.follow(written, user),
    ):
        pass  # pragma: no cover


def test_who_comes_together_with_others_gets_their_own_answer_or_none(
    store: Store, hub: Hub
) -> None:
    user, stranger = store.user(), store.user()
    mine, text = _written(store, user, 1)
    theirs, other = _written(store, stranger, 2)
    ended, nobodys = store.ended(user), uuid.uuid4()

    found = _topics(hub, user, mine, theirs, ended, nobodys)

    assert found == {mine: text, theirs: None, ended: "Because.", nobodys: None}
    # What was refused is not held against its owner.
    assert _topics(hub, stranger, theirs, mine) == {theirs: other, mine: None}


@pytest.fixture
def deaf_hub(store: Store) -> Iterator[Hub]:
    """One that asks Redis for channels and hears nothing, not even that it has them."""
    hub = Hub(store.db, store.livelog, store.sweep())
    hub._started = True  # nobody listens
    hub._subscription = store.livelog.subscription()
    yield hub
    hub._subscription.close()


def test_an_expected_answer_is_read_if_it_may_have_been_missed(store: Store, deaf_hub: Hub) -> None:
    user = store.user()
    written, text = _written(store, user, 1)

    deaf_hub.expect(written, user)

    assert _topics(deaf_hub, user, written) == {written: 2 * text}


def test_who_found_an_answer_before_it_was_expected_is_not_left_alone(
    store: Store, deaf_hub: Hub
) -> None:
    user = store.user()
    answer = store.sending(user)

    with deaf_hub.follow(answer, user) as found:
        deaf_hub.expect(answer, user)
        with deaf_hub.follow(answer, user) as expected:
            assert expected is found


def test_what_is_read_together_is_whole_each_with_its_own_log(store: Store) -> None:
    user = store.user()
    written = [_written(store, user, number) for number in range(5)]
    ended, asked, nobodys = store.ended(user), store.sending(user), uuid.uuid4()
    ids = [nobodys, *(one for one, _ in written), ended, asked]
    ones = {message_id: MessageTopic(message_id, user) for message_id in ids}

    whole = read(store.db, store.livelog, ones.values(), first=True)

    assert whole == {ones[one]: True for one in ids if one != nobodys}
    for message_id, saved in written:
        assert ones[message_id].body.text == 2 * saved
    assert ones[ended].end is not None
    assert ones[asked].body.length == 0
