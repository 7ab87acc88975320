"""Pages of other sites, where sign-in is required and the person has signed in with a cookie.

Browsers send a cookie to every port of its host. So the attacking sites are on another host, where
the cookie stays away by itself (SameSite), and on the service's own, where only its checks refuse.
A site that the deployment lists may use the API with a token, and nothing with the cookie.
"""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from playwright.sync_api import Browser, BrowserContext, Page, expect

from local.programs import Flower, Web, Worker
from scripted import say
from tests.client import new_id
from tests.credentials import KeyServer, bearer, client_with, sign_in_settings, token
from tests.end_to_end.attack_site import Site, attack
from tests.end_to_end.test_browser_sign_in import sign_in
from tests.rig import PATIENCE, Rig, killing
from tests.signing_in import PASSWORD, Session, new_account
from tests.stories import Held, holding

CANARY = f"canary-{new_id()}"
_FETCH = """async ([url, headers, method, credentials, body]) => {
  try {
    const response = await fetch(url, { method, headers, body, credentials });
    return `${response.status} ${await response.text()}`;
  } catch {
    return "";
  }
}"""


@dataclass
class Victim:
    """An operator who has signed in to web and to Flower, and reads an answer."""

    rig: Rig
    web: Web
    flower: Flower
    login: str
    context: BrowserContext
    session: Session
    held: Held

    def at(self, host: str, site: Site) -> Page:
        """A tab on another site."""
        page = self.context.new_page()
        page.goto(f"http://{host}:{site.port}/")
        return page

    def readable(self) -> list[str]:
        """What must not be read: of each kind one."""
        paths = (
            "",
            "live",
            "api/conversations",
            f"api/messages/{self.held.id}/stream",
            "api/export",
        )
        return [*(f"{self.web.url}/{path}" for path in paths), f"{self.flower.address}/api/workers"]

    def writable(self) -> list[str]:
        """What must not be changed."""
        conversation = f"{self.web.url}/api/conversations/{self.held.conversation}"
        return [
            conversation,
            f"{conversation}/shares",
            f"{self.web.url}/api/messages/{self.held.id}/stop",
            f"{self.web.url}/api/sign-out",
            f"{self.web.url}/api/user/delete",
            f"{self.web.url}/api/user/password",
            f"{self.flower.address}/api/task/send-task/outlive.generate",
        ]

    def state(self) -> list[str]:
        """All that an attack could change, and the cookies."""
        columns = {
            "sessions": "id",
            "shares": "id, revoked_at",
            "conversations": "id, title, deleted_at",
            "messages": "id, stop_requested",
        }
        [user] = self.rig.rows(
            "SELECT id, password_hash, disabled_at, deleted_at FROM users WHERE login = :login",
            login=self.login,
        )
        return [
            str(user),
            *(
                str(self.rig.rows(f"SELECT {of} FROM {table} WHERE user_id = :id", id=user.id))
                for table, of in columns.items()
            ),
            *sorted(f"{one['name']}={one['value']}" for one in self.context.cookies(self.web.url)),
        ]


@contextmanager
def _victim(rig: Rig, web: Web, flower: Flower, browser: Browser) -> Iterator[Victim]:
    login = new_account(rig, "--operator")
    with ExitStack() as stack:
        context = browser.new_context()
        stack.callback(context.close)
        context.set_default_timeout(PATIENCE * 1000)
        page = context.new_page()
        page.goto(flower.link)
        page.goto(f"{web.url}/live")
        sign_in(page, login)
        expect(page.locator("#flower")).to_be_attached()
        page.close()
        cookies = {one["name"]: one["value"] for one in context.cookies(web.url)}
        sent = "; ".join(f"{name}={value}" for name, value in cookies.items())
        session = Session(web.url, {"Cookie": sent, "Outlive-CSRF": cookies["outlive_csrf"]})
        client = stack.enter_context(session.client())
        held = stack.enter_context(holding(rig, client, say(f"So far {CANARY}")))
        yield Victim(rig, web, flower, login, context, session, held)


def test_with_sign_in_only_a_listed_site_with_a_token_reads_or_changes_anything(
    browser: Browser, site: Site, rig: Rig, key_server: KeyServer, worker: Worker
) -> None:
    with ExitStack() as stack:
        friendly = stack.enter_context(Site())
        threading.Thread(target=friendly.serve_forever, daemon=True).start()
        stack.callback(friendly.shutdown)
        listed = {"OUTLIVE_CORS_ORIGINS": f"http://127.0.0.1:{friendly.port}"}
        web = rig.web(**sign_in_settings(key_server), **listed, WEB_CONCURRENCY="1")
        flower = rig.flower()
        stack.enter_context(killing(web, flower))
        victim = stack.enter_context(_victim(rig, web, flower, browser))
        before = victim.state()

        # when: with the cookie, from another host, and from ours
        readable, writable = victim.readable(), victim.writable()
        assert attack(victim.at("evil.localhost", site), readable[-3:], writable[:1]) == []
        assert attack(victim.at("127.0.0.1", site), readable, writable) == []
        friend = victim.at("127.0.0.1", friendly)
        learned = attack(friend, readable[:-2], writable[:-1])

        # then: a listed site learns that a credential is missing, and no more
        assert learned
        assert {what.partition(" ")[0] for _, _, what in learned} == {"401"}
        assert {url for _, url, _ in learned} <= {url for url in readable if "/api/" in url}

        # when: it signs the browser in to an account of its own, to read what is asked there
        body = f'{{"login": "{new_account(rig)}", "password": "{PASSWORD}"}}'
        json = {"Content-Type": "application/json"}
        friend.evaluate(_FETCH, [f"{web.url}/api/sign-in", json, "POST", "include", body])

        assert victim.state() == before
        assert CANARY in victim.session.get(f"/api/messages/{victim.held.id}").text

        # when: with a token, from a listed site and another
        place, headers = f"{web.url}/api/conversations", bearer(token(f"user {new_id()}"))
        with client_with(web, headers["Authorization"].partition(" ")[2]) as user:
            of_user = f"{place}/{user.conversation(title=CANARY)}"
            evil = victim.at("127.0.0.1", site)
            assert evil.evaluate(_FETCH, [place, headers, "GET", "omit"]) == ""
            assert evil.evaluate(_FETCH, [of_user, headers, "DELETE", "omit"]) == ""
            assert friend.evaluate(_FETCH, [f"{web.url}/live", headers, "GET", "omit"]) == ""
            assert CANARY in friend.evaluate(_FETCH, [place, headers, "GET", "omit"])
            assert user.http.get(of_user).status_code == 200
            assert friend.evaluate(_FETCH, [of_user, headers, "DELETE", "omit"])
            assert user.http.get(of_user).status_code == 404
