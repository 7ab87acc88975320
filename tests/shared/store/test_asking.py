"""R1: a message begins as SENDING, once for each key, under the cap, below an ended answer."""

import hashlib
import uuid
from typing import Any

import pytest

from shared import naming
from shared.body import Body, Delta, text_body
from shared.errors import Conflict, Invalid, KeyReused, NotFound, OutliveError, TooMany
from shared.lifecycle import Status
from shared.store import asking, conversations, messages, stopping
from shared.store.asking import NEWEST, Asked
from shared.store.ending import Ending
from shared.store.turns import DISPATCH_AFTER
from tests.store_fixtures import ME, Store, at_once

EVERYBODY = 40


def ask(store: Store, user: uuid.UUID, conversation: uuid.UUID, **changes: Any) -> Asked:
    content, parent = changes.pop("content", "Why?"), changes.pop("parent", NEWEST)
    return asking.ask(
        store.db, store.asking(user, **changes), conversation, text_body(content), parent
    )


def count(store: Store, user: uuid.UUID, role: str = "assistant") -> int:
    number = "SELECT count(*) AS number FROM messages WHERE user_id = :user AND role = :role"
    return int(store.db.rows(number, user=user, role=role)[0].number)


def code(error: OutliveError) -> str:
    return error.code


# --- a question and its answer --------------------------------------------------------------------


def test_a_question_is_done_and_its_answer_is_sending(store: Store) -> None:
    user = store.user()
    conversation = store.conversation(user)
    text = "Wie 😀?"

    asked = ask(store, user, conversation, content=text)

    question, answer = asked.question, asked.answer
    assert asked.fresh
    assert (question.role, question.status, question.body.text) == ("user", Status.DONE, text)
    assert (question.length, question.sha256) == (6, hashlib.sha256(text.encode()).hexdigest())
    assert question.parent_id is None
    assert (answer.role, answer.status, answer.body.length) == ("assistant", Status.SENDING, 0)
    assert (answer.parent_id, answer.model, answer.attempt) == (question.id, "model", 0)
    assert messages.load(store.db, answer.id, user).status == Status.SENDING


def test_an_answer_is_due_to_be_taken_and_to_be_handed_out_again(store: Store) -> None:
    answer = store.ask(queue_deadline=60).answer.id

    [row] = store.db.rows(
        "SELECT queue_deadline - clock_timestamp() AS taken, dispatch_at - clock_timestamp()"
        " AS again FROM messages WHERE id = :id",
        id=answer,
    )
    assert 50 < row.taken.total_seconds() <= 60
    assert 0 < row.again.total_seconds() <= DISPATCH_AFTER


def test_the_first_question_names_its_conversation(store: Store) -> None:
    user = store.user()
    conversation = store.conversation(user)

    first = ask(store, user, conversation, content=f"  Why \n\t is {'x' * 100}")
    stopping.stop(store.db, first.answer.id, user)
    ask(store, user, conversation, content="Another")

    title = conversations.load(store.db, user, conversation).title
    assert title == f"Why is {'x' * 100}"[: naming.CHARS - 1] + "…"


def test_files_without_a_word_name_their_conversation() -> None:
    body = Body(
        [
            Delta(0, 0, "image", "an address"),
            Delta(10, 1, "file", "another", {"filename": "notes.md"}),
        ]
    )
    assert asking._title(body) == "notes.md"


def test_titles_can_be_switched_off(store: Store) -> None:
    user = store.user()
    conversation = store.conversation(user)

    ask(store, user, conversation, titles=False)

    assert conversations.load(store.db, user, conversation).title is None


# --- once a key -----------------------------------------------------------------------------------


def test_equal_requests_at_once_are_one(store: Store) -> None:
    user = store.user()
    conversation = store.conversation(user)

    asked, errors = at_once(EVERYBODY, lambda _: ask(store, user, conversation, key="k"))

    assert errors == []
    assert len(asked) == EVERYBODY
    assert [one.fresh for one in asked].count(True) == 1
    assert len({(one.question.id, one.answer.id) for one in asked}) == 1
    assert (count(store, user), count(store, user, "user")) == (1, 1)


def test_a_repeated_request_gives_the_messages_as_they_are_now(store: Store) -> None:
    user = store.user()
    conversation = store.conversation(user)
    first = ask(store, user, conversation, key="k")
    stopping.stop(store.db, first.answer.id, user)

    again = ask(store, user, conversation, key="k")

    assert not again.fresh
    assert (again.question.id, again.answer.id) == (first.question.id, first.answer.id)
    assert again.answer.status == Status.CANCELLED


def test_a_key_with_another_request_is_refused(store: Store) -> None:
    user = store.user()
    conversation = store.conversation(user)
    ask(store, user, conversation, key="k", request_hash="one")

    with pytest.raises(KeyReused):
        ask(store, user, conversation, key="k", request_hash="other")

    assert count(store, user) == 1


