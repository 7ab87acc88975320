"""Injects faults one after another while the clients ask and read.

One thread and one loop. Nothing in it waits longer than a moment, because what was stopped has to
go on in time. Postgres is polled in between, for rows that are open past their deadline.

Faults may overlap, but for two that together may rightly cost text: Redis, and a worker whose text
only Redis has. They are kept apart by `_may`, except in the kinds of fault that are about just that
and whose loss is bounded.
"""

import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from drill.clients import ClientProcess
from drill.fault_sequence import fault_sequence
from drill.faults import FAULT_KINDS, FaultContext, FaultKind, Injection, InjectionSteps
from drill.questions import Question
from drill.verifier import InjectedFault, has_violations
from local.terminal import echo

#: Seconds between two turns of the loop, two polls of Postgres, two polls of its deadlines.
POLL_EVERY: Final = 0.05
POLL: Final = 0.25
POLL_DEADLINES: Final = 1.0
#: Seconds in which saves catch up after Redis lost something, and between two faults of Postgres.
SETTLED: Final = 2.5
#: The group of a failover that lost something, besides its own.
LOSS: Final = "loss"
#: Seconds between two faults, least and most.
PACE: Final = (0.2, 1.4)


@dataclass
class ActiveFault:
    """A fault that has begun and is not over yet."""

    kind: FaultKind
    steps: InjectionSteps
    #: when its next step is due, in monotonic seconds
    until: float
    record: InjectedFault


