"""One reader of an answer: it is cut often, comes back at once and checks every frame."""

import random
import time
from collections.abc import Callable
from typing import Any, Final

from drill.plan import Observation, Plan
from drill.questions import Question, continues
from drill.reading import Disconnected, PromiseBroken, Reading, StreamConnection
from shared.sse import Event

OPEN: Final = ("SENDING", "STREAMING")
#: Seconds without a byte after which a connection is dead, and without an event after which the
#: message is fetched.
DEAD: Final = 10.0
SILENT: Final = 3.0
#: Seconds after the message was seen to have ended, after which a connected reader has the end.
END_LATE: Final = 8.0
#: Seconds that one answer may take from question to end.
ANSWER_SECONDS: Final = 180.0
#: The share of connections that are cut by us, and the most bytes after which.
CUT_SHARE, CUT_BYTES = 0.8, 5000


class NotFound(Exception):
    """The server said 404 for something that was there before. The message names it."""


class AnswerReader:
    """Reads one answer to its end, over as many connections as it takes."""

    def __init__(
        self,
        plan: Plan,
        question: Question,
        observation: Observation,
        number: int,
        *,
        answers: list[str],
        fetch: Callable[[], dict[str, Any] | None],
        stop: Callable[[], None],
    ) -> None:
        """`answers`: what the provider may send; `fetch`: the message as it is now, if it can be
        had; `stop`: press Stop."""
        self.question = question
        self.observation = observation
        self.rng = random.Random(f"{plan.seed} {question.number} {number}")  # noqa: S311
        self.reading = Reading(observation.id, plan.urls, DEAD)
        self._candidates = answers
        self._fetch = fetch
        self._stop = stop
        #: whether it was shown text of two answers
        self._strayed = False
        #: whether the answer is a 404 by now
        self.not_found = False
        #: when the message was seen to have ended while this connection had not; monotonic seconds
        self._ended: float | None = None

    def run(self) -> None:
        """Read to the end; what must not be is among the observation's violations."""
        try:
            self._to_end()
        except NotFound:
            self.not_found = True
        except PromiseBroken as broken:
            self.observation.violations.append(str(broken))
        except Exception as error:  # noqa: BLE001 - a drill that stumbles must not look like one that passed
            self.observation.violations.append(f"the drill's reader: {error!r}")
        self.observation.connections += self.reading.connections
        self.observation.shown = max(self.observation.shown, len(self.reading.text))

    def _to_end(self) -> None:
        deadline = time.monotonic() + ANSWER_SECONDS
        while self.reading.end is None:
            if time.monotonic() > deadline:
                raise PromiseBroken(f"no end in {ANSWER_SECONDS:.0f} s")
            retry = self._connect_once()
            if self.reading.end is None:
                time.sleep(self.rng.choice([0.0, 0.0, retry / 1000]))

    def _connect_once(self) -> int:
        """Read one connection to its end or cut it; the milliseconds after which to come back."""
        cut_after = None
        if self.rng.random() < CUT_SHARE:
            cut_after = self.rng.randrange(1, CUT_BYTES)
        try:
            with self.reading.open() as connection:
                if connection.status == 404:
                    raise NotFound("its stream")
                if connection.status != 200:
                    raise PromiseBroken(f"the stream route answered {connection.status}")
                self._follow(connection, cut_after)
                return connection.decoder.retry or 200
        except Disconnected:
            self.observation.cuts += cut_after is not None
            self.observation.cuts_running += cut_after is not None and self.reading.end is None
        except OSError:
            pass
        return 200

    def _follow(self, connection: StreamConnection, cut_after: int | None) -> None:
        last_event = time.monotonic()
        self._ended = None
        for data in connection.body(cut_after=cut_after):
            for event in connection.decoder.feed(data):
                self._take(event)
                last_event = time.monotonic()
            if time.monotonic() - last_event > SILENT:
                self._check_end_is_not_late()
                last_event = time.monotonic()

    def _take(self, event: Event) -> None:
        before = len(self.reading.text)
        self.reading.take(event)
        new = self.reading.text[before:]
        fitting = [answer for answer in self._candidates if continues(answer, new, before)]
        if not fitting and not self._strayed:
            self._strayed = True
            what = f"at {before}: text that the provider did not send there"
            self.observation.went_back.append(what)
        self._candidates = fitting or self._candidates
        stop_at = self.question.stop_at
        if stop_at is not None and len(self.reading.text) >= stop_at:
            self._stop()

    def _check_end_is_not_late(self) -> None:
        message, now = self._fetch(), time.monotonic()
        if message is None or message["status"] in OPEN:
            self._ended = None
            return
        self._ended = self._ended or now
        if now - self._ended > END_LATE:
            raise PromiseBroken("the answer has ended, and a connected reader did not learn of it")
