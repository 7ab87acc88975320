"""A stream on its connection, without a server around it."""

import fcntl
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

from shared.body import Delta
from tests.rig import PATIENCE, until
from tests.tcp_proxy import switch_off
from tests.topics import ended as finish
from tests.topics import say
from web.following import serving
from web.following.hub import Hub
from web.following.serving import UNSENT, Connection
from web.following.streaming import Face, Reader, Stream
from web.following.topic import BURST_BYTES, MessageTopic

FACE = Face(lambda delta: delta.text.encode(), lambda _: b" end", b"alive", lambda _: b"retry ")


class Other:
    """Who is at the other end, and reads in a thread of its own when it is told to."""

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


Open = Callable[..., tuple[Connection, Other]]


@pytest.fixture
def topic() -> MessageTopic:
    return MessageTopic(uuid.uuid4(), uuid.uuid4())


@pytest.fixture
def ended() -> list[int]:
    """What the log was told: bytes, once for each connection that ended."""
    return []


@pytest.fixture
def opened(
    topic: MessageTopic, hub: Hub, ended: list[int], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Open]:
    """Puts a stream on a connection."""
    monkeypatch.setattr(serving, "_watch", serving._Watch())  # of another heartbeat than the last
    with ExitStack() as stack:

        def open_one(
            face: Face = FACE,
            *,
            heartbeat: float = 100.0,
            chunked: bool = False,
            pair: tuple[socket.socket, socket.socket] | None = None,
        ) -> tuple[Connection, Other]:
            mine, theirs = pair or socket.socketpair()
            stack.enter_context(theirs)
            theirs.settimeout(PATIENCE)
            stream = Stream(Reader(topic, 0, face), hub, heartbeat, 1e12, ExitStack())
            made = Connection(stream, mine, b"head ", chunked=chunked, ended=ended.append)
            assert mine.fileno() == -1  # whoever had it cannot close it any more
            made.go_on()
            return made, Other(theirs)

        yield open_one
        assert not serving._watch.open  # each ended, however it did


@pytest.fixture
def hub() -> Hub:
    """One of a process that is not leaving; nothing else is asked of it here."""
    return Hub(*[None] * 3)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [1, BURST_BYTES, BURST_BYTES + 1, 8 << 20])
def test_everything_is_written_however_much_the_system_takes_at_once(
    topic: MessageTopic, opened: Open, ended: list[int], size: int
) -> None:
    _, other = opened()
    texts = [str(number) * size for number in range(3)]

    other.read()
    for text in texts:
        say(topic, text)
        gevent.sleep(0)
    finish(topic, topic.body)
    until(lambda: ended)

    assert other.all() == f"head retry {''.join(texts)} end".encode()
    assert ended == [len(other.received) - len(b"head ")]


def test_a_chunked_response_is_cut_where_what_was_written_ends(
    topic: MessageTopic, opened: Open, ended: list[int]
) -> None:
    _, other = opened(chunked=True)
    other.read()
    say(topic, "0123456789abcdef")
    gevent.sleep(0)
    finish(topic, topic.body)
    until(lambda: ended)

    parts = (b"head ", b"6\r\nretry \r\n", b"10\r\n0123456789abcdef\r\n", b"4\r\n end\r\n")
    assert other.all() == b"".join(parts) + b"0\r\n\r\n"


def test_who_does_not_read_keeps_nobody_waiting_and_loses_nothing(
    topic: MessageTopic, opened: Open, ended: list[int]
) -> None:
    (_, lazy), (_, other) = opened(), opened()
    other.read()
    text = "x" * (8 << 20)  # more than any system keeps for it

    say(topic, text)
    until(lambda: len(other.received) == len("head retry ") + len(text))
    say(topic, "And this.")
    finish(topic, topic.body)
    until(lambda: len(ended) == 1)

    lazy.read()
    until(lambda: len(ended) == 2)
    assert lazy.all() == other.all() == f"head retry {text}And this. end".encode()


def test_who_takes_nothing_for_too_long_is_cut(
    topic: MessageTopic, opened: Open, ended: list[int]
) -> None:
    _, lazy = opened()
    with patch("web.following.serving.WRITE_TIMEOUT", 0.0):
        say(topic, "x" * (8 << 20))
        until(lambda: ended)

    lazy.read()
    assert len(lazy.all()) < 8 << 20


def test_who_has_gone_is_noticed_by_the_next_write(
    topic: MessageTopic, opened: Open, ended: list[int]
) -> None:
    _, other = opened()
    other.end.close()

    say(topic, "Anybody there?")
    until(lambda: ended)


def test_what_a_client_sent_behind_its_request_costs_it_nothing_of_the_answer(
    topic: MessageTopic, opened: Open, ended: list[int]
) -> None:
    _, other = opened(pair=_over_tcp())
    other.end.sendall(b"a body that nobody reads")
    text = "x" * 500_000  # the system keeps it until the client takes it
    say(topic, text)
    gevent.sleep(0.01)
    finish(topic, topic.body)
    other.read()
    until(lambda: ended)

    assert other.all() == f"head retry {text} end".encode()


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
    _, other = opened(heartbeat=0.25, pair=_over_tcp(None))
    text = "x" * 600_000
    say(topic, text)
    finish(topic, topic.body)
    other.read(pause=0.01, size=1_200)

    until(lambda: ended)

    assert other.all() == f"head retry {text} end".encode()


def test_little_waits_in_the_kernel_for_a_reader_who_takes_nothing(
    topic: MessageTopic, opened: Open, ended: list[int]
) -> None:
    """What waits here instead can still become fewer and larger frames."""
    connection, other = opened(pair=_over_tcp())
    say(topic, "x" * (8 << 20))
    writer = connection._socket  # the only one who knows

    def waiting() -> int:
        return int.from_bytes(fcntl.ioctl(writer, termios.TIOCOUTQ, bytes(4)), sys.byteorder)

    until(lambda: waiting() > UNSENT // 2)
    gevent.sleep(0.1)
    assert waiting() < 4 * UNSENT
    topic.leave()
    other.read()
    until(lambda: ended)


@pytest.mark.failure(28)
@pytest.mark.parametrize("doing", ["reading", "reading nothing"])
def test_a_machine_that_was_switched_off_is_noticed_whatever_its_reader_did(
    topic: MessageTopic, opened: Open, ended: list[int], doing: str
) -> None:
    _, other = opened(heartbeat=1.0, pair=_over_tcp(None))
    if doing == "reading":
        other.read()
        say(topic, "something")
        until(lambda: b"something" in other.received)
    else:
        say(topic, "x" * (8 << 20))
        gevent.sleep(0.5)  # until there is no room
    switch_off(other.end)

    with gevent.Timeout(PATIENCE):
        while not ended:
            say(topic, "more")
            gevent.sleep(0.05)


def test_in_a_silence_there_is_a_sign_of_life(
    topic: MessageTopic, opened: Open, ended: list[int]
) -> None:
    _, other = opened(heartbeat=0.0)

    until(lambda: other.end.recv(100, socket.MSG_PEEK).endswith(b"alivealive"))
    topic.leave()
    until(lambda: ended)


def test_a_bug_in_a_face_ends_its_streams_and_tells_nothing_that_was_written(
    topic: MessageTopic, opened: Open, ended: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    def fails(delta: Delta) -> bytes:
        raise RuntimeError(delta.text)

    opened(Face(fails, FACE.end, FACE.heartbeat, FACE.retry))
    with caplog.at_level(0):
        say(topic, "something private")
        until(lambda: ended)

    assert "private" not in caplog.text
