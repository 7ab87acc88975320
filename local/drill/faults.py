"""What a local drill breaks, one function a kind.

Each is a generator: it does its harm, yields what it did and the seconds until it is over, and then
takes it back. A kind that finds nothing to break yields nothing. Its name is what the failure
matrix in docs/reliability.md calls it.
"""

import os
import random
import signal
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import redis

from local.drill.eyes import Eyes
from local.drill.fleet import Fleet
from local.processes import children
from local.programs import Web, Worker
from local.server import Server
from shared.jobs import QUEUE, Queue

#: Seconds between two looks at whether it is over.
MOMENT: Final = 0.2


class Harm(NamedTuple):
    """What was just broken."""

    what: str
    #: seconds until it is over
    seconds: float = 0.0
    #: answers that it hit, if it hit particular ones
    victims: tuple[str, ...] = ()


@dataclass
class Field:
    """What a fault may reach for."""

    fleet: Fleet
    eyes: Eyes
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


Doing = Iterator[Harm]


class Kind(NamedTuple):
    """A kind of fault."""

    name: str
    #: what it concerns: worker, web, redis, postgres or queue. Faults of one group exclude each
    #: other where the director says so
    group: str
    do: Callable[[Field], Doing]


KINDS: Final[dict[str, Kind]] = {}


def _kind(group: str) -> Callable[[Callable[[Field], Doing]], Callable[[Field], Doing]]:
    def register(do: Callable[[Field], Doing]) -> Callable[[Field], Doing]:
        name = do.__name__.replace("_", "-")
        KINDS[name] = Kind(name, group, do)
        return do

    return register


def _frozen(
    field: Field, server: Server, seconds: float, who: str = "", victims: tuple[str, ...] = ()
) -> Doing:
    field.fleet.freeze(server)
    yield Harm(f"{who}for {seconds:.1f} s", seconds, victims)
    field.fleet.thaw(server)


def _part_of_a_lease(field: Field) -> float:
    """Longer, and workers would rightly be taken for dead."""
    return field.fleet.lease * field.dice.uniform(0.1, 0.5)


# --- workers -------------------------------------------------------------------------------------


def _writing(field: Field, worker: Worker) -> str:
    number = len(field.writes(worker))
    return f"{worker.name}, writing {number}"


@_kind("worker")
def worker_kill(field: Field) -> Doing:
    """kill -9. Now and then somebody saw it and names it to a sweep."""
    worker = field.worker()
    if worker is not None:
        harm = Harm(_writing(field, worker), 0.0, field.writes(worker))
        field.fleet.kill(worker)
        yield harm


@_kind("worker")
def worker_freeze(field: Field) -> Doing:
    """SIGSTOP for longer than its lease: a zombie when it wakes."""
    worker = field.worker()
    if worker is not None:
        seconds = field.fleet.lease + field.dice.uniform(1.0, 3.0)
        who = f"{_writing(field, worker)}, "
        yield from _frozen(field, worker, seconds, who, field.writes(worker))


@_kind("worker")
def worker_blink(field: Field) -> Doing:
    """SIGSTOP for a part of its lease: nobody must notice more than a pause."""
    worker = field.worker()
    if worker is not None:
        who = f"{_writing(field, worker)}, "
        yield from _frozen(field, worker, _part_of_a_lease(field), who)


@_kind("worker")
def worker_deploy(field: Field) -> Doing:
    """A successor starts, and the old one gets SIGTERM: it ends what it has begun."""
    worker = field.worker()
    if worker is not None and not field.fleet.draining:
        harm = Harm(_writing(field, worker))
        field.fleet.deploy(worker)
        yield harm


# --- web -----------------------------------------------------------------------------------------


@_kind("web")
def web_kill(field: Field) -> Doing:
    """kill -9 of a master and its process."""
    web = field.web()
    if web is not None:
        field.fleet.kill(web)
        yield Harm("a master and its process")


@_kind("web")
def web_process_kill(field: Field) -> Doing:
    """kill -9 of the process below a master."""
    web = field.web()
    for process in children(web.pid) if web is not None else ():
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
            yield Harm("a process below its master")
        return


@_kind("web")
def web_reload(field: Field) -> Doing:
    """SIGHUP: a new process serves, the old one sends its readers away."""
    web = field.web()
    if web is not None:
        web.signal(signal.SIGHUP)
        yield Harm("a master")


@_kind("web")
def web_freeze(field: Field) -> Doing:
    """SIGSTOP of a master and its process for seconds."""
    web = field.web()
    if web is not None:
        yield from _frozen(field, web, field.dice.uniform(0.5, 3.0))


# --- Redis ---------------------------------------------------------------------------------------


@_kind("redis")
def redis_kill(field: Field) -> Doing:
    """kill -9; it starts again with what it kept."""
    field.fleet.kill(field.fleet.redis)
    yield Harm("it keeps its data", MOMENT)
    yield from _until_back(field.fleet.redis)


@_kind("redis")
def redis_loss(field: Field) -> Doing:
    """kill -9; it starts again with nothing."""
    field.fleet.lose_redis()
    yield Harm("it loses its data", MOMENT)
    yield from _until_back(field.fleet.redis)


