"""A person's scrolling wins: while an answer is written, no move is reverted."""

import time
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest
from playwright.sync_api import Browser, Page, expect

import scripted
from local.programs import Web
from tests.end_to_end.browser import Meet, Person, Tab, launch
from tests.end_to_end.questions import gated
from tests.rig import Rig

pytestmark = pytest.mark.usefixtures("worker")

PHONE = {"viewport": {"width": 390, "height": 700}, "has_touch": True, "is_mobile": True}
TOP = "document.getElementById('scroll').scrollTop"
REST = (
    "(pane => pane.scrollHeight - pane.clientHeight - pane.scrollTop)"
    "(document.getElementById('scroll'))"
)
#: Pixels of tolerance: a fixed place of a scrollbar's thumb moves down while the content grows.
SCROLLBAR = 12
#: Records the pane's position in every frame.
RECORD = f"""() => {{
  window.tops = [{TOP}];
  const frame = () => {{ window.tops.push({TOP}); requestAnimationFrame(frame); }};
  requestAnimationFrame(frame);
}}"""


def writing(tab: Tab, tag: str) -> None:
    """Ask for an answer that grows by a few lines a second until the test ends."""
    opening = scripted.say("\n\n".join(f"Line {n} of the opening." for n in range(60)) + "\n\n")
    steps = (opening, scripted.long(60_000, rate=500), scripted.finish())
    tab.page.locator("#question").fill(scripted.script(*steps, scripted.done(), tag=tag))
    tab.press("Send")
    tab.written(1300)
    at_the_end(tab.page)


def at_the_end(page: Page) -> None:
    """Wait until the pane is at its end."""
    page.wait_for_function(f"() => {TOP} > 300 && {REST} < 2")


def never_reverted(page: Page, move: Callable[[], None], least: int, tolerance: int = 1) -> None:
    """Fail unless the move goes up by `least` pixels and the pane stays where it ended."""
    page.evaluate(RECORD)
    move()
    page.wait_for_function(
        "() => window.tops.length > 3 && window.tops.at(-1) === window.tops.at(-3)"
    )
    length = page.evaluate("document.querySelector('.assistant:last-child').dataset.length")
    page.wait_for_function(
        "before => document.querySelector('.assistant:last-child').dataset.length > +before + 250",
        arg=length,
    )
    tops = page.evaluate("window.tops")
    # Before the move begins the pane follows, that is, goes down.
    begun = tops.index(max(tops))
    moved = tops[begun:]
    back = [(one, two) for one, two in pairwise(moved) if two > one + tolerance]
    assert back == []
    assert moved[0] - moved[-1] >= least
    expect(page.get_by_role("button", name="↓ Latest")).to_be_visible()


@pytest.mark.parametrize("speed", [43, 100, 154])
def test_slow_touch_scroll_is_never_reverted(meet: Meet, web: Web, speed: int) -> None:
    tab = meet(web, **PHONE).open()
    writing(tab, f"finger {speed}")
    chrome = tab.page.context.new_cdp_session(tab.page)

    def touch(what: str, *points: float) -> None:
        at = [{"x": 190, "y": y} for y in points]
        chrome.send("Input.dispatchTouchEvent", {"type": what, "touchPoints": at})

    def drag() -> None:
        touch("touchStart", 300)
        begun = time.monotonic()
        while (way := speed * (time.monotonic() - begun)) < 120:
            touch("touchMove", 300 + way)
        touch("touchEnd")

    never_reverted(tab.page, drag, least=60)


def test_resting_finger_holds_the_text(meet: Meet, web: Web) -> None:
    tab = meet(web, **PHONE).open()
    writing(tab, "resting finger")
    chrome = tab.page.context.new_cdp_session(tab.page)
    points = [{"x": 190, "y": 300}]

    chrome.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": points})
    before = tab.page.evaluate(TOP)
    tab.written(int(tab.answer.get_attribute("data-length") or 0) + 300)
    assert tab.page.evaluate(TOP) == before
    chrome.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})

    at_the_end(tab.page)  # the finger did not move: the pane follows


@pytest.mark.parametrize("key", ["ArrowUp", "PageUp", "Home", "Shift+Space"])
def test_key_scroll_is_never_reverted(tab: Tab, key: str) -> None:
    writing(tab, f"key {key}")
    tab.page.mouse.click(450, 300)  # so that the pane gets the keys

    never_reverted(tab.page, lambda: tab.page.keyboard.press(key), least=30)


