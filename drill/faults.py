"""What a local drill breaks, one function a kind.

Each is a generator: it does its harm, yields what it did and the seconds until it is over, and then
takes it back. A kind that finds nothing to break yields nothing. Its name is what the failure
matrix in docs/reliability.md calls it.
"""

import os
import random
import shutil
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import psycopg2
import redis

from drill.database_probe import DatabaseProbe
from drill.fleet import Fleet
from local.processes import children
from local.programs import Web, Worker
from local.server import Server, StartError
from shared.jobs import QUEUE, Queue

#: Seconds between two looks at whether it is over.
MOMENT: Final = 0.2


class Injection(NamedTuple):
    """What was just broken."""

    what: str
    #: seconds until it is over
    seconds: float = 0.0
    #: answers that it hit, if it hit particular ones
    victims: tuple[str, ...] = ()
    #: whether a worker died of it, where not every fault of this kind costs one
    deadly: bool = False
    #: the wall clock's moment from which on Postgres loses what is committed
    lost_since: float | None = None


@dataclass
class Field:
    """What a fault may reach for."""

    fleet: Fleet
    probe: DatabaseProbe
    queue: Queue
    dice: random.Random
    #: when the drill began, in monotonic seconds
    begun: float
    #: (id, boot, characters saved) of what is being written, as last seen
    open: list[tuple[str, str, int]] = field(default_factory=list)

    def redis(self) -> Any:
        """A connection of our own to Redis."""
        return redis.Redis.from_url(self.fleet.redis.url, socket_timeout=1, decode_responses=True)

    def writes(self, worker: Worker) -> tuple[str, ...]:
        """The answers that a worker is writing."""
        return tuple(one for one, boot, _ in self.open if boot == worker.boot)

    def kill(self, worker: Worker) -> tuple[str, ...]:
        """kill -9. Returns the ids of the answers it was writing: those of the last look, and those
        it claimed since, as its claims stay in Postgres until a sweep takes them."""
        victims = self.writes(worker)
        self.fleet.kill(worker)
        self.look()
        return tuple(dict.fromkeys(victims + self.writes(worker)))

    def look(self) -> bool:
        """Update `open`; whether that could be seen."""
        found = self.probe.open_rows() if self.can_look() else None
        if found is not None:
            self.open = found
        return found is not None

    def can_look(self) -> bool:
        """Whether Postgres can be asked: a stopped one would hold the question as long."""
        postgres = self.fleet.postgres
        return postgres.alive() and postgres not in self.fleet.frozen

    def worker(self) -> Worker | None:
        """One that is at work, rather one that writes; None if it were the last."""
        staff = self.fleet.at_work(self.fleet.workers)
        if len(staff) < 2:
            return None
        busy = [worker for worker in staff if self.writes(worker)]
        return self.dice.choice(busy or staff)

    def web(self) -> Web | None:
        """A master that serves; None if it were the last."""
        staff = self.fleet.at_work(self.fleet.webs)
        return self.dice.choice(staff) if len(staff) > 1 else None


Injections = Iterator[Injection]


class Kind(NamedTuple):
    """A kind of fault."""

    name: str
    #: what it concerns: worker, web, redis, postgres or queue. Faults of one group exclude each
    #: other where the director says so
    group: str
    do: Callable[[Field], Injections]


KINDS: Final[dict[str, Kind]] = {}


def _kind(group: str) -> Callable[[Callable[[Field], Injections]], Callable[[Field], Injections]]:
    def register(do: Callable[[Field], Injections]) -> Callable[[Field], Injections]:
        name = do.__name__.replace("_", "-")
        KINDS[name] = Kind(name, group, do)
        return do

    return register


def _frozen(
    field: Field, server: Server, seconds: float, who: str = "", victims: tuple[str, ...] = ()
) -> Injections:
    field.fleet.freeze(server)
    yield Injection(f"{who}for {seconds:.1f} s", seconds, victims)
    field.fleet.thaw(server)


def _part_of_a_lease(field: Field) -> float:
    """Longer, and workers would rightly be taken for dead."""
    return field.fleet.lease * field.dice.uniform(0.1, 0.5)


# --- workers -------------------------------------------------------------------------------------


