"""Waiting for what a response depends on ends with it, with the time, or with the stream."""

import socket
import time
import uuid
from collections.abc import Callable

import gevent
import pytest

from tests.topics import say
from web.faces import native
from web.following.message_topic import MessageTopic
from web.following.streaming import Stream
from web.following.waiting import wait

#: Seconds that no test here waits for.
LONG = 60.0


@pytest.fixture
def topic() -> MessageTopic:
    """A message that is being written."""
    return MessageTopic(uuid.uuid4(), uuid.uuid4())


def stream_of(topic: MessageTopic, deadline: float = 1e12) -> Stream:
    return Stream(native.FACE, topic, 0, heartbeat=LONG, deadline=deadline)


def waited(stream: Stream, topic: MessageTopic, then: Callable[[], object]) -> bool:
    """What a wait for three characters returned; `then` is done while it waits."""
    waiting = gevent.spawn(wait, stream, lambda: topic.body.length >= 3, LONG)
    gevent.sleep(0)
    assert not waiting.ready()
    then()
    return bool(waiting.get(timeout=LONG / 2))


def test_it_ends_when_the_source_has_come_so_far(topic: MessageTopic) -> None:
    stream = stream_of(topic)

    def grow() -> None:
        say(topic, "a")
        gevent.sleep(0)
        say(topic, "bc")

    assert waited(stream, topic, grow)
    assert wait(stream, lambda: topic.body.length >= 3, 0.0)  # and at once where it is so already
    assert stream.on_evict is None


def test_it_ends_when_the_stream_is_to_be_cut(topic: MessageTopic) -> None:
    assert not waited(stream_of(topic), topic, topic.close)
    other = MessageTopic(uuid.uuid4(), uuid.uuid4())
    stream = stream_of(other)
    assert not waited(stream, other, stream.evict)
    assert not wait(stream_of(other, time.monotonic()), lambda: False, LONG)


def test_it_ends_in_time(topic: MessageTopic) -> None:
    begun = time.monotonic()

    assert not wait(stream_of(topic), lambda: False, 0.2)

    assert 0.2 <= time.monotonic() - begun < LONG / 2


def test_it_ends_when_its_client_has_left(topic: MessageTopic) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        left = socket.create_connection(server.getsockname())
        client, _ = server.accept()
    left.close()
    with client:
        stream = stream_of(topic)
        assert not wait(stream, lambda: False, LONG, client)
        assert stream.left
