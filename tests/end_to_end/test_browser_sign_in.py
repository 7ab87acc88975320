"""Signing in and out in a real browser, and what another site's page can do about it.

The file is long because all of its stories begin at the sign-in page.
"""

import json

import pytest
from playwright.sync_api import Page, expect

from local.programs import Web
from tests.client import new_id
from tests.end_to_end import axe
from tests.end_to_end.browser import Meet, Person, Tab
from tests.end_to_end.other_site import other_site
from tests.end_to_end.questions import answer_text, gated, quick
from tests.identity_provider import IdentityProvider
from tests.rig import Rig, eventually
from tests.signing_in import PASSWORD, new_account

pytestmark = pytest.mark.usefixtures("worker")

#: Seconds, much fewer than until Postgres is asked again: it was the notification that ended them.
#: How soon is measured by `outlive bench promises`.
SOON = 10.0


def sign_in(page: Page, login: str, password: str = PASSWORD) -> None:
    """Type login and password on the sign-in page."""
    page.get_by_label("Login").fill(login)
    page.get_by_label("Password").fill(password)
    page.get_by_label("Password").press("Enter")


def is_in(tab: Tab) -> Tab:
    """Wait until the page is there, and works."""
    expect(tab.page.locator("#conversations")).to_have_attribute("aria-busy", "false")
    return tab


def sign_out(tab: Tab, how: str = "Sign out") -> None:
    """Press Sign out in the list of conversations, and in the dialog."""
    tab.press("Sign out", tab.page.locator("#side"))
    tab.press(how, tab.page.locator("#leave"))


def signed_in(person: Person, rig: Rig, path: str = "/", *words: str) -> Tab:
    """A tab of a new account."""
    tab = person.open(path)
    sign_in(tab.page, new_account(rig, *words))
    return is_in(tab)


def test_a_person_signs_in_asks_and_signs_out(meet: Meet, oidc_web: Web, rig: Rig) -> None:
    person = meet(oidc_web)
    tab = person.open("/")
    assert tab.path == "/sign-in"
    login = new_account(rig, "--name", "Ann Example")

    sign_in(tab.page, login, "a wrong password")
    expect(tab.page.get_by_role("alert")).to_have_text(
        "That is not a login and its password. Try again."
    )
    sign_in(tab.page, login)

    expect(is_in(tab).page.locator("#who")).to_have_text("Ann Example")
    assert tab.path == "/"
    question = quick("Because.")
    assert tab.answer_to(question) == answer_text(question)
    conversation = tab.path
    sign_out(tab)
    tab.page.wait_for_url("**/sign-in")
    tab.page.goto(oidc_web.url + conversation)
    assert tab.path == f"/sign-in?next={conversation}"
    assert tab.page.evaluate("Object.keys(localStorage)") == []

    sign_in(tab.page, login)
    tab.page.wait_for_url(f"**{conversation}")
    assert tab.finished() == answer_text(question)


def test_the_streams_of_all_tabs_end_when_one_signs_out(
    meet: Meet, oidc_web: Web, rig: Rig
) -> None:
    person = meet(oidc_web)
    tab = signed_in(person, rig)
    tab.ask(gated("Once upon a time", new_id(), "the end"))
    tab.written()
    other = person.open(tab.path)
    other.written()
    eventually(lambda: len(person.open_streams) >= 2)

    sign_out(tab)

    def all_ended() -> bool:
        other.page.wait_for_timeout(20)  # only meanwhile Playwright reports
        return not person.open_streams

    eventually(all_ended, SOON)
    other.page.wait_for_url("**/sign-in?next=**")
    tab.page.wait_for_url("**/sign-in")


