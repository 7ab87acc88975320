"""Wrong methods, unknown addresses and unknown ids as problem documents."""

import re

import pytest

from tests.client import Client
from tests.web.wire import STRANGER, problem


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/api/conversations", "GET, HEAD, OPTIONS, POST"),
        ("DELETE", "/api/conversations", "GET, HEAD, OPTIONS, POST"),
        ("POST", f"/api/conversations/{STRANGER}", "DELETE, GET, HEAD, OPTIONS, PATCH"),
        ("GET", f"/api/conversations/{STRANGER}/messages", "OPTIONS, POST"),
        ("POST", f"/api/messages/{STRANGER}", "GET, HEAD, OPTIONS"),
        ("POST", f"/api/messages/{STRANGER}/stream", "GET, HEAD, OPTIONS"),
        ("GET", f"/api/messages/{STRANGER}/stop", "OPTIONS, POST"),
        ("GET", f"/api/messages/{STRANGER}/retry", "OPTIONS, POST"),
        ("BREW", "/api/conversations", "GET, HEAD, OPTIONS, POST"),
    ],
)
def test_wrong_method_lists_the_right_ones(
    client: Client, method: str, path: str, allowed: str
) -> None:
    answer = client.http.request(method, path)
    problem(answer, 405, "method_not_allowed")
    assert answer.headers["Allow"] == allowed


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api"),
        ("GET", "/api/"),
        ("GET", "/api/nothing"),
        ("POST", "/api/conversations/"),
        ("GET", "/api/conversations/banana"),
        ("DELETE", "/api/conversations/1"),
        ("POST", "/api/conversations/banana/messages"),
        ("GET", "/api/messages/banana"),
        ("GET", "/api/messages/banana/stream"),
        ("POST", "/api/messages/banana/stop"),
        ("GET", f"/api/messages/{STRANGER[:-1]}"),
        ("GET", f"/api/conversations/{STRANGER}"),
        ("PATCH", f"/api/conversations/{STRANGER}"),
        ("DELETE", f"/api/conversations/{STRANGER}"),
        ("POST", f"/api/conversations/{STRANGER}/messages"),
        ("GET", f"/api/messages/{STRANGER}"),
        ("GET", f"/api/messages/{STRANGER}/stream"),
        ("POST", f"/api/messages/{STRANGER}/stop"),
        ("POST", f"/api/messages/{STRANGER}/retry"),
        ("POST", f"/api/messages/{STRANGER}/continue"),
    ],
)
def test_unknown_addresses_and_ids_are_not_found(client: Client, method: str, path: str) -> None:
    bodies: dict[str, object] = {"PATCH": {"title": "x"}, "POST": {}}
    if path.endswith("/messages"):
        bodies["POST"] = {"content": "x"}
    answer = client.http.request(method, path, json=bodies.get(method))
    problem(answer, 404, "not_found")


def test_refused_requests_are_counted_by_code(client: Client) -> None:
    """Those of routes, of streams, of no address, and those that gunicorn refuses."""

    def counted(code: str) -> float:
        found = re.search(
            rf'^outlive_refused_requests_total{{code="{code}"}} (\S+)$',
            client.http.get("/metrics").text,
            re.MULTILINE,
        )
        return float(found[1]) if found else 0

    before = counted("not_found"), counted("headers_too_large")
    client.http.get(f"/api/messages/{STRANGER}")
    client.http.get(f"/api/messages/{STRANGER}/stream")
    client.http.get("/api/nothing")
    client.http.get("/api/nothing", headers={"X-Long": "x" * 20_000})

    assert counted("not_found") == before[0] + 3
    assert counted("headers_too_large") == before[1] + 1
