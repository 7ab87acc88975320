"""HTTP to the provider, against a server that sends exactly the bytes of a test."""

import socket
import threading
from collections.abc import Iterator

import httpx2
import pytest

from worker.provider import transport as module
from worker.provider.transport import DirectTransport, is_direct

OK = b"HTTP/1.1 200 OK\r\n"
ABC = OK + b"Content-Length: 3\r\n\r\nabc"
CHUNKS = OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n"


class RawServer:
    """Answers each request with the next of `answers`; None closes the connection instead."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.answers: list[bytes | None] = []
        self.connections = 0
        self.requests: list[bytes] = []
        self.closed = threading.Event()
        self._stopped = False
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while not self._stopped:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        with peer:
            while self.answers and (request := peer.recv(65536)):
                self.requests.append(request)
                answer = self.answers.pop(0)
                if answer is None:
                    return
                peer.sendall(answer)
        self.closed.set()

    def close(self) -> None:
        self._stopped = True
        self._listener.close()


@pytest.fixture
def raw() -> Iterator[RawServer]:
    server = RawServer()
    yield server
    server.close()


@pytest.fixture
def client() -> Iterator[httpx2.Client]:
    with httpx2.Client(transport=DirectTransport(), timeout=5.0) as client:
        yield client


@pytest.mark.parametrize("answer", [ABC, CHUNKS])
def test_a_connection_is_reused_after_its_body_was_read_to_the_end(
    raw: RawServer, client: httpx2.Client, answer: bytes
) -> None:
    raw.answers = [answer] * 3

    assert [client.post(f"{raw.url}/v1?a=b", json={"n": n}).text for n in range(3)] == ["abc"] * 3

    assert raw.connections == 1
    assert raw.requests[2].startswith(b"POST /v1?a=b HTTP/1.1\r\n")
    assert raw.requests[2].endswith(b'\r\n\r\n{"n":2}')


def test_a_piece_is_all_that_one_read_brought(raw: RawServer, client: httpx2.Client) -> None:
    raw.answers = [CHUNKS]

    with client.stream("GET", raw.url) as response:
        pieces = list(response.extensions["body"])

    assert b"".join(pieces) == b"abc"
    assert len(pieces) <= 2  # one that came with the head, and the rest


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"Connection: close\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc",
        ABC + b"and more",
    ],
)
def test_a_connection_that_must_not_be_reused_is_closed(
    raw: RawServer, client: httpx2.Client, answer: bytes
) -> None:
    raw.answers = [answer, ABC]

    assert [client.get(raw.url).text for _ in range(2)] == ["abc"] * 2

    assert raw.connections == 2


def test_a_body_that_was_not_read_to_the_end_closes_its_connection(
    raw: RawServer, client: httpx2.Client
) -> None:
    raw.answers = [OK + b"Content-Length: 6\r\n\r\nabc", ABC]

    with client.stream("GET", raw.url) as response:
        next(iter(response.extensions["body"]))

    assert client.get(raw.url).text == "abc"
    assert raw.connections == 2


def test_an_idle_connection_that_the_server_closed_is_not_reused(
    raw: RawServer, client: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw.answers = [ABC]
    client.get(raw.url)
    assert raw.closed.wait(5)  # as it has no more answers
    raw.answers = [ABC, ABC]
    monkeypatch.setattr(module, "IDLE_TTL", 60.0)

    assert client.get(raw.url).text == "abc"

    assert raw.connections == 2


def test_an_idle_connection_is_closed_after_its_ttl(
    raw: RawServer, client: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw.answers = [ABC, ABC, ABC]
    client.get(raw.url)
    monkeypatch.setattr(module, "IDLE_TTL", 0.0)

    assert client.get(raw.url).text == "abc"

    assert raw.connections == 2


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + ABC,
        b"HTTP/1.1 100 Continue\r\n\r\n" + ABC,
        b"HTTP/1.1 200 OK\nContent-Length: 3\n\nabc",
    ],
)
def test_informational_heads_and_bare_line_feeds_are_accepted(
    raw: RawServer, client: httpx2.Client, answer: bytes
) -> None:
    raw.answers = [answer]

    assert client.get(raw.url).text == "abc"


def test_a_body_may_end_with_its_connection(raw: RawServer, client: httpx2.Client) -> None:
    raw.answers = [OK + b"\r\nabc"]

    assert client.get(raw.url).text == "abc"


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_responses_204_and_304_have_no_body(
    raw: RawServer, client: httpx2.Client, status: bytes
) -> None:
    raw.answers = [b"HTTP/1.1 " + status + b"\r\n\r\n", ABC]

    assert client.get(raw.url).text == ""
    assert client.get(raw.url).text == "abc"
    assert raw.connections == 1


def test_a_redirection_is_followed(raw: RawServer) -> None:
    moved = b"HTTP/1.1 307 Temporary Redirect\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n"
    raw.answers = [moved, ABC]

    with httpx2.Client(transport=DirectTransport(), follow_redirects=True) as client:
        assert client.post(raw.url, json={}).text == "abc"

    assert raw.requests[1].startswith(b"POST /there ")


@pytest.mark.parametrize(
    "answer",
    [
        None,
        b"SSH-2.0-OpenSSH\r\n\r\n",
        OK + b"Content-Length: -3\r\n\r\nabc",
        OK + b"X: " + b"x" * (1 << 17),
        OK + b"Content-Length: 4\r\n\r\nabc",
        OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n",
        OK + b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n",
    ],
)
def test_anything_but_a_whole_response_is_a_transport_error(
    raw: RawServer, client: httpx2.Client, answer: bytes | None
) -> None:
    raw.answers = [answer]

    with pytest.raises(httpx2.TransportError):
        client.get(raw.url)


def test_an_unreachable_host_is_a_connect_error(client: httpx2.Client, nowhere: str) -> None:
    with pytest.raises(httpx2.ConnectError):
        client.get(f"http://{nowhere}/")
    with pytest.raises(httpx2.ConnectError):
        client.get(f"http://{'x' * 64}.example/")


def test_is_direct_is_false_where_a_proxy_is_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    assert is_direct()

    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    assert not is_direct()
