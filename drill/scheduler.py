"""Breaks what a deck of faults says, in its order, while people ask and read.

One thread and one loop, because what was stopped has to go on in time: nothing in it waits longer
than a moment. Two deaths that together may rightly cost text are kept apart (Redis, and a worker
whose text only Redis has), except in the kind of fault that is about just that.
"""

import json
import random
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from drill.clients import Seen, Task
from drill.faults import KINDS, Field, Injection, Injections, Kind
from drill.questions import Question
from drill.verifier import Happened, wrong
from local.processes import Command, spawn
from local.terminal import echo

#: Seconds between two turns of the loop, two looks at Postgres, two looks at its deadlines.
TURN: Final = 0.05
LOOK: Final = 0.25
LOOK_AT_DEADLINES: Final = 1.0
#: Seconds in which saves catch up after Redis lost something, and between two faults of Postgres.
SETTLED: Final = 2.5
#: What a failover is besides that lost something.
LOSS: Final = "loss"
#: Seconds between two faults, least and most.
PACE: Final = (0.2, 1.4)

#: A round of the deck: worker deaths, with which Redis is left alone, then Redis' own. A tuple
#: takes its next at every turn.
FIRST_HALF: Final[list[str | tuple[str, ...]]] = [
    *["worker-kill"] * 12,
    *["worker-freeze"] * 4,
    "worker-blink",
    "worker-deploy",
    "task-twice",
    "postgres-kill",
    "postgres-failover",
    "clock-jump",
    ("postgres-freeze", "postgres-connections", "postgres-lock", "postgres-readonly"),
    *[("web-kill", "web-process-kill", "web-reload", "web-freeze")] * 2,
]
SECOND_HALF: Final[list[str | tuple[str, ...]]] = [
    "redis-kill",
    ("redis-loss", "redis-flush", "redis-and-postgres-kill"),
    "redis-rewind",
    *[("redis-freeze", "redis-pause", "redis-full", "redis-connections")] * 2,
    "postgres-connections",
    ("worker-and-redis-loss", "task-loss", "task-loss"),
    ("web-kill", "web-freeze"),
]


def deck(dice: random.Random, wanted: Sequence[str]) -> Iterator[str]:
    """Kinds of faults for ever; only the wanted ones. Each of them once, then in rounds."""
    turns: dict[tuple[str, ...], int] = {}

    def drawn(one: str | tuple[str, ...]) -> str:
        if isinstance(one, str):
            return one
        turns[one] = turns.get(one, -1) + 1
        return one[turns[one] % len(one)]

    for half in (FIRST_HALF, SECOND_HALF):
        names = [name for name in _kinds_of(half) if name in wanted]
        yield from dice.sample(names, len(names))
    while wanted:
        for half in (FIRST_HALF, SECOND_HALF):
            names = [name for name in map(drawn, half) if name in wanted]
            yield from dice.sample(names, len(names))


def _kinds_of(half: list[str | tuple[str, ...]]) -> list[str]:
    """Each kind of a half, once."""
    kinds = [name for one in half for name in ([one] if isinstance(one, str) else one)]
    return list(dict.fromkeys(kinds))


@dataclass
class UnderWay:
    """A fault that has begun."""

    kind: Kind
    doing: Injections
    until: float
    happened: Happened


class People:
    """The people's process, and what they have said so far."""

    def __init__(self, task: Task, log: Path) -> None:
        words = ["-m", "drill.clients", json.dumps(asdict(task))]
        self._said = log
        log.touch()
        self._read = log.open()
        self.process = spawn(Command([sys.executable, *words], log))
        self._rest = ""
        self.seen: list[Seen] = []
        #: whether the rendezvous are over
        self.calm_is_over = False
        #: what they said otherwise: a traceback
        self.strange: list[str] = []

    def listen(self) -> None:
        """Take what they have said since the last time."""
        *lines, self._rest = (self._rest + self._read.read()).split("\n")
        for line in lines:
            try:
                value = json.loads(line)
            except ValueError:
                self.strange.append(line)
                continue
            if isinstance(value, dict):
                self.seen.append(Seen(**value))
            else:
                self.calm_is_over = True

    @property
    def gone(self) -> bool:
        """Whether they have finished, well or not."""
        return self.process.poll() is not None


