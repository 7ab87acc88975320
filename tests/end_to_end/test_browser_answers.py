"""Answers and their buttons on the page: continued, empty, selected, copied, asked again."""

import re

import pytest
from playwright.sync_api import expect

import scripted
from tests.end_to_end.browser import Tab
from tests.end_to_end.questions import gated, quick
from tests.rig import Rig

pytestmark = pytest.mark.usefixtures("worker")

HEAD = "Before it.\n\n| planet | moons |\n|---|---|\n| Mars | 2 |\n| Jup"
MIDDLE = "iter | 95 |\n| Saturn | 27"
TAIL = "4 |\n\nAfter it.\n"
CUT = (scripted.finish(reason="length"), scripted.done())


def test_continued_table_is_one_table_and_copied_as_one(rig: Rig, tab: Tab) -> None:
    second = (scripted.say(MIDDLE), scripted.hold("table"), scripted.finish(reason="length"))
    third = (scripted.say(TAIL), scripted.finish(), scripted.done())
    below = (second, third)
    tab.ask(scripted.script(scripted.say(HEAD), *CUT, below=below, tag="table"))
    tab.finished()
    every, whole = tab.page.locator(".message.assistant"), HEAD + MIDDLE + TAIL

    tab.press("Continue", tab.answer)
    rows = tab.page.locator("tr:visible")
    expect(rows).to_have_text(["planet moons", "Mars 2", "Jupiter 95", "Saturn 27"])  # as it grows
    rig.scripted.release("table")
    tab.press("Continue", every.last)

    for _ in range(2):
        expect(rows).to_have_text(["planet moons", "Mars 2", "Jupiter 95", "Saturn 274"])
        expect(every).to_have_count(3)
        assert tab.finished() == TAIL
        assert tab.copied(every.last) == whole
        expect(tab.page.locator("table:visible")).to_have_count(1)
        expect(tab.page.locator(".assistant .block:visible")).to_have_count(3)
        expect(tab.page.get_by_role("button", name="Copy", exact=True)).to_have_count(2)
        tab.page.reload()


def test_continued_code_is_one_code_and_copied_as_one(tab: Tab) -> None:
    lines = "".join(f"line({n})\n" for n in range(400))
    below = [(scripted.say("(400)\n```\nEnd."), scripted.finish(), scripted.done())]
    first = f"```py\n{lines}line"
    tab.ask(scripted.script(scripted.say(first), *CUT, below=below, tag="code"))
    tab.finished()

    tab.press("Continue", tab.answer)

    expect(tab.answer).to_contain_text("End.")
    assert tab.finished() == "(400)\n```\nEnd."
    tab.press("Copy the code")
    tab.page.wait_for_function("() => window.copied !== null")
    assert tab.page.evaluate("window.copied") == f"{lines}line(400)\n"


def test_selecting_and_copying_takes_the_answer_only(tab: Tab) -> None:
    tab.answer_to(quick("First words.\n\n```py\ncode()\n```\n\nLast words."))
    page, words = tab.page, "() => String(getSelection()).split(/\\s+/).join(' ').trim()"

    tab.answer.get_by_text("First words.").click()
    page.keyboard.press("Control+A")
    assert page.evaluate(words) == "First words. code() Last words."
    last = tab.answer.get_by_text("Last words.")
    last.click(click_count=3)
    assert page.evaluate(words) == "Last words."
    begin, end = tab.answer.get_by_text("First words.").bounding_box(), page.viewport_size
    assert begin is not None
    assert end is not None
    page.mouse.move(begin["x"], begin["y"] + 5)
    page.mouse.down()
    page.mouse.move(end["width"] - 20, end["height"] - 150, steps=4)
    page.mouse.up()
    assert page.evaluate(words) == "First words. code() Last words."

    # without the clipboard's interface, as over plain HTTP from another machine
    page.evaluate("""() => {
        navigator.clipboard.writeText = undefined;
        window.copied = null;
        addEventListener("copy", () => { window.copied = document.activeElement.value; });
    }""")
    copy = tab.answer.get_by_role("button", name="Copy", exact=True).element_handle()
    page.evaluate(
        """copy => new MutationObserver(() => (window.said ??= []).push(copy.textContent))
            .observe(copy, {childList: true})""",
        copy,
    )
    copy.click()
    page.wait_for_function("() => window.said?.includes('Copied')")
    assert page.evaluate("window.copied") == "First words.\n\n```py\ncode()\n```\n\nLast words."
    page.evaluate("void (document.execCommand = () => false)")
    copy.click()
    page.wait_for_function("() => window.said.includes('Not copied')")


