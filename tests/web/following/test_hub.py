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
from tests.store_fixtures import Ground
from web.following.hub import TOGETHER, Hub
from web.following.topic import Followed, read

MANY = 3 * TOGETHER


@pytest.fixture
def hub(ground: Ground, nowhere: str) -> Iterator[Hub]:
    """One without Redis, as its listener would wait for that and stop this process."""
    stops: list[bool] = []
    hub = Hub(ground.db, LiveLog(f"redis://{nowhere}", ttl=60), ground.sweep())
    hub.serving_while(lambda: not stops)
    yield hub
    stops.append(True)


def _written(ground: Ground, user: uuid.UUID, number: int) -> tuple[uuid.UUID, str]:
    """An answer that has begun, half of it saved, all of it in its log; its id and what is saved.

    The whole text is what is saved, twice.
    """
    claim, body = ground.streaming(user), Body()
    body.write("text", f"answer {number}. ")
    saved = body.text
    assert ground.save(claim, body)
    body.write("text", saved)
    ground.publish(claim, body)
    return claim.id, saved


def _followed(hub: Hub, user: uuid.UUID, *ids: uuid.UUID) -> dict[uuid.UUID, str | None]:
    """What each holds for who begins to follow all of them at the same moment."""

    readers = {one: gevent.spawn(_text, hub, one, user) for one in ids}
    join(list(readers.values()))
    return {one: reader.value for one, reader in readers.items()}


def test_many_who_come_at_once_to_as_many_answers_cost_a_few_statements(
    ground: Ground, hub: Hub
) -> None:
    user = ground.user()
    written = dict(_written(ground, user, number) for number in range(MANY))

    with patch("web.following.topic.messages.load_all", wraps=messages.load_all) as loads:
        found = _followed(hub, user, *written)

    assert found == written
    assert loads.call_count == MANY / TOGETHER


def test_many_who_come_at_once_to_a_body_that_is_here_cost_a_statement_or_two(
    ground: Ground, hub: Hub
) -> None:
    user, stranger = ground.user(), ground.user()
    written, text = _written(ground, user, 1)

    with (
        hub.follow(written, user),
        patch("web.following.topic.messages.load_all", wraps=messages.load_all) as loads,
        patch("web.rights.messages.readable", wraps=messages.readable) as asked,
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
        with hub.follow(message_id, user) as followed:
            return followed.body.text
    except NotFound:
        return None


def test_who_reads_when_it_is_deleted_reads_on_and_nobody_else_begins(
    ground: Ground, hub: Hub
) -> None:
    user = ground.user()
    written, text = _written(ground, user, 1)
    with hub.follow(written, user) as followed:
        conversations.delete(ground.db, user, ground.row(written).conversation_id)

        assert _text(hub, written, user) is None

        assert (followed.body.text, followed.gone) == (text, False)


def test_a_body_that_is_here_is_not_shown_while_postgres_cannot_be_asked(
    ground: Ground, hub: Hub
) -> None:
    user = ground.user()
    written, _ = _written(ground, user, 1)
    with (
        hub.follow(written, user),
        patch("web.rights.messages.readable", side_effect=StorageDown),
        pytest.raises(StorageDown),
        hub.follow(written, user),
    ):
        pass  # pragma: no cover


def test_who_comes_together_with_others_gets_their_own_answer_or_none(
    ground: Ground, hub: Hub
) -> None:
    user, stranger = ground.user(), ground.user()
    mine, text = _written(ground, user, 1)
    theirs, other = _written(ground, stranger, 2)
    ended, nobodys = ground.ended(user), uuid.uuid4()

    found = _followed(hub, user, mine, theirs, ended, nobodys)

    assert found == {mine: text, theirs: None, ended: "Because.", nobodys: None}
    # What was refused is not held against its owner.
    assert _followed(hub, stranger, theirs, mine) == {theirs: other, mine: None}


@pytest.fixture
def deaf_hub(ground: Ground) -> Iterator[Hub]:
    """One that asks Redis for channels and hears nothing, not even that it has them."""
    hub = Hub(ground.db, ground.livelog, ground.sweep())
    hub._started = True  # nobody listens
    hub._subscription = ground.livelog.subscription()
    yield hub
    hub._subscription.close()


def test_an_expected_answer_is_read_if_it_may_have_been_missed(
    ground: Ground, deaf_hub: Hub
) -> None:
    user = ground.user()
    written, text = _written(ground, user, 1)

    deaf_hub.expect(written, user)

    assert _followed(deaf_hub, user, written) == {written: 2 * text}


def test_who_found_an_answer_before_it_was_expected_is_not_left_alone(
    ground: Ground, deaf_hub: Hub
) -> None:
    user = ground.user()
    answer = ground.sending(user)

    with deaf_hub.follow(answer, user) as found:
        deaf_hub.expect(answer, user)
        with deaf_hub.follow(answer, user) as expected:
            assert expected is found


def test_what_is_read_together_is_whole_each_with_its_own_log(ground: Ground) -> None:
    user = ground.user()
    written = [_written(ground, user, number) for number in range(5)]
    ended, asked, nobodys = ground.ended(user), ground.sending(user), uuid.uuid4()
    ids = [nobodys, *(one for one, _ in written), ended, asked]
    ones = {message_id: Followed(message_id, user) for message_id in ids}

    whole = read(ground.db, ground.livelog, ones.values(), first=True)

    assert whole == {ones[one]: True for one in ids if one != nobodys}
    for message_id, saved in written:
        assert ones[message_id].body.text == 2 * saved
    assert ones[ended].end is not None
    assert ones[asked].body.length == 0