def test_two_users_may_use_the_same_key(store: Store) -> None:
    first = store.ask(key="k")

    second = store.ask(key="k", request_hash="other")

    assert first.fresh
    assert second.fresh


def test_without_a_key_every_request_is_another(store: Store) -> None:
    user = store.user()
    conversation = store.conversation(user)

    asked = [ask(store, user, conversation, parent=None) for _ in range(2)]

    assert len({one.answer.id for one in asked}) == 2


@pytest.mark.parametrize("again", [asking.ask_again, asking.ask_to_continue])
def test_a_retry_and_a_continuation_have_keys_too(store: Store, again: Any) -> None:
    user = store.user()
    answer = store.ended(user, Ending(Status.DONE, "length"))
    words = (text_body("Go on."),) if again is asking.ask_to_continue else ()

    asked, errors = at_once(
        6, lambda _: again(store.db, store.asking(user, key="k"), answer, *words)
    )

    assert errors == []
    assert len({one.answer.id for one in asked}) == 1
    assert [one.fresh for one in asked].count(True) == 1


# --- the cap --------------------------------------------------------------------------------------


def test_a_user_has_at_most_max_open_open_answers(store: Store) -> None:
    user = store.user()
    places = [store.conversation(user) for _ in range(EVERYBODY)]

    asked, errors = at_once(EVERYBODY, lambda n: ask(store, user, places[n], max_open=3))

    assert len(asked) == 3
    assert {type(error) for error in errors} == {TooMany}
    assert (count(store, user), count(store, user, "user")) == (3, 3)


def test_the_cap_of_one_user_does_not_limit_another(store: Store) -> None:
    store.ask(max_open=1)

    assert store.ask(max_open=1).fresh


@pytest.mark.parametrize("state", ["sending", "streaming"])
def test_the_cap_counts_open_answers_only(store: Store, state: str) -> None:
    user = store.user()
    store.ended(user)
    store.ask(user, max_open=1)
    if state == "streaming":
        [row] = store.db.rows("SELECT id FROM messages WHERE status = 'SENDING'")
        store.claim(row.id)

    with pytest.raises(TooMany):
        store.ask(user, max_open=1)


def test_an_impossible_question_is_refused_before_the_cap_is_checked(store: Store) -> None:
    user = store.user()
    conversation = store.conversation(user)
    ask(store, user, conversation)

    with pytest.raises(Conflict):
        ask(store, user, conversation, max_open=1)
    with pytest.raises(NotFound):
        ask(store, user, uuid.uuid4(), max_open=1)

    assert count(store, user) == 1


def test_a_repeated_request_is_answered_under_the_cap(store: Store) -> None:
    user = store.user()
    conversation = store.conversation(user)
    first = ask(store, user, conversation, key="k", max_open=1)

    assert ask(store, user, conversation, key="k", max_open=1).answer.id == first.answer.id


def test_retry_and_continue_are_under_the_cap(store: Store) -> None:
    user = store.user()
    answer = store.ended(user, Ending(Status.DONE, "length"))
    store.ask(user)

    with pytest.raises(TooMany):
        asking.ask_again(store.db, store.asking(user, max_open=1), answer)
    with pytest.raises(TooMany):
        asking.ask_to_continue(
            store.db, store.asking(user, max_open=1), answer, text_body("Go on.")
        )

    assert count(store, user) == 2


# --- the place in the tree ------------------------------------------------------------------------


def test_without_a_parent_a_question_stands_below_the_newest_answer(store: Store) -> None:
    user = store.user()
    conversation = store.conversation(user)
    first = ask(store, user, conversation)
    stopping.stop(store.db, first.answer.id, user)

    second = ask(store, user, conversation)

    assert second.question.parent_id == first.answer.id


def test_a_question_with_null_for_a_parent_is_another_root(store: Store) -> None:
    user = store.user()
    conversation = store.conversation(user)
    ask(store, user, conversation)

    second = ask(store, user, conversation, parent=None)

    assert second.question.parent_id is None


@pytest.mark.parametrize("named", [True, False])
def test_nothing_is_asked_below_an_open_answer(store: Store, named: bool) -> None:
    user = store.user()
    conversation = store.conversation(user)
    answer = ask(store, user, conversation).answer.id

    for _ in ("SENDING", "STREAMING"):
        with pytest.raises(Conflict) as conflict:
            ask(store, user, conversation, parent=answer if named else NEWEST)
        assert code(conflict.value) == "answer_open"
        if store.row(answer).status == "SENDING":
            store.claim(answer)

    assert count(store, user) == 1


