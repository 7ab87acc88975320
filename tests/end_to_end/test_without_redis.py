"""A Redis that is full, slow, frozen or away: answers are asked for, written and read without it.

The worker finds the questions in Postgres, and readers see what is saved there. Once Redis is back,
everything goes through it again.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis

import scripted
from scripted import done, finish, long, say, script, usage
from tests.client import Client, new_id
from tests.end_to_end.conftest import Fragile
from tests.rig import Rig, eventually, frozen, killing
from tests.stories import following, holding, start_worker, verified_end
from tests.tcp_proxy import TcpProxy

WELL = (finish(), usage(), done())
#: Steps in which eight seconds of text come at least while web reads what Postgres has.
STEPS = 4


@contextmanager
def _full(rig: Rig) -> Iterator[None]:
    """Fill Redis: as a queue it evicts nothing and refuses every write that needs memory."""
    with redis.Redis.from_url(rig.redis.url) as server:
        server.config_set("maxmemory", "1")
        try:
            yield
        finally:
            server.config_set("maxmemory", "0")


@pytest.mark.failure(11, 27)
def test_a_full_redis_delays_answers_and_loses_no_text(fragile: Fragile) -> None:
    rig, client = fragile.rig, fragile.client
    with holding(rig, client, long(300), long(900, rate=300, seed=1), *WELL) as held:
        before = client.read(held.id)
        with following(before), _full(rig):
            # when: it goes on, another question is asked, and all clients have to reconnect
            held.go_on()
            with redis.Redis.from_url(rig.redis.url) as server:
                server.execute_command("CLIENT KILL", "TYPE", "normal")
                server.execute_command("CLIENT KILL", "TYPE", "pubsub")
            question = script(long(400), *WELL, tag=new_id())
            asked = client.read(client.ask(question)).to_end()
            # then: both are read to the end though nothing fits into Redis
            late = client.read(held.id).to_end()

        for reading, text in (
            (before, held.text),
            (late, held.text),
            (asked, scripted.expected(question).text),
        ):
            assert verified_end(reading, client.message(reading.message_id)) == ("DONE", None)
            assert reading.text == text

    # and: text goes through Redis again
    with holding(rig, client, say("At once."), *WELL) as again:
        eventually(lambda: rig.live_log(again.id))
        again.go_on()
        assert client.ended(again.id)["status"] == "DONE"
    assert fragile.worker.alive()


@pytest.mark.failure(10)
def test_while_redis_is_frozen_text_comes_in_steps(fragile: Fragile) -> None:
    rig, client = fragile.rig, fragile.client
    question = script(long(800, rate=100), *WELL)
    reading = client.read(client.ask(question))
    client.shown(reading.message_id, 50)
    grown = 0
    with frozen(rig.redis), reading.open() as connection:
        for event in connection.events():
            reading.take(event)
            grown += 1

    assert verified_end(reading, client.message(reading.message_id)) == ("DONE", None)
    assert reading.text == scripted.expected(question).text
    assert grown >= STEPS


@pytest.mark.failure(10)
def test_a_slow_redis_delays_text_and_nothing_else(rig: Rig, no_workers: None) -> None:
    with TcpProxy(rig.redis.url) as proxy:
        web, worker = rig.web(REDIS_URL=proxy.url), start_worker(rig, REDIS_URL=proxy.url)
        with killing(web, worker), Client(web.url) as client:
            worker.wait()
            questions = [script(long(600, rate=200, seed=n), *WELL, tag=new_id()) for n in range(3)]

            # when: everything takes a fifth of a second each way, and stands still for a while
            proxy.delay = 0.2
            readings = [client.read(client.ask(question)) for question in questions]
            with following(*readings):
                for reading in readings:
                    client.shown(reading.message_id, 100)
                with redis.Redis.from_url(rig.redis.url) as server:
                    server.execute_command("CLIENT PAUSE", 1500, "ALL")
                for reading in readings:
                    client.message(reading.message_id)

            for reading, question in zip(readings, questions, strict=True):
                assert verified_end(reading, client.message(reading.message_id)) == ("DONE", None)
                assert reading.text == scripted.expected(question).text
