"""Compares what readers saw, what Postgres has and what the provider said. Pure."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from drill.clients import Seen
from drill.database_probe import Row
from drill.questions import Question, continues
from shared.lifecycle import MAX_TRIES

#: Kinds of faults that may end an answer as `worker_lost`, and nothing else may.
DEADLY: Final = frozenset(
    {"worker-kill", "worker-freeze", "worker-and-redis-loss", "process-kill", "process-freeze"}
)
#: The kinds that may cost their victims text: so many characters at most, which is 200 or what the
#: fastest scripted provider says in a second, and a save under way.
TOGETHER: Final = frozenset({"worker-and-redis-loss", "redis-rewind"})
BOUND: Final = 2400
#: Characters a second of that provider: a database that goes back may lose so many besides.
FASTEST: Final = 2000


@dataclass
class Happened:
    """A fault that was done. Times are the wall clock's."""

    kind: str
    what: str
    began: float
    #: whether an answer was being written that it could hit
    running: bool
    victims: tuple[str, ...] = ()
    ended: float | None = None
    #: whether a worker died of it, though it is not of a kind of which one always does
    deadly: bool = False
    #: from this moment on Postgres lost everything that was committed, until it ended
    lost_since: float | None = None


@dataclass
class Verdict:
    """What a drill found."""

    violations: list[str] = field(default_factory=list)
    #: seconds from each death of a worker to the moment when the last reader of an answer knew
    truth: list[float] = field(default_factory=list)
    #: characters that the loss of a worker and Redis has cost, the largest of all
    lost_together: int = 0
    #: the same when Postgres went back; and answers of which something went back with it
    lost_back: int = 0
    went_back: int = 0


def verify(
    questions: Mapping[int, Question],
    seen: Sequence[Seen],
    happened: Sequence[Happened],
    rows: Iterable[Row] | None,
    calls: Mapping[str, int] | None,
) -> Verdict:
    """Everything that must not be. `rows`: all answers, None where Postgres cannot be looked at;
    `calls`: how often the provider was asked each question, None where it cannot be asked."""
    verdict = Verdict()
    found = {row.id: row for row in rows} if rows is not None else None
    for one in seen:
        story = _Story(questions[one.number], one, happened, verdict)
        story.readers()
        if found is not None:
            story.row(found.pop(one.id, None), calls)
    for row in (found or {}).values():
        verdict.violations.append(f"{row.id}: nobody asked for this answer ({row.status})")
    return verdict


def wrong(asked: Question, seen: Seen, happened: Sequence[Happened]) -> bool:
    """Whether what the readers of one answer saw must not be, as far as is known now."""
    verdict = Verdict()
    _Story(asked, seen, happened, verdict).readers()
    return bool(verdict.violations)


class _Story:
    """One question, and what became of it."""

    def __init__(
        self, asked: Question, seen: Seen, happened: Sequence[Happened], verdict: Verdict
    ) -> None:
        self.asked = asked
        self.seen = seen
        self.happened = happened
        self.verdict = verdict
        #: when Postgres went back while this was on its way
        self.back = [
            one
            for one in happened
            if one.lost_since is not None
            and one.lost_since <= seen.known_at
            and (one.ended or math.inf) >= seen.asked_at
        ]

    def _complain(self, what: str) -> None:
        self.verdict.violations.append(f"question {self.asked.number} ({self.seen.id}): {what}")

    def readers(self) -> None:
        """What its readers saw."""
        for violation in self.seen.violations:
            self._complain(violation)
        # What only a database that went back explains.
        for change in self.seen.went_back if not self.back else ():
            self._complain(change)
        self.verdict.went_back += bool(self.seen.went_back)
        if not self.seen.status:
            if not (self.seen.violations or self.seen.went_back):
                self._complain("nobody saw it end")
            return
        self._ending()
        self._loss()
        if self.seen.code == "worker_lost" and not self.back:
            deaths = [one.began for one in self._hits(DEADLY) if self.seen.id in one.victims]
            self.verdict.truth += [self.seen.known_at - max(deaths)] if deaths else []

    def _hits(self, kinds: Collection[str] | None) -> list[Happened]:
        """Faults of these kinds, or any, while it was on its way."""
        return [
            one
            for one in self.happened
            if (kinds is None or one.kind in kinds)
            and one.began <= self.seen.known_at
            and (one.ended or one.began) >= self.seen.asked_at
        ]

    def _deaths(self) -> list[Happened]:
        """Faults of which a worker died while it was on its way."""
        return [one for one in self._hits(None) if one.kind in DEADLY or one.deadly]

    def _ending(self) -> None:
        seen = self.seen
        if (seen.status, seen.code, seen.finish_reason) == self.asked.natural:
            return
        if seen.status == "CANCELLED" and seen.stopped:
            return
        if seen.code == "worker_lost" and (self.back or self._deaths()):
            return
        told = " ".join(filter(None, (seen.status, seen.code, seen.finish_reason)))
        self._complain(f"ended as {told}, and nothing that was done explains it")

    def _loss(self) -> None:
        seen = self.seen
        if not seen.lost:
            return
        if seen.lost <= BOUND and any(seen.id in one.victims for one in self._hits(TOGETHER)):
            self.verdict.lost_together = max(self.verdict.lost_together, seen.lost)
            return
        if self.back and seen.lost <= BOUND + FASTEST * sum(map(_window, self.back)):
            self.verdict.lost_back = max(self.verdict.lost_back, seen.lost)
            return
        self._complain(f"{seen.lost} characters were shown and are lost")

    def row(self, row: Row | None, calls: Mapping[str, int] | None) -> None:
        """What Postgres has."""
        if row is None:
            # What was committed before the loss began is there.
            if self.seen.id and not any(
                self.seen.taken_at >= (one.lost_since or math.inf) for one in self.back
            ):
                self._complain("its row is gone")
            return
        for fault in row.faults:
            self._complain(f"its row {fault}")
        told = (row.status, row.code) == (self.seen.status, self.seen.code)
        if not told and self.seen.status and not self.back:
            self._complain(f"its row is {row.status} {row.code}, its readers were told otherwise")
        asked = calls[self.asked.text] if calls is not None else 0
        self._text(row, max(asked, MAX_TRIES))
        # A claim that was lost has asked as well.
        if asked > row.tries + MAX_TRIES * len(self.back):
            self._complain(f"the provider was asked {asked} times by {row.tries} claims")

    def _text(self, row: Row, calls: int) -> None:
        """The whole of one call's text where it ended by itself, the beginning of one elsewhere."""
        text = row.text or ""
        answers = [answer.body for answer in self.asked.answers(calls)]
        if (row.status, row.code) == self.asked.natural[:2]:
            if text not in answers:
                self._complain(f"{row.status}, but its text is not what the provider said")
        elif not any(continues(answer, text) for answer in answers):
            self._complain("its text is not the beginning of what the provider said")


def _window(back: Happened) -> float:
    """Seconds of text that may be gone with Postgres."""
    return max(0.0, (back.ended or back.began) - (back.lost_since or 0.0))
