"""A worker that cannot reach Postgres while all other processes can.

Packets are dropped without an error, which is the worst way for a network to fail.
"""

import pytest

import scripted
from local.programs import Web
from scripted import done, finish, hold, long, say, script, usage
from tests.client import Client
from tests.rig import Rig, eventually, killing
from tests.stories import NEVER, following, only_request, start_worker, verified_end
from tests.tcp_proxy import TcpProxy

QUICK = {
    "OUTLIVE_LEASE_SECONDS": "2",
    "OUTLIVE_HEARTBEAT_SECONDS": "0.5",
    "OUTLIVE_SWEEP_SECONDS": "0.5",
}
#: Shorter limits for a response of Postgres, and for an outage of it.
IMPATIENT = "shared.store.engine.ANSWER_SECONDS=2 worker.writer.STORAGE_PATIENCE=5"
WELL = (finish(), usage(), done())


@pytest.mark.failure(24)
def test_a_worker_cut_off_from_postgres_gives_up_and_its_late_writes_are_refused(
    rig: Rig, no_workers: None, client: Client, other_web: Web
) -> None:
    questions = [
        script(long(100), long(3000, rate=150, seed=n), hold(NEVER), tag=f"cut off {n}")
        for n in range(3)
    ]
    with TcpProxy(rig.postgres.url) as proxy:
        cut_off = start_worker(
            rig, DATABASE_URL=proxy.url, PATCHED_CONSTANTS=IMPATIENT, **QUICK
        ).wait()
        answers = [client.ask(question) for question in questions]
        for answer in answers:
            client.shown(answer, 150)
        other = start_worker(rig, **QUICK)
        readings = [client.read(answer, other_web.url) for answer in answers]
        with killing(cut_off, other):
            other.wait()
            with proxy.blocked():
                # when: its leases lapse
                with following(*readings):
                    pass
                ended = [client.message(answer) for answer in answers]
                # then: it closes the provider's connection by itself
                for question in questions:
                    assert only_request(rig, question, ended=True).ended == "client_closed"
                logs = [rig.live_log(answer) for answer in answers]
                lost = rig.logs().count('"status": "LOST"')
            # and: once the network is back, what it had sent arrives and is refused
            eventually(lambda: rig.logs().count('"status": "LOST"') == lost + len(questions))

            for question, reading, message in zip(questions, readings, ended, strict=True):
                assert verified_end(reading, message) == ("ERROR", "worker_lost")
                assert scripted.expected(question).text.startswith(reading.text)
                assert client.message(reading.message_id) == message
            assert [rig.live_log(answer) for answer in answers] == logs

            # and: it takes new questions as any other worker does
            other.kill()
            again = client.ask(script(say("Good as new."), *WELL))
            assert client.ended(again)["text"] == "Good as new."
