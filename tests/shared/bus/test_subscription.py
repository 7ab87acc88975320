"""One connection that listens: confirmations, messages, timeouts and faults."""

import signal
import socket
import threading
import time
import uuid
from collections.abc import Iterator

import pytest

from local.redis import Redis
from shared.body import Delta
from shared.bus.coding import Payload, decode
from shared.bus.keys import message_channel
from shared.bus.listener import PubSubMessage, Subscription
from shared.bus.livelog import LiveLog
from shared.errors import RedisDown
from tests.shared.bus.publications import CLAIM, publication
from tests.store_fixtures import Store, at_once


def test_a_subscription_is_confirmed_before_any_message(
    store: Store, subscription: Subscription, opened: uuid.UUID
) -> None:
    other = uuid.uuid4()
    subscription.subscribe(message_channel(opened), message_channel(other))
    confirmed = [subscription.listen(5) for _ in range(2)]

    store.livelog.notify_ended(opened, CLAIM)

    assert [(one.kind, one.channel) for one in confirmed if one] == [
        ("subscribe", message_channel(opened)),
        ("subscribe", message_channel(other)),
    ]
    woken = subscription.listen(5)
    assert woken == PubSubMessage("message", message_channel(opened), "{}")
    assert decode(woken.payload) == Payload(None, ())


def test_no_message_comes_after_unsubscribing(
    store: Store, subscription: Subscription, opened: uuid.UUID
) -> None:
    subscription.subscribe(message_channel(opened))
    subscription.unsubscribe(message_channel(opened))
    assert [getattr(subscription.listen(5), "kind", "") for _ in range(2)] == [
        "subscribe",
        "unsubscribe",
    ]

    store.livelog.notify_ended(opened, CLAIM)
    subscription.ping()

    assert subscription.listen(5) == PubSubMessage("pong", "", "")


def test_a_timeout_returns_none_and_loses_no_message(
    store: Store, subscription: Subscription, opened: uuid.UUID
) -> None:
    subscription.subscribe(message_channel(opened))
    subscription.listen(5)

    assert [subscription.listen(0.01) for _ in range(3)] == [None] * 3

    store.publish_all([publication(opened, 0, "a")])
    message = subscription.listen(5)
    assert message is not None
    assert decode(message.payload) == Payload(CLAIM, [Delta(0, 0, "text", "a")])


def test_a_ping_is_answered_with_and_without_channels(
    subscription: Subscription, opened: uuid.UUID
) -> None:
    subscription.ping()
    assert subscription.listen(5) == PubSubMessage("pong", "", "")

    subscription.subscribe(message_channel(opened))
    subscription.ping()
    assert [getattr(subscription.listen(5), "kind", "") for _ in range(2)] == ["subscribe", "pong"]


def test_a_cut_connection_is_redis_down(
    store: Store, subscription: Subscription, opened: uuid.UUID
) -> None:
    subscription.subscribe(message_channel(opened))
    subscription.listen(5)

    store.redis.client_kill_filter(_type="pubsub")

    with pytest.raises(RedisDown):
        subscription.listen(5)


def test_closing_interrupts_a_call_that_listens(
    subscription: Subscription, opened: uuid.UUID
) -> None:
    subscription.subscribe(message_channel(opened))
    subscription.listen(5)

    def act(number: int) -> None:
        if number:
            subscription.listen(30)
        else:
            subscription.close()

    begun = time.monotonic()
    _, errors = at_once(2, act)

    assert [type(error) for error in errors] == [RedisDown]
    assert time.monotonic() - begun < 5


def test_a_closed_subscription_stays_closed(subscription: Subscription, opened: uuid.UUID) -> None:
    subscription.close()

    with pytest.raises(RedisDown):
        subscription.subscribe(message_channel(opened))
    with pytest.raises(RedisDown):
        subscription.ping()
    with pytest.raises(RedisDown):
        subscription.listen(0.1)


def test_a_frozen_redis_is_a_timeout_and_nothing_is_lost(server: Redis, livelog: LiveLog) -> None:
    subscription = livelog.subscription()
    subscription.ping()
    assert subscription.listen(5) is not None
    server.signal(signal.SIGSTOP)

    subscription.ping()
    silence = subscription.listen(0.05)
    server.signal(signal.SIGCONT)

    assert silence is None
    assert subscription.listen(5) == PubSubMessage("pong", "", "")
    subscription.close()


# --- a Redis that sends what a test wants, in pieces ---------------------------------------------


class PiecewiseServer:
    """A server that sends exactly the bytes that a test gives it."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"
        self._peers: list[socket.socket] = []
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def _accept(self) -> None:
        """Take one client."""
        peer, _ = self._listener.accept()
        self._peers.append(peer)

    def greet(self) -> None:
        """Answer each command of the client's handshake with OK."""
        self._thread.join()
        peer = self._peers[0]
        peer.settimeout(0.2)
        try:
            while asked := peer.recv(65536):
                peer.sendall(b"+OK\r\n" * max(1, asked.count(b"*")))
        except TimeoutError:
            pass

    def send(self, piece: bytes) -> None:
        self._peers[0].sendall(piece)

    def close(self) -> None:
        for one in (*self._peers, self._listener):
            one.close()


@pytest.fixture
def piecewise() -> Iterator[tuple[PiecewiseServer, Subscription]]:
    server = PiecewiseServer()
    greeter = threading.Thread(target=server.greet)
    greeter.start()
    subscription = Subscription(server.url)
    greeter.join()
    yield server, subscription
    subscription.close()
    server.close()


def test_a_reply_cut_at_any_byte_survives_any_number_of_timeouts(
    piecewise: tuple[PiecewiseServer, Subscription],
) -> None:
    server, subscription = piecewise
    payload = '[[0,0,"text","é😀"]]'
    size = len(payload.encode())
    reply = f"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n${size}\r\n{payload}\r\n".encode()

    for place in range(1, len(reply)):
        server.send(reply[:place])
        assert subscription.listen(0.002) is None
        server.send(reply[place:] + b"+PONG\r\n")
        assert subscription.listen(5) == PubSubMessage("message", "c", payload)
        assert subscription.listen(5) == PubSubMessage("pong", "", "")


@pytest.mark.parametrize("nonsense", [b"HTTP/1.1 200 OK\r\n\r\n", b"*0\r\n", b"*1\r\n:1\r\n"])
def test_malformed_messages_are_redis_down(
    piecewise: tuple[PiecewiseServer, Subscription], nonsense: bytes
) -> None:
    server, subscription = piecewise

    server.send(nonsense)

    with pytest.raises(RedisDown):
        subscription.listen(5)
