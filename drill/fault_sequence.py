"""Which faults a drill injects, and in which order: a pure function of the random source."""

import random
from collections.abc import Iterator, Sequence
from typing import Final

#: A round: first faults of workers, during which Redis is left alone, then those of Redis. A tuple
#: stands for one of its kinds, another one in each round.
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


def fault_sequence(rng: random.Random, wanted: Sequence[str]) -> Iterator[str]:
    """Wanted kinds of faults in a random order, without end: each of them once, then in rounds."""
    turns: dict[tuple[str, ...], int] = {}

    def drawn(one: str | tuple[str, ...]) -> str:
        if isinstance(one, str):
            return one
        turns[one] = turns.get(one, -1) + 1
        return one[turns[one] % len(one)]

    for half in (FIRST_HALF, SECOND_HALF):
        names = [name for name in _kinds_of(half) if name in wanted]
        yield from rng.sample(names, len(names))
    while wanted:
        for half in (FIRST_HALF, SECOND_HALF):
            names = [name for name in map(drawn, half) if name in wanted]
            yield from rng.sample(names, len(names))


def _kinds_of(half: list[str | tuple[str, ...]]) -> list[str]:
    """Each kind of a half, once."""
    kinds = [name for one in half for name in ([one] if isinstance(one, str) else one)]
    return list(dict.fromkeys(kinds))