def _until_back(*servers: Server) -> Doing:
    while not all(server.alive() and server.ready() for server in servers):
        yield Harm("", MOMENT)


@_kind("redis")
def redis_flush(field: Field) -> Doing:
    """FLUSHALL under everybody's hands."""
    with suppress(redis.RedisError):
        field.redis().flushall()
        yield Harm("it loses its data, and lives")


@_kind("redis")
def redis_freeze(field: Field) -> Doing:
    """SIGSTOP for seconds."""
    yield from _frozen(field, field.fleet.redis, field.dice.uniform(0.5, 4.0))


@_kind("redis")
def redis_pause(field: Field) -> Doing:
    """CLIENT PAUSE: it accepts, and answers nobody."""
    seconds = field.dice.uniform(0.5, 2.5)
    with suppress(redis.RedisError):
        field.redis().execute_command("CLIENT", "PAUSE", int(seconds * 1000), "ALL")
        yield Harm(f"for {seconds:.1f} s", seconds)


@_kind("redis")
def redis_full(field: Field) -> Doing:
    """maxmemory is reached: it reads, and writes nothing."""
    seconds = field.dice.uniform(1.0, 4.0)
    with suppress(redis.RedisError):
        field.redis().config_set("maxmemory", "1")
        yield Harm(f"for {seconds:.1f} s", seconds)
    with suppress(redis.RedisError):  # one that was started again has forgotten it
        field.redis().config_set("maxmemory", "0")


@_kind("redis")
def redis_connections(field: Field) -> Doing:
    """Every connection to Redis is cut."""
    with suppress(redis.RedisError):
        connection = field.redis()
        for kind in ("pubsub", "normal"):
            connection.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
        yield Harm("all of them")


# --- Postgres ------------------------------------------------------------------------------------


@_kind("postgres")
def postgres_kill(field: Field) -> Doing:
    """A crash, of the postmaster alone or of everything at once; it recovers at its start."""
    postgres = field.fleet.postgres
    if postgres.alive():
        number = field.dice.choice([signal.SIGKILL, signal.SIGQUIT])
        postgres.signal(number)
        yield Harm("kill -9" if number == signal.SIGKILL else "immediate shutdown", MOMENT)
        yield from _until_back(postgres)


@_kind("postgres")
def postgres_freeze(field: Field) -> Doing:
    """SIGSTOP of it and all its backends for seconds."""
    if field.fleet.postgres.alive():
        yield from _frozen(field, field.fleet.postgres, _part_of_a_lease(field))


@_kind("postgres")
def postgres_connections(field: Field) -> Doing:
    """Every backend is terminated, perhaps in the middle of a commit."""
    done = field.eyes.run(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name <> 'drill' AND backend_type = 'client backend'"
    )
    if done:
        yield Harm("all of them")


@_kind("postgres")
def postgres_lock(field: Field) -> Doing:
    """Somebody holds the row of an answer."""
    release = field.eyes.lock()
    if release is not None:
        seconds = _part_of_a_lease(field)
        yield Harm(f"one row, for {seconds:.1f} s", seconds)
        release()


@_kind("postgres")
def postgres_readonly(field: Field) -> Doing:
    """It answers, and writes nothing."""
    if not _set_readonly(field, "on"):
        return
    seconds = _part_of_a_lease(field)
    yield Harm(f"for {seconds:.1f} s", seconds)
    while not _set_readonly(field, "off"):
        yield Harm("", MOMENT)


def _set_readonly(field: Field, value: str) -> bool:
    setting = f"ALTER SYSTEM SET default_transaction_read_only = {value}"
    return field.eyes.run(setting) and field.eyes.run("SELECT pg_reload_conf()")


# --- the queue -----------------------------------------------------------------------------------


@_kind("queue")
def task_twice(field: Field) -> Doing:
    """Deliver tasks once more."""
    again = [one for one, _, _ in field.open][:3]
    done = [field.queue.enqueue(uuid.UUID(one)) for one in again]
    if any(done):
        yield Harm(f"{sum(done)} of them")


@_kind("queue")
def task_loss(field: Field) -> Doing:
    """The queue forgets what waits in it."""
    with suppress(redis.RedisError):
        number = field.redis().llen(QUEUE)
        field.redis().delete(QUEUE)
        yield Harm(f"{number} of them")


# --- two at once ---------------------------------------------------------------------------------


@_kind("redis")
def redis_and_postgres_kill(field: Field) -> Doing:
    """Both, and Redis loses its data; the workers hold the text."""
    if field.fleet.postgres.alive():
        field.fleet.lose_redis()
        field.fleet.postgres.signal(signal.SIGKILL)
        yield Harm("Redis loses its data", MOMENT)
        yield from _until_back(field.fleet.postgres, field.fleet.redis)


@_kind("redis")
def worker_and_redis_loss(field: Field) -> Doing:
    """A worker and Redis' data: the one loss that is possible, and has a bound."""
    worker = field.worker()
    if worker is not None:
        harm = Harm(f"{_writing(field, worker)}, and Redis' data", MOMENT, field.writes(worker))
        field.fleet.kill(worker)
        field.fleet.lose_redis()
        yield harm
        yield from _until_back(field.fleet.redis)
