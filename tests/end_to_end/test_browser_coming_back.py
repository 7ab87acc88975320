"""Leaving and returning in every way: the text is there and goes on, to the character."""

import random
import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

import scripted
from local.programs import Web
from tests.client import Client, proof
from tests.end_to_end.browser import HIDE, SHOW, Meet, Person, Tab, drawn, held, launch
from tests.end_to_end.questions import answer_text, gated, lengthy, quick
from tests.rig import Rig, killing
from tests.stories import start_worker

#: Makes a page wait a tenth as long for a response.
IMPATIENT = """
const later = window.setTimeout;
window.setTimeout = (task, ms, ...more) => later(task, ms >= 20_000 ? ms / 10 : ms, ...more);
void 0;
"""

pytestmark = pytest.mark.usefixtures("worker")


@pytest.fixture
def keeping(browser: Browser) -> Iterator[Browser]:
    """A browser that keeps pages for Back, as browsers outside of tests do."""
    without = ["--disable-back-forward-cache"]
    keeping = launch(browser.browser_type, ignore_default_args=without)
    yield keeping
    keeping.close()


def same_as_saved(tab: Tab, client: Client, status: str = "DONE") -> str:
    """The last answer's text; fails unless it is exactly the saved one."""
    text = tab.finished(status)
    message = client.message(tab.answer.get_attribute("data-id") or "")
    assert (text, message["status"]) == (message["text"], status)
    assert (message["length"], message["sha256"]) == proof(
        "".join(part["text"] for part in message["parts"])
    )
    return text


