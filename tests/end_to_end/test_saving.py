"""What Postgres has, and when: the placeholder first, pieces on the way, the exact partial."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from statistics import median

import pytest

import scripted
from local.programs import Web, Worker
from scripted import (
    cut,
    done,
    end,
    error_object,
    finish,
    hold,
    long,
    malformed,
    script,
    usage,
)
from scripted.steps import Step
from tests.client import Client, proof
from tests.end_to_end.conftest import Fragile
from tests.rig import Rig, eventually, frozen
from tests.stories import following

# --- the placeholder -----------------------------------------------------------------------------


def _sending(rig: Rig, message_id: str) -> bool:
    rows = rig.rows("SELECT status, attempt FROM messages WHERE id = :id", id=message_id)
    return [tuple(row) for row in rows] == [("SENDING", 0)]


@pytest.mark.failure(27)
def test_questions_are_accepted_and_answered_without_redis(fragile: Fragile) -> None:
    """The queue is in Redis, too: a worker finds the question in Postgres and writes it itself."""
    rig, client = fragile.rig, fragile.client
    conversation = client.conversation()
    question = script(long(250), finish(), done(), tag="asked without redis")
    rig.redis.kill()

    answer = client.ask(question, conversation)

    assert _sending(rig, answer)
    message = client.message(answer)
    assert (message["status"], message["text"], message["position"]) == ("SENDING", "", 0)
    assert rig.scripted.requests(contains="asked without redis") == []

    reading = client.read(answer).to_end()
    assert reading.text == scripted.expected(question).text
    assert reading.proven
    assert client.message(answer)["status"] == "DONE"
    rig.redis.start().wait()
    assert len(rig.scripted.requests(contains="asked without redis")) == 1


@pytest.mark.failure(10, 27)
def test_questions_are_accepted_and_answered_while_redis_is_frozen(fragile: Fragile) -> None:
    rig, client = fragile.rig, fragile.client
    conversations = [client.conversation() for _ in range(8)]
    question = script(long(250), finish(), done(), tag="asked of a frozen redis")

    with frozen(rig.redis):
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(partial(client.ask, question), conversations))
        readings = [client.read(answer) for answer in answers]
        with following(*readings):
            pass

    assert {reading.text for reading in readings} == {scripted.expected(question).text}
    assert {client.message(answer)["status"] for answer in answers} == {"DONE"}
    assert len(rig.scripted.requests(contains="asked of a frozen redis")) == len(answers)


def test_the_placeholder_is_committed_before_its_task_is_queued(
    fragile: Fragile,
) -> None:
    """While the worker is frozen the question waits in the queue; row and queue agree."""
    rig, client = fragile.rig, fragile.client
    with frozen(fragile.worker):
        answer = client.ask(script(long(10), finish(), done()))
        with client.read(answer).open() as connection:
            assert connection.status == 200
            assert _sending(rig, answer)
    assert client.ended(answer)["status"] == "DONE"


# --- pieces --------------------------------------------------------------------------------------


def test_pieces_appear_about_every_200_characters(rig: Rig, client: Client, worker: Worker) -> None:
    question = script(long(3000, rate=1000), hold("pieces"), finish(), done())
    answer = client.ask(question)

    eventually(lambda: _saved(rig, answer) == 3000)
    pieces = rig.rows("SELECT * FROM pieces WHERE message_id = :id ORDER BY start", id=answer)
    rig.scripted.release("pieces")

    sizes = [len(piece.text) for piece in pieces]
    assert [piece.start for piece in pieces] == [sum(sizes[:n]) for n in range(len(sizes))]
    assert "".join(piece.text for piece in pieces) == scripted.expected(question).text
    # The last is what a second of silence found; on a busy machine a save may be late.
    assert all(size >= 200 for size in sizes[:-1])
    assert 200 <= median(sizes[:-1]) <= 260
    assert max(sizes) <= 600
    assert client.ended(answer)["status"] == "DONE"
    assert rig.rows("SELECT 1 FROM pieces WHERE message_id = :id", id=answer) == []


def _saved(rig: Rig, answer: str) -> int:
    return int(rig.rows("SELECT saved_len FROM messages WHERE id = :id", id=answer)[0][0])


@pytest.mark.failure(12)
def test_a_slow_answer_is_saved_after_a_second(rig: Rig, client: Client, worker: Worker) -> None:
    answer = client.ask(script(long(7), hold("slow"), finish(), done()))
    client.shown(answer, 7)

    eventually(lambda: _saved(rig, answer) == 7)

    rig.scripted.release("slow")
    assert client.ended(answer)["status"] == "DONE"


# --- a provider that fails -----------------------------------------------------------------------

FAILURES: dict[str, tuple[Step, str]] = {
    "cut in a frame": (cut(), "provider_cut"),
    "closed in order": (cut(at=0, abort=False), "provider_cut"),
    "ended without a word": (end(), "provider_cut"),
    "error object": (error_object(), "provider_error"),
    "no json": (malformed(), "provider_malformed"),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_text_received_before_a_provider_failed_is_kept_exactly(
    web: Web, client: Client, worker: Worker, failure: str
) -> None:
    step, code = FAILURES[failure]
    lengths = [0, 1, 199, 200, 201, 777]
    questions = [script(long(k, chunk=(1, 40)), step, usage(), done()) for k in lengths]

    with ThreadPoolExecutor(len(lengths)) as pool:
        answers = list(pool.map(client.ask, questions))
        readings = list(pool.map(lambda answer: client.read(answer).to_end(), answers))

    for question, k, answer, reading in zip(questions, lengths, answers, readings, strict=True):
        text = scripted.expected(question).text
        message = client.message(answer)
        assert len(text) == k
        assert (message["status"], message["error"]["code"]) == ("ERROR", code)
        assert message["error"]["message"]
        assert (message["text"], message["position"]) == (text, k)
        assert (message["length"], message["sha256"]) == proof(text)
        assert reading.text == text
        assert reading.proven
        assert reading.end is not None
        assert reading.end["status"] == "ERROR"
        assert reading.end["error"] == message["error"]
