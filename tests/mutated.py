"""Mutated provider streams through the whole service: `python -m tests.mutated COUNT [SEED]`.

Every stream is played by the scripted provider, and a question contains only its number. It is
asked through web and answered by a Celery worker, and its result is read in Postgres and, for some,
over HTTP. tests/oracle.py says what the result should be.
"""

import json
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

from local import data_dirs
from scripted import mutations
from scripted.mutations import Stream
from shared.errors import MESSAGE_ERRORS
from tests.client import Client, proof
from tests.oracle import Verdict, interrupted, verdict
from tests.rig import Rig, killing
from tests.stories import start_worker, verified_end

#: Seconds without anything new from the provider, and after its finish reason.
STALL: Final = 4.0
GRACE: Final = 2.0
IMPATIENT: Final = {
    "OUTLIVE_FIRST_TOKEN_SECONDS": str(STALL),
    "OUTLIVE_STALL_SECONDS": str(STALL),
}
#: Seconds, beyond that patience, from the provider's last byte to the end of the answer; one that
#: takes longer counts as stuck. Usually it takes less than one.
END_WITHIN: Final = 10.0
#: Seconds after which an open answer is given up.
GIVEN_UP: Final = 60.0
#: Open answers at once (more would wait for one another, not for the provider); threads that ask
#: and that read; one answer in READ_ONE_IN is read over HTTP.
UNDER_WAY: Final = 50
ASKERS: Final = 4
READERS: Final = 4
READ_ONE_IN: Final = 20
#: Questions of one conversation, each a root of its own; seconds between polls of the rows.
PER_CONVERSATION: Final = 50
POLL: Final = 0.1
#: What no log may contain, whatever a provider sends.
BUGS: Final = ("Traceback", "generation.bug", "task.bug", "worker.loop")

_ENDED: Final = (
    "SELECT id, status, error_code, error_message, finish_reason, usage, body, length, sha256,"
    " CAST(extract(epoch FROM ended_at) AS float8) AS ended,"
    " CAST(extract(epoch FROM ended_at - started_at) AS float8) AS lasted FROM messages"
    " WHERE id = ANY(CAST(:ids AS uuid[])) AND status NOT IN ('SENDING', 'STREAMING')"
)


@dataclass
class Found:
    """The results of many streams."""

    ends: Counter[str] = field(default_factory=Counter)
    #: a sentence each, with the seed
    stuck: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    false_done: int = 0
    #: of BUGS, how often they were logged
    bugs: Counter[str] = field(default_factory=Counter)
    #: read by a reader, too
    read: int = 0
    #: cut short by GRACE, because a busy machine had not read the rest
    late: int = 0
    #: seconds: of all, and from the provider's last byte to an answer's end at most
    seconds: float = 0.0
    slowest: float = 0.0

    @property
    def good(self) -> bool:
        """Whether everything is as it has to be."""
        return not (self.stuck or self.wrong or self.bugs.total())

    def __str__(self) -> str:
        ends = ", ".join(f"{end} {number:,}" for end, number in self.ends.most_common())
        return (
            f"{self.ends.total():,} mutated streams in {self.seconds:.0f} s:"
            f" {len(self.stuck)} stuck, {len(self.wrong)} wrong ({self.false_done} of them DONE),"
            f" {self.bugs.total()} tracebacks\n"
            f"  {ends}\n"
            f"  {self.read:,} of them read as they were written, {self.late} cut short by a busy"
            f" machine; at most {self.slowest:.1f} s from the last byte to the end\n"
            + "\n".join([*self.stuck[:10], *self.wrong[:10]])
        )


def run(rig: Rig, url: str, seeds: Sequence[int]) -> Found:
    """Ask for all these streams; the worker is IMPATIENT."""
    found, before, begun = Found(), _bugs(rig), time.monotonic()
    _Run(rig, url, found).all(seeds)
    found.seconds = time.monotonic() - begun
    found.bugs = _bugs(rig) - before
    return found


def _bugs(rig: Rig) -> Counter[str]:
    logs = rig.logs()
    return Counter({word: logs.count(word) for word in BUGS})


@dataclass(frozen=True)
class _Asked:
    """A stream whose answer is being written."""

    seed: int
    stream: Stream
    at: float


