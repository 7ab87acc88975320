"""A reader that arrives in the very moment when the last text does, after which nothing is sent.

A process that reads first and subscribes afterwards misses this text and never notices. The moment
is aimed at: text that came too early is in the reader's first frame, text that came too late in a
frame of its own, and between the two lies the moment in which text can be missed.
"""

import random
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from drill.plan import Observation, Plan
from drill.questions import Question
from drill.reading import Disconnected, Reading
from scripted import Control

#: Seconds in which the text must be there: less than the poll for what is silent takes.
LATE: Final = 2.0
#: Seconds by which the moment is spread, and by which it is corrected after each try.
SPREAD: Final = 0.001
STEP: Final = 0.0005


class RaceTimer:
    """When the provider should send the last text so that it meets an arriving reader."""

    def __init__(self) -> None:
        self._moment = 0.002
        self._lock = threading.Lock()

    def draw(self, rng: random.Random) -> float:
        """Seconds from the reader's request to the text; below zero, from the text to it."""
        return rng.gauss(self._moment, SPREAD)

    def learn(self, *, early: bool) -> None:
        """Send later if the text came too early, else sooner."""
        with self._lock:
            self._moment += STEP if early else -STEP


class Rendezvous:
    """The readers of one question, at each web address in turn."""

    def __init__(
        self,
        plan: Plan,
        question: Question,
        observation: Observation,
        *,
        rng: random.Random,
        timers: Mapping[str, RaceTimer],
        fetch: Callable[[], dict[str, Any] | None],
    ) -> None:
        """`timers`: by web address; `fetch`: the message as it is now, if it can be had."""
        self._plan = plan
        self._question = question
        self._observation = observation
        self._rng = rng
        self._timers = timers
        self._fetch = fetch

    def run(self) -> None:
        """Let a reader arrive at each hold of the script, then let the script end."""
        control = Control(self._plan.provider)
        for turn in range(len(self._question.reaches) - 1):
            control.wait_held(self._question.hold(turn))
            self._wait_published(self._question.reaches[turn])
            self._arrive(control, turn)
        control.release(self._question.hold("end"))

    def _wait_published(self, position: int) -> None:
        """Wait until the text up to a position is published, without following it."""
        deadline = time.monotonic() + LATE
        while time.monotonic() < deadline:
            message = self._fetch()
            if message is not None and message["position"] >= position:
                return
            time.sleep(0.01)

    def _arrive(self, control: Control, turn: int) -> None:
        url = self._plan.urls[turn % len(self._plan.urls)]
        reading = Reading(self._observation.id, [url], LATE)
        wanted = self._question.reaches[turn + 1]
        moment = self._timers[url].draw(self._rng)
        release = threading.Thread(
            target=_release_later, args=(max(0.0, moment), control, self._question.hold(turn))
        )
        release.start()
        time.sleep(max(0.0, -moment))
        arrived, frames = time.monotonic(), 0
        with suppress(Disconnected, OSError), reading.open() as connection:
            for event in connection.events():
                reading.take(event)
                frames += 1
                if len(reading.text) >= wanted:
                    break
        release.join()
        self._timers[url].learn(early=frames == 1)
        self._observation.rendezvous += 1
        if len(reading.text) < wanted or time.monotonic() - arrived > LATE:
            self._observation.violations.append(
                f"a reader came as the last text did, and had none of it in {LATE} s"
            )


def _release_later(seconds: float, control: Control, name: str) -> None:
    time.sleep(seconds)
    control.release(name)
