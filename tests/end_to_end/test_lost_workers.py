"""`kill -9` of a worker: what was shown stays, and the answer ends as `worker_lost`."""

import os
import random
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from uuid import uuid4

import pytest

import scripted
from local import data_dirs
from local.programs import Web, Worker
from scripted import done, finish, hold, long, say, script, usage
from shared.lifecycle import MAX_TRIES
from tests.client import Client, Reading
from tests.end_to_end.test_up import OTHERS, Up
from tests.rig import Rig, eventually, killing
from tests.stories import NEVER, Stopwatch, following, start_worker, sweep, verified_end

#: Kills of real Celery processes (the drill has hundreds more). Two workers live at a time, so
#: that two can start at a time.
KILLS, TEAM = 10, 2
#: Kills of one test.
KILLS_A_TEST = 10
#: Seconds that are left of a default lease at least: it is renewed every 3 s, and lasts 15.
LEASE_LEFT = 10.0
#: Answers that a team writes when it dies, at least.
ANSWERS = 4


def _endless(dice: random.Random) -> str:
    """An answer that only a kill ends, in pieces of every size."""
    return script(
        long(6000, rate=dice.uniform(400, 2500), chunk=(1, 40), seed=dice.randrange(10**6)),
        hold(NEVER),
        tag=str(dice.random()),
    )


@dataclass
class Read:
    """An answer, its worker's boot, and its readers."""

    question: str
    id: str
    readings: list[Reading]
    boot: str = ""

    @property
    def known(self) -> bool:
        """Whether all readers know how it ended."""
        return all(reading.end is not None for reading in self.readings)


def _asked(rig: Rig, client: Client, url: str, dice: random.Random) -> list[Read]:
    """Answers that both workers of a team are writing, each with readers at both masters."""
    asked: list[Read] = []
    while len(asked) < ANSWERS or len({one.boot for one in asked}) < TEAM:
        question = _endless(dice)
        answer = client.ask(question)
        asked.append(Read(question, answer, [client.read(answer, url) for _ in range(2)]))
        client.shown(answer)
        asked[-1].boot = _boot(rig, answer)
    return asked


def _boot(rig: Rig, answer: str) -> str:
    owner = rig.rows("SELECT owner FROM messages WHERE id = CAST(:id AS uuid)", id=answer)
    return str(owner[0][0]).partition(":")[2]


