"""When an answer is stopped because nobody reads it any more, and when it is not."""

import uuid

import pytest

from shared.lifecycle import Status
from shared.store import abandonment, owning
from shared.store.abandonment import FIRST_READER, LEASE
from shared.store.clock import DatabaseClock
from shared.store.ending import Ending
from shared.store.status_sql import OPEN_STATUSES
from tests.store_fixtures import ME, Store, body_of, save_of

#: Two web processes.
ONE, TWO = uuid.UUID(int=1), uuid.UUID(int=2)


@pytest.fixture(autouse=True)
def no_rows(store: Store) -> None:
    """None are left of the test before."""
    store.run("DELETE FROM message_readers")


@pytest.fixture(autouse=True)
def believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Postgres may have started a moment ago."""
    monkeypatch.setattr(abandonment, "GRACE", 0.0)


def asked(store: Store, seconds: float | None) -> uuid.UUID:
    """An answer that a worker writes, with this policy."""
    return store.claim(store.ask(on_disconnect=seconds).answer.id).id


def pass_time(store: Store, seconds: float) -> None:
    """Everything that was noted about readers is so much older."""
    store.run("UPDATE message_readers SET until = until - make_interval(secs => :s)", s=seconds)
    older = "created_at = created_at - make_interval(secs => :s)"
    store.run(f"UPDATE messages SET {older} WHERE status IN {OPEN_STATUSES}", s=seconds)


def stopped(store: Store, *ids: uuid.UUID) -> list[uuid.UUID]:
    """Those that are stopped now: by a sweep of all, or of these."""
    clock = DatabaseClock(0)
    clock.check(store.db)
    return abandonment.stop_abandoned(store.db, clock, ids or None)


# --- counted from the last reader -----------------------------------------------------------------


def test_the_last_reader_of_all_processes_counts(store: Store) -> None:
    answer = asked(store, 5)
    abandonment.speak_for(store.db, ONE, [answer], LEASE)
    abandonment.speak_for(store.db, TWO, [answer], LEASE)

    abandonment.speak_for(store.db, ONE, [answer], 0)
    pass_time(store, 6)
    assert stopped(store) == []  # TWO speaks for a reader

    abandonment.speak_for(store.db, TWO, [answer], 0)
    pass_time(store, 4)
    assert stopped(store) == []
    pass_time(store, 1)
    assert stopped(store) == [answer]
    assert store.row(answer).stop_requested
    assert stopped(store) == []  # once


def test_with_no_seconds_it_is_stopped_as_soon_as_the_last_one_left(store: Store) -> None:
    answer = asked(store, 0)
    abandonment.speak_for(store.db, ONE, [answer], LEASE)
    abandonment.speak_for(store.db, TWO, [answer], LEASE)
    assert stopped(store, answer) == []
    abandonment.speak_for(store.db, ONE, [answer], 0)
    assert stopped(store, answer) == []
    abandonment.speak_for(store.db, TWO, [answer], 0)

    assert stopped(store, answer) == [answer]


def test_a_reader_who_comes_back_in_time_prevents_it(store: Store) -> None:
    answer = asked(store, 5)
    abandonment.speak_for(store.db, ONE, [answer], 0)
    pass_time(store, 4)
    abandonment.speak_for(store.db, TWO, [answer], LEASE)
    pass_time(store, 4)

    assert stopped(store) == []


def test_a_process_that_died_speaks_for_nobody_after_its_lease(store: Store) -> None:
    answer = asked(store, 0)
    abandonment.speak_for(store.db, ONE, [answer], LEASE)
    pass_time(store, LEASE - 1)
    assert stopped(store) == []
    pass_time(store, 1)

    assert stopped(store) == [answer]


def test_where_no_reader_ever_came_it_counts_from_the_asking(store: Store) -> None:
    answer = asked(store, 5)
    pass_time(store, FIRST_READER + 4)
    assert stopped(store) == []
    pass_time(store, 1)

    assert stopped(store) == [answer]


def test_others_go_on(store: Store) -> None:
    answer = asked(store, None)
    abandonment.speak_for(store.db, ONE, [answer], 0)
    pass_time(store, 1_000)

    assert stopped(store) == stopped(store, answer) == []


def test_only_those_that_are_named_are_stopped(store: Store) -> None:
    first, second = asked(store, 0), asked(store, 0)
    abandonment.speak_for(store.db, ONE, [first, second], 0)

    assert stopped(store, second) == [second]
    assert stopped(store) == [first]


# --- like a Stop ----------------------------------------------------------------------------------


def test_a_question_that_waits_for_a_worker_ends_at_once(store: Store) -> None:
    answer = store.ask(on_disconnect=0).answer.id
    abandonment.speak_for(store.db, ONE, [answer], 0)

    assert stopped(store) == [answer]
    assert store.row(answer).status == Status.CANCELLED


def test_a_sweep_stops_and_wakes_its_owner(store: Store) -> None:
    answer = asked(store, 0)
    abandonment.speak_for(store.db, ONE, [answer], 0)
    with store.redis.pubsub(ignore_subscribe_messages=True) as stops:
        stops.subscribe("outlive:stop")
        stops.get_message(timeout=5)

        done: list[str] = []
        swept = store.sweep(lease=60, observe=done.append).run()

        assert swept.abandoned == 1
        assert done == ["abandoned"]
        received = stops.get_message(timeout=5)
        assert received is not None
        assert received["data"] == str(answer)
    assert store.row(answer).stop_requested


def test_the_sweep_without_redis_stops_it_as_well(store: Store) -> None:
    answer = asked(store, 0)
    abandonment.speak_for(store.db, ONE, [answer], 0)
    store.redis.flushdb()

    assert store.sweep(lease=60).run().abandoned == 1
    assert store.row(answer).stop_requested


# --- when it does not count -----------------------------------------------------------------------


def test_not_while_postgres_has_just_come_back(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(abandonment, "GRACE", 1e9)
    answer = asked(store, 0)
    abandonment.speak_for(store.db, ONE, [answer], 0)

    assert stopped(store) == []


def test_not_by_a_sweep_that_postgres_did_not_answer(store: Store) -> None:
    answer = asked(store, 0)
    abandonment.speak_for(store.db, ONE, [answer], 0)
    sweep = store.sweep(lease=60)
    sweep.doubt()

    assert sweep.run().abandoned == 0
    assert not store.row(answer).stop_requested


# --- rows -----------------------------------------------------------------------------------------


def readers(store: Store) -> int:
    [row] = store.db.rows("SELECT count(*) AS number FROM message_readers")
    return int(row.number)


def test_an_ended_answer_has_no_rows(store: Store) -> None:
    claim = store.claim(store.ask(on_disconnect=5).answer.id)
    for process in (ONE, TWO):
        abandonment.speak_for(store.db, process, [claim.id], LEASE)
    how = Ending(Status.DONE, "stop")
    assert owning.finish(store.db, ME, save_of(claim, body_of("Because.")), how)
    abandonment.forget(store.db, ONE, [claim.id])
    assert readers(store) == 1
    abandonment.speak_for(store.db, ONE, [claim.id], LEASE)  # too late
    assert readers(store) == 1

    abandonment.tidy(store.db)
    assert readers(store) == 1  # its process may be about to remove it
    pass_time(store, 2 * LEASE)
    abandonment.tidy(store.db)
    assert readers(store) == 0


def test_rows_of_open_answers_stay(store: Store) -> None:
    answer = asked(store, 86_400)
    abandonment.speak_for(store.db, ONE, [answer], 0)
    pass_time(store, 3_600)

    abandonment.tidy(store.db)

    assert readers(store) == 1


def test_speaking_does_not_wait_for_who_locks_an_answer(store: Store) -> None:
    answer = asked(store, 5)
    with store.locked(answer):
        abandonment.speak_for(store.db, ONE, [answer], LEASE)

    assert readers(store) == 1