class _Run:
    """Many questions, fifty at a time."""

    def __init__(self, rig: Rig, url: str, found: Found) -> None:
        self._rig = rig
        self._url = url
        self._found = found
        self._left: list[int] = []
        self._room = threading.Semaphore(UNDER_WAY)
        self._open: dict[str, _Asked] = {}
        #: seed -> when its answer ended, by the wall's clock; those cut short by a busy machine
        self._ended: dict[int, float] = {}
        self._late: set[int] = set()
        self._reading: list[Future[None]] = []

    def all(self, seeds: Sequence[int]) -> None:
        """Ask for all of them and wait until all have ended."""
        self._left = list(reversed(seeds))
        with ThreadPoolExecutor(ASKERS) as askers, ThreadPoolExecutor(READERS) as readers:
            asking = [askers.submit(self._ask, readers) for _ in range(ASKERS)]
            while self._open or not all(one.done() for one in asking):
                self._collect()
                time.sleep(POLL)
            for one in (*asking, *self._reading):
                one.result()
        self._found.read = len(self._reading)
        self._check_times()

    # --- asking and reading

    def _ask(self, readers: Executor) -> None:
        """Ask until nothing is left."""
        with Client(self._url) as client:
            while self._left:
                place = client.conversation()
                for _ in range(min(PER_CONVERSATION, len(self._left))):
                    self._room.acquire()
                    self._ask_one(client, place, readers)

    def _ask_one(self, client: Client, place: str, readers: Executor) -> None:
        try:
            seed = self._left.pop()
        except IndexError:  # another thread took the last one
            self._room.release()
            return
        stream = mutations.stream(seed)
        answer = client.ask(mutations.question(seed), place, parent_id=None)
        self._open[answer] = _Asked(seed, stream, time.monotonic())
        if seed % READ_ONE_IN == 0:
            self._reading.append(readers.submit(self._read, answer, seed))

    def _read(self, answer: str, seed: int) -> None:
        """The frames, their proof and a GET agree, and none of it is a traceback."""
        try:
            with Client(self._url) as client:
                reading = client.read(answer).to_end(GIVEN_UP)
                message = client.message(answer)
            verified_end(reading, message)
            assert "Traceback" not in json.dumps([message, reading.end])
        except AssertionError as error:
            self._found.wrong.append(f"seed {seed}, read: {error}")

    # --- checking

    def _collect(self) -> None:
        """Check what has ended since the last call; give up what takes too long."""
        now = time.monotonic()
        for row in self._rig.rows(_ENDED, ids=list(self._open)):
            self._check(self._open.pop(str(row.id)), row)
            self._room.release()
        for answer, asked in list(self._open.items()):
            if now - asked.at > GIVEN_UP:
                self._found.stuck.append(f"seed {asked.seed}: open after {GIVEN_UP} s")
                del self._open[answer]
                self._room.release()

    def _check(self, asked: _Asked, row: Any) -> None:
        found, right = self._found, verdict(asked.stream)
        parts = tuple((part["kind"], part["text"], part["meta"] or None) for part in row.body)
        got = Verdict(row.status, row.error_code, row.finish_reason, row.usage, parts)
        found.ends[got.code or got.status] += 1
        self._ended[asked.seed] = row.ended
        if got != right:
            if row.lasted >= GRACE and got in interrupted(asked.stream):
                self._late.add(asked.seed)
            else:
                found.wrong.append(
                    f"seed {asked.seed}: {_short(got)}, but right is {_short(right)}"
                )
        if (row.length, row.sha256) != proof(got.body):
            found.wrong.append(f"seed {asked.seed}: the proof is not that of its text")
        if row.error_message != (got.code and MESSAGE_ERRORS[got.code][0]):
            found.wrong.append(f"seed {asked.seed}: another sentence than that of {got.code}")

    def _check_times(self) -> None:
        """Check that each was asked of the provider and ended soon after its last byte."""
        wall = time.time() - time.monotonic()
        records = self._rig.scripted.requests(contains='"do":"mutated"')
        last = {json.loads(r.texts[-1])["script"][0]["seed"]: r.last_at for r in records}
        self._found.late = len(self._late)
        for seed in self._ended.keys() - last.keys() - self._late:
            self._found.wrong.append(f"seed {seed}: the provider was never asked")
        for seed in self._ended.keys() & last.keys():
            took = self._ended[seed] - (last[seed] + wall)
            hangs = seed in self._late or mutations.stream(seed).close == "hanging"
            patience = STALL if hangs else 0.0
            self._found.slowest = max(self._found.slowest, took - patience)
            if took - patience > END_WITHIN:
                self._found.stuck.append(f"seed {seed}: ended {took:.1f} s after the last byte")


def _short(one: Verdict) -> str:
    """Enough of it to see a difference."""
    return f"{one.status} {one.code or one.finish_reason} {one.usage} {one.body[-60:]!r}"


def main(count: int, first: int) -> int:
    """Start everything, ask for some streams, print their results."""
    print(f"seeds {first} to {first + count - 1}", flush=True)
    with data_dirs.temporary() as home, Rig(home / "rig") as rig:
        web = rig.web()
        with killing(start_worker(rig, **IMPATIENT).wait()):
            found = run(rig, web.url, range(first, first + count))
    print(found, flush=True)
    return 0 if found.good else 1


if __name__ == "__main__":
    words = [int(word) for word in sys.argv[1:]]
    sys.exit(main(words[0], words[1] if words[1:] else random.randrange(10**9)))
