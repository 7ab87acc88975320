"""A worker that sleeps past its lease and wakes: all of its writes are refused."""

import signal
from uuid import UUID

import pytest

import scripted
from local.programs import Web, Worker
from scripted import done, finish, hold, long, say, script, usage
from shared.body import Delta
from shared.bus.livelog import LiveLog
from shared.bus.publishing import Publication, PublishResult
from shared.lifecycle import Status
from shared.store import owning
from shared.store.ending import Ending
from shared.store.owning import Save
from tests.client import Client
from tests.rig import Rig, eventually, killing
from tests.store_fixtures import publish_all
from tests.stories import NEVER, following, only_request, start_worker, verified_end

QUICK = {
    "OUTLIVE_LEASE_SECONDS": "2",
    "OUTLIVE_HEARTBEAT_SECONDS": "0.5",
    "OUTLIVE_SWEEP_SECONDS": "0.5",
}
ANSWERS = 5
TALKS_ON, COMPLETE = (hold(NEVER),), (finish(), usage(), done())


def _row(rig: Rig, answer: str) -> dict[str, object]:
    [row] = rig.rows("SELECT * FROM messages WHERE id = CAST(:id AS uuid)", id=answer)
    return dict(row._mapping)


def _lost(rig: Rig) -> int:
    """How many answers were given up because their worker no longer owned them."""
    return rig.logs().count('"status": "LOST"')


def _pieces(rig: Rig) -> int:
    return int(rig.rows("SELECT count(*) FROM pieces")[0][0])


@pytest.mark.failure(5)
def test_every_write_of_a_worker_that_slept_past_its_lease_is_refused(
    rig: Rig, no_workers: None, client: Client, other_web: Web
) -> None:
    # given: several answers of one worker, their readers, and another worker
    questions = [
        script(long(300, seed=n), hold("stiff"), long(2000, seed=n + 9), *tail, tag=f"zombie {n}")
        for n, tail in enumerate([TALKS_ON, COMPLETE] * 3)
    ]
    lost = _lost(rig)
    frozen = start_worker(rig, **QUICK).wait()
    answers = [client.ask(question) for question in questions]
    for answer in answers:
        client.shown(answer, 300)
    owners = [str(_row(rig, answer)["owner"]) for answer in answers]
    other = start_worker(rig, **QUICK)
    readings = [client.read(answer, other_web.url) for answer in answers]
    with killing(frozen, other):
        other.wait()
        with following(*readings):
            # when: it is stopped for longer than its lease, while the model goes on
            frozen.signal(signal.SIGSTOP)
            rig.scripted.release("stiff")
        ended = {answer: client.message(answer) for answer in answers}
        rows = {answer: _row(rig, answer) for answer in answers}
        logs = {answer: rig.live_log(answer) for answer in answers}
        frozen.signal(signal.SIGCONT)

        # then: it closes the provider's connection, whether the reply has ended meanwhile or not
        for question in questions[::2]:
            assert only_request(rig, question, ended=True).ended == "client_closed"
        eventually(lambda: _lost(rig) == lost + len(questions))
        for question, reading in zip(questions, readings, strict=True):
            answer = reading.message_id
            assert verified_end(reading, ended[answer]) == ("ERROR", "worker_lost")
            assert scripted.expected(question).text.startswith(reading.text)
            assert client.message(answer) == ended[answer]
            assert _row(rig, answer) == rows[answer]
            assert rig.live_log(answer) == logs[answer]
        assert _pieces(rig) == 0

        # and: each of its writes is refused
        for answer, owner in zip(answers, owners, strict=True):
            _every_write_is_refused(rig, answer, owner, ended[answer]["length"])

        # and: it takes new questions as any other worker does
        other.kill()
        again = client.ask(script(say("Good as new."), finish(), usage(), done()))
        assert client.ended(again)["text"] == "Good as new."


def _every_write_is_refused(rig: Rig, answer: str, owner: str, length: int) -> None:
    message_id, claim = UUID(answer), UUID(str(_row(rig, answer)["claim"]))
    delta = Delta(length, 0, "text", "from the grave")
    for force in (False, True):
        late = Publication(message_id, claim, 1, [delta], 0, force)
        assert publish_all(LiveLog(rig.redis.url, 60), [late]) == [PublishResult.FENCED]
    save = Save(message_id, claim, length, (delta,))
    assert owning.save(rig.db, owner, 15, [save]) == {}
    assert not owning.finish(rig.db, owner, save, Ending(Status.DONE, "stop"))
    assert not owning.release(rig.db, owner, message_id, claim, 60)
    assert owning.lease_state(rig.db, owner, [message_id]) == {}


@pytest.mark.failure(5)
def test_an_unshown_answer_of_a_frozen_worker_is_written_once_by_another(
    rig: Rig, no_workers: None, client: Client, other_web: Web
) -> None:
    # given: nothing was shown yet
    questions = [
        script(hold("ice"), say(f"Only once, {n}."), finish(), usage(), done(), tag="ice")
        for n in range(ANSWERS)
    ]
    lost = _lost(rig)
    frozen = start_worker(rig, **QUICK).wait()
    answers = [client.ask(question) for question in questions]
    rig.scripted.wait_held("ice", ANSWERS)
    other = start_worker(rig, **QUICK)
    readings = [client.read(answer, other_web.url) for answer in answers]
    with killing(frozen, other):
        other.wait()
        with following(*readings):
            # when: the other worker has begun again, and the model answers them both
            frozen.signal(signal.SIGSTOP)
            rig.scripted.wait_held("ice", 2 * ANSWERS)
            rig.scripted.release("ice")
        ended = {answer: client.message(answer) for answer in answers}
        logs = {answer: rig.live_log(answer) for answer in answers}
        frozen.signal(signal.SIGCONT)
        eventually(lambda: _lost(rig) == lost + ANSWERS)
        rig.scripted.wait_requests(2 * ANSWERS, contains='"tag":"ice"', ended=True)

        # then: one answer, from one of the two workers
        for question, reading in zip(questions, readings, strict=True):
            answer = reading.message_id
            assert verified_end(reading, ended[answer]) == ("DONE", None)
            assert reading.text == scripted.expected(question).text
            assert reading.connections == 1
            assert client.message(answer) == ended[answer]
            assert rig.live_log(answer) == logs[answer]


def test_a_worker_frozen_for_less_than_its_lease_keeps_its_answer(
    rig: Rig, client: Client, worker: Worker
) -> None:
    question = script(say("A short"), hold("breath"), say(" breath."), finish(), usage(), done())
    answer = client.ask(question)
    client.shown(answer, 7)
    reading = client.read(answer)

    worker.signal(signal.SIGSTOP)
    try:
        rig.scripted.release("breath")
        with reading.open() as connection:
            reading.take(next(connection.events()))
    finally:
        worker.signal(signal.SIGCONT)

    assert verified_end(reading.to_end(), client.message(answer)) == ("DONE", None)
    assert reading.text == "A short breath."
