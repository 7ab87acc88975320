"""Questions in line: sent in order, each once, when the answer before them has ended DONE."""

import uuid
from typing import Any

import pytest

from shared.body import text_body
from shared.errors import Conflict, KeyReused, NotFound, TooMany
from shared.lifecycle import Status
from shared.line import Lines
from shared.settings import Settings
from shared.store import asking, conversations, exporting, line, owning
from shared.store.ending import Ending
from shared.store.line import LINE_MOST, NewInLine
from shared.store.owning import Claim
from tests.store_fixtures import ME, Store, at_once, body_of, save_of

DONE = Ending(Status.DONE, "stop")
STOPPED = Ending(Status.CANCELLED)


class Place:
    """A conversation whose first answer is being written."""

    def __init__(self, store: Store, **settings: Any) -> None:
        self.store = store
        self.user = store.user()
        self.claim = store.streaming(self.user)
        self.id = store.row(self.claim.id).conversation_id
        terms = Settings(**settings)
        self.lines = Lines(terms, store.db, store.livelog, store.queue)

    def add(self, content: str, key: str | None = None, hashed: str = "hash") -> None:
        new = NewInLine(content, None, {}, key, key and hashed, None)
        line.add(self.store.db, self.user, self.id, new)
        self.lines.move(self.id)

    def end(self, ending: Ending = DONE) -> uuid.UUID | None:
        """End the answer that is being written; the conversation whose line moves."""
        body = body_of("Because.")
        called = owning.finish(self.store.db, ME, save_of(self.claim, body), ending)
        assert called is not None
        return called.line

    def take(self) -> Claim:
        """A worker takes what was sent last."""
        self.claim = self.store.claim(self.store.queue.ids[-1])
        return self.claim

    @property
    def asked(self) -> list[str]:
        rows = self.store.db.rows(
            "SELECT body -> 0 ->> 'text' AS text FROM messages WHERE conversation_id = :id"
            " AND role = 'user' ORDER BY seq",
            id=self.id,
        )
        return [row.text for row in rows]

    @property
    def waiting(self) -> list[str]:
        return [one.content for one in self.read().items]

    def read(self) -> line.Line:
        return line.read(self.store.db, self.user, self.id)


@pytest.fixture
def place(store: Store) -> Place:
    return Place(store)


def test_questions_are_sent_in_order_each_when_the_answer_before_it_has_ended(
    store: Store, place: Place
) -> None:
    for content in ("first", "second"):
        place.add(content)
    assert (place.asked, place.waiting) == (["Why?"], ["first", "second"])
    assert place.read().held is None

    assert place.end() == place.id
    place.lines.move(place.id)
    assert (place.asked, place.waiting) == (["Why?", "first"], ["second"])
    above = store.row(store.row(store.queue.ids[-1]).parent_id).parent_id
    assert above == place.claim.id  # below the answer that ended
    place.lines.move(place.id)  # its own answer is open
    assert place.waiting == ["second"]

    place.take()
    place.end()
    assert place.lines.sweep() == 1
    assert (place.asked, place.waiting) == (["Why?", "first", "second"], [])
    assert place.lines.sweep() == 0


def test_worker_that_dies_after_the_end_leaves_the_line_to_the_next_sweep(
    store: Store, place: Place
) -> None:
    place.add("after it")
    assert place.lines.sweep() == 0
    place.end()  # and nothing after the commit

    assert place.lines.sweep() == 1
    assert place.asked == ["Why?", "after it"]


def test_many_senders_at_once_send_once(store: Store, place: Place) -> None:
    for content in ("first", "second"):
        place.add(content)
    place.end()

    def send(number: int) -> None:
        if number % 2:
            place.lines.sweep()
        else:
            place.lines.move(place.id)

    _, errors = at_once(8, send)

    assert errors == []
    assert (place.asked, place.waiting) == (["Why?", "first"], ["second"])
    assert len(store.queue.ids) == 1


@pytest.mark.parametrize(
    ("ending", "held"), [(STOPPED, "stopped"), (Ending.error("provider_cut"), "failed")]
)
def test_line_waits_after_an_answer_that_was_stopped_or_failed(
    store: Store, place: Place, ending: Ending, held: str
) -> None:
    for content in ("first", "second"):
        place.add(content)
    assert place.end(ending) is None
    place.lines.move(place.id)
    assert place.lines.sweep() == 0
    assert place.read().held == held

    first, second = place.read().items
    with pytest.raises(NotFound):
        place.lines.send_now(place.user, place.id, uuid.uuid4(), key_id=None)
    place.lines.send_now(place.user, place.id, first.id, key_id=None)
    assert (place.asked, place.waiting) == (["Why?", "first"], ["second"])
    with pytest.raises(Conflict, match="answer_open"):
        place.lines.send_now(place.user, place.id, second.id, key_id=None)
    place.take()
    place.end()
    assert place.lines.sweep() == 1  # by itself again