@pytest.mark.parametrize("whose", ["another conversation", "another user", "unknown"])
def test_a_parent_from_another_conversation_is_refused(store: Store, whose: str) -> None:
    user = store.user()
    conversation = store.conversation(user)
    parent = {
        "another conversation": lambda: store.ended(user),
        "another user": store.ended,
        "unknown": uuid.uuid4,
    }[whose]()

    with pytest.raises(Invalid) as refusal:
        ask(store, user, conversation, parent=parent)

    assert code(refusal.value) == "invalid_parent"
    assert (
        store.db.rows("SELECT 1 FROM messages WHERE conversation_id = :id", id=conversation) == []
    )


def test_a_question_cannot_be_the_parent_of_a_question(store: Store) -> None:
    user = store.user()
    conversation = store.conversation(user)
    first = ask(store, user, conversation)

    with pytest.raises(Invalid, match="invalid_parent"):
        ask(store, user, conversation, parent=first.question.id)


def test_asking_in_a_deleted_conversation_is_not_found(store: Store) -> None:
    user = store.user()
    answer = store.ended(user)
    conversation = store.row(answer).conversation_id
    conversations.delete(store.db, user, conversation)

    with pytest.raises(NotFound):
        ask(store, user, conversation)
    with pytest.raises(NotFound):
        asking.ask_again(store.db, store.asking(user), answer)
    with pytest.raises(NotFound):
        asking.ask_to_continue(store.db, store.asking(user), answer, text_body("Go on."))


def test_a_key_whose_conversation_was_deleted_finds_nothing_until_it_is_back(
    store: Store,
) -> None:
    user = store.user()
    conversation, elsewhere = store.conversation(user), store.conversation(user)
    asked = ask(store, user, conversation, key="k")
    conversations.delete(store.db, user, conversation)

    for place in (conversation, elsewhere):
        with pytest.raises(NotFound):
            ask(store, user, place, key="k")
    with pytest.raises(KeyReused):
        ask(store, user, conversation, key="k", request_hash="another")

    conversations.undelete(store.db, user, conversation)
    again = ask(store, user, conversation, key="k")
    assert (again.answer.id, again.fresh) == (asked.answer.id, False)


def test_asking_and_deleting_at_once_leave_nothing_open(store: Store) -> None:
    user = store.user()
    conversation = store.conversation(user)

    def act(number: int) -> object:
        if number == 3:
            return conversations.delete(store.db, user, conversation)
        return ask(store, user, conversation, parent=None)

    _, errors = at_once(8, act)

    assert {type(error) for error in errors} <= {NotFound}
    assert store.db.rows("SELECT 1 FROM messages WHERE status = 'SENDING'") == []


# --- Retry and Continue ---------------------------------------------------------------------------


def test_a_retry_is_another_answer_to_the_same_question(store: Store) -> None:
    user = store.user()
    answer = store.ended(user)
    before = store.row(answer)

    again = asking.ask_again(store.db, store.asking(user, model="other"), answer)

    assert again.question.id == before.parent_id
    assert (again.answer.parent_id, again.answer.model) == (before.parent_id, "other")
    assert again.answer.status == Status.SENDING
    assert store.row(answer) == before


@pytest.mark.parametrize(
    "ending",
    [
        Ending(Status.DONE, "length"),
        Ending(Status.CANCELLED),
        Ending.error("provider_cut"),
    ],
)
def test_an_incomplete_answer_can_be_continued(store: Store, ending: Ending) -> None:
    user = store.user()
    answer = store.ended(user, ending)

    more = asking.ask_to_continue(store.db, store.asking(user), answer, text_body("Go on."))

    assert (more.question.parent_id, more.question.body.text) == (answer, "Go on.")
    assert (more.answer.parent_id, more.answer.continues_id) == (more.question.id, answer)


def test_a_complete_answer_cannot_be_continued(store: Store) -> None:
    user = store.user()
    answer = store.ended(user)

    with pytest.raises(Conflict) as conflict:
        asking.ask_to_continue(store.db, store.asking(user), answer, text_body("Go on."))

    assert code(conflict.value) == "complete"


def test_an_open_answer_is_neither_retried_nor_continued(store: Store) -> None:
    user = store.user()
    answer = store.sending(user)

    for _ in ("SENDING", "STREAMING"):
        with pytest.raises(Conflict, match="answer_open"):
            asking.ask_again(store.db, store.asking(user), answer)
        with pytest.raises(Conflict, match="answer_open"):
            asking.ask_to_continue(store.db, store.asking(user), answer, text_body("Go on."))
        if store.row(answer).status == "SENDING":
            store.claim(answer, ME)


def test_a_question_is_neither_retried_nor_continued(store: Store) -> None:
    user = store.user()
    question = store.ask(user).question.id

    with pytest.raises(Invalid, match="not_an_answer"):
        asking.ask_again(store.db, store.asking(user), question)
    with pytest.raises(Invalid, match="not_an_answer"):
        asking.ask_to_continue(store.db, store.asking(user), question, text_body("Go on."))
