"""The films of the documents: what happens is real, how long each frame stays is chosen."""

import time
from datetime import timedelta
from typing import Final

from playwright.sync_api import Browser, expect

from tests.end_to_end.browser import SHOW, Person, Tab, launch
from tests.end_to_end.camera import Film, Screen, Set
from tests.end_to_end.sayings import (
    BEAMS,
    BREAD,
    HOW_BEAMS,
    HOW_BREAD,
    NIGHT,
    NIGHT_READ,
    STORY,
    WHY_NIGHT,
)
from tests.rig import eventually
from tests.signing_in import PASSWORD, user_command
from tests.stories import sweep

ONE: Final = (Screen(0, 900, 600),)
SHARP: Final = {"viewport": {"width": 900, "height": 600}, "device_scale_factor": 2}
SAFARI: Final = {
    "viewport": {"width": 360, "height": 600},
    "has_touch": True,
    "is_mobile": True,
    "user_agent": "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15"
    " (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1",
}
#: A name that only the browser of the film knows, for the service on this machine.
HOST: Final = "outlive.example"
#: How long one was away in the film; in truth it was seconds.
AWAY: Final = timedelta(minutes=47)
LONG_AGO: Final = "UPDATE places SET read_at = read_at - :away RETURNING true"
#: Seconds without any device in the film of the tape: longer than it takes to have left.
AWAY_ON_TAPE: Final = 9
#: Scroll an element to the line that is being read.
TO_THE_TOP: Final = """one => {
  const pane = document.getElementById("scroll");
  pane.scrollBy(0, one.getBoundingClientRect().top - pane.getBoundingClientRect().top - 12);
}"""


def tab(the: Set) -> None:
    """A tab is closed while an answer is written, and opened again."""
    film, person = Film(the.browser, ONE), the.person(**SHARP)
    tab = person.open()
    tab.page.locator("#question").fill(STORY)
    film.shoot("Ask.", 1500, tab)
    tab.ask(STORY)
    for characters in (20, 60, 100, 140):
        tab.written(characters)
        film.shoot("It is being written.", 450, tab)
    place = tab.path
    tab.close()
    film.shoot("Close the tab. A worker writes on.", 2200, None)
    the.rig.scripted.release("story-1")
    time.sleep(1)
    tab = person.open(place)
    tab.written(300)
    film.shoot("Come back: it is there.", 1700, tab)
    the.rig.scripted.release("story-2")
    tab.finished()
    _settle(tab)
    film.shoot("Nothing is missing.", 3200, tab)
    tab.close()
    film.store(the.camera.folder / "close-and-come-back.webp")


def coming_back(the: Set) -> None:
    """Where one was, and what came meanwhile."""
    film, person, rig = Film(the.browser, ONE), the.person(**SHARP), the.rig
    tab = person.open()
    tab.page.locator("#question").fill(HOW_BEAMS)
    film.shoot("Ask.", 1300, tab)
    tab.ask(HOW_BEAMS)
    for share in (0.15, 0.4, 0.7):
        tab.written(int(len(BEAMS) * share))
        film.shoot("You read while it is written.", 700, tab)
    tab.written(len(BEAMS))
    _settle(tab)
    film.shoot("You read while it is written.", 1300, tab)
    answer = tab.answer.get_attribute("data-id") or ""
    path = tab.path
    tab.page.goto(f"{person.url}/healthz")
    place = f"/api/conversations/{path.removeprefix('/c/')}/place"
    eventually(lambda: the.client.http.get(place).json()["place"])
    tab.close()
    film.shoot("You leave. A worker writes on.", 2200, None)
    rig.scripted.release("beams")
    the.client.ended(answer)
    rig.rows(LONG_AGO, away=AWAY)

    tab = person.open()
    link = tab.page.locator(f"#away a[href='{path}']")
    link.scroll_into_view_if_needed()
    _settle(tab)
    film.shoot("Later: what came while you were away.", 2600, tab)
    film.shoot("Later: what came while you were away.", 700, tab, pressed=link)
    link.click()
    tab.finished()
    news = tab.page.get_by_role("region", name="New since you left")
    expect(news.locator("small")).to_contain_text("nothing lost")
    _settle(tab)
    film.shoot("You are where you were. A line says what is new.", 2600, tab)
    summary = news.locator("summary").first
    film.shoot("You are where you were. A line says what is new.", 700, tab, pressed=summary)
    summary.click()
    _settle(tab)
    film.shoot("How long, how much, and what you have not read.", 2800, tab)
    the.camera.take(tab, "page-coming-back")
    proof = news.get_by_text("✓ Nothing was lost")
    film.shoot("How long, how much, and what you have not read.", 700, tab, pressed=proof)
    proof.click()
    _settle(tab)
    film.shoot("That nothing was lost is computed here, not promised.", 3200, tab)
    proof.click()
    heading = news.get_by_role("link", name="Who still needs them")
    film.shoot("A heading leads to what you want to read.", 900, tab, pressed=heading)
    heading.click()
    _settle(tab)
    film.shoot("A heading leads to what you want to read.", 3000, tab)
    tab.close()
    film.store(the.camera.folder / "coming-back.webp")


