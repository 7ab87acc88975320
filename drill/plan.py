"""What the drill and its clients, which run in a process of their own, send each other: JSON lines.

The drill passes a `Plan` as the argument. The clients print one `Observation` for each question,
and RENDEZVOUS_OVER once the rendezvous are over, before which nothing is broken.
"""

from dataclasses import dataclass, field
from typing import Final

from drill.questions import Question, question

RENDEZVOUS_OVER: Final = "rendezvous over"


@dataclass(frozen=True)
class Plan:
    """What the clients ask, and where."""

    urls: list[str]
    #: the scripted provider's address, where there are rendezvous
    provider: str
    seed: int
    run: str
    generations: int
    #: how many ask at a time
    clients: int
    #: how many of the questions are rendezvous: the first ones
    rendezvous: int

    def question(self, number: int) -> Question:
        """One of the questions."""
        return question(self.seed, number, rendezvous=self.rendezvous, run=self.run)

    def questions(self) -> dict[int, Question]:
        """All of them, by number."""
        return {number: self.question(number) for number in range(self.generations)}


@dataclass
class Observation:
    """What the readers of one question saw. Times are the wall clock's."""

    number: int
    id: str = ""
    asked_at: float = 0.0
    #: when the question was accepted
    taken_at: float = 0.0
    #: when the last reader knew the end
    known_at: float = 0.0
    status: str = ""
    code: str | None = None
    finish_reason: str | None = None
    #: code points of the answer, and the most that any reader was shown
    length: int = 0
    shown: int = 0
    #: code points that a reader was shown and that are not in the answer
    lost: int = 0
    stopped: bool = False
    #: requests for the stream; how many we cut, and how many of them while it was written
    connections: int = 0
    cuts: int = 0
    cuts_running: int = 0
    #: how often the question was sent
    sent: int = 0
    rendezvous: int = 0
    #: responses of `/v1/chat/completions`
    chats: int = 0
    #: what only a Postgres that lost its last seconds explains
    went_back: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