class Scheduler:
    """One local drill."""

    def __init__(
        self,
        context: FaultContext,
        clients: ClientProcess,
        wanted: Sequence[str],
        questions: Mapping[int, Question],
        deadline: float,
        *,
        seed: int,
        first: bool,
    ) -> None:
        """`wanted`: names of kinds of faults; `deadline`: monotonic seconds at which it ends,
        whatever is left; `first`: it ends at the first violation that a reader saw."""
        self.context = context
        self.clients = clients
        self.wanted = wanted
        self.questions = questions
        self.first = first
        self.deadline = deadline
        # Its own: what others draw depends on what happens, and the sequence must not.
        self.rng = random.Random(f"{seed} deck")  # noqa: S311 - a drill has no secrets
        self.faults: list[InjectedFault] = []
        #: rows that were open past their deadline, as sentences
        self.late: list[str] = []
        self._active_faults: list[ActiveFault] = []
        #: by group: when its last fault was over, in monotonic seconds
        self._over: dict[str, float] = {}
        self._next: str | None = None
        self._due = 0.0
        self._checked = 0
        self._polled = self._polled_deadlines = self._reached = 0.0

    def run(self) -> None:
        """Run until the clients have ended and no fault is active."""
        sequence = fault_sequence(self.rng, self.wanted)
        while not (self.clients.ended and not self._active_faults):
            time.sleep(POLL_EVERY)
            self.clients.read_output()
            self.context.fleet.restart_ended()
            self._poll_when_due()
            self._continue_faults()
            if self.clients.rendezvous_over and not self.clients.ended:
                self._inject(sequence)
            if time.monotonic() > self.deadline:
                self.clients.process.kill()
                self.clients.unexpected_output.append("the clients were not done in time")
            elif self.first and self._has_new_violations():
                self.clients.process.kill()
        self.clients.read_output()

    def _has_new_violations(self) -> bool:
        """Whether an observation since the last call has a violation."""
        new = self.clients.observations[self._checked :]
        self._checked += len(new)
        return any(has_violations(self.questions[one.number], one, self.faults) for one in new)

    # --- injecting

    def _inject(self, sequence: Iterator[str]) -> None:
        now = time.monotonic()
        if now < self._due or len(self.clients.observations) >= len(self.questions) - 2:
            return
        if self._next is None:
            self._next = next(sequence, None)
        if self._next is None or not self._may(FAULT_KINDS[self._next]):
            return
        kind, self._next = FAULT_KINDS[self._next], None
        self._due = now + self.context.rng.uniform(*PACE)
        self._poll()
        running = bool(self.context.open)
        steps = kind.inject(self.context)
        injection = next(steps, None)
        if injection is None:
            return
        if kind.group == "worker":
            running = bool(injection.victims) or (
                running and kind.name not in ("worker-kill", "worker-freeze")
            )
        record = InjectedFault(kind.name, injection.what, time.time(), running, injection.victims)
        self.faults.append(record)
        self._show(record)
        self._active_faults.append(ActiveFault(kind, steps, now + injection.seconds, record))

    def _show(self, fault: InjectedFault) -> None:
        answered = f"{len(self.clients.observations)}/{len(self.questions)}"
        seconds = time.monotonic() - self.context.begun
        echo(f"  {seconds:6.1f} s  {answered:>9}  {fault.kind:<24} {fault.what}")

    def _continue_faults(self) -> None:
        """Take the next step of each active fault that is due; the last step ends it."""
        now = time.monotonic()
        for active in [each for each in self._active_faults if now >= each.until]:
            injection: Injection | None = next(active.steps, None)
            if injection is not None:
                active.until = now + injection.seconds
                self._add_step(active.record, injection)
                continue
            self._active_faults.remove(active)
            active.record.ended = time.time()
            self._over[active.kind.group] = now
            if active.record.lost_since is not None:
                self._over[LOSS] = now

    def _add_step(self, record: InjectedFault, injection: Injection) -> None:
        """Note what a later step of a fault did."""
        record.lost_since = record.lost_since or injection.lost_since
        record.victims += injection.victims
        record.deadly |= injection.deadly
        if injection.what:
            record.what += injection.what
            self._show(record)

    # --- what may be broken now

    def _may(self, kind: FaultKind) -> bool:
        """Whether it can be injected now without costing text that nothing promises to keep."""
        rule: Callable[[], bool] = {
            "worker": self._redis_is_well,
            "redis": self._only_redis_would_break,
            "postgres": self._postgres_is_well,
        }.get(kind.group, lambda: True)
        return rule()

    def _active(self, *groups: str) -> bool:
        return any(active.kind.group in groups for active in self._active_faults)

    def _settled(self, group: str, seconds: float = SETTLED) -> bool:
        """Whether the last fault of a group has been over for some seconds."""
        return time.monotonic() - self._over.get(group, 0.0) > seconds

    def _redis_is_well(self) -> bool:
        return not self._active("redis") and self._settled("redis") and self._postgres_answers()

    def _postgres_is_well(self) -> bool:
        return (
            not self._active("postgres", "redis")
            and self._settled("postgres")
            and self._settled("redis")  # a failover may lose what was saved since
            and self._postgres_answers()
        )

    def _only_redis_would_break(self) -> bool:
        """Whether every open answer has a living owner: else only Redis may have its last text.

        After a LOSS an answer may be open again that no worker writes any more, for a lease and
        for as long as a sweep gives owners after a start of Postgres.
        """
        if self._active("worker", "redis", "postgres") or not self._settled("postgres"):
            return False
        if not self._settled(LOSS, 2 * self.context.fleet.lease + SETTLED):
            return False
        self._poll()
        living = self.context.fleet.boots()
        return self._postgres_answers() and all(boot in living for _, boot, _ in self.context.open)

    # --- polling Postgres

    def _postgres_answers(self) -> bool:
        """Whether Postgres answered a moment ago."""
        return time.monotonic() - self._reached < POLL_DEADLINES

    def _poll_when_due(self) -> None:
        now = time.monotonic()
        if not self.context.fleet.at_work(self.context.fleet.workers):
            self.context.probe.nobody_sweeps()
        if now - self._polled >= POLL:
            self._poll()
        if now - self._polled_deadlines >= POLL_DEADLINES and self.context.can_poll():
            self._polled_deadlines = now
            self.late += self.context.probe.late() or []

    def _poll(self) -> None:
        self._polled = time.monotonic()
        if self.context.poll():
            self._reached = time.monotonic()