def test_selection_in_the_block_being_written_survives_new_elements(rig: Rig, tab: Tab) -> None:
    tab.ask(gated("See https://exam", "linked", "ple.org/page, **all** of it."))
    expect(tab.answer.locator("a")).to_have_text("https://exam")
    tab.page.evaluate(
        "getSelection().setBaseAndExtent("
        "document.querySelector('.assistant p').firstChild, 1,"
        " document.querySelector('.assistant a').firstChild, 10)"
    )

    rig.scripted.release("linked")
    tab.finished()

    assert tab.page.evaluate("String(getSelection())") == "ee https://ex"


def test_stopped_answer_in_mid_thread_offers_continue_and_retry_in_a_branch(tab: Tab) -> None:
    tab.ask(scripted.script(scripted.say("And so on"), *CUT, tag="mid"))
    tab.finished()
    tab.answer_to(quick("Another matter."))
    first = tab.answers.first

    tab.page.mouse.move(0, 0)
    tab.page.locator("#question").focus()
    for name in ("Continue", "Retry"):
        expect(first.get_by_role("button", name=name)).to_have_css("opacity", "1")
    said = "Cut off at the length limit. Continue and Retry begin a branch here."
    expect(first.locator(".state")).to_have_text(said)
    tab.press("Continue", first)
    expect(tab.questions.last.locator(".place")).to_have_text("2/2")
    tab.press("Previous version", tab.questions.last)
    expect(tab.answer).to_contain_text("Another matter.")
    expect(first).to_contain_text("And so on")


def test_busy_provider_is_said_to_readers_and_to_those_who_come_later(tab: Tab) -> None:
    tab.ask(scripted.script(scripted.rate_limited(retry_after=2), tag="busy"))
    state = tab.answer.locator(".state")

    said = re.compile(r"^The provider is busy; trying again, \d(st|nd|rd|th) time$")
    expect(state).to_have_text(said)
    tab.page.reload()
    expect(state).to_have_text(said)
    tab.press("Stop")
    tab.finished("CANCELLED")


def test_answer_says_its_model_and_time_and_is_asked_again_with_another(rig: Rig, tab: Tab) -> None:
    thought = (scripted.reasoning("Hm."), scripted.hold("label"), scripted.say("So it is."))
    question = scripted.script(*thought, scripted.finish(), scripted.done(), tag="label")
    tab.ask(question)
    expect(tab.answer.locator(".part.reasoning")).to_have_text("Hm.")
    rig.scripted.release("label")
    tab.finished()
    label, summary = tab.answer.locator(".label"), tab.answer.locator("summary")
    usual = label.locator("bdi").inner_text()

    expect(summary).to_have_text(re.compile(r"Thought for \d+ seconds?"))
    tab.page.reload()
    expect(summary).to_have_text(re.compile(r"Thought for \d+ seconds?"))
    expect(label.locator("time")).to_have_attribute("datetime", re.compile(r"^20\d\d-"))
    tab.press("Ask another model", tab.answer)
    menu = tab.page.get_by_role("menu")
    expect(menu.get_by_role("menuitem").first).to_be_focused()
    expect(menu.get_by_role("menuitem", name=usual, exact=True)).to_have_count(0)
    tab.page.keyboard.press("Escape")
    expect(menu).to_have_count(0)
    expect(tab.answer.get_by_role("button", name="Ask another model")).to_be_focused()
    tab.page.keyboard.press("Enter")
    chosen = menu.get_by_role("menuitem").last.inner_text()
    menu.get_by_role("menuitem").last.click()
    expect(tab.answer.locator(".place")).to_have_text("2/2")
    tab.finished()
    expect(label.locator("bdi")).to_have_text(chosen)
    asked = rig.scripted.requests(contains=question)[-1].request
    assert asked is not None
    assert asked["model"] == chosen
