"""A bell: whoever waits for something to change sleeps until it rings, or for so long.

gevent's Event does the same with an object and a timer for each wait, and is dearer than all else
that a token costs here. All bells of a process have one clock.
"""

import time
from typing import Any, Final

import gevent
from gevent.hub import Waiter

#: Seconds by which a sleeper may be late when nothing rings.
TICK: Final = 0.1


class Bell:
    """Wakes all who wait, any number of times."""

    __slots__ = ("_sleepers",)

    def __init__(self) -> None:
        self._sleepers: dict[Any, None] = {}

    def wait(self, seconds: float) -> bool:
        """Sleep until it rings; False if it did not for so long."""
        sleeper = Waiter()
        self._sleepers[sleeper] = None
        _clock.watch(sleeper, time.monotonic() + seconds)
        try:
            return bool(sleeper.get())
        finally:
            self._sleepers.pop(sleeper, None)
            _clock.forget(sleeper)

    def ring(self) -> None:
        """Wake everybody, once this greenlet waits for something itself."""
        if self._sleepers:
            sleepers, self._sleepers = self._sleepers, {}
            run = gevent.get_hub().loop.run_callback
            for sleeper in sleepers:
                run(sleeper.switch, True)


class _Clock:
    """Knows when every sleeper is to be woken at the latest."""

    def __init__(self) -> None:
        self._due: dict[Any, float] = {}
        self._ticking = False

    def watch(self, sleeper: Any, due: float) -> None:
        self._due[sleeper] = due
        if not self._ticking:
            self._ticking = True
            gevent.spawn(self._tick)

    def forget(self, sleeper: Any) -> None:
        del self._due[sleeper]

    def _tick(self) -> None:
        run = gevent.get_hub().loop.run_callback
        while self._due:
            gevent.sleep(TICK)
            now = time.monotonic()
            for sleeper, due in self._due.items():
                if due <= now:
                    run(sleeper.switch, False)
        self._ticking = False


_clock: Final = _Clock()
