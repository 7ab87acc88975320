"""A writer in the process of the tests, asking the scripted provider."""

from typing import Any

import pytest

import scripted
from shared.errors import StorageDown
from shared.lifecycle import Status
from shared.settings import Settings
from shared.store import messages, owning
from tests.rig import Rig, until
from tests.store_fixtures import Store
from worker.provider.client import Provider
from worker.writer import Writer


@pytest.fixture
def writer(rig: Rig, store: Store) -> Writer:
    return _writer(rig, store)


def _writer(rig: Rig, store: Store, **more: Any) -> Writer:
    settings = Settings.model_validate({"OPENAI_BASE_URL": rig.scripted.url, **more})
    return Writer(settings, store.db, store.livelog, Provider(settings))


def test_a_claim_of_unknown_outcome_is_released_and_the_question_answered(
    store: Store, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, claim = store.ask().answer, owning.claim

    def landed(*arguments: Any, **more: Any) -> Any:
        assert claim(*arguments, **more) is not None
        raise StorageDown

    with monkeypatch.context() as away:
        away.setattr(owning, "claim", landed)
        with pytest.raises(StorageDown):
            writer.write(answer.id)
    assert store.row(answer.id).status == "STREAMING"

    until(lambda: store.row(answer.id).status != "STREAMING", 10)
    store.sweep().run()

    assert store.queue.ids == [answer.id]
    ending = writer.write(answer.id)
    assert ending is not None
    assert ending.status == Status.DONE


@pytest.mark.failure(31)
def test_an_answer_that_reaches_our_limit_is_done_with_the_reason_length(
    rig: Rig, store: Store
) -> None:
    answer = store.ask().answer

    ending = _writer(rig, store, answer_chars=10).write(answer.id)

    assert ending is not None
    assert (ending.status, ending.finish_reason) == (Status.DONE, "length")
    whole = scripted.expected("Why?").text
    found = messages.load(store.db, answer.id, answer.user_id)
    assert (found.body.content, found.length) == (whole[:10], 10)
    assert len(whole) > 10


# --- without a queue -----------------------------------------------------------------------------


def test_take_refuses_a_question_when_no_place_is_free(rig: Rig, store: Store) -> None:
    writer = _writer(rig, store, worker_concurrency=2)
    answers = [store.ask().answer.id for _ in range(3)]

    assert [writer.take(answer) for answer in answers] == [True, True, False]
    until(lambda: all(store.row(answer).status == "DONE" for answer in answers[:2]))

    assert writer.take(answers[2])
    until(lambda: store.row(answers[2]).status == "DONE")


def test_take_refuses_a_question_while_draining(store: Store, writer: Writer) -> None:
    answer = store.ask().answer.id
    writer.drain(0)

    assert not writer.take(answer)
    assert store.row(answer).status == "SENDING"
