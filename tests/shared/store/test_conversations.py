"""Trees of messages: lists, branches, deleting; and all of it is its user's alone."""

import inspect
import re
import uuid
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from shared.body import text_body
from shared.errors import NotFound
from shared.lifecycle import Status
from shared.store import (
    asking,
    branches,
    conversations,
    messages,
    places,
    reaping,
    search,
    shares,
    sidebar,
    stopping,
)
from shared.store.asking import NEWEST
from shared.store.places import Point
from tests.client import new_id
from tests.store_fixtures import Store, body_of

# --- what is whose --------------------------------------------------------------------------------


class Theirs:
    """A user's conversation with an ended and an open answer, and a stranger."""

    def __init__(self, store: Store) -> None:
        self.db, self.store = store.db, store
        self.owner, self.stranger = store.user(), store.user()
        self.ended = store.ended(self.owner)
        self.conversation = store.row(self.ended).conversation_id
        self.open = store.streaming(self.owner).id


#: Every function that takes a user, called for that user on what is the owner's.
CALLS: dict[str, Callable[[Theirs, uuid.UUID], Any]] = {
    "messages.load": lambda it, user: messages.load(it.db, it.ended, user),
    "messages.load_without_body": lambda it, user: messages.load_without_body(
        it.db, it.ended, user
    ),
    "messages.status": lambda it, user: messages.status(it.db, it.ended, user),
    "stopping.stop": lambda it, user: stopping.stop(it.db, it.open, user),
    "conversations.load": lambda it, user: conversations.load(it.db, user, it.conversation),
    "conversations.change": lambda it, user: conversations.change(
        it.db, user, it.conversation, system="Mine"
    ),
    "conversations.delete": lambda it, user: conversations.delete(it.db, user, it.conversation),
    "conversations.undelete": lambda it, user: conversations.undelete(it.db, user, it.conversation),
    "conversations.must_own": lambda it, user: conversations.must_own(it.db, user, it.conversation),
    "conversations.mark_seen": lambda it, user: conversations.mark_seen(
        it.db, user, it.conversation, None
    ),
    "places.keep": lambda it, user: places.keep(
        it.db, user, it.conversation, Point(it.ended, 1), Point(it.ended, 1)
    ),
    "places.load": lambda it, user: places.load(it.db, user, it.conversation),
    "branches.turns": lambda it, user: branches.turns(
        it.db, user, it.conversation, before=it.ended
    ),
    "branches.above": lambda it, user: branches.above(it.db, user, it.conversation, it.ended),
    "asking.ask": lambda it, user: asking.ask(
        it.db, it.store.asking(user), it.conversation, text_body("Why?"), None
    ),
    "asking.ask_again": lambda it, user: asking.ask_again(it.db, it.store.asking(user), it.ended),
    "asking.ask_to_continue": lambda it, user: asking.ask_to_continue(
        it.db, it.store.asking(user), it.ended, text_body("Go on.")
    ),
}
#: They name no row of a user: see below.
OTHERWISE = {
    *("conversations.create", "conversations.newest", "asking.lock_user"),
    # of those that ask
    *("asking.asking_transaction", "asking.begin_answer", "asking.check_limits"),
    "asking.ask_in",  # of the line (test_line.py)
    "asking.must_be_called",
    # they find nothing of others, and say so in their result
    *("messages.is_deleted", "messages.key_of", "messages.id_of_key", "messages.stopped"),
    *("search.search", "sidebar.page", "sidebar.state", "branches.first_of"),
}


@pytest.mark.parametrize("call", CALLS)
def test_another_users_rows_are_not_found_and_not_changed(store: Store, call: str) -> None:
    theirs = Theirs(store)
    before = store.row(theirs.open), store.db.rows("SELECT * FROM conversations ORDER BY seq")

    with pytest.raises(NotFound):
        CALLS[call](theirs, theirs.stranger)

    after = store.row(theirs.open), store.db.rows("SELECT * FROM conversations ORDER BY seq")
    assert after == before


@pytest.mark.parametrize("call", sorted(set(CALLS) - {"asking.ask_to_continue"}))
def test_the_owner_may_make_every_call(store: Store, call: str) -> None:
    theirs = Theirs(store)

    CALLS[call](theirs, theirs.owner)


MODULES = (messages, stopping, branches, conversations, asking, places, reaping, search, sidebar)


def test_every_function_that_takes_a_user_is_tested_for_access() -> None:
    found = {
        f"{module.__name__.removeprefix('shared.store.')}.{name}"
        for module in (
            messages,
            stopping,
            branches,
            conversations,
            asking,
            places,
            reaping,
            search,
            sidebar,
        )
        for name, function in public_functions(module)
        if {"user_id", "asking"} & set(inspect.signature(function).parameters)
    }

    assert found == set(CALLS) | OTHERWISE


