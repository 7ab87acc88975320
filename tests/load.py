"""Clients that ask and read without a pause: `python -m tests.load URL CLIENTS`.

A process of its own, so that a test can start other processes meanwhile. It prints "reading" once
the first answer has begun, asks on until it reads a line, and then prints a JSON list: what each
answer was like for its reader.
"""

import json
import random
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

import httpx2

import scripted
from scripted import done, finish, long, script, usage
from tests.client import Client, Disconnected, Reading, new_id

#: Milliseconds after which a browser comes back by default.
RETRY = 3000


@dataclass
class Answer:
    """How one answer went, as its reader saw it."""

    status: str = ""
    code: str | None = None
    exact: bool = False
    #: seconds from the question to the first text
    waited: float = 0.0
    #: requests for the stream, and the longest time without one
    connections: int = 0
    away: float = 0.0
    #: how often the question had to be sent, and the HTTP statuses that came
    sent: int = 0
    refusals: tuple[int, ...] = ()


def main(url: str, clients: int) -> None:
    """Ask until a line is read."""
    begun, enough = threading.Event(), threading.Event()
    with ThreadPoolExecutor(clients) as pool:
        load = [pool.submit(_client, url, begun, enough) for _ in range(clients)]
        begun.wait()
        print("reading", flush=True)
        sys.stdin.readline()
        enough.set()
    print(json.dumps([asdict(answer) for client in load for answer in client.result()]))


def _client(url: str, begun: threading.Event, enough: threading.Event) -> list[Answer]:
    answers = []
    dice = random.Random()
    with Client(url) as client:
        place = client.conversation()
        while not enough.is_set():
            question = script(
                long(dice.randrange(50, 600), rate=300, chunk=(1, 20), seed=dice.randrange(10**6)),
                finish(),
                usage(),
                done(),
                tag=new_id(),
            )
            answers.append(Answer())
            message_id = _ask(client, question, place, answers[-1])
            begun.set()
            answers[-1].waited = -time.monotonic()
            _read(client.read(message_id), scripted.expected(question).text, answers[-1])
    return answers


def _ask(client: Client, question: str, place: str, answer: Answer) -> str:
    """Ask with one key until there is a response, so that nothing is asked twice."""
    key = new_id()
    while True:
        answer.sent += 1
        try:
            asked = client.post_question(question, place, key, parent_id=None)
        except httpx2.TransportError:
            continue
        if asked.status_code == 202:
            return str(asked.json()["assistant"]["id"])
        answer.refusals += (asked.status_code,)


def _read(reading: Reading, text: str, answer: Answer) -> None:
    """Read as EventSource does: wait as long as the server asks, then go on after the last id."""
    retry, cut_at = RETRY, time.monotonic()
    while reading.end is None:
        try:
            with reading.open() as connection:
                if reading.connections > 1:
                    answer.away = max(answer.away, time.monotonic() - cut_at)
                for event in connection.events():
                    reading.take(event)
                    if answer.waited < 0:
                        answer.waited += time.monotonic()
                retry = connection.decoder.retry or retry
        except (Disconnected, OSError):
            pass
        cut_at = time.monotonic()
        if reading.end is None:
            time.sleep(retry / 1000)  # as a browser does; it is not a wait for an event
    answer.connections = reading.connections
    answer.status = reading.end["status"]
    answer.code = (reading.end["error"] or {}).get("code")
    answer.exact = reading.proven and reading.text == text


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
