"""Wakes every waiter once, on notify() or after its timeout.

gevent's Event needs an object and a timer for each wait, which costs more than all else that a
token costs here. Here a wait is an entry in a dict, and all notifiers of a process share one clock.
"""

import time
from collections.abc import Callable
from typing import Final

import gevent

#: Seconds by which a timeout may be late.
TICK: Final = 0.1

#: Called by the loop, where nothing may wait: True after notify(), False after the timeout.
Wake = Callable[[bool], object]


class Notifier:
    """Wakes all that listen, once each."""

    __slots__ = ("_sleepers",)

    def __init__(self) -> None:
        self._sleepers: dict[Wake, None] = {}

    def listen(self, wake: Wake, seconds: float) -> None:
        """Call `wake` on the next notify(), or after `seconds`."""
        self._sleepers[wake] = None
        _clock.watch(wake, self, time.monotonic() + seconds)

    def notify(self) -> None:
        """Wake all, as soon as this greenlet waits for something itself."""
        if self._sleepers:
            sleepers, self._sleepers = self._sleepers, {}
            run = gevent.get_hub().loop.run_callback
            for wake in sleepers:
                _clock.forget(wake)
                run(wake, True)

    def wake(self, wake: Wake) -> None:
        """Wake one, if it listens."""
        if wake in self._sleepers:
            del self._sleepers[wake]
            _clock.forget(wake)
            gevent.get_hub().loop.run_callback(wake, True)

    def forget(self, wake: Wake) -> None:
        """Do not wake this one."""
        del self._sleepers[wake]


class _Clock:
    """The timeouts of all waiters."""

    def __init__(self) -> None:
        self._due: dict[Wake, tuple[float, Notifier]] = {}
        self._ticking = False

    def watch(self, wake: Wake, notifier: Notifier, due: float) -> None:
        self._due[wake] = due, notifier
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
            for wake, notifier in [
                (wake, notifier) for wake, (due, notifier) in self._due.items() if due <= now
            ]:
                del self._due[wake]
                notifier.forget(wake)
                run(wake, False)
        self._ticking = False


_clock: Final = _Clock()