def test_twenty_reloads_at_random_moments_lose_nothing(tab: Tab, client: Client) -> None:
    question, chance = lengthy(3000, "reloads", rate=400), random.Random(20)
    tab.ask(question)
    tab.written()

    for _ in range(20):
        before = tab.written()
        tab.page.wait_for_timeout(chance.uniform(0, 250))
        tab.page.reload(wait_until="commit")
        assert tab.written(len(before.strip()) // 2 or 1)

    assert same_as_saved(tab, client) == answer_text(question)
    expect(tab.answers).to_have_count(1)
    grown = drawn(tab.answer)
    tab.page.reload()
    tab.finished()
    assert drawn(tab.answer) == grown


def test_killed_worker_is_reported_and_the_text_is_kept(
    rig: Rig, no_workers: None, tab: Tab, client: Client
) -> None:
    worker = start_worker(rig, OUTLIVE_LEASE_SECONDS="2", OUTLIVE_HEARTBEAT_SECONDS="0.5").wait()
    with killing(worker):
        question = gated("What was written before. " * 20, "killed", "Never said.")
        tab.ask(question)
        before = tab.written(400)

        worker.kill()
        other = start_worker(rig, OUTLIVE_SWEEP_SECONDS="0.5").wait()
        with killing(other):
            text = same_as_saved(tab, client, "ERROR")
            assert answer_text(question).startswith(text)
            assert text.startswith(before.strip())
            expect(tab.answer.locator(".state")).to_have_text(re.compile("^Interrupted: "))
            rig.scripted.release("killed")
            tab.press("Continue", tab.answer)
            # the first one's text is in it
            expect(tab.page.locator(".message.assistant")).to_have_count(2)
            same_as_saved(tab, client)


def test_page_restored_by_back_resumes(
    rig: Rig, keeping: Browser, web: Web, client: Client
) -> None:
    person = Person.of(keeping, web.url)
    tab, question = person.open(), gated("Before Back. ", "bfcache", "And after it. " * 20)
    tab.ask(question)
    tab.written()
    tab.page.evaluate("window.kept = true")

    tab.page.goto(f"{web.url}/healthz")
    rig.scripted.release("bfcache")
    rig.scripted.wait_requests(1, contains=question, ended=True)
    tab.page.go_back(wait_until="commit")  # no load: the page was kept

    assert tab.page.evaluate("window.kept") is True
    assert same_as_saved(tab, client) == answer_text(question)
    expect(tab.answers).to_have_count(1)
    tab.page.get_by_role("link", name="New", exact=True).click()  # the notices go on, too
    assert tab.answer_to(gated("Again.", "bfcache", "")) == "Again."
    assert person.mishaps == []
    person.context.close()


def test_frozen_page_resumes(rig: Rig, tab: Tab, client: Client) -> None:
    question = gated("Before the pocket. ", "frozen", "And after it. " * 20)
    tab.ask(question)
    tab.written()
    chrome = tab.page.context.new_cdp_session(tab.page)

    chrome.send("Page.setWebLifecycleState", {"state": "frozen"})
    rig.scripted.release("frozen")
    rig.scripted.wait_requests(1, contains=question, ended=True)
    chrome.send("Page.setWebLifecycleState", {"state": "active"})

    assert same_as_saved(tab, client) == answer_text(question)


def test_hidden_tab_gets_notices_again_after_a_freeze(tab: Tab, client: Client) -> None:
    page, listed = tab.page, tab.page.locator("#conversations")
    expect(listed).to_have_attribute("aria-busy", "false")
    page.evaluate(HIDE)
    page.evaluate("document.dispatchEvent(new Event('freeze'))")
    client.conversation(title="While it was frozen")

    page.evaluate("document.dispatchEvent(new Event('resume'))")

    expect(listed.get_by_role("link", name="While it was frozen")).to_have_count(1)
    page.evaluate(SHOW)
    client.conversation(title="After it was seen")
    expect(listed.get_by_role("link", name="After it was seen")).to_have_count(1)


def test_hidden_tab_reconnects_after_sleep(meet: Meet, web: Web) -> None:
    person = meet(web)
    page = person.open("/healthz").page
    page.clock.install()
    page.goto(person.url)
    listed = page.locator("#conversations")
    expect(listed).to_have_attribute("aria-busy", "false")
    page.evaluate(HIDE)

    with page.expect_request("**/api/notices"):
        page.clock.fast_forward("10:00")  # every timer fires once, late


def test_request_without_a_response_is_sent_again(tab: Tab) -> None:
    page, question = tab.page, quick("Here, after all.")
    page.evaluate(IMPATIENT)
    swallowed = held(page, "**/api/conversations")
    tab.ask(question)

    expect(page.locator("#connection")).to_have_text("Reconnecting…")
    assert swallowed
    page.unroute("**/api/conversations")

    assert tab.finished() == answer_text(question)
    expect(page.locator("#connection")).to_have_attribute("data-state", "good")


def test_dashboard_does_not_poll_while_a_poll_hangs(rig: Rig, meet: Meet, web: Web) -> None:
    person = meet(web)
    page = person.open("/healthz").page
    page.clock.install()
    page.goto(person.url)
    tab, polls = Tab(page), held(page, "**/blocks?after=*")
    tab.ask(gated("", "polls", "Here."))
    expect(tab.answers).to_have_count(1)

    page.clock.run_for(20_000)  # ten polls

    assert len(polls) == 1
    rig.scripted.release("polls")
    assert tab.finished() == "Here."


def test_answer_of_a_hundred_thousand_characters_is_whole(tab: Tab, client: Client) -> None:
    steps = (scripted.long(100_000, chunk=60), scripted.finish(), scripted.usage())
    question = scripted.script(*steps, scripted.done(), tag="100k")
    tab.ask(question)

    assert same_as_saved(tab, client) == answer_text(question)

    grown = drawn(tab.answer)
    tab.page.reload()
    assert same_as_saved(tab, client) == answer_text(question)
    assert drawn(tab.answer) == grown


def test_question_asked_offline_is_sent_once_when_online(
    meet: Meet, web: Web, client: Client
) -> None:
    person, question = meet(web), lengthy(200, "queued", rate=None)
    tab = person.open()
    expect(tab.page.locator("#empty")).to_be_visible()

    person.context.set_offline(True)
    tab.ask(question)
    expect(tab.page.locator("#connection")).to_have_text("Offline. It will be sent.")
    expect(tab.page.locator(".pending .state")).to_have_text("Waiting for the network")
    person.context.set_offline(False)

    assert same_as_saved(tab, client) == answer_text(question)
    titles = [one["title"] for one in client.http.get("/api/conversations").json()["items"]]
    assert titles.count(titles[0]) == 1
