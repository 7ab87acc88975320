"""Counts that all web processes share, each for a time: what rate limits are measured by.

Redis is a hint here too: what cannot be counted there is counted in this process. No call takes
much longer than TIMEOUT. After a failure Redis is asked again every AWAY_SECONDS, by one request;
the others do not wait for it.
"""

import time
from collections import OrderedDict
from typing import Any, Final, NamedTuple

from shared.bus.connection import pooled, redis_errors
from shared.bus.keys import PREFIX, count_key, with_prefix
from shared.errors import RedisDown

#: Seconds that Redis may take, and for which it is not asked after a failure.
TIMEOUT: Final = 0.25
AWAY_SECONDS: Final = 5.0
#: Counts that this process keeps while Redis is away; beyond them the oldest is forgotten.
KEPT: Final = 10_000


class Count(NamedTuple):
    """A count, and the seconds until it begins anew."""

    number: int
    left: float


class Counters:
    """Counters by name."""

    def __init__(self, url: str, prefix: str = PREFIX) -> None:
        self._redis = pooled(url, TIMEOUT)
        self._prefix = prefix
        #: when Redis is asked again after a failure (monotonic seconds); None: it works
        self._away_until: float | None = None
        #: name -> its number, and when it ends (monotonic seconds)
        self._kept: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def add(self, name: str, seconds: int, amount: int = 1) -> Count:
        """Add to a count that lasts for so many seconds from its beginning."""
        now = time.monotonic()
        if self._away_until is not None:
            if now < self._away_until:
                return self._add_here(name, seconds, amount)
            self._away_until = now + AWAY_SECONDS  # this one asks, the others do not
        try:
            found = self._add_there(name, seconds, amount)
        except RedisDown:
            self._away_until = now + AWAY_SECONDS
            return self._add_here(name, seconds, amount)
        self._away_until = None
        return found

    def _add_there(self, name: str, seconds: int, amount: int) -> Count:
        key = with_prefix(count_key(name), self._prefix)
        with redis_errors():
            pipeline: Any = self._redis.pipeline()
            pipeline.set(key, 0, ex=seconds, nx=True)
            pipeline.incrby(key, amount)
            pipeline.pttl(key)
            _, number, left = pipeline.execute()
        return Count(number, max(left, 0) / 1000)

    def _add_here(self, name: str, seconds: int, amount: int) -> Count:
        now = time.monotonic()
        number, ends = self._kept.pop(name, (0, 0.0))
        if now >= ends:
            number, ends = 0, now + seconds
        self._kept[name] = (number + amount, ends)
        if len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return Count(number + amount, ends - now)
