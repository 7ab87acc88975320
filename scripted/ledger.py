"""What all requests share: their records, the holds, and the counts of refusals."""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Literal

#: whole: played to its end, and the client had all of it when it closed
#: refused: answered with an error, or closed without an answer (status 0)
#: client_closed: the client disconnected before the end
#: scripted_cut: the script cut the connection
Ended = Literal["running", "whole", "refused", "client_closed", "scripted_cut"]

MAX_RECORDS = 50_000


@dataclass
class Record:
    """One request. Times are the machine's monotonic clock, the same in every process."""

    number: int
    came_at: float
    last_at: float  #: when something was written last
    request: dict[str, Any] | None = None  #: None: it was no JSON object
    headers: dict[str, str] = field(default_factory=dict)
    has_key: bool = False
    stream: bool = False
    status: int = 0
    steps: int = 0
    reached: int = 0  #: steps played to their end
    characters: int = 0  #: of text, reasoning and arguments, written
    ended: Ended = "running"
    closed_at: float | None = None

    @property
    def quiet(self) -> float:
        """Seconds between the last write and the end."""
        return (self.closed_at or self.last_at) - self.last_at

    @property
    def texts(self) -> list[str]:
        """The messages of the request."""
        return [text_of(message) for message in (self.request or {}).get("messages", [])]


def text_of(message: Any) -> str:
    """A message's text: its content, or the text parts of it."""
    content = message.get("content") if isinstance(message, dict) else None
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


class Ledger:
    """Everything that requests share. A change wakes all that wait in `until`."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.records: OrderedDict[int, Record] = OrderedDict()
        self.held: dict[str, list[int]] = {}
        self._now = now
        self._count = 0
        self._released: set[str] = set()
        self._refused: Counter[Hashable] = Counter()
        self._calls: Counter[str] = Counter()
        self._changed = asyncio.Event()

    # --- requests ---

    def open(self) -> Record:
        self._count += 1
        now = self._now()
        record = Record(number=self._count, came_at=now, last_at=now)
        self.records[record.number] = record
        if len(self.records) > MAX_RECORDS:
            self.records.popitem(last=False)
        return record

    def wrote(self, record: Record, characters: int = 0) -> None:
        record.last_at = self._now()
        record.characters += characters

    def close(self, record: Record, ended: Ended) -> None:
        record.ended = ended
        record.closed_at = self._now()
        self.changed()

    def select(self, contains: str = "", number: int = 0, ended: bool = False) -> list[Record]:
        """The records that match: a text in a message, a number, whether they have ended."""
        return [
            record
            for record in self.records.values()
            if (not number or record.number == number)
            and (not ended or record.ended != "running")
            and (not contains or any(contains in text for text in record.texts))
        ]

    # --- refusals ---

    def refuses(self, key: Hashable, times: int | None) -> bool:
        """Count a request; whether it is to be refused."""
        self._refused[key] += 1
        return times is None or self._refused[key] <= times

    # --- calls ---

    def call_of(self, question: str) -> int:
        """The number of this request among those with this very question, from 1."""
        self._calls[question] += 1
        return self._calls[question]

    # --- holds ---

    async def hold(self, record: Record, name: str) -> None:
        self.held.setdefault(name, []).append(record.number)
        self.changed()
        try:
            await self.until(lambda: name in self._released)
        finally:
            self.held[name].remove(record.number)
            self.changed()

    def release(self, name: str) -> int:
        """Let requests pass the hold `name`, now and later; returns how many waited."""
        waiting = len(self.held.get(name, []))
        self._released.add(name)
        self.changed()
        return waiting

    # --- changes ---

    def changed(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def until(self, true: Callable[[], bool], seconds: float | None = None) -> bool:
        """Wait until a condition is true; False if it is not in time."""
        try:
            async with asyncio.timeout(seconds):
                while not true():
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True

    def reset(self) -> None:
        """Forget everything; numbers go on."""
        self.records.clear()
        self._released.clear()
        self._refused.clear()
        self._calls.clear()
        self.changed()
