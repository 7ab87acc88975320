"""A stream on its connection, without a server around it."""

import fcntl
import select
import socket
import sys
import termios
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from unittest.mock import patch

import gevent
import pytest

from shared.body import Body, Delta
from tests.rig import PATIENCE, until
from tests.tcp_proxy import switch_off
from tests.topics import PlainFace, say
from tests.topics import ended as finish
from web.following import connection as connections
from web.following.connection import UNSENT, StreamConnection
from web.following.face import BURST_BYTES
from web.following.message_topic import MessageTopic
from web.following.streaming import Stream

FACE = PlainFace()


class Client:
    """The other end of a connection. It reads in a thread of its own, once a test asks for it."""

    def __init__(self, end: socket.socket) -> None:
        self.end = end
        self.received = bytearray()
        self._thread = threading.Thread(target=self._read)

    def read(self, pause: float = 0.0, size: int = 1 << 16) -> None:
        self._pause, self._size = pause, size
        self._thread.start()

    def all(self) -> bytes:
        self._thread.join(PATIENCE)
        return bytes(self.received)

    def _read(self) -> None:
        with suppress(OSError):  # it may have been switched off
            while found := self.end.recv(self._size):
                self.received += found
                time.sleep(self._pause)


Open = Callable[..., tuple[StreamConnection, Client]]


@pytest.fixture
def topic() -> MessageTopic:
    return MessageTopic(uuid.uuid4(), uuid.uuid4())


@pytest.fixture
def ended() -> list[int]:
    """Bytes of the body of each connection that was closed, as they are logged."""
    return []


@pytest.fixture
def opened(
    topic: MessageTopic, ended: list[int], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Open]:
    """Puts a stream on a connection."""
    poller = connections.Poller()  # of another heartbeat than the last
    monkeypatch.setattr(connections, "poller", poller)
    with ExitStack() as stack:

        def open_one(
            face: PlainFace = FACE,
            *,
            heartbeat: float = 100.0,
            chunked: bool = False,
            pair: tuple[socket.socket, socket.socket] | None = None,
        ) -> tuple[StreamConnection, Client]:
            mine, theirs = pair or socket.socketpair()
            stack.enter_context(theirs)
            theirs.settimeout(PATIENCE)
            stream = Stream(face, topic, 0, heartbeat=heartbeat, deadline=1e12)
            made = StreamConnection(stream, mine, b"head ", chunked=chunked, on_close=ended.append)
            assert mine.fileno() == -1  # its former owner cannot close it any more
            made.resume()
            return made, Client(theirs)

        yield open_one
        assert not poller.open  # each was closed, for whatever reason


@pytest.mark.parametrize("size", [1, BURST_BYTES, BURST_BYTES + 1, 8 << 20])
def test_everything_is_written_however_little_the_kernel_takes_at_once(
    topic: MessageTopic, opened: Open, ended: list[int], size: int
) -> None:
    _, client = opened()
    texts = [str(number) * size for number in range(3)]

    client.read()
    for text in texts:
        say(topic, text)
        gevent.sleep(0)
    finish(topic, topic.body)
    until(lambda: ended)

    assert client.all() == f"head opened {''.join(texts)} end".encode()
    assert ended == [len(client.received) - len(b"head ")]


def test_each_write_is_a_chunk_of_a_chunked_response(
    topic: MessageTopic, opened: Open, ended: list[int]
) -> None:
    _, client = opened(chunked=True)
    client.read()
    say(topic, "0123456789abcdef")
    gevent.sleep(0)
    finish(topic, topic.body)
    until(lambda: ended)

    parts = (b"head ", b"7\r\nopened \r\n", b"10\r\n0123456789abcdef\r\n", b"4\r\n end\r\n")
    assert client.all() == b"".join(parts) + b"0\r\n\r\n"


