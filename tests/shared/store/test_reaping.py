"""R5 and R6 in Postgres: which rows have lapsed, and what may be done with a locked one."""

import time
import uuid

import pytest

from shared.body import Body
from shared.lifecycle import MAX_TRIES, Status
from shared.store import messages, owning, reaping
from shared.store.ending import Ending
from tests.rig import eventually
from tests.store_fixtures import ME, OTHER, Store, at_once, body_of

LOST = Ending.error("worker_lost")
#: Seconds for which Postgres lets a statement wait for a lock.
LOCK_SECONDS = 2.0
#: Seconds; Postgres has been up for less.
LONG_GRACE = 1e6


# --- which rows -----------------------------------------------------------------------------------


def test_a_row_is_lapsed_after_its_lease_or_its_hard_deadline(store: Store) -> None:
    fresh, lapsed, overdue = (store.streaming().id for _ in range(3))
    store.make_overdue(lapsed, "lease_until")
    store.make_overdue(overdue, "hard_deadline")
    store.make_overdue(store.sending(), "queue_deadline", "dispatch_at")
    store.ended()

    assert set(reaping.lapsed(store.db, 0)) == {lapsed, overdue}
    assert fresh not in reaping.lapsed(store.db, 0)


@pytest.mark.failure(13)
def test_no_lease_lapses_soon_after_a_start_of_postgres(store: Store) -> None:
    one = store.streaming().id
    store.make_overdue(one, "lease_until", "hard_deadline")

    assert reaping.lapsed(store.db, LONG_GRACE) == []
    with reaping.lock_lapsed(store.db, one, LONG_GRACE) as row:
        assert row is None


def test_the_grace_is_counted_from_the_moment_when_postgres_was_back(store: Store) -> None:
    one = store.streaming().id
    store.make_overdue(one, "lease_until")
    reaping.lapsed(store.db, 0)
    [row] = store.db.rows(
        "SELECT extract(epoch FROM clock_timestamp() - since)::float AS up FROM uptime"
    )

    assert reaping.lapsed(store.db, row.up) == [one]
    assert reaping.lapsed(store.db, row.up + 60) == []


def test_a_recovery_that_took_longer_than_a_lease_costs_no_answer(store: Store) -> None:
    # given: as after a crash, which empties the table; the start was long ago, as a recovery was
    one = store.streaming().id
    store.make_overdue(one, "lease_until")
    store.run("DELETE FROM uptime")

    # then: neither a poll nor a reader's sweep takes it for lapsed
    assert reaping.lapsed(store.db, 1) == []
    with reaping.lock_lapsed(store.db, one, 1) as row:
        assert row is None

    # until there was time to renew
    store.run("UPDATE uptime SET since = greatest(since - interval '2 s', started)")
    eventually(lambda: reaping.lapsed(store.db, 1) == [one])


def test_a_new_start_of_postgres_begins_a_new_grace(store: Store) -> None:
    one = store.streaming().id
    store.make_overdue(one, "lease_until")
    store.run("INSERT INTO uptime DEFAULT VALUES ON CONFLICT DO NOTHING")
    store.run("UPDATE uptime SET since = pg_postmaster_start_time() - interval '1 h'")

    assert reaping.lapsed(store.db, LONG_GRACE) == []
    assert reaping.lapsed(store.db, 0) == [one]


def test_rows_of_a_worker_that_was_seen_to_die_are_lapsed_at_once(store: Store) -> None:
    dead = store.streaming(owner="host:boot-1").id
    store.streaming(owner="host:boot-10")
    store.streaming(owner="boot-1:boot-2")

    assert reaping.lapsed(store.db, LONG_GRACE, "boot-1") == [dead]
    with reaping.lock_lapsed(store.db, dead, LONG_GRACE, "boot-1") as row:
        assert row is not None
    with reaping.lock_lapsed(store.db, dead, LONG_GRACE) as row:
        assert row is None


# --- one at a time --------------------------------------------------------------------------------


def test_a_row_is_locked_by_one_sweep_and_others_skip_it(store: Store) -> None:
    one = store.streaming().id
    store.make_overdue(one, "lease_until")

    with reaping.lock_lapsed(store.db, one, 0) as first:
        begun = time.monotonic()
        with reaping.lock_lapsed(store.db, one, 0) as second:
            assert second is None
        assert time.monotonic() - begun < LOCK_SECONDS
        assert first is not None
        first.end(LOST)

    with reaping.lock_lapsed(store.db, one, 0) as third:
        assert third is None


def test_an_owner_that_comes_back_first_keeps_its_row(store: Store) -> None:
    claim = store.streaming()
    store.make_overdue(claim.id, "lease_until")
    [found] = reaping.lapsed(store.db, 0)

    assert store.save(claim, body_of("I was only slow."))

    with reaping.lock_lapsed(store.db, found, 0) as row:
        assert row is None


def test_a_lapsed_row_is_read_after_it_is_locked(store: Store) -> None:
    claim = store.streaming()
    body = body_of(("reasoning", "Hm 😀"), "so")
    store.save(claim, body)
    store.make_overdue(claim.id, "lease_until")

    with reaping.lock_lapsed(store.db, claim.id, 0) as row:
        assert row is not None
        assert (row.id, row.attempt, row.saved) == (claim.id, 1, body.length)
        assert row.body.since(0) == body.since(0)
        assert (row.stop_requested, row.overdue, row.may_restart) == (False, False, False)


