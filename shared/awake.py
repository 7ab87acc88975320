"""Time in which this process ran: elapsed time alone is no evidence that somebody else is silent.

A process that stood still (a paused container, a laptop that slept, a machine that swapped, a loop
that was held) sees a minute pass in which it could neither ask nor be answered. Whoever gives
something up because of the time that has passed therefore asks `since(moment)` instead of
subtracting from the clock: the time in which the process stood still is not in it. So a try comes
before giving up, whatever woke first.

The process is known to run because `watch` looks at the clock every TICK. Anybody who asks looks,
too: if nobody has looked for PAUSE, the process stood still, and the answer is right even if the
question comes before `watch` has its turn. Without `watch` nothing is known, and all time counts.

What is *not* judged by this: a lease. It may have been taken away while its owner stood still, so
an owner counts real seconds there (see publisher). Only giving up is patient.
"""

import time
from collections import deque
from collections.abc import Callable
from typing import Final

import gevent

#: Seconds between two looks, and without a look after which the process stood still.
TICK: Final = 0.2
PAUSE: Final = 1.0
#: Pauses that are remembered. What lies before the oldest of them counts as time awake.
PAUSES: Final = 50


class Clock:
    """Remembers when the process stood still. Moments and seconds are monotonic."""

    def __init__(self, pause: float = PAUSE, now: Callable[[], float] = time.monotonic) -> None:
        """`pause`: longer than what passes between two looks while the process runs."""
        self._pause = pause
        self._now = now
        self._looked: float | None = None
        #: (end, seconds) of each, the last one first
        self._pauses: deque[tuple[float, float]] = deque(maxlen=PAUSES)

    def tick(self) -> float:
        """The present moment. From the first look on somebody has to look all the time."""
        now = self._now()
        if self._looked is not None and now - self._looked > self._pause:
            self._pauses.appendleft((now, now - self._looked))
        self._looked = now
        return now

    def since(self, moment: float) -> float:
        """Seconds since then in which the process ran."""
        now = self._now() if self._looked is None else self.tick()
        passed = now - moment
        for end, seconds in self._pauses:
            if end <= moment:
                break
            passed -= min(seconds, end - moment)
        return passed


_clock: Final = Clock()


def watch() -> None:
    """Look at the clock for ever. A greenlet of each process that judges by time."""
    while True:
        _clock.tick()
        gevent.sleep(TICK)


def since(moment: float) -> float:
    """Seconds since a monotonic moment in which this process ran."""
    return _clock.since(moment)
