"""What every kind of fault is made of: its context, its steps and its registration.

A kind is a generator function. It breaks something and yields what it did and for how many seconds,
then undoes it. It may yield several times, where what it does takes several steps: nothing in it
waits, because other things that were stopped have to go on in time. A kind that finds nothing to
break yields nothing.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import redis

from drill.database_probe import DatabaseProbe
from drill.fleet import Fleet
from local.programs import Web, Worker
from local.server import Server
from shared.jobs import Queue

#: Seconds between two polls of whether a fault is over.
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
class FaultContext:
    """What a fault may act on."""

    fleet: Fleet
    probe: DatabaseProbe
    queue: Queue
    rng: random.Random
    #: when the drill began, in monotonic seconds
    begun: float
    #: (id, boot, characters saved) of what is being written, as of the last poll
    open: list[tuple[str, str, int]] = field(default_factory=list)

    def redis(self) -> Any:
        """A connection of our own to Redis."""
        return redis.Redis.from_url(self.fleet.redis.url, socket_timeout=1, decode_responses=True)

    def writes(self, worker: Worker) -> tuple[str, ...]:
        """The answers that a worker is writing."""
        return tuple(one for one, boot, _ in self.open if boot == worker.boot)

    def kill(self, worker: Worker) -> tuple[str, ...]:
        """kill -9; the ids of the answers that it was writing.

        These are the ones known before, and those that it claimed since: its claims stay in
        Postgres until a sweep takes them.
        """
        victims = self.writes(worker)
        self.fleet.kill(worker)
        self.poll()
        return tuple(dict.fromkeys(victims + self.writes(worker)))

    def poll(self) -> bool:
        """Update `open`; whether Postgres could be asked."""
        found = self.probe.open_rows() if self.can_poll() else None
        if found is not None:
            self.open = found
        return found is not None

    def can_poll(self) -> bool:
        """Whether Postgres can be asked. While it is stopped it would hold the statement."""
        postgres = self.fleet.postgres
        return postgres.alive() and postgres not in self.fleet.frozen

    def worker(self) -> Worker | None:
        """A worker that runs, preferably one that is writing; None if only one is left."""
        staff = self.fleet.at_work(self.fleet.workers)
        if len(staff) < 2:
            return None
        busy = [worker for worker in staff if self.writes(worker)]
        return self.rng.choice(busy or staff)

    def web(self) -> Web | None:
        """A master that serves; None if only one is left."""
        staff = self.fleet.at_work(self.fleet.webs)
        return self.rng.choice(staff) if len(staff) > 1 else None


InjectionSteps = Iterator[Injection]
Inject = Callable[[FaultContext], InjectionSteps]


class FaultKind(NamedTuple):
    """A kind of fault, by the name that docs/reliability.md gives it."""

    name: str
    #: worker, web, redis, postgres or queue; the scheduler keeps some groups apart
    group: str
    inject: Inject


#: All kinds by name; filled by `fault`.
FAULT_KINDS: Final[dict[str, FaultKind]] = {}


def fault(group: str) -> Callable[[Inject], Inject]:
    """Register a function as a kind of fault: `worker_kill` is "worker-kill"."""

    def register(inject: Inject) -> Inject:
        name = inject.__name__.replace("_", "-")
        FAULT_KINDS[name] = FaultKind(name, group, inject)
        return inject

    return register


# --- steps of several kinds ----------------------------------------------------------------------


def frozen(
    context: FaultContext,
    server: Server,
    seconds: float,
    who: str = "",
    victims: tuple[str, ...] = (),
) -> InjectionSteps:
    """Stop a server by SIGSTOP for some seconds."""
    context.fleet.freeze(server)
    yield Injection(f"{who}for {seconds:.1f} s", seconds, victims)
    context.fleet.thaw(server)


def until_back(*servers: Server) -> InjectionSteps:
    """Until these servers, which the fleet starts again, are ready."""
    while not all(server.alive() and server.ready() for server in servers):
        yield Injection("", MOMENT)


def part_of_a_lease(context: FaultContext) -> float:
    """Seconds for which workers may be held up without being taken for dead."""
    return context.fleet.lease * context.rng.uniform(0.1, 0.5)


def worker_and_count(worker: Worker, victims: tuple[str, ...]) -> str:
    """How a fault of a worker is shown: its name, and how many answers it was writing."""
    return f"{worker.name}, writing {len(victims)}"
