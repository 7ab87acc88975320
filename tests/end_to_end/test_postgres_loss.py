"""Postgres dies, drops connections or holds a lock in the middle of answers."""

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import scripted
from local.postgres import Postgres
from local.server import StartError
from scripted import done, finish, hold, long, say, script, usage
from shared.store.database import run
from tests.client import Client, Reading
from tests.end_to_end.conftest import Fragile
from tests.rig import Rig, eventually, killing
from tests.stories import following, only_request, start_worker, verified_end

ANSWERS = 10
#: Seconds that a connection has at least: on a busy machine nothing would ever be saved without.
LIFE = 0.05
_tags = itertools.count()


def _questions(rate: float, characters: int = 900) -> list[str]:
    """Answers that take seconds, and are longer than one save."""
    return [
        script(
            long(characters, rate=rate, chunk=(1, 25), seed=n),
            finish(),
            usage(),
            done(),
            tag=f"postgres {next(_tags)}",
        )
        for n in range(ANSWERS)
    ]


@contextmanager
def _begun(client: Client, questions: list[str]) -> Iterator[list[Reading]]:
    """Readings under way of answers of which each has begun; left when each has ended."""
    readings = [client.read(client.ask(question)) for question in questions]
    with following(*readings, seconds=90):
        eventually(lambda: all(len(reading.text) > 40 for reading in readings))
        yield readings


def _truthful(client: Client, readings: list[Reading], questions: list[str]) -> list[str]:
    """The status of each; whatever it is, it is the truth."""
    statuses = []
    for reading, question in zip(readings, questions, strict=True):
        text = scripted.expected(question).text
        status, code = verified_end(reading, client.message(reading.message_id))
        if status == "DONE":
            assert reading.text == text
        else:
            assert (status, code in ("storage", "worker_lost")) == ("ERROR", True)
            assert text.startswith(reading.text)
        statuses.append(status)
    return statuses


def _start(postgres: Postgres) -> None:
    """Start it, again while it refuses because children of the killed one still run."""

    def ready() -> bool:
        try:
            postgres.start().wait()
        except StartError:
            return False
        return True

    eventually(ready)


@pytest.mark.failure(13)
@pytest.mark.parametrize("how", ["killed", "stopped"])
def test_ten_answers_survive_a_restart_of_postgres(fragile: Fragile, how: str) -> None:
    rig, client = fragile.rig, fragile.client
    questions = _questions(rate=250)
    with _begun(client, questions) as readings:
        # when
        if how == "killed":
            rig.postgres.kill()
        else:
            rig.postgres.stop()
        away = [len(reading.text) for reading in readings]
        eventually(lambda: _further(readings, away))  # they are shown while it is away
        _start(rig.postgres)

    # then
    assert _truthful(client, readings, questions) == ["DONE"] * ANSWERS
    assert _unfinished(rig) == 0


def _further(readings: list[Reading], before: list[int]) -> bool:
    return all(len(one.text) > n + 20 for one, n in zip(readings, before, strict=True))


def _unfinished(rig: Rig) -> int:
    open_ones = "SELECT count(*) FROM messages WHERE status IN ('SENDING', 'STREAMING')"
    left = "SELECT count(*) FROM pieces"
    return int(rig.rows(open_ones)[0][0]) + int(rig.rows(left)[0][0])


def test_an_answer_whose_provider_ended_while_postgres_was_away_ends_when_it_is_back(
    fragile: Fragile,
) -> None:
    rig, client = fragile.rig, fragile.client
    question = script(say("Ends"), hold("blind"), say(" unseen."), finish(), usage(), done())
    answer = client.ask(question)
    reading = client.read(answer)
    with following(reading, seconds=60):
        client.shown(answer, 4)
        rig.postgres.kill()
        rig.scripted.release("blind")
        [record] = rig.scripted.wait_requests(1, contains=question, ended=True)
        assert record.ended == "whole"
        assert reading.end is None  # no reader may have DONE before it is committed
        _start(rig.postgres)

    assert verified_end(reading, client.message(answer)) == ("DONE", None)
    assert reading.text == "Ends unseen."


@pytest.mark.failure(13)
def test_without_postgres_text_is_shown_for_a_lease_and_buffered_up_to_a_limit(
    fragile: Fragile,
) -> None:
    """And the model, which is not read meanwhile, is not blamed for being silent."""
    rig, client = fragile.rig, fragile.client
    questions = [
        script(long(200), hold("away"), rest, finish(), usage(), done(), tag=f"away {number}")
        for number, rest in enumerate([long(20_000, rate=4000), long(1500, rate=120)])
    ]
    fragile.worker.kill()
    worker = start_worker(
        rig,
        OUTLIVE_LEASE_SECONDS="2",
        OUTLIVE_SWEEP_SECONDS="60",
        OUTLIVE_STALL_SECONDS="5",
        PATCHED_CONSTANTS="worker.generation.UNSAVED_MAX=3000",
    )
    with killing(worker.wait()):
        readings = [client.read(client.ask(question)) for question in questions]
        with following(*readings, seconds=60):
            eventually(lambda: all(len(reading.text) == 200 for reading in readings))
            # when
            rig.postgres.stop()
            rig.scripted.release("away")
            eventually(lambda: all(len(reading.text) > 250 for reading in readings))
            eventually(lambda: _ahead(rig, questions[1]) > len(readings[1].text) + 700)
            shown = [len(reading.text) for reading in readings]
            _start(rig.postgres)

    # then
    assert shown[0] <= 200 + 3000 + 1000
    for question, reading in zip(questions, readings, strict=True):
        assert verified_end(reading, client.message(reading.message_id)) == ("DONE", None)
        assert reading.text == scripted.expected(question).text


def _ahead(rig: Rig, question: str) -> int:
    """How far the provider is."""
    return only_request(rig, question).characters


@pytest.mark.failure(14)
def test_terminated_connections_to_postgres_lose_no_text(fragile: Fragile) -> None:
    rig, client = fragile.rig, fragile.client
    questions = _questions(rate=400)
    cut = 0
    with _begun(client, questions) as readings:
        # when: every connection to Postgres is cut, for as long as the model speaks
        while any(record.ended == "running" for record in rig.scripted.requests("postgres")):
            rows = rig.rows(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
                " WHERE application_name = 'outlive' AND pid <> pg_backend_pid()"
            )
            cut += int(rows[0][0])
            time.sleep(LIFE)

    assert cut > ANSWERS
    assert _truthful(client, readings, questions) == ["DONE"] * ANSWERS
    assert _unfinished(rig) == 0


@pytest.mark.failure(15)
def test_a_locked_row_delays_only_its_own_message(fragile: Fragile) -> None:
    rig, client = fragile.rig, fragile.client
    questions = _questions(rate=600)
    with _begun(client, questions) as readings:
        locked, *others = (reading.message_id for reading in readings)

        # when: another transaction locks one row until all others have ended
        with rig.db.transaction() as connection:
            row = "SELECT saved_len FROM messages WHERE id = CAST(:id AS uuid) FOR UPDATE"
            before = run(connection, row, id=locked).scalar_one()
            for answer in others:
                assert client.ended(answer)["status"] == "DONE"
            eventually(lambda: len(readings[0].text) == 900)  # it is shown meanwhile, not saved
            assert run(connection, row, id=locked).scalar_one() == before
            assert client.message(locked)["status"] == "STREAMING"

    # then: it ends once the lock is released
    assert _truthful(client, readings, questions) == ["DONE"] * ANSWERS
