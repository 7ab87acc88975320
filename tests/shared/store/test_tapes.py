"""A tape is wound up from what was saved, by whoever ends the answer, and holds nothing else."""

import uuid
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared import tape
from shared.body import Body, text_body
from shared.errors import NotFound
from shared.lifecycle import Status
from shared.store import owning, tape_sql, tapes
from shared.store.ending import Ending
from shared.store.messages import load, load_without_body
from shared.store.owning import Claim
from shared.store.tapes import MARKS_MAX, Noted, Tape
from shared.tape import SAMPLES_MAX, Sample
from tests.store_fixtures import ME, OTHER, Store, save_of

DONE = Ending(Status.DONE, "stop")

#: The statement writes nothing, so one store serves all examples.
same_store = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def read(store: Store, claim: Claim) -> Tape:
    return tapes.load(store.db, claim.id, claim.user_id)


def kinds(found: Tape) -> list[str]:
    return [mark.kind for mark in found.marks]


def saved(store: Store, claim: Claim, *texts: str) -> Body:
    """The body after a save of each text."""
    body = Body()
    for text in texts:
        start = body.length
        body.write("text", text)
        assert store.save(claim, body, start)
    return body


def move_pieces(store: Store, claim: Claim, at: str) -> None:
    """Give the pieces other times: SQL of `start`."""
    store.run(f"UPDATE pieces SET at = {at} WHERE message_id = :id", id=claim.id)


@same_store
@given(st.integers(-(1 << 31), (1 << 31) - 1) | st.integers(0, 40_000))
def test_postgres_writes_a_number_as_we_do(store: Store, number: int) -> None:
    written = tape_sql.number("n")
    [row] = store.db.rows(f"SELECT {written} AS written FROM (SELECT CAST(:n AS int) AS n) AS t",
                          n=number)  # fmt: skip
    assert bytes(row.written) == tape.encode([Sample(0, number)])[:-1]


def test_each_save_is_a_sample_of_an_open_answer_and_of_the_ended_one(store: Store) -> None:
    claim = store.streaming()
    body = saved(store, claim, "a" * 200, "b" * 50)
    move_pieces(store, claim, "1000 + start * 5")
    assert read(store, claim).samples == [Sample(1000, 200), Sample(2000, 250)]

    body.write("text", "end")
    assert owning.finish(store.db, ME, save_of(claim, body, 250), DONE)

    samples = read(store, claim).samples
    assert samples is not None
    assert samples[:2] == [Sample(1000, 200), Sample(2000, 250)]
    assert samples[-1].position == 253
    assert store.pieces(claim.id) == []


def test_how_long_it_thought_is_known_while_it_is_written_and_later(store: Store) -> None:
    claim = store.streaming()
    body = Body()
    body.write("reasoning", "why " * 50)
    assert store.save(claim, body)
    assert load(store.db, claim.id, claim.user_id).thought_ms is None

    body.write("text", "because")
    assert store.save(claim, body, 200)
    move_pieces(store, claim, "CASE start WHEN 0 THEN 1500 ELSE 9500 END")
    # the first word came in the second before the first save, and the text likewise
    assert load(store.db, claim.id, claim.user_id).thought_ms == 8_000

    ending = replace(DONE, first_text=1.25)
    assert owning.finish(store.db, ME, save_of(claim, body, body.length), ending)
    assert load(store.db, claim.id, claim.user_id).thought_ms == 7_250
    assert load_without_body(store.db, claim.id, claim.user_id).thought_ms is None


def test_an_answer_that_did_not_begin_with_reasoning_has_not_thought(store: Store) -> None:
    claim = store.streaming()
    body = saved(store, claim, "So.")
    body.write("reasoning", "Hm.")
    assert store.save(claim, body, 3)
    assert load(store.db, claim.id, claim.user_id).thought_ms is None


def test_parts_that_are_saved_together_are_one_sample(store: Store) -> None:
    claim = store.streaming()
    body = Body()
    body.write("reasoning", "why")
    body.write("text", "because")
    assert store.save(claim, body)
    samples = read(store, claim).samples
    assert samples is not None
    assert [one.position for one in samples] == [10]


def test_a_clock_that_jumps_back_stands_still_on_the_tape(store: Store) -> None:
    claim = store.streaming()
    saved(store, claim, "a", "b", "c")
    move_pieces(store, claim, "(ARRAY[5000, 100, 6000])[start + 1]")
    assert read(store, claim).samples == [Sample(5000, 1), Sample(5000, 2), Sample(6000, 3)]


def test_a_long_tape_is_thinned_out_evenly(store: Store) -> None:
    claim = store.streaming()
    count = 2 * SAMPLES_MAX + 7
    store.run(
        "INSERT INTO pieces (message_id, start, user_id, part, kind, text, at)"
        " SELECT :id, n, :user, 0, 'text', 'x', n * 1000 FROM generate_series(0, :last) AS n",
        id=claim.id,
        user=claim.user_id,
        last=count - 1,
    )
    wanted = [Sample((n - 1) * 1000, n) for n in range(1, count + 1) if tape.kept(n, count)]
    assert read(store, claim).samples == wanted
    store.run("UPDATE messages SET saved_len = :n WHERE id = :id", n=count, id=claim.id)

    assert owning.finish(store.db, ME, owning.Save(claim.id, claim.token, count), DONE)

    assert read(store, claim).samples == wanted
    assert bytes(store.row(claim.id).tape) == tape.encode(wanted)
    assert len(store.row(claim.id).tape) <= 5 * SAMPLES_MAX


