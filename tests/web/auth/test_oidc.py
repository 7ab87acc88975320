"""Signing in at an identity provider: a process of its own, strict and sometimes wrong."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from local.programs import Web
from shared.settings import Settings
from tests.client import new_id
from tests.identity_provider import CALLBACK, CLIENT_ID, CLIENT_SECRET, FLAWS, IdentityProvider
from tests.rig import PATIENCE, Rig, eventually
from tests.signing_in import new_session, user_command
from web.auth import fetching, oidc
from web.auth.oidc import NotSignedIn

pytestmark = pytest.mark.usefixtures("identity_provider")


class Browser:
    """A browser that a person signs in with, one step at a time."""

    def __init__(self, web: Web) -> None:
        self.url = web.url
        self.http = httpx2.Client(timeout=PATIENCE)

    def begin(self, next: str = "/", **headers: str) -> str:  # noqa: A002 - as in the address
        """Where it is sent."""
        answer = self.http.get(f"{self.url}/sign-in/oidc", params={"next": next}, headers=headers)
        assert answer.status_code == 302, answer.text
        assert answer.headers["cache-control"] == "no-store"
        return str(answer.headers["location"])

    def close(self) -> None:
        self.http.close()

    def at_provider(self, url: str, **form: str) -> str:
        """Fill in the provider's form; where the browser is sent back to."""
        answer = httpx2.post(url, data=form, timeout=PATIENCE)
        assert answer.status_code == 302, answer.text
        location = str(answer.headers["location"])
        assert location.startswith(self.url + CALLBACK)
        return location

    def finish(self, url: str) -> httpx2.Response:
        """Come back from the provider."""
        return self.http.get(url)

    def sign_in(self, next: str = "/", **form: str) -> httpx2.Response:  # noqa: A002
        """All steps."""
        return self.finish(self.at_provider(self.begin(next), **form))

    def is_signed_in(self) -> bool:
        """Whether it has a session."""
        return self.http.get(f"{self.url}/api/models").status_code == 200


#: Opens one more browser.
Browsers = Callable[[], Browser]


@pytest.fixture
def browsers(oidc_web: Web) -> Iterator[Browsers]:
    with ExitStack() as opened:
        yield lambda: opened.enter_context(closing(Browser(oidc_web)))


@pytest.fixture
def browser(browsers: Browsers) -> Browser:
    return browsers()


def user_of(rig: Rig, provider: IdentityProvider, subject: str) -> Any:
    rows = rig.rows(
        "SELECT * FROM users WHERE issuer = :issuer AND subject = :subject",
        issuer=provider.url,
        subject=subject,
    )
    return rows[0] if rows else None


def went_to(answer: httpx2.Response) -> str:
    assert answer.status_code == 302, answer.text
    return str(answer.headers["location"])


def test_whom_the_provider_names_is_signed_in(
    browser: Browser, rig: Rig, identity_provider: IdentityProvider
) -> None:
    subject = new_id()

    answer = browser.sign_in("/c/x?leaf=1", subject=subject, name="Zoë Example")

    assert went_to(answer) == "/c/x?leaf=1"
    assert browser.is_signed_in()
    assert "Zoë Example" in browser.http.get(browser.url, headers={"Accept": "text/html"}).text
    user = user_of(rig, identity_provider, subject)
    assert (user.name, user.operator, user.login) == ("Zoë Example", False, None)
    [noted] = rig.rows("SELECT * FROM audit WHERE user_id = :id", id=user.id)
    assert (noted.action, noted.credential, noted.address) == ("sign_in", "oidc", "127.0.0.1")


def test_the_same_subject_is_the_same_user(
    browsers: Browsers, rig: Rig, identity_provider: IdentityProvider
) -> None:
    subject = new_id()
    for _ in range(2):
        browser = browsers()
        browser.sign_in(subject=subject)
        assert browser.is_signed_in()

    user = user_of(rig, identity_provider, subject)
    assert user.name == subject  # the provider gave no name
    [count] = rig.rows("SELECT count(*) AS n FROM sessions WHERE user_id = :id", id=user.id)
    assert count.n == 2


def test_the_request_to_the_provider_is_what_the_standards_ask_for(browser: Browser) -> None:
    url = browser.begin()
    sent = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}

    assert sent["response_type"] == "code"
    assert sent["client_id"] == CLIENT_ID
    assert sent["redirect_uri"] == browser.url + CALLBACK
    assert sent["scope"].split()[0] == "openid"
    assert sent["code_challenge_method"] == "S256"
    assert len({sent["state"], sent["nonce"], sent["code_challenge"]}) == 3
    assert all(len(sent[name]) == 43 for name in ("state", "nonce", "code_challenge"))
    assert sent["state"] not in browser.begin()


