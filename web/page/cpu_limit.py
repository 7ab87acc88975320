"""A limit to the CPU time that one computation may take from everything else in this process.

Text from models and clients is given to regular expressions and parsers of other people. Some of
them take exponential time on some texts, and while they run no greenlet of this process does.

    attempt(seconds, work, otherwise)    what `work` returns in so much CPU time, else `otherwise`

What it guarantees:

* Limits nest, and time spent inside counts for every limit around it: a limit can shorten the one
  around it but never lengthen it, however many there are inside.
* `TooSlow` is raised only while the limited function is on the stack. A signal that arrives early
  or late (between the end of the work and the end of the timer, in another greenlet) does nothing.
* It is CPU time: a busy machine does not shorten a limit. The timer runs in real time, because
  the kernel's timers of CPU time are up to 8 ms late; when it fires early it is set again.

How: one real-time timer, set for the innermost limit that is in force. Its handler looks for
`_run` in the stack of what it interrupted; that frame knows when its limit ends. After that it
fires every `AGAIN` seconds, because an exception that is raised in a finaliser is lost.

C code is interrupted only if it looks for signals. `re` does, about every 4,096 steps. What does
not (nh3, `str` methods) has to be bounded by the length of its input. Inside a limit nothing may
wait or switch greenlets. Only the main thread can be limited; elsewhere there is no limit.
"""

import gc
import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Final, TypeVar

import structlog

#: Seconds after which TooSlow is raised again.
AGAIN: Final = 0.002

log = structlog.get_logger("haste")

T = TypeVar("T")

#: When the innermost limit in force ends, in seconds of this thread's CPU time.
_end: float | None = None


class TooSlow(BaseException):
    """The limit is over. No Exception, so that a library that catches all of those passes it on."""


def cpu_limit(seconds: float, work: Callable[[], T]) -> T:
    """What `work` returns. Raises TooSlow after so many seconds of CPU time."""
    global _end  # noqa: PLW0603 - there is one timer in a process
    outer, now = _end, time.thread_time()
    end = now + seconds if outer is None else min(now + seconds, outer)
    collects = False
    if outer is None:
        try:
            signal.signal(signal.SIGALRM, _expire)
        except ValueError:  # not the main thread
            return work()
        collects = gc.isenabled()
        gc.disable()  # an exception in a callback of the collector is lost, and reported
    try:
        _end = end
        _set_timer(end - now)
        return _run(work, end)
    finally:
        # When a limit around this one expires here, what is skipped is done by its own `finally`.
        # Around the outermost one there is no `_run`, so nothing can interrupt this.
        _end = outer
        if outer is not None:
            _set_timer(outer - time.thread_time())
        else:
            signal.setitimer(signal.ITIMER_REAL, 0)
            if collects:
                gc.enable()


def with_fallback(seconds: float, work: Callable[[], T], otherwise: Callable[[], T]) -> T:
    """What `work` returns within so many seconds of CPU time; else what `otherwise` returns.

    Also when `work` fails: a bug of a library must not make a conversation unreadable. It is
    logged by its type alone, as its message may quote the text. Raises TooSlow when a limit around
    this one is over, too.
    """
    try:
        return cpu_limit(seconds, work)
    except TooSlow:
        if _end is not None and time.thread_time() >= _end:
            raise
    except Exception as error:  # noqa: BLE001
        log.error("haste.bug", error=type(error).__name__)
    return otherwise()


def _run(work: Callable[[], T], end: float) -> T:  # noqa: ARG001 - the handler reads `end`
    """What is on the stack exactly as long as a limit may be enforced."""
    return work()


def _set_timer(seconds: float) -> None:
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-6), AGAIN)


def _expire(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - a handler's
    while frame is not None and frame.f_code is not _run.__code__:
        frame = frame.f_back
    if frame is None:
        return
    left = frame.f_locals["end"] - time.thread_time()
    if left <= 0:
        raise TooSlow
    _set_timer(left)
