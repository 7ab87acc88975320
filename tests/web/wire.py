"""Requests as bytes on a socket, and problem documents: what several tests of web need."""

import socket
from http.client import HTTPResponse
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx2

from local.programs import Web
from tests.client import new_id

#: The id of no message and no conversation.
STRANGER = "00000000-0000-4000-8000-00000000dead"
EVENTS = "text/event-stream; charset=utf-8"

#: One of each kind of route.
ROUTES = (
    "/",
    f"/c/{new_id()}",
    "/live",
    "/static/app.js",
    "/static/layout.css",
    "/api/conversations",
    "/api/search?q=x",
    "/api/live",
    "/api/notices",
    f"/api/messages/{new_id()}/stream",
    "/metrics",
    "/nothing",
    "/api/nothing",
)


class Answer(NamedTuple):
    """A response on a raw socket."""

    status: int
    headers: dict[str, str]
    body: bytes


def raw(web: Web, request: bytes, seconds: float = 10.0) -> Answer:
    """Send these bytes; read to the end of the connection or of the body."""
    where = urlsplit(web.url)
    with socket.create_connection((where.hostname or "", where.port or 80), seconds) as peer:
        peer.sendall(request)
        return answer_of(peer)


def answer_of(peer: socket.socket) -> Answer:
    """The next response on this connection."""
    response = HTTPResponse(peer)
    response.begin()
    headers = {name.lower(): value for name, value in response.getheaders()}
    return Answer(response.status, headers, response.read())


def problem(answer: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    """The problem document of an answer, which must have this status and code."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document = dict(answer.json())
    assert (document["status"], document["code"]) == (status, code)
    assert document["type"] == "about:blank"
    assert document["title"]
    assert document["detail"]
    return document
