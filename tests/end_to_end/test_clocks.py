"""Every process has another time of day, which changes nothing: only Postgres' clock counts."""

from contextlib import ExitStack
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime

import pytest

import scripted
from scripted import done, finish, hold, long, script, usage
from tests.client import Client
from tests.rig import Rig, eventually, killing
from tests.stories import Stopwatch, following, start_worker, verified_end

HOUR = 3600
QUICK = {
    "OUTLIVE_LEASE_SECONDS": "3",
    "OUTLIVE_HEARTBEAT_SECONDS": "0.5",
    "OUTLIVE_SWEEP_SECONDS": "0.5",
}
#: Answers at least.
ANSWERS = 6


@pytest.mark.failure(25)
def test_process_clocks_that_are_an_hour_wrong_change_nothing(rig: Rig, no_workers: None) -> None:
    with ExitStack() as stack:
        # given: a fast and a slow worker and answers of both, a fast and a slow web and readers
        webs = [rig.web(PATCHED_CLOCK=str(by), WEB_CONCURRENCY="1") for by in (HOUR, -HOUR)]
        fast, slow = (start_worker(rig, PATCHED_CLOCK=str(by), **QUICK) for by in (HOUR, -HOUR))
        stack.enter_context(killing(*webs, fast, slow))
        client, other = (stack.enter_context(Client(web.url)) for web in webs)
        fast.wait()
        slow.wait()
        assert _clock(client) - _clock(other) > timedelta(seconds=1.9 * HOUR)  # as intended
        question = script(long(50), hold("an hour"), long(300, seed=1), finish(), usage(), done())
        owners: dict[str, str] = {}
        while len(owners) < ANSWERS or len(set(owners.values())) < 2:
            answer = client.ask(question)
            client.shown(answer, 50)
            owners[answer] = _boot(rig, answer)
        readings = [other.read(answer, client.url) for answer in owners]
        stopped, *others = owners

        with following(*readings):
            # then: no answer changes its owner while its lease is renewed
            eventually(lambda: _renewed(rig) >= len(owners))
            assert {answer: _boot(rig, answer) for answer in owners} == owners

            # and: Stop, a lost worker and the end are what they are everywhere
            other.stop(stopped)
            other.ended(stopped)
            fast.kill()
            watch = Stopwatch()
            lost = [answer for answer in others if owners[answer] == fast.boot]
            for answer in lost:
                other.ended(answer)
            assert watch.seconds > 1
            rig.scripted.release("an hour")

        ends = {stopped: ("CANCELLED", None)} | dict.fromkeys(lost, ("ERROR", "worker_lost"))
        for reading in readings:
            message = client.message(reading.message_id)
            assert verified_end(reading, message) == ends.get(reading.message_id, ("DONE", None))
            whole = scripted.expected(question).text
            assert reading.text == (whole[:50] if reading.message_id in ends else whole)


def _clock(client: Client) -> datetime:
    return parsedate_to_datetime(client.http.get("/healthz").headers["date"])


def _boot(rig: Rig, answer: str) -> str:
    owner = rig.rows("SELECT owner FROM messages WHERE id = CAST(:id AS uuid)", id=answer)
    return str(owner[0][0]).partition(":")[2]


def _renewed(rig: Rig) -> int:
    """Answers that are held for longer than a lease."""
    held = "status = 'STREAMING' AND clock_timestamp() > started_at + interval '3.5 s'"
    return int(rig.rows(f"SELECT count(*) FROM messages WHERE {held}")[0][0])
