"""What several end-to-end tests need: workers, readers in the background, a sweep, load."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import scripted
from local.processes import ROOT
from local.programs import Environment, Worker
from scripted import Record, hold, script
from scripted.steps import Step
from shared.bus.livelog import LiveLog
from shared.errors import MESSAGE_ERRORS
from shared.jobs import Queue, make_app
from shared.settings import Settings
from shared.store.turns import Turns
from shared.sweep import Sweep, Swept
from tests.client import Client, Reading, new_id, proof
from tests.rig import PATIENCE, Rig

#: A hold that is never released: the answer is open until something ends it.
NEVER = "never"


def start_worker(rig: Rig, **env: str) -> Worker:
    """Start a worker; `.wait()` until it takes questions. The caller ends it."""
    env = {"OUTLIVE_TITLES": "off", **env}
    environment = Environment(rig.home, rig.env(**env))
    return Worker("worker", rig.words("worker", env), environment).start()


def sweep(rig: Rig, died: str | None = None) -> Swept:
    """Sweep once, as `outlive sweep --died BOOT` does."""
    livelog = LiveLog(rig.redis.url, 960)
    queue = Queue(make_app(Settings.model_validate({"REDIS_URL": rig.redis.url})))
    return Sweep(rig.db, livelog, queue, lease=15.0, turns=Turns(0, 120)).run(died=died)


@dataclass(frozen=True)
class Held:
    """An answer whose beginning is published, and which is held until `go_on`."""

    rig: Rig
    conversation: str
    id: str
    question: str
    name: str

    def go_on(self) -> None:
        """Let the provider send the rest."""
        self.rig.scripted.release(self.name)

    @property
    def text(self) -> str:
        """Its whole text."""
        return scripted.expected(self.question).text


@contextmanager
def holding(rig: Rig, client: Client, beginning: Step, *rest: Step) -> Iterator[Held]:
    """Ask for a held answer; wait until its beginning is published."""
    name, conversation = f"held {new_id()}", client.conversation()
    question = script(beginning, hold(name), *rest)
    held = Held(rig, conversation, client.ask(question, conversation), question, name)
    client.shown(held.id, len(scripted.expected(script(beginning)).text))
    try:
        yield held
    finally:
        held.go_on()


@contextmanager
def following(*readings: Reading, seconds: float = PATIENCE) -> Iterator[None]:
    """Have them read in the background; the end of the block waits until each has the end.

    Start no process inside: one that is forked beside threads may hang.
    """
    with ThreadPoolExecutor(len(readings)) as pool:
        ends = [pool.submit(reading.to_end, seconds) for reading in readings]
        yield
        for end in ends:
            end.result()


def verified_end(reading: Reading, message: dict[str, Any]) -> tuple[str, str | None]:
    """Check that a reader's text, proof and end agree with a fresh GET; status and error code."""
    end = reading.end
    assert end is not None
    assert reading.text == "".join(part["text"] for part in message["parts"])
    assert (message["length"], message["sha256"]) == proof(reading.text)
    assert {name: message[name] for name in end} == end
    assert message["ended_at"] is not None
    error = message["error"]
    assert (error is not None) == (message["status"] == "ERROR")
    if error is None:
        return message["status"], None
    assert error["code"] in MESSAGE_ERRORS
    assert error["message"]
    return message["status"], error["code"]


def dispatched_by_a_sweep(rig: Rig, message_id: str) -> bool:
    """Whether a sweep handed the question out, because its task did not come by the queue."""
    lines = (line for line in rig.logs().splitlines() if message_id in line)
    return any('"event": "sweep"' in line for line in lines)


def only_request(rig: Rig, question: str, *, ended: bool = False) -> Record:
    """The only request at the provider with this question, once it was made."""
    [record] = rig.scripted.wait_requests(1, contains=question, ended=ended)
    return record


class Load:
    """Clients that ask and read without a pause, in a process of their own."""

    def __init__(self, url: str, clients: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.load", url, str(clients)],
            cwd=ROOT,
            env={**os.environ},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "reading\n"
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.communicate()

    def leave(self) -> list[dict[str, Any]]:
        """Let every client finish its answer; what each answer was like."""
        output, _ = self._process.communicate("enough\n", timeout=60)
        answers: list[dict[str, Any]] = json.loads(output)
        return answers


class Stopwatch:
    """Measures seconds since it was made."""

    def __init__(self) -> None:
        self.begun = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds that have passed."""
        return time.monotonic() - self.begun