class Scheduler:
    """One local drill."""

    def __init__(
        self,
        field: Field,
        people: People,
        wanted: Sequence[str],
        questions: Mapping[int, Question],
        deadline: float,
        *,
        seed: int,
        first: bool,
    ) -> None:
        """`deadline`: monotonic seconds at which it ends, whatever is left; `first`: it ends at
        the first violation that a reader saw."""
        self.field = field
        self.people = people
        self.wanted = wanted
        self.questions = questions
        self.first = first
        self.deadline = deadline
        # Of its own: what others draw depends on what happens, and the deck must not.
        self.dice = random.Random(f"{seed} deck")  # noqa: S311 - a drill has no secrets
        self.happened: list[Happened] = []
        #: rows that were open behind their deadline, and looks at them
        self.late: list[str] = []
        self._under_way: list[UnderWay] = []
        self._over: dict[str, float] = {}
        self._next: str | None = None
        self._due = 0.0
        self._judged = 0
        self._looked = self._looked_at_deadlines = self._seen_well = 0.0

    def run(self) -> None:
        """Until the people have gone and nothing is broken any more."""
        cards = deck(self.dice, self.wanted)
        while not (self.people.gone and not self._under_way):
            time.sleep(TURN)
            self.people.listen()
            self.field.fleet.tend()
            self._look()
            self._end_what_is_over()
            if self.people.calm_is_over and not self.people.gone:
                self._break_something(cards)
            if time.monotonic() > self.deadline:
                self.people.process.kill()
                self.people.strange.append("the drill's time was over before its people were")
            elif self.first and self._went_wrong():
                self.people.process.kill()
        self.people.listen()

    def _went_wrong(self) -> bool:
        """Whether one of those who came back since the last time saw what must not be."""
        new, self._judged = self.people.seen[self._judged :], len(self.people.seen)
        return any(wrong(self.questions[one.number], one, self.happened) for one in new)

    # --- breaking

    def _break_something(self, cards: Iterator[str]) -> None:
        now = time.monotonic()
        if now < self._due or len(self.people.seen) >= len(self.questions) - 2:
            return
        if self._next is None:
            self._next = next(cards, None)
        if self._next is None or not self._may(KINDS[self._next]):
            return
        kind, self._next = KINDS[self._next], None
        self._due = now + self.field.dice.uniform(*PACE)
        self._look_now()
        running = bool(self.field.open)
        doing = kind.do(self.field)
        injection = next(doing, None)
        if injection is None:
            return
        if kind.group == "worker":
            running = bool(injection.victims) or (
                running and kind.name not in ("worker-kill", "worker-freeze")
            )
        happened = Happened(kind.name, injection.what, time.time(), running, injection.victims)
        self.happened.append(happened)
        self._tell(happened)
        self._under_way.append(UnderWay(kind, doing, now + injection.seconds, happened))

    def _tell(self, one: Happened) -> None:
        answered = f"{len(self.people.seen)}/{len(self.questions)}"
        seconds = time.monotonic() - self.field.begun
        echo(f"  {seconds:6.1f} s  {answered:>9}  {one.kind:<24} {one.what}")

    def _end_what_is_over(self) -> None:
        now = time.monotonic()
        for one in [each for each in self._under_way if now >= each.until]:
            injection: Injection | None = next(one.doing, None)
            if injection is not None:
                one.until = now + injection.seconds
                self._went_on(one.happened, injection)
                continue
            self._under_way.remove(one)
            one.happened.ended = time.time()
            self._over[one.kind.group] = now
            if one.happened.lost_since is not None:
                self._over[LOSS] = now

    def _went_on(self, happened: Happened, injection: Injection) -> None:
        """What a fault that has begun did besides."""
        happened.lost_since = happened.lost_since or injection.lost_since
        happened.victims += injection.victims
        happened.deadly |= injection.deadly
        if injection.what:
            happened.what += injection.what
            self._tell(happened)

    def _may(self, kind: Kind) -> bool:
        """Whether it may be done now without costing text that nobody promised to keep."""
        rule: Callable[[], bool] = {
            "worker": self._redis_is_well,
            "redis": self._only_redis_would_break,
            "postgres": self._postgres_is_well,
        }.get(kind.group, lambda: True)
        return rule()

    def _active(self, *groups: str) -> bool:
        return any(one.kind.group in groups for one in self._under_way)

    def _settled(self, name: str, seconds: float = SETTLED) -> bool:
        """Whether the last fault of a group, or the last LOSS, is over for so long."""
        return time.monotonic() - self._over.get(name, 0.0) > seconds

    def _redis_is_well(self) -> bool:
        return not self._active("redis") and self._settled("redis") and self._sees()

    def _postgres_is_well(self) -> bool:
        return (
            not self._active("postgres", "redis")
            and self._settled("postgres")
            and self._settled("redis")  # a failover may lose what was saved since
            and self._sees()
        )

    def _only_redis_would_break(self) -> bool:
        """No answer whose owner is gone: Redis may have the only copy of its last words.

        After a LOSS an answer may be open again that nobody writes any more, for a lease and
        for as long as a sweep gives owners after a start of Postgres.
        """
        if self._active("worker", "redis", "postgres") or not self._settled("postgres"):
            return False
        if not self._settled(LOSS, 2 * self.field.fleet.lease + SETTLED):
            return False
        self._look_now()
        living = self.field.fleet.boots()
        return self._sees() and all(boot in living for _, boot, _ in self.field.open)

    # --- looking

    def _sees(self) -> bool:
        """Whether Postgres was seen a moment ago."""
        return time.monotonic() - self._seen_well < LOOK_AT_DEADLINES

    def _look(self) -> None:
        now = time.monotonic()
        if now - self._looked >= LOOK:
            self._look_now()
        if now - self._looked_at_deadlines >= LOOK_AT_DEADLINES and self.field.can_look():
            self._looked_at_deadlines = now
            self.late += self.field.probe.late() or []

    def _look_now(self) -> None:
        self._looked = time.monotonic()
        if self.field.look():
            self._seen_well = time.monotonic()