def test_a_page_whose_session_ended_elsewhere_asks_to_sign_in_and_loses_nothing(
    meet: Meet, oidc_web: Web, rig: Rig
) -> None:
    login = new_account(rig)
    person, elsewhere = meet(oidc_web), meet(oidc_web)
    tab, away = person.open("/"), elsewhere.open("/")
    sign_in(tab.page, login)
    sign_in(away.page, login)
    is_in(tab)
    is_in(away)
    other = person.open("/")
    is_in(other).answer_to(quick("Because."))
    other.questions.first.hover()
    other.press("Edit")
    other.page.get_by_label("Edit your question").fill("What I was editing")
    tab.page.locator("#question").fill("What I was about to ask")

    sign_out(away, "Sign out everywhere")
    away.page.wait_for_url("**/sign-in")
    for one in (tab, other):
        one.page.wait_for_url("**/sign-in?next=**")
    expect(tab.page.get_by_role("status")).to_contain_text("Sign in to go on.")
    sign_in(tab.page, login)

    is_in(other)  # it need not sign in again
    expect(tab.page.locator("#question")).to_have_value("What I was about to ask")
    expect(other.page.get_by_label("Edit your question")).to_have_value("What I was editing")


def test_a_person_changes_the_password_and_stays_signed_in_only_here(
    meet: Meet, oidc_web: Web, rig: Rig
) -> None:
    login = new_account(rig, "--name", "Ann Example")
    tab, away = meet(oidc_web).open("/"), meet(oidc_web).open("/")
    for one in (tab, away):
        sign_in(one.page, login)
        is_in(one)
    tab.press("Ann Example")
    dialog = tab.page.get_by_role("dialog", name="Ann Example")
    for now, new, again, said in (
        ("a wrong password", "a better one", "a better one", "That is not your current password."),
        (PASSWORD, "short", "short", "A password has 8 to 1024 characters."),
        (PASSWORD, "a better one", "a butter one", "The new passwords differ."),
        (PASSWORD, "a better one", "a better one", "Your password is changed."),
    ):
        dialog.get_by_label("Current password").fill(now)
        dialog.get_by_label("New password", exact=True).fill(new)
        dialog.get_by_label("New password again").fill(again)
        dialog.get_by_label("New password again").press("Enter")
        expect(dialog.get_by_role("alert")).to_contain_text(said)

    assert axe.serious(tab.page) == []
    expect(dialog.get_by_label("Current password")).to_have_value("")
    away.page.wait_for_url("**/sign-in?next=**")
    sign_in(away.page, login, "a better one")
    is_in(away)
    tab.page.reload()
    is_in(tab)


def test_an_account_is_exported_and_deleted_from_the_page(
    meet: Meet, oidc_web: Web, rig: Rig
) -> None:
    person = meet(oidc_web)
    tab = signed_in(person, rig, "/", "--name", "Ann Example")
    tab.answer_to(quick("Because."))
    tab.press("Ann Example")
    dialog = tab.page.get_by_role("dialog", name="Ann Example")
    assert axe.serious(tab.page) == []
    with tab.page.expect_download() as download:
        dialog.get_by_role("link", name="Markdown").click()
    assert "Because." in download.value.path().read_text()
    delete = dialog.get_by_role("button", name="Delete everything")
    expect(delete).to_be_disabled()

    dialog.get_by_label("Type delete everything to go on").fill("delete everything")
    delete.click()

    tab.page.wait_for_url("**/sign-in?problem=deleted")
    expect(tab.page.get_by_role("status")).to_contain_text("Your account is deleted")
    tab.page.goto(oidc_web.url)
    assert tab.path == "/sign-in"


def test_what_a_browser_asks_for_and_may_not_see_is_refused_on_a_page(
    meet: Meet, oidc_web: Web, rig: Rig
) -> None:
    person = meet(oidc_web)
    tab = signed_in(person, rig)

    for path, why in (("/live", "Only operators"), ("/no/such/page", "nothing at this address")):
        tab.page.goto(oidc_web.url + path)
        expect(tab.page.locator("main")).to_contain_text(why)
    tab.page.get_by_role("link", name="Back to the first page").click()
    is_in(tab)


def test_another_user_of_the_same_browser_finds_nothing_of_the_first(
    meet: Meet, oidc_web: Web, rig: Rig
) -> None:
    person = meet(oidc_web)
    tab = signed_in(person, rig)
    tab.page.locator("#question").fill("A secret draft")
    eventually(lambda: "A secret draft" in str(tab.page.evaluate("JSON.stringify(localStorage)")))
    person.context.clear_cookies()  # the session is gone, but nobody has signed out

    other = signed_in(person, rig)

    expect(other.page.locator("#question")).to_have_value("")
    assert "A secret draft" not in other.page.evaluate("JSON.stringify(localStorage)")


