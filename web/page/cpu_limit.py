"""A limit to the CPU time that one computation may take from the rest of this process.

Text from models and clients is given to regular expressions and parsers of other libraries. Some
take exponential time on some texts, and while they run no greenlet of this process does.

    with_fallback(seconds, work, otherwise)    what `work` returns in that time, else `otherwise`

What it guarantees:

* Limits nest, and time spent inside counts for every limit around it. A limit can shorten the one
  around it but never lengthen it, however many there are inside.
* `TooSlow` is raised only while the limited function is on the stack. A signal that arrives early
  or late (between the end of the work and the end of the timer, or in another greenlet) does
  nothing.
* It is CPU time: a busy machine does not shorten a limit. The timer runs in real time, because
  the kernel's CPU-time timers are up to 8 ms late; when it fires early it is set again.

How: there is one real-time timer, set for the innermost limit in force. Its signal handler searches
the interrupted stack for `_run`, whose frame knows when its limit ends. After the first signal the
timer fires every `REPEAT_SECONDS`, because an exception raised in a finaliser is lost.

Limits of this: C code is interrupted only where it checks for signals. `re` does, about every
4,096 steps. What does not (nh3, methods of `str`) must be bounded by the length of its input.
Inside a limit nothing may wait or switch greenlets. Only the main thread can be limited; in other
threads there is no limit.
"""

import gc
import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Final, TypeVar

import structlog

#: Seconds after which TooSlow is raised again.
REPEAT_SECONDS: Final = 0.002

log = structlog.get_logger("cpu_limit")

T = TypeVar("T")

#: When the innermost limit in force ends, in seconds of this thread's CPU time.
_end: float | None = None


class TooSlow(BaseException):
    """The limit is exceeded. No Exception, so libraries that catch every Exception pass it on."""


def cpu_limit(seconds: float, work: Callable[[], T]) -> T:
    """What `work` returns. Raises TooSlow after `seconds` of CPU time."""
    global _end  # noqa: PLW0603 - there is one timer in a process
    outer, now = _end, time.thread_time()
    end = now + seconds if outer is None else min(now + seconds, outer)
    reenable_gc = False
    if outer is None:
        try:
            signal.signal(signal.SIGALRM, _on_timer)
        except ValueError:  # not the main thread
            return work()
        reenable_gc = gc.isenabled()
        gc.disable()  # an exception in a callback of the collector is lost, and reported
    try:
        _end = end
        _set_timer(end - now)
        return _run(work, end)
    finally:
        # If a limit around this one is exceeded here, its own `finally` does what is skipped.
        # The outermost one has no `_run` around it, so nothing can interrupt this.
        _end = outer
        if outer is not None:
            _set_timer(outer - time.thread_time())
        else:
            signal.setitimer(signal.ITIMER_REAL, 0)
            if reenable_gc:
                gc.enable()


def with_fallback(seconds: float, work: Callable[[], T], otherwise: Callable[[], T]) -> T:
    """What `work` returns within `seconds` of CPU time, else what `otherwise` returns.

    Also if `work` raises: a library's bug must not make a conversation unreadable. Only the type
    of the exception is logged, because its message may quote the text. Raises TooSlow if a limit
    around this one is exceeded, too.
    """
    try:
        return cpu_limit(seconds, work)
    except TooSlow:
        if _end is not None and time.thread_time() >= _end:
            raise
    except Exception as error:  # noqa: BLE001
        log.error("cpu_limit.work_failed", error=type(error).__name__)
    return otherwise()


def _run(work: Callable[[], T], end: float) -> T:  # noqa: ARG001 - the handler reads `end`
    """On the stack exactly as long as a limit may be enforced."""
    return work()


def _set_timer(seconds: float) -> None:
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-6), REPEAT_SECONDS)


def _on_timer(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - a handler's
    while frame is not None and frame.f_code is not _run.__code__:
        frame = frame.f_back
    if frame is None:
        return
    left = frame.f_locals["end"] - time.thread_time()
    if left <= 0:
        raise TooSlow
    _set_timer(left)
