"""Compares what readers saw, what Postgres has and what the provider sent. Pure.

A violation is a sentence. Whatever is not explained by a fault that was injected is one.
"""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from drill.database_probe import Row
from drill.plan import Observation
from drill.questions import Question, continues
from shared.lifecycle import MAX_TRIES

#: Kinds of faults that may end an answer as `worker_lost`; no other kind may.
DEADLY: Final = frozenset(
    {"worker-kill", "worker-freeze", "worker-and-redis-loss", "process-kill", "process-freeze"}
)
#: Kinds that take Redis and a worker together. They may cost their victims text.
REDIS_AND_WORKER: Final = frozenset({"worker-and-redis-loss", "redis-rewind"})
#: The most characters of it: 200, or what the fastest scripted provider sends in a second and
#: during a save.
BOUND: Final = 2400
#: Characters a second of that provider: a failover may lose as many for each second.
FASTEST: Final = 2000


@dataclass
class InjectedFault:
    """A fault that was injected. Times are the wall clock's."""

    kind: str
    what: str
    began: float
    #: whether an answer was being written that it could hit
    running: bool
    victims: tuple[str, ...] = ()
    ended: float | None = None
    #: whether a worker died of it, though it is not of a kind of which one always does
    deadly: bool = False
    #: from then until it ended, what was committed was lost
    lost_since: float | None = None


@dataclass
class Findings:
    """What a drill found."""

    violations: list[str] = field(default_factory=list)
    #: seconds from each death of a worker until the last reader of an answer knew
    truth: list[float] = field(default_factory=list)
    #: most characters that one answer lost with a worker and Redis at once
    lost_together: int = 0
    #: the same with a failover of Postgres; and how many answers lost something with one
    lost_back: int = 0
    went_back: int = 0


def verify(
    questions: Mapping[int, Question],
    observations: Sequence[Observation],
    faults: Sequence[InjectedFault],
    rows: Iterable[Row] | None,
    calls: Mapping[str, int] | None,
) -> Findings:
    """Find everything that must not be.

    `rows`: all answers, None where Postgres cannot be read; `calls`: how often the provider was
    asked each question, None where that is not known.
    """
    findings = Findings()
    found = {row.id: row for row in rows} if rows is not None else None
    for one in observations:
        story = _AnswerCheck(questions[one.number], one, faults, findings)
        story.readers()
        if found is not None:
            story.row(found.pop(one.id, None), calls)
    for row in (found or {}).values():
        findings.violations.append(f"{row.id}: no client asked for this answer ({row.status})")
    return findings


def has_violations(
    asked: Question, observation: Observation, faults: Sequence[InjectedFault]
) -> bool:
    """Whether an observation has a violation, by the faults so far."""
    findings = Findings()
    _AnswerCheck(asked, observation, faults, findings).readers()
    return bool(findings.violations)


class _AnswerCheck:
    """Checks one question and its answer."""

    def __init__(
        self,
        asked: Question,
        observation: Observation,
        faults: Sequence[InjectedFault],
        findings: Findings,
    ) -> None:
        self.asked = asked
        self.observation = observation
        self.faults = faults
        self.findings = findings
        #: failovers that lost something while this answer was on its way
        self.back = [
            one
            for one in faults
            if one.lost_since is not None
            and one.lost_since <= observation.known_at
            and (one.ended or math.inf) >= observation.asked_at
        ]

    def _violation(self, what: str) -> None:
        self.findings.violations.append(
            f"question {self.asked.number} ({self.observation.id}): {what}"
        )

    def readers(self) -> None:
        """Check what its readers saw."""
        for violation in self.observation.violations:
            self._violation(violation)
        # Only a failover explains these.
        for change in self.observation.went_back if not self.back else ():
            self._violation(change)
        self.findings.went_back += bool(self.observation.went_back)
        if not self.observation.status:
            if not (self.observation.violations or self.observation.went_back):
                self._violation("no reader saw it end")
            return
        self._ending()
        self._loss()
        if self.observation.code == "worker_lost" and not self.back:
            deaths = [one.began for one in self._hits(DEADLY) if self.observation.id in one.victims]
            self.findings.truth += [self.observation.known_at - max(deaths)] if deaths else []

    def _hits(self, kinds: Collection[str] | None) -> list[InjectedFault]:
        """Faults of these kinds, or any, while it was on its way."""
        return [
            one
            for one in self.faults
            if (kinds is None or one.kind in kinds)
            and one.began <= self.observation.known_at
            and (one.ended or one.began) >= self.observation.asked_at
        ]

    def _deaths(self) -> list[InjectedFault]:
        """Faults of which a worker died while it was on its way."""
        return [one for one in self._hits(None) if one.kind in DEADLY or one.deadly]

    def _ending(self) -> None:
        observation = self.observation
        if (observation.status, observation.code, observation.finish_reason) == self.asked.natural:
            return
        if observation.status == "CANCELLED" and observation.stopped:
            return
        if observation.code == "worker_lost" and (self.back or self._deaths()):
            return
        ending = " ".join(
            filter(None, (observation.status, observation.code, observation.finish_reason))
        )
        self._violation(f"ended as {ending}, and no injected fault explains it")

    def _loss(self) -> None:
        observation = self.observation
        if not observation.lost:
            return
        if observation.lost <= BOUND and any(
            observation.id in one.victims for one in self._hits(REDIS_AND_WORKER)
        ):
            self.findings.lost_together = max(self.findings.lost_together, observation.lost)
            return
        if self.back and observation.lost <= BOUND + FASTEST * sum(map(_window, self.back)):
            self.findings.lost_back = max(self.findings.lost_back, observation.lost)
            return
        self._violation(f"{observation.lost} characters were shown and are lost")

    def row(self, row: Row | None, calls: Mapping[str, int] | None) -> None:
        """Check what Postgres has."""
        if row is None:
            # What was committed before the loss began has to be there.
            if self.observation.id and not any(
                self.observation.taken_at >= (one.lost_since or math.inf) for one in self.back
            ):
                self._violation("its row is gone")
            return
        for fault in row.faults:
            self._violation(f"its row {fault}")
        agrees = (row.status, row.code) == (self.observation.status, self.observation.code)
        if not agrees and self.observation.status and not self.back:
            self._violation(f"its row is {row.status} {row.code}, its readers got another end")
        asked = calls[self.asked.text] if calls is not None else 0
        self._text(row, max(asked, MAX_TRIES))
        # A claim that a failover lost has asked as well.
        if asked > row.tries + MAX_TRIES * len(self.back):
            self._violation(f"the provider was asked {asked} times by {row.tries} claims")

    def _text(self, row: Row, calls: int) -> None:
        """Check that its text is that of one call: all of it where it ended by itself."""
        text = row.text or ""
        answers = [answer.body for answer in self.asked.answers(calls)]
        if (row.status, row.code) == self.asked.natural[:2]:
            if text not in answers:
                self._violation(f"{row.status}, but its text is not what the provider sent")
        elif not any(continues(answer, text) for answer in answers):
            self._violation("its text is not the beginning of what the provider sent")


def _window(back: InjectedFault) -> float:
    """Seconds of text that a failover may have lost."""
    return max(0.0, (back.ended or back.began) - (back.lost_since or 0.0))
