"""Slices: the loop keeps turning however many greenlets have long work."""

import time

import gevent

from shared.watchdog import Watchdog
from tests.rig import join
from web.page.yielding import Slices


def work(steps: int) -> float:
    """Work of `steps` steps, each 10 ms of CPU time; how much was measured."""
    slices = Slices()
    for _ in range(steps):
        until = time.thread_time() + 0.01
        while time.thread_time() < until:
            pass
        slices.pause()
    return slices.end()


def test_each_turn_of_the_loop_runs_one_slice_however_many_wait() -> None:
    watchdog = Watchdog()
    watchdog.begin()
    try:
        gevent.sleep(0.01)
        watchdog.longest = 0.0
        working = [gevent.spawn(work, 5) for _ in range(10)]
        join(working)
        gevent.sleep(0.01)
    finally:
        watchdog.end()

    assert 0.01 < watchdog.longest < 0.05  # with sleep(0) it would be half a second
    assert all(0.04 < one.value < 0.2 for one in working)


def test_killed_waiter_does_not_block_the_others() -> None:
    killed = [gevent.spawn(work, 5) for _ in range(3)]
    others = [gevent.spawn(work, 2) for _ in range(3)]
    gevent.sleep(0)
    gevent.killall(killed)

    join(others)
