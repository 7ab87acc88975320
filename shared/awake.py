"""Time in which this process ran: elapsed time alone does not prove that another is silent.

A process that stood still (a paused container, a laptop that slept, a machine that swapped, a loop
that was held) sees a minute pass in which it could neither ask nor be answered. So code that gives
up after some time asks `since(moment)` instead of subtracting from the clock: time in which the
process stood still is not counted. A process that wakes tries again before it gives up.

`watch` reads the clock every TICK, and so does each call of `since`. If neither happened for
PAUSE, the process stood still; this is right even if the question comes before `watch` has its
turn. Without `watch` nothing is known, and all time counts.

A lease is *not* judged by this. It may have been taken away while its owner stood still, so an
owner counts real seconds there (see worker/publisher.py).
"""

import time
from collections import deque
from collections.abc import Callable
from typing import Final

import gevent

#: Seconds between two ticks, and without a tick after which the process stood still.
TICK: Final = 0.2
PAUSE: Final = 1.0
#: Pauses that are remembered. Time before the oldest of them counts as time awake.
PAUSES: Final = 50


class Clock:
    """Remembers when the process stood still. Moments and seconds are monotonic."""

    def __init__(self, pause: float = PAUSE, now: Callable[[], float] = time.monotonic) -> None:
        """`pause`: seconds; longer than the time between two ticks while the process runs."""
        self._pause = pause
        self._now = now
        self._ticked: float | None = None
        #: (end, seconds) of each, the last one first
        self._pauses: deque[tuple[float, float]] = deque(maxlen=PAUSES)

    def tick(self) -> float:
        """Read the clock. From the first call on it has to be called all the time."""
        now = self._now()
        if self._ticked is not None and now - self._ticked > self._pause:
            self._pauses.appendleft((now, now - self._ticked))
        self._ticked = now
        return now

    def since(self, moment: float) -> float:
        """Seconds since then in which the process ran."""
        now = self._now() if self._ticked is None else self.tick()
        passed = now - moment
        for end, seconds in self._pauses:
            if end <= moment:
                break
            passed -= min(seconds, end - moment)
        return passed


_clock: Final = Clock()


def watch() -> None:
    """Read the clock for ever. A greenlet of each process that judges by time."""
    while True:
        _clock.tick()
        gevent.sleep(TICK)


def since(moment: float) -> float:
    """Seconds since a monotonic moment in which this process ran."""
    return _clock.since(moment)