def test_rights_are_checked_by_the_two_predicates_only() -> None:
    """What is in this list belongs to a user, however rights to read are shared."""
    by_hand = {
        file.name: len(re.findall(r"user_id = :user\b", file.read_text()))
        for file in Path(conversations.__file__).parent.glob("*.py")
    }

    assert {name: number for name, number in by_hand.items() if number} == {
        "asking.py": 2,  # the key of a request, and the cap
        "audit.py": 1,  # what an operator looks for
        "conversations.py": 1,  # the key of a creation
        "deletion.py": 2,  # what goes with a user
        "line.py": 3,  # the key of a request
        "messages.py": 2,  # the key of a request
        "pushes.py": 3,  # their user's subscriptions
        # the user's use, keys, sessions, shares, audit rows, files, lines and subscriptions
        "exporting.py": 7,
        "files.py": 3,  # kept or named by its user, those of a prompt, what goes with a user
        "sessions.py": 3,  # the oldest, and those that their user ends
        "token_use.py": 1,  # what the user used
        "turns.py": 1,  # whose turn it is
    }


def public_functions(module: ModuleType) -> list[tuple[str, Callable[..., Any]]]:
    return [
        (name, function)
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__ and not name.startswith("_")
    ]


# --- what is found --------------------------------------------------------------------------------


def test_the_first_messages_of_places_are_those_that_the_user_may_read(store: Store) -> None:
    theirs = Theirs(store)
    above = branches.above(store.db, theirs.owner, theirs.conversation, theirs.ended)
    places = [*above, branches.Place(theirs.ended, 10)]

    for most, count in ((10_000, 2), (1, 1)):
        found = branches.first_of(store.db, theirs.owner, places, most)
        assert ([one.id for one in found[0]], found[1]) == (
            [place.message_id for place in places[:count]], count,
        )  # fmt: skip
        assert branches.first_of(store.db, theirs.stranger, places, most) == ([], count)


def test_search_and_sidebar_show_a_users_own_conversations_only(store: Store) -> None:
    theirs = Theirs(store)

    def found(user: uuid.UUID) -> tuple[int, int, int]:
        return (
            len(search.search(store.db, user, "because", 10, None)),
            len(sidebar.page(store.db, user, 10, None)),
            len(sidebar.state(store.db, user).entries),
        )

    assert found(theirs.owner) == (1, 2, 2)
    assert found(theirs.stranger) == (0, 0, 0)


def test_questions_about_messages_are_answered_for_their_owner_only(store: Store) -> None:
    owner, stranger = store.user(), store.user()
    asked = store.ask(owner, key="k").answer
    stopping.stop(store.db, asked.id, owner)
    link = shares.add(store.db, owner, asked.conversation_id, token_hash=new_id())

    def found(user: uuid.UUID) -> tuple[Any, ...]:
        return (
            messages.id_of_key(store.db, user, "k"),
            messages.key_of(store.db, user, asked.id),
            list(messages.stopped(store.db, user, [asked.id])),
        )

    assert found(owner) == (asked.id, "k", [asked.id])
    for other in (stranger, link.id):
        assert found(other) == (None, None, [])
    conversations.delete(store.db, owner, asked.conversation_id)
    assert messages.is_deleted(store.db, asked.id, owner)
    assert not messages.is_deleted(store.db, asked.id, stranger)


# --- lists ----------------------------------------------------------------------------------------


def test_conversations_are_listed_newest_first_in_pages(store: Store) -> None:
    user = store.user()
    store.conversation(store.user())
    made = [store.conversation(user) for _ in range(5)]

    first, _ = conversations.newest(store.db, user, 2, None)
    second, more = conversations.newest(store.db, user, 2, first[-1].seq)
    third, no_more = conversations.newest(store.db, user, 2, second[-1].seq)
    assert (more, no_more) == (True, False)

    assert [one.id for one in [*first, *second, *third]] == made[::-1]
    assert [len(page) for page in (first, second, third)] == [2, 2, 1]


def test_a_new_conversation_does_not_move_the_pages(store: Store) -> None:
    user = store.user()
    made = [store.conversation(user) for _ in range(3)]
    first, _ = conversations.newest(store.db, user, 2, None)

    store.conversation(user)

    assert [c.id for c in conversations.newest(store.db, user, 2, first[-1].seq)[0]] == [made[0]]


def test_a_deleted_conversation_is_in_no_list(store: Store) -> None:
    user = store.user()
    kept, deleted = store.conversation(user), store.conversation(user)

    conversations.delete(store.db, user, deleted)

    assert [c.id for c in conversations.newest(store.db, user, 9, None)[0]] == [kept]
    with pytest.raises(NotFound):
        conversations.load(store.db, user, deleted)
    with pytest.raises(NotFound):
        conversations.delete(store.db, user, deleted)


def test_a_key_of_a_deleted_conversation_is_not_found_until_undo_and_free_after_the_purge(
    store: Store,
) -> None:
    user = store.user()

    def create() -> uuid.UUID:
        return conversations.create(store.db, user, None, None, key="k", request_hash="h").id

    one = create()
    conversations.delete(store.db, user, one)
    with pytest.raises(NotFound):
        create()
    conversations.undelete(store.db, user, one)
    assert create() == one

    conversations.delete(store.db, user, one)
    store.run("UPDATE conversations SET deleted_at = deleted_at - interval '1 h'")
    store.sweep().run()
    assert create() != one


