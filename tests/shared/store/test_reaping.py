"""R5 and R6 in Postgres: which rows are left behind, and what may be done with a locked one."""

import time
import uuid

import pytest

from shared.body import Body
from shared.lifecycle import MAX_TRIES, Status
from shared.store import messages, owning, reaping
from shared.store.messages import Ending
from tests.rig import allowed, eventually
from tests.store_fixtures import ME, OTHER, Ground, at_once, body_of

LOST = Ending.error("worker_lost")
#: Postgres has not been up for so long.
LONG_GRACE = 1e6


# --- which rows -----------------------------------------------------------------------------------


def test_a_row_is_left_behind_past_its_lease_or_its_hard_deadline(ground: Ground) -> None:
    fresh, lapsed, overdue = (ground.streaming().id for _ in range(3))
    ground.pass_by(lapsed, "lease_until")
    ground.pass_by(overdue, "hard_deadline")
    ground.pass_by(ground.sending(), "queue_deadline", "dispatch_at")
    ground.ended()

    assert set(reaping.lapsed(ground.db, 0)) == {lapsed, overdue}
    assert fresh not in reaping.lapsed(ground.db, 0)


@pytest.mark.failure(13)
def test_soon_after_a_start_of_postgres_nobody_could_have_renewed(ground: Ground) -> None:
    one = ground.streaming().id
    ground.pass_by(one, "lease_until", "hard_deadline")

    assert reaping.lapsed(ground.db, LONG_GRACE) == []
    with reaping.reaping(ground.db, one, LONG_GRACE) as row:
        assert row is None


def test_the_grace_is_counted_from_the_moment_when_postgres_was_back(ground: Ground) -> None:
    one = ground.streaming().id
    ground.pass_by(one, "lease_until")
    reaping.lapsed(ground.db, 0)
    [row] = ground.db.rows(
        "SELECT extract(epoch FROM clock_timestamp() - since)::float AS up FROM uptime"
    )

    assert reaping.lapsed(ground.db, row.up) == [one]
    assert reaping.lapsed(ground.db, row.up + 60) == []


def test_a_recovery_that_took_longer_than_a_lease_costs_no_answer(ground: Ground) -> None:
    # given: as after a crash, which empties the table; the start was long ago, as a recovery was
    one = ground.streaming().id
    ground.pass_by(one, "lease_until")
    ground.run("DELETE FROM uptime")

    # then: nobody has it for lapsed, neither by a look nor by a reader's sweep
    assert reaping.lapsed(ground.db, 1) == []
    with reaping.reaping(ground.db, one, 1) as row:
        assert row is None

    # until there was time to renew
    ground.run("UPDATE uptime SET since = greatest(since - interval '2 s', started)")
    eventually(lambda: reaping.lapsed(ground.db, 1) == [one])


def test_a_new_start_of_postgres_begins_a_new_grace(ground: Ground) -> None:
    one = ground.streaming().id
    ground.pass_by(one, "lease_until")
    ground.run("INSERT INTO uptime DEFAULT VALUES ON CONFLICT DO NOTHING")
    ground.run("UPDATE uptime SET since = pg_postmaster_start_time() - interval '1 h'")

    assert reaping.lapsed(ground.db, LONG_GRACE) == []
    assert reaping.lapsed(ground.db, 0) == [one]


def test_whoever_was_seen_to_die_is_not_waited_for(ground: Ground) -> None:
    dead = ground.streaming(owner="host:boot-1").id
    ground.streaming(owner="host:boot-10")
    ground.streaming(owner="boot-1:boot-2")

    assert reaping.lapsed(ground.db, LONG_GRACE, "boot-1") == [dead]
    with reaping.reaping(ground.db, dead, LONG_GRACE, "boot-1") as row:
        assert row is not None
    with reaping.reaping(ground.db, dead, LONG_GRACE) as row:
        assert row is None


# --- one at a time --------------------------------------------------------------------------------


def test_a_row_is_reaped_by_one_sweep_at_a_time_and_nobody_waits(ground: Ground) -> None:
    one = ground.streaming().id
    ground.pass_by(one, "lease_until")

    with reaping.reaping(ground.db, one, 0) as first:
        begun = time.monotonic()
        with reaping.reaping(ground.db, one, 0) as second:
            assert second is None
        assert time.monotonic() - begun < allowed(1)
        assert first is not None
        first.end(LOST)

    with reaping.reaping(ground.db, one, 0) as third:
        assert third is None


def test_an_owner_that_comes_back_first_keeps_its_row(ground: Ground) -> None:
    claim = ground.streaming()
    ground.pass_by(claim.id, "lease_until")
    [found] = reaping.lapsed(ground.db, 0)

    assert ground.save(claim, body_of("I was only slow."))

    with reaping.reaping(ground.db, found, 0) as row:
        assert row is None


def test_what_is_reaped_is_read_after_the_lock_was_had(ground: Ground) -> None:
    claim = ground.streaming()
    body = body_of(("reasoning", "Hm 😀"), "so")
    ground.save(claim, body)
    ground.pass_by(claim.id, "lease_until")

    with reaping.reaping(ground.db, claim.id, 0) as row:
        assert row is not None
        assert (row.id, row.attempt, row.saved) == (claim.id, 1, body.length)
        assert row.body.since(0) == body.since(0)
        assert (row.stop_requested, row.overdue, row.may_restart) == (False, False, False)


