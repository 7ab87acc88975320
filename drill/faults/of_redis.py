"""Redis is killed, emptied, stopped, full, put back in time; also with others at once."""

import shutil
import signal
from contextlib import suppress
from typing import Final

import redis

from drill.faults.kinds import (
    MOMENT,
    FaultContext,
    Injection,
    InjectionSteps,
    fault,
    frozen,
    until_back,
    worker_and_count,
)


@fault("redis")
def redis_kill(context: FaultContext) -> InjectionSteps:
    """kill -9; it starts again with what it kept."""
    context.fleet.kill(context.fleet.redis)
    yield Injection("it keeps its data", MOMENT)
    yield from until_back(context.fleet.redis)


@fault("redis")
def redis_loss(context: FaultContext) -> InjectionSteps:
    """kill -9; it starts again with nothing."""
    context.fleet.lose_redis()
    yield Injection("it loses its data", MOMENT)
    yield from until_back(context.fleet.redis)


@fault("redis")
def redis_flush(context: FaultContext) -> InjectionSteps:
    """FLUSHALL while it is in use."""
    with suppress(redis.RedisError):
        context.redis().flushall()
        yield Injection("it loses its data, and lives")


@fault("redis")
def redis_freeze(context: FaultContext) -> InjectionSteps:
    """SIGSTOP for seconds."""
    yield from frozen(context, context.fleet.redis, context.rng.uniform(0.5, 4.0))


@fault("redis")
def redis_pause(context: FaultContext) -> InjectionSteps:
    """CLIENT PAUSE: it accepts connections and answers nothing."""
    seconds = context.rng.uniform(0.5, 2.5)
    with suppress(redis.RedisError):
        context.redis().execute_command("CLIENT", "PAUSE", int(seconds * 1000), "ALL")
        yield Injection(f"for {seconds:.1f} s", seconds)


@fault("redis")
def redis_full(context: FaultContext) -> InjectionSteps:
    """maxmemory is reached: reads work, writes are refused."""
    seconds = context.rng.uniform(1.0, 4.0)
    with suppress(redis.RedisError):
        context.redis().config_set("maxmemory", "1")
        yield Injection(f"for {seconds:.1f} s", seconds)
    with suppress(redis.RedisError):  # one that was started again has forgotten it
        context.redis().config_set("maxmemory", "0")


#: Seconds by which Redis goes back, least and most.
REWIND: Final = (0.3, 3.0)


@fault("redis")
def redis_rewind(context: FaultContext) -> InjectionSteps:
    """Killed, and started as it was seconds before; half of the times a worker is killed too."""
    fleet, rng = context.fleet, context.rng
    snapshot = fleet.home / "snapshot"
    shutil.rmtree(snapshot, ignore_errors=True)
    fleet.redis.snapshot(snapshot)
    seconds = rng.uniform(*REWIND)
    yield Injection(f"by {seconds:.1f} s", seconds)
    worker = context.worker() if rng.random() < 0.5 else None
    if worker is not None:
        victims = context.kill(worker)
        fleet.rewind_redis(snapshot)
        yield Injection(f", and {worker_and_count(worker, victims)}", MOMENT, victims, deadly=True)
    else:
        fleet.rewind_redis(snapshot)
    yield from until_back(fleet.redis)


@fault("redis")
def redis_connections(context: FaultContext) -> InjectionSteps:
    """Every connection to Redis is cut."""
    with suppress(redis.RedisError):
        connection = context.redis()
        for kind in ("pubsub", "normal"):
            connection.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")
        yield Injection("all of them")


# --- together with something else ----------------------------------------------------------------


@fault("redis")
def redis_and_postgres_kill(context: FaultContext) -> InjectionSteps:
    """Both, and Redis loses its data; the workers hold the text."""
    if context.fleet.postgres.alive():
        context.fleet.lose_redis()
        context.fleet.postgres.signal(signal.SIGKILL)
        yield Injection("Redis loses its data", MOMENT)
        yield from until_back(context.fleet.postgres, context.fleet.redis)


@fault("redis")
def worker_and_redis_loss(context: FaultContext) -> InjectionSteps:
    """A worker and Redis' data at once: text may be lost, up to a bound."""
    worker = context.worker()
    if worker is not None:
        victims = context.kill(worker)
        context.fleet.lose_redis()
        yield Injection(f"{worker_and_count(worker, victims)}, and Redis' data", MOMENT, victims)
        yield from until_back(context.fleet.redis)
