"""Titles: the model's replaces the first words of the question, but never a person's title."""

from collections.abc import Iterator
from typing import Any

import pytest

from local.programs import Worker
from scripted import done, finish, say, script
from shared.lifecycle import Status
from shared.store import conversations, titles
from shared.store.ending import Ending
from tests.client import Client, new_id
from tests.rig import API_KEY, Rig, eventually, killing
from tests.store_fixtures import Store


@pytest.fixture
def naming(rig: Rig, no_workers: None) -> Iterator[Worker]:
    """A worker with titles switched on."""
    worker = rig.worker(OUTLIVE_TITLES="on")
    with killing(worker):
        yield worker


def conversation_of(client: Client, conversation: str) -> dict[str, Any]:
    found = client.http.get(f"/api/conversations/{conversation}/turns").json()
    return dict(found["conversation"])


@pytest.mark.usefixtures("naming")
def test_after_the_first_answer_the_model_gives_a_title(rig: Rig, client: Client) -> None:
    conversation, secret = client.conversation(), f"secret{new_id()[:8]}"
    question = script(say(f"An answer about {secret}."), finish(), done(), tag=secret)
    client.ended(client.ask(question, conversation))

    eventually(lambda: conversation_of(client, conversation)["title_by"] == "model")

    title = conversation_of(client, conversation)["title"]
    assert title == f"An answer about {secret}"  # the question's script is played again
    [row] = rig.rows("SELECT title_usage FROM conversations WHERE id = :id", id=conversation)
    assert row.title_usage["completion_tokens"] > 0
    [record] = [one for one in rig.scripted.wait_requests(2, contains=secret) if not one.stream]
    assert record.request is not None
    assert record.request["max_tokens"] <= 64
    assert not record.request.get("stream")
    logged = rig.logs()
    assert secret not in logged
    assert title not in logged
    assert API_KEY not in logged

    client.ended(client.ask(script(say("More."), finish(), done(), tag=secret), conversation))
    assert len([one for one in rig.scripted.requests(contains=secret) if not one.stream]) == 1


@pytest.mark.usefixtures("naming")
def test_a_title_by_a_person_is_not_replaced(rig: Rig, client: Client) -> None:
    conversation, mark = client.conversation(title="Mine"), new_id()
    client.ended(client.ask(script(say("So."), finish(), done(), tag=mark), conversation))

    # Once the next conversation has a title, this one would have got one, too.
    other = client.conversation()
    client.ended(client.ask(script(say("So."), finish(), done(), tag=new_id()), other))
    eventually(lambda: conversation_of(client, other)["title_by"] == "model")

    assert conversation_of(client, conversation)["title"] == "Mine"
    assert not [one for one in rig.scripted.requests(contains=mark) if not one.stream]


# --- the tables ----------------------------------------------------------------------------------


def test_a_title_by_a_person_wins_over_one_being_made(store: Store) -> None:
    user = store.user()
    answer = store.ended(user)
    conversation = store.row(answer).conversation_id
    assert titles.claim(store.db, answer) is not None

    conversations.change(store.db, user, conversation, title="Mine")

    assert titles.untitled(store.db, answer) is None
    assert titles.set_title(store.db, answer, "The model's", {}) is None
    assert conversations.load(store.db, user, conversation).title == "Mine"


def test_two_concurrent_title_tasks_ask_once_and_write_once(store: Store) -> None:
    answer = store.ended()

    assert titles.claim(store.db, answer) is not None
    assert titles.claim(store.db, answer) is None  # so the provider is asked once

    assert titles.set_title(store.db, answer, "First", {"total_tokens": 1}) is not None
    assert titles.set_title(store.db, answer, "Second", {"total_tokens": 1}) is None


def test_a_released_title_can_be_claimed_again(store: Store) -> None:
    answer = store.ended()
    asked = titles.claim(store.db, answer)

    titles.release(store.db, answer)

    assert asked is not None
    assert titles.claim(store.db, answer) == asked


def test_an_empty_title_is_not_asked_for_again(store: Store) -> None:
    user = store.user()
    answer = store.ended(user)

    titles.claim(store.db, answer)
    titles.set_title(store.db, answer, None, {"total_tokens": 1})

    found = conversations.load(store.db, user, store.row(answer).conversation_id)
    assert (found.title, found.title_by) == ("Why?", "question")
    assert titles.untitled(store.db, answer) is None


@pytest.mark.parametrize("ending", [Ending(Status.CANCELLED), Ending.error("provider_cut")])
def test_only_a_done_answer_gives_a_title(store: Store, ending: Ending) -> None:
    assert titles.untitled(store.db, store.ended(ending=ending)) is None
