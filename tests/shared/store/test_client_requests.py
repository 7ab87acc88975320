"""Questions below an answer that is named, what is kept of their requests, and their deletion."""

import uuid
from typing import Any

import pytest

from shared.body import Body, text_body
from shared.errors import Conflict, Invalid, NotFound
from shared.lifecycle import Status
from shared.store import client_deletions, client_requests, conversations, owning, threads
from shared.store.asking import NEWEST, Asked, ask_again
from shared.store.ending import Ending
from shared.store.threads import History, Turn
from shared.tool_calls import ToolResult, write_result
from tests.store_fixtures import ME, Store, body_of, save_of


def question(text: str) -> Turn:
    return Turn("user", text_body(text))


def ask(store: Store, user: uuid.UUID, *turns: Turn, request: Any = None, **more: Any) -> Asked:
    terms = store.asking(user, request=request)
    return threads.ask(store.db, terms, History(turns, **more))


def answer(store: Store, asked: Asked, body: Body) -> Asked:
    claim = store.claim(asked.answer.id)
    assert owning.finish(store.db, ME, save_of(claim, body), Ending(Status.DONE, "stop"))
    return asked


def answered(store: Store, user: uuid.UUID, text: str, **more: Any) -> Asked:
    return answer(store, ask(store, user, question(text), **more), body_of(f"to {text}"))


def test_turns_go_below_the_answer_that_is_named(store: Store) -> None:
    user = store.user()
    first = answered(store, user, "1")
    answered(store, user, "2", below=first.answer.id)

    branch = ask(store, user, question("other"), below=first.answer.id)

    assert branch.question.parent_id == first.answer.id
    assert branch.answer.conversation_id == first.answer.conversation_id


def test_what_was_asked_below_a_named_answer_is_found_by_what_was_said(store: Store) -> None:
    user = store.user()
    first = answered(store, user, "1")
    second = answered(store, user, "2", below=first.answer.id)
    said = [question("1"), Turn("assistant", text_body("to 1")), question("2"),
            Turn("assistant", text_body("to 2")), question("3")]  # fmt: skip

    third = ask(store, user, *said)

    assert third.question.parent_id == second.answer.id


def test_the_newest_answer_of_a_conversation_can_be_named(store: Store) -> None:
    user = store.user()
    first = answered(store, user, "1", name="a", below=NEWEST)
    second = answered(store, user, "2", name="a", below=NEWEST)
    third = ask(store, user, question("3"), conversation_id=second.answer.conversation_id,
                below=NEWEST)  # fmt: skip

    assert first.question.parent_id is None
    assert second.question.parent_id == first.answer.id
    assert third.question.parent_id == second.answer.id


def test_what_cannot_be_continued_is_refused(store: Store) -> None:
    user = store.user()
    open_one = ask(store, user, question("1"))

    with pytest.raises(Conflict):
        ask(store, user, question("2"), below=open_one.answer.id)
    with pytest.raises(Invalid):
        ask(store, user, question("2"), below=open_one.question.id)
    for name, who in ((open_one.answer.id, store.user()), (uuid.uuid4(), user)):
        with pytest.raises(NotFound):
            ask(store, who, question("2"), below=name)


def test_results_are_those_of_the_calls_above(store: Store) -> None:
    user = store.user()
    calls = Body()
    calls.write("tool_call", "{}", {"id": "c1", "name": "f"})
    first = answer(store, ask(store, user, question("1")), calls)

    def result(call_id: str) -> Turn:
        body = Body()
        write_result(body, ToolResult(call_id, "2"))
        return Turn("user", body)

    with pytest.raises(Invalid):
        ask(store, user, result("c2"), below=first.answer.id)
    assert ask(store, user, result("c1"), below=first.answer.id).fresh


def test_a_system_text_of_its_own_is_nobody_elses(store: Store) -> None:
    user = store.user()
    first = answered(store, user, "1", system="Be kind.", system_is_own=True)
    second = ask(store, user, question("2"), below=first.answer.id, system_is_own=True)

    asked = [client_requests.load(store.db, one.answer.id, user) for one in (first, second)]

    assert [one.system for one in asked] == ["Be kind.", None]
    place = conversations.load(store.db, user, first.answer.conversation_id)
    assert place.system is None
    again = ask_again(store.db, store.asking(user), first.answer.id)
    assert store.claim(again.answer.id).system == "Be kind."


def test_a_request_is_kept_for_its_user(store: Store) -> None:
    user = store.user()
    first = ask(store, user, question("1"), request={"metadata": {"a": "b"}})
    plain = ask(store, user, question("1"))

    found = client_requests.load(store.db, first.answer.id, user)

    assert (found.request, found.above) == ({"metadata": {"a": "b"}}, None)
    assert client_requests.load(store.db, plain.answer.id, user).request == {}
    for name, who in ((first.answer.id, store.user()), (first.question.id, user)):
        with pytest.raises(NotFound):
            client_requests.load(store.db, name, who)


def test_a_deleted_answer_is_stopped_and_hidden_and_the_last_takes_its_conversation(
    store: Store,
) -> None:
    user = store.user()
    first = answered(store, user, "1")
    second = ask(store, user, question("2"), below=first.answer.id)
    place = first.answer.conversation_id

    with pytest.raises(NotFound):
        client_deletions.delete(store.db, second.answer.id, store.user())
    client_deletions.delete(store.db, second.answer.id, user)

    assert store.row(second.answer.id).status == Status.CANCELLED
    for action in (client_deletions.delete, client_requests.load):
        with pytest.raises(NotFound):
            action(store.db, second.answer.id, user)
    with pytest.raises(NotFound):
        ask(store, user, question("3"), below=second.answer.id)
    assert conversations.load(store.db, user, place)
    client_deletions.delete(store.db, first.answer.id, user)
    with pytest.raises(NotFound):
        conversations.load(store.db, user, place)
