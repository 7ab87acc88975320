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


#: What the service notes while an answer is written, and what the player says of it.
MARKS = [
    {"ms": 100, "kind": "taken", "device": None},
    {"ms": 200, "kind": "joined", "device": "desktop Chrome"},
    {"ms": 10_000, "kind": "joined", "device": "phone Safari"},
    {"ms": 15_000, "kind": "left", "device": "phone Safari"},
    {"ms": 20_000, "kind": "left", "device": "desktop Chrome"},
    {"ms": 30_000, "kind": "lost", "device": None},
    {"ms": 70_000, "kind": "joined", "device": "phone Safari"},
]
HAPPENED = [
    "0:00 asked",
    "0:00 begun",
    "0:10 phone (Safari) joined",
    "0:15 phone (Safari) left",
    "0:20 you left",
    "0:30 worker died",
    "0:50 went on",
    "0:59 first word",
    "1:10 you came back: phone (Safari)",
    "1:30 complete",
]


def test_an_answer_is_replayed_as_it_was_written(meet: Meet, web: Web, rig: Rig) -> None:
    gate = f"gate {new_id()}"
    first, second = (
        f"# First\n\n```\n{'wide ' * 60}\n```\n\nIt began with **one** paragraph.\n\n",
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
    width = tab.answer.locator(".body").evaluate("one => one.offsetWidth")
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
    assert player.evaluate("one => one.offsetWidth") <= width
    assert tab.page.evaluate("window.shifts") <= 0.01
    assert axe.serious(tab.page) == []
    assert not person.mishaps


def test_it_says_what_happened_meanwhile(meet: Meet, web: Web) -> None:
    """Its marks as the server sends them of a longer story; each is a place to go to."""
    tab = meet(web).open()
    tab.answer_to(quick("Long ago."))

    def with_marks(route: Route) -> None:
        tape = route.fetch().json()
        tape |= {"samples": [{"ms": 60_000, "position": tape["length"]}], "ended": 90_000}
        tape |= {"started": 50_000, "first_text": 59_000, "marks": MARKS}
        route.fulfill(json=tape)

    tab.page.route("**/tape", with_marks)
    tab.answer.get_by_role("button", name="how it was written").click()
    tab.press("Replay", tab.answer)
    marks = tab.answer.get_by_role("list", name="What happened").get_by_role("button")
    expect(marks).to_have_text(HAPPENED)
    slider = tab.answer.get_by_role("slider")
    marks.filter(has_text="you left").click()
    expect(slider).to_have_attribute("aria-valuetext", "0:20 of 1:30, 0 characters, you left")


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
