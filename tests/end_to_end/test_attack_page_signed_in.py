"""A page of another site, where sign-in is required, and one that the deployment lists."""

from playwright.sync_api import Browser, Page

from tests.client import new_id
from tests.credentials import KeyServer, bearer, client_with, sign_in_settings, token
from tests.end_to_end.attack_site import Site, attack
from tests.rig import PATIENCE, Rig, killing

CANARY = f"canary-{new_id()}"
_FETCH = """async ([url, headers, method]) => {
  try {
    const response = await fetch(url, { method, headers, credentials: "include" });
    return `${response.status} ${await response.text()}`;
  } catch {
    return "";
  }
}"""


def test_with_sign_in_only_a_listed_site_with_a_token_reads_or_changes_anything(
    browser: Browser, site: Site, rig: Rig, key_server: KeyServer
) -> None:
    friend, evil = (f"http://{name}.localhost:{site.port}" for name in ("friend", "evil"))
    settings = sign_in_settings(key_server) | {"OUTLIVE_CORS_ORIGINS": friend}
    web = rig.web(**settings, WEB_CONCURRENCY="1")
    subject = f"victim {new_id()}"
    context = browser.new_context()
    context.set_default_timeout(PATIENCE * 1000)
    with killing(web), client_with(web, token(subject)) as victim:
        conversation = victim.conversation(title=CANARY)
        place = f"{web.url}/api/conversations"
        readable = [f"{web.url}/", f"{web.url}/live", place, f"{web.url}/api/notices"]
        writable = [place, f"{place}/{conversation}"]
        # A cookie as other programs on this machine set it, which a browser sends along.
        context.add_cookies([{"name": "session", "value": "x", "url": web.url}])

        def at(where: str) -> Page:
            page = context.new_page()
            page.goto(f"{where}/")
            return page

        # when: without a token, from both
        assert attack(at(evil), readable, writable) == []
        learned = attack(at(friend), readable, writable)

        # then: a listed site learns that a credential is missing, and no more
        assert learned
        assert {what.partition(" ")[0] for _, _, what in learned} == {"401"}
        assert {url for _, url, _ in learned} <= {place, f"{web.url}/api/notices", *writable}

        # when: with a token, from both
        headers = bearer(token(subject))
        asked = [place, headers, "GET"]
        assert at(evil).evaluate(_FETCH, asked) == ""
        assert CANARY in at(friend).evaluate(_FETCH, asked)
        assert at(friend).evaluate(_FETCH, [f"{web.url}/live", headers, "GET"]) == ""
        assert at(evil).evaluate(_FETCH, [f"{place}/{conversation}", headers, "DELETE"]) == ""
        [kept] = victim.http.get("/api/conversations").json()["items"]
        assert kept["title"] == CANARY
        assert at(friend).evaluate(_FETCH, [f"{place}/{conversation}", headers, "DELETE"])
        assert victim.http.get("/api/conversations").json()["items"] == []
    context.close()
