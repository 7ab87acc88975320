"""The clock of Postgres jumps: no living owner loses its answer, no dead one keeps it."""

import time
import uuid
from collections.abc import Iterator

import pytest

from local import data_dirs
from local.postgres import Postgres
from shared.body import Body, text_body
from shared.lifecycle import Status
from shared.settings import with_driver
from shared.store import asking, conversations, owning, sidebar
from shared.store.clock import DatabaseClock
from shared.store.database import Database
from shared.store.ending import Ending
from shared.store.owning import Claim, Save
from shared.sweep import Sweep
from tests.foreign import need_libfaketime
from tests.rig import Rig, eventually
from tests.store_fixtures import ME, Store, migrate

#: Seconds of a lease; everything is in proportion to it.
LEASE = 2.0
HOUR = 3600.0


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    """A Postgres whose clock can be set."""
    need_libfaketime()
    with (
        data_dirs.temporary() as home,
        Postgres(home / "postgres", durable=False, clock=home / "clock") as server,
    ):
        migrate(with_driver(server.url))
        yield server


@pytest.fixture
def world(server: Postgres, rig: Rig) -> Iterator[Store]:
    """An empty database, and a right clock that no process doubts."""
    server.set_clock(0.0)
    world = Store(with_driver(server.url), rig.redis.url)
    world.clear()
    world.run("DELETE FROM uptime")
    yield world
    world.close()


def _claimed(world: Store, deadline: float = 900) -> Claim:
    claim = owning.claim(world.db, world.sending(), ME, LEASE, deadline)
    assert claim is not None
    world.open(claim.id, claim.token)
    return claim


def _renew(world: Store, claim: Claim) -> bool:
    save = Save(claim.id, claim.token, 0, Body().since(0))
    return claim.id in owning.save(world.db, ME, LEASE, [save])


def _settled(world: Store) -> Sweep:
    """A sweep that has watched the clock for longer than a lease."""
    sweep = world.sweep(lease=LEASE)
    sweep.run()
    world.run("UPDATE uptime SET since = since - interval '1 min'")
    assert sweep.run().ended == 0
    return sweep


def _status(world: Store, message_id: uuid.UUID) -> str:
    return str(world.row(message_id).status)


@pytest.mark.failure(46)
@pytest.mark.parametrize("jump", [5.0, HOUR, -60.0])
@pytest.mark.parametrize("who", ["watched", "just started"])
def test_a_living_owner_keeps_its_answer_when_the_clock_jumps(
    world: Store, server: Postgres, jump: float, who: str
) -> None:
    """It renews in time by its own clock. A sweep that has just started cannot know of the jump."""
    sweep, claim = _settled(world), _claimed(world)

    server.set_clock(jump)
    if who == "just started":
        sweep = world.sweep(lease=LEASE)

    until = time.monotonic() + 1.5 * LEASE
    while time.monotonic() < until:
        assert sweep.run().ended == 0
        assert world.sweep(lease=LEASE).run().ended == 0  # by hand, in a process of its own
        time.sleep(LEASE / 10)
        assert _renew(world, claim)
    assert _status(world, claim.id) == "STREAMING"


@pytest.mark.failure(46)
@pytest.mark.parametrize("jump", [60.0, -5.0, -HOUR])
def test_a_dead_owner_loses_its_answer_within_two_leases_of_a_jump(
    world: Store, server: Postgres, jump: float
) -> None:
    sweep, claim = _settled(world), _claimed(world)

    server.set_clock(jump)
    jumped = time.monotonic()
    eventually(lambda: sweep.run().restarted == 1)  # nothing of it was shown

    assert 0.9 * LEASE < time.monotonic() - jumped < 3 * LEASE
    assert _status(world, claim.id) == "SENDING"


def test_a_jump_between_checks_is_noticed_by_the_next_process_that_checks(
    world: Store, server: Postgres
) -> None:
    """All workers were replaced meanwhile; what they noted of the clock is in the database."""
    _settled(world)
    claim = _claimed(world)
    server.set_clock(60.0)

    assert world.sweep(lease=LEASE).run().ended == 0
    assert world.sweep(lease=LEASE).run().restarted == 0
    assert _renew(world, claim)