def test_a_title_can_be_changed_and_taken_away(store: Store) -> None:
    user = store.user()
    one = conversations.create(store.db, user, "Old", "Be brief.")

    renamed = conversations.change(store.db, user, one.id, title="New")
    bare = conversations.change(store.db, user, one.id, title=None)

    assert (renamed.title, bare.title) == ("New", None)
    assert (bare.system, bare.seq) == (one.system, one.seq)


# --- branches -------------------------------------------------------------------------------------


def test_a_branch_is_the_path_to_the_newest_message_with_its_siblings(store: Store) -> None:
    user = store.user()
    first = store.ended(user)
    question, place = store.row(first).parent_id, store.row(first).conversation_id
    again = asking.ask_again(store.db, store.asking(user), first).answer.id
    stopping.stop(store.db, again, user)
    below = asking.ask(store.db, store.asking(user), place, text_body("And?"), first)

    turns = branches.turns(store.db, user, place).turns

    path = [question, first, below.question.id, below.answer.id]
    assert [turn.message.id for turn in turns] == path
    newest = below.answer.id
    assert [turn.siblings for turn in turns] == [
        [(question, newest)],
        [(first, newest), (again, again)],
        [(below.question.id, newest)],
        [(newest, newest)],
    ]
    other = branches.turns(store.db, user, place, again).turns
    assert [turn.message.id for turn in other] == [question, again]
    assert other[1].siblings == turns[1].siblings


def test_roots_are_siblings_too(store: Store) -> None:
    user = store.user()
    place = store.conversation(user)
    roots = [
        asking.ask(store.db, store.asking(user), place, text_body("?"), None) for _ in range(2)
    ]

    [question, _] = branches.turns(store.db, user, place).turns

    assert [one for one, _ in question.siblings] == [root.question.id for root in roots]


def test_an_empty_conversation_has_an_empty_branch(store: Store) -> None:
    user = store.user()
    place = store.conversation(user)

    assert branches.turns(store.db, user, place).turns == []
    with pytest.raises(NotFound):
        branches.turns(store.db, user, place, uuid.uuid4())


def test_an_open_answer_on_a_branch_has_what_is_saved(store: Store) -> None:
    user = store.user()
    claim = store.streaming(user)
    store.save(claim, body_of("Be"))

    turns = branches.turns(store.db, user, store.row(claim.id).conversation_id).turns

    assert turns[-1].message.body.text == "Be"


def test_a_long_conversation_is_one_branch(store: Store) -> None:
    user = store.user()
    place = store.conversation(user)
    for number in range(30):
        asked = asking.ask(store.db, store.asking(user), place, text_body(str(number)), NEWEST)
        stopping.stop(store.db, asked.answer.id, user)

    turns = branches.turns(store.db, user, place).turns

    assert [turn.message.body.text for turn in turns[::2]] == [str(n) for n in range(30)]


# --- deleting -------------------------------------------------------------------------------------


def test_deleting_stops_what_is_open_and_hides_all_of_it(store: Store) -> None:
    user = store.user()
    place = store.conversation(user)
    waiting, writing, ended = (
        asking.ask(store.db, store.asking(user), place, text_body("?"), None).answer.id
        for _ in range(3)
    )
    store.claim(writing)
    stopping.stop(store.db, ended, user)

    stopped = conversations.delete(store.db, user, place)

    assert set(stopped) == {waiting, writing}
    assert store.row(waiting).status == Status.CANCELLED
    assert store.row(writing).stop_requested
    for message_id in (waiting, writing, ended):
        with pytest.raises(NotFound):
            messages.load(store.db, message_id, user)
        with pytest.raises(NotFound):
            stopping.stop(store.db, message_id, user)
        assert messages.load(store.db, message_id, user, deleted=True).id == message_id


def test_deleting_a_conversation_leaves_the_others(store: Store) -> None:
    user = store.user()
    kept = store.sending(user)
    deleted = store.sending(user)

    conversations.delete(store.db, user, store.row(deleted).conversation_id)

    assert store.row(kept).status == Status.SENDING


def test_a_deleted_conversation_is_purged_after_the_time_for_undo(store: Store) -> None:
    user = store.user()
    recent, old, busy = store.ended(user), store.ended(user), store.streaming(user).id
    for message_id in (recent, old, busy):
        conversations.delete(store.db, user, store.row(message_id).conversation_id)
    hour_ago = "UPDATE conversations SET deleted_at = deleted_at - interval '1 hour' WHERE id = :id"
    for message_id in (old, busy):
        store.run(hour_ago, id=store.row(message_id).conversation_id)

    purged = reaping.purge(store.db)

    assert purged == 1
    left = {row.id for row in store.db.rows("SELECT id FROM messages WHERE role = 'assistant'")}
    assert left == {recent, busy}