def _writing(worker: Worker, victims: tuple[str, ...]) -> str:
    return f"{worker.name}, writing {len(victims)}"


@_kind("worker")
def worker_kill(field: Field) -> Injections:
    """kill -9. Now and then somebody saw it and names it to a sweep."""
    worker = field.worker()
    if worker is not None:
        victims = field.kill(worker)
        yield Injection(_writing(worker, victims), 0.0, victims)


@_kind("worker")
def worker_freeze(field: Field) -> Injections:
    """SIGSTOP for longer than its lease: a zombie when it wakes."""
    worker = field.worker()
    if worker is not None:
        seconds = field.fleet.lease + field.dice.uniform(1.0, 3.0)
        victims = field.writes(worker)
        yield from _frozen(field, worker, seconds, f"{_writing(worker, victims)}, ", victims)


@_kind("worker")
def worker_blink(field: Field) -> Injections:
    """SIGSTOP for a part of its lease: nobody must notice more than a pause."""
    worker = field.worker()
    if worker is not None:
        who = f"{_writing(worker, field.writes(worker))}, "
        yield from _frozen(field, worker, _part_of_a_lease(field), who)


@_kind("worker")
def worker_deploy(field: Field) -> Injections:
    """A successor starts, and the old one gets SIGTERM: it ends what it has begun."""
    worker = field.worker()
    if worker is not None and not field.fleet.draining:
        injection = Injection(_writing(worker, field.writes(worker)))
        field.fleet.deploy(worker)
        yield injection


# --- web -----------------------------------------------------------------------------------------


@_kind("web")
def web_kill(field: Field) -> Injections:
    """kill -9 of a master and its process."""
    web = field.web()
    if web is not None:
        field.fleet.kill(web)
        yield Injection("a master and its process")


@_kind("web")
def web_process_kill(field: Field) -> Injections:
    """kill -9 of the process below a master."""
    web = field.web()
    for process in children(web.pid) if web is not None else ():
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
            yield Injection("a process below its master")
        return


@_kind("web")
def web_reload(field: Field) -> Injections:
    """SIGHUP: a new process serves, the old one sends its readers away."""
    web = field.web()
    if web is not None:
        web.signal(signal.SIGHUP)
        yield Injection("a master")


@_kind("web")
def web_freeze(field: Field) -> Injections:
    """SIGSTOP of a master and its process for seconds."""
    web = field.web()
    if web is not None:
        yield from _frozen(field, web, field.dice.uniform(0.5, 3.0))


# --- Redis ---------------------------------------------------------------------------------------


@_kind("redis")
def redis_kill(field: Field) -> Injections:
    """kill -9; it starts again with what it kept."""
    field.fleet.kill(field.fleet.redis)
    yield Injection("it keeps its data", MOMENT)
    yield from _until_back(field.fleet.redis)


@_kind("redis")
def redis_loss(field: Field) -> Injections:
    """kill -9; it starts again with nothing."""
    field.fleet.lose_redis()
    yield Injection("it loses its data", MOMENT)
    yield from _until_back(field.fleet.redis)


def _until_back(*servers: Server) -> Injections:
    while not all(server.alive() and server.ready() for server in servers):
        yield Injection("", MOMENT)


@_kind("redis")
def redis_flush(field: Field) -> Injections:
    """FLUSHALL under everybody's hands."""
    with suppress(redis.RedisError):
        field.redis().flushall()
        yield Injection("it loses its data, and lives")


@_kind("redis")
def redis_freeze(field: Field) -> Injections:
    """SIGSTOP for seconds."""
    yield from _frozen(field, field.fleet.redis, field.dice.uniform(0.5, 4.0))


@_kind("redis")
def redis_pause(field: Field) -> Injections:
    """CLIENT PAUSE: it accepts, and answers nobody."""
    seconds = field.dice.uniform(0.5, 2.5)
    with suppress(redis.RedisError):
        field.redis().execute_command("CLIENT", "PAUSE", int(seconds * 1000), "ALL")
        yield Injection(f"for {seconds:.1f} s", seconds)


