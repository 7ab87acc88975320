"""A history finds its place: what is known is reused, what is new is written, and nothing else."""

import uuid
from collections.abc import Sequence
from typing import Any, Final, Literal

import pytest

from shared.body import Body, text_body
from shared.errors import KeyReused, NotFound, TooMany
from shared.lifecycle import Status
from shared.store import conversations, messages, owning, threads
from shared.store.asking import Asked
from shared.store.ending import Ending
from shared.store.threads import History, Turn
from tests.store_fixtures import ME, Store, at_once, body_of, save_of

Said = Sequence[Turn]

ROLES: Final[tuple[Literal["user"], Literal["assistant"]]] = ("user", "assistant")
#: Instructions of the requests in a conversation that began with the first of them.
CHANGED = ["Be kind.", "Be brief.", None]


def said(*texts: str) -> list[Turn]:
    """Turns that alternate, the user's first."""
    return [Turn(ROLES[number % 2], text_body(text)) for number, text in enumerate(texts)]


def ask(store: Store, user: uuid.UUID, turns: Said, **more: Any) -> Asked:
    terms = {name: more.pop(name) for name in ("key", "request_hash", "max_open") if name in more}
    return threads.ask(store.db, store.asking(user, **terms), History(turns, **more))


def answer(store: Store, asked: Asked, body: Body, ending: Ending | None = None) -> None:
    claim = store.claim(asked.answer.id)
    ending = ending or Ending(Status.DONE, "stop")
    assert owning.finish(store.db, ME, save_of(claim, body), ending)


def rows(store: Store, user: uuid.UUID) -> int:
    found = store.db.rows("SELECT count(*) AS number FROM messages WHERE user_id = :u", u=user)
    return int(found[0].number)


def branch(store: Store, user: uuid.UUID, leaf: uuid.UUID | None) -> list[str]:
    """The texts from the root down to a message."""
    texts: list[str] = []
    while leaf is not None:
        message = messages.load(store.db, leaf, user)
        texts.insert(0, message.body.text)
        leaf = message.parent_id
    return texts


def test_a_first_question_begins_a_conversation_of_its_own(store: Store) -> None:
    user = store.user()

    one, other = (ask(store, user, said("hello")) for _ in range(2))

    assert one.answer.conversation_id != other.answer.conversation_id
    found = conversations.load(store.db, user, one.answer.conversation_id)
    assert (found.title, found.title_by, found.system) == ("hello", None, None)
    assert one.fresh
    assert one.answer.status == Status.SENDING


def test_an_answer_is_found_by_what_it_said(store: Store) -> None:
    for body in (body_of("Hi 😀\u2028"), body_of(("reasoning", "Hm."), "Hi", "!"), body_of()):
        user = store.user()
        asked = ask(store, user, said("hello"))
        answer(store, asked, body, Ending(Status.CANCELLED) if not body.length else None)

        following = ask(store, user, said("hello", body.text, "And?"))

        assert following.question.parent_id == asked.answer.id


def test_an_answer_to_a_question_without_a_link_has_none(store: Store) -> None:
    assert store.row(store.ended()).chain is None


def test_a_hundred_turns_cost_a_hundred_rows(store: Store) -> None:
    user = store.user()
    history: list[str] = []
    places = set()
    for number in range(50):
        history.append(f"question {number}")
        asked = ask(store, user, said(*history))
        places.add(asked.answer.conversation_id)
        answer(store, asked, body_of(f"answer {number}"))
        history.append(f"answer {number}")

    assert len(places) == 1
    assert rows(store, user) == 100
    assert branch(store, user, asked.answer.id) == history


@pytest.mark.parametrize(
    ("turns", "known"),
    [
        (("1", "one", "2"), 2),
        (("1", "one", "2", "two", "3"), 4),
        (("1", "one", "2", "edited", "3"), 3),
        (("1", "one", "edited"), 2),
        (("1", "one", "edited", "two", "3"), 2),
    ],
)
def test_an_edited_turn_is_a_branch_below_what_is_known(
    store: Store, turns: tuple[str, ...], known: int
) -> None:
    user = store.user()
    first = ask(store, user, said("1"))
    answer(store, first, body_of("one"))
    second = ask(store, user, said("1", "one", "2"))
    answer(store, second, body_of("two"))
    before = rows(store, user)

    asked = ask(store, user, said(*turns))

    assert asked.answer.conversation_id == first.answer.conversation_id
    assert branch(store, user, asked.answer.parent_id) == list(turns)
    # the whole of (1, one, 2) is known: only another answer is new
    new = len(turns) - known if turns != ("1", "one", "2") else 0
    assert rows(store, user) == before + new + 1


def test_only_the_first_question_in_common_is_another_talk(store: Store) -> None:
    user = store.user()
    first = ask(store, user, said("hello"))
    answer(store, first, body_of("Hi"))

    asked = ask(store, user, said("hello", "Good day", "And?"))

    assert asked.answer.conversation_id != first.answer.conversation_id
    assert branch(store, user, asked.answer.parent_id) == ["hello", "Good day", "And?"]


def test_two_talks_that_are_equal_so_far_stay_two(store: Store) -> None:
    user = store.user()
    begun = [ask(store, user, said("hello")) for _ in range(2)]
    for asked in begun:
        answer(store, asked, body_of("Hi"))

    gone_on = [ask(store, user, said("hello", "Hi", text)) for text in ("one", "other")]

    assert {one.answer.conversation_id for one in gone_on} == {
        one.answer.conversation_id for one in begun
    }