def test_small_wheel_steps_are_never_reverted(tab: Tab) -> None:
    writing(tab, "wheel")
    tab.page.mouse.move(450, 300)

    def turn() -> None:
        for _ in range(40):
            tab.page.mouse.wheel(0, -1)

    never_reverted(tab.page, turn, least=30)


def test_dragged_selection_is_never_reverted(tab: Tab) -> None:
    writing(tab, "selection")

    def drag() -> None:
        tab.page.mouse.move(450, 300)
        tab.page.mouse.down()
        tab.page.mouse.move(450, 20, steps=5)
        tab.page.wait_for_function(f"top => {TOP} < top - 50", arg=tab.page.evaluate(TOP))
        tab.page.mouse.move(450, 300)
        tab.page.mouse.up()

    never_reverted(tab.page, drag, least=50)
    assert tab.page.evaluate("String(getSelection()).length > 20")


def test_focus_jump_is_never_reverted(tab: Tab) -> None:
    writing(tab, "focus")
    edit = tab.questions.get_by_role("button", name="Edit")

    never_reverted(tab.page, edit.focus, least=300)


@pytest.fixture
def with_scrollbars(browser: Browser, web: Web) -> Iterator[Tab]:
    """A tab of a browser with scrollbars, which headless Chromium hides."""
    shown = launch(browser.browser_type, ignore_default_args=["--hide-scrollbars"])
    person = Person.of(shown, web.url)
    yield person.open()
    assert person.mishaps == []
    shown.close()


def test_dragged_scrollbar_is_never_reverted(with_scrollbars: Tab) -> None:
    tab = with_scrollbars
    writing(tab, "scrollbar")
    bar = tab.page.evaluate(
        "(pane => { const box = pane.getBoundingClientRect();"
        " return [box.right - 7, box.bottom - 20, pane.offsetWidth - pane.clientWidth]; })"
        "(document.getElementById('scroll'))"
    )
    assert bar[2] > 0

    def drag() -> None:
        tab.page.mouse.move(bar[0], bar[1])
        tab.page.mouse.down()
        for step in range(20):
            tab.page.mouse.move(bar[0], bar[1] - step)
            tab.page.evaluate("new Promise(requestAnimationFrame)")

    never_reverted(tab.page, drag, least=30, tolerance=SCROLLBAR)
    tab.page.mouse.up()
    tab.page.mouse.move(bar[0] - 200, bar[1] - 100)


def test_scrolling_down_to_the_end_follows_again(tab: Tab) -> None:
    writing(tab, "back")
    tab.page.mouse.move(450, 300)
    tab.page.mouse.wheel(0, -200)
    latest = tab.page.get_by_role("button", name="↓ Latest")
    expect(latest).to_be_visible()

    tab.page.mouse.wheel(0, 100)  # down, but not to the end
    tab.written(int(tab.answer.get_attribute("data-length") or 0) + 200)
    expect(latest).to_be_visible()
    tab.page.mouse.wheel(0, 100_000)
    expect(latest).to_be_hidden()
    tab.written(int(tab.answer.get_attribute("data-length") or 0) + 300)
    at_the_end(tab.page)

    tab.page.mouse.wheel(0, -200)
    latest.click()
    at_the_end(tab.page)


def test_layout_changes_do_not_end_the_following(rig: Rig, tab: Tab) -> None:
    opening = "\n\n".join(f"Line {n}" for n in range(60))
    tab.ask(gated(opening + "\n\n| a | b |\n| --- | --- |\n", "layout", "| 1 | 2 |\n\nThe end."))
    tab.written(500)
    at_the_end(tab.page)

    for height in (900, 300, 700):
        tab.page.set_viewport_size({"width": 900, "height": height})
        at_the_end(tab.page)
    tab.page.set_viewport_size({"width": 400, "height": 700})
    at_the_end(tab.page)
    tab.page.evaluate(
        "(first => { first.style.minHeight = '400px'; requestAnimationFrame(() =>"
        " requestAnimationFrame(() => first.style.minHeight = '')) })"
        "(document.querySelector('.block'))"
    )
    at_the_end(tab.page)
    rig.scripted.release("layout")
    tab.finished()

    at_the_end(tab.page)
