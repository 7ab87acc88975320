"""Tasks are delivered twice, or lost."""

import uuid
from contextlib import suppress

import redis

from drill.faults.kinds import (
    FaultContext,
    Injection,
    InjectionSteps,
    fault,
)
from shared.jobs import QUEUE


@fault("queue")
def task_twice(context: FaultContext) -> InjectionSteps:
    """Deliver some tasks a second time."""
    again = [one for one, _, _ in context.open][:3]
    done = [context.queue.enqueue(uuid.UUID(one)) for one in again]
    if any(done):
        yield Injection(f"{sum(done)} of them")


@fault("queue")
def task_loss(context: FaultContext) -> InjectionSteps:
    """The queue loses what waits in it."""
    with suppress(redis.RedisError):
        number = context.redis().llen(QUEUE)
        context.redis().delete(QUEUE)
        yield Injection(f"{number} of them")
