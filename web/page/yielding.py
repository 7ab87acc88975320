"""Long work in slices of CPU time: one slice in each turn of the event loop, for all greenlets.

`gevent.sleep(0)` does not do that. gevent runs up to fifty callbacks before it polls its sockets
and timers again, so ten renderings that merely sleep(0) hold the loop for seconds. Here all of
them stand in one queue. In each turn of the loop one of them gets a slice; then the loop polls,
and everything else that is ready runs first.

    slices = Slices()          # waits for the first slice
    for step in work:
        slices.pause()         # waits for the next slice if this one is used up

A slice is `SLICE_SECONDS` of CPU time; it is exceeded by at most one step of the work.
"""

import time
from collections import deque
from typing import Final

import gevent
from gevent.hub import Waiter

#: Seconds of CPU time in one turn of the loop.
SLICE_SECONDS: Final = 0.005
#: Seconds until the next slice: a timer, so that it fires after the loop has polled.
NEXT_TURN: Final = 1e-9


class Slices:
    """The slices of one piece of work. Creating it waits for the first one."""

    def __init__(self) -> None:
        #: seconds of CPU time that were used, up to the last pause
        self.spent = 0.0
        _queue.wait()
        self._begun = time.thread_time()

    def pause(self) -> None:
        """Let others run if this slice is used up."""
        used = time.thread_time() - self._begun
        if used > SLICE_SECONDS:
            self.spent += used
            _queue.wait()
            self._begun = time.thread_time()

    def end(self) -> float:
        """Seconds of CPU time that the whole work took."""
        return self.spent + time.thread_time() - self._begun


class _SliceQueue:
    """The greenlets that wait for a slice."""

    def __init__(self) -> None:
        self._waiting: deque[Waiter[None]] = deque()
        #: this turn's slice is given away
        self._given = False

    def wait(self) -> None:
        if self._given:
            waiter: Waiter[None] = Waiter()
            self._waiting.append(waiter)
            waiter.get()
        else:
            self._give()

    def _give(self) -> None:
        self._given = True
        gevent.get_hub().loop.timer(NEXT_TURN).start(self._next_turn)

    def _next_turn(self) -> None:
        self._given = False
        if self._waiting:
            self._give()
            self._waiting.popleft().switch(None)


_queue: Final = _SliceQueue()
