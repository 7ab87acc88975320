"""Pages of listed origins may use the API with a bearer token; others may do nothing."""

from collections.abc import Iterator

import httpx2
import pytest

from local.programs import Web
from scripted import done, finish, say, script
from shared.settings import Settings
from tests.client import Client
from tests.credentials import KeyServer, bearer, sign_in_settings, token
from tests.rig import Rig, killing
from tests.web.wire import problem

APP, OTHER = "https://app.example", "http://localhost:3000"
HEADERS = "authorization,content-type,idempotency-key,last-event-id,outlive-user"


@pytest.fixture(scope="module")
def listing(rig: Rig, key_server: KeyServer) -> Iterator[Web]:
    """A web master that lists two origins."""
    web = rig.web(
        **sign_in_settings(key_server),
        OUTLIVE_CORS_ORIGINS=f"{APP}, {OTHER}",
        WEB_CONCURRENCY="1",
    )
    with killing(web):
        yield web


@pytest.fixture
def browser(listing: Web) -> Iterator[Client]:
    """Sends what a browser would send from a page elsewhere."""
    with Client(listing.url) as client:
        client.http.headers["Sec-Fetch-Site"] = "cross-site"
        client.http.headers["Sec-Fetch-Mode"] = "cors"
        yield client


def preflight(client: Client, origin: str, path: str = "/api/conversations") -> httpx2.Response:
    asked = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": HEADERS,
    }
    return client.http.request("OPTIONS", path, headers=asked)


def allows(answer: httpx2.Response) -> str | None:
    found = answer.headers.get("Access-Control-Allow-Origin")
    assert "Access-Control-Allow-Credentials" not in answer.headers
    return None if found is None else str(found)


@pytest.mark.parametrize("origin", [APP, OTHER])
def test_the_preflight_of_a_listed_origin_needs_no_credential(browser: Client, origin: str) -> None:
    answer = preflight(browser, origin)

    assert (answer.status_code, answer.content) == (204, b"")
    assert allows(answer) == origin
    assert answer.headers["Vary"] == "Origin"
    assert answer.headers["Access-Control-Max-Age"] == "600"
    allowed = answer.headers["Access-Control-Allow-Headers"].lower().split(", ")
    assert set(allowed) >= set(HEADERS.split(","))
    methods = set(answer.headers["Access-Control-Allow-Methods"].split(", "))
    assert methods == {"GET", "POST", "PUT", "PATCH", "DELETE"}
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "http://app.example",
        "https://app.example:444",
        "https://app.example.evil.example",
        "https://sub.app.example",
        "HTTPS://APP.EXAMPLE",
        "null",
        "*",
        "",
        f"{APP}, {OTHER}",
    ],
)
def test_other_origins_are_refused_as_ever(browser: Client, origin: str) -> None:
    headers = {"Origin": origin, **bearer(token("ada"))}
    for answer in (
        preflight(browser, origin),
        browser.http.get("/api/conversations", headers=headers),
        browser.http.post("/api/conversations", json={}, headers=headers),
    ):
        problem(answer, 403, "cross_site")
        assert allows(answer) is None
        assert "Origin" in answer.headers["Vary"]


def test_a_listed_origins_page_asks_and_reads_with_a_token(browser: Client, worker: object) -> None:
    headers = {"Origin": APP, **bearer(token("cora"))}
    made = browser.http.post("/api/conversations", json={"title": "Sailing"}, headers=headers)
    assert made.status_code == 201
    question = script(say("So."), finish(), done())
    asked = browser.http.post(
        f"/api/conversations/{made.json()['id']}/messages",
        json={"content": question},
        headers={**headers, "Accept": "text/event-stream"},
    )

    assert asked.headers["Content-Type"].startswith("text/event-stream")
    assert "event: end" in asked.text
    for answer in (made, asked):
        assert allows(answer) == APP
        exposed = answer.headers["Access-Control-Expose-Headers"].split(", ")
        assert {"Outlive-Message-Id", "RateLimit-Remaining", "Retry-After"} <= set(exposed)
        assert "Origin" in answer.headers["Vary"]


def test_openais_sdk_in_a_listed_origins_page(browser: Client, worker: object) -> None:
    """Its requests have headers of their own, and a page reads who answered."""
    headers = {"Origin": APP, **bearer(token("cora"))}
    allowed = preflight(browser, APP, "/v1/chat/completions").headers[
        "Access-Control-Allow-Headers"
    ]
    assert {"x-stainless-retry-count", "x-stainless-os", "outlive-conversation-id"} <= set(
        allowed.lower().split(", ")
    )
    question = {"role": "user", "content": script(say("So."), finish(), done())}

    asked = browser.http.post(
        "/v1/chat/completions", json={"messages": [question]}, headers=headers
    )
    refused = browser.http.get("/v1/models", headers={"Origin": APP})

    assert (asked.status_code, refused.status_code) == (200, 401)
    for answer in (asked, refused):
        assert allows(answer) == APP
        exposed = answer.headers["Access-Control-Expose-Headers"].split(", ")
        assert {"Outlive-Message-Id", "Outlive-Conversation-Id"} <= set(exposed)


def test_a_listed_origins_page_can_read_its_refusals(browser: Client) -> None:
    headers = {"Origin": APP}
    for path, more, status in (
        ("/api/conversations", {}, 401),
        ("/api/conversations", {"Cookie": "outlive=whatever"}, 401),
        ("/api/conversations", bearer("nonsense"), 401),
        ("/api/nothing", bearer(token("ada")), 404),
    ):
        answer = browser.http.get(path, headers=headers | more)
        assert (answer.status_code, allows(answer)) == (status, APP)


def test_only_the_api_is_shared(browser: Client) -> None:
    for path in ("/", "/live", "/static/app.js", "/metrics"):
        answer = browser.http.get(path, headers={"Origin": APP, **bearer(token("ada"))})
        problem(answer, 403, "cross_site")
        assert allows(answer) is None
        assert preflight(browser, APP, path).status_code == 403


def test_without_a_list_there_is_no_such_header(required_web: Web) -> None:
    with Client(required_web.url) as client:
        for answer in (
            preflight(client, APP),
            client.http.get("/api/usage", headers={"Origin": APP, **bearer(token("ada"))}),
        ):
            problem(answer, 403, "cross_site")
            assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    ("auth", "origins"),
    [
        ("required", "*"),
        ("required", "null"),
        ("required", "app.example"),
        ("required", "https://app.example/"),
        ("required", "https://app.example:443"),
        ("required", "https://*.example"),
        ("required", "ftp://app.example"),
        ("required", "https://user@app.example"),
        ("local", APP),
    ],
)
def test_a_list_of_origins_that_makes_no_sense_is_refused(
    auth: str, origins: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTLIVE_AUTH", auth)
    monkeypatch.setenv("OUTLIVE_CORS_ORIGINS", origins)
    with pytest.raises(SystemExit, match="OUTLIVE_CORS_ORIGINS"):
        Settings.from_env()