@pytest.mark.parametrize("flaw", FLAWS)
def test_a_wrong_id_token_signs_nobody_in(
    browser: Browser, rig: Rig, identity_provider: IdentityProvider, flaw: str
) -> None:
    subject = new_id()

    answer = browser.sign_in("/live", subject=subject, flaw=flaw)

    assert went_to(answer) == "/sign-in?problem=failed&next=/live"
    assert not browser.is_signed_in()
    assert user_of(rig, identity_provider, subject) is None
    page = browser.http.get(browser.url + went_to(answer)).text
    assert "The sign-in service cannot be used at the moment." in page


def test_who_denies_it_is_not_signed_in(browser: Browser) -> None:
    url = browser.begin()

    answer = browser.finish(browser.at_provider(url))

    assert went_to(answer) == "/sign-in?problem=refused"
    assert not browser.is_signed_in()


def test_a_code_is_good_for_the_browser_that_began_and_once(
    browsers: Browsers, browser: Browser
) -> None:
    back = browser.at_provider(browser.begin(), subject=new_id())
    other = browsers()
    assert went_to(other.finish(back)) == "/sign-in?problem=expired"
    other.begin()
    assert went_to(other.finish(back)) == "/sign-in?problem=expired"
    assert not other.is_signed_in()
    cookies = dict(browser.http.cookies)

    assert went_to(browser.finish(back)) == "/"

    again = browsers()
    again.http.cookies.update(cookies)
    assert went_to(again.finish(back)) == "/sign-in?problem=failed"
    assert not again.is_signed_in()
    assert went_to(browser.finish(back)) == "/sign-in?problem=expired"


@pytest.mark.parametrize("change", ["state", "code", "iss", "nothing"])
def test_an_address_that_was_changed_signs_nobody_in(browser: Browser, change: str) -> None:
    back = browser.at_provider(browser.begin(), subject=new_id())
    url, _, query = back.partition("?")
    sent = {name: values[0] for name, values in parse_qs(query).items()}
    match change:
        case "nothing":
            sent = {}
        case "iss":
            sent["iss"] = "https://another.example"
        case _:
            sent[change] = "ä" * 5_000 if change == "code" else "ä"

    answer = browser.http.get(url, params=sent)

    assert answer.status_code in (302, 400)  # 400: a line that is too long
    assert not browser.is_signed_in()


def test_an_address_that_was_made_up_does_not_reach_the_provider(
    browser: Browser, identity_provider: IdentityProvider
) -> None:
    asked = httpx2.get(f"{identity_provider.url}/asked").json()
    browser.begin()

    for query in ("code=x&state=x", "code=x", "", "error=x&state=x"):
        answer = browser.finish(f"{browser.url}{CALLBACK}?{query}")
        assert went_to(answer).startswith("/sign-in?problem=")

    assert httpx2.get(f"{identity_provider.url}/asked").json() == asked


@pytest.mark.parametrize("elsewhere", ["//evil.example", "https://evil.example", "/\\evil.example"])
def test_nobody_is_sent_elsewhere(browser: Browser, elsewhere: str) -> None:
    assert went_to(browser.sign_in(elsewhere, subject=new_id())) == "/"


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_link_on_another_site_leads_to_the_sign_in_page_only(browser: Browser, site: str) -> None:
    followed = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}

    assert browser.begin("/live", **followed) == "/sign-in?next=/live"


def test_who_is_disabled_is_told_so(
    browser: Browser, rig: Rig, identity_provider: IdentityProvider
) -> None:
    subject = new_id()
    browser.sign_in(subject=subject)
    user = user_of(rig, identity_provider, subject)
    user_command(rig, "disable", str(user.id))
    eventually(lambda: not browser.is_signed_in())

    assert went_to(browser.sign_in(subject=subject)) == "/sign-in?problem=disabled"

    assert not browser.is_signed_in()


def test_a_sign_in_ends_the_browsers_session_before(browser: Browser) -> None:
    browser.sign_in(subject=new_id())
    first = browser.http.cookies["outlive_session"]

    browser.sign_in(subject=new_id())

    assert browser.is_signed_in()
    old = {"Cookie": f"outlive_session={first}"}
    assert httpx2.get(f"{browser.url}/api/models", headers=old).status_code == 401


