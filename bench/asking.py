"""Asking and reading an answer, in one request or in two: CPU of web, and time to text and end."""

import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import httpx2

from bench.sampling import family
from local import data_dirs
from scripted import done, finish, say, script
from shared.sse import Decoder
from tests.client import new_id
from tests.rig import Rig

#: Answers of each way, and those before them that warm up.
ANSWERS: Final = 300
WARM_UP: Final = 30
EVENTS: Final = {"Accept": "text/event-stream"}

Asking = Callable[[httpx2.Client, str, str], Iterator[str]]


def main() -> None:
    """Short answers, one after the other; the ways take turns at each answer."""
    with data_dirs.temporary() as home, Rig(home / "rig") as rig:
        web, _ = rig.web(WEB_CONCURRENCY="1"), rig.worker()
        ways: dict[str, Asking] = {"one request": _one, "two requests": _two}
        found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in ways}
        with httpx2.Client(base_url=web.url, timeout=30) as client:
            for _ in range(WARM_UP + ANSWERS):
                for name, way in ways.items():
                    path = _new_path(client)
                    before = _cpu(web.pid)
                    times = _timed(way, client, path)
                    found[name].append((_cpu(web.pid) - before, *times))
    print(
        f"  {'median (10 % to 90 %)':<21} {'web, ms CPU':>22}"
        f" {'first text, ms':>22} {'end, ms':>22}"
    )
    for name, rows in found.items():
        cells = [_quantiles(values) for values in zip(*rows[WARM_UP:], strict=True)]
        print(f"  {name:<21} " + " ".join(f"{cell:>22}" for cell in cells))


def _quantiles(values: Sequence[float]) -> str:
    tenths = statistics.quantiles(values, n=10)
    return f"{tenths[4]:.2f} ({tenths[0]:.2f} to {tenths[8]:.2f})"


def _new_path(client: httpx2.Client) -> str:
    """Where the questions of a new conversation are asked."""
    return f"/api/conversations/{client.post('/api/conversations', json={}).json()['id']}/messages"


def _timed(way: Asking, client: httpx2.Client, path: str) -> tuple[float, float]:
    """Milliseconds until the first text and until the end."""
    question = script(say("A short answer, in a few pieces."), finish(), done(), tag=new_id())
    moments: list[float] = []
    begun = time.monotonic()
    for event in way(client, path, question):
        if event == "end" or not moments:
            moments.append(1000 * (time.monotonic() - begun))
    first, end = moments
    return first, end


def _one(client: httpx2.Client, path: str, question: str) -> Iterator[str]:
    with client.stream("POST", path, json={"content": question}, headers=EVENTS) as response:
        names = _names(response)
        assert next(names) == "accepted"
        yield from names


def _two(client: httpx2.Client, path: str, question: str) -> Iterator[str]:
    answer = client.post(path, json={"content": question}).json()["assistant"]["id"]
    with client.stream("GET", f"/api/messages/{answer}/stream", headers=EVENTS) as response:
        yield from _names(response)


def _names(response: httpx2.Response) -> Iterator[str]:
    decoder = Decoder()
    for data in response.iter_raw():
        for event in decoder.feed(data):
            json.loads(event.data)
            yield event.event


def _cpu(pid: int) -> float:
    """Milliseconds of CPU of a process and its children, by the scheduler's own count."""
    tasks = [task for one in family(pid) for task in Path(f"/proc/{one}/task").glob("*/schedstat")]
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e6
