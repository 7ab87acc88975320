"""Questions in line: they wait on the server, on all devices, and are sent with all tabs closed."""

import os

import pytest
from playwright.sync_api import Locator, expect

from local.programs import Web
from tests.end_to_end.browser import Meet, Tab
from tests.end_to_end.questions import gated, quick
from tests.rig import Rig

pytestmark = pytest.mark.usefixtures("worker")


def waiting(tab: Tab) -> Locator:
    """The questions in line."""
    return tab.page.locator("#line li .text")


def picture(tab: Tab, name: str) -> None:
    """Keep a picture, where a folder for them is named."""
    if folder := os.environ.get("PICTURES"):
        tab.page.screenshot(path=f"{folder}/{name}.png")


def test_question_in_line_is_shown_while_there_is_no_network(rig: Rig, tab: Tab) -> None:
    with tab.page.expect_response("**/static/line.js"):
        tab.ask(gated("First. ", "no-network", "End."))
    tab.page.context.set_offline(True)
    expect(tab.page.locator("#connection")).to_have_attribute("data-state", "offline")

    tab.page.locator("#question").fill(quick("Second."))
    tab.press("Next")

    expect(waiting(tab)).to_have_text(quick("Second."))
    tab.page.context.set_offline(False)
    expect(tab.page.locator("#line").get_by_role("button", name="Remove")).to_be_visible()
    rig.scripted.release("no-network")
    expect(tab.answers).to_have_count(2)
    assert tab.finished() == "Second."


def test_line_moves_on_before_the_eyes(rig: Rig, tab: Tab) -> None:
    tab.ask(gated("First. ", "seen", "End."))
    tab.written()
    field = tab.page.locator("#question")
    field.fill(quick("Second."))
    expect(tab.page.locator("#stop")).to_be_visible()
    tab.press("Next")
    expect(waiting(tab)).to_have_count(1)
    rig.scripted.release("seen")
    expect(tab.answers).to_have_count(2)
    assert tab.finished() == "Second."
    expect(tab.page.locator("#line")).to_be_hidden()
    expect(tab.page.locator("#send")).to_have_text("Send")


def test_line_waits_after_stop_until_it_is_sent(rig: Rig, tab: Tab) -> None:
    tab.ask(gated("Some of it. ", "held", "Never."))
    tab.written()
    tab.ask(quick("After the stop."))
    expect(waiting(tab)).to_have_count(1)
    tab.press("Stop")
    tab.finished("CANCELLED")
    expect(tab.page.locator("#line .state")).to_contain_text("The answer was stopped.")
    picture(tab, "line-held")

    tab.press("Send now")
    expect(tab.answers).to_have_count(2)
    assert tab.finished() == "After the stop."
    expect(tab.page.locator("#line")).to_be_hidden()
    rig.scripted.release("held")


def test_line_is_changed_and_removed_on_all_devices(rig: Rig, meet: Meet, web: Web) -> None:
    tab = meet(web).open()
    tab.ask(gated("First. ", "devices", "End."))
    tab.written()
    for number, text in enumerate(("Second.", "Third."), 1):
        tab.ask(quick(text))
        expect(waiting(tab)).to_have_count(number)
    there = meet(web).open(tab.path)
    expect(waiting(there)).to_have_text([quick("Second."), quick("Third.")])

    there.press("Edit", there.page.locator("#line li").first)
    editor = there.page.get_by_label("Edit your question")
    editor.fill(quick("Changed."))
    editor.press("Enter")
    expect(waiting(tab).first).to_have_text(quick("Changed."))
    tab.press("Remove", tab.page.locator("#line li").last)
    expect(waiting(there)).to_have_text([quick("Changed.")])

    rig.scripted.release("devices")
    for one in (tab, there):
        expect(one.answers).to_have_count(2)
        assert one.finished() == "Changed."
        expect(one.page.locator("#line")).to_be_hidden()
