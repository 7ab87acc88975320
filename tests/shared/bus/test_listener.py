"""A listener keeps its channels through every kind of loss, on a real Redis.

More than 300 lines, because all tests share the recorder and the server.
"""

import signal
import socket
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any, cast

import gevent
import gevent.event
import gevent.socket
import pytest
import redis
from structlog.testing import capture_logs

from local.redis import Redis
from shared import awake
from shared.bus import listener as listener_module
from shared.bus.keys import message_channel
from shared.bus.listener import RECONNECT, Listener, Subscription
from shared.bus.livelog import LiveLog
from tests.rig import PATIENCE

A, B, C = (message_channel(uuid.uuid4()) for _ in range(3))
#: Seconds within which what must not happen would have happened.
LEEWAY = 0.1


@pytest.fixture(autouse=True)
def cooperative(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sockets let other greenlets run, as in a patched process."""
    monkeypatch.setattr("redis.connection.socket", gevent.socket)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> float:
    """Seconds of silence until Redis is asked for a sign of life: fewer than in production."""
    monkeypatch.setattr(listener_module, "REDIS_SILENCE", 0.4)
    monkeypatch.setattr(listener_module, "CHECK_EVERY", 0.1)
    return 0.4


class Recorder:
    """A listener and what it called, in order."""

    def __init__(self, url: str) -> None:
        self.calls: list[tuple[str, ...]] = []
        self.listener = Listener(
            LiveLog(url, ttl=60).subscription,
            received=lambda name, payload: self.calls.append(("received", name, payload)),
            subscribed=lambda name: self.calls.append(("subscribed", name)),
            lost=lambda: self.calls.append(("lost",)),
        )

    def count(self, *call: str) -> int:
        return self.calls.count(call)

    def has(self, *calls: tuple[str, ...]) -> Callable[[], bool]:
        return lambda: set(calls) <= set(self.calls)


@pytest.fixture
def recorder(server: Redis) -> Iterator[Recorder]:
    """A listener that has not begun."""
    one = Recorder(server.url)
    yield one
    one.listener.close()


@pytest.fixture
def listening(recorder: Recorder) -> Recorder:
    """A listener that is subscribed to A and B."""
    recorder.listener.subscribe(A, B)
    recorder.listener.start()
    eventually(recorder.has(("subscribed", A), ("subscribed", B)))
    recorder.calls.clear()
    return recorder


def eventually(condition: Callable[[], bool]) -> None:
    with gevent.Timeout(PATIENCE):
        while not condition():
            gevent.sleep(0.01)


def call_redis(server: Redis, *command: str) -> Any:
    client: Any = redis.Redis.from_url(server.url, decode_responses=True)
    try:
        return client.execute_command(*command)
    finally:
        client.close()


def publish(server: Redis, name: str, payload: str) -> int:
    """Publish; the number of connections that received it."""
    return int(call_redis(server, "PUBLISH", name, payload))


def drop_listeners(server: Redis) -> None:
    """Drop them without letting another greenlet run."""
    with socket.create_connection(("127.0.0.1", server.address.port)) as plain:
        plain.sendall(f"AUTH {server.address.password}\r\n".encode())
        assert plain.recv(100) == b"+OK\r\n"
        plain.sendall(b"CLIENT KILL TYPE pubsub\r\n")
        assert plain.recv(100).startswith(b":")


def expect_one_of_each(recorder: Recorder, server: Redis, *names: str) -> None:
    """Each channel is subscribed to once: a message that is published now comes once."""
    payload = uuid.uuid4().hex
    assert [publish(server, name, payload) for name in names] == [1] * len(names)
    eventually(recorder.has(*(("received", name, payload) for name in names)))
    gevent.sleep(LEEWAY)
    assert [recorder.count("received", name, payload) for name in names] == [1] * len(names)


def test_messages_are_received_in_their_order(listening: Recorder, server: Redis) -> None:
    for number in range(100):
        publish(server, A if number % 2 else B, str(number))

    eventually(lambda: len(listening.calls) >= 100)

    assert [payload for _, _, payload in listening.calls] == [str(n) for n in range(100)]


def test_channels_can_be_added_and_given_up_while_connected(
    listening: Recorder, server: Redis
) -> None:
    listening.listener.subscribe(C)
    listening.listener.unsubscribe(A)
    eventually(listening.has(("subscribed", C)))

    assert publish(server, A, "x") == 0
    expect_one_of_each(listening, server, B, C)


def test_a_channel_that_is_given_up_and_wanted_again_is_confirmed_again(
    listening: Recorder, server: Redis
) -> None:
    listening.listener.unsubscribe(A)
    listening.listener.subscribe(A)

    eventually(listening.has(("subscribed", A)))

    expect_one_of_each(listening, server, A, B)


def test_a_closed_connection_is_replaced_and_every_channel_subscribed_again(
    listening: Recorder, server: Redis
) -> None:
    for loss in range(1, 4):
        listening.calls.clear()
        drop_listeners(server)
        eventually(listening.has(("lost",), ("subscribed", A), ("subscribed", B)))

        assert listening.calls[0] == ("lost",), loss
        assert sorted(listening.calls[1:]) == sorted([("subscribed", A), ("subscribed", B)])
        assert listening.listener.connected
        expect_one_of_each(listening, server, A, B)


def test_the_listener_is_not_connected_while_redis_is_down_and_reports_one_loss(
    listening: Recorder, server: Redis
) -> None:
    server.kill()
    eventually(listening.has(("lost",)))

    gevent.sleep(3 * RECONNECT)
    assert not listening.listener.connected
    assert listening.calls == [("lost",)]

    server.start().wait()
    eventually(listening.has(("subscribed", A), ("subscribed", B)))
    assert listening.count("lost") == 1
    expect_one_of_each(listening, server, A, B)


def test_channels_can_be_added_and_given_up_while_redis_is_down(
    listening: Recorder, server: Redis
) -> None:
    server.kill()
    eventually(listening.has(("lost",)))

    listening.listener.unsubscribe(A)
    listening.listener.subscribe(C)
    server.start().wait()
    eventually(listening.has(("subscribed", B), ("subscribed", C)))

    assert publish(server, A, "x") == 0
    expect_one_of_each(listening, server, B, C)
    assert ("subscribed", A) not in listening.calls


def test_a_channel_given_up_before_a_loss_is_noticed_stays_given_up(
    listening: Recorder, server: Redis
) -> None:
    drop_listeners(server)
    assert listening.listener.connected  # no greenlet has run since
    listening.listener.unsubscribe(A)
    listening.listener.subscribe(C)

    eventually(listening.has(("lost",), ("subscribed", B), ("subscribed", C)))

    assert publish(server, A, "x") == 0
    expect_one_of_each(listening, server, B, C)


def test_a_redis_that_comes_later_is_found(recorder: Recorder, server: Redis) -> None:
    server.kill()
    recorder.listener.subscribe(A)
    recorder.listener.start()
    gevent.sleep(LEEWAY)
    assert not recorder.listener.connected

    server.start().wait()
    eventually(recorder.has(("subscribed", A)))

    expect_one_of_each(recorder, server, A)
    assert recorder.count("lost") == 0


def test_a_silent_redis_is_given_up_and_found_again(
    impatient: float, listening: Recorder, server: Redis
) -> None:
    begun = time.monotonic()
    server.signal(signal.SIGSTOP)
    eventually(listening.has(("lost",)))
    assert time.monotonic() - begun > 2 * impatient - 0.1  # the last sign of life came before
    assert not listening.listener.connected

    server.signal(signal.SIGCONT)
    eventually(listening.has(("subscribed", A), ("subscribed", B)))

    assert listening.count("lost") == 1
    expect_one_of_each(listening, server, A, B)


def test_a_redis_without_messages_is_kept_as_it_answers(
    impatient: float, listening: Recorder, server: Redis
) -> None:
    gevent.sleep(5 * impatient)

    assert listening.calls == []
    expect_one_of_each(listening, server, A, B)


def test_a_pause_of_this_process_is_not_taken_for_silence_of_redis(
    impatient: float, listening: Recorder, server: Redis
) -> None:
    watch = gevent.spawn(awake.watch)
    gevent.sleep(0)
    server.signal(signal.SIGSTOP)

    time.sleep(awake.PAUSE + 2 * impatient)  # holds the whole process
    gevent.sleep(0)
    server.signal(signal.SIGCONT)
    gevent.sleep(5 * impatient)
    watch.kill()

    assert listening.calls == []


def test_a_bug_in_a_callback_is_logged_and_ends_in_a_new_connection(
    recorder: Recorder, server: Redis
) -> None:
    def fail(name: str, payload: str) -> None:
        if payload == "bad":
            raise KeyError(payload)
        record(name, payload)

    record, recorder.listener._received = recorder.listener._received, fail
    recorder.listener.subscribe(A)
    recorder.listener.start()
    eventually(recorder.has(("subscribed", A)))

    with capture_logs() as logged:
        publish(server, A, "bad")
        eventually(lambda: recorder.count("subscribed", A) == 2)

    assert recorder.calls == [("subscribed", A), ("lost",), ("subscribed", A)]
    assert [entry["event"] for entry in logged] == ["listener.bug"]
    expect_one_of_each(recorder, server, A)


def test_a_closed_listener_calls_nothing_and_leaves_no_connection(
    listening: Recorder, server: Redis
) -> None:
    listening.listener.close()

    eventually(lambda: publish(server, A, "x") == 0)
    assert not listening.listener.connected
    gevent.sleep(2 * RECONNECT)
    assert publish(server, A, "x") == 0
    assert listening.calls == []


def test_starting_twice_listens_once(listening: Recorder, server: Redis) -> None:
    listening.listener.start()

    gevent.sleep(LEEWAY)

    expect_one_of_each(listening, server, A, B)


class SlowConnection:
    """A subscription whose commands block until `may_go` is set; it receives nothing."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, ...]] = []
        self.sending = 0
        self.may_go = gevent.event.Event()

    def _send(self, *command: str) -> None:
        assert not self.sending, "two commands at once mix on the wire"
        self.sending += 1
        self.may_go.wait()
        self.sending -= 1
        self.sent.append(command)

    def subscribe(self, *channels: str) -> None:
        self._send("SUBSCRIBE", *channels)

    def unsubscribe(self, *channels: str) -> None:
        self._send("UNSUBSCRIBE", *channels)

    def listen(self) -> None:
        gevent.sleep(0.1)

    def ping(self) -> None:
        pass

    def close(self) -> None:
        pass


def test_changes_that_come_while_one_is_sent_are_sent_after_it() -> None:
    connection = SlowConnection()
    listener = Listener(
        lambda: cast("Subscription", connection),
        received=lambda *_: None,
        subscribed=lambda _: None,
        lost=lambda: None,
    )
    listener.subscribe(A)
    listener.start()
    eventually(lambda: connection.sending == 1)

    listener.subscribe(B)
    listener.subscribe(C)
    listener.unsubscribe(B)
    connection.may_go.set()

    eventually(lambda: len(connection.sent) == 3)
    assert connection.sent == [("SUBSCRIBE", A), ("UNSUBSCRIBE", B), ("SUBSCRIBE", C)]
    listener.close()
