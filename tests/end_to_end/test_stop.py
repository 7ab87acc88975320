"""Stop, from any device and at any moment: the answer ends and its text is kept."""

import random
from concurrent.futures import ThreadPoolExecutor

import pytest

import scripted
from local.programs import Web, Worker
from scripted import (
    Record,
    done,
    finish,
    hold,
    long,
    rate_limited,
    say,
    script,
    slow_headers,
    usage,
)
from scripted.steps import Step
from tests.client import Client, proof
from tests.end_to_end.conftest import Fragile
from tests.rig import Rig, eventually, killing
from tests.stories import NEVER, Stopwatch, following, only_request, start_worker, verified_end

#: Seconds for which a busy provider asks to be left alone.
PAUSE = 20.0


def _pressed(rig: Rig, client: Client, answer: str, question: str) -> Record:
    """Press Stop; the request at the provider, whose connection was closed by it."""
    client.stop(answer)
    record = only_request(rig, question, ended=True)
    assert record.ended == "client_closed"
    client.ended(answer)
    return record


@pytest.mark.failure(36)
def test_stop_keeps_the_text_and_closes_the_providers_connection(
    rig: Rig, client: Client, other_web: Web, worker: Worker
) -> None:
    question = script(long(5000, rate=400), finish(), done(), tag="stop streaming")
    answer = client.ask(question)
    readings = [client.read(answer, other_web.url) for _ in range(3)]
    with following(*readings):
        shown = client.shown(answer, 100)["text"]

        record = _pressed(rig, client, answer, question)

    message = client.message(answer)
    for reading in readings:
        assert verified_end(reading, message) == ("CANCELLED", None)
    assert message["text"].startswith(shown)
    assert scripted.expected(question).text.startswith(message["text"])
    assert message["length"] <= record.characters < 5000
    assert message["finish_reason"] is None
    tokens = -(-message["length"] // 4)
    assert message["usage"] == {"completion_tokens": tokens, "source": "estimated"}


@pytest.mark.failure(36)
def test_stop_ends_an_answer_whose_model_is_silent(
    rig: Rig, client: Client, worker: Worker
) -> None:
    question = script(say("A word, and"), hold(NEVER), finish(), done(), tag="stop silent")
    answer = client.ask(question)
    reading = client.read(answer)
    with following(reading):
        client.shown(answer, 11)

        _pressed(rig, client, answer, question)

    assert verified_end(reading, client.message(answer)) == ("CANCELLED", None)
    assert reading.text == "A word, and"


def test_stop_ends_an_answer_without_text(rig: Rig, client: Client, worker: Worker) -> None:
    question = script(hold("stop early"), say("Too late."), finish(), done())
    answer = client.ask(question)
    rig.scripted.wait_held("stop early")

    _pressed(rig, client, answer, question)

    message = client.message(answer)
    assert verified_end(client.read(answer).to_end(), message) == ("CANCELLED", None)
    assert (message["text"], message["usage"]) == ("", None)


def test_stop_ends_a_request_that_has_no_status_line_yet(
    rig: Rig, client: Client, worker: Worker
) -> None:
    question = script(slow_headers(hold="no headers"), say("Too late."), finish(), done())
    answer = client.ask(question)
    rig.scripted.wait_held("no headers")

    _pressed(rig, client, answer, question)

    assert verified_end(client.read(answer).to_end(), client.message(answer)) == ("CANCELLED", None)


def test_stop_ends_the_pause_before_a_retry(rig: Rig, client: Client, worker: Worker) -> None:
    question = script(rate_limited(retry_after=PAUSE, times=1), say("Too late."), finish(), done())
    answer = client.ask(question)
    assert only_request(rig, question, ended=True).status == 429

    watch = Stopwatch()
    client.stop(answer)

    assert client.ended(answer)["status"] == "CANCELLED"
    assert watch.seconds < PAUSE  # it did not wait until the provider would be asked again
    assert len(rig.scripted.requests(contains=question)) == 1


def test_stop_ends_a_question_that_no_worker_has_taken(
    rig: Rig, no_workers: None, client: Client
) -> None:
    question, later = "Nobody will read this.", script(say("Yes."), finish(), done(), tag="later")
    answer = client.ask(question)
    reading = client.read(answer)
    with following(reading):
        # when
        now = client.stop(answer)

    # then: the response to Stop is the ended message
    assert (now["status"], now["text"], now["length"]) == ("CANCELLED", "", 0)
    assert verified_end(reading, client.message(answer)) == ("CANCELLED", None)

    # and: the worker that finds it in the queue ignores it
    with killing(start_worker(rig).wait()):
        assert client.ended(client.ask(later))["status"] == "DONE"
    assert rig.scripted.requests(contains=question) == []
    assert client.message(answer) == now


def test_stop_works_through_another_web_process(
    rig: Rig, client: Client, other_web: Web, worker: Worker
) -> None:
    question = script(say("On the phone"), hold(NEVER), finish(), done())
    answer = client.ask(question)
    reading = client.read(answer)
    with following(reading), Client(other_web.url) as phone:
        client.shown(answer, 12)

        _pressed(rig, phone, answer, question)

    assert verified_end(reading, client.message(answer)) == ("CANCELLED", None)


def test_stop_racing_the_end_has_one_outcome_for_all(
    rig: Rig, client: Client, other_web: Web, worker: Worker
) -> None:
    # given: answers that end at about the same time
    dice = random.Random()
    questions = [
        script(long(200, rate=400, chunk=(1, 9), seed=n), finish(), usage(), done(), tag="race")
        for n in range(40)
    ]
    answers = [client.ask(question) for question in questions]
    readings = [client.read(answer, other_web.url) for answer in answers]

    def press(answer: str) -> None:
        position = dice.choice([150, 180, 195, 200])
        eventually(lambda: client.message(answer)["position"] >= position)
        client.stop(answer)

    # when: Stop is pressed for all of them about then
    with following(*readings), ThreadPoolExecutor(len(answers)) as pool:
        list(pool.map(press, answers))

    # then: each has one of the two ends, and no reader got the other one
    ends = set()
    for question, reading in zip(questions, readings, strict=True):
        message = client.message(reading.message_id)
        status, _ = verified_end(reading, message)
        whole = scripted.expected(question).text
        assert reading.text == whole if status == "DONE" else whole.startswith(reading.text)
        assert (message["finish_reason"] == "stop") == (status == "DONE")
        ends.add(status)
    assert ends <= {"DONE", "CANCELLED"}


def test_without_redis_stop_reaches_the_worker_by_its_lease_renewal(fragile: Fragile) -> None:
    rig, client = fragile.rig, fragile.client
    fragile.worker.kill()
    question = script(say("Without Redis"), hold(NEVER), finish(), done())
    with killing(start_worker(rig, OUTLIVE_HEARTBEAT_SECONDS="0.5").wait()):
        answer = client.ask(question)
        reading = client.read(answer)
        with following(reading):
            client.shown(answer, 13)
            rig.redis.kill()

            _pressed(rig, client, answer, question)

        assert verified_end(reading, client.message(answer)) == ("CANCELLED", None)
        assert reading.text == "Without Redis"


def _press_twice(client: Client, answer: str) -> list[dict[str, object]]:
    return [client.stop(answer) for _ in range(2)]


@pytest.mark.parametrize(
    ("steps", "status"),
    [
        ((say("All."), finish(), usage(), done()), "DONE"),
        ((say("Some."), finish("length"), usage(), done()), "DONE"),
        ((say("Some."), scripted.cut()), "ERROR"),
        ((say("Some."), hold(NEVER)), "CANCELLED"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_stop_again_or_after_the_end_changes_nothing(
    client: Client, worker: Worker, steps: tuple[Step, ...], status: str
) -> None:
    answer = client.ask(script(*steps, tag="again"))
    if status == "CANCELLED":
        client.shown(answer, 5)
        _press_twice(client, answer)
    before = client.ended(answer)
    assert before["status"] == status

    assert _press_twice(client, answer) == [before, before]
    assert client.message(answer) == before


def test_readers_that_leave_never_stop_an_answer(
    rig: Rig, client: Client, other_web: Web, worker: Worker
) -> None:
    question = script(say("Everybody left"), hold("all gone"), say(" early."), finish(), done())
    answer = client.ask(question)
    for url in (client.url, other_web.url, client.url):
        reading = client.read(answer)
        with reading.open(url=url) as connection:
            for event in connection.events():
                reading.take(event)
                if reading.text == "Everybody left":
                    break

    rig.scripted.release("all gone")

    message = client.ended(answer)
    assert (message["status"], message["text"]) == ("DONE", "Everybody left early.")
    assert (message["length"], message["sha256"]) == proof("Everybody left early.")
    assert only_request(rig, question, ended=True).ended == "whole"


@pytest.mark.parametrize("answer", ["no-id", "00000000-0000-4000-8000-00000000dead"])
def test_stop_of_an_unknown_message_is_a_404(client: Client, answer: str) -> None:
    refused = client.http.post(f"/api/messages/{answer}/stop")

    assert (refused.status_code, refused.json()["code"]) == (404, "not_found")
