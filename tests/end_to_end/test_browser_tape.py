"""The tape in a real browser: an answer is replayed as it was written."""

import re

import pytest
from playwright.sync_api import Route, expect

import scripted
from local.programs import Web
from tests.client import new_id
from tests.end_to_end import axe
from tests.end_to_end.browser import Meet
from tests.end_to_end.questions import quick
from tests.rig import Rig

pytestmark = pytest.mark.usefixtures("worker")

#: What moves while nobody touches the page.
SHIFTS = """
window.shifts = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shifts += entry.value;
}).observe({type: "layout-shift", buffered: true});
"""

#: Plays to the end, and returns each picture: its position and its text.
SEEN = """async () => {
  const player = document.querySelector(".player");
  const screen = player.querySelector(".screen");
  const picture = () => [Number(player.dataset.position), screen.innerText];
  const seen = [];
  while (player.querySelector(".play").textContent === "Pause") {
    seen.push(picture());
    await new Promise(requestAnimationFrame);
  }
  return [...seen, picture()];
}"""


def test_an_answer_is_replayed_as_it_was_written(meet: Meet, web: Web, rig: Rig) -> None:
    gate = f"gate {new_id()}"
    first, second = (
        "# First\n\nIt began with **one** paragraph.\n\n",
        "And it ended with `another`.",
    )
    whole = len(first + second)
    steps = (scripted.say(first), scripted.hold(gate), scripted.say(second))
    person = meet(web)
    person.context.add_init_script(SHIFTS)
    tab = person.open()
    tab.ask(scripted.script(*steps, scripted.finish(), scripted.usage(), scripted.done()))
    tab.written(20)
    tab.page.wait_for_timeout(1_300)  # a save has its time, and then nothing comes
    rig.scripted.release(gate)
    tab.finished()
    height = tab.answer.locator(".body").evaluate("one => one.offsetHeight")
    assert not [url for url in person.requests if "tape" in url]

    tab.answer.get_by_role("button", name="how it was written").click()
    tab.press("Replay", tab.answer)
    player = tab.answer.locator(".player")
    screen = player.locator(".screen")
    expect(screen).to_contain_text("ended with another")
    slider = player.get_by_role("slider")
    said = re.compile(f"^0:0. of 0:0., {whole} characters, complete$")
    expect(slider).to_have_attribute("aria-valuetext", said)

    # by keyboard
    tab.page.evaluate("window.shifts = 0")
    slider.focus()
    slider.press("Home")
    expect(screen).to_have_text("")
    player.get_by_role("button", name="first word").click()
    tab.press("Play", player)
    seen = tab.page.evaluate(SEEN)
    positions = [position for position, _ in seen]
    assert positions == sorted(positions)
    assert positions[-1] == whole
    # what was written before the pause was there alone
    assert any("one paragraph" in text and "ended" not in text for _, text in seen)
    assert "ended with another" in seen[-1][1]
    # the copy has its own place, and the thread has not moved
    assert tab.answer.locator(".body").evaluate("one => one.offsetHeight") == height
    assert tab.page.evaluate("window.shifts") <= 0.01
    assert axe.serious(tab.page) == []
    assert not person.mishaps


def test_an_answer_of_an_earlier_version_says_that_it_has_no_tape(meet: Meet, web: Web) -> None:
    tab = meet(web).open()
    tab.answer_to(quick("Old."))

    def without_tape(route: Route) -> None:
        route.fulfill(json=route.fetch().json() | {"samples": None})

    tab.page.route("**/tape", without_tape)
    tab.answer.get_by_role("button", name="how it was written").click()
    tab.press("Replay", tab.answer)
    expect(tab.answer.locator(".tape")).to_have_text(
        "This answer was written before the times were recorded."
    )
