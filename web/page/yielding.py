"""Work that takes long is done in slices, one in each turn of the loop, whoever it is for.

`gevent.sleep(0)` is not enough for that: gevent runs up to fifty callbacks before it looks at its
sockets and timers again, so ten renderings that merely sleep(0) hold the loop for seconds.
Here all of them stand in one line. In each turn of the loop one of them gets a slice; then the
loop polls, and everything else that is ready comes first.

    slices = Slices()          # waits for the first slice
    for step in work:
        slices.pause()         # waits for the next one, once this one is used up

A slice is `SLICE` seconds of CPU time; it is exceeded by as much as one step takes.
"""

import time
from collections import deque
from typing import Final

import gevent
from gevent.hub import Waiter

#: Seconds of CPU time in one turn of the loop.
SLICE: Final = 0.005
#: Seconds until the next turn: as soon as the loop has polled.
SOON: Final = 1e-9


class Slices:
    """The slices of one piece of work, begun when it is made."""

    def __init__(self) -> None:
        #: seconds of CPU time that were used, up to the last pause
        self.spent = 0.0
        _line.wait()
        self._begun = time.thread_time()

    def pause(self) -> None:
        """Let others run if this slice is used up."""
        used = time.thread_time() - self._begun
        if used > SLICE:
            self.spent += used
            _line.wait()
            self._begun = time.thread_time()

    def end(self) -> float:
        """Seconds of CPU time that all of it took."""
        return self.spent + time.thread_time() - self._begun


class _Line:
    """Who waits for a slice."""

    def __init__(self) -> None:
        self._waiting: deque[Waiter[None]] = deque()
        #: a slice was given in this turn of the loop
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
        gevent.get_hub().loop.timer(SOON).start(self._next)

    def _next(self) -> None:
        self._given = False
        if self._waiting:
            self._give()
            self._waiting.popleft().switch(None)


_line: Final = _Line()
