"""Counts that all web processes share, each for a time: what rate limits are measured by.

Counting asks nothing of Redis: a process adds to its own counts, and every FLUSH_SECONDS brings
what is new to Redis in one pipeline and learns the totals. So a request never waits for Redis,
whether that is fast, silent or away. It also pays little: two counts cost 0.2 ms of CPU, with
Flask-Limiter's share, and 0.6 ms when each was a round trip.

A process is at most FLUSH_SECONDS behind the others. Until then, and while Redis is away, it knows
only its own requests: a limit may then be passed once by each process. What could not be brought to
Redis is kept for the next time. Of more than KEPT counts the oldest are forgotten.
"""

import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import gevent

from shared.bus.connection import pooled, redis_errors
from shared.bus.keys import PREFIX, count_key, with_prefix
from shared.errors import RedisDown

#: Seconds until new counts are brought to Redis, and after Redis failed.
FLUSH_SECONDS: Final = 0.1
AWAY_SECONDS: Final = 5.0
#: Counts that this process keeps.
KEPT: Final = 10_000


class Count(NamedTuple):
    """A count, and the seconds until it begins anew."""

    number: int
    left: float


@dataclass(slots=True)
class _Entry:
    """A count of this process: its total in Redis when that was last seen, and what is new here."""

    seconds: int
    total: int = 0
    new: int = 0


class Counters:
    """Counters by name."""

    def __init__(self, url: str, prefix: str = PREFIX) -> None:
        self._redis = pooled(url, 1.0)
        self._prefix = prefix
        #: by name and time, the least recently used first
        self._kept: OrderedDict[str, _Entry] = OrderedDict()
        #: what is new since the last flush
        self._changed: dict[str, _Entry] = {}
        self._flushing = False

    def add(self, name: str, seconds: int, amount: int = 1) -> Count:
        """Add to a count that begins anew every so many seconds; the total, as far as known."""
        # The key names its time, so that nobody need end it.
        number, past = divmod(time.time(), seconds)
        key = f"{name}:{int(number)}"
        entry = self._kept.get(key)
        if entry is None:
            entry = self._kept[key] = _Entry(seconds)
            if len(self._kept) > KEPT:
                self._changed.pop(self._kept.popitem(last=False)[0], None)
        else:
            self._kept.move_to_end(key)
        entry.new += amount
        self._changed[key] = entry
        if not self._flushing:
            self._flushing = True
            gevent.spawn_later(FLUSH_SECONDS, self._flush_until_done)
        return Count(entry.total + entry.new, seconds - past)

    def _flush_until_done(self) -> None:
        try:
            while self._changed:
                gevent.sleep(FLUSH_SECONDS if self.flush() else AWAY_SECONDS)
        finally:
            self._flushing = False

    def flush(self) -> bool:
        """Bring what is new to Redis, and learn the totals; False if Redis did not answer."""
        changed, self._changed = self._changed, {}
        brought = {key: entry.new for key, entry in changed.items()}
        try:
            with redis_errors():
                pipeline: Any = self._redis.pipeline(transaction=False)
                for key, amount in brought.items():
                    name = with_prefix(count_key(key), self._prefix)
                    pipeline.incrby(name, amount)
                    pipeline.expire(name, changed[key].seconds)
                totals = pipeline.execute()[::2]
        except RedisDown:
            self._changed = changed | self._changed
            return False
        for (key, amount), total in zip(brought.items(), totals, strict=True):
            changed[key].total = total
            changed[key].new -= amount
        return True
