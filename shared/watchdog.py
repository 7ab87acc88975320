"""Measures how long one turn of gevent's loop takes, and logs what held it for too long.

All streams of a process take turns in one loop: what computes for a second, or waits in a way that
gevent does not know, stops every one of them for that second.

Two observers. In the loop, at the end of each turn, the CPU time of this thread is compared with
that of the turn before; once a second the longest turn goes into `outlive_loop_lag_seconds`. Beside
it, a thread of the system checks every TICK whether the loop is still in the same turn, and notes
its stack: functions and lines, never values.

Elapsed time is no evidence by itself: a process that was stopped (SIGSTOP, a paused VM) or got no
processor did not hold its loop. So CPU time counts. A turn that waits uses none; so elapsed time
counts too where the kernel can say how much of it was spent waiting for a processor (Linux), and
where the thread itself was on time, which it is not in a process that stands still.

What it costs: 0.1 us a turn, 1.5 us every 2 ms, and 4 checks a second. For each check the loop
has to hand over the interpreter, and waits until the thread has a processor: with 20 of them, 500
readers that returned took 0.34 s instead of 0.26 on two busy cores. So the thread sees every turn
of half a second, and of shorter ones those that begin after a rest; the metric has all of them.
"""

import sys
import threading
import time
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Final

import gevent
import structlog
from gevent.hub import Hub
from gevent.monkey import get_original
from prometheus_client import Histogram

#: Seconds between two checks by the thread; one that comes later than twice that was not on time.
TICK: Final = 0.25
#: Seconds of a turn from which on its stack is logged: of one that ended, and of one that has not.
TOO_LONG: Final = 0.2
HUNG: Final = 5.0
#: Seconds between two such lines.
QUIET: Final = 10.0
#: Seconds between two samples of the CPU time; as much may a turn's length be overestimated.
SAMPLE: Final = 0.002
#: Seconds between two observations of the metric.
OBSERVE: Final = 1.0
#: Functions in a report, from the innermost one.
FRAMES: Final = 30

_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
LAG: Final = Histogram(
    "outlive_loop_lag_seconds",
    "Longest turn of the loop within a second",
    ["process"],
    buckets=_BUCKETS,
)

#: Where the loop's thread is while nothing is to be done.
_IDLE: Final[CodeType] = Hub.run.__code__

log = structlog.get_logger("watchdog")


class Watchdog:
    """Watches the loop of the thread in which it is started."""

    def __init__(self) -> None:
        #: seconds of the longest turn since this was last read
        self.longest = 0.0
        #: turns that have ended
        self._turns = 0
        self._sampled = time.monotonic()
        self._cpu = time.thread_time()
        self._thread: int = get_original("_thread", "get_ident")()
        self._clock = time.pthread_getcpuclockid(self._thread)
        self._schedule = Path(f"/proc/self/task/{threading.get_native_id()}/schedstat")
        self._prepare: Any = None

    def start(self, process: str) -> None:
        """For as long as the process lives; `process` names its kind in the metric."""
        self.begin()
        gevent.spawn(self._observe, process)
        get_original("_thread", "start_new_thread")(self._watch, ())

    def begin(self) -> None:
        """Only measure, in `longest`."""
        # The last one before the loop polls: gevent's callbacks run in another one.
        self._prepare = gevent.get_hub().loop.prepare(ref=False, priority=-2)
        self._prepare.start(self._turn)

    def end(self) -> None:
        """Measure no more."""
        self._prepare.stop()

    def _turn(self) -> None:
        self._turns += 1
        now = time.monotonic()
        if now - self._sampled > SAMPLE:
            cpu = time.thread_time()
            self.longest = max(self.longest, cpu - self._cpu)
            self._cpu, self._sampled = cpu, now

    def _observe(self, process: str) -> None:
        observed = LAG.labels(process)
        while True:
            gevent.sleep(OBSERVE)
            longest, self.longest = self.longest, 0.0
            observed.observe(longest)

    # --- the thread beside the loop

    def _watch(self) -> None:
        sleep = get_original("time", "sleep")
        turns, held, seen = self._turns, 0.0, False
        last, used, starved = time.monotonic(), self._used(), 0.0
        stack: list[str] = []
        reported = last - QUIET
        while True:
            sleep(TICK)
            now, cpu = time.monotonic(), self._used()
            computed, elapsed = cpu - used, now - last
            last, used = now, cpu
            frame = sys._current_frames().get(self._thread)
            goes_on = self._turns == turns and frame is not None and frame.f_code is not _IDLE
            if goes_on:
                waited, starved = starved, self._starved()
                if seen and elapsed < 2 * TICK:  # held at the last check, too, and not asleep
                    computed = max(computed, elapsed - (starved - waited))
                held += computed
                self.longest = max(self.longest, held)
                stack = stack or _places(frame)
            if held >= (HUNG if goes_on else TOO_LONG) and now - reported >= QUIET:
                log.warning("loop.held", seconds=round(held, 2), stack=stack)
                reported = now
            if not goes_on:
                turns, held, stack = self._turns, 0.0, []
            seen = goes_on
            del frame

    def _used(self) -> float:
        return time.clock_gettime(self._clock)

    def _starved(self) -> float:
        """Seconds that the loop's thread has waited for a processor; where that is unknown, all."""
        try:
            return int(self._schedule.read_text().split()[1]) / 1e9
        except OSError:
            return time.monotonic()


def _places(frame: FrameType | None) -> list[str]:
    """Where a stack is: files, lines and functions, the innermost first."""
    found: list[str] = []
    while frame is not None and len(found) < FRAMES:
        code = frame.f_code
        place = "/".join(Path(code.co_filename).parts[-2:])
        found.append(f"{place}:{frame.f_lineno} {code.co_qualname}")
        frame = frame.f_back
    return found
