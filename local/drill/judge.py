"""Compares what readers saw, what Postgres has and what the provider said. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from local.drill.eyes import Row
from local.drill.people import Seen
from local.drill.questions import Question, continues

#: Kinds of faults that may end an answer as `worker_lost`, and nothing else may.
DEADLY: Final = frozenset(
    {"worker-kill", "worker-freeze", "worker-and-redis-loss", "process-kill", "process-freeze"}
)
#: The kind that may cost text: so many characters at most, which is 200 or what the fastest
#: scripted provider says in a second, and a save under way.
TOGETHER: Final = "worker-and-redis-loss"
BOUND: Final = 2400


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


@dataclass
class Verdict:
    """What a drill found."""

    violations: list[str] = field(default_factory=list)
    #: seconds from each death of a worker to the moment when the last reader of an answer knew
    truth: list[float] = field(default_factory=list)
    #: characters that the one allowed loss has cost, the largest of all
    lost_together: int = 0


def judge(
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
        self.answers = [answer.body for answer in asked.answers()]

    def _complain(self, what: str) -> None:
        self.verdict.violations.append(f"question {self.asked.number} ({self.seen.id}): {what}")

    def readers(self) -> None:
        """What its readers saw."""
        for violation in self.seen.violations:
            self._complain(violation)
        if not self.seen.status:
            if not self.seen.violations:
                self._complain("nobody saw it end")
            return
        self._ending()
        self._loss()
        if self.seen.code == "worker_lost":
            deaths = [one.began for one in self._hits(DEADLY) if self.seen.id in one.victims]
            self.verdict.truth += [self.seen.known_at - max(deaths)] if deaths else []

    def _hits(self, kinds: Iterable[str]) -> list[Happened]:
        """Faults of these kinds while it was on its way."""
        return [
            one
            for one in self.happened
            if one.kind in kinds
            and one.began <= self.seen.known_at
            and (one.ended or one.began) >= self.seen.asked_at
        ]

    def _ending(self) -> None:
        seen = self.seen
        if (seen.status, seen.code, seen.finish_reason) == self.asked.natural:
            return
        if seen.status == "CANCELLED" and seen.stopped:
            return
        if seen.code == "worker_lost" and self._hits(DEADLY):
            return
        told = " ".join(filter(None, (seen.status, seen.code, seen.finish_reason)))
        self._complain(f"ended as {told}, and nothing that was done explains it")

    def _loss(self) -> None:
        seen = self.seen
        if not seen.lost:
            return
        if seen.lost <= BOUND and any(seen.id in one.victims for one in self._hits([TOGETHER])):
            self.verdict.lost_together = max(self.verdict.lost_together, seen.lost)
            return
        self._complain(f"{seen.lost} characters were shown and are lost")

    def row(self, row: Row | None, calls: Mapping[str, int] | None) -> None:
        """What Postgres has."""
        if row is None:
            if self.seen.id:
                self._complain("its row is gone")
            return
        for fault in row.faults:
            self._complain(f"its row {fault}")
        if (row.status, row.code) != (self.seen.status, self.seen.code) and self.seen.status:
            self._complain(f"its row is {row.status} {row.code}, its readers were told otherwise")
        self._text(row)
        asked = calls[self.asked.text] if calls is not None else 0
        if asked > row.tries:
            self._complain(f"the provider was asked {asked} times by {row.tries} claims")

    def _text(self, row: Row) -> None:
        """The whole of one call's text where it ended by itself, the beginning of one elsewhere."""
        text = row.text or ""
        if (row.status, row.code) == self.asked.natural[:2]:
            if text not in self.answers:
                self._complain(f"{row.status}, but its text is not what the provider said")
        elif not any(continues(answer, text) for answer in self.answers):
            self._complain("its text is not the beginning of what the provider said")
