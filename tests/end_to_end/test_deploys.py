"""Deploys under load: successors start before the old programs drain, no answer is cut."""

import signal
from collections import Counter
from contextlib import ExitStack
from typing import Any

import pytest

from local import data_dirs
from local.processes import is_alive
from local.programs import Program, Web, Worker
from scripted import done, finish, hold, say, script, usage
from tests.client import Client
from tests.end_to_end.test_up import OTHERS, Up
from tests.rig import Rig, eventually, killing
from tests.stories import NEVER, Load, Stopwatch, following, start_worker, verified_end

DEPLOYS, PEOPLE = 6, 6
#: Seconds within which the goodbye asks a reader to come back.
BACK = 2.0


def _went_well(answers: list[dict[str, Any]]) -> None:
    """Check that clients noticed no more than a reconnect."""
    assert Counter((one["status"], one["code"]) for one in answers).keys() == {("DONE", None)}
    assert all(one["exact"] for one in answers)
    assert [one["refusals"] for one in answers if one["refusals"]] == []


@pytest.mark.failure(2, 7)
def test_deploys_of_worker_and_web_under_load_interrupt_no_answer(
    rig: Rig, no_workers: None
) -> None:
    with ExitStack() as staff:
        web: Web = rig.web(WEB_CONCURRENCY="1")
        worker: Worker = start_worker(rig)
        staff.enter_context(killing(web, worker.wait()))
        before: list[Program] = []
        load = staff.enter_context(Load(web.url, PEOPLE))

        for _ in range(DEPLOYS):
            # when: the successors take work, the old programs get SIGTERM
            new_web, new_worker = web.successor().start(), start_worker(rig)
            staff.enter_context(killing(new_web, new_worker))
            new_web.wait()
            new_worker.wait()
            for old in (web, worker):
                old.signal(signal.SIGTERM)
                before.append(old)
            web, worker = new_web, new_worker

        # then: they finish what they have begun and end
        eventually(lambda: not any(old.alive() for old in before))
        assert [old.pid for old in before if old.crashed()] == []
        answers = load.leave()

    _went_well(answers)
    assert len(answers) > DEPLOYS * PEOPLE / 3
    assert sum(one["connections"] > 1 for one in answers) > DEPLOYS  # the deploys were noticed


@pytest.mark.failure(7)
def test_a_drain_ends_at_its_limit_and_unshown_answers_go_to_the_successor(
    rig: Rig, no_workers: None, client: Client
) -> None:
    # given: one answer is half written, of the other nothing was shown
    half = script(say("Half of it"), hold(NEVER), say(", and all."), finish(), done())
    none = script(hold("drain"), say("All of it."), finish(), usage(), done(), tag="drained")
    old = start_worker(rig, OUTLIVE_DRAIN_SECONDS="1").wait()
    begun, waiting = client.ask(half), client.ask(none)
    client.shown(begun, 10)
    rig.scripted.wait_held("drain")
    successor = start_worker(rig)
    readings = [client.read(answer) for answer in (begun, waiting)]
    with killing(old, successor):
        successor.wait()
        with following(*readings):
            # when
            watch = Stopwatch()
            old.signal(signal.SIGTERM)

            # then: it ends after its limit
            eventually(lambda: not old.alive(), 5)
            assert watch.seconds >= 1
            assert not old.crashed()
            rig.scripted.wait_requests(2, contains=none)
            rig.scripted.release("drain")

    # and says how each ended
    assert verified_end(readings[0], client.message(begun)) == ("ERROR", "worker_shutdown")
    assert readings[0].text == "Half of it"
    sentence = "This answer was interrupted by a deploy; what was written is kept."
    assert client.message(begun)["error"]["message"] == sentence
    assert verified_end(readings[1], client.message(waiting)) == ("DONE", None)
    assert readings[1].text == "All of it."
    assert [reading.connections for reading in readings] == [1, 1]


def test_a_draining_worker_takes_no_new_question(
    rig: Rig, no_workers: None, client: Client
) -> None:
    running = script(say("Wait"), hold("old work"), say(" for me."), finish(), done())
    old = start_worker(rig).wait()
    answer = client.ask(running)
    client.shown(answer, 4)
    with killing(old, successor := start_worker(rig).wait()):
        old.signal(signal.SIGTERM)
        eventually(lambda: "Warm shutdown" in rig.logs())

        later = [client.ask(script(say("New."), finish(), done(), tag=str(n))) for n in range(8)]
        statuses = {client.ended(one)["status"] for one in later}
        rig.scripted.release("old work")

        assert statuses == {"DONE"}
        assert client.ended(answer)["text"] == "Wait for me."
        eventually(lambda: not old.alive())
        assert successor.alive()


@pytest.mark.failure(2)
def test_draining_web_ends_streams_in_order_with_a_retry(
    rig: Rig, client: Client, worker: Worker
) -> None:
    question = script(say("To be"), hold("two webs"), say(" continued."), finish(), done())
    old = rig.web(WEB_CONCURRENCY="1")
    with killing(old, successor := old.successor()):
        answer = client.ask(question)
        reading = client.read(answer, old.url)
        reading.urls.remove(client.url)
        with reading.open() as connection:
            events = connection.events()
            while reading.text != "To be":
                reading.take(next(events))

            # when: there is a successor, and the old master gets SIGTERM
            successor.start().wait()
            old.signal(signal.SIGTERM)

            # then: the stream is closed in order, after a `retry:`
            assert list(events) == []
            assert connection.decoder.retry is not None
            assert connection.decoder.retry < 1000 * BACK

        eventually(lambda: not old.alive())
        rig.scripted.release("two webs")
        assert verified_end(reading.to_end(), client.message(answer)) == ("DONE", None)
        assert reading.connections == 2


def test_sighup_to_outlive_up_deploys(monkeypatch: pytest.MonkeyPatch, rig: Rig) -> None:
    for name in OTHERS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_BASE_URL", rig.scripted.url)
    with data_dirs.temporary() as home, ExitStack() as stack:
        up = Up(home / "var", "--port", "0", "--no-flower")
        stack.callback(up.process.wait, 20)
        stack.callback(up.signal, signal.SIGTERM)
        old = up.wait().state()
        with Load(old["web"]["url"], PEOPLE) as load:
            # when
            up.signal(signal.SIGHUP)

            # then
            eventually(lambda: up.pid("worker") != old["worker"]["pid"])
            eventually(lambda: not any(is_alive(old[name]["pid"]) for name in ("web", "worker")))
            answers = load.leave()

    _went_well(answers)
    assert len(answers) >= PEOPLE