def test_an_owner_that_saves_while_it_is_reaped_is_refused(store: Store) -> None:
    claim = store.streaming()
    store.make_overdue(claim.id, "lease_until")

    with reaping.lock_lapsed(store.db, claim.id, 0) as row:
        assert row is not None
        assert not store.save(claim, body_of("late"))  # locked: not waited for
        row.end(LOST)

    assert not store.save(claim, body_of("late"))
    assert owning.lease_state(store.db, ME, [claim.id]) == {}


# --- what may be done -----------------------------------------------------------------------------


def test_a_restart_needs_no_text_time_left_and_fewer_than_max_tries(store: Store) -> None:
    def may_restart(message_id: uuid.UUID) -> bool:
        store.make_overdue(message_id, "lease_until")
        with reaping.lock_lapsed(store.db, message_id, 0) as row:
            assert row is not None
            return row.may_restart

    untouched, shown, overdue, tried = (store.streaming() for _ in range(4))
    store.save(shown, body_of("x"))
    store.make_overdue(overdue.id, "hard_deadline")
    store.run("UPDATE messages SET tries = :n WHERE id = :id", n=MAX_TRIES, id=tried.id)

    assert may_restart(untouched.id)
    assert not may_restart(shown.id)
    assert not may_restart(overdue.id)
    assert not may_restart(tried.id)


def test_an_end_keeps_saved_and_salvaged_text_and_fences_the_owner(store: Store) -> None:
    claim = store.streaming()
    whole = body_of("saved ", ("tool_call", '{"é":'), "salvaged 😀")
    store.save(claim, Body(delta for delta in whole.since(0) if delta.start < 6))
    store.make_overdue(claim.id, "lease_until")

    with reaping.lock_lapsed(store.db, claim.id, 0) as row:
        assert row is not None
        for delta in whole.since(6):
            row.body.append(delta)
        row.salvage(whole.since(6))
        row.end(LOST)

    row_now = store.row(claim.id)
    loaded = messages.load(store.db, claim.id, row_now.user_id)
    assert loaded.body.since(0) == whole.since(0)
    assert (row_now.status, row_now.error_code, row_now.attempt) == ("ERROR", "worker_lost", 2)
    assert (row_now.saved_len, row_now.length) == (whole.length, whole.length)


def test_a_restart_gives_an_answer_a_new_place_in_the_queue(store: Store) -> None:
    claim = store.streaming()
    store.make_overdue(claim.id, "lease_until")

    with reaping.lock_lapsed(store.db, claim.id, 0) as row:
        assert row is not None
        row.restart(60)

    row_now = store.row(claim.id)
    assert (row_now.status, row_now.attempt, row_now.tries) == ("SENDING", 2, 1)
    assert reaping.undispatched(store.db) == [claim.id]  # due at once
    assert not store.save(claim, body_of("late"))
    again = store.claim(claim.id, OTHER)
    assert again.attempt == 3
    assert store.row(claim.id).tries == 2


def test_a_sweep_that_dies_half_way_changes_nothing(store: Store) -> None:
    claim = store.streaming()
    store.make_overdue(claim.id, "lease_until")
    before = store.row(claim.id)

    def die_half_way() -> None:
        with reaping.lock_lapsed(store.db, claim.id, 0) as row:
            assert row is not None
            row.end(LOST)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        die_half_way()

    assert store.row(claim.id) == before
    assert reaping.lapsed(store.db, 0) == [claim.id]


# --- R6: the queue --------------------------------------------------------------------------------


def test_a_question_that_no_worker_took_in_time_ends(store: Store) -> None:
    late, early, writing = store.sending(), store.sending(), store.streaming().id
    store.make_overdue(late, "queue_deadline")

    assert reaping.expire(store.db) == [late]
    assert reaping.expire(store.db) == []

    row = store.row(late)
    assert (row.status, row.error_code, row.length) == ("ERROR", "queue_timeout", 0)
    assert {store.row(early).status, store.row(writing).status} == {"SENDING", "STREAMING"}


def test_a_question_that_the_queue_lost_is_due_again_and_then_not_for_a_while(
    store: Store,
) -> None:
    due, early = store.sending(), store.sending()
    store.make_overdue(due, "dispatch_at")

    assert reaping.undispatched(store.db) == [due]
    assert reaping.undispatched(store.db) == []

    [row] = store.db.rows(
        "SELECT extract(epoch FROM dispatch_at - clock_timestamp()) AS again FROM messages"
        " WHERE id = :id",
        id=due,
    )
    assert reaping.DISPATCH_AGAIN - 5 < row.again <= reaping.DISPATCH_AGAIN
    assert store.row(early).status == Status.SENDING


def test_concurrent_sweeps_do_each_thing_once(store: Store) -> None:
    user = store.user()
    due, late = [store.sending(user) for _ in range(20)], [store.sending(user) for _ in range(20)]
    for message_id in due:
        store.make_overdue(message_id, "dispatch_at")
    for message_id in late:
        store.make_overdue(message_id, "queue_deadline")

    handed, errors = at_once(
        6, lambda _: (reaping.undispatched(store.db), reaping.expire(store.db))
    )

    assert errors == []
    assert sorted(one for ids, _ in handed for one in ids) == sorted(due)
    assert sorted(one for _, ids in handed for one in ids) == sorted(late)


def test_a_locked_row_is_left_for_the_next_sweep(store: Store) -> None:
    held, free = store.sending(), store.sending()
    for message_id in (held, free):
        store.make_overdue(message_id, "queue_deadline", "dispatch_at")

    with store.locked(held):
        assert reaping.undispatched(store.db) == [free]
        assert reaping.expire(store.db) == [free]

    assert reaping.expire(store.db) == [held]
