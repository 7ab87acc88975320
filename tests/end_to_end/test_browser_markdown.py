"""Formulas, footnotes, callouts, tasks and harmless HTML, while an answer is written and after."""

import uuid

import pytest
from playwright.sync_api import expect

from local.programs import Web
from tests.end_to_end import axe
from tests.end_to_end.browser import Meet
from tests.end_to_end.questions import gated
from tests.rig import Rig

pytestmark = pytest.mark.usefixtures("worker")

PHONE = {"viewport": {"width": 390, "height": 760}, "has_touch": True, "is_mobile": True}
LONG = " + ".join(f"\\frac{{x_{{{n}}}^2}}{{{n}}}" for n in range(1, 30))
BEFORE = (
    "The area is $A = \\pi r^2$, see[^1].\n\n> [!WARNING]\n> Mind H<sub>2</sub>O.\n\n"
    "- [x] measured\n- [ ] proven\n\n[^1]: Archimedes.\n\n$$\n\\begin{aligned}\na &= \\frac{b}{c"
)
AFTER = (
    f"}} \\\\\n&= d\n\\end{{aligned}}\n$$\n\n\\[ {LONG} \\]\n\nSo \\({LONG}\\) it is.<br>The end.\n"
)
FRAMES = """() => [...document.querySelectorAll(".math:is(.shown, .wide)")].map((frame) =>
  ({wide: frame.scrollWidth - frame.clientWidth,
    out: frame.getBoundingClientRect().right - innerWidth}))"""
COPIED = """() => new Promise((resolve) => {
  const answer = document.querySelector(".assistant .body");
  getSelection().selectAllChildren(answer);
  const event = new ClipboardEvent("copy", {bubbles: true, clipboardData: new DataTransfer()});
  document.addEventListener("copy", () => resolve(event.clipboardData.getData("text/plain")));
  answer.dispatchEvent(event);
})"""
SHIFTS = """() => { window.shifts = []; new PerformanceObserver((list) => list.getEntries()
  .filter((one) => !one.hadRecentInput).forEach((one) => window.shifts.push([one.value,
    ...one.sources.map(({node}) => node?.className ?? node?.nodeName)])))
  .observe({type: "layout-shift"}); }"""


def test_what_markdown_has_besides_prose(meet: Meet, web: Web, rig: Rig) -> None:
    tab = meet(web, **PHONE).open()
    page, gate = tab.page, str(uuid.uuid4())
    page.locator("#question").fill(gated(BEFORE, gate, AFTER))
    tab.press("Send")

    # The last formula is half written.
    expect(page.locator(".assistant .block.open .math[data-tex] mfrac")).to_have_count(1)
    page.evaluate(SHIFTS)
    rig.scripted.release(gate)
    tab.finished()

    answer = page.locator(".assistant").last
    expect(answer.locator(".math[data-tex]")).to_have_count(4)
    expect(answer.locator("mtd.to-right")).to_have_count(2)
    expect(answer.locator("[data-callout=warning] .kind")).to_have_text("Warning")
    expect(answer.locator("[data-callout] sub")).to_have_text("2")
    expect(answer.get_by_role("img", name="Done")).to_have_count(1)
    expect(answer.get_by_role("img", name="To do")).to_have_count(1)
    aligned, displayed, in_line = page.evaluate(FRAMES)
    assert aligned["wide"] == 0
    assert displayed["wide"] > 100
    assert in_line["wide"] > 100
    assert all(one["out"] <= 0 for one in (aligned, displayed, in_line))
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    shifts = page.evaluate("window.shifts")
    # the buttons, as always; null: what the end took away
    assert [one for one in shifts if not {"below"} <= set(one[1:]) <= {"below", None}] == []

    copied = page.evaluate(COPIED)
    assert "The area is $A = \\pi r^2$, see1." in copied
    assert "\\begin{aligned}\na &= \\frac{b}{c} \\\\\n&= d\n\\end{aligned}" in copied
    assert f"So \\({LONG}\\) it is.\nThe end." in copied

    reference, note = answer.locator("sup.footnote"), answer.locator(".footnote > sup")
    reference.click()
    expect(note).to_be_focused()
    page.keyboard.press("Enter")
    expect(reference).to_be_focused()
    assert axe.serious(page) == []
