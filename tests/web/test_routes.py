"""Every endpoint has a right, and a principal without it does not get in."""

from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from shared import logs
from shared.settings import Settings
from shared.store.tables import LOCAL_USER
from tests.client import new_id
from tests.credentials import SECRET, bearer, token
from web import app as web_app
from web.auth import Principal, Right
from web.auth.local import Local
from web.routes import RIGHTS, STREAMS

SETTINGS = Settings.model_construct(database_url="postgresql+psycopg2://localhost/none")
#: One address of each right, without servers; PUBLIC, OPEN and USE are `health.alive`, `/s`, `/`.
ADDRESSES = {
    Right.READ_SHARED: ("GET", f"/api/messages/{new_id()}"),
    Right.READ_OWN: ("GET", "/api/conversations"),
    Right.WRITE_OWN: ("POST", f"/api/messages/{new_id()}/stop"),
    Right.OPERATE: ("GET", "/metrics"),
    Right.WATCH: ("GET", "/live"),
}
ADDRESS_OF_A_STREAM = {
    "native.stream": f"/api/messages/{new_id()}/stream",
    "blocks.stream": f"/api/messages/{new_id()}/blocks/stream",
    "notices.notices": "/api/notices",
}


@pytest.fixture(autouse=True)
def unchanged_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """`create_app` without what it changes in its whole process."""
    monkeypatch.setattr(web_app, "cooperate", lambda: None)
    monkeypatch.setattr(logs, "configure", lambda: None)


@pytest.fixture
def app() -> Flask:
    """The app as web makes it; nothing connects."""
    return web_app.create_app(SETTINGS)


def ask(app: Flask, method: str, path: str, host: str = "localhost") -> tuple[int, str | None]:
    """The status and the problem's code."""
    client: FlaskClient = app.test_client()
    answer = client.open(path, method=method, headers={"Host": host})
    document: Any = answer.get_json(silent=True) or {}
    return answer.status_code, document.get("code")


def test_every_endpoint_has_a_right_and_every_right_an_endpoint(app: Flask) -> None:
    endpoints = {rule.endpoint for rule in app.url_map.iter_rules()}

    assert endpoints == set(RIGHTS)
    assert set(RIGHTS.values()) == set(Right)


@pytest.mark.parametrize("path", ["/forgotten", "/api/forgotten"])
def test_an_endpoint_without_a_row_is_answered_like_an_address_that_does_not_exist(
    app: Flask, path: str
) -> None:
    app.add_url_rule(path, "forgotten", lambda: "secret", methods=["GET", "POST"])

    for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"):
        code = None if method == "HEAD" else "not_found"
        assert ask(app, method, path) == ask(app, method, "/nothing") == (404, code), method


def test_a_row_is_all_that_an_endpoint_needs(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    app.add_url_rule("/new", "new", lambda: "shown")
    monkeypatch.setitem(RIGHTS, "new", Right.USE)

    assert ask(app, "GET", "/new") == (200, None)
    assert ask(app, "PUT", "/new") == (405, "method_not_allowed")


@pytest.mark.parametrize("right", ADDRESSES)
def test_a_principal_without_the_right_does_not_reach_the_route(
    app: Flask, monkeypatch: pytest.MonkeyPatch, right: Right
) -> None:
    others = frozenset(Right) - {right}
    weaker = Principal(LOCAL_USER, others)
    monkeypatch.setattr(Local, "authenticate", lambda *_: weaker)
    operators = right in (Right.OPERATE, Right.WATCH)
    refusal = (403, "not_operator" if operators else "insufficient_scope")
    method, path = ADDRESSES[right]

    assert ask(app, method, path) == refusal
    assert ask(app, "GET", "/healthz") == (200, None)
    assert ask(app, "GET", "/s") == (200, None)
    assert ask(app, "GET", "/") == (200, None)


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_only_what_is_public_answers_to_a_foreign_name(app: Flask, method: str) -> None:
    expected = {"GET": (200, None), "POST": (405, "method_not_allowed"), "OPTIONS": (200, None)}

    assert ask(app, method, "/healthz", host="10.1.2.3") == expected[method]
    for path in ("/", "/s", "/metrics", "/nothing"):
        assert ask(app, method, path, host="10.1.2.3") == (403, "not_local")


def test_a_stream_whose_credential_cannot_be_checked_now_says_when_to_come_back(
    nowhere: str,
) -> None:
    postgres = f"postgresql+psycopg2://{nowhere}/none"
    settings = {"auth": "required", "jwt_secret": SECRET, "database_url": postgres}
    client = web_app.create_app(SETTINGS.model_copy(update=settings)).test_client()
    headers = bearer(token("someone", iss=None, aud=None))

    for endpoint in STREAMS:
        path = ADDRESS_OF_A_STREAM[endpoint]
        answer = client.get(path, headers=headers)
        assert (answer.status_code, answer.data[:6]) == (200, b"retry:"), endpoint
        assert answer.content_type.startswith("text/event-stream")
    answer = client.get("/api/conversations", headers=headers)
    document: Any = answer.get_json()
    assert (answer.status_code, document["code"]) == (503, "storage_unavailable")
    assert client.get(path, headers=bearer("x")).status_code == 401


@pytest.mark.parametrize("method", ["GET", "PUT", "OPTIONS"])
def test_with_sign_in_required_only_what_is_public_answers(method: str) -> None:
    app = web_app.create_app(SETTINGS.model_copy(update={"auth": "required"}))

    assert ask(app, method, "/healthz")[0] in (200, 405)
    for path in ("/", "/metrics", "/api/conversations", "/live", "/nothing", "/static"):
        assert ask(app, method, path) == (401, "unauthenticated"), path


def test_what_a_person_needs_to_sign_in_asks_for_no_credential() -> None:
    url = "postgresql+psycopg2://localhost/none"
    ours = Settings.model_construct(database_url=url, auth="required", hosts="ours")
    app = web_app.create_app(ours)

    for path in ("/sign-in", "/static/base.css"):
        with app.test_client().get(path, headers={"Host": "ours"}) as answer:
            assert answer.status_code == 200
        assert ask(app, "GET", path, host="another") == (403, "not_local")
    assert ask(app, "POST", "/api/sign-in", host="ours") == (422, "invalid")
    assert ask(app, "POST", "/api/sign-out", host="ours") == (401, "unauthenticated")
