"""The page in Arabic, in a real browser: every word of it, from right to left."""

import html
import re

import pytest
from playwright.sync_api import Page, expect

import scripted
from local.programs import Web
from tests.client import Client
from tests.end_to_end import axe
from tests.end_to_end.browser import Meet, Tab
from tests.end_to_end.questions import answer_text, gated
from tests.rig import Rig
from tests.signing_in import PASSWORD, new_account
from web.page.languages import LANGUAGES

pytestmark = pytest.mark.usefixtures("worker")

ARABIC = LANGUAGES["ar"]

#: Texts and attributes, shown or not, that have words in Latin letters. What people and models
#: wrote has `dir=auto` or is code; what is put into a sentence is between Unicode's isolates.
LATIN = """() => {
  const own = (element) => !element.closest(
    "title, #title, [dir=auto], bdi, .block, code, kbd, pre, script, style, noscript, .brand,"
    + " #model, #announce, #thread .text");
  const found = [];
  const check = (text, element) => {
    const rest = (text ?? "").replace(/\\u2068[^\\u2069]*\\u2069/g, "");
    if (/[A-Za-z]{2}/.test(rest) && own(element)) found.push(rest.trim());
  };
  const walker = document.createTreeWalker(document.documentElement, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) check(walker.currentNode.data, walker.currentNode.parentElement);
  for (const name of ["aria-label", "title", "placeholder", "alt", "aria-description"]) {
    for (const element of document.querySelectorAll(`[${name}]:not(:has(> bdi))`)) {
      check(element.getAttribute(name), element);
    }
  }
  return found.filter((one) => !ALLOWED.includes(one));
}"""
#: Names that are names in every language.
NAMES = ("Outlive", "Flower", "Ctrl+K", "Markdown", "JSON")


def latin(page: Page, *more: str) -> list[str]:
    """Words in Latin letters on an Arabic page that are none of our names, nor `more`."""
    allowed = [*NAMES, *more, *(f"{name} · Outlive" for name in more)]
    found = page.evaluate(LATIN.replace("ALLOWED", repr(allowed)))
    own = [text for text in found if not text.startswith('{"script"')]  # a question
    return [text for text in own if re.search("[A-Za-z]{2}", without_names(text))]


def without_names(text: str) -> str:
    return re.sub("|".join(map(re.escape, NAMES)), "", text)


def say(sentence: str, **values: str) -> str:
    """A sentence as the Arabic page says it."""
    return html.unescape(str(ARABIC.t(sentence, **values)))


def test_a_person_signs_in_asks_and_shares_in_arabic(meet: Meet, oidc_web: Web, rig: Rig) -> None:
    person = meet(oidc_web, locale="ar-EG", viewport={"width": 1100, "height": 800})
    tab, login = person.open("/"), new_account(rig, "--name", "أمل")
    page = tab.page
    expect(page.locator("html")).to_have_attribute("dir", "rtl")
    expect(page.locator("html")).to_have_attribute("lang", "ar")
    expect(page).to_have_title(f"{say('Sign in')} · Outlive")
    page.get_by_label(say("Login")).fill(login)
    page.get_by_label(say("Password")).fill("a wrong password")
    page.get_by_label(say("Password")).press("Enter")
    expect(page.locator("#problem")).to_have_text(ARABIC.errors["sign_in_failed"])
    assert latin(page) == []
    page.get_by_label(say("Password")).fill(PASSWORD)
    page.get_by_label(say("Password")).press("Enter")
    expect(page.locator("#conversations")).to_have_attribute("aria-busy", "false")
    assert latin(page) == []
    assert axe.serious(page) == []

    # Ask, stop, continue, with numbers in the digits of the region.
    gate = f"words-{login}"
    question = gated("كان يا ما كان، ", gate, "في قديم الزمان.")
    tab.ask(question)
    tab.written()
    expect(tab.answer.locator(".state")).to_have_text(say("Writing"))
    tab.press(say("Stop"))
    tab.finished("CANCELLED")
    expect(tab.answer.locator(".state")).to_have_text(say("Stopped by you"))
    rig.scripted.release(gate)
    tab.press(say("Continue"), tab.answer)
    expect(page.locator(".message.assistant")).to_have_count(2)  # the first one's text is in it
    tab.finished()
    tab.press(say("Copy"), tab.answer)
    expect(tab.answer.get_by_role("button", name=say("Copied"))).to_be_visible()
    tab.answer.locator(".spent").click()
    expect(tab.answer.locator(".facts")).to_contain_text(re.compile("[٠-٩]"))

    # The list and the dialogs.
    entry = page.locator(f"[data-conversation='{tab.path.removeprefix('/c/')}']")
    entry.hover()
    entry.get_by_title(say("Rename")).click()
    page.get_by_label(say("Name"), exact=True).fill("حكاية")
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("حكاية")
    assert latin(page, "scripted") == []
    page.get_by_role("searchbox").fill("لا شيء كهذا")
    expect(page.locator("#nothing")).to_have_text(say("Nothing found"))
    page.get_by_role("searchbox").fill("كان")
    expect(page.locator("#conversations mark").first).to_be_visible()
    page.get_by_role("searchbox").fill("")
    place = tab.path
    tab.press(say("Delete {name}", name="حكاية"))
    expect(page.locator(".toast")).to_contain_text(say("“{title}” was deleted.", title="حكاية"))
    assert latin(page, "scripted") == []
    tab.press(say("Undo"))
    tab.finished()
    assert tab.path == place
    page.locator("#who").click()
    expect(page.locator("#account")).to_be_visible()
    page.locator("#erase-word").fill(say("delete everything"))
    expect(page.locator("#erase")).to_be_enabled()
    tab.press(say("Close"), page.locator("#account"))

    # Shared, and read by somebody whose browser is in English.
    tab.press(say("Share"), page.locator(".bar"))
    tab.press(say("Create link"), page.locator("#sharing"))
    link = page.get_by_label(say("The link")).input_value()
    expect(page.locator("#shares span")).to_contain_text(say("By a link"))
    assert latin(page, "scripted") == []
    path = link.removeprefix(oidc_web.url)
    theirs, ours = meet(oidc_web).open(path), person.open(path)
    expect(theirs.page.get_by_text("Read only")).to_be_visible()
    expect(theirs.page.locator("html")).to_have_attribute("dir", "ltr")
    expect(ours.page.get_by_text(say("Read only"))).to_be_visible()
    assert latin(ours.page) == []


