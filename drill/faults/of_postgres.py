"""Postgres is killed, stopped, made read-only, fails over; its clock jumps."""

import signal
import time
from collections.abc import Callable
from typing import Final

import psycopg2

from drill.faults.kinds import (
    MOMENT,
    FaultContext,
    Injection,
    InjectionSteps,
    fault,
    frozen,
    part_of_a_lease,
    until_back,
)
from local.server import StartError


@fault("postgres")
def postgres_kill(context: FaultContext) -> InjectionSteps:
    """A crash of the postmaster alone, or of all its processes; it recovers when it starts."""
    postgres = context.fleet.postgres
    if postgres.alive():
        number = context.rng.choice([signal.SIGKILL, signal.SIGQUIT])
        postgres.signal(number)
        yield Injection("kill -9" if number == signal.SIGKILL else "immediate shutdown", MOMENT)
        yield from until_back(postgres)


@fault("postgres")
def postgres_freeze(context: FaultContext) -> InjectionSteps:
    """SIGSTOP of it and all its backends for seconds."""
    if context.fleet.postgres.alive():
        yield from frozen(context, context.fleet.postgres, part_of_a_lease(context))


@fault("postgres")
def postgres_connections(context: FaultContext) -> InjectionSteps:
    """Every backend is terminated, perhaps in the middle of a commit."""
    done = context.probe.run(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name <> 'drill' AND backend_type = 'client backend'"
    )
    if done:
        yield Injection("all of them")


@fault("postgres")
def postgres_lock(context: FaultContext) -> InjectionSteps:
    """Another transaction holds the row of an answer."""
    release = context.probe.lock()
    if release is not None:
        seconds = part_of_a_lease(context)
        yield Injection(f"one row, for {seconds:.1f} s", seconds)
        release()


@fault("postgres")
def postgres_readonly(context: FaultContext) -> InjectionSteps:
    """Reads work, writes are refused."""
    if not _set_readonly(context, "on"):
        return
    seconds = part_of_a_lease(context)
    yield Injection(f"for {seconds:.1f} s", seconds)
    while not _set_readonly(context, "off"):
        yield Injection("", MOMENT)


#: Seconds of WAL that a failover to an asynchronous standby loses, least and most.
WAL_LOST: Final = (0.3, 2.5)
#: Seconds for which an old primary that is not killed can still be read.
LIVES_ON: Final = (0.5, 2.0)
#: Seconds that each step towards a standby may take.
STANDBY_SECONDS: Final = 20.0


@fault("postgres")
def postgres_failover(context: FaultContext) -> InjectionSteps:
    """A standby takes over: a synchronous one, or one that lacks the last seconds of WAL.

    The old primary is killed, or lives on read-only.
    """
    cluster, rng = context.fleet.cluster, context.rng
    synchronous, spare = rng.random() < 0.4, rng.random() < 0.4
    lost = 0.0 if synchronous else rng.uniform(*WAL_LOST)
    what = "to a synchronous standby" if synchronous else f"{lost:.1f} s of WAL are lost"
    yield Injection(f"{what}, the old primary {'can be read' if spare else 'is gone'}", MOMENT)
    try:
        yield from _standby(context, synchronous=synchronous)
        if not synchronous:
            yield from _hold(context, lost)
        cluster.switch(spare=spare)
    except (psycopg2.Error, StartError):  # before anything was lost
        cluster.abandon()
        yield Injection(": no standby got ready")
        return
    context.probe.close()  # it would stay connected to the old primary while that lives
    while not _promoted(context):
        yield Injection("", MOMENT)
    if spare:
        yield Injection("", rng.uniform(*LIVES_ON))
        cluster.end_demoted()


def _standby(context: FaultContext, *, synchronous: bool) -> InjectionSteps:
    """Make a standby that streams."""
    cluster = context.fleet.cluster
    standby = cluster.new_standby()
    copying = standby.copy()
    yield from _until(lambda: copying.poll() is not None)
    standby.start()
    yield from _until(cluster.streaming)
    if synchronous:
        cluster.synchronous(True)
        yield from _until(cluster.is_synchronous)
        yield Injection("", context.rng.uniform(*WAL_LOST))


def _hold(context: FaultContext, seconds: float) -> InjectionSteps:
    """Keep the next seconds of WAL from the standby, which has everything before."""
    standby = context.fleet.cluster.standby
    assert standby is not None
    since, position = time.time(), context.fleet.cluster.position()
    yield from _until(lambda: standby.has(position))
    standby.disconnect()
    yield from _until(lambda: not standby.receives())
    yield Injection("", seconds, lost_since=since)


def _until(condition: Callable[[], bool]) -> InjectionSteps:
    deadline = time.monotonic() + STANDBY_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise StartError("the standby does not get ready")
        yield Injection("")


def _promoted(context: FaultContext) -> bool:
    try:
        return context.fleet.cluster.promoted()
    except psycopg2.Error:
        return False


#: Seconds by which the clock of Postgres jumps, and the most by which it is wrong.
JUMPS: Final = (5.0, 60.0, 3600.0)
WRONG_MOST: Final = 7200.0


@fault("postgres")
def clock_jump(context: FaultContext) -> InjectionSteps:
    """The clock of Postgres is set, forward or back, and stays there."""
    fleet = context.fleet
    if fleet.clock is None or not fleet.postgres.alive():
        return
    by = context.rng.choice(JUMPS) * context.rng.choice([-1, 1])
    if abs(fleet.clock + by) > WRONG_MOST:
        by = -by
    fleet.set_clock(fleet.clock + by)
    context.probe.clock_jumped()
    yield Injection(f"by {by:+,.0f} s")


def _set_readonly(context: FaultContext, value: str) -> bool:
    setting = f"ALTER SYSTEM SET default_transaction_read_only = {value}"
    return context.probe.run(setting) and context.probe.run("SELECT pg_reload_conf()")
