"""Nobody from outside: other sites' pages, other names, proxies, and requests that are none.

On raw sockets where a client library would mend what is wrong.
"""

import json
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPResponse
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest

from local.processes import children
from local.programs import Web
from tests.client import Client, new_id
from tests.rig import Rig, eventually

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
#: What Chromium says of each kind of load that a foreign page can begin, by itself or by a click.
LOADS = {
    "fetch": ("no-cors", "empty"),
    "fetch with CORS": ("cors", "empty"),
    "image": ("no-cors", "image"),
    "script": ("no-cors", "script"),
    "style": ("no-cors", "style"),
    "frame": ("navigate", "iframe"),
    "object": ("navigate", "object"),
    "embed": ("navigate", "embed"),
    "WebSocket": ("websocket", "websocket"),
}
#: A request whose body has no size where one belongs.
BAD_CHUNK = (
    b"POST /api/conversations HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
)


class Answer(NamedTuple):
    """What came back."""

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


def refused(answer: Any, status: int, code: str) -> str:
    """The sentence of a problem document with these; it says how it may be used."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.json()["code"] == code
    return str(answer.json()["detail"])


# --- other sites ---------------------------------------------------------------------------------


@pytest.mark.parametrize("load", LOADS)
@pytest.mark.parametrize("site", ["cross-site", "same-site"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_another_sites_page_may_not_even_read(
    client: Client, load: str, site: str, method: str
) -> None:
    mode, dest = LOADS[load]
    said = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": dest}
    for route in ROUTES:
        answer = client.http.request(method, route, headers=said)
        assert (answer.status_code, route) == (403, route)
        assert answer.headers.get("Content-Encoding") is None


@pytest.mark.parametrize(
    "said",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://evil.localhost"},
        {"Origin": "chrome-extension://abc"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "nonsense"},
        {"Sec-Fetch-Site": "none, cross-site"},
        {"Sec-Fetch-Site": "same-origin", "Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "none", "Origin": "null"},
    ],
    ids=str,
)
def test_a_browser_that_says_less_is_understood(client: Client, said: dict[str, str]) -> None:
    for route in ROUTES:
        refused(client.http.get(route, headers=said), 403, "cross_site")
    refused(client.http.post("/api/conversations", json={}, headers=said), 403, "cross_site")


def test_a_link_from_another_site_leads_to_a_page_and_to_nothing_else(client: Client) -> None:
    followed = {
        "Sec-Fetch-Site": "cross-site",
        "Sec-Fetch-Mode": "navigate",
        "Sec-Fetch-Dest": "document",
    }
    for page in ("/", f"/c/{new_id()}", "/live"):
        answer = client.http.get(page, headers=followed)
        assert answer.status_code == 200
        # The page that opened it has no hold on it.
        assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    for stream in ("/api/notices", "/api/conversations"):
        refused(client.http.get(stream, headers=followed), 403, "cross_site")
    refused(client.http.post("/", headers=followed), 403, "cross_site")


def test_our_own_page_and_who_is_no_browser_are_served(client: Client) -> None:
    ours = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}
    typed = {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert client.http.get("/api/conversations", headers=ours).status_code == 200
    assert client.http.get("/api/conversations", headers=typed).status_code == 200
    old = client.http.post("/api/conversations", json={}, headers={"Origin": client.url})
    assert old.status_code == 201
    for route in ("/", "/static/app.js", "/api/conversations", "/metrics"):
        assert client.http.get(route).status_code == 200


def test_every_response_says_what_browsers_may_do_with_it(client: Client) -> None:
    for route in (*ROUTES, "/healthz", "/readyz"):
        with client.http.stream("GET", route) as answer:
            headers = answer.headers
        assert headers["X-Content-Type-Options"] == "nosniff", route
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin", route
        assert headers["Referrer-Policy"] == "no-referrer", route
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"], route
        assert "Access-Control-Allow-Origin" not in headers


# --- other names ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    [
        "a.localhost",
        "localhost.",
        "127.0.0.1.",
        "localhost.localdomain",
        "localhost:80.evil.example",
        "evil.example:80",
        "127.1",
        "127.0.0.2",
        "2130706433",
        "0x7f000001",
        "0.0.0.0",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[0:0:0:0:0:0:0:1]",
        "[::1%25lo]",
        "::1",
        "localhost:",
        "localhost:99999999",
        "localhost, evil.example",
        "localhost/",
        "user@localhost",
        " ",
    ],
)
def test_another_spelling_of_our_name_is_another_name(web: Web, host: str) -> None:
    for route in ("/", "/static/app.js", "/api/conversations", "/nothing"):
        answer = raw(web, f"GET {route} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert (answer.status, json.loads(answer.body)["code"]) == (403, "not_local")


def test_a_request_has_one_host_and_its_first_line_names_no_other(web: Web) -> None:
    port = urlsplit(web.url).port
    ours = f"127.0.0.1:{port}"
    for head, status in (
        ("GET / HTTP/1.1\r\n", 403),
        (f"GET / HTTP/1.1\r\nHost: {ours}\r\nHost: {ours}\r\n", 400),
        (f"GET / HTTP/1.1\r\nHost: {ours}\r\nHost: evil.example\r\n", 400),
        (f"GET http://evil.example/ HTTP/1.1\r\nHost: {ours}\r\n", 403),
        (f"GET http://a.localhost/ HTTP/1.1\r\nHost: {ours}\r\n", 403),
        (f"GET http://{ours}/ HTTP/1.1\r\nHost: evil.example\r\n", 403),
        (f"GET http://{ours}/ HTTP/1.1\r\nHost: {ours}\r\n", 200),
        (f"GET / HTTP/1.0\r\nHost: {ours}\r\n", 200),
    ):
        assert (raw(web, f"{head}\r\n".encode()).status, head) == (status, head)


def test_more_names_can_be_configured(rig: Rig) -> None:
    web = rig.web(OUTLIVE_HOSTS="chat.example.org, Other.example:8443")
    with rig.gone(web), Client(web.url) as client:
        for host, status in (
            ("chat.example.org", 200),
            ("CHAT.example.org:9000", 200),
            ("other.example:8443", 200),
            ("other.example", 403),
            ("other.example:8444", 403),
            ("a.chat.example.org", 403),
            ("localhost", 200),
        ):
            answer = client.http.get("/api/conversations", headers={"Host": host})
            assert (answer.status_code, host) == (status, host)
        # A page of that name is our own.
        said = {"Host": "chat.example.org", "Origin": "https://chat.example.org"}
        assert client.http.post("/api/conversations", json={}, headers=said).status_code == 201


# --- proxies -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        "Forwarded",
        "X-Forwarded-For",
        "X-Forwarded-Host",
        "X-Forwarded-Proto",
        "X-Forwarded-Anything",
        "X-Forwarded",
        "Via",
        "X-Real-IP",
        "X-Client-IP",
        "Client-IP",
        "X-Cluster-Client-IP",
        "X-Original-Forwarded-For",
        "X-Original-Host",
        "X-Originating-IP",
        "X-ProxyUser-Ip",
        "True-Client-IP",
        "CF-Connecting-IP",
        "CF-Ray",
        "CDN-Loop",
        "Fastly-Client-IP",
        "Fly-Client-IP",
        "X-Amzn-Trace-Id",
        "X-Azure-ClientIP",
        "X-Envoy-External-Address",
        "WL-Proxy-Client-IP",
        "Tailscale-User-Login",
    ],
)
def test_a_forwarded_request_is_refused_with_what_to_do(client: Client, header: str) -> None:
    for route in ("/", "/static/app.js", "/api/conversations"):
        sentence = refused(client.http.get(route, headers={header: "1.2.3.4"}), 403, "forwarded")
        assert header.lower() in sentence.lower()
        assert "OUTLIVE_AUTH=required" in sentence


# --- requests that are none ----------------------------------------------------------------------


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
def test_what_is_no_request_gets_a_problem_document(web: Web, request_: bytes, status: int) -> None:
    answer = raw(web, request_)
    assert answer.status == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert json.loads(answer.body)["status"] == status
    assert b"<" not in answer.body


@pytest.mark.parametrize("name", ["SCRIPT_NAME", "Script-Name", "PATH_INFO", "REMOTE_USER"])
@pytest.mark.parametrize("value", ["/x", "/api", "/", "x\x1b[31m"[:1]])
def test_a_header_does_not_say_where_the_service_is(web: Web, name: str, value: str) -> None:
    head = f"GET /api/conversations HTTP/1.1\r\nHost: localhost\r\n{name}: {value}\r\n\r\n"
    answer = raw(web, head.encode())
    assert answer.status == 200
    assert "items" in json.loads(answer.body)


@pytest.mark.parametrize(
    "path",
    [
        "/static/x/..%2flayout.css",
        "/static/x/../layout.css",
        "/static/./layout.css",
        "/static/%2e/layout.css",
        "/static/..%2fstatic%2flayout.css",
        "/static/layout.css%2f",
        "/static/layout.css%00",
        "/static/..%5clayout.css",
        "/static/x%5c..%5clayout.css",
        "/static/../app.py",
        "/static/..%2f..%2fpyproject.toml",
    ],
)
def test_a_static_file_has_one_address(web: Web, path: str) -> None:
    head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n\r\n"
    assert raw(web, head.encode()).status == 404


def test_hundreds_of_addresses_leave_nothing_in_memory(rig: Rig) -> None:
    web = rig.web(WEB_CONCURRENCY="1")
    with rig.gone(web), Client(web.url) as client:

        def ask(first: int, number: int) -> int:
            for n in range(first, first + number):
                client.http.get(f"/static/{n}/..%2fapp.js", headers={"Accept-Encoding": "gzip"})
                client.http.get(f"/static/app.js?{n}", headers={"Accept-Encoding": f"gzip;q=0.{n}"})
            return _memory(web)

        before = ask(0, 200)
        assert ask(200, 600) - before < 4 << 20  # it was 15 kB each


def _memory(web: Web) -> int:
    """Bytes that the only process of a web master holds."""
    [process] = children(web.pid)
    status = Path(f"/proc/{process}/status").read_text()
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) * 1024


# --- bodies --------------------------------------------------------------------------------------


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
def test_a_body_that_stops_is_given_up_and_one_that_is_slow_is_not(web: Web) -> None:
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


# --- logs ----------------------------------------------------------------------------------------


def test_a_log_holds_one_line_a_request_whatever_was_asked_for(rig: Rig, web: Web) -> None:
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
