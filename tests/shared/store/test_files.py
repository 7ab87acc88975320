"""Files of questions: kept once for each user, read by readers of the question, gone with it."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event

from shared import media
from shared.body import Body
from shared.errors import Conflict, Invalid, NotFound
from shared.lifecycle import Status
from shared.media import File, KnownFile, StoredFile, file_of
from shared.parts import PartKind
from shared.store import asking, conversations, deletion, exporting, files, owning, shares
from shared.store.asking import Asked
from shared.store.ending import Ending
from shared.tool_calls import ToolResult, calls_of, results_of, write_result
from tests.store_fixtures import ME, Store, save_of


def png(user: uuid.UUID, data: bytes = b"png") -> StoredFile:
    return file_of(user, "image/png", data)


def ask(
    store: Store, user: uuid.UUID, *sent: File, place: uuid.UUID | None = None, text: str = ""
) -> Asked:
    """A question with these images."""
    body = Body()
    for file in sent:
        media.write_file(body, PartKind.IMAGE, file)
    body.write("text", text, fresh=True)
    place = place or store.conversation(user)
    return asking.ask(store.db, store.asking(user), place, body, stored=sent)


def kept(store: Store, user: uuid.UUID) -> list[bytes]:
    rows = store.db.rows("SELECT data FROM files WHERE user_id = :id ORDER BY data", id=user)
    return [bytes(row.data) for row in rows]


def forget_use(store: Store) -> None:
    """The time has passed for which an unused file is kept."""
    ago = timedelta(seconds=files.UNUSED_SECONDS + 1)
    store.run("UPDATE files SET used_at = clock_timestamp() - CAST(:ago AS interval)", ago=ago)


def tidy(store: Store) -> None:
    after = files.remove_unused(store.db)
    while after != files.FIRST:
        after = files.remove_unused(store.db, after)


# --- kept and read --------------------------------------------------------------------------------


def test_the_same_file_of_a_user_is_kept_once(store: Store) -> None:
    user, other = store.user(), store.user()
    ask(store, user, png(user), png(user))
    ask(store, user, png(user), png(user, b"another"))
    ask(store, other, png(other))

    assert kept(store, user) == [b"another", b"png"]
    assert kept(store, other) == [b"png"]


def test_a_file_is_read_by_the_readers_of_its_question_and_nobody_else(store: Store) -> None:
    user, friend, stranger = store.user(), store.user(), store.user()
    asked = ask(store, user, png(user))
    place, file = asked.question.conversation_id, png(user)
    link = shares.add(store.db, user, place, token_hash=uuid.uuid4().hex)
    store.run(
        "INSERT INTO shares (id, conversation_id, user_id, with_user_id)"
        " VALUES (:id, :place, :user, :friend)",
        id=uuid.uuid4(), place=place, user=user, friend=friend,
    )  # fmt: skip

    for reader in (user, friend, link.id):
        assert files.load(store.db, reader, file.id) == file
    for reader in (stranger, uuid.uuid4()):
        with pytest.raises(NotFound):
            files.load(store.db, reader, file.id)
    conversations.delete(store.db, user, place)
    for reader in (user, friend, link.id):
        with pytest.raises(NotFound):
            files.load(store.db, reader, file.id)


def test_a_worker_loads_files_of_the_user_who_asks(store: Store) -> None:
    user, other = store.user(), store.user()
    ask(store, user, png(user))
    ask(store, other, png(other))
    ids = [png(user).id, png(other).id]

    assert files.load_own(store.db, user, ids) == {png(user).id: png(user)}
    assert files.load_own(store.db, user, []) == {}


# --- named again ----------------------------------------------------------------------------------


class Traffic:
    """What statements send to Postgres, and the columns that they read."""

    def __init__(self) -> None:
        self.sent = 0
        self.read: set[str] = set()

    def add(self, _: Any, cursor: Any, __: Any, parameters: Any, ___: Any, ____: Any) -> None:
        self.sent += len(str(parameters))
        self.read |= {column.name for column in cursor.description or ()}


@contextmanager
def traffic(store: Store) -> Iterator[Traffic]:
    found = Traffic()
    event.listen(store.db.engine, "after_cursor_execute", found.add)
    try:
        yield found
    finally:
        event.remove(store.db.engine, "after_cursor_execute", found.add)


def test_files_that_are_stored_are_named_again_without_their_bytes(store: Store) -> None:
    user, other = store.user(), store.user()
    sent = [png(user, bytes([number]) * 200_000) for number in range(8)]
    ask(store, user, *sent)
    ask(store, other, png(other))
    forget_use(store)

    with traffic(store) as found:
        known = files.known(store.db, user, [*(file.id for file in sent), png(other).id])
        asked = ask(store, user, *known.values(), *known.values())

    assert known == {file.id: KnownFile(file.id, "image/png", 200_000) for file in sent}
    assert found.sent < 20_000
    assert "data" not in found.read
    assert media.file_ids(asked.question.body) == [file.id for file in known.values()] * 2
    assert files.known(store.db, user, []) == {}
    assert files.load_own(store.db, user, known) == {file.id: file for file in sent}
    rows = store.db.rows(
        "SELECT f.used_at > clock_timestamp() - interval '1 minute' AS used FROM message_files r"
        " JOIN files f ON f.id = r.file_id WHERE r.message_id = :id",
        id=asked.question.id,
    )
    assert [row.used for row in rows] == [True] * 8


def test_a_file_that_was_removed_since_it_was_found_is_refused(store: Store) -> None:
    user = store.user()
    place = ask(store, user, png(user)).question.conversation_id
    found = files.known(store.db, user, [png(user).id])
    store.run("DELETE FROM conversations WHERE id = :id", id=place)
    forget_use(store)
    tidy(store)

    with pytest.raises(NotFound):
        ask(store, user, *found.values(), png(user, b"another"))

    assert kept(store, user) == []


def test_a_sweep_leaves_a_file_that_is_just_being_named_again(store: Store) -> None:
    user = store.user()
    old = ask(store, user, png(user)).question.conversation_id
    new = ask(store, user, png(user, b"another")).question.id
    found = files.known(store.db, user, [png(user).id])
    store.run("DELETE FROM conversations WHERE id = :id", id=old)
    forget_use(store)

    with store.db.transaction() as connection:
        files.keep(connection, user, [(new, file) for file in found.values()])
        tidy(store)
    tidy(store)

    assert kept(store, user) == [b"another", b"png"]


# --- refused, exported ----------------------------------------------------------------------------


def test_a_refused_question_keeps_no_file(store: Store) -> None:
    user = store.user()
    asked = ask(store, user, png(user))

    with pytest.raises(Conflict, match="answer_open"):
        ask(store, user, png(user, b"two"), place=asked.question.conversation_id)

    assert kept(store, user) == [b"png"]


def test_a_question_without_text_gives_no_title(store: Store) -> None:
    user = store.user()
    place = ask(store, user, png(user)).question.conversation_id

    assert conversations.load(store.db, user, place).title is None


def test_an_export_has_the_files(store: Store) -> None:
    user, other = store.user(), store.user()
    ask(store, user, png(user, b"1"), png(user, b"2"))
    ask(store, other, png(other))

    rows = list(exporting.files(store.db, user))

    assert sorted(row["data"] for row in rows) == [b"1", b"2"]
    assert {row["media_type"] for row in rows} == {"image/png"}


# --- removed --------------------------------------------------------------------------------------


def test_a_file_goes_with_its_last_message(store: Store) -> None:
    user = store.user()
    first, second = (ask(store, user, png(user)).question.conversation_id for _ in range(2))
    forget_use(store)

    store.run("DELETE FROM conversations WHERE id = :id", id=first)
    tidy(store)
    assert kept(store, user) == [b"png"]
    store.run("DELETE FROM conversations WHERE id = :id", id=second)
    tidy(store)

    assert kept(store, user) == []


def test_a_file_that_was_used_a_moment_ago_stays(store: Store) -> None:
    user = store.user()
    place = ask(store, user, png(user)).question.conversation_id
    forget_use(store)
    ask(store, user, png(user))

    store.run("DELETE FROM conversations WHERE user_id = :id", id=user)
    tidy(store)

    assert kept(store, user) == [b"png"]
    assert place is not None


def test_a_sweep_removes_what_no_message_refers_to(store: Store) -> None:
    user = store.user()
    place = ask(store, user, png(user)).question.conversation_id
    store.run("DELETE FROM conversations WHERE id = :id", id=place)
    forget_use(store)

    store.sweep().run()

    assert kept(store, user) == []


def test_many_files_are_compared_in_many_calls(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "COMPARED_AT_ONCE", 2)
    user = store.user()
    place = ask(store, user, *[png(user, bytes([n])) for n in range(5)]).question.conversation_id
    ask(store, user, png(user, b"used"))
    store.run("DELETE FROM conversations WHERE id = :id", id=place)
    forget_use(store)

    tidy(store)

    assert kept(store, user) == [b"used"]


def test_files_of_a_deleted_user_are_purged(store: Store) -> None:
    user, other = store.user(), store.user()
    for one in (user, other):
        asked = ask(store, one, png(one))
        claim = store.claim(asked.answer.id)
        assert owning.finish(store.db, ME, save_of(claim, Body()), Ending(Status.DONE, "stop"))
    deletion.begin(store.db, user, by=user, credential="jwt")

    store.sweep().run()

    assert kept(store, user) == []
    assert kept(store, other) == [b"png"]


# --- results of tools -----------------------------------------------------------------------------


def called(store: Store, user: uuid.UUID, *ids: str, status: Status = Status.DONE) -> Asked:
    """A question whose answer ended with calls of these ids."""
    asked = asking.ask(store.db, store.asking(user), store.conversation(user), _text("Why?"))
    claim = store.claim(asked.answer.id)
    body = Body()
    for call in ids:
        body.write("tool_call", "{}", {"id": call, "name": "f"}, fresh=True)
    how = Ending(status, "tool_calls") if status is Status.DONE else Ending(status)
    assert owning.finish(store.db, ME, save_of(claim, body), how)
    return asked


def _text(text: str) -> Body:
    body = Body()
    body.write("text", text)
    return body


def answer_calls(store: Store, user: uuid.UUID, below: Asked, *ids: str) -> Asked:
    """A question of results of these calls."""
    body = Body()
    for call in ids:
        write_result(body, ToolResult(call, f"result of {call}"))
    place, parent = below.answer.conversation_id, below.answer.id
    return asking.ask(store.db, store.asking(user), place, body, parent)


def test_results_of_all_calls_are_a_question_below_them(store: Store) -> None:
    user = store.user()
    below = called(store, user, "a", "b")

    asked = answer_calls(store, user, below, "b", "a")

    assert asked.question.parent_id == below.answer.id
    assert results_of(asked.question.body) == [
        ToolResult("b", "result of b"), ToolResult("a", "result of a"),
    ]  # fmt: skip


@pytest.mark.parametrize("ids", [["a"], ["a", "b", "c"], ["a", "a"], ["a", "c"], ["a", "b", "b"]])
def test_results_must_be_those_of_all_calls_once(store: Store, ids: list[str]) -> None:
    user = store.user()
    below = called(store, user, "a", "b")

    with pytest.raises(Invalid) as refused:
        answer_calls(store, user, below, *ids)

    assert refused.value.code == "invalid_tool_results"
    assert store.db.rows("SELECT 1 FROM messages WHERE parent_id = :id", id=below.answer.id) == []


def test_calls_of_an_answer_that_was_stopped_have_no_results(store: Store) -> None:
    user = store.user()
    below = called(store, user, "a", status=Status.CANCELLED)

    with pytest.raises(Invalid) as refused:
        answer_calls(store, user, below, "a")

    assert refused.value.code == "invalid_tool_results"


def test_results_cannot_begin_a_conversation(store: Store) -> None:
    user = store.user()
    body = Body()
    write_result(body, ToolResult("a", "4"))

    with pytest.raises(Invalid) as refused:
        asking.ask(store.db, store.asking(user), store.conversation(user), body)

    assert refused.value.code == "invalid_tool_results"


@pytest.mark.parametrize("history", [1, 15, 10_000])
def test_a_claim_loads_results_with_their_calls_whatever_fits(store: Store, history: int) -> None:
    user = store.user()
    asked = answer_calls(store, user, called(store, user, "a"), "a")

    claim = owning.claim(store.db, asked.answer.id, ME, 60, 900, history=history)

    assert claim is not None
    (_, calls), (_, results) = claim.path[-2:]
    assert [call.id for call in calls_of(calls)] == ["a"]
    assert results_of(results) == [ToolResult("a", "result of a")]
    assert len(claim.path) == (3 if history > 100 else 2)
