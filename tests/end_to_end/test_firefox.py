"""The page's main stories in Firefox as Debian packages it; all others are told in Chromium."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from local.programs import Web
from tests.client import Client, proof
from tests.end_to_end.browser import Meet, firefox, text_of
from tests.end_to_end.questions import answer_text, gated, lengthy, quick
from tests.rig import Rig, eventually

pytestmark = pytest.mark.usefixtures("worker")

#: A browser without a service worker and without notifications, as a private window may be.
WITHOUT_PUSH = """
delete Navigator.prototype.serviceWorker;
delete window.PushManager;
delete window.Notification;
"""
#: The first paragraph below the upper edge, and its distance from there in pixels.
LINE = """() => {
  const top = document.getElementById("scroll").getBoundingClientRect().top;
  const all = [...document.querySelectorAll(".block p")].map(one => [one.textContent.slice(0, 14),
    Math.round(one.getBoundingClientRect().top - top)]);
  return all.find(([, below]) => below > -20) ?? null;
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Firefox for all stories of this file."""
    with firefox() as browser:
        yield browser


def paragraphs(first: int, last: int) -> str:
    """Numbered paragraphs, each of a few lines."""
    return "".join(f"Paragraph {n:02}. {'It goes on. ' * 20}\n\n" for n in range(first, last))


def test_answer_goes_on_while_the_tab_is_closed(meet: Meet, web: Web, client: Client) -> None:
    person, question = meet(web), lengthy(1200, "firefox")
    tab = person.open()
    assert "Firefox/" in tab.page.evaluate("navigator.userAgent")
    expect(tab.page.locator("#notify")).to_be_visible()
    tab.ask(question)
    begun = tab.written(50)
    assert answer_text(question).startswith(begun)
    assert tab.page.title().startswith("● ")
    place = tab.path

    tab.close()
    back = person.open(place)

    assert back.finished() == answer_text(question)
    message = client.message(back.answer.get_attribute("data-id") or "")
    assert message["sha256"] == proof("".join(part["text"] for part in message["parts"]))[1]
    assert back.copied(back.answer) == answer_text(question)
    assert text_of(back.questions) == question
    expect(back.answers).to_have_count(1)
    assert not back.page.title().startswith("● ")


def test_reload_opens_where_one_was_and_back_finds_what_was_missed(
    rig: Rig, meet: Meet, web: Web, client: Client
) -> None:
    tab = meet(web).open()
    page = tab.page
    question = gated(paragraphs(0, 30), "firefox", "## Later on\n\n" + paragraphs(30, 40))
    tab.ask(question)
    tab.written(6_000)
    page.locator("#question").fill("half a thou")
    page.mouse.move(450, 300)
    tab.answer.get_by_text("Paragraph 11.").first.evaluate("one => one.scrollIntoView()")
    page.mouse.wheel(0, 1)
    page.wait_for_function(f"() => ({LINE})()?.[0].startsWith('Paragraph 1')")
    before = page.evaluate(LINE)

    page.reload()  # it is still being written
    page.wait_for_function(f"text => ({LINE})()?.[0] === text", arg=before[0])
    assert abs(page.evaluate(LINE)[1] - before[1]) < 28  # a line
    expect(page.locator("#question")).to_have_value("half a thou")

    path = f"/api/conversations/{tab.path[3:]}/place"
    eventually(lambda: client.http.get(path).json()["place"])
    page.goto(f"{web.url}/live")
    rig.scripted.release("firefox")
    rig.scripted.wait_requests(1, contains="firefox", ended=True)
    page.go_back(wait_until="commit")  # a load: Firefox keeps no page that has a stream
    assert tab.finished() == answer_text(question)
    page.wait_for_function(f"text => ({LINE})()?.[0] === text", arg=before[0])
    expect(page.get_by_role("button", name="↓ Latest")).to_be_visible()


def test_stop_keeps_the_text_and_continue_goes_on(meet: Meet, web: Web) -> None:
    tab = meet(web).open()
    tab.ask(gated("As far as this.", "firefox-stop", " Never said."))
    tab.written(15)

    tab.press("Stop")

    assert tab.finished("CANCELLED") == "As far as this."
    expect(tab.answer.locator(".state")).to_have_text("Stopped by you")
    tab.press("Continue", tab.answer)
    every = tab.page.locator(".message.assistant")
    expect(every).to_have_count(2)
    more = answer_text("Please continue exactly where you stopped.")
    assert tab.finished() == more
    assert tab.copied(every.last) == f"As far as this.{more}"


def test_two_tabs_and_a_device_show_the_same(rig: Rig, meet: Meet, web: Web) -> None:
    person = meet(web)
    first = person.open()
    question = gated("Both see this", "firefox-tabs", " and this.")
    first.ask(question)
    first.written()
    second, elsewhere = person.open(first.path), meet(web).open(first.path)
    for tab in (first, second, elsewhere):
        assert tab.written() == "Both see this"
    first.close()  # the tab that listened to the notices for both
    rig.scripted.release("firefox-tabs")
    for tab in (second, elsewhere):
        assert tab.finished() == answer_text(question)

    assert elsewhere.answer_to(quick("More.")) == "More."

    expect(second.answers).to_have_count(2)  # by the notices
    assert second.finished() == "More."


def test_page_works_without_a_service_worker_and_notifications(meet: Meet, web: Web) -> None:
    person = meet(web, viewport={"width": 390, "height": 700})
    person.context.add_init_script(WITHOUT_PUSH)
    tab = person.open()

    assert tab.answer_to(quick("| a | b |\n|--|--|\n| $x^2$ | `code` |")) != ""
    expect(tab.answer.locator("td")).to_have_count(2)
    expect(tab.page.locator("#notify")).to_be_hidden()
    assert tab.page.evaluate("document.documentElement.scrollWidth") == 390