def test_an_owner_that_saves_while_it_is_reaped_is_refused(ground: Ground) -> None:
    claim = ground.streaming()
    ground.pass_by(claim.id, "lease_until")

    with reaping.reaping(ground.db, claim.id, 0) as row:
        assert row is not None
        assert not ground.save(claim, body_of("late"))  # locked: not waited for
        row.end(LOST)

    assert not ground.save(claim, body_of("late"))
    assert owning.standing(ground.db, ME, [claim.id]) == {}


# --- what may be done -----------------------------------------------------------------------------


def test_it_may_begin_again_only_without_text_in_time_and_not_for_ever(ground: Ground) -> None:
    def may_restart(message_id: uuid.UUID) -> bool:
        ground.pass_by(message_id, "lease_until")
        with reaping.reaping(ground.db, message_id, 0) as row:
            assert row is not None
            return row.may_restart

    untouched, shown, overdue, tried = (ground.streaming() for _ in range(4))
    ground.save(shown, body_of("x"))
    ground.pass_by(overdue.id, "hard_deadline")
    ground.run("UPDATE messages SET tries = :n WHERE id = :id", n=MAX_TRIES, id=tried.id)

    assert may_restart(untouched.id)
    assert not may_restart(shown.id)
    assert not may_restart(overdue.id)
    assert not may_restart(tried.id)


def test_an_end_keeps_saved_and_salvaged_text_and_fences_the_owner(ground: Ground) -> None:
    claim = ground.streaming()
    whole = body_of("saved ", ("tool_call", '{"é":'), "salvaged 😀")
    ground.save(claim, Body(delta for delta in whole.since(0) if delta.start < 6))
    ground.pass_by(claim.id, "lease_until")

    with reaping.reaping(ground.db, claim.id, 0) as row:
        assert row is not None
        for delta in whole.since(6):
            row.body.append(delta)
        row.salvage(whole.since(6))
        row.end(LOST)

    row_now = ground.row(claim.id)
    loaded = messages.load(ground.db, claim.id, row_now.user_id)
    assert loaded.body.since(0) == whole.since(0)
    assert (row_now.status, row_now.error_code, row_now.attempt) == ("ERROR", "worker_lost", 2)
    assert (row_now.saved_len, row_now.length) == (whole.length, whole.length)


def test_beginning_again_gives_it_a_new_place_in_the_queue(ground: Ground) -> None:
    claim = ground.streaming()
    ground.pass_by(claim.id, "lease_until")

    with reaping.reaping(ground.db, claim.id, 0) as row:
        assert row is not None
        row.restart(60)

    row_now = ground.row(claim.id)
    assert (row_now.status, row_now.attempt, row_now.tries) == ("SENDING", 2, 1)
    assert reaping.undispatched(ground.db) == [claim.id]  # due at once
    assert not ground.save(claim, body_of("late"))
    again = ground.claim(claim.id, OTHER)
    assert again.attempt == 3
    assert ground.row(claim.id).tries == 2


def test_a_sweep_that_dies_half_way_changes_nothing(ground: Ground) -> None:
    claim = ground.streaming()
    ground.pass_by(claim.id, "lease_until")
    before = ground.row(claim.id)

    def die_half_way() -> None:
        with reaping.reaping(ground.db, claim.id, 0) as row:
            assert row is not None
            row.end(LOST)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        die_half_way()

    assert ground.row(claim.id) == before
    assert reaping.lapsed(ground.db, 0) == [claim.id]


# --- R6: the queue --------------------------------------------------------------------------------


def test_a_question_that_nobody_took_in_time_ends(ground: Ground) -> None:
    late, early, writing = ground.sending(), ground.sending(), ground.streaming().id
    ground.pass_by(late, "queue_deadline")

    assert reaping.expire(ground.db) == [late]
    assert reaping.expire(ground.db) == []

    row = ground.row(late)
    assert (row.status, row.error_code, row.length) == ("ERROR", "queue_timeout", 0)
    assert {ground.row(early).status, ground.row(writing).status} == {"SENDING", "STREAMING"}


def test_a_question_that_the_queue_lost_is_due_again_and_then_not_for_a_while(
    ground: Ground,
) -> None:
    due, early = ground.sending(), ground.sending()
    ground.pass_by(due, "dispatch_at")

    assert reaping.undispatched(ground.db) == [due]
    assert reaping.undispatched(ground.db) == []

    [row] = ground.db.rows(
        "SELECT extract(epoch FROM dispatch_at - clock_timestamp()) AS again FROM messages"
        " WHERE id = :id",
        id=due,
    )
    assert reaping.DISPATCH_AGAIN - 5 < row.again <= reaping.DISPATCH_AGAIN
    assert ground.row(early).status == Status.SENDING


def test_many_sweeps_at_once_do_each_thing_once(ground: Ground) -> None:
    user = ground.user()
    due, late = [ground.sending(user) for _ in range(20)], [ground.sending(user) for _ in range(20)]
    for message_id in due:
        ground.pass_by(message_id, "dispatch_at")
    for message_id in late:
        ground.pass_by(message_id, "queue_deadline")

    handed, errors = at_once(
        6, lambda _: (reaping.undispatched(ground.db), reaping.expire(ground.db))
    )

    assert errors == []
    assert sorted(one for ids, _ in handed for one in ids) == sorted(due)
    assert sorted(one for _, ids in handed for one in ids) == sorted(late)


def test_a_row_that_somebody_holds_is_left_for_the_next_time(ground: Ground) -> None:
    held, free = ground.sending(), ground.sending()
    for message_id in (held, free):
        ground.pass_by(message_id, "queue_deadline", "dispatch_at")

    with ground.locked(held):
        assert reaping.undispatched(ground.db) == [free]
        assert reaping.expire(ground.db) == [free]

    assert reaping.expire(ground.db) == [held]
