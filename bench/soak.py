"""An hour of steady use, watched: does anything grow that should not?

    python -m bench.soak --seconds 3600 --out FILE     run it, sampling to FILE (JSON lines)
    python -m bench.soak --plot FILE OUT.svg           draw it, and print what an hour adds

Everything runs as in production, on a durable Postgres and with the default settings. Six people
ask, read, leave in the middle and come back; what each has in the end is compared, character for
character.
"""

import argparse
import random
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import scripted
from bench import plotting, sampling
from bench.sampling import EVERY, Sampler, slope
from local import data_dirs
from scripted import done, finish, long, script, usage
from tests.client import Client, Disconnected, Reading, StreamConnection, new_id
from tests.rig import Rig

__all__ = ["Sampler", "slope"]

PEOPLE: Final = 6
#: Characters of an answer, and how many come a second; questions of one conversation.
SIZES: Final = (200, 2500)
RATE: Final = 200.0
QUESTIONS: Final = 10
#: Bytes after which a reader leaves, and seconds for which it is away.
STAYS: Final = (200, 20_000)
AWAY: Final = (0.1, 3.0)
#: Seconds that one answer may take before it counts as stuck.
PATIENCE: Final = 60.0


class People:
    """Clients that ask and read until `use` ends them."""

    def __init__(self, url: str, number: int) -> None:
        self._url = url
        self._number = number
        self._enough = threading.Event()
        self._lock = threading.Lock()
        self._counted: Counter[str] = Counter()
        self._waits: list[float] = []

    def numbers(self) -> dict[str, float]:
        """What they have seen so far, and how long the first text took lately (ms)."""
        with self._lock:
            waits, self._waits = self._waits, []
            first = {"first_text": round(1000 * statistics.median(waits), 1)} if waits else {}
            return {"answers": 0, "wrong": 0, "returns": 0, **self._counted, **first}

    def use(self, seconds: float) -> dict[str, float]:
        """Ask for `seconds`, then read the last answers; what they saw."""
        with ThreadPoolExecutor(self._number) as pool:
            running = [pool.submit(self._person) for _ in range(self._number)]
            time.sleep(seconds)
            self._enough.set()
            for person in running:
                person.result()
        return self.numbers()

    def _person(self) -> None:
        dice = random.Random()
        while not self._enough.is_set():
            with Client(self._url) as client:
                # A kept connection may be closed by gunicorn just when it is used again.
                client.http.headers["StreamConnection"] = "close"
                place = client.conversation()
                for _ in range(QUESTIONS):
                    self._ask(client, place, dice)
                    if self._enough.is_set():
                        return

    def _ask(self, client: Client, place: str, dice: random.Random) -> None:
        """One answer, read to its end over several connections, and what it should have been."""
        size, seed = dice.randint(*SIZES), dice.randrange(10**9)
        text = long(size, rate=RATE, chunk=(1, 12), seed=seed)
        question = script(text, finish(), usage(), done(), tag=new_id())
        asked = time.monotonic()
        answer = client.ask(question, place, parent_id=None)
        reading = client.read(answer)
        while reading.end is None and time.monotonic() < asked + PATIENCE:
            self._sit(reading, asked, dice)
        exact = reading.end is not None and reading.end["status"] == "DONE" and reading.proven
        exact = exact and reading.text == scripted.expected(question).text
        exact = exact and client.message(answer)["text"] == reading.text
        with self._lock:
            self._counted += Counter(answers=1, wrong=not exact, returns=reading.connections - 1)

    def _sit(self, reading: Reading, asked: float, dice: random.Random) -> None:
        """Read until one leaves, or the end; away for a moment."""
        fresh = not reading.text
        try:
            with reading.open() as connection:
                self._read(connection, reading, dice.randint(*STAYS), asked if fresh else None)
        except (Disconnected, OSError):
            time.sleep(dice.uniform(*AWAY))

    def _read(
        self, connection: StreamConnection, reading: Reading, stays: int, asked: float | None
    ) -> None:
        for event in connection.events(cut_after=stays):
            reading.take(event)
            if asked is not None:
                with self._lock:
                    self._waits.append(time.monotonic() - asked)
                asked = None


def soak(seconds: float, out: Path, every: float) -> dict[str, float]:
    """Start everything, use it for `seconds`, sample meanwhile; what the clients saw."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.unlink(missing_ok=True)
    with data_dirs.temporary() as home, Rig(home / "soak", durable=True) as rig:
        web, worker = rig.web(), rig.worker()
        people = People(web.url, PEOPLE)
        with Sampler(
            out,
            {
                "web": lambda: web.pid,
                "worker": lambda: worker.pid,
                "redis": lambda: rig.redis.pid,
                "postgres": lambda: rig.postgres.pid,
            },
            redis_url=rig.redis.url,
            database_url=rig.postgres.url,
            more=people.numbers,
            every=every,
        ):
            return people.use(seconds)


def plot(file: Path, picture: Path) -> None:
    """Draw a file of samples; print what the second half of each series gains in an hour."""
    series = sampling.read(file)
    for name in plotting.names():
        if points := series.get(name):
            middle = statistics.fmean(value for _, value in points)
            print(f"  {name:<22} {middle:>14,.1f} on average {slope(points):>+14,.1f} an hour")
    picture.write_text(plotting.draw(series, _title(series)))


def _title(series: dict[str, list[tuple[float, float]]]) -> str:
    last = {name: points[-1][1] for name, points in series.items()}
    seconds = max(points[-1][0] for points in series.values())
    return (
        f"{seconds / 60:.0f} minutes, {last.get('answers', 0):,.0f} answers,"
        f" {last.get('returns', 0):,.0f} returns of a reader, {last.get('wrong', 0):,.0f} wrong"
    )


def main(arguments: Sequence[str]) -> int:
    """Run or draw, as the arguments ask."""
    parser = argparse.ArgumentParser("soak", description="Steady use, watched.")
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--every", type=float, default=EVERY, help="seconds between samples")
    parser.add_argument("--out", type=Path, default=Path("soak.jsonl"))
    parser.add_argument("--plot", type=Path, nargs=2, metavar=("FILE", "OUT.svg"))
    asked = parser.parse_args(arguments)
    if asked.plot:
        plot(*asked.plot)
        return 0
    seen = soak(asked.seconds, asked.out, asked.every)
    print(
        f"{seen['answers']:,.0f} answers, {seen['returns']:,.0f} returns of a reader,"
        f" {seen['wrong']:,.0f} wrong; samples in {asked.out}"
    )
    return 1 if seen["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
