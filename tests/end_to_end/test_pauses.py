"""Processes that are paused for longer than every time limit, and go on.

As with a paused container or virtual machine nothing has failed, though by the clock no process has
answered for a long time.
"""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import scripted
from local import data_dirs
from local.processes import children
from local.programs import Web, Worker
from local.server import Server
from scripted import done, finish, hold, long, script, usage
from tests.client import Client, Reading, new_id
from tests.rig import Rig, eventually, killing
from tests.stories import following, only_request, start_worker, verified_end

#: Seconds of every time limit, and of a pause that is longer.
PATIENCE = 3
PAUSE = 4.0
IMPATIENT = {
    "OUTLIVE_LEASE_SECONDS": "2",
    "OUTLIVE_HEARTBEAT_SECONDS": "0.5",
    "OUTLIVE_SWEEP_SECONDS": "0.5",
    "OUTLIVE_FIRST_TOKEN_SECONDS": f"{PATIENCE}",
    "OUTLIVE_STALL_SECONDS": f"{PATIENCE}",
    "PATCHED_CONSTANTS": f"worker.writer.STORAGE_PATIENCE={PATIENCE}",
}
WELL = (finish(), usage(), done())


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    """A rig of its own, since everything in it is paused."""
    with data_dirs.temporary() as home, Rig(home / "paused") as rig:
        yield rig


@pytest.fixture(scope="module")
def web(rig: Rig) -> Web:
    """A web master with the same short limits."""
    lease = IMPATIENT["OUTLIVE_LEASE_SECONDS"]
    arguments = f"--timeout={PATIENCE}"
    return rig.web(OUTLIVE_LEASE_SECONDS=lease, GUNICORN_CMD_ARGS=arguments)


@pytest.fixture(scope="module")
def client(web: Web) -> Iterator[Client]:
    """A client of it."""
    with Client(web.url) as client:
        yield client


@pytest.fixture(scope="module")
def two_workers(rig: Rig) -> Iterator[list[Worker]]:
    """See `workers`."""
    two = [start_worker(rig, **IMPATIENT) for _ in range(2)]
    with killing(*two):
        yield two


@pytest.fixture
def workers(two_workers: list[Worker]) -> list[Worker]:
    """Two workers with short limits, which sweep for one another."""
    return [worker.wait() for worker in two_workers]


@pytest.fixture
def no_workers(two_workers: list[Worker]) -> None:
    """No workers but those that the test starts."""
    for worker in two_workers:
        worker.kill()


@contextmanager
def standing_still(*servers: Server) -> Iterator[None]:
    """Stop all of their processes within the block."""
    pids = [pid for server in servers for pid in (server.pid, *children(server.pid))]

    def all_of_them(number: signal.Signals) -> None:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    all_of_them(signal.SIGSTOP)
    try:
        yield
    finally:
        all_of_them(signal.SIGCONT)


def _pause(*servers: Server, times: int = 1) -> None:
    for number in range(times):
        with standing_still(*servers):
            time.sleep(PAUSE)
        if number + 1 < times:
            time.sleep(PATIENCE / 3)  # as little as a process gets between two pauses


def _questions(tag: str) -> list[str]:
    """Questions with no text yet, a silent model, one that goes on, one that ends meanwhile."""
    return [
        script(hold(tag), long(200, seed=1), *WELL, tag=f"{tag} 1"),
        script(long(200, seed=2), hold(tag), long(200, seed=3), *WELL, tag=f"{tag} 2"),
        script(long(300, seed=4), long(1200, seed=5, rate=300), *WELL, tag=f"{tag} 3"),
        script(long(300, seed=6), long(500, seed=7, rate=300), *WELL, tag=f"{tag} 4"),
    ]


@contextmanager
def _begun(rig: Rig, client: Client, questions: list[str], tag: str) -> Iterator[list[Reading]]:
    readings = [client.read(client.ask(question)) for question in questions]
    rig.scripted.wait_held(tag, 2)
    for number in (1, 2, 3):
        client.shown(readings[number].message_id, 200)
    yield readings


def _all_well(rig: Rig, client: Client, readings: list[Reading], questions: list[str]) -> None:
    for question, reading in zip(questions, readings, strict=True):
        assert verified_end(reading, client.message(reading.message_id)) == ("DONE", None)
        assert reading.text == scripted.expected(question).text
        only_request(rig, question)


@pytest.mark.failure(42)
@pytest.mark.parametrize("who", ["everything", "worker and Postgres", "worker and Postgres, twice"])
def test_answers_go_on_after_a_pause_longer_than_every_time_limit(
    rig: Rig, web: Web, client: Client, workers: list[Worker], who: str
) -> None:
    tag = new_id()
    questions = _questions(tag)
    with _begun(rig, client, questions, tag) as readings, following(*readings):
        # when
        if who == "everything":
            _pause(*workers, web, rig.postgres, rig.redis)
        else:
            _pause(*workers, rig.postgres, times=2 if "twice" in who else 1)
        rig.scripted.release(tag)

    _all_well(rig, client, readings, questions)


@pytest.mark.failure(42)
def test_a_worker_that_was_paused_alone_keeps_answers_whose_lease_holds(
    rig: Rig, no_workers: None, client: Client
) -> None:
    tag = new_id()
    questions = _questions(tag)
    settings = {**IMPATIENT, "OUTLIVE_LEASE_SECONDS": "30"}
    with killing(worker := start_worker(rig, **settings).wait()):
        with _begun(rig, client, questions, tag) as readings:
            _pause(worker)
            rig.scripted.release(tag)
        with following(*readings):
            pass

        _all_well(rig, client, readings, questions)


@pytest.mark.failure(42)
def test_the_drain_limit_does_not_count_time_in_which_the_worker_was_paused(
    rig: Rig, no_workers: None, client: Client
) -> None:
    tag = new_id()
    question = script(long(200), hold(tag), long(200, seed=1), *WELL, tag=tag)
    settings = {**IMPATIENT, "OUTLIVE_LEASE_SECONDS": "15", "OUTLIVE_STALL_SECONDS": "30"}
    with killing(
        worker := start_worker(rig, **settings, OUTLIVE_DRAIN_SECONDS=f"{PATIENCE}").wait()
    ):
        with following(reading := client.read(client.ask(question))):
            client.shown(reading.message_id, 200)
            worker.signal(signal.SIGTERM)
            _takes_nothing_new(rig, worker)
            _pause(worker)
            rig.scripted.release(tag)

        _all_well(rig, client, [reading], [question])


def _takes_nothing_new(rig: Rig, worker: Worker) -> None:
    log = Path(rig.home / "log" / "worker.log")
    eventually(lambda: "Warm shutdown" in log.read_text())


@pytest.mark.failure(42)
def test_readers_of_a_paused_web_process_keep_their_connections(
    rig: Rig, no_workers: None, web: Web, client: Client
) -> None:
    """By its master's clock its processes have not answered for too long."""
    tag = new_id()
    question = script(long(200), hold(tag), long(200, seed=1), *WELL, tag=tag)
    settings = {**IMPATIENT, "OUTLIVE_STALL_SECONDS": "30"}
    with killing(start_worker(rig, **settings).wait()):
        readings = [client.read(client.ask(question)) for _ in range(4)]
        with following(*readings):
            eventually(lambda: all(len(one.text) == 200 for one in readings))
            _pause(web)
            rig.scripted.release(tag)

        for reading in readings:
            assert verified_end(reading, client.message(reading.message_id)) == ("DONE", None)
            assert reading.text == scripted.expected(question).text
            assert reading.connections == 1
