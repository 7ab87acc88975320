"""Security headers on every response, and bodies that make no progress."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit

import pytest

from local.programs import Web
from tests.client import Client
from tests.web.wire import ROUTES, answer_of


def test_every_response_has_the_security_headers(client: Client) -> None:
    for route in (*ROUTES, "/healthz", "/readyz"):
        with client.http.stream("GET", route) as answer:
            headers = answer.headers
        assert headers["X-Content-Type-Options"] == "nosniff", route
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin", route
        assert headers["Referrer-Policy"] == "no-referrer", route
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"], route
        assert "Access-Control-Allow-Origin" not in headers


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
