"""Every route of the URL map, asked by everybody: exactly the expected answers.

A row says, for each method of an endpoint, which right it asks for, what the owner of the things in
the address is answered, and what any other user is. From that and from the rights of each caller
follow all answers. A route without a row fails, and so does a row without a route.

To add a caller, add an entry to CALLERS.
"""

import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

import httpx2
import pytest
from flask import Flask

from local.programs import Web
from shared import logs, share_token
from shared.body import text_body
from shared.settings import Settings
from shared.store import asking, conversations, shares, stopping
from shared.store.asking import Asking
from tests.client import new_id
from tests.credentials import ISSUER, bearer, disable, new_key, operate, token, user_id
from tests.rig import Rig, eventually
from tests.signing_in import new_session
from web import app as web_app
from web.routes import STREAMS

OWNER: Final = "owner-of-things"
OTHER: Final = "another"
READER: Final = "reader-of-things"


# --- the routes -----------------------------------------------------------------------------------


class Row(NamedTuple):
    """One method of one endpoint."""

    endpoint: str
    method: str
    #: with the ids of things that belong to OWNER
    path: str
    #: "public", "open", "use", "shared", "read", "write", "operate"
    right: str
    owner: int
    #: where it differs from what the owner is answered
    other: int | None = None
    body: Any = None


ROWS: Final = (
    Row("health.alive", "GET", "/healthz", "public", 200),
    Row("health.ready", "GET", "/readyz", "public", 200),
    Row("health.probe", "GET", "/healthz/stream", "public", 404),  # without a doctor's token
    Row("health.prometheus", "GET", "/metrics", "operate", 200),
    Row("static", "GET", "/static/app.js", "open", 200),
    Row("pages.sign_in", "GET", "/sign-in", "open", 200),
    # whatever was right would count as an attempt, or end the caller's session
    Row("sign_in.sign_in", "POST", "/api/sign-in", "open", 422, body={}),
    Row("sign_in.begin_oidc", "GET", "/sign-in/oidc", "open", 404),
    Row("sign_in.finish_oidc", "GET", "/sign-in/oidc/callback", "open", 404),
    Row("sign_in.sign_out", "POST", "/api/sign-out", "use", 422, body={"everywhere": "yes"}),
    Row("pages.page", "GET", "/", "use", 200),
    Row("pages.page", "GET", "/c/{conversation}", "use", 200),
    Row("pages.shared", "GET", "/s", "open", 200),
    Row("pages.shared", "GET", "/s/{conversation}", "open", 200),
    Row("pages.dashboard", "GET", "/live", "operate", 200),
    Row("pages.dashboard_state", "GET", "/api/live", "operate", 200),
    Row("native.create_conversation", "POST", "/api/conversations", "write", 201, body={}),
    Row("native.list_conversations", "GET", "/api/conversations", "read", 200),
    Row("native.show_conversation", "GET", "/api/conversations/{conversation}", "shared", 200, 404),
    Row("native.change_conversation", "PATCH", "/api/conversations/{conversation}", "write", 200,
        404, {"title": "x"}),
    Row("native.delete_conversation", "DELETE", "/api/conversations/{conversation}", "write", 204,
        404),
    Row("native.undelete_conversation", "POST", "/api/conversations/{conversation}/undelete",
        "write", 200, 404),
    Row("native.see_conversation", "POST", "/api/conversations/{conversation}/seen", "write", 204,
        404, {"message_id": "{answer}"}),
    Row("native.search_conversations", "GET", "/api/search?q=why", "read", 200),
    Row("native.list_models", "GET", "/api/models", "use", 200),
    Row("native.show_usage", "GET", "/api/usage", "read", 200),
    Row("reference.openapi", "GET", "/api/openapi.json", "use", 200),
    Row("reference.page", "GET", "/api/docs", "use", 200),
    Row("native.ask", "POST", "/api/conversations/{conversation}/messages", "write", 202, 404,
        {"content": "Why?"}),
    Row("native.retry", "POST", "/api/messages/{answer}/retry", "write", 202, 404, {}),
    Row("native.go_on", "POST", "/api/messages/{answer}/continue", "write", 202, 404, {}),
    Row("native.show_message", "GET", "/api/messages/{answer}", "shared", 200, 404),
    Row("native.stop", "POST", "/api/messages/{answer}/stop", "write", 202, 404),
    Row("native.stream", "GET", "/api/messages/{answer}/stream", "shared", 200, 404),
    Row("blocks.stream", "GET", "/api/messages/{answer}/blocks/stream", "shared", 200, 404),
    Row("blocks.blocks", "GET", "/api/messages/{answer}/blocks", "shared", 200, 404),
    Row("blocks.turns", "GET", "/api/conversations/{conversation}/turns", "shared", 200, 404),
    Row("notices.notices", "GET", "/api/notices", "read", 200),
    Row("notices.older", "GET", "/api/sidebar", "read", 200),
    Row("sharing.share", "POST", "/api/conversations/{conversation}/shares", "write", 201, 404, {}),
    Row("sharing.list_shares", "GET", "/api/conversations/{conversation}/shares", "read", 200, 404),
    Row("sharing.revoke_share", "DELETE", "/api/shares/{share}", "write", 204, 404),
    Row("sharing.list_shared", "GET", "/api/shared", "shared", 200),
    Row("account.export", "GET", "/api/export", "read", 200),
    Row("audit_table.read_audit", "GET", "/api/audit", "operate", 200),
    # Everybody here is needed for the next row; that it works is in test_account.py.
    Row("account.delete_user", "POST", "/api/user/delete", "write", 422),
)  # fmt: skip

