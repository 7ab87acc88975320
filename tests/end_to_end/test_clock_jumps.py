"""The clock of Postgres is set while answers are written by real workers."""

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

import pytest

import scripted
from local import data_dirs
from local.programs import Web
from scripted import done, finish, hold, long, say, script, usage
from tests.client import Client
from tests.foreign import need_libfaketime
from tests.rig import Rig, eventually, killing
from tests.stories import NEVER, following, start_worker, verified_end

#: The same in web and workers, so that leases are what they are everywhere.
LEASE = 3.0
QUICK = {
    "OUTLIVE_LEASE_SECONDS": str(LEASE),
    "OUTLIVE_HEARTBEAT_SECONDS": "0.5",
    "OUTLIVE_SWEEP_SECONDS": "0.5",
}
ANSWERS = 6
HOUR = 3600.0


@pytest.fixture(scope="module")
def wrong() -> Iterator[Rig]:
    """A rig whose Postgres has a clock that can be set."""
    need_libfaketime()
    with data_dirs.temporary() as home, Rig(home / "clock", clock=True) as rig:
        yield rig


@pytest.fixture(scope="module")
def web(wrong: Rig) -> Web:
    return wrong.web(WEB_CONCURRENCY="1", **QUICK)


@pytest.mark.failure(46)
def test_running_answers_survive_jumps_of_the_clock_of_postgres(wrong: Rig, web: Web) -> None:
    # given: answers that are being written, and some whose model is silent
    rates = [400, 400, 400, 0, 0, 0]
    questions = [
        script(
            *([long(9000, rate=rate, seed=n)] if rate else [say("Quiet"), hold("time")]),
            say(" to the end."), finish(), usage(), done(), tag=f"jump {n}",
        )
        for n, rate in enumerate(rates)
    ]  # fmt: skip
    first, second = start_worker(wrong, **QUICK), start_worker(wrong, **QUICK)
    with killing(first, second), Client(web.url) as client:
        first.wait()
        second.wait()
        readings = [client.read(client.ask(question)) for question in questions]
        for reading in readings:
            client.shown(reading.message_id, 5)

        # when: it is set again and again, each time for longer than a lease
        with following(*readings, seconds=120):
            for clock in (60.0, -HOUR, HOUR):
                wrong.postgres.set_clock(clock)
                past = _now(wrong) + LEASE + 1
                eventually(partial(_is_past, wrong, past))
            wrong.scripted.release("time")

        # then
        for question, reading in zip(questions, readings, strict=True):
            assert verified_end(reading, client.message(reading.message_id)) == ("DONE", None)
            assert reading.text == scripted.expected(question).text


def _is_past(rig: Rig, moment: float) -> bool:
    return _now(rig) > moment


def _now(rig: Rig) -> float:
    return float(rig.rows("SELECT extract(epoch FROM clock_timestamp())")[0][0])


@pytest.mark.failure(46)
@pytest.mark.parametrize(("how", "jump"), [("frozen", -HOUR), ("killed", HOUR)])
def test_answers_of_a_lost_worker_end_after_a_jump_of_the_clock(
    wrong: Rig, web: Web, how: str, jump: float
) -> None:
    wrong.postgres.set_clock(0.0)
    with ExitStack() as stack, Client(web.url) as client:
        lost = start_worker(wrong, **QUICK).wait()
        stack.enter_context(killing(lost))
        questions = [script(say("Lost"), hold(NEVER), tag=f"lost {n}") for n in range(ANSWERS)]
        answers = [client.ask(question) for question in questions]
        for answer in answers:
            client.shown(answer, 4)
        other = start_worker(wrong, **QUICK)
        stack.enter_context(killing(other))
        other.wait()

        # when
        if how == "frozen":
            lost.signal(signal.SIGSTOP)
        else:
            lost.kill()
        wrong.postgres.set_clock(jump)
        for answer in answers:
            message = client.ended(answer)
            assert (message["error"]["code"], message["text"]) == ("worker_lost", "Lost")
        lost.signal(signal.SIGCONT)
