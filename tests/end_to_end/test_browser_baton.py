"""The baton in real browsers: a person's devices know of one another, and a phone can go on."""

import pytest
from playwright.sync_api import expect

from local.programs import Web
from tests.end_to_end import axe
from tests.end_to_end.browser import Meet, Tab
from tests.end_to_end.questions import quick

pytestmark = pytest.mark.usefixtures("worker")

PHONE = {
    "viewport": {"width": 390, "height": 800},
    "has_touch": True,
    "user_agent": "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15"
    " (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1",
}
#: As when the person comes back to the tab: it reports at once where it is.
LOOK = "document.dispatchEvent(new Event('visibilitychange'))"

#: The part of the bar's width that the title has.
TITLE_PART = """document.getElementById("title").getBoundingClientRect().width
  / document.querySelector("header.bar").getBoundingClientRect().width"""


def here(tab: Tab) -> None:
    """Wait until the tab has reported where it is."""
    with tab.page.expect_response("**/api/devices"):
        tab.page.evaluate(LOOK)


def test_devices_know_of_one_another_and_a_phone_can_go_on(meet: Meet, web: Web) -> None:
    desk = meet(web)
    tab = desk.open()
    tab.answer_to(quick("Because.\n\nAnd so on."))
    phone = meet(web, **PHONE)
    there = phone.open(tab.path)
    there.finished()
    tab.page.locator("#to-phone").wait_for()
    expect(there.page.locator("#also")).not_to_be_empty()
    here(there)

    here(tab)
    expect(tab.page.locator("#also")).to_have_text("Also open: phone (Safari), at 100 %")
    assert not there.page.locator("#to-phone").is_visible()
    # its own other tabs are no other device
    also = there.page.locator("#also button")
    assert "computer (Chrome)" in str(also.text_content())
    # in a narrow bar it is a dot to tap, and the title keeps its room
    there.page.set_viewport_size({"width": 360, "height": 740})
    dot = also.bounding_box()
    assert dot is not None
    assert 44 <= dot["width"] < 50
    assert dot["height"] >= 44
    assert there.page.evaluate(TITLE_PART) >= 0.4

    tab.press("Phone")
    dialog = tab.page.get_by_role("dialog")
    expect(dialog).to_contain_text("means this computer alone")
    expect(dialog).to_contain_text("OUTLIVE_AUTH=required")
    assert axe.serious(tab.page) == []
    tab.press("Close", dialog)
    expect(tab.page.locator("#to-phone")).to_be_focused()

    # a phone that is put away is not there any more
    there.page.evaluate(
        "Object.defineProperty(document, 'hidden', {value: true, configurable: true})"
    )
    with there.page.expect_response("**/api/devices"):
        there.page.evaluate(LOOK)
    here(tab)
    expect(tab.page.locator("#also")).to_be_empty()
    assert not desk.mishaps + phone.mishaps