@_kind("redis")
def redis_full(field: Field) -> Injections:
    """maxmemory is reached: it reads, and writes nothing."""
    seconds = field.dice.uniform(1.0, 4.0)
    with suppress(redis.RedisError):
        field.redis().config_set("maxmemory", "1")
        yield Injection(f"for {seconds:.1f} s", seconds)
    with suppress(redis.RedisError):  # one that was started again has forgotten it
        field.redis().config_set("maxmemory", "0")


#: Seconds by which Redis goes back, least and most.
BACK: Final = (0.3, 3.0)


@_kind("redis")
def redis_rewind(field: Field) -> Injections:
    """Killed, and started as it was seconds before; at every second time a worker dies with it."""
    fleet, dice = field.fleet, field.dice
    snapshot = fleet.home / "snapshot"
    shutil.rmtree(snapshot, ignore_errors=True)
    fleet.redis.snapshot(snapshot)
    seconds = dice.uniform(*BACK)
    yield Injection(f"by {seconds:.1f} s", seconds)
    worker = field.worker() if dice.random() < 0.5 else None
    if worker is not None:
        victims = field.kill(worker)
        fleet.rewind_redis(snapshot)
        yield Injection(f", and {_writing(worker, victims)}", MOMENT, victims, deadly=True)
    else:
        fleet.rewind_redis(snapshot)
    yield from _until_back(fleet.redis)


@_kind("redis")
def redis_connections(field: Field) -> Injections:
    """Every connection to Redis is cut."""
    with suppress(redis.RedisError):
        connection = field.redis()
        for kind in ("pubsub", "normal"):
            connection.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
        yield Injection("all of them")


# --- Postgres ------------------------------------------------------------------------------------


@_kind("postgres")
def postgres_kill(field: Field) -> Injections:
    """A crash, of the postmaster alone or of everything at once; it recovers at its start."""
    postgres = field.fleet.postgres
    if postgres.alive():
        number = field.dice.choice([signal.SIGKILL, signal.SIGQUIT])
        postgres.signal(number)
        yield Injection("kill -9" if number == signal.SIGKILL else "immediate shutdown", MOMENT)
        yield from _until_back(postgres)


@_kind("postgres")
def postgres_freeze(field: Field) -> Injections:
    """SIGSTOP of it and all its backends for seconds."""
    if field.fleet.postgres.alive():
        yield from _frozen(field, field.fleet.postgres, _part_of_a_lease(field))


@_kind("postgres")
def postgres_connections(field: Field) -> Injections:
    """Every backend is terminated, perhaps in the middle of a commit."""
    done = field.probe.run(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name <> 'drill' AND backend_type = 'client backend'"
    )
    if done:
        yield Injection("all of them")


@_kind("postgres")
def postgres_lock(field: Field) -> Injections:
    """Somebody holds the row of an answer."""
    release = field.probe.lock()
    if release is not None:
        seconds = _part_of_a_lease(field)
        yield Injection(f"one row, for {seconds:.1f} s", seconds)
        release()


@_kind("postgres")
def postgres_readonly(field: Field) -> Injections:
    """It answers, and writes nothing."""
    if not _set_readonly(field, "on"):
        return
    seconds = _part_of_a_lease(field)
    yield Injection(f"for {seconds:.1f} s", seconds)
    while not _set_readonly(field, "off"):
        yield Injection("", MOMENT)


#: Seconds of WAL that a failover to an asynchronous standby loses, least and most.
WAL_LOST: Final = (0.3, 2.5)
#: Seconds for which an old primary that was not killed can still be read.
LIVES_ON: Final = (0.5, 2.0)
#: Seconds within which a step towards a standby has to be done.
STANDBY_SECONDS: Final = 20.0


@_kind("postgres")
def postgres_failover(field: Field) -> Injections:
    """A standby takes over: a synchronous one, or one that has not received the last seconds. The
    old primary is killed, or lives on and can only be read."""
    cluster, dice = field.fleet.cluster, field.dice
    synchronous, spare = dice.random() < 0.4, dice.random() < 0.4
    lost = 0.0 if synchronous else dice.uniform(*WAL_LOST)
    what = "to a synchronous standby" if synchronous else f"{lost:.1f} s of WAL are lost"
    yield Injection(f"{what}, the old primary {'can be read' if spare else 'is gone'}", MOMENT)
    try:
        yield from _standby(field, synchronous=synchronous)
        if not synchronous:
            yield from _hold(field, lost)
        cluster.switch(spare=spare)
    except (psycopg2.Error, StartError):  # it has not come so far that anything was lost
        cluster.abandon()
        yield Injection(": no standby got ready")
        return
    field.probe.close()  # they would look at the old one for as long as it lives
    while not _promoted(field):
        yield Injection("", MOMENT)
    if spare:
        yield Injection("", dice.uniform(*LIVES_ON))
        cluster.bury()