def test_an_arabic_page_is_mirrored_and_code_is_not(meet: Meet, web: Web, client: Client) -> None:
    text = "# عنوان\n\nنص مع `code()` داخله.\n\n```python\n# تعليق\nprint('x')\n```\n"
    question = scripted.script(scripted.say(text), scripted.finish(), scripted.done())
    answer = client.ask(question)
    client.ended(answer)
    person = meet(web, locale="ar-EG", viewport={"width": 390, "height": 844}, has_touch=True)
    tab = person.open(f"/c/{client.message(answer)['conversation_id']}")
    page = tab.page
    assert tab.finished() == answer_text(question)

    def box(selector: str) -> dict[str, float]:
        found = page.locator(selector).last.bounding_box()
        assert found is not None
        return {"x": found["x"], "width": found["width"]}

    # Questions are at the left, the drawer comes from the right.
    assert box(".message.user .body")["x"] < 100
    assert box("#menu")["x"] > 300
    page.locator("#menu").click()
    expect(page.locator("#side")).to_be_visible()
    page.wait_for_function("() => !document.getElementById('side').getAnimations().length")
    side = box("#side")
    assert round(side["x"] + side["width"]) == 390
    assert side["x"] > 50
    page.keyboard.press("Escape")
    expect(page.locator("#side")).to_be_hidden()
    assert page.evaluate("document.documentElement.scrollWidth") == 390

    for code in page.locator("pre, code").all():
        assert code.evaluate("node => getComputedStyle(node).direction") == "ltr"
    assert tab.answer.locator("h1").evaluate("node => getComputedStyle(node).direction") == "rtl"
    assert latin(page) == []
    assert axe.serious(page) == []


def test_a_person_may_choose_and_others_get_what_their_browser_asks_for(
    meet: Meet, web: Web, client: Client
) -> None:
    served = client.http.get("/", headers={"Accept-Language": "ar, en;q=0.5"})
    assert served.headers["content-language"] == "ar"
    assert {"Accept-Language", "Cookie"} <= set(re.split(", ?", served.headers["vary"]))
    served = client.http.get("/", headers={"Accept-Language": "fr"})
    assert served.headers["content-language"] == "en"

    person = meet(web, locale="en-GB")
    tab = person.open("/")
    expect(tab.page.locator("html")).to_have_attribute("dir", "ltr")
    assert not any("/static/words/" in url for url in person.requests)
    person.context.add_cookies([{"name": "outlive_language", "value": "ar", "url": web.url}])
    tab.page.reload()
    expect(tab.page.locator("html")).to_have_attribute("dir", "rtl")
    expect(tab.page.locator("#conversations")).to_have_attribute("aria-busy", "false")
    loaded = [url for url in person.requests if "/static/words/" in url]
    assert loaded == [f"{web.url}/static/words/ar.json"]  # once: the preload is used


def test_dashboard_and_errors_are_in_arabic(meet: Meet, web: Web) -> None:
    person = meet(web, locale="ar-EG")
    page = person.open("/live").page
    expect(page.locator("main")).to_have_attribute("aria-busy", "false")
    expect(page.locator("h1")).to_have_text(say("Dashboard"))
    expect(page.locator(".chart")).to_have_count(5)
    assert latin(page) == []

    page = person.open("/no-such-page").page
    expect(page.locator("main p")).to_have_text(ARABIC.errors["not_found"])
    expect(page.locator("html")).to_have_attribute("lang", "ar")


def test_a_page_whose_catalogue_is_lost_is_in_english_and_works(meet: Meet, web: Web) -> None:
    person = meet(web, locale="ar-EG")
    person.context.route("**/static/words/*.json", lambda route: route.abort())
    tab: Tab = person.open("/")
    question = scripted.script(scripted.say("نعم"), scripted.finish(), scripted.done())
    assert tab.answer_to(question) == answer_text(question)
    expect(tab.answer.get_by_role("button", name="Retry")).to_be_visible()