def test_line_goes_on_after_another_question_was_answered(store: Store, place: Place) -> None:
    place.add("waits")
    place.end(STOPPED)
    place.lines.move(place.id)
    another = store.asking(place.user)
    asked = asking.ask(store.db, another, place.id, text_body("Another?"))
    place.claim = store.claim(asked.answer.id)
    place.end()
    assert place.lines.sweep() == 1
    assert place.asked == ["Why?", "Another?", "waits"]


def test_question_that_comes_too_late_is_sent_at_once(place: Place) -> None:
    place.end()
    place.add("late")
    assert (place.asked, place.waiting) == (["Why?", "late"], [])


def test_same_key_puts_a_question_in_line_once_also_after_it_was_sent(place: Place) -> None:
    for _ in range(2):
        place.add("once", key="k")
    with pytest.raises(KeyReused):
        place.add("another", key="k", hashed="other")
    assert place.waiting == ["once"]
    place.end()
    place.lines.move(place.id)
    place.add("once", key="k")
    assert (place.asked, place.waiting) == (["Why?", "once"], [])


def test_question_is_changed_and_removed_while_it_waits(store: Store, place: Place) -> None:
    for content in ("first", "second", "third"):
        place.add(content)
    first, second, _ = place.read().items
    line.change(store.db, place.user, place.id, second.id, "second, better")
    line.remove(store.db, place.user, place.id, first.id)
    assert place.waiting == ["second, better", "third"]
    place.end()
    assert place.lines.sweep() == 1
    assert place.asked == ["Why?", "second, better"]
    with pytest.raises(NotFound):
        line.change(store.db, place.user, place.id, second.id, "too late")
    with pytest.raises(NotFound):
        line.remove(store.db, place.user, place.id, second.id)


def test_line_is_bounded_and_its_owners_alone(store: Store, place: Place) -> None:
    for number in range(LINE_MOST):
        place.add(str(number))
    with pytest.raises(TooMany, match="line_full"):
        place.add("one too many")
    other = store.user()
    with pytest.raises(NotFound):
        line.read(store.db, other, place.id)
    with pytest.raises(NotFound):
        line.add(store.db, other, place.id, NewInLine("x", None, {}, None, None, None))
    [*_, last] = place.read().items
    with pytest.raises(NotFound):
        line.remove(store.db, other, place.id, last.id)


def test_refusal_keeps_the_question_and_says_why(store: Store) -> None:
    place = Place(store, max_open=1)
    place.add("waits")
    store.sending(place.user)  # elsewhere
    place.end()
    place.lines.move(place.id)
    [waiting] = place.read().items
    assert (waiting.problem, place.read().held) == ("too_many_open", "refused")
    assert place.lines.sweep() == 0  # not yet again

    store.run(
        "UPDATE messages SET status = 'CANCELLED', body = '[]', length = 0, sha256 = '',"
        " ended_at = clock_timestamp(), queue_deadline = NULL, dispatch_at = NULL"
        " WHERE status = 'SENDING'"
    )
    store.run("UPDATE questions_in_line SET due_at = clock_timestamp()")
    assert place.lines.sweep() == 1
    assert place.asked == ["Why?", "waits"]


def test_deleted_conversation_sends_nothing_and_undo_brings_the_line_back(
    store: Store, place: Place
) -> None:
    place.add("waits")
    place.end()
    conversations.delete(store.db, place.user, place.id)
    assert place.lines.sweep() == 0
    with pytest.raises(NotFound):
        place.read()
    conversations.undelete(store.db, place.user, place.id)
    assert place.waiting == ["waits"]
    assert [row["content"] for row in exporting.line(store.db, place.user, place.id)] == ["waits"]


def test_line_of_a_disabled_user_waits(store: Store, place: Place) -> None:
    place.add("waits")
    place.end()
    store.run("UPDATE users SET disabled_at = clock_timestamp() WHERE id = :id", id=place.user)
    assert place.lines.sweep() == 0
    assert place.asked == ["Why?"]