def test_what_a_fenced_owner_would_save_is_not_on_the_tape(store: Store) -> None:
    claim = store.streaming()
    body = saved(store, claim, "ours")
    body.write("text", " theirs")
    assert not store.save(claim, body, 4, owner=OTHER)
    store.make_overdue(claim.id, "lease_until")
    store.sweep().run()

    found = read(store, claim)

    assert (found.status, found.error_code) == (Status.ERROR, "worker_lost")
    assert found.samples is not None
    assert [one.position for one in found.samples] == [4]


def test_salvaged_text_has_no_time_and_the_tape_ends_before_it(store: Store) -> None:
    claim = store.streaming()
    body = saved(store, claim, "saved")
    body.write("text", " and published")
    store.publish(claim, body)
    store.make_overdue(claim.id, "lease_until")
    store.sweep().run()

    found = read(store, claim)

    assert found.length == body.length
    assert found.samples is not None
    assert [one.position for one in found.samples] == [5]


def test_another_attempt_is_on_the_tape_with_what_became_of_the_first(store: Store) -> None:
    first = store.streaming()
    store.make_overdue(first.id, "lease_until")
    store.sweep().run()
    assert kinds(read(store, first)) == ["taken", "lost"]

    second = store.claim(first.id)
    assert owning.release(store.db, ME, second.id, second.token, 60)
    third = store.claim(first.id)
    assert owning.finish(store.db, ME, save_of(third, text_body("Yes.")), DONE)

    found = read(store, third)
    assert kinds(found) == ["taken", "lost", "taken", "released"]
    assert [mark.ms for mark in found.marks] == sorted(mark.ms for mark in found.marks)
    assert store.db.rows("SELECT count(*) AS n FROM message_marks WHERE message_id = :id",
                         id=first.id)[0].n == 0  # fmt: skip


def test_an_answer_of_an_earlier_version_has_no_tape(store: Store) -> None:
    claim = store.streaming()
    body = saved(store, claim, "old")
    move_pieces(store, claim, "NULL")
    assert owning.finish(store.db, ME, save_of(claim, body, 3), DONE)
    assert read(store, claim).samples is None


def test_an_answer_without_text_has_an_empty_tape(store: Store) -> None:
    claim = store.streaming()
    assert owning.finish(store.db, ME, owning.Save(claim.id, claim.token, 0), DONE)
    assert read(store, claim).samples == []


def test_only_who_may_read_an_answer_may_read_its_tape(store: Store) -> None:
    claim = store.streaming()
    with pytest.raises(NotFound):
        tapes.load(store.db, claim.id, store.user())
    with pytest.raises(NotFound):
        tapes.load(store.db, uuid.uuid4(), claim.user_id)


def test_notes_are_bounded_and_end_with_the_answer(store: Store) -> None:
    claim = store.streaming()
    noted = [Noted(claim.id, "taken", None)]
    for _ in range(MARKS_MAX + 5):
        tapes.note(store.db, noted)
    tapes.note(store.db, [Noted(uuid.uuid4(), "joined", "phone")])
    assert len(read(store, claim).marks) == MARKS_MAX

    assert owning.finish(store.db, ME, save_of(claim, text_body("Yes.")), DONE)
    tapes.note(store.db, noted)

    assert len(read(store, claim).marks) == MARKS_MAX
    left = "SELECT count(*) AS n FROM message_marks WHERE message_id = :id"
    assert store.db.rows(left, id=claim.id)[0].n == 0


def test_a_note_says_when_it_was(store: Store) -> None:
    claim = store.streaming()
    store.run("UPDATE messages SET created_at = created_at - interval '20 s' WHERE id = :id",
              id=claim.id)  # fmt: skip
    tapes.note(
        store.db, [Noted(claim.id, "joined", "phone", ago=5.0), Noted(claim.id, "taken", None)]
    )
    joined, taken = read(store, claim).marks
    assert (joined.kind, joined.device) == ("joined", "phone")
    assert 4_900 <= taken.ms - joined.ms <= 5_100


def test_what_is_left_over_is_tidied(store: Store) -> None:
    store.run("INSERT INTO message_marks (message_id, at, kind) VALUES"
              " (gen_random_uuid(), clock_timestamp() - interval '1 h', 'left')")  # fmt: skip
    store.run("UPDATE message_marks SET at = at - interval '1 h'")
    writing = store.streaming()
    tapes.note(store.db, [Noted(writing.id, "joined", "phone", ago=3600.0)])
    tapes.tidy(store.db)
    assert [row.message_id for row in store.db.rows("SELECT message_id FROM message_marks")] == [
        writing.id
    ]
