"""Messages that Redis lost: text, an end, the end of a dead worker's answer.

The tests write into Postgres as an owner does, without publishing.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import pytest

import scripted
from local.programs import Web, Worker
from scripted import done, finish, hold, long, script
from shared.body import Body
from shared.bus.livelog import LiveLog
from shared.jobs import Queue, make_app
from shared.lifecycle import Status
from shared.settings import Settings
from shared.store import owning
from shared.store.ending import Ending
from shared.store.turns import Turns
from shared.sweep import Sweep
from tests.client import Client, Reading, new_id, proof
from tests.end_to_end.conftest import Fragile
from tests.rig import Rig, eventually, killing
from tests.store_fixtures import save_of
from tests.stories import NEVER, following, start_worker, sweep, verified_end

ME = "story:a-worker-without-redis"


@contextmanager
def _readers(client: Client, answer: str, *urls: str) -> Iterator[list[Reading]]:
    """A reader at every master."""
    readings = [Reading(answer, [url]) for url in (client.url, *urls)]
    with following(*readings):
        eventually(lambda: all(reading.connections for reading in readings))
        yield readings


@pytest.mark.failure(9)
@pytest.mark.parametrize("how", ["ended by its owner", "reaped"])
def test_readers_learn_what_postgres_has_though_redis_never_reported_it(
    rig: Rig, no_workers: None, client: Client, other_web: Web, how: str, nowhere: str
) -> None:
    answer = client.ask(script(hold(NEVER), tag="not published"))
    claim = owning.claim(rig.db, UUID(answer), ME, 60, 900)
    assert claim is not None
    body = Body()
    body.write("text", "Not published.")
    with _readers(client, answer, other_web.url) as readings:
        # text
        assert owning.save(rig.db, ME, 60, [save_of(claim, body)])
        eventually(lambda: all(reading.text == "Not published." for reading in readings))

        # and the end
        body.write("text", " Nor is this.")
        if how == "reaped":
            past = "lease_until = clock_timestamp() - interval '1 s'"
            with rig.db.transaction() as connection:
                connection.exec_driver_sql(f"UPDATE messages SET {past} WHERE id = '{answer}'")
            # a sweep that Postgres answers late ends nothing; another one follows
            eventually(lambda: _a_sweep_without_redis(rig, nowhere).run().ended >= 1)
        else:
            last = save_of(claim, body, len("Not published."))
            assert owning.finish(rig.db, ME, last, Ending(Status.DONE, "stop"))
    for reading in readings:
        expected = ("ERROR", "worker_lost") if how == "reaped" else ("DONE", None)
        assert verified_end(reading, client.message(answer)) == expected
        assert reading.connections == 1


def _a_sweep_without_redis(rig: Rig, nowhere: str) -> Sweep:
    away = f"redis://{nowhere}/0"
    queue = Queue(make_app(Settings.model_validate({"REDIS_URL": away})))
    return Sweep(rig.db, LiveLog(away, 60), queue, lease=0.0, turns=Turns(0, 60))


@pytest.mark.failure(12)
def test_losing_redis_and_the_worker_costs_200_characters_and_the_proof_shows_it(
    fragile: Fragile,
) -> None:
    rig, client = fragile.rig, fragile.client
    fragile.worker.kill()
    sweep(rig, died=fragile.worker.boot)
    # The save after a second never comes here, so that the loss is as large as it can be.
    worker = start_worker(
        rig,
        OUTLIVE_SAVE_SECONDS="100",
        OUTLIVE_HEARTBEAT_SECONDS="100",
        OUTLIVE_LEASE_SECONDS="300",
    )
    # (And another answer's save carries no message that is before half of its deadline.)
    lengths = [1, 50, 99, 201, 350, 777]
    with killing(worker.wait()):
        questions = [script(long(n, chunk=(1, 40)), hold(NEVER), tag=f"both {n}") for n in lengths]
        readings = [client.read(client.ask(question)) for question in questions]
        with following(*readings):
            eventually(lambda: [len(reading.text) for reading in readings] == lengths)
            eventually(lambda: max(_unsaved(rig, reading) for reading in readings) < 200)

            # when: both die, and Redis has kept nothing
            worker.kill()
            rig.redis.kill()
            for file in rig.redis.directory.glob("appendonlydir/*"):
                file.unlink()
            rig.redis.start().wait()
            sweep(rig, died=worker.boot)

    lost = []
    for question, reading in zip(questions, readings, strict=True):
        message = client.message(reading.message_id)
        assert (message["status"], message["error"]["code"]) == ("ERROR", "worker_lost")
        assert reading.text == scripted.expected(question).text
        assert reading.text.startswith(message["text"])
        lost.append(len(reading.text) - message["length"])
        assert reading.proven == (lost[-1] == 0)  # a reader that had more can see it
        assert client.read(reading.message_id).to_end().proven
    assert max(lost) < 200
    assert lost[:3] == [1, 50, 99]


def _unsaved(rig: Rig, reading: Reading) -> int:
    row = rig.rows("SELECT saved_len FROM messages WHERE id = :id", id=reading.message_id)
    return len(reading.text) - int(row[0].saved_len)


@pytest.mark.failure(39)
def test_a_redis_that_goes_back_while_its_worker_dies_joins_no_two_answers(
    fragile: Fragile, tmp_path: Path
) -> None:
    """Redis has no text, or less than was shown; nothing is saved yet."""
    rig, client = fragile.rig, fragile.client
    fragile.worker.kill()
    sweep(rig, died=fragile.worker.boot)
    unsaved = {
        "OUTLIVE_SAVE_CHARS": "1000",
        "OUTLIVE_SAVE_SECONDS": "100",
        "OUTLIVE_HEARTBEAT_SECONDS": "100",
        "OUTLIVE_LEASE_SECONDS": "300",
    }
    tag = new_id()
    known = [0, 0, 40, 40]
    questions = [
        script(long(n, seed=1), hold(f"shown {tag}"), long(120 - n, seed=2), hold(f"all {tag}"),
               long(50, seed=3), finish(), done(), tag=f"{tag} {number}", varies=True)
        for number, n in enumerate(known)
    ]  # fmt: skip
    worker = start_worker(rig, **unsaved)
    with killing(worker.wait()):
        readings = [client.read(client.ask(question)) for question in questions]
        with following(*readings):
            # given: Redis as it was before most of it was shown
            rig.scripted.wait_held(f"shown {tag}", len(questions))
            eventually(lambda: [len(reading.text) for reading in readings] == known)
            rig.redis.snapshot(tmp_path / "snapshot")
            rig.scripted.release(f"shown {tag}")
            eventually(lambda: all(len(reading.text) == 120 for reading in readings))

            # when
            worker.kill()
            rig.redis.kill()
            rig.redis.rewind(tmp_path / "snapshot")
            rig.redis.start().wait()
            rig.scripted.release(f"all {tag}")
            fragile.worker.start().wait()
            sweep(rig, died=worker.boot)

    # then: a reader that has seen more, or something else, can see it
    for question, reading in zip(questions, readings, strict=True):
        message = client.message(reading.message_id)
        whole = [scripted.expected(question, call).text for call in (1, 2)]
        assert any(one.startswith(message["text"]) for one in whole)
        assert message["status"] != "DONE" or message["text"] in whole
        assert (message["length"], message["sha256"]) == proof(message["text"])
        assert reading.proven == (reading.text == message["text"])
        again = client.read(reading.message_id).to_end()
        assert (again.text, again.proven) == (message["text"], True)
        # and no reader was shown another answer after the beginning of the first one
        assert any(one.startswith(reading.text) for one in whole)


@pytest.mark.failure(6)
def test_a_task_that_is_delivered_many_times_is_written_once(
    rig: Rig, client: Client, worker: Worker
) -> None:
    queue = Queue(make_app(Settings.model_validate({"REDIS_URL": rig.redis.url})))
    questions = [
        script(long(60, rate=60, seed=n), finish(), done(), tag=f"delivered {n}") for n in range(5)
    ]
    answers = [client.ask(question) for question in questions]
    readings = [client.read(answer) for answer in answers]
    with following(*readings):
        for answer in answers * 3:
            assert queue.enqueue(UUID(answer))
    for question, reading in zip(questions, readings, strict=True):
        assert verified_end(reading, client.message(reading.message_id)) == ("DONE", None)
        assert reading.text == scripted.expected(question).text
        assert len(rig.scripted.requests(contains=question)) == 1


@pytest.mark.failure(31)
def test_a_million_characters_are_saved_with_little_wal(
    rig: Rig, client: Client, worker: Worker
) -> None:
    question = script(long(1_000_000, chunk=(20, 400)), finish(), done())
    before = _log_position(rig)
    reading = client.read(client.ask(question)).to_end(120)

    assert verified_end(reading, client.message(reading.message_id)) == ("DONE", None)
    assert reading.text == scripted.expected(question).text
    assert _log_position(rig) - before < 5 * len(reading.text)
    rows = rig.rows("SELECT 1 FROM pieces WHERE message_id = :id", id=reading.message_id)
    assert rows == []


def _log_position(rig: Rig) -> int:
    """Bytes of Postgres' write-ahead log so far."""
    return int(rig.rows("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')")[0][0])
