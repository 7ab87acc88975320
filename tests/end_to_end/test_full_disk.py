"""Postgres' disk is full, or Postgres is read-only: what it has can still be read.

Its data is on a small file system of its own, which is quickly filled. Its WAL is elsewhere: if the
WAL cannot grow Postgres crashes, which is another failure.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

import scripted
from local import data_dirs
from local.postgres import Postgres
from local.standby import read_only
from scripted import done, finish, generated, hold, long, say, script, usage
from tests.client import Client
from tests.end_to_end.conftest import Fragile
from tests.rig import Rig, eventually, killing
from tests.stories import NEVER, following, holding, only_request, start_worker, verified_end

WELL = (finish(), usage(), done())
#: Far more than Postgres' files have room for without growing.
HUGE = 240_000


@contextmanager
def _small_disk(place: Path) -> Iterator[Path]:
    """A file system of 256 MB at `place`. Without the right to mount one there is no such story."""
    place.mkdir(parents=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256m,mode=711", "outlive", place],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        reason = f"no file system can be mounted here: {done.stderr.strip()}"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", place], check=True)


@pytest.fixture
def disk() -> Iterator[Path]:
    """Where the rig's Postgres lives."""
    with data_dirs.temporary() as home, _small_disk(home / "rig" / "postgres") as disk:
        yield disk


@contextmanager
def _full(disk: Path) -> Iterator[None]:
    """Fill the disk within the block."""
    filler = disk / "filler"
    try:
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            while file.write(bytes(1 << 16)):
                pass
        yield
    finally:
        filler.unlink()


def _move_wal(postgres: Postgres, place: Path) -> None:
    postgres.stop()
    wal = postgres.data / "pg_wal"
    subprocess.run(["cp", "--archive", wal, place], check=True)
    shutil.rmtree(wal)
    wal.symlink_to(place)
    postgres.start().wait()


@pytest.mark.failure(16)
def test_with_a_full_disk_questions_are_refused_and_no_answer_is_falsely_done(disk: Path) -> None:
    with ExitStack() as stack:
        rig = stack.enter_context(Rig(disk.parent))
        _move_wal(rig.postgres, disk.parent / "wal")
        client = stack.enter_context(Client(rig.web(WEB_CONCURRENCY="1").url))
        # given: an answer of a worker that waits two seconds for the disk, and one of a patient one
        impatient = start_worker(rig, PATCHED_CONSTANTS="worker.writer.STORAGE_PATIENCE=2").wait()
        stack.enter_context(killing(impatient))
        given_up, kept = (
            script(long(300), hold("space"), long(HUGE, seed=1), *rest, tag=f"full {rest}")
            for rest in ((hold(NEVER),), WELL)
        )
        readings = [client.read(client.ask(given_up))]
        client.shown(readings[0].message_id, 300)
        impatient.signal(signal.SIGTERM)  # it takes nothing new
        patient = start_worker(rig).wait()
        stack.enter_context(killing(patient))
        readings.append(client.read(client.ask(kept)))
        client.shown(readings[1].message_id, 300)
        conversation = client.conversation()

        with following(*readings, seconds=60):
            with _full(disk):
                # when
                refused = client.post_question(generated(HUGE), conversation, "the same key")
                rig.scripted.release("space")

                # then: no question is accepted, and no answer ends before its end is written
                assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
                assert refused.json()["code"] == "storage_unavailable"
                assert (
                    client.http.get(f"/api/conversations/{conversation}").json()["messages"] == []
                )
                assert only_request(rig, kept, ended=True).ended == "whole"
                assert only_request(rig, given_up, ended=True).ended == "client_closed"
                statuses = [client.message(one.message_id)["status"] for one in readings]
                assert statuses[0] in ("STREAMING", "ERROR")  # which may fit
                assert statuses[1] == "STREAMING"
                assert readings[1].end is None

            # and: once there is space everything goes on, except what was given up
            again = client.read(
                client.ask(script(say("There is room."), *WELL), conversation, key="the same key")
            )

        ends = [
            verified_end(one, client.message(one.message_id)) for one in (*readings, again.to_end())
        ]
        assert ends == [("ERROR", "storage"), ("DONE", None), ("DONE", None)]
        texts = [scripted.expected(question).text for question in (given_up, kept)]
        assert texts[0].startswith(readings[0].text)
        assert len(readings[0].text) >= 300
        assert (readings[1].text, again.text) == (texts[1], "There is room.")


@pytest.mark.failure(17)
def test_with_a_read_only_postgres_streams_and_messages_are_still_served(fragile: Fragile) -> None:
    rig, client = fragile.rig, fragile.client
    ended = client.read(client.ask(script(long(300), *WELL))).to_end()
    conversation = client.conversation()
    with holding(rig, client, long(300), long(400, rate=400, seed=1), *WELL) as held:
        reading = client.read(held.id)
        with following(reading), _read_only(rig):
            # when
            held.go_on()
            refused = client.post_question("Now?", conversation, "the same key")

            # then
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
            assert refused.json()["code"] == "storage_unavailable"
            late = client.read(ended.message_id).to_end()
            assert (late.text, late.end) == (ended.text, ended.end)
            eventually(lambda: reading.text == held.text)  # shown, but not yet written
            assert client.message(held.id)["status"] == "STREAMING"
            assert client.message(held.id)["text"] == held.text

        assert verified_end(reading, client.message(held.id)) == ("DONE", None)
    assert client.post_question("Now?", conversation, "the same key").status_code == 202


@contextmanager
def _read_only(rig: Rig) -> Iterator[None]:
    """As after a failover to a standby."""
    read_only(rig.postgres.url, True)
    try:
        yield
    finally:
        read_only(rig.postgres.url, False)
