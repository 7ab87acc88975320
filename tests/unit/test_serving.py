"""A stream on its connection, without a server around it."""

import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from unittest.mock import patch

import gevent
import pytest

from shared.body import Delta
from tests.followed import ended as finish
from tests.followed import say
from tests.rig import PATIENCE, until
from web import serving
from web.followed import AT_ONCE, Followed
from web.hub import Hub
from web.serving import Connection
from web.streaming import Face, Reader, Stream

FACE = Face(lambda delta: delta.text.encode(), lambda _: b" end", b"alive", lambda _: b"retry ")


class Other:
    """Who is at the other end, and reads in a thread of its own when it is told to."""

    def __init__(self, end: socket.socket) -> None:
        self.end = end
        self.received = bytearray()
        self._thread = threading.Thread(target=self._read)

    def read(self) -> None:
        self._thread.start()

    def all(self) -> bytes:
        self._thread.join(PATIENCE)
        return bytes(self.received)

    def _read(self) -> None:
        while found := self.end.recv(1 << 16):
            self.received += found


Open = Callable[..., tuple[Connection, Other]]


@pytest.fixture
def followed() -> Followed:
    return Followed(uuid.uuid4(), uuid.uuid4())


@pytest.fixture
def ended() -> list[int]:
    """What the log was told: bytes, once for each connection that ended."""
    return []


@pytest.fixture
def opened(followed: Followed, hub: Hub, ended: list[int]) -> Iterator[Open]:
    """Puts a stream on a connection."""
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
            stream = Stream(Reader(followed, 0, face), hub, heartbeat, 1e12, ExitStack())
            made = Connection(stream, mine, b"head ", chunked=chunked, ended=ended.append)
            assert mine.fileno() == -1  # whoever had it cannot close it any more
            made.go_on()
            return made, Other(theirs)

        yield open_one
        assert not serving._open  # each ended, however it did


@pytest.fixture
def hub() -> Hub:
    """One of a process that is not leaving; nothing else is asked of it here."""
    return Hub(*[None] * 3)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [1, AT_ONCE, AT_ONCE + 1, 8 << 20])
def test_everything_is_written_however_much_the_system_takes_at_once(
    followed: Followed, opened: Open, ended: list[int], size: int
) -> None:
    _, other = opened()
    texts = [str(number) * size for number in range(3)]

    other.read()
    for text in texts:
        say(followed, text)
        gevent.sleep(0)
    finish(followed, followed.body)
    until(lambda: ended)

    assert other.all() == f"head retry {''.join(texts)} end".encode()
    assert ended == [len(other.received) - len(b"head ")]


def test_a_chunked_response_is_cut_where_what_was_written_ends(
    followed: Followed, opened: Open, ended: list[int]
) -> None:
    _, other = opened(chunked=True)
    other.read()
    say(followed, "0123456789abcdef")
    gevent.sleep(0)
    finish(followed, followed.body)
    until(lambda: ended)

    parts = (b"head ", b"6\r\nretry \r\n", b"10\r\n0123456789abcdef\r\n", b"4\r\n end\r\n")
    assert other.all() == b"".join(parts) + b"0\r\n\r\n"


def test_who_does_not_read_keeps_nobody_waiting_and_loses_nothing(
    followed: Followed, opened: Open, ended: list[int]
) -> None:
    (_, lazy), (_, other) = opened(), opened()
    other.read()
    text = "x" * (8 << 20)  # more than any system keeps for it

    say(followed, text)
    until(lambda: len(other.received) == len("head retry ") + len(text))
    say(followed, "And this.")
    finish(followed, followed.body)
    until(lambda: len(ended) == 1)

    lazy.read()
    until(lambda: len(ended) == 2)
    assert lazy.all() == other.all() == f"head retry {text}And this. end".encode()


def test_who_takes_nothing_for_too_long_is_cut(
    followed: Followed, opened: Open, ended: list[int]
) -> None:
    _, lazy = opened()
    with patch("web.serving.STUCK", 0.0):
        say(followed, "x" * (8 << 20))
        until(lambda: ended)

    lazy.read()
    assert len(lazy.all()) < 8 << 20


def test_who_has_gone_is_noticed_by_the_next_write(
    followed: Followed, opened: Open, ended: list[int]
) -> None:
    _, other = opened()
    other.end.close()

    say(followed, "Anybody there?")
    until(lambda: ended)


def test_what_a_client_sent_behind_its_request_costs_it_nothing_of_the_answer(
    followed: Followed, opened: Open, ended: list[int]
) -> None:
    _, other = opened(pair=_over_tcp())
    other.end.sendall(b"a body that nobody reads")
    text = "x" * 500_000  # the system keeps it until the client takes it
    say(followed, text)
    gevent.sleep(0.01)
    finish(followed, followed.body)
    other.read()
    until(lambda: ended)

    assert other.all() == f"head retry {text} end".encode()


def _over_tcp() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        theirs = socket.socket()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        theirs.connect(server.getsockname())
        return server.accept()[0], theirs


def test_in_a_silence_there_is_a_sign_of_life(
    followed: Followed, opened: Open, ended: list[int]
) -> None:
    _, other = opened(heartbeat=0.0)

    until(lambda: other.end.recv(100, socket.MSG_PEEK).endswith(b"alivealive"))
    followed.leave()
    until(lambda: ended)


def test_a_bug_in_a_face_ends_its_streams_and_tells_nothing_that_was_written(
    followed: Followed, opened: Open, ended: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    def fails(delta: Delta) -> bytes:
        raise RuntimeError(delta.text)

    opened(Face(fails, FACE.end, FACE.heartbeat, FACE.retry))
    with caplog.at_level(0):
        say(followed, "something private")
        until(lambda: ended)

    assert "private" not in caplog.text
