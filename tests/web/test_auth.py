"""Other sites' pages, other host names, proxies and credentials, on raw sockets where needed."""

import json
from urllib.parse import urlsplit

import pytest

from local.programs import Web
from tests.client import Client, new_id
from tests.rig import Rig, killing
from tests.web.wire import ROUTES, STRANGER, problem, raw

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

# --- other sites ----------------------------------------------------------------------------------


@pytest.mark.parametrize("load", LOADS)
@pytest.mark.parametrize("site", ["cross-site", "same-site"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_another_sites_page_may_load_nothing(
    client: Client, load: str, site: str, method: str
) -> None:
    mode, dest = LOADS[load]
    headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": dest}
    for route in ROUTES:
        answer = client.http.request(method, route, headers=headers)
        assert (answer.status_code, route) == (403, route)
        assert answer.headers.get("Content-Encoding") is None


@pytest.mark.parametrize(
    "headers",
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
def test_any_header_of_a_browser_may_give_another_site_away(
    client: Client, headers: dict[str, str]
) -> None:
    for route in ROUTES:
        problem(client.http.get(route, headers=headers), 403, "cross_site")
    problem(client.http.post("/api/conversations", json={}, headers=headers), 403, "cross_site")


def test_link_from_another_site_opens_pages_only(client: Client) -> None:
    followed = {
        "Sec-Fetch-Site": "cross-site",
        "Sec-Fetch-Mode": "navigate",
        "Sec-Fetch-Dest": "document",
    }
    for page in ("/", f"/c/{new_id()}", "/live", "/api/docs"):
        answer = client.http.get(page, headers=followed)
        assert answer.status_code == 200
        # The page that opened it has no hold on it.
        assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    for stream in ("/api/notices", "/api/conversations"):
        problem(client.http.get(stream, headers=followed), 403, "cross_site")
    problem(client.http.post("/", headers=followed), 403, "cross_site")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
    ids=str,
)
def test_another_site_may_change_nothing(client: Client, headers: dict[str, str]) -> None:
    conversation = client.conversation(title="mine")
    place = f"/api/conversations/{conversation}"
    for method, path, body in (
        ("POST", "/api/conversations", {}),
        ("POST", f"{place}/messages", {"content": "x"}),
        ("PATCH", place, {"title": "theirs"}),
        ("DELETE", place, None),
        ("POST", f"/api/messages/{STRANGER}/stop", None),
    ):
        answer = client.http.request(method, path, json=body, headers=headers)
        problem(answer, 403, "cross_site")
    assert client.http.get(place).json()["title"] == "mine"


def test_own_page_and_other_programs_are_served(client: Client) -> None:
    ours = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}
    typed = {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert client.http.get("/api/conversations", headers=ours).status_code == 200
    assert client.http.get("/api/conversations", headers=typed).status_code == 200
    old = client.http.post("/api/conversations", json={}, headers={"Origin": client.url})
    assert old.status_code == 201
    for route in ("/", "/static/app.js", "/api/conversations", "/metrics"):
        assert client.http.get(route).status_code == 200


def test_own_page_may_write(client: Client) -> None:
    headers = {"Origin": client.url, "Sec-Fetch-Site": "same-origin"}
    assert client.http.post("/api/conversations", json={}, headers=headers).status_code == 201


# --- other names ----------------------------------------------------------------------------------


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
def test_host_is_compared_as_it_is_written(web: Web, host: str) -> None:
    for route in ("/", "/static/app.js", "/api/conversations", "/nothing"):
        answer = raw(web, f"GET {route} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert (answer.status, json.loads(answer.body)["code"]) == (403, "not_local")


def test_request_has_one_host_and_its_first_line_names_no_other(web: Web) -> None:
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


def test_outlive_hosts_adds_names(rig: Rig) -> None:
    web = rig.web(OUTLIVE_HOSTS="chat.example.org, Other.example:8443")
    with killing(web), Client(web.url) as client:
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
        headers = {"Host": "chat.example.org", "Origin": "https://chat.example.org"}
        assert client.http.post("/api/conversations", json={}, headers=headers).status_code == 201


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:8000"},
        {"Host": "localhost.evil.example"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "10.0.0.1"},
        {"Host": "[::2]"},
    ],
    ids=str,
)
def test_foreign_host_is_refused(client: Client, headers: dict[str, str]) -> None:
    for method, path in (
        ("GET", "/api/conversations"),
        ("POST", "/api/conversations"),
        ("GET", "/"),
    ):
        answer = client.http.request(method, path, headers=headers)
        problem(answer, 403, "not_local")


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:9", "127.0.0.1", "127.0.0.1:9", "[::1]:80"]
)
def test_every_name_of_this_machine_is_accepted(client: Client, host: str) -> None:
    answer = client.http.get("/api/conversations", headers={"Host": host})
    assert answer.status_code == 200


# --- proxies, credentials -------------------------------------------------------------------------


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
def test_forwarded_request_is_refused_with_what_to_do(client: Client, header: str) -> None:
    for route in ("/", "/static/app.js", "/api/conversations"):
        answer = client.http.get(route, headers={header: "1.2.3.4"})
        sentence = problem(answer, 403, "forwarded")["detail"]
        assert header.lower() in sentence.lower()
        assert "OUTLIVE_AUTH=required" in sentence


def test_credential_is_ignored_without_sign_in(client: Client) -> None:
    headers = {"Authorization": "Bearer whatever"}
    assert client.http.get("/api/conversations", headers=headers).status_code == 200
