"""Workers are killed, stopped and deployed."""

from drill.faults.kinds import (
    FaultContext,
    Injection,
    InjectionSteps,
    fault,
    frozen,
    part_of_a_lease,
    worker_and_count,
)


@fault("worker")
def worker_kill(context: FaultContext) -> InjectionSteps:
    """kill -9; some of the deaths are reported to a sweep by name."""
    worker = context.worker()
    if worker is not None:
        victims = context.kill(worker)
        yield Injection(worker_and_count(worker, victims), 0.0, victims)


@fault("worker")
def worker_freeze(context: FaultContext) -> InjectionSteps:
    """SIGSTOP for longer than its lease: when it wakes, its answers are no longer its own."""
    worker = context.worker()
    if worker is not None:
        seconds = context.fleet.lease + context.rng.uniform(1.0, 3.0)
        victims = context.writes(worker)
        who = f"{worker_and_count(worker, victims)}, "
        yield from frozen(context, worker, seconds, who, victims)


@fault("worker")
def worker_blink(context: FaultContext) -> InjectionSteps:
    """SIGSTOP for a part of its lease: readers may notice a pause and no more."""
    worker = context.worker()
    if worker is not None:
        who = f"{worker_and_count(worker, context.writes(worker))}, "
        yield from frozen(context, worker, part_of_a_lease(context), who)


@fault("worker")
def worker_deploy(context: FaultContext) -> InjectionSteps:
    """A successor starts and the old worker gets SIGTERM: it drains."""
    worker = context.worker()
    if worker is not None and not context.fleet.draining:
        injection = Injection(worker_and_count(worker, context.writes(worker)))
        context.fleet.deploy(worker)
        yield injection