def _standby(field: Field, *, synchronous: bool) -> Injections:
    """Until there is one that streams."""
    cluster = field.fleet.cluster
    standby = cluster.new_standby()
    copying = standby.copy()
    yield from _until(lambda: copying.poll() is not None)
    standby.start()
    yield from _until(cluster.streaming)
    if synchronous:
        cluster.synchronous(True)
        yield from _until(cluster.is_synchronous)
        yield Injection("", field.dice.uniform(*WAL_LOST))


def _hold(field: Field, seconds: float) -> Injections:
    """Let so many seconds of WAL not reach the standby; everything before has."""
    standby = field.fleet.cluster.standby
    assert standby is not None
    since, position = time.time(), field.fleet.cluster.position()
    yield from _until(lambda: standby.has(position))
    standby.disconnect()
    yield from _until(lambda: not standby.receives())
    yield Injection("", seconds, lost_since=since)


def _until(condition: Callable[[], bool]) -> Injections:
    deadline = time.monotonic() + STANDBY_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise StartError("the standby does not get ready")
        yield Injection("")


def _promoted(field: Field) -> bool:
    try:
        return field.fleet.cluster.promoted()
    except psycopg2.Error:
        return False


#: Seconds by which the clock of Postgres jumps, and the most by which it is wrong.
JUMPS: Final = (5.0, 60.0, 3600.0)
WRONG_MOST: Final = 7200.0


@_kind("postgres")
def clock_jump(field: Field) -> Injections:
    """The clock of Postgres is set, forward or back, and stays there."""
    fleet = field.fleet
    if fleet.clock is None or not fleet.postgres.alive():
        return
    by = field.dice.choice(JUMPS) * field.dice.choice([-1, 1])
    if abs(fleet.clock + by) > WRONG_MOST:
        by = -by
    fleet.set_clock(fleet.clock + by)
    field.probe.clock_jumped()
    yield Injection(f"by {by:+,.0f} s")


def _set_readonly(field: Field, value: str) -> bool:
    setting = f"ALTER SYSTEM SET default_transaction_read_only = {value}"
    return field.probe.run(setting) and field.probe.run("SELECT pg_reload_conf()")


# --- the queue -----------------------------------------------------------------------------------


@_kind("queue")
def task_twice(field: Field) -> Injections:
    """Deliver tasks once more."""
    again = [one for one, _, _ in field.open][:3]
    done = [field.queue.enqueue(uuid.UUID(one)) for one in again]
    if any(done):
        yield Injection(f"{sum(done)} of them")


@_kind("queue")
def task_loss(field: Field) -> Injections:
    """The queue forgets what waits in it."""
    with suppress(redis.RedisError):
        number = field.redis().llen(QUEUE)
        field.redis().delete(QUEUE)
        yield Injection(f"{number} of them")


# --- two at once ---------------------------------------------------------------------------------


@_kind("redis")
def redis_and_postgres_kill(field: Field) -> Injections:
    """Both, and Redis loses its data; the workers hold the text."""
    if field.fleet.postgres.alive():
        field.fleet.lose_redis()
        field.fleet.postgres.signal(signal.SIGKILL)
        yield Injection("Redis loses its data", MOMENT)
        yield from _until_back(field.fleet.postgres, field.fleet.redis)


@_kind("redis")
def worker_and_redis_loss(field: Field) -> Injections:
    """A worker and Redis' data: the one loss that is possible, and has a bound."""
    worker = field.worker()
    if worker is not None:
        victims = field.kill(worker)
        field.fleet.lose_redis()
        yield Injection(f"{_writing(worker, victims)}, and Redis' data", MOMENT, victims)
        yield from _until_back(field.fleet.redis)
