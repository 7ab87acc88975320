"""Answers and their buttons on the page: continued, empty, selected, copied, asked again."""

import pytest
from playwright.sync_api import expect

import scripted
from tests.end_to_end.browser import Tab
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
