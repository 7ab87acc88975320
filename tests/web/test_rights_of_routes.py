"""Every route of the URL map, asked by everybody: exactly the expected answers.

A row (`rows_of_routes.py`) says, for each method of an endpoint, which right it asks for, what the
owner of the things in the address is answered, and what any other user is. From that and from the
rights of each caller (`callers.py`) follow all answers. A route without a row fails, and so does a
row without a route.
"""

import uuid

import httpx2
import pytest
from flask import Flask

from local.programs import Web
from shared import logs
from shared.body import text_body
from shared.media import file_of, write_file
from shared.parts import PartKind
from shared.secret_token import SHARE_LINK, hashed
from shared.settings import Settings
from shared.store import asking, conversations, line, pushes, shares, stopping
from shared.store.asking import Asking
from shared.store.line import NewInLine
from tests.client import new_id
from tests.credentials import ISSUER, user_id
from tests.rig import Rig, eventually
from tests.web.callers import CALLERS, OWNER, READER, Caller, expire, of_token
from tests.web.rows_of_routes import CODES, ROWS, Row
from web import app as web_app
from web.routes import STREAMS


@pytest.fixture(scope="module")
def callers(rig: Rig, required_web: Web) -> dict[str, Caller]:
    """Everybody, and no process that still knows better."""
    of_token(rig, OWNER)
    found = {name: make(rig, required_web) for name, make in CALLERS.items()}
    headers = found["revoked"].headers
    url = f"{required_web.url}/api/models"
    eventually(
        lambda: (
            {httpx2.get(url, headers=headers, verify=False).status_code for _ in range(8)} == {401}
        )
    )
    return found


# --- what they are answered -----------------------------------------------------------------------


def expected(row: Row, caller: Caller, method: str) -> tuple[int, str | None]:
    """The status, and the code of a refusal."""
    if caller.elsewhere == "page" or (caller.elsewhere == "link" and not is_page(row, method)):
        return 403, "cross_site"
    if method == "OPTIONS" and (row.right in ("public", "open") or caller.refusal is None):
        return 200, None
    if row.right in ("public", "open"):
        return row.owner, CODES.get(row.owner)
    if caller.browses and is_page(row, method):
        return 302, None
    if caller.refusal is not None:
        return caller.refusal
    if caller.lacks_csrf and method not in ("GET", "HEAD", "OPTIONS"):
        return 403, "csrf_failed"
    if row.right not in caller.rights:
        return 403, "not_operator" if row.right == "operate" else "insufficient_scope"
    if caller.owns or row.other is None or (caller.reads and row.right == "shared"):
        return row.owner, CODES.get(row.owner)
    return row.other, CODES.get(row.other)


def is_page(row: Row, method: str) -> bool:
    """Whether a person may be led to it from another site, and is shown a page."""
    if method not in ("GET", "HEAD"):
        return False
    return row.endpoint == "reference.page" or not row.path.startswith(("/api/", "/v1/"))


def new_things(rig: Rig, row: Row) -> dict[str, str]:
    """A conversation of the owner's with an answer that was stopped, and its shares."""
    owner = user_id(rig, OWNER)
    assert isinstance(owner, uuid.UUID)
    made = conversations.create(rig.db, owner, None, None)
    terms = Asking(owner, "scripted", {}, None, None, max_open=0, queue_deadline=60)
    question, image = text_body("Why?"), file_of(owner, "image/png", made.id.bytes)
    write_file(question, PartKind.IMAGE, image)
    answer = asking.ask(rig.db, terms, made.id, question, stored=[image]).answer
    stopping.stop(rig.db, answer.id, owner)
    line.add(rig.db, owner, made.id, NewInLine("And then?", None, {}, None, None, None))
    [waiting] = line.read(rig.db, owner, made.id).items
    notified = pushes.subscribe(
        rig.db, owner, None, endpoint=new_id(), p256dh="", auth="", with_text=False
    )
    things = {
        "conversation": str(made.id),
        "answer": str(answer.id),
        "file": str(image.id),
        "waiting": str(waiting.id),
        "notified": str(notified.id),
    }
    for name in ("link", "expired_link", "revoked_link"):
        things[name] = SHARE_LINK.new()
        token_hash = hashed(things[name])
        share = shares.add(rig.db, owner, made.id, token_hash=token_hash)
        things.setdefault("share", str(share.id))
        if name == "expired_link":
            expire(rig, "shares", str(share.id))
    shares.revoke(rig.db, owner, share.id)
    shares.add(rig.db, owner, made.id, token_hash=None, name=READER, issuer=ISSUER)
    if row.endpoint == "native.undelete_conversation":
        conversations.delete(rig.db, owner, made.id)
    return things