@pytest.mark.failure(4)
@pytest.mark.parametrize("seed", range(KILLS // KILLS_A_TEST))
def test_everything_shown_is_kept_when_the_worker_is_killed(
    rig: Rig, no_workers: None, client: Client, other_web: Web, seed: int
) -> None:
    dice = random.Random(seed)
    with ExitStack() as staff:
        team = _hired(rig, staff)
        for _ in range(KILLS_A_TEST // TEAM):
            # given: answers that are being written; their workers' successors start only when each
            # answer has its owner
            for worker in team:
                worker.wait()
            asked = _asked(rig, client, other_web.url, dice)
            successors = _hired(rig, staff)

            with following(*(reading for one in asked for reading in one.readings)):
                for worker in team:
                    # when: the worker dies at a random character, and is named to a sweep
                    lost = [one for one in asked if one.boot == worker.boot]
                    _at_a_random_character(lost, dice)
                    worker.kill()
                    shown = [(one, reading.text) for one in lost for reading in one.readings]
                    swept = sweep(rig, died=worker.boot)

                    # then: its readers have the end, and all text that any of them has seen
                    eventually(lambda lost=lost: all(one.known for one in lost))  # type: ignore[misc]
                    assert (swept.ended, swept.restarted) == (len(lost), 0)
                    assert all(one.readings[0].text.startswith(text) for one, text in shown)

            for one in asked:
                _worker_lost(client, one)
            team = successors


def _hired(rig: Rig, staff: ExitStack) -> list[Worker]:
    team = [start_worker(rig) for _ in range(TEAM)]
    staff.enter_context(killing(*team))
    return team


def _at_a_random_character(asked: list[Read], dice: random.Random) -> None:
    reading, position = dice.choice(asked).readings[0], dice.randrange(1, 400)
    eventually(lambda: len(reading.text) >= position)


def _worker_lost(client: Client, one: Read) -> None:
    """Check that every reader and the row have the same beginning of the answer."""
    message = client.message(one.id)
    for reading in one.readings:
        assert verified_end(reading, message) == ("ERROR", "worker_lost")
    assert message["text"]
    assert scripted.expected(one.question).text.startswith(message["text"])


@pytest.mark.failure(4)
def test_a_lapsed_lease_alone_ends_answers_of_a_dead_worker(
    rig: Rig, no_workers: None, client: Client, other_web: Web
) -> None:
    # given: two workers and their answers
    dice = random.Random()
    with ExitStack() as staff:
        team = _hired(rig, staff)
        for worker in team:
            worker.wait()
        asked = _asked(rig, client, other_web.url, dice)
        lost = [one for one in asked if one.boot == team[0].boot]

        # when: one of them is killed and not named to a sweep
        with following(*(reading for one in lost for reading in one.readings)):
            team[0].kill()
            watch = Stopwatch()

        # then: the other one, or web on its readers' behalf, waits for the lease and no longer
        assert 10 < watch.seconds < 20
        for one in lost:
            _worker_lost(client, one)
        for one in asked:
            if one not in lost:
                assert client.message(one.id)["status"] == "STREAMING"
                client.stop(one.id)


@pytest.mark.failure(3)
def test_an_unshown_answer_of_a_dead_worker_begins_again(
    rig: Rig, no_workers: None, client: Client
) -> None:
    # given: a model that is silent, and a reader that waits
    question = script(hold("thinking"), say("Here it is."), finish(), usage(), done(), tag="again")
    first = start_worker(rig).wait()
    answer = client.ask(question)
    rig.scripted.wait_held("thinking")
    second = start_worker(rig)
    reading = client.read(answer)
    with killing(first, second):
        second.wait()

        # when: the worker dies before the first character
        first.kill()
        swept = sweep(rig, died=first.boot)
        rig.scripted.wait_requests(2, contains=question)
        rig.scripted.release("thinking")

        # then: the reader noticed nothing
        assert (swept.ended, swept.restarted, swept.dispatched) == (0, 1, 1)
        reading.to_end()
        assert verified_end(reading, client.message(answer)) == ("DONE", None)
        assert reading.text == "Here it is."
        assert reading.connections == 1


@pytest.mark.failure(30)
def test_a_question_that_kills_its_workers_fails_after_three_claims(
    rig: Rig, no_workers: None, client: Client
) -> None:
    question = script(hold(NEVER), say("Never said."), finish(), done(), tag="poison")
    answer = client.ask(question)
    reading = client.read(answer)

    statuses = []
    for claim in range(1, MAX_TRIES + 1):
        with killing(worker := start_worker(rig).wait()):
            rig.scripted.wait_requests(claim, contains=question)
        sweep(rig, died=worker.boot)
        statuses.append(client.message(answer)["status"])

    assert statuses == ["SENDING", "SENDING", "ERROR"]
    assert verified_end(reading.to_end(), client.message(answer)) == ("ERROR", "worker_lost")
    assert reading.text == ""
    assert len(rig.scripted.requests(contains=question)) == MAX_TRIES


def test_answers_of_a_living_worker_are_never_swept(
    rig: Rig, client: Client, worker: Worker
) -> None:
    question = script(say("Half of it"), hold("rest"), say(", and all."), finish(), done())
    answer = client.ask(question)
    client.shown(answer)

    sweep(rig)  # what earlier stories left may end now, this must not
    swept = sweep(rig, died=str(uuid4()))

    assert (swept.ended, swept.restarted) == (0, 0)
    [row] = rig.rows("SELECT status, attempt FROM messages WHERE id = :id", id=answer)
    assert (row.status, row.attempt) == ("STREAMING", 1)
    rig.scripted.release("rest")
    assert client.ended(answer)["status"] == "DONE"


@pytest.fixture
def up(monkeypatch: pytest.MonkeyPatch, rig: Rig) -> Iterator[Up]:
    """An `outlive up` of our own, whose model is the scripted one."""
    for name in OTHERS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_BASE_URL", rig.scripted.url)
    with data_dirs.temporary() as home:
        up = Up(home / "var", "--port", "0", "--no-flower")
        try:
            yield up.wait()
        finally:
            up.signal(signal.SIGTERM)
            up.process.wait(20)


def test_under_outlive_up_the_sweep_is_repeated_until_postgres_is_back(up: Up) -> None:
    with Client(up.state()["web"]["url"]) as client:
        question = _endless(random.Random())
        one = Read(question, client.ask(question), [])
        one.readings = [client.read(one.id)]
        client.shown(one.id, 30)
        log, postgres = up.data / "log" / "sweep.log", up.pid("postgres")

        # when: the sweep for the worker finds no Postgres
        with following(*one.readings):
            os.kill(postgres, signal.SIGSTOP)
            os.kill(up.pid("worker"), signal.SIGKILL)
            eventually(lambda: log.exists() and "Error:" in log.read_text())
            os.kill(postgres, signal.SIGCONT)

        # then: the sweep is repeated
        _worker_lost(client, one)
        eventually(lambda: "1 ended" in log.read_text())  # logged after the readers were notified


@pytest.mark.failure(4)
def test_under_outlive_up_a_dead_workers_answers_end_before_their_lease(up: Up) -> None:
    dice = random.Random()
    with Client(up.state()["web"]["url"]) as client:
        for _ in range(2):
            # given
            question = _endless(dice)
            one = Read(question, client.ask(question), [])
            one.readings = [client.read(one.id) for _ in range(2)]
            client.shown(one.id, 30)

            # when
            with following(*one.readings):
                os.kill(up.pid("worker"), signal.SIGKILL)
                watch = Stopwatch()

            # then
            assert watch.seconds < LEASE_LEFT  # it was swept by name, before its lease lapsed
            _worker_lost(client, one)

            # and
            reading = client.read(client.ask("Are you there?")).to_end()
            assert verified_end(reading, client.message(reading.message_id)) == ("DONE", None)
