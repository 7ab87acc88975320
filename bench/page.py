"""The page in Chromium: what 1,000 tokens at 200 a second cost its main thread, and the frames it
drops, in an answer that has 1,000 and one that has 100,000 characters already.

CPU time of the main thread, not the wall's: others use the machine too. Frames do not know that:
they are also dropped when other processes have the processor.
"""

import statistics
import sys
import uuid
from dataclasses import dataclass
from itertools import pairwise

from playwright.sync_api import Page

import scripted
from local import data_dirs
from tests.end_to_end.browser import Person, Tab, launched
from tests.rig import Rig

#: Characters that are there already.
SIZES = (1_000, 10_000, 100_000)
#: Tokens that come then, how many of them a second, and the characters of each.
TOKENS, RATE, TOKEN = 1_000, 200, 5
#: Milliseconds: a frame that is later than this was dropped.
FRAME = 1000 / 60 * 1.5
ROUNDS = 3
#: The times of all frames, as the page sees them.
FRAMES = """() => { window.frames_ = []; const tick = (at) => {
  window.frames_.push(at); window.ticking = requestAnimationFrame(tick); };
  requestAnimationFrame(tick); }"""
#: Resolves when the last answer has ended and is proven. Asking again and again would cost more
#: than what is measured.
ENDED = """() => new Promise(done => {
  const answer = [...document.querySelectorAll(".assistant")].at(-1);
  const check = () => answer.dataset.proof === "ok" && done();
  new MutationObserver(check).observe(answer, {attributes: true}); check(); })"""
#: A growing document as models write them: prose, lists, a table, code.
CHAPTER = (
    "## Chapter {0}\n\nThe harbour of *{0}* is quiet in the morning, and **nobody** hurries. "
    "Boats come in with the tide; their names are read aloud, one by one, by whoever is there.\n\n"
    "- the first boat has `{0}` nets\n- the second one has none\n- the third is late, as ever\n\n"
    "| boat | nets | tide |\n| --- | ---: | --- |\n| one | {0} | high |\n| two | 0 | low |\n\n"
    "```python\ndef boats(harbour: int = {0}) -> int:\n    return harbour * 3  # of them\n```\n\n"
)


@dataclass
class Measured:
    """What the page took while TOKENS tokens came."""

    main_thread: float
    script: float
    style_and_layout: float
    dropped: int
    frames: int


def main() -> None:
    """Print a table, the median of several rounds."""
    with data_dirs.temporary() as home, Rig(home / "rig") as rig, launched() as browser:
        web = rig.web()
        rig.worker()
        person = Person.of(browser, web.url, viewport={"width": 1280, "height": 800})
        print(
            "  characters   ms CPU main thread   script   style+layout   a frame   dropped frames",
            flush=True,
        )
        for size in SIZES:
            rounds = [_measured(rig, person.open(), size) for _ in range(ROUNDS)]
            middle = statistics.median(one.main_thread for one in rounds)
            one = next(one for one in rounds if one.main_thread == middle)
            print(
                f"  {size:>10,}   {one.main_thread:>18,.0f}   {one.script:>6,.0f}   "
                f"{one.style_and_layout:>12,.0f}   "
                f"{one.main_thread / max(one.frames, 1):>7,.1f}   {one.dropped:>6} of {one.frames}",
                flush=True,
            )
        if person.mishaps:
            sys.exit("\n".join(person.mishaps))


def _text(characters: int) -> str:
    whole = "".join(CHAPTER.format(number) for number in range(characters // len(CHAPTER) + 2))
    return whole[:characters]


def _measured(rig: Rig, tab: Tab, size: int) -> Measured:
    gate, more = str(uuid.uuid4()), TOKENS * TOKEN
    before, after = _text(size), _text(more)
    first = scripted.say(before, chunk=200)
    then = scripted.say("\n\n" + after, chunk=TOKEN, rate=RATE * TOKEN)
    steps = (first, scripted.hold(gate), then, scripted.finish())
    tab.ask(scripted.script(*steps, scripted.done(), tag=gate))
    tab.written(size, seconds=120)
    tab.page.wait_for_timeout(1000)
    chrome = tab.page.context.new_cdp_session(tab.page)
    chrome.send("Performance.enable", {"timeDomain": "threadTicks"})
    tab.page.evaluate(FRAMES)
    begun = _numbers(chrome)
    rig.scripted.release(gate)
    tab.page.evaluate(ENDED)
    ended = _numbers(chrome)
    frames = _intervals(tab.page)
    tab.close()
    spent = {name: (ended[name] - begun[name]) * 1000 for name in begun}
    return Measured(
        spent["TaskDuration"],
        spent["ScriptDuration"],
        spent["RecalcStyleDuration"] + spent["LayoutDuration"],
        sum(round(one / (1000 / 60)) - 1 for one in frames if one > FRAME),
        len(frames),
    )


def _numbers(chrome: object) -> dict[str, float]:
    metrics = chrome.send("Performance.getMetrics")["metrics"]  # type: ignore[attr-defined]
    wanted = ("TaskDuration", "ScriptDuration", "RecalcStyleDuration", "LayoutDuration")
    return {one["name"]: one["value"] for one in metrics if one["name"] in wanted}


def _intervals(page: Page) -> list[float]:
    times = page.evaluate("cancelAnimationFrame(window.ticking) ?? window.frames_")
    return [later - earlier for earlier, later in pairwise(times)]


if __name__ == "__main__":
    main()
