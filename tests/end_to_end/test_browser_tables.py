"""Tables that are wider than the screen scroll in their own frame; words are not broken."""

import pytest
from playwright.sync_api import expect

from local.programs import Web
from tests.end_to_end import axe
from tests.end_to_end.browser import Meet, Tab
from tests.end_to_end.questions import gated, quick
from tests.rig import Rig

pytestmark = pytest.mark.usefixtures("worker")

PHONE = {"viewport": {"width": 360, "height": 700}, "has_touch": True, "is_mobile": True}
WIDE = {"viewport": {"width": 1100, "height": 800}}

#: Words that are broken over two lines, except those wider than any column.
BROKEN = r"""() => [...document.querySelectorAll(".block :is(td, th)")].flatMap((cell) => {
  const found = [];
  const texts = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    for (const {0: word, index} of texts.currentNode.data.matchAll(/\S+/g)) {
      if (word.length > 24) continue;
      const range = new Range();
      range.setStart(texts.currentNode, index);
      range.setEnd(texts.currentNode, index + word.length);
      const tops = new Set([...range.getClientRects()].map(({top}) => Math.round(top)));
      if (tops.size > 1) found.push(word);
    }
  }
  return found;
})"""
FRAMES = """() => [...document.querySelectorAll(".block .table")].map((frame) =>
  ({wide: frame.scrollWidth - frame.clientWidth,
    out: frame.getBoundingClientRect().right - innerWidth}))"""


def table(*rows: str) -> str:
    """A table of these rows; the first is the head."""
    columns = rows[0].count("|") - 1
    return "\n".join([rows[0], "|" + " --- |" * columns, *rows[1:]]) + "\n"


MANY = table(
    "| " + " | ".join(f"Measurement{chr(65 + n)}" for n in range(12)) + " |",
    "| " + " | ".join(f"reliability{chr(65 + n)}" for n in range(12)) + " |",
)
PROSE = table(
    "| Approach | Advantages | Disadvantages |",
    "| Incremental | Straightforward and predictable for everybody | Considerable bookkeeping |",
    "| [Reference](https://example.org/a) | https://example.org/" + "a" * 300 + " | `"
    + "identifier_" * 20 + "` |",
)  # fmt: skip
IDEOGRAPHS = table(
    "| " + " | ".join("姓名" for _ in range(9)) + " |",
    "| " + " | ".join("可靠性工程" for _ in range(9)) + " |",
)
NARROW = table("| a | b |", "| 1 | 2 |")


@pytest.mark.parametrize("screen", [PHONE, WIDE], ids=["phone", "wide"])
def test_tables_scroll_in_their_frame_and_break_no_word(
    meet: Meet, web: Web, screen: dict[str, object]
) -> None:
    tab = meet(web, **screen).open()
    text = f"{MANY}\n{PROSE}\n{IDEOGRAPHS}\n{NARROW}\n> {NARROW.replace(chr(10), chr(10) + '> ')}"
    tab.page.locator("#question").fill(quick(text, tag=str(screen)))
    tab.press("Send")
    tab.finished()

    assert tab.page.evaluate(BROKEN) == []
    frames = tab.page.evaluate(FRAMES)
    assert len(frames) == 5
    assert frames[0]["wide"] > 0
    assert [one["wide"] for one in frames[3:]] == [0, 0]
    assert all(one["out"] <= 0 for one in frames)
    pane = "(pane => pane.scrollWidth - pane.clientWidth)(document.getElementById('scroll'))"
    assert tab.page.evaluate(pane) <= 0
    assert tab.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    # Addresses are broken: they would be several screens wide.
    assert frames[1]["wide"] < 2 * tab.page.evaluate("innerWidth")


def test_wide_table_has_a_name_and_scrolls_by_keyboard(meet: Meet, web: Web) -> None:
    tab = meet(web, **PHONE).open()
    tab.page.locator("#question").fill(quick(MANY, tag="keys"))
    tab.press("Send")
    tab.finished()

    frame = tab.answer.get_by_role("region", name="Table")
    frame.focus()
    tab.page.keyboard.press("ArrowRight")

    tab.page.wait_for_function("() => document.activeElement.scrollLeft > 0")
    assert axe.serious(tab.page) == []


def test_table_being_written_keeps_its_horizontal_scroll(rig: Rig, meet: Meet, web: Web) -> None:
    tab = meet(web, **PHONE).open()
    row = "| " + " | ".join(f"reliability{n}" for n in range(12)) + " |\n"
    tab.page.locator("#question").fill(gated(MANY, "table", row * 5))
    tab.press("Send")
    tab.written(len(MANY) - 2)
    frame = tab.answer.get_by_role("region", name="Table")
    frame.focus()
    frame.evaluate("frame => { window.frame = frame; frame.scrollLeft = 90; }")

    rig.scripted.release("table")
    expect(frame.locator("tr")).to_have_count(7)
    tab.finished()

    assert tab.page.evaluate(
        "[window.frame.isConnected, window.frame.scrollLeft,"
        " document.activeElement === window.frame]"
    ) == [True, 90, True]


def test_selection_in_text_being_written_stays(rig: Rig, tab: Tab) -> None:
    tab.ask(gated("These words are selected, and", "selected", " more of them **come** now."))
    tab.written(20)
    tab.page.evaluate(
        "getSelection().setBaseAndExtent("
        "...[6, 11].flatMap(at => [document.querySelector('.assistant .block p').firstChild, at]))"
    )

    rig.scripted.release("selected")
    tab.finished()

    assert tab.page.evaluate("String(getSelection())") == "words"
