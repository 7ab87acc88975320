"""Security headers on every response, and heads and bodies that make no progress."""

import re
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from urllib.parse import urlsplit

import pytest

from local.programs import Web
from tests.client import Client
from tests.rig import Rig, killing
from tests.web.test_gunicorn_worker import BAD_CHUNK
from tests.web.wire import ROUTES, answer_of, raw


def _is_protected(headers: Mapping[str, str]) -> None:
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["referrer-policy"] == "no-referrer"
    policy = dict(
        part.strip().partition(" ")[::2] for part in headers["content-security-policy"].split(";")
    )
    assert (policy["default-src"], policy["base-uri"]) == ("'none'", "'none'")
    assert policy["frame-ancestors"] == "'none'"
    assert policy["form-action"] in ("'none'", "'self'")
    assert not re.search("unsafe|http:|https:|[*]", headers["content-security-policy"])
    assert headers["cache-control"].split(",")[0] in ("no-store", "no-cache")
    assert "access-control-allow-origin" not in headers
    assert "x-powered-by" not in headers
    assert "python" not in headers.get("server", "").lower()


def test_every_response_has_the_security_headers(client: Client, required_web: Web) -> None:
    with Client(required_web.url) as stranger:
        for one in (client, stranger):
            for route in (*ROUTES, "/healthz", "/readyz", "/api/docs", "/api/openapi.json"):
                for method in ("GET", "HEAD", "OPTIONS", "PUT"):
                    with one.http.stream(method, route) as answer:
                        assert answer.status_code < 500
                        _is_protected(answer.headers)


@pytest.mark.parametrize(
    "request_",
    [
        b"NONSENSE\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: odd\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n",
        b"POST /api/conversations HTTP/1.1\r\nHost: localhost\r\n\r\n",
        BAD_CHUNK,
    ],
)
def test_every_refusal_has_the_security_headers(web: Web, request_: bytes) -> None:
    _is_protected(raw(web, request_).headers)


def test_a_head_that_does_not_end_in_time_is_cut_off(rig: Rig) -> None:
    web = rig.web(WEB_CONCURRENCY="1")
    where = urlsplit(web.url)
    whole = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with killing(web), ExitStack() as stack, Client(web.url) as client:
        peers = [
            stack.enter_context(socket.create_connection((where.hostname or "", where.port or 0)))
            for _ in range(100)
        ]
        for peer in peers[50:]:  # a connection that was used is no different
            peer.sendall(whole)
            assert answer_of(peer).status == 200
        begun, waiting = time.monotonic(), peers[::]
        sent = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
        while waiting:
            assert time.monotonic() - begun < 30
            for peer in peers[::2]:  # a byte now and then, and the others nothing
                with suppress(OSError):
                    peer.sendall(sent[:1] or b"x")
            sent = sent[1:]
            assert client.http.get("/healthz").status_code == 200
            time.sleep(0.2)
            waiting = [peer for peer in waiting if not _is_closed(peer)]


def _is_closed(peer: socket.socket) -> bool:
    peer.setblocking(False)
    try:
        while found := peer.recv(65536):
            assert b" 400 " in found or b" 408 " in found
    except BlockingIOError:
        return False
    except ConnectionError:
        pass
    peer.setblocking(True)
    return True


@contextmanager
def _posting(web: Web, length: int) -> Iterator[socket.socket]:
    """A POST whose body of that many bytes has not come yet."""
    where = urlsplit(web.url)
    with socket.create_connection((where.hostname or "", where.port or 80), 60) as peer:
        peer.sendall(
            b"POST /api/conversations HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % length
        )
        yield peer


@pytest.mark.failure(59)
def test_stalled_body_is_refused_and_slow_body_is_accepted(web: Web) -> None:
    big = b'{"title": "slow"' + b" " * 600_000 + b"}"
    with _posting(web, 100) as stopped, _posting(web, len(big)) as slow:
        stopped.sendall(b'{"title": ')
        sent, answer = 0, b""
        stopped.settimeout(0.2)
        while not answer:  # a link of 20 kB/s, until the other one is given up
            more = big[sent : min(sent + 4000, len(big) - 10)]
            slow.sendall(more)
            sent += len(more)
            try:
                answer = stopped.recv(65536)
            except TimeoutError:
                continue
        assert answer.startswith(b"HTTP/1.1 408 ")
        stopped.settimeout(10)
        with suppress(ConnectionError):
            while more := stopped.recv(65536):  # until it is closed
                answer += more
        assert b"request_timeout" in answer
        slow.sendall(big[sent:])
        assert answer_of(slow).status == 201
