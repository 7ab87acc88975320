"""What a person takes along: a conversation as a file or on paper."""

from pathlib import Path

import pytest
from playwright.sync_api import expect

from local.programs import Web
from tests.end_to_end.browser import Meet
from tests.end_to_end.questions import quick

pytestmark = pytest.mark.usefixtures("worker")


def test_a_conversation_is_exported_and_printed(meet: Meet, web: Web) -> None:
    tab = meet(web).open()
    export = tab.page.get_by_role("button", name="Export")
    expect(export).to_be_hidden()
    tab.ask(quick("The **moon** does it."))
    tab.finished()

    export.click()
    dialog = tab.page.get_by_role("dialog", name="Export")
    with tab.page.expect_download() as download:
        dialog.get_by_role("link", name="Markdown").click()
    assert download.value.suggested_filename.endswith(".md")
    assert "The **moon** does it." in Path(download.value.path()).read_text()
    expect(dialog).to_have_count(0)
    expect(export).to_be_focused()

    export.click()
    with tab.page.expect_download() as download:
        dialog.get_by_role("link", name="JSON").click()
    assert download.value.suggested_filename.endswith(".json")

    # On a phone the same is in a menu, and the words of the buttons are in them.
    tab.page.set_viewport_size({"width": 360, "height": 740})
    more = tab.page.get_by_role("button", name="More")
    more.click()
    expect(tab.page.get_by_role("button", name="Copy a link to this place")).to_be_visible()
    export.click()
    expect(tab.page.locator("#places")).to_be_hidden()
    within = "all => all.every(one => one.scrollWidth <= one.clientWidth)"
    assert dialog.locator(".choice > :last-child").evaluate_all(within)
    tab.press("Close", dialog)
    expect(more).to_be_focused()
    tab.page.set_viewport_size({"width": 900, "height": 700})

    tab.page.evaluate("window.print = () => (window.printed = document.title)")
    export.click()
    dialog.get_by_role("button", name="Print").click()
    tab.page.wait_for_function("() => window.printed")
    expect(dialog).to_have_count(0)
