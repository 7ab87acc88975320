"""How long another user's first question waits while one user's thousand questions are answered.

Real worker, queue, Postgres and Redis; the times are those of the rows (asked, claimed). Three
ways: an empty queue, one user's thousand questions with turns, and the same without turns.
"""

import os
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from local import data_dirs
from scripted import done, finish, pause, say, script
from tests.end_to_end.test_limits import Person
from tests.rig import Rig, eventually, killing

QUESTIONS: Final = 1_000
#: Places of the worker, and how many of them one user may have.
PLACES, RUNNING = 20, 10
#: Other users who ask one after another, and seconds between them.
OTHERS, APART = 40, 0.25
#: Half a second each, as a short answer takes.
ANSWER: Final = script(say("One "), pause(0.5), say("two."), finish(), done())


def main() -> bool:
    """Measure all three; whether the promise was missed."""
    os.environ["OUTLIVE_WORKER_CONCURRENCY"] = str(PLACES)
    with data_dirs.temporary() as home, Rig(home / "rig") as rig:
        with _worker(rig):
            empty = _report("an empty queue", _waits(rig))
        with _thousand(rig, RUNNING):
            turns = _report(f"{QUESTIONS} questions of one user, with turns", _waits(rig))
        with _thousand(rig, 0):
            _report(f"{QUESTIONS} questions of one user, without", _waits(rig, others=3))
    print(f"  with turns x {turns / empty:.2f} of an empty queue (promised: 2)", flush=True)
    return turns > 2 * empty


@contextmanager
def _worker(rig: Rig) -> Iterator[None]:
    worker = rig.worker(OUTLIVE_MAX_RUNNING=str(RUNNING))
    with killing(worker):
        yield


@contextmanager
def _thousand(rig: Rig, running: int) -> Iterator[None]:
    """One user asks; half of it is being answered, or waits, while others ask."""
    hog = Person(rig, running)
    for _ in range(QUESTIONS):
        hog.ask(ANSWER)
    with _worker(rig):
        eventually(lambda: hog.count("DONE") > 2 * PLACES)
        yield
        if running:
            assert hog.count("SENDING"), "it was over before the others had asked"
    with rig.db.transaction() as connection:  # the rest must not delay what comes next
        connection.exec_driver_sql("DELETE FROM conversations")
    rig.redis.restart()


def _waits(rig: Rig, others: int = OTHERS) -> list[float]:
    """Milliseconds from the question until a worker claims it, of as many users."""
    people = []
    for _ in range(others):
        people.append(Person(rig, RUNNING))
        people[-1].ask(ANSWER)
        time.sleep(APART)
    for person in people:
        eventually(lambda person=person: person.count("DONE") == 1, 120)  # type: ignore[misc]
    rows = rig.rows(
        "SELECT CAST(extract(epoch FROM started_at - created_at) AS float8) * 1000 AS waited"
        " FROM messages WHERE user_id = ANY(CAST(:users AS uuid[])) AND role = 'assistant'",
        users=[str(person.id) for person in people],
    )
    return [float(row.waited) for row in rows]


def _report(name: str, waits: list[float]) -> float:
    median = statistics.median(waits)
    print(f"  {name:<48} median {median:>9,.1f} ms   worst {max(waits):>9,.1f} ms", flush=True)
    return median
