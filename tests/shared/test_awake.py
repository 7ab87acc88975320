"""Time in which a process ran."""

import pytest

from shared.awake import PAUSE, PAUSES, TICK, Clock


class Time:
    """A clock that a story moves."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.clock = Clock(now=lambda: self.now)

    def run(self, seconds: float) -> None:
        """The process runs, and reads the clock all the time."""
        for _ in range(round(seconds / TICK)):
            self.now += TICK
            self.clock.tick()

    def stand_still(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def time() -> Time:
    time = Time()
    time.clock.tick()
    return time


def test_time_in_which_the_process_ran_counts(time: Time) -> None:
    begun = time.now
    time.run(5)

    assert time.clock.since(begun) == pytest.approx(5)


def test_time_in_which_the_process_stood_still_does_not_count(time: Time) -> None:
    begun = time.now
    time.run(2)
    time.stand_still(60)

    assert time.clock.since(begun) == pytest.approx(2)  # before the next tick
    time.run(3)
    assert time.clock.since(begun) == pytest.approx(5, abs=TICK)


def test_a_moment_after_or_within_a_pause_counts_what_follows(time: Time) -> None:
    time.stand_still(60)
    time.run(1)
    assert time.clock.since(time.now - 0.5) == pytest.approx(0.5)
    assert time.clock.since(time.now - 30) == pytest.approx(1, abs=TICK)


def test_several_pauses_add_up(time: Time) -> None:
    begun = time.now
    for _ in range(4):
        time.run(1)
        time.stand_still(20)
    time.run(1)

    assert time.clock.since(begun) == pytest.approx(5, abs=4 * TICK)
    assert time.clock.since(begun + 21) == pytest.approx(4, abs=4 * TICK)


def test_a_late_wake_up_is_not_counted_as_a_pause(time: Time) -> None:
    begun = time.now
    time.stand_still(PAUSE)

    assert time.clock.since(begun) == PAUSE


def test_the_number_of_remembered_pauses_is_bounded(time: Time) -> None:
    begun = time.now
    for _ in range(PAUSES + 10):
        time.stand_still(2 * PAUSE)
        time.run(TICK)

    assert 10 * 2 * PAUSE <= time.clock.since(begun) < 15 * 2 * PAUSE


def test_without_ticks_all_time_counts() -> None:
    time = Time()
    begun = time.now
    time.stand_still(60)

    assert time.clock.since(begun) == 60