#: What the owner is refused.
CODES: Final = {404: "not_found", 422: "invalid"}

# --- those who ask --------------------------------------------------------------------------------

SHARED: Final = frozenset({"shared"})
READS: Final = SHARED | {"use", "read"}
WRITES: Final = READS | {"write"}
OPERATES: Final = frozenset({"use", "operate"})


@dataclass(frozen=True)
class Caller:
    """Somebody with a credential; a link's is one of the things."""

    headers: Mapping[str, str] = field(default_factory=dict)
    rights: frozenset[str] = WRITES
    #: whether the things in the addresses are theirs
    owns: bool = False
    #: whether they are shared with them
    reads: bool = False
    #: the answer to everything that is not public
    refusal: tuple[int, str] | None = None


def nobody(_: Rig, __: Web) -> Caller:
    return Caller(refusal=(401, "unauthenticated"))


def expired(_: Rig, __: Web) -> Caller:
    past = token(OWNER, exp=int(time.time()) - 60)
    return Caller(bearer(past), refusal=(401, "token_expired"))


def for_another_service(_: Rig, __: Web) -> Caller:
    return Caller(bearer(token(OWNER, aud="another")), refusal=(401, "token_invalid"))


def disabled_user(rig: Rig, _: Web) -> Caller:
    subject = new_id()
    of_token(rig, subject)
    disable(rig, subject)
    return Caller(bearer(token(subject)), refusal=(401, "user_disabled"))


def revoked(rig: Rig, _: Web) -> Caller:
    key, key_id = new_key(rig, "read,ask,admin,act_as")
    operate(rig, "key", "revoke", key_id)
    return Caller(bearer(key) | {"Outlive-User": OWNER}, refusal=(401, "key_invalid"))


def of_key(rig: Rig, scopes: str, rights: frozenset[str]) -> Caller:
    """A key that acts for the owner."""
    key, _ = new_key(rig, f"{scopes},act_as")
    return Caller(bearer(key) | {"Outlive-User": OWNER}, rights, owns=True)


def of_its_own(rig: Rig, _: Web) -> Caller:
    """A key that acts for itself."""
    key, __ = new_key(rig, "ask")
    return Caller(bearer(key))


def not_for_others(rig: Rig, _: Web) -> Caller:
    """A key that names a user, and may not."""
    key, __ = new_key(rig, "read,ask,admin")
    return Caller(bearer(key) | {"Outlive-User": OWNER}, refusal=(403, "insufficient_scope"))