def test_a_foreign_turn_is_an_ended_message_without_a_model(store: Store) -> None:
    user = store.user()

    asked = ask(store, user, said("1", "from elsewhere", "2"))

    imported = messages.load(store.db, asked.question.parent_id or uuid.uuid4(), user)
    assert (imported.role, imported.status, imported.model) == ("assistant", Status.DONE, None)
    assert (imported.body.text, imported.length) == ("from elsewhere", 14)
    assert imported.ended_at is not None
    claim = store.claim(asked.answer.id)
    assert [body.text for _, body in claim.path] == ["1", "from elsewhere", "2"]
    assert not store.db.rows("SELECT 1 FROM token_use WHERE user_id = :u", u=user)


def test_nobody_finds_what_another_has_said(store: Store) -> None:
    mine, theirs = store.user(), store.user()
    asked = ask(store, theirs, said("secret"))
    answer(store, asked, body_of("word"))

    found = ask(store, mine, said("secret", "word", "and?"))

    assert found.answer.conversation_id != asked.answer.conversation_id
    with pytest.raises(NotFound):
        ask(store, mine, said("x"), conversation_id=asked.answer.conversation_id)
    assert rows(store, theirs) == 2


def test_a_deleted_conversation_is_not_found_again(store: Store) -> None:
    user = store.user()
    asked = ask(store, user, said("1"))
    answer(store, asked, body_of("one"))
    conversations.delete(store.db, user, asked.answer.conversation_id)

    again = ask(store, user, said("1", "one", "2"))

    assert again.answer.conversation_id != asked.answer.conversation_id


# --- a conversation that is named -----------------------------------------------------------------


def test_a_conversation_that_is_named_is_asked_in(store: Store) -> None:
    user = store.user()
    place = store.conversation(user)

    one, other = (ask(store, user, said("hello"), conversation_id=place) for _ in range(2))

    assert {one.answer.conversation_id, other.answer.conversation_id} == {place}
    assert one.question.id == other.question.id  # another answer to the same question
    assert one.question.parent_id is None
    third = ask(store, user, said("not hello"), conversation_id=place)
    assert (third.answer.conversation_id, third.question.parent_id) == (place, None)


# --- system texts ---------------------------------------------------------------------------------


def test_each_answer_has_the_instructions_of_its_request(store: Store) -> None:
    user = store.user()
    first = ask(store, user, said("1"), system="Be kind.")
    answer(store, first, body_of("one"))
    asked = [ask(store, user, said("1", "one", "2"), system=system) for system in CHANGED]

    assert {one.answer.conversation_id for one in asked} == {first.answer.conversation_id}
    # only what is not the conversation's is kept again
    assert [store.row(one.answer.id).system for one in asked] == [None, "Be brief.", ""]
    assert [store.claim(one.answer.id).system or None for one in asked] == CHANGED


def test_without_instructions_those_of_a_named_conversation_hold(store: Store) -> None:
    user = store.user()
    place = conversations.create(store.db, user, None, "Be kind.").id

    asked = ask(store, user, said("1"), conversation_id=place)

    assert store.claim(asked.answer.id).system == "Be kind."


# --- repeats --------------------------------------------------------------------------------------


def test_a_repeat_joins_and_an_equal_request_does_not(store: Store) -> None:
    user = store.user()
    first = ask(store, user, said("1"), repeat_hash="h")

    equal = ask(store, user, said("1"), repeat_hash="h")
    repeat = ask(store, user, said("1"), repeat_hash="h", is_repeat=True)

    assert equal.answer.id != first.answer.id
    assert (repeat.answer.id, repeat.question.id) == (equal.answer.id, equal.question.id)
    assert not repeat.fresh
    assert rows(store, user) == 4


def test_what_is_not_joined_is_asked_anew(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    user, other = store.user(), store.user()
    first = ask(store, user, said("1"), repeat_hash="h")

    def joins(who: uuid.UUID, repeat_hash: str) -> bool:
        repeat = ask(store, who, said("1"), repeat_hash=repeat_hash, is_repeat=True)
        if repeat.fresh:  # it is not what the next one is to find
            store.run("UPDATE messages SET repeat_hash = NULL WHERE id = :i", i=repeat.answer.id)
        return not repeat.fresh

    assert joins(user, "h")
    assert not joins(user, "another")
    assert not joins(other, "h")
    # however long it takes, and a while longer
    long_ago = "UPDATE messages SET created_at = now() - interval '1 h' WHERE id = :i"
    store.run(long_ago, i=first.answer.id)
    assert joins(user, "h")
    answer(store, first, body_of("Said"))
    assert joins(user, "h")
    monkeypatch.setattr(threads, "REPEATED_WITHIN", 0.0)
    assert not joins(user, "h")


def test_an_answer_that_failed_is_not_joined_and_one_that_was_stopped_is(store: Store) -> None:
    user = store.user()
    for ending, joined in ((Ending.error("provider_cut"), False), (Ending(Status.CANCELLED), True)):
        first = ask(store, user, said("1"), repeat_hash=ending.status)
        answer(store, first, body_of("So far"), ending)

        repeat = ask(store, user, said("1"), repeat_hash=ending.status, is_repeat=True)

        assert (repeat.answer.id == first.answer.id) == joined


def test_the_same_key_gives_the_same_answer_once(store: Store) -> None:
    user = store.user()

    asked, errors = at_once(8, lambda _: ask(store, user, said("1"), key="k", request_hash="h"))

    assert not errors
    assert len({one.answer.id for one in asked}) == 1
    assert [one.fresh for one in asked].count(True) == 1
    with pytest.raises(KeyReused):
        ask(store, user, said("2"), key="k", request_hash="other")


def test_what_is_over_a_limit_leaves_nothing(store: Store) -> None:
    user = store.user()
    ask(store, user, said("1"), max_open=1)

    with pytest.raises(TooMany):
        ask(store, user, said("2", "two", "3"), max_open=1)

    assert rows(store, user) == 2
