"""A bell: whoever waits for something to change is called when it rings, or after so long.

gevent's Event does it with an object and a timer for each wait, and is dearer than all else that a
token costs here. All bells of a process have one clock.
"""

import time
from collections.abc import Callable
from typing import Final

import gevent

#: Seconds by which a sleeper may be late when nothing rings.
TICK: Final = 0.1

#: Called by the loop, where nothing may wait: True when it rang, False when it did not for so long.
Wake = Callable[[bool], object]


class Notifier:
    """Wakes all who listen, once each."""

    __slots__ = ("_sleepers",)

    def __init__(self) -> None:
        self._sleepers: dict[Wake, None] = {}

    def listen(self, wake: Wake, seconds: float) -> None:
        """Call `wake` when it rings, or after so long."""
        self._sleepers[wake] = None
        _clock.watch(wake, self, time.monotonic() + seconds)

    def notify(self) -> None:
        """Wake everybody, once this greenlet waits for something itself."""
        if self._sleepers:
            sleepers, self._sleepers = self._sleepers, {}
            run = gevent.get_hub().loop.run_callback
            for wake in sleepers:
                _clock.forget(wake)
                run(wake, True)

    def forget(self, wake: Wake) -> None:
        """Who is not to be woken any more."""
        del self._sleepers[wake]


class _Clock:
    """Knows when every sleeper is to be woken at the latest."""

    def __init__(self) -> None:
        self._due: dict[Wake, tuple[float, Notifier]] = {}
        self._ticking = False

    def watch(self, wake: Wake, bell: Notifier, due: float) -> None:
        self._due[wake] = due, bell
        if not self._ticking:
            self._ticking = True
            gevent.spawn(self._tick)

    def forget(self, wake: Wake) -> None:
        del self._due[wake]

    def _tick(self) -> None:
        run = gevent.get_hub().loop.run_callback
        while self._due:
            gevent.sleep(TICK)
            now = time.monotonic()
            for wake, bell in [
                (wake, bell) for wake, (due, bell) in self._due.items() if due <= now
            ]:
                del self._due[wake]
                bell.forget(wake)
                run(wake, False)
        self._ticking = False


_clock: Final = _Clock()
