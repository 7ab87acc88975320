"""A limit to the time that a computation may take from everybody else in this process.

What strangers write is given to regular expressions that strangers wrote; now and then one of
them would take for ever, and with it every greenlet. The limit is the processor's time, so a busy
machine does not shorten it. (A regular expression looks for signals on its way.)
"""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

#: Seconds after which it is raised again: what is raised in a callback of the collector is lost.
AGAIN: Final = 0.02


class TooSlow(Exception):
    """It took longer than it may."""


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raise TooSlow inside after so many seconds of the processor. In the main thread only:
    elsewhere there is no limit. Inside, nothing may wait."""
    try:
        before = signal.signal(signal.SIGVTALRM, _stop)
    except ValueError:  # not the main thread
        yield
        return
    left, again = signal.setitimer(signal.ITIMER_VIRTUAL, seconds, AGAIN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, left, again)
        signal.signal(signal.SIGVTALRM, before)


def _stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - a handler's
    raise TooSlow
