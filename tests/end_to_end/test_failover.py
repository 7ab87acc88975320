"""Postgres fails over to a real standby: with the last of its WAL lost, or with nothing lost.

What must hold whatever was lost: text of two claims is never in one body or under one sha256; a
reader has exactly the message, or the end's proof says that it has not and reading again gives it;
no answer stays open; writes work again.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest

import scripted
from local import data_dirs
from local.programs import Worker
from local.standby import Replicated, ask
from scripted import done, finish, hold, long, script, usage
from shared.jobs import Queue, make_app
from shared.settings import Settings
from tests.client import OPEN, Client, Reading, new_id, proof
from tests.replicated import ReplicatedRig
from tests.rig import eventually, killing
from tests.stories import following, only_request, start_worker, sweep, verified_end

#: The same in web and workers, so that leases are what they are everywhere.
QUICK = {
    "OUTLIVE_LEASE_SECONDS": "3",
    "OUTLIVE_HEARTBEAT_SECONDS": "0.5",
    "OUTLIVE_SWEEP_SECONDS": "0.5",
}
WELL = (finish(), usage(), done())
#: Claims of a message that a test may cause.
CLAIMS = 3


@dataclass(frozen=True)
class Service:
    """Web on a Postgres that can fail over. Each test starts its own workers."""

    rig: ReplicatedRig
    client: Client

    @property
    def cluster(self) -> Replicated:
        """Postgres."""
        return self.rig.cluster

    def saved(self, answer: str, url: str = "") -> int:
        """How much of an answer the primary has, or the server at `url`."""
        sql = "SELECT saved_len FROM messages WHERE id = CAST(%s AS uuid)"
        [[length]] = ask(url or self.cluster.primary.url, sql, answer)
        return int(length)

    def deliver(self, answer: str) -> None:
        """Dispatch the question now; the sweep would do so some seconds later."""
        at = Settings.model_validate({"REDIS_URL": self.rig.redis.url})
        assert Queue(make_app(at)).enqueue(UUID(answer))

    def start_worker(self) -> Worker:
        """A worker that takes work."""
        return start_worker(self.rig, **QUICK).wait()


@pytest.fixture(scope="module")
def only_service() -> Iterator[Service]:
    """See `service`."""
    with data_dirs.temporary() as home, ReplicatedRig(home / "replicated") as rig:
        web = rig.web(**QUICK)
        with Client(web.url) as client:
            yield Service(rig, client)


@pytest.fixture
def service(only_service: Service) -> Iterator[Service]:
    """A service on which writes work, whatever the last test left."""
    eventually(lambda: only_service.client.http.get("/readyz").status_code == 200)
    yield only_service
    only_service.cluster.end_demoted()


def _truth(client: Client, reading: Reading, question: str) -> dict[str, Any]:
    """The message; its reader has every character, or knows that it has not."""
    message = client.ended(reading.message_id)
    text = "".join(part["text"] for part in message["parts"])
    whole = [scripted.expected(question, call).text for call in range(1, CLAIMS + 1)]
    assert any(one.startswith(text) for one in whole), "text of two claims in one body"
    assert message["status"] != "DONE" or text in whole
    assert (message["length"], message["sha256"]) == proof(text)
    again = client.read(reading.message_id).to_end()
    assert (again.text, again.proven) == (text, True)
    if reading.text != text:
        assert not reading.proven
    return message


# --- the last WAL is lost -----------------------------------------------------------------


@pytest.mark.failure(40)
@pytest.mark.parametrize("second", ["ends well", "dies"])
@pytest.mark.parametrize("first", ["dies", "lives"])
def test_text_of_a_claim_lost_by_failover_is_never_joined_to_the_next_claims(
    service: Service, first: str, second: str
) -> None:
    """Attack 3. Redis still has what the first claim wrote, and its attempt had the same number."""
    rig, client, cluster = service.rig, service.client, service.cluster
    name = f"lost claim {new_id()}"
    beginning = long(675, seed=1, rate=500)
    question = script(beginning, hold(name), long(500, seed=2), *WELL, tag=name, varies=True)
    answer = client.ask(question)
    reading = client.read(answer)
    cluster.follow()
    cluster.hold()
    # given: a claim that the standby does not have, and a reader of what it wrote
    one = service.start_worker()
    with killing(one):
        eventually(lambda: client.message(answer)["position"] == 675)
        other = start_worker(rig, **QUICK)  # on its way: it finds nothing to do before the failover
        with killing(other), following(reading):
            eventually(lambda: len(reading.text) == 675)
            if first == "dies":
                one.kill()

            # when
            cluster.fail_over()
            other.wait()
            service.deliver(answer)
            rig.scripted.wait_requests(2, contains=name)
            if second == "dies":
                eventually(lambda: service.saved(answer) > 0)
                for worker in (one, other):
                    worker.kill()
                    sweep(rig, died=worker.boot)
            else:
                rig.scripted.release(name)

    # then
    message = _truth(client, reading, question)
    assert message["status"] == ("DONE" if second == "ends well" else "ERROR")


@pytest.mark.failure(40)
def test_saves_lost_by_failover_are_written_again_by_their_worker(service: Service) -> None:
    """Attack 4. The worker lives and has the text, so no reader misses a character."""
    rig, client, cluster = service.rig, service.client, service.cluster
    tag = new_id()
    questions = [
        script(long(260, seed=n), hold(f"lose {tag}"), long(1185, seed=n + 10),
               hold(f"go on {tag}"), long(400, seed=n + 20), *WELL, tag=tag)
        for n in range(4)
    ]  # fmt: skip
    with killing(service.start_worker()):
        readings = [client.read(client.ask(question)) for question in questions]
        with following(*readings):
            eventually(lambda: all(service.saved(one.message_id) == 260 for one in readings))
            cluster.follow()
            cluster.hold()
            rig.scripted.release(f"lose {tag}")
            eventually(lambda: all(service.saved(one.message_id) == 1445 for one in readings))

            assert cluster.standby is not None
            lagging = cluster.standby.url
            assert all(service.saved(one.message_id, lagging) < 1445 for one in readings)

            # when
            cluster.fail_over()

            # then: Postgres has all of it again, though nothing new was written
            eventually(lambda: all(service.saved(one.message_id) == 1445 for one in readings))
            rig.scripted.release(f"go on {tag}")

        for question, reading in zip(questions, readings, strict=True):
            assert verified_end(reading, client.message(reading.message_id)) == ("DONE", None)
            assert reading.text == scripted.expected(question).text
            only_request(rig, question)


@pytest.mark.failure(40)
def test_an_end_lost_by_failover_ends_again_and_a_lost_question_is_a_404(
    service: Service,
) -> None:
    """An end, a Stop and a question that only the old primary had."""
    rig, client, cluster = service.rig, service.client, service.cluster
    tag = new_id()
    ended, stopped, unanswered = (
        script(long(300, seed=n), hold(f"{n} {tag}"), long(700, seed=n + 10), *WELL, tag=tag)
        for n in range(3)
    )
    with killing(service.start_worker()):
        one, two = (client.ask(question) for question in (ended, stopped))
        eventually(lambda: all(service.saved(answer) == 300 for answer in (one, two)))
        cluster.follow()
        cluster.hold()
        three = client.ask(unanswered)
        client.shown(three, 300)
        rig.scripted.release(f"0 {tag}")
        with following(reading := client.read(one)):
            pass
        assert verified_end(reading, client.message(one)) == ("DONE", None)
        client.stop(two)
        assert client.ended(two)["status"] == "CANCELLED"

        # when
        cluster.fail_over()

        # then: a lost question is a 404, and its worker closes the provider's connection
        eventually(lambda: client.http.get(f"/api/messages/{three}").status_code == 404)
        eventually(lambda: client.http.get(f"/api/messages/{three}/stream").status_code == 404)
        assert only_request(rig, unanswered, ended=True).ended == "client_closed"
        # and: a lost end is followed by another one
        for answer, question in ((one, ended), (two, stopped)):
            eventually(lambda answer=answer: client.message(answer)["status"] not in OPEN)  # type: ignore[misc]
            message = _truth(client, client.read(answer).to_end(), question)
            assert message["status"] == "ERROR"
            assert message["length"] >= 300
        # and: the same question can be asked again
        rig.scripted.release(f"2 {tag}")
        again = client.ask(unanswered)
        assert client.ended(again)["text"] == scripted.expected(unanswered).text


# --- the old primary lives on --------------------------------------------------------------------


@pytest.mark.failure(45)
def test_writes_work_after_failover_while_the_old_primary_is_read_only(
    service: Service,
) -> None:
    """Attack 5. Its address leads elsewhere, and connections that are kept still lead to it."""
    rig, client, cluster = service.rig, service.client, service.cluster
    tag = new_id()
    question = script(long(300), hold(tag), long(300, seed=1), *WELL, tag=tag)
    with killing(service.start_worker()):
        answer = client.ask(question)
        with following(reading := client.read(answer)):
            client.shown(answer, 300)
            cluster.follow()

            # when
            cluster.fail_over(spare=True)

            # then: every connection that is refused a write is given up
            in_a_row = 0

            def asked() -> bool:
                nonlocal in_a_row
                place = client.http.post("/api/conversations", json={})
                in_a_row = in_a_row + 1 if place.status_code == 201 else 0
                return in_a_row == 40

            eventually(asked)
            rig.scripted.release(tag)
        assert verified_end(reading, client.message(answer)) == ("DONE", None)
        assert reading.text == scripted.expected(question).text
        new = client.ask(script(long(20), *WELL))
        assert client.ended(new)["status"] == "DONE"


# --- nothing is lost -----------------------------------------------------------------------------


@pytest.mark.failure(41)
def test_failover_to_a_synchronous_standby_loses_nothing(service: Service) -> None:
    rig, client, cluster = service.rig, service.client, service.cluster
    tag = new_id()
    questions = [
        script(long(600, rate=300, chunk=(1, 25), seed=n), *WELL, tag=tag) for n in range(8)
    ]
    late = script(long(100, seed=77), *WELL, tag=tag)
    with killing(service.start_worker()):
        cluster.follow(synchronous=True)
        readings = [client.read(client.ask(question)) for question in questions]
        with following(*readings):
            eventually(lambda: all(len(one.text) > 100 for one in readings))
            last = client.ask(late)

            # when
            cluster.fail_over()

            # then: what was accepted is there
            eventually(lambda: client.http.get(f"/api/messages/{last}").status_code == 200)
        for question, reading in zip(questions, readings, strict=True):
            assert verified_end(reading, client.message(reading.message_id)) == ("DONE", None)
            assert reading.text == scripted.expected(question).text
            only_request(rig, question)
        assert client.ended(last)["text"] == scripted.expected(late).text