def of_token(rig: Rig, subject: str, **claims: Any) -> Caller:
    if user_id(rig, subject) is None:
        rig.rows(
            "INSERT INTO users (id, name, issuer, subject)"
            " VALUES (CAST(:id AS uuid), 'x', 'https://host.example', :subject) RETURNING id",
            id=new_id(),
            subject=subject,
        )
    return Caller(bearer(token(subject, **claims)), owns=subject == OWNER)


def operator(rig: Rig, _: Web) -> Caller:
    scope = "read ask admin"
    return Caller(of_token(rig, OTHER, scope=scope).headers, WRITES | OPERATES)


def of_session(rig: Rig, web: Web) -> Caller:
    return Caller(new_session(rig, web).headers)


def of_operators_session(rig: Rig, web: Web) -> Caller:
    return Caller(new_session(rig, web, operator=True).headers, WRITES | OPERATES)


def signed_out(rig: Rig, web: Web) -> Caller:
    session = new_session(rig, web)
    assert session.sign_out().status_code == 204
    return Caller(session.headers, refusal=(401, "session_ended"))


def reader_by_link(_: Rig, __: Web) -> Caller:
    return Caller(bearer("{link}"), SHARED, reads=True)


def revoked_link(_: Rig, __: Web) -> Caller:
    return Caller(bearer("{revoked_link}"), refusal=(404, "not_found"))


def named_reader(rig: Rig, _: Web) -> Caller:
    return replace(of_token(rig, READER), reads=True)


CALLERS: Final[dict[str, Callable[[Rig, Web], Caller]]] = {
    "nobody": nobody,
    "expired": expired,
    "wrong audience": for_another_service,
    "disabled": disabled_user,
    "revoked": revoked,
    "key for nobody else": not_for_others,
    "link": reader_by_link,
    "revoked link": revoked_link,
    "named reader": named_reader,
    "another user": lambda rig, _: of_token(rig, OTHER),
    "key of its own": of_its_own,
    "operator": operator,
    "key: read": lambda rig, _: of_key(rig, "read", READS),
    "key: admin": lambda rig, _: of_key(rig, "admin", OPERATES),
    "key: act_as": lambda rig, _: of_key(rig, "act_as", frozenset()),
    "key: ask": lambda rig, _: of_key(rig, "ask", WRITES),
    "owner": lambda rig, _: of_token(rig, OWNER),
    "session": of_session,
    "session of an operator": of_operators_session,
    "signed out": signed_out,
}


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
    if method == "OPTIONS" and (row.right in ("public", "open") or caller.refusal is None):
        return 200, None
    if row.right in ("public", "open"):
        return row.owner, CODES.get(row.owner)
    if caller.refusal is not None:
        return caller.refusal
    if row.right not in caller.rights:
        return 403, "not_operator" if row.right == "operate" else "insufficient_scope"
    if caller.owns or row.other is None or (caller.reads and row.right == "shared"):
        return row.owner, CODES.get(row.owner)
    return row.other, CODES.get(row.other)


def new_things(rig: Rig, row: Row) -> dict[str, str]:
    """A conversation of the owner's with an answer that was stopped, and its shares."""
    owner = user_id(rig, OWNER)
    assert isinstance(owner, uuid.UUID)
    made = conversations.create(rig.db, owner, None, None)
    terms = Asking(owner, "scripted", {}, None, None, max_open=0, queue_deadline=60)
    answer = asking.ask(rig.db, terms, made.id, text_body("Why?")).answer
    stopping.stop(rig.db, answer.id, owner)
    things = {"conversation": str(made.id), "answer": str(answer.id)}
    for name in ("link", "revoked_link"):
        things[name] = share_token.new_token()
        hashed = share_token.hashed(things[name])
        share = shares.add(rig.db, owner, made.id, token_hash=hashed)
        things.setdefault("share", str(share.id))
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
        refused = answer.status_code >= 400 and method != "HEAD"
        return answer.status_code, answer.json()["code"] if refused else None


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
                wanted[name, method] = status, None if method == "HEAD" else code
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
    things = {"conversation": new_id(), "answer": new_id(), "share": new_id()}
    adapter = app.url_map.bind("localhost")

    for row in ROWS:
        path = row.path.format(**things).partition("?")[0]
        assert adapter.match(path, row.method)[0] == row.endpoint