def tape(the: Set) -> None:
    """An answer whose worker died, and which two devices followed, is replayed."""
    desk, phone, rig = the.person(**SHARP), the.person(**SAFARI), the.rig
    tab = desk.open()
    tab.ask(WHY_NIGHT)
    rig.scripted.wait_held("night")
    time.sleep(2)
    the.worker.kill()
    died, the.worker = the.worker.boot, rig.worker(**the.env)
    sweep(rig, died=died)
    rig.scripted.wait_held("night", 1)
    rig.scripted.release("night")
    tab.written(NIGHT_READ)
    place = tab.path
    there = phone.open(place)
    there.written(NIGHT_READ)
    rig.scripted.release("night-2")
    there.written(NIGHT_READ + 60)
    tab.close()
    there.close()
    time.sleep(AWAY_ON_TAPE)
    tab = desk.open(place)
    tab.finished()

    film = Film(the.browser, ONE)
    spent = tab.answer.locator(".spent")
    spent.scroll_into_view_if_needed()
    film.shoot("The answer is there. How was it written?", 1500, tab)
    film.shoot("The answer is there. How was it written?", 600, tab, pressed=spent)
    spent.click()
    replay = tab.answer.get_by_role("button", name="Replay", exact=True)
    film.shoot("Every save has its time.", 1400, tab)
    film.shoot("Every save has its time.", 600, tab, pressed=replay)
    replay.click()
    player = tab.answer.locator(".player")
    player.locator(".marks").scroll_into_view_if_needed()
    player.get_by_label("Speed").select_option("1")
    _settle(tab)
    play = player.locator(".play")
    film.shoot("Replay it: the worker died, another one went on.", 1200, tab, pressed=play)
    play.click()
    taken = False
    while play.text_content() == "Pause":
        film.shoot("Replay it: the worker died, another one went on.", 200, tab)
        if not taken and int(player.get_attribute("data-position") or 0) > len(NIGHT) * 0.6:
            the.camera.take(tab, "page-tape")
            taken = True
        tab.page.wait_for_timeout(600)
    _settle(tab)
    film.shoot("You left, a phone joined, you came back: nothing is missing.", 3500, tab)
    tab.close()
    film.store(the.camera.folder / "tape.webp")


def baton(the: Set) -> None:
    """What is read at a desk goes on on a phone, at the same line."""
    web = the.rig.web(**the.env, OUTLIVE_AUTH="required", OUTLIVE_HOSTS=HOST)
    user_command(the.rig, "add", "eve", "--name", "Eve Example", typed=f"{PASSWORD}\n")
    port = web.url.rpartition(":")[2]
    rule = f"--host-resolver-rules=MAP {HOST}:80 127.0.0.1:{port}"
    browser = launch(the.browser.browser_type, rule)
    _baton(the, browser)
    browser.close()


def _baton(the: Set, browser: Browser) -> None:
    film = Film(browser, (Screen(0, 900, 600), Screen(920, 360, 600, "Phone", "Phone")), 1.5)
    sharp = {"device_scale_factor": film.scale}
    desk = Person.of(browser, f"http://{HOST}", **SHARP | sharp)
    phone = Person.of(browser, f"http://{HOST}", **SAFARI | sharp)
    tab = _signed_in(desk)
    _signed_in(phone).close()
    tab.ask(HOW_BREAD)
    tab.written(len(BREAD) // 3)
    film.shoot("You read at the desk while it is written.", 900, tab, None)
    tab.written(len(BREAD))
    heading = tab.page.get_by_role("heading", name="Saturday, ten o'clock: the dough")
    tab.page.mouse.move(600, 300)
    heading.evaluate(TO_THE_TOP)
    tab.page.mouse.wheel(0, 1)
    _settle(tab)
    film.shoot("You read at the desk while it is written.", 2000, tab, None)
    opener = tab.page.locator("#to-phone")
    film.shoot("You have to go.", 900, tab, None, pressed=opener)
    opener.click()
    dialog = tab.page.get_by_role("dialog", name="Go on on your phone")
    tab.page.wait_for_function("() => document.querySelector('#baton img').complete")
    _settle(tab)
    film.shoot("The code opens the phone at this very line.", 2800, tab, None)
    the.camera.take(tab, "page-baton")
    tab.press("Copy", dialog)
    link = str(tab.page.evaluate("window.copied"))
    there = phone.open(link.removeprefix(desk.url))
    there.written(len(BREAD))
    expect(there.page.locator(".linked")).to_have_count(0)
    _settle(there)
    tab.press("Close", dialog)
    _together(tab, there)
    film.shoot("Here it is. The desk knows where the phone is.", 3000, tab, there)
    the.rig.scripted.release("bread")
    there.finished()
    for _ in range(3):
        there.page.locator("#scroll").evaluate("one => one.scrollBy(0, 260)")
        _together(tab, there)
        film.shoot("You read on.", 1100, tab, there)
    also = tab.page.locator("#also button")
    film.shoot(
        "Back at the desk: one press, and you are where the phone is.",
        900,
        tab,
        there,
        pressed=also,
    )
    also.click()
    _settle(tab)
    film.shoot("Back at the desk: one press, and you are where the phone is.", 3500, tab, there)
    film.store(the.camera.folder / "baton.webp")


def _signed_in(person: Person) -> Tab:
    tab = person.open()
    tab.page.get_by_label("Login").fill("eve")
    tab.page.get_by_label("Password").fill(PASSWORD)
    tab.press("Sign in")
    expect(tab.page.locator("#conversations")).to_have_attribute("aria-busy", "false")
    return tab


def _together(*tabs: Tab) -> None:
    """Have each device report where it is, and see where the others are."""
    for tab in (*tabs, *tabs):
        with tab.page.expect_response("**/api/devices"):
            tab.page.evaluate(SHOW)
        _settle(tab)


def _settle(tab: Tab) -> None:
    """Wait until what has a transition is where it will be."""
    tab.page.wait_for_timeout(400)
