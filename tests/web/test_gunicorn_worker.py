"""Requests that gunicorn refuses, headers that it must not believe, and the access log."""

import json

import pytest

from local.programs import Web
from tests.client import new_id
from tests.rig import Rig, eventually
from tests.web.wire import raw

#: A request whose body has no size where one belongs.
BAD_CHUNK = (
    b"POST /api/conversations HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"NONSENSE\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n", 400),
        (b"get / HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET /\x1b[31m HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nBad Name: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n folded\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nExpect: the worst\r\n\r\n", 417),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: odd\r\n\r\n", 501),
        (b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"X: y\r\n" * 200 + b"\r\n", 431),
        (BAD_CHUNK, 400),
    ],
)
def test_malformed_request_gets_a_problem_document(web: Web, request_: bytes, status: int) -> None:
    answer = raw(web, request_)
    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert json.loads(answer.body)["status"] == status
    assert b"<" not in answer.body


@pytest.mark.parametrize("name", ["SCRIPT_NAME", "Script-Name", "PATH_INFO", "REMOTE_USER"])
@pytest.mark.parametrize("value", ["/x", "/api", "/", "x\x1b[31m"[:1]])
def test_headers_do_not_change_where_the_app_is_mounted(web: Web, name: str, value: str) -> None:
    head = f"GET /api/conversations HTTP/1.1\r\nHost: localhost\r\n{name}: {value}\r\n\r\n"
    answer = raw(web, head.encode())
    assert answer.status == 200
    assert "items" in json.loads(answer.body)


def test_access_log_has_one_line_a_request_whatever_its_path(rig: Rig, web: Web) -> None:
    tag = new_id()
    for path in (
        f"/{tag}%0aFORGED%1b%5b31m%0d%7f%c2%85%e2%80%a8",
        f"/{tag}%22%20200%20%22FORGED",
        f"/static/{tag}%0aFORGED",
        f"/api/messages/{tag}%0aFORGED/stream",
    ):
        raw(web, f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    raw(web, f"GET /{tag} HTTP/1.1\r\nHost: localhost\r\nX\x1b: {tag}\r\n\r\n".encode())
    raw(web, f"GET /x HTTP/1.1\r\nHost: {tag}\x1b[31m\r\n\r\n".encode())

    log = rig.home / "log" / "web.log"
    eventually(lambda: log.read_text(errors="replace").count(tag) >= 4)
    lines = log.read_text().split("\n")
    assert all(line.isprintable() for line in lines)
    assert not [line for line in lines if line.startswith("FORGED")]
    [quoted] = [line for line in lines if tag in line and "200" in line]
    assert '\\" 200 \\"FORGED" 404' in quoted


def test_nothing_is_imported_before_gevent_has_patched_it(rig: Rig, web: Web) -> None:
    log = rig.home / "log" / "web.log"

    assert "Booting worker" in log.read_text()
    assert "MonkeyPatchWarning" not in log.read_text()