def test_nothing_secret_is_logged(browser: Browser, rig: Rig) -> None:
    browser.sign_in(subject=new_id())
    session = browser.http.cookies["outlive_session"]
    back = browser.at_provider(browser.begin(), subject=new_id(), flaw="nonce")
    secret = browser.http.cookies["outlive_oidc"]
    browser.finish(back)
    sent = {name: values[0] for name, values in parse_qs(urlsplit(back).query).items()}

    logs = "".join(file.read_text(errors="replace") for file in rig.home.glob("log/web*.log"))

    assert "oidc.failed" in logs
    assert sent["code"] not in logs
    assert sent["state"] not in logs
    assert CLIENT_SECRET not in logs
    assert session not in logs
    assert secret.partition(".")[0] not in logs


def test_without_the_provider_accounts_and_sessions_go_on(
    oidc_web: Web, browser: Browser, rig: Rig, identity_provider: IdentityProvider
) -> None:
    session = new_session(rig, oidc_web)
    browser.sign_in(subject=new_id())
    back = browser.at_provider(browser.begin(), subject=new_id())
    identity_provider.stop()
    try:
        assert browser.is_signed_in()
        assert went_to(browser.finish(back)) == "/sign-in?problem=failed"
        assert session.get("/api/models").status_code == 200
        new_session(rig, oidc_web)
    finally:
        identity_provider.start().wait()
    # and when it is back with other keys, people sign in
    assert went_to(browser.sign_in(subject=new_id())) == "/"
    assert browser.is_signed_in()


# --- what a provider says about itself -----------------------------------------------------------

Answer = Callable[[BaseHTTPRequestHandler, dict[str, Any]], None]


@contextmanager
def saying(answer: Answer) -> Iterator[oidc.IdentityProvider]:
    """Our client of a provider whose description is answered like this."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            good = {
                "issuer": url,
                "authorization_endpoint": f"{url}/authorize",
                "token_endpoint": f"{url}/token",
                "jwks_uri": f"{url}/keys",
            }
            answer(self, good)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        settings = Settings.model_construct(
            oidc_issuer=url, oidc_client_id="x", public_url="https://ours.example"
        )
        yield oidc.IdentityProvider(settings)
        server.shutdown()


def send(handler: BaseHTTPRequestHandler, body: bytes, status: int = 200, **headers: str) -> None:
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


def changed(**fields: Any) -> Answer:
    """The description with other fields."""
    return lambda handler, good: send(handler, json.dumps(good | fields).encode())


def slowly(handler: BaseHTTPRequestHandler, good: dict[str, Any]) -> None:
    handler.send_response(200)
    handler.end_headers()
    for _ in range(40):
        time.sleep(0.05)
        try:
            handler.wfile.write(b" ")
        except OSError:
            return


WRONG: Final[dict[str, Answer]] = {
    "another issuer": changed(issuer="https://another.example"),
    "no issuer": changed(issuer=None),
    "an open endpoint": changed(token_endpoint="http://10.0.0.1/token"),
    "no endpoint": changed(authorization_endpoint=None),
    "no keys": changed(jwks_uri=7),
    "a list": lambda handler, good: send(handler, b"[]"),
    "no JSON": lambda handler, good: send(handler, b"<html>"),
    "deep JSON": lambda handler, good: send(handler, b"[" * 100_000),
    "not found": lambda handler, good: send(handler, json.dumps(good).encode(), 404),
    "elsewhere": lambda handler, good: send(handler, b"", 302, Location="http://127.0.0.1:1/"),
    "too much": lambda handler, good: send(handler, b" " * (fetching.MAX_BYTES + 1)),
    "too slowly": slowly,
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_provider_that_describes_itself_wrongly_is_not_used(
    wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "TIMEOUT", 1.0)
    began = time.monotonic()

    with saying(WRONG[wrong]) as provider, pytest.raises(NotSignedIn) as refused:
        provider.begin()

    assert refused.value.why == "failed"
    assert time.monotonic() - began < 10


def test_a_provider_is_asked_again_after_a_failure() -> None:
    answers = [WRONG["no JSON"], changed()]

    def one_after_another(handler: BaseHTTPRequestHandler, good: dict[str, Any]) -> None:
        answers.pop(0)(handler, good)

    with saying(one_after_another) as provider:
        with pytest.raises(NotSignedIn):
            provider.begin()

        assert provider.begin().url.startswith(f"{provider.issuer}/authorize?")
        assert provider.begin().secret != provider.begin().secret  # and not again after that