def answered(
    http: httpx2.Client, row: Row, caller: Caller, method: str, things: dict[str, str]
) -> tuple[int, str | None]:
    """The status, and the code of a refusal; a body that has no end is not read."""
    body = row.body
    if isinstance(body, dict):
        body = {
            name: value.format(**things) if isinstance(value, str) else value
            for name, value in body.items()
        }
    path = row.path.format(**things)
    headers = {name: value.format(**things) for name, value in caller.headers.items()}
    with http.stream(method, path, headers=headers, json=body) as answer:
        streams = "event-stream" in answer.headers.get("Content-Type", "")
        if answer.status_code == 200 and method == row.method:
            assert streams == (row.endpoint in STREAMS)
        if not streams:
            answer.read()  # and keep the connection
        if answer.status_code < 400 or not answer.content:
            return answer.status_code, None
        return answer.status_code, refused_with(answer, row)


def refused_with(answer: httpx2.Response, row: Row) -> str | None:
    """The code of a refusal, in the form of its API."""
    if "Outlive-Error" in answer.headers:  # a sentence
        return str(answer.headers["Outlive-Error"])
    if answer.headers["Content-Type"] == "application/problem+json":
        return str(answer.json()["code"])
    return str(answer.json()["error"]["code"]) if row.path.startswith("/v1/") else None


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.method} {row.path}")
def test_everybody_is_answered_as_they_should_be(
    required_web: Web, rig: Rig, callers: dict[str, Caller], row: Row
) -> None:
    found, wanted = {}, {}
    methods = (row.method, "OPTIONS", *(("HEAD",) if row.method == "GET" else ()))
    things = new_things(rig, row)
    with httpx2.Client(base_url=required_web.url, timeout=30, verify=False) as http:
        for name, caller in callers.items():
            for method in methods:
                status, code = expected(row, caller, method)
                is_shown = caller.browses and is_page(row, method)
                if row.endpoint == "pages.no_page":
                    is_shown = is_shown or (status == row.owner and caller.refusal is None)
                wanted[name, method] = status, None if is_shown or method == "HEAD" else code
                found[name, method] = answered(http, row, caller, method, things)
                if row.right == "write" and method == row.method and status < 300:
                    things = new_things(rig, row)  # these were used up

    assert found == wanted


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Flask:
    """The app as web makes it; nothing connects, and nothing else of this process is changed."""
    monkeypatch.setattr(web_app, "cooperate", lambda: None)
    monkeypatch.setattr(logs, "configure", lambda: None)
    url = "postgresql+psycopg2://localhost/none"
    return web_app.create_app(Settings.model_construct(database_url=url))


def test_every_route_has_a_row(app: Flask) -> None:
    rules = {
        (rule.endpoint, method)
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }

    assert rules == {(row.endpoint, row.method) for row in ROWS}


def test_every_row_leads_to_its_route(app: Flask) -> None:
    things = {
        name: new_id()
        for name in ("conversation", "answer", "share", "file", "notified", "waiting")
    }
    adapter = app.url_map.bind("localhost")

    for row in ROWS:
        path = row.path.format(**things).partition("?")[0]
        assert adapter.match(path, row.method)[0] == row.endpoint
