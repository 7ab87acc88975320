"""Redis loses its data, dies or freezes in the middle of ten streams.

Nothing that matters is only in Redis: every answer ends DONE, and every reader has all of it, those
that come later too.
"""

import signal
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
import redis

import scripted
from scripted import done, finish, hold, long, script, usage
from tests.client import Client, Reading, new_id, proof
from tests.end_to_end.conftest import Fragile
from tests.rig import Rig, frozen
from tests.stories import dispatched_by_a_sweep

STREAMS = 10


class Story:
    """Ten answers being written, each with a reader that stays and one that comes later."""

    def __init__(self, fragile: Fragile, *, rate: float, characters: int) -> None:
        self.client: Client = fragile.client
        self.rig: Rig = fragile.rig
        tag = new_id()
        self.questions = [
            script(long(characters, rate=rate, seed=n), finish(), usage(), done(), tag=tag)
            for n in range(STREAMS)
        ]
        self.pool = ThreadPoolExecutor(3 * STREAMS)
        self.answers = list(self.pool.map(self.client.ask, self.questions))
        self.staying: list[Future[Reading]] = []

    def shown(self, characters: int) -> None:
        """Wait until every answer has as many characters."""
        list(self.pool.map(lambda one: self.client.shown(one, characters), self.answers))

    def read(self) -> None:
        """One more reader for each, from the beginning."""
        self.staying += [self.pool.submit(self.client.read(one).to_end) for one in self.answers]

    def fetch_all(self) -> None:
        """Check that every message can be fetched."""
        for answer in self.answers:
            assert self.client.message(answer)["status"] in ("STREAMING", "DONE")

    def all_complete(self) -> None:
        """All are DONE, exact, and complete for every reader."""
        self.read()  # readers that come afterwards
        texts = [scripted.expected(question).text for question in self.questions]
        for place, future in enumerate(self.staying):
            reading = future.result()
            assert reading.text == texts[place % STREAMS]
            assert reading.proven
            assert reading.end is not None
            assert reading.end["status"] == "DONE"
        for text, answer in zip(texts, self.answers, strict=True):
            message = self.client.message(answer)
            assert (message["status"], message["text"]) == ("DONE", text)
            assert (message["length"], message["sha256"]) == proof(text)
            [record] = self.rig.rows("SELECT tries FROM messages WHERE id = :id", id=answer)
            assert record.tries == 1
        self.pool.shutdown()


def _flush(rig: Rig) -> None:
    with redis.Redis.from_url(rig.redis.url) as server:
        assert server.flushall()


def _hurt(fragile: Fragile, hurt: Callable[[Rig, Story], None]) -> None:
    """Break Redis while ten answers are written and read."""
    story = Story(fragile, rate=120, characters=600)
    story.read()
    story.shown(100)
    hurt(fragile.rig, story)
    story.read()  # readers that come while Redis has lost the text before
    story.all_complete()


@pytest.mark.failure(9)
def test_streams_survive_flushall(fragile: Fragile) -> None:
    def forget_again_and_again(rig: Rig, story: Story) -> None:
        for characters in (100, 200, 350):
            story.shown(characters)
            _flush(rig)

    _hurt(fragile, forget_again_and_again)


@pytest.mark.failure(8)
def test_streams_survive_a_restart_of_redis(fragile: Fragile) -> None:
    def die(rig: Rig, story: Story) -> None:
        rig.redis.kill()
        story.fetch_all()
        rig.redis.start().wait()

    _hurt(fragile, die)


@pytest.mark.failure(9)
def test_streams_survive_a_restart_of_redis_without_data(fragile: Fragile) -> None:
    def die(rig: Rig, story: Story) -> None:
        rig.redis.kill()
        story.read()  # readers that come while there is no Redis
        for file in rig.redis.directory.glob("appendonlydir/*"):
            file.unlink()
        rig.redis.start().wait()

    _hurt(fragile, die)


@pytest.mark.failure(39)
def test_streams_survive_a_redis_that_goes_back_by_seconds(
    fragile: Fragile, tmp_path: Path
) -> None:
    """The worker lives and has what Redis lost; old tasks of the queue find nothing to do."""

    def go_back_twice(rig: Rig, story: Story) -> None:
        rig.redis.snapshot(tmp_path / "snapshot")
        for characters in (250, 400):
            story.shown(characters)
            rig.redis.kill()
            rig.redis.rewind(tmp_path / "snapshot")
            rig.redis.start().wait()

    _hurt(fragile, go_back_twice)


@pytest.mark.failure(10)
def test_streams_and_messages_are_served_while_redis_is_frozen(fragile: Fragile) -> None:
    def freeze(rig: Rig, story: Story) -> None:
        with frozen(rig.redis):
            story.read()
            thawed = time.monotonic() + 3
            while time.monotonic() < thawed:
                story.fetch_all()

    _hurt(fragile, freeze)


def test_readers_of_a_silent_answer_lose_nothing_to_flushall(fragile: Fragile) -> None:
    """All that was published is saved and the model is silent: no reader misses anything."""
    client, rig = fragile.client, fragile.rig
    name = f"quiet {new_id()}"
    question = script(long(300), hold(name), long(300, seed=1), finish(), done())
    answer = client.ask(question)
    with client.read(answer).open() as connection, ThreadPoolExecutor(1) as pool:
        reading = client.read(answer)
        events = connection.events()
        while len(reading.text) < 300:
            reading.take(next(events))
        _flush(rig)
        late = pool.submit(client.read(answer).to_end)
        assert client.shown(answer, 300)["text"] == reading.text
        rig.scripted.release(name)
        for event in events:
            reading.take(event)
        text = scripted.expected(question).text
        assert (reading.text, late.result().text) == (text, text)
        assert reading.proven


def test_after_flushall_a_question_is_answered_without_a_sweep(fragile: Fragile) -> None:
    _flush(fragile.rig)

    answer = fragile.client.ask(script(long(20), finish(), done()))

    assert fragile.client.ended(answer)["status"] == "DONE"
    assert not dispatched_by_a_sweep(fragile.rig, answer)


@pytest.mark.failure(27)
def test_a_question_whose_task_was_lost_is_dispatched_again(fragile: Fragile) -> None:
    client, rig = fragile.client, fragile.rig
    question = script(long(20), finish(), done(), tag=new_id())
    fragile.worker.signal(signal.SIGSTOP)
    try:
        answers = [client.ask(question) for _ in range(5)]
        _flush(rig)
    finally:
        fragile.worker.signal(signal.SIGCONT)

    for answer in answers:
        assert client.read(answer).to_end().text == scripted.expected(question).text
