"""`Asker.ask`: the order of its steps, a repeated key, and servers that are away."""

import uuid
from threading import BoundedSemaphore
from typing import Any

import pytest

from shared.body import Body
from shared.errors import Conflict, Invalid, StorageDown
from shared.lifecycle import Status
from shared.media import FILES_BYTES, KnownFile, write_file
from shared.parts import PartKind
from shared.settings import Settings
from shared.store.asking import Asked
from shared.store.database import Database
from shared.store.ending import Ending
from shared.store.threads import History, Turn
from tests.store_fixtures import Store, at_once
from web import asking
from web.asking import CONTINUE_PROMPT, Asker, Continue, InThread, NewQuestion, Retry


class Steps:
    """A hub, a queue and a wake-up of sidebars; each notes what Postgres holds when called."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.taken: list[tuple[str, uuid.UUID, str]] = []
        self.away = False

    def expect(self, message_id: uuid.UUID, *_: uuid.UUID) -> None:
        self._note("expect", message_id)

    def enqueue(self, message_id: uuid.UUID) -> bool:
        self._note("enqueue", message_id)
        return not self.away

    def wake(self, _: object, user_id: uuid.UUID) -> None:
        self.taken.append(("wake", user_id, ""))

    def _note(self, step: str, message_id: uuid.UUID) -> None:
        self.taken.append((step, message_id, self.store.row(message_id).status))


@pytest.fixture
def steps(store: Store, monkeypatch: pytest.MonkeyPatch) -> Steps:
    steps = Steps(store)
    monkeypatch.setattr(asking, "wake_sidebars", steps.wake)
    return steps


@pytest.fixture
def asker(store: Store, steps: Steps) -> Asker:
    return _asker(store.db, store, steps)


def _asker(db: Database, store: Store, steps: Any, **more: Any) -> Asker:
    settings = Settings.model_construct(model="ours", queue_deadline_seconds=60.0, **more)
    return Asker(settings, db, steps, steps, store.livelog)


def _all_of(asked: Asked, user_id: uuid.UUID) -> list[tuple[str, uuid.UUID, str]]:
    answer = asked.answer.id
    return [
        ("expect", answer, "SENDING"),
        ("enqueue", answer, "SENDING"),
        ("wake", user_id, ""),
    ]


def test_a_question_is_committed_then_expected_then_enqueued_then_announced(
    store: Store, steps: Steps, asker: Asker
) -> None:
    user = store.user()
    place = store.conversation(user)

    asked = asker.ask(NewQuestion(place, "Why?"), user_id=user, options={"seed": 1})

    assert asked.fresh
    assert steps.taken == _all_of(asked, user)
    assert (asked.question.body.text, asked.answer.model) == ("Why?", "ours")
    assert store.row(asked.answer.id).options == {"seed": 1}


@pytest.mark.parametrize("wanted", [Retry, Continue])
def test_retry_and_continue_take_the_same_steps(
    store: Store, steps: Steps, asker: Asker, wanted: type[Retry | Continue]
) -> None:
    user = store.user()
    ended = store.ended(user, Ending(Status.DONE, "length"))

    asked = asker.ask(wanted(ended), user_id=user, model="theirs")

    assert steps.taken == _all_of(asked, user)
    assert asked.answer.model == "theirs"
    assert asked.question.body.text == ("Why?" if wanted is Retry else CONTINUE_PROMPT)


def test_a_repeated_key_gives_the_same_messages_and_enqueues_nothing(
    store: Store, steps: Steps, asker: Asker
) -> None:
    user = store.user()
    question = NewQuestion(store.conversation(user), "Why?")
    first = asker.ask(question, user_id=user, key="k", request_hash="h")
    steps.taken.clear()

    again = asker.ask(question, user_id=user, key="k", request_hash="h")

    assert not again.fresh
    assert (again.question.id, again.answer.id) == (first.question.id, first.answer.id)
    assert steps.taken == []


def test_an_absent_queue_is_no_error(store: Store, steps: Steps, asker: Asker) -> None:
    steps.away = True
    user = store.user()

    asked = asker.ask(NewQuestion(store.conversation(user), "Why?"), user_id=user)

    assert steps.taken == _all_of(asked, user)


def test_a_refused_question_is_neither_expected_nor_enqueued(
    store: Store, steps: Steps, asker: Asker
) -> None:
    user = store.user()
    question = NewQuestion(store.conversation(user), "Why?")
    asker.ask(question, user_id=user)
    steps.taken.clear()

    with pytest.raises(Conflict):
        asker.ask(question, user_id=user)

    assert steps.taken == []


def test_without_postgres_nothing_is_expected_and_nothing_enqueued(
    store: Store, steps: Steps, nowhere: str
) -> None:
    asker = _asker(Database(f"postgresql+psycopg2://me@{nowhere}/none"), store, steps)

    with pytest.raises(StorageDown):
        asker.ask(NewQuestion(uuid.uuid4(), "Why?"), user_id=uuid.uuid4())

    assert steps.taken == []


# --- limits ---------------------------------------------------------------------------------------


def test_a_question_that_has_to_wait_for_its_turn_is_not_enqueued(
    store: Store, steps: Steps
) -> None:
    asker, user = _asker(store.db, store, steps, max_running=1), store.user()
    first, second = (
        asker.ask(NewQuestion(store.conversation(user), "Why?"), user_id=user) for _ in range(2)
    )

    assert [taken[:2] for taken in steps.taken if taken[0] in ("enqueue", "expect")] == [
        ("expect", first.answer.id),
        ("enqueue", first.answer.id),
        ("expect", second.answer.id),
    ]


def test_a_question_that_is_too_large_is_refused_with_its_limit(store: Store, steps: Steps) -> None:
    asker, user = _asker(store.db, store, steps, question_chars=4, max_tokens=10), store.user()
    place = store.conversation(user)
    for content, options, code, limit in (
        ("Why??", {}, "question_too_long", 4),
        ("Why?", {"max_tokens": 11}, "max_tokens_too_large", 10),
        ("Why?", {"max_completion_tokens": 11}, "max_tokens_too_large", 10),
    ):
        with pytest.raises(Invalid) as refused:
            asker.ask(NewQuestion(place, content), user_id=user, options=options)
        assert (refused.value.code, refused.value.fields) == (code, {"limit": limit})

    assert asker.ask(NewQuestion(place, "Why?"), user_id=user, options={"max_tokens": 10}).fresh


def test_files_that_are_named_again_are_bounded_for_a_message(store: Store, steps: Steps) -> None:
    asker, user = _asker(store.db, store, steps), store.user()
    body = Body()
    for _ in range(2):
        file = KnownFile(uuid.uuid4(), "image/png", FILES_BYTES // 2 + 1)
        write_file(body, PartKind.IMAGE, file)

    with pytest.raises(Invalid, match=f"at most {FILES_BYTES} bytes"):
        asker.ask(InThread(History([Turn("user", body)])), user_id=user)


def test_many_questions_of_one_user_wait_without_a_connection(
    store: Store, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    asker, user = _asker(store.db, store, steps, max_open=100), store.user()
    places = [store.conversation(user) for _ in range(30)]
    # Web's greenlets cannot interrupt the look-up of this; threads could.
    turn = asker._turns[user] = BoundedSemaphore()
    busy: list[int] = []
    commit = asking.Asker._commit

    def counted(*arguments: Any) -> Asked:
        busy.append(1)
        try:
            assert len(busy) == 1
            return commit(*arguments)
        finally:
            busy.pop()

    monkeypatch.setattr(asking.Asker, "_commit", counted)

    asked, errors = at_once(30, lambda n: asker.ask(NewQuestion(places[n], "Why?"), user_id=user))

    assert errors == []
    assert len({one.answer.id for one in asked}) == 30
    assert turn.acquire(blocking=False)  # nobody holds it any more
