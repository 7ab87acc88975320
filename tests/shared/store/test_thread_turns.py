"""Turns of a history that are more than text; conversations with a client's own name; joining."""

from typing import Any

import pytest

from shared import media
from shared.body import Body, text_body
from shared.errors import NotFound
from shared.lifecycle import Status
from shared.parts import PartKind
from shared.store import asking, conversations, threads
from shared.store.ending import Ending
from shared.store.threads import Turn
from shared.tool_calls import ToolResult, results_of, write_result
from tests.shared.store.test_threads import answer, ask, said
from tests.store_fixtures import Store, at_once, body_of

# --- calls, results and media ---------------------------------------------------------------------


def called(arguments: str) -> Body:
    body = text_body("Let me see.")
    body.write(PartKind.TOOL_CALL, arguments, {"id": "c1", "name": "add"}, fresh=True)
    return body


def returned(result: str) -> Turn:
    body = Body()
    write_result(body, ToolResult("c1", result))
    return Turn("user", body)


def test_a_client_that_writes_arguments_anew_stays_in_its_thread(store: Store) -> None:
    user = store.user()
    first = ask(store, user, said("1"))
    answer(store, first, called('{"a": 1.0, "b": "é"}'))
    anew = Turn("assistant", called('{"b":"\\u00e9","a":1}'))

    second = ask(store, user, [*said("1"), anew, returned("3")])

    assert second.question.parent_id == first.answer.id
    assert results_of(second.question.body) == [ToolResult("c1", "3")]
    other = ask(store, user, [*said("1"), anew, returned("4")])
    assert (other.question.parent_id, other.question.id) == (first.answer.id, other.question.id)
    assert other.question.id != second.question.id
    foreign = Turn("assistant", called('{"a": 2}'))
    third = ask(store, user, [*said("1"), foreign, returned("3")])
    assert third.question.parent_id != first.answer.id


def test_files_of_known_turns_are_not_written_again(store: Store) -> None:
    user = store.user()

    def picture() -> Turn:
        body, file = Body(), media.file_of(user, "image/png", b"a picture")
        media.write_file(body, PartKind.IMAGE, file)
        return Turn("user", body, [file])

    first = ask(store, user, [picture()])
    answer(store, first, body_of("A cat."))
    used = "SELECT used_at, xmin FROM files WHERE user_id = :u"
    before = store.db.rows(used, u=user)

    second = ask(store, user, [picture(), *said("x", "A cat.", "Sure?")[1:]])

    assert second.question.parent_id == first.answer.id
    assert store.db.rows(used, u=user) == before
    assert len(before) == 1
    answer(store, second, body_of("Yes."))
    third = ask(store, user, [picture(), *said("x", "A cat.", "Sure?", "Yes.")[1:], picture()])
    refers = "SELECT message_id FROM message_files ORDER BY message_id"
    found = {row.message_id for row in store.db.rows(refers)}
    assert {first.question.id, third.question.id} <= found
    assert second.question.id not in found
    assert len(store.db.rows(used, u=user)) == 1


# --- a client's own names, and open answers -------------------------------------------------------


def test_a_name_is_a_conversation_of_its_own_and_of_its_user(store: Store) -> None:
    mine, theirs = store.user(), store.user()

    asked = [ask(store, user, said("1"), name="chat 1") for user in (mine, mine, theirs)]
    other = ask(store, mine, said("1"), name="chat 2")

    places = [one.answer.conversation_id for one in (*asked, other)]
    assert places[0] == places[1]
    assert len(set(places)) == 3
    assert places[0] == threads.id_of_name(store.db, mine, "chat 1")
    assert conversations.load(store.db, mine, places[0]).title == "1"


def test_a_name_that_is_an_id_of_the_users_own_is_that_conversation(store: Store) -> None:
    mine, theirs = store.user(), store.user()
    place = store.conversation(mine)

    asked, other = (ask(store, user, said("1"), name=str(place)) for user in (mine, theirs))

    assert asked.answer.conversation_id == place
    assert other.answer.conversation_id == threads.id_of_name(store.db, theirs, str(place)) != place


def test_a_deleted_conversation_keeps_its_name(store: Store) -> None:
    user = store.user()
    asked = ask(store, user, said("1"), name="chat")
    answer(store, asked, body_of("one"))
    conversations.delete(store.db, user, asked.answer.conversation_id)

    with pytest.raises(NotFound):
        ask(store, user, said("1", "one", "2"), name="chat")


def test_one_name_is_made_once_at_the_same_time(store: Store) -> None:
    user = store.user()

    asked, errors = at_once(8, lambda _: ask(store, user, said("1"), name="chat", joins=True))

    assert not errors
    assert len({one.answer.id for one in asked}) == 1
    assert [one.fresh for one in asked].count(True) == 1


def test_who_comes_back_joins_the_open_answer_and_no_ended_one(store: Store) -> None:
    user = store.user()
    first = ask(store, user, said("1"), name="chat", joins=True)

    back = ask(store, user, said("1"), name="chat", joins=True)
    another = ask(store, user, said("2"), name="chat", joins=True)

    assert (back.answer.id, back.fresh) == (first.answer.id, False)
    assert (another.answer.id != first.answer.id, another.fresh) == (True, True)
    answer(store, first, body_of("one"))
    assert ask(store, user, said("1"), name="chat", joins=True).fresh


# --- another answer -------------------------------------------------------------------------------


@pytest.mark.parametrize("again", [asking.ask_again, asking.ask_to_continue])
def test_another_answer_keeps_the_instructions_of_the_first(store: Store, again: Any) -> None:
    user = store.user()
    answer(store, ask(store, user, said("1"), system="Be kind."), body_of("one"))
    turns = said("1", "one", "2")
    asked = [ask(store, user, turns, system=system) for system in ("Be brief.", None, "Be kind.")]
    words = (text_body("Go on."),) if again is asking.ask_to_continue else ()

    for first, wanted in zip(asked, ("Be brief.", "", None), strict=True):
        answer(store, first, body_of("two"), Ending(Status.CANCELLED))
        second = again(store.db, store.asking(user), first.answer.id, *words)

        assert store.row(second.answer.id).system == wanted
