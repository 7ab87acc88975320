"""A limit to the time that a computation may take from everybody else in this process.

What strangers write is given to regular expressions that strangers wrote; now and then one of
them would take for ever, and with it every greenlet. The limit is the processor's time, so a busy
machine does not shorten it. (A regular expression looks for signals on its way.)
"""

import gc
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final, TypeVar

import structlog

#: Seconds after which it is raised again: what is raised in a finaliser is lost.
AGAIN: Final = 0.02

log = structlog.get_logger("haste")

T = TypeVar("T")


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
    collects = gc.isenabled()
    gc.disable()  # what is raised in a callback of the collector is lost, and complained about
    left, again = signal.setitimer(signal.ITIMER_VIRTUAL, seconds, AGAIN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, left, again)
        signal.signal(signal.SIGVTALRM, before)
        if collects:
            gc.enable()


def attempt(seconds: float, work: Callable[[], T], otherwise: Callable[[], T]) -> T:
    """What `work` makes in so much time; else what `otherwise` does.

    Else is also when a library has a bug: one text must not make its conversation unreadable.
    That is told by its type alone, as its words may quote the text.
    """
    try:
        with at_most(seconds):
            return work()
    except TooSlow:
        pass
    except Exception as error:  # noqa: BLE001
        log.error("haste.bug", error=type(error).__name__)
    return otherwise()


def _stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - a handler's
    raise TooSlow