def test_a_jump_between_the_check_and_the_judgement_is_noticed(
    world: Store, server: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep, claim = _settled(world), _claimed(world)
    check = DatabaseClock.check

    def then_it_jumps(clock: DatabaseClock, db: Database) -> bool:
        believed = check(clock, db)
        server.set_clock(60.0)
        return believed

    monkeypatch.setattr(DatabaseClock, "check", then_it_jumps)

    assert sweep.run().restarted == 0
    assert _renew(world, claim)


@pytest.mark.parametrize("jump", [0.4, -0.4])
def test_a_small_difference_is_not_taken_for_a_jump(
    world: Store, server: Postgres, jump: float
) -> None:
    sweep = _settled(world)
    [before] = world.db.rows("SELECT since, jumped FROM uptime")

    server.set_clock(jump)
    sweep.run()

    assert world.db.rows("SELECT since, jumped FROM uptime") == [before]


def test_a_clock_that_jumps_to_and_fro_does_not_stop_sweeps_for_good(
    world: Store, server: Postgres
) -> None:
    sweep, living, dead = _settled(world), _claimed(world), _claimed(world)
    for jump in (60.0, 0.0, -HOUR, HOUR, -5.0):
        server.set_clock(jump)
        assert sweep.run().restarted == 0
        assert _renew(world, living)

    def reaped() -> bool:
        assert _renew(world, living)
        return sweep.run().restarted == 1

    eventually(reaped)
    assert (_status(world, living.id), _status(world, dead.id)) == ("STREAMING", "SENDING")


def test_a_restart_with_another_clock_is_a_jump_as_well(world: Store, server: Postgres) -> None:
    sweep, claim = _settled(world), _claimed(world)

    server.stop()
    server.set_clock(-HOUR)
    server.start().wait()

    begun = time.monotonic()
    eventually(lambda: sweep.run().restarted == 1)
    assert 0.9 * LEASE < time.monotonic() - begun < 3 * LEASE + 2
    assert _status(world, claim.id) == "SENDING"


@pytest.mark.failure(46)
@pytest.mark.parametrize("jump", [HOUR, -HOUR])
def test_a_question_waits_for_its_own_time_and_is_handed_out_again(
    world: Store, server: Postgres, jump: float
) -> None:
    """The jump of an hour makes its wait neither shorter nor longer."""
    sweep = _settled(world)
    waiting = world.ask(queue_deadline=LEASE * 1.5).answer.id

    server.set_clock(jump)
    assert sweep.run().expired == 0
    row = world.row(waiting)
    [at] = world.db.rows("SELECT clock_timestamp() AS now")
    assert (row.dispatch_at - at.now).total_seconds() < 15
    begun = time.monotonic()
    eventually(lambda: sweep.run().expired == 1)

    assert LEASE < time.monotonic() - begun < LEASE * 4


@pytest.mark.failure(46)
def test_a_question_that_is_given_back_after_a_jump_keeps_its_new_deadline(
    world: Store, server: Postgres
) -> None:
    """A sweep restarts it before the rows from the future are put right (drill seed 779835)."""
    sweep = _settled(world)
    waiting = world.ask(queue_deadline=900).answer.id
    server.set_clock(-HOUR)
    # as `restart` leaves it
    given_back = "clock_timestamp() + interval '900 seconds', dispatch_at = clock_timestamp()"
    world.run(f"UPDATE messages SET queue_deadline = {given_back} WHERE id = :id", id=waiting)

    swept = sweep.run()

    assert (swept.ended, swept.restarted, swept.expired) == (0, 0, 0)
    assert _status(world, waiting) == "SENDING"
    [at] = world.db.rows("SELECT clock_timestamp() AS now")
    assert 890 < (world.row(waiting).queue_deadline - at.now).total_seconds() <= 900


@pytest.mark.failure(46)
def test_an_answer_may_take_its_whole_time_whatever_the_clock_does(
    world: Store, server: Postgres
) -> None:
    """Its owner ends it by its own monotonic clock; the sweep's deadline is for the others."""
    sweep = _settled(world)
    claim, stuck = _claimed(world, deadline=900), _claimed(world, deadline=LEASE * 2)
    server.set_clock(HOUR)
    ended: list[int] = []
    begun = time.monotonic()

    def over() -> bool:
        _renew(world, stuck)
        assert _renew(world, claim)
        ended.append(sweep.run().ended)
        return ended[-1] == 1

    eventually(over)
    assert time.monotonic() - begun > LEASE * 1.5
    assert world.row(stuck.id).error_code == "deadline"


@pytest.mark.failure(46)
def test_a_jump_is_not_forgotten_in_a_crash_of_postgres(world: Store, server: Postgres) -> None:
    """The same after a failover: a standby does not have that unlogged table either."""
    sweep = _settled(world)
    claim, waiting = _claimed(world, deadline=900), world.ask(queue_deadline=900).answer.id
    server.set_clock(HOUR)
    sweep.run()

    server.kill()
    server.start().wait()

    until = time.monotonic() + 1.5 * LEASE
    while time.monotonic() < until:
        swept = sweep.run()
        assert (swept.ended, swept.restarted, swept.expired) == (0, 0, 0)
        time.sleep(LEASE / 10)
        assert _renew(world, claim)
    assert _status(world, waiting) == "SENDING"


def test_a_deleted_conversation_can_be_restored_for_an_hour_though_the_clock_jumps(
    world: Store, server: Postgres
) -> None:
    sweep, user = _settled(world), world.user()
    place = world.conversation(user)
    conversations.delete(world.db, user, place)

    server.set_clock(2 * HOUR)

    assert sweep.run().purged == 0
    assert world.sweep(lease=LEASE).run().purged == 0
    assert conversations.undelete(world.db, user, place).id == place


def test_an_answer_that_ends_after_a_jump_back_is_unseen_and_listed_first(
    world: Store, server: Postgres
) -> None:
    """Lists are sorted by when something happened in them, and know what was seen by its time."""
    user = world.user()
    first, second = world.conversation(user), world.conversation(user)
    assert conversations.mark_seen(world.db, user, first, None)
    server.set_clock(-HOUR)

    asked = asking.ask(world.db, world.asking(user), first, text_body("Why?")).answer.id
    claim = owning.claim(world.db, asked, ME, LEASE, 900)
    assert claim is not None
    body = Body()
    body.write("text", "Because.")
    last = Save(asked, claim.token, 0, body.since(0))
    assert owning.finish(world.db, ME, last, Ending(Status.DONE, "stop"))

    top, below = sidebar.page(world.db, user, 2, None)
    assert (top.id, top.status, below.id) == (first, "unseen", second)
    assert conversations.mark_seen(world.db, user, first, None)
    assert sidebar.page(world.db, user, 2, None)[0].status == "idle"