@pytest.mark.skipif(sys.platform != "linux", reason="others cannot send both at once")
def test_the_last_bytes_come_with_the_end_of_the_connection(
    topic: MessageTopic, opened: Open, ended: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that goes on at once would send its next request into a closing connection."""
    mine, theirs = _over_tcp(None)
    before: list[bool] = []
    close = StreamConnection._close

    def reading_first(connection: StreamConnection) -> None:
        before.append(bool(select.select([theirs], [], [], 0.02)[0]))
        close(connection)

    monkeypatch.setattr(StreamConnection, "_close", reading_first)
    say(topic, "text")
    finish(topic, topic.body)

    _, client = opened(chunked=True, pair=(mine, theirs))
    client.read()

    until(lambda: ended)
    assert before == [False]
    assert client.all().endswith(b"0\r\n\r\n")


def test_a_client_that_does_not_read_delays_no_other_and_loses_nothing(
    topic: MessageTopic, opened: Open, ended: list[int]
) -> None:
    (_, lazy), (_, client) = opened(), opened()
    client.read()
    text = "x" * (8 << 20)  # more than any system keeps for it

    say(topic, text)
    until(lambda: len(client.received) == len("head opened ") + len(text))
    say(topic, "And this.")
    finish(topic, topic.body)
    until(lambda: len(ended) == 1)

    lazy.read()
    until(lambda: len(ended) == 2)
    assert lazy.all() == client.all() == f"head opened {text}And this. end".encode()


def test_a_client_that_takes_nothing_until_the_write_timeout_is_cut(
    topic: MessageTopic, opened: Open, ended: list[int]
) -> None:
    _, lazy = opened()
    with patch("web.following.connection.WRITE_TIMEOUT", 0.0):
        say(topic, "x" * (8 << 20))
        until(lambda: ended)

    lazy.read()
    assert len(lazy.all()) < 8 << 20


def test_a_client_that_is_gone_is_noticed_by_the_next_write(
    topic: MessageTopic, opened: Open, ended: list[int]
) -> None:
    _, client = opened()
    client.end.close()

    say(topic, "Anybody there?")
    until(lambda: ended)


def test_bytes_sent_after_the_request_do_not_reset_the_connection(
    topic: MessageTopic, opened: Open, ended: list[int]
) -> None:
    _, client = opened(pair=_over_tcp())
    client.end.sendall(b"a body that is never read")
    text = "x" * 500_000  # the system keeps it until the client takes it
    say(topic, text)
    gevent.sleep(0.01)
    finish(topic, topic.body)
    client.read()
    until(lambda: ended)

    assert client.all() == f"head opened {text} end".encode()


def _over_tcp(room: int | None = 4096) -> tuple[socket.socket, socket.socket]:
    """`room`: bytes that the other end has for what it has not read; None: as usual."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        theirs = socket.socket()
        if room is not None:
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        theirs.connect(server.getsockname())
        return server.accept()[0], theirs


@pytest.mark.failure(52)
def test_a_slow_reader_whose_machine_answers_keeps_its_connection(
    topic: MessageTopic, opened: Open, ended: list[int]
) -> None:
    """It has no room for a second at a time, which is four heartbeats here."""
    _, client = opened(heartbeat=0.25, pair=_over_tcp(None))
    text = "x" * 600_000
    say(topic, text)
    finish(topic, topic.body)
    client.read(pause=0.01, size=1_200)

    until(lambda: ended)

    assert client.all() == f"head opened {text} end".encode()


def test_little_waits_in_the_kernel_for_a_client_that_takes_nothing(
    topic: MessageTopic, opened: Open, ended: list[int]
) -> None:
    """What waits here instead can still become fewer and larger frames."""
    connection, client = opened(pair=_over_tcp())
    say(topic, "x" * (8 << 20))
    writer = connection._socket  # the only one who knows

    def waiting() -> int:
        return int.from_bytes(fcntl.ioctl(writer, termios.TIOCOUTQ, bytes(4)), sys.byteorder)

    until(lambda: waiting() > UNSENT // 2)
    gevent.sleep(0.1)
    assert waiting() < 4 * UNSENT
    topic.close()
    client.read()
    until(lambda: ended)


@pytest.mark.failure(28)
@pytest.mark.parametrize("doing", ["reading", "reading nothing"])
def test_a_machine_that_was_switched_off_is_noticed_whatever_its_reader_did(
    topic: MessageTopic, opened: Open, ended: list[int], doing: str
) -> None:
    _, client = opened(heartbeat=1.0, pair=_over_tcp(None))
    if doing == "reading":
        client.read()
        say(topic, "something")
        until(lambda: b"something" in client.received)
    else:
        say(topic, "x" * (8 << 20))
        gevent.sleep(0.5)  # until there is no room
    switch_off(client.end)

    with gevent.Timeout(PATIENCE):
        while not ended:
            say(topic, "more")
            gevent.sleep(0.05)


def test_a_silence_brings_heartbeats(topic: MessageTopic, opened: Open, ended: list[int]) -> None:
    _, client = opened(heartbeat=0.0)

    until(lambda: client.end.recv(100, socket.MSG_PEEK).endswith(b"alivealive"))
    topic.close()
    until(lambda: ended)


class FailingFace(PlainFace):
    """Its stretches cannot be written."""

    def stretch(self, body: Body, delta: Delta) -> bytes:
        raise RuntimeError(delta.text)


@pytest.mark.parametrize(
    ("fault", "body"),
    [(None, b"7\r\nopened \r\n"), (b"failed", b"7\r\nopened \r\n6\r\nfailed\r\n0\r\n\r\n")],
)
def test_a_bug_in_a_face_ends_the_stream_in_its_dialect_and_logs_no_text(
    topic: MessageTopic, opened: Open, ended: list[int], caplog: pytest.LogCaptureFixture,
    fault: bytes | None, body: bytes,
) -> None:  # fmt: skip
    _, client = opened(FailingFace(fault=fault), chunked=True)
    client.read()

    with caplog.at_level(0):
        say(topic, "something private")
        until(lambda: ended)

    assert client.all() == b"head " + body
    assert "private" not in caplog.text


# --- how a response is cut while its message goes on ----------------------------------------------

SENT = b"head 7\r\nopened \r\n9\r\nSome text\r\n"
LAST_CHUNK = b"0\r\n\r\n"


@pytest.mark.parametrize(
    ("cut", "end"),
    [
        pytest.param(b" retry", b"6\r\n retry\r\n" + LAST_CHUNK, id="with a word"),
        pytest.param(b"", LAST_CHUNK, id="clean"),
        pytest.param(None, b"", id="torn"),
    ],
)
def test_a_chunked_response_is_cut_as_its_face_says(
    topic: MessageTopic, opened: Open, ended: list[int], caplog: pytest.LogCaptureFixture,
    cut: bytes | None, end: bytes,
) -> None:  # fmt: skip
    """Only a body that ends cleanly has a last chunk; nothing of it is logged as an error."""
    _, client = opened(PlainFace(cut), chunked=True)
    client.read()
    say(topic, "Some text")
    gevent.sleep(0.01)

    with caplog.at_level(0):
        topic.close()
        until(lambda: ended)

    assert client.all() == SENT + end
    assert caplog.text == ""


@pytest.mark.parametrize(("cut", "reset"), [(b" retry", False), (b"", False), (None, True)])
def test_without_chunks_a_torn_connection_is_reset(
    topic: MessageTopic, opened: Open, ended: list[int], cut: bytes | None, reset: bool
) -> None:
    """Its end would be the end of the body."""
    _, client = opened(PlainFace(cut), pair=_over_tcp())
    assert client.end.recv(100) == b"head opened "

    topic.close()
    until(lambda: ended)

    if reset:
        with pytest.raises(ConnectionResetError):
            client.end.recv(100)
    else:
        client.read()
        assert client.all() == (cut or b"")


@pytest.mark.parametrize(("cut", "end"), [(b" retry", b" retry"), (b"", b"")])
def test_an_evicted_reader_that_waits_is_cut_at_once(
    opened: Open, ended: list[int], cut: bytes, end: bytes
) -> None:
    connection, client = opened(PlainFace(cut))
    client.read()

    connection._stream.evict()
    until(lambda: ended)

    assert client.all() == b"head opened " + end


def test_an_evicted_reader_that_is_slow_is_given_nothing_more(
    topic: MessageTopic, opened: Open, ended: list[int]
) -> None:
    connection, lazy = opened(chunked=True)
    say(topic, "x" * (8 << 20))
    gevent.sleep(0.01)
    assert not ended

    connection._stream.evict()
    until(lambda: ended)

    lazy.read()
    assert len(lazy.all()) < 8 << 20