def test_the_sign_in_page_asks_no_other_server_and_is_accessible(meet: Meet, oidc_web: Web) -> None:
    for options in ({}, {"color_scheme": "dark"}, {"viewport": {"width": 360, "height": 640}}):
        person = meet(oidc_web, **options)
        page = person.open("/sign-in").page

        assert axe.serious(page) == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.evaluate("document.activeElement.id") == "login"
        assert all(url.startswith(oidc_web.url) for url in person.requests)


def test_a_person_signs_in_at_an_identity_provider(
    meet: Meet, oidc_web: Web, identity_provider: IdentityProvider
) -> None:
    person = meet(oidc_web)
    tab = person.open("/")
    page, subject = tab.page, new_id()
    person.url = "http://127.0.0.1:"  # the provider is another server

    def go_through() -> None:
        page.get_by_role("link", name="Sign in with 127.0.0.1").click()
        page.wait_for_url(f"{identity_provider.url}/**")
        assert "#" not in page.url
        page.get_by_label("Subject").fill(subject)
        page.get_by_label("Name").fill("Zoë Example")
        page.get_by_role("button", name="Continue").click()
        is_in(tab)

    go_through()

    expect(page.locator("#who")).to_have_text("Zoë Example")
    assert page.url == f"{oidc_web.url}/"
    tab.answer_to(quick("Because."))
    place = f"{tab.path}#{tab.answer.get_attribute('data-id')}.3"
    sign_out(tab)
    page.wait_for_url("**/sign-in")

    # a link to a place still leads there
    page.goto(oidc_web.url + place)
    page.wait_for_url("**/sign-in?next=**")
    go_through()
    expect(page.locator(".linked")).to_contain_text("Because.")
    assert page.evaluate("sessionStorage.getItem('outlive.back')") is None


# --- another site --------------------------------------------------------------------------------


ATTACK = """<!doctype html><title>x</title>
<form method="post" enctype="text/plain" target="f"></form><iframe name="f"></iframe>
<script>
const json = {headers: {"Content-Type": "application/json"}};
const post = (path, body, options) =>
  fetch(WEB + path, {method: "POST", credentials: "include", body, ...options}).catch(() => null);
async function attack() {
  const [form] = document.forms, field = form.appendChild(document.createElement("input"));
  form.action = WEB + "/api/sign-in";
  [field.name, field.value] = [BODY.slice(0, -1) + ', "x": "', '"}'];
  const frame = document.querySelector("iframe");
  const loaded = new Promise((resolve) => frame.addEventListener("load", resolve, {once: true}));
  form.submit();
  await loaded;
  for (const mode of ["cors", "no-cors"])
    for (const options of [json, {}]) {
      await post("/api/sign-in", BODY, {...options, mode});
      await post("/api/sign-out", "{}", {...options, mode});
    }
  return "done";
}
</script>"""


def test_another_sites_page_can_neither_sign_a_person_in_nor_out(
    meet: Meet, oidc_web: Web, rig: Rig
) -> None:
    attacker = new_account(rig)
    person, stranger = meet(oidc_web), meet(oidc_web)
    tab = signed_in(person, rig, "/", "--name", "The victim")
    body = json.dumps(json.dumps({"login": attacker, "password": PASSWORD}))
    html = ATTACK.replace("WEB", f'"{oidc_web.url}"').replace("BODY", body)
    with other_site(html) as url:
        for one in (person, stranger):
            one.url = ""  # it asks another server here
            page = one.context.new_page()
            page.goto(url)
            assert page.evaluate("attack()") == "done"
            one.mishaps.clear()  # what the browser refused to send
            one.url = oidc_web.url

    tab.page.reload()
    expect(tab.page.locator("#who")).to_have_text("The victim")
    assert stranger.context.cookies(oidc_web.url) == []
    assert not rig.rows(
        "SELECT 1 FROM sessions s JOIN users u ON u.id = s.user_id WHERE u.login = :it", it=attacker
    )
