"""Take the pictures of the documents: `python -m tests.end_to_end.pictures [FOLDER [WHICH…]]`.

Real processes and a real browser. The model is the scripted one; a small prompter turns each
question into the script of its answer. The list of SETS says which pictures and films there are.
"""

import re
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from playwright.sync_api import expect

import scripted
from local import data_dirs
from local.processes import ROOT
from tests.client import Client
from tests.end_to_end import films
from tests.end_to_end.browser import Person, launched
from tests.end_to_end.camera import DESK, PHONE, TALL, Camera, Set
from tests.end_to_end.sayings import (
    EARLIER,
    MINUTES,
    MODELS,
    PACKING,
    POEM,
    TEN_YEARS_OLD,
    TIDES,
    WHAT_TO_PACK,
    WHY_TIDES,
    prompter,
)
from tests.rig import Rig
from tests.signing_in import PASSWORD, user_command


def main() -> None:
    """Take the pictures that are wanted, or all."""
    words = sys.argv[1:]
    camera = Camera(Path(words[0]) if words else ROOT / "docs" / "images")
    wanted = words[1:] or list(SETS)
    with ExitStack() as stack:
        browser = stack.enter_context(launched())
        home = stack.enter_context(data_dirs.temporary())
        rig = stack.enter_context(Rig(home / "rig"))
        endpoint = stack.enter_context(prompter(rig.scripted.url))
        env = {
            "OPENAI_BASE_URL": endpoint,
            "OUTLIVE_MODEL": MODELS[0],
            "OUTLIVE_STALL_SECONDS": "3600",  # answers are held until their picture is taken
        }
        web = rig.web(**env)
        worker = rig.worker(**env)
        client = stack.enter_context(Client(web.url))
        for question in reversed(EARLIER):  # for the list of conversations
            client.ask(question)
            time.sleep(0.2)
        the = Set(camera, browser, rig, env, web, worker, client)
        for name in wanted:
            SETS[name](the)


def _desk(the: Set) -> None:
    tab = the.person(viewport=TALL).open()
    expect(tab.page.locator("#away li").first).to_be_visible()
    the.camera.take(tab, "page-new")
    tab.page.set_viewport_size(DESK)
    tab.ask(WHY_TIDES)
    tab.written(TIDES.index("    period") - 20)
    the.camera.take(tab, "page-writing")
    the.rig.scripted.release("code")
    tab.finished()
    tab.answer.locator(".spent").click()
    tab.page.mouse.move(700, 300)
    the.camera.take(tab, "page-code")
    tab.close()

    tab = the.person(color_scheme="dark").open()
    tab.ask(TEN_YEARS_OLD)
    tab.page.locator(".part.reasoning").wait_for()
    tab.page.wait_for_timeout(700)
    the.camera.take(tab, "page-thinking-dark")
    the.rig.scripted.release("thought")
    tab.finished()
    tab.close()


def _phone(the: Set) -> None:
    tab = the.person(**PHONE).open()
    tab.press("Conversations")
    the.camera.take(tab, "phone-list")
    tab.page.get_by_role("link", name=re.compile(f"^{MINUTES}")).first.click()
    tab.finished("ERROR")
    the.camera.take(tab, "phone-failed")
    tab.close()

    night = the.person(**PHONE, color_scheme="dark")
    tab = night.open()
    tab.press("Conversations")
    tab.page.get_by_role("link", name=re.compile(f"^{POEM}")).first.click()
    tab.written(100)
    the.camera.take(tab, "phone-writing-dark")
    night.context.set_offline(True)
    the.camera.take(tab, "phone-offline-dark")
    night.context.set_offline(False)
    tab.press("Stop")
    tab.finished("CANCELLED")
    the.camera.take(tab, "phone-stopped-dark")
    tab.close()


def _sharing(the: Set) -> None:
    rig, camera = the.rig, the.camera
    url = rig.web(**the.env, OUTLIVE_AUTH="required").url
    for login, name in (("ann", "Ann Example"), ("bob", "Bob Example")):
        user_command(rig, "add", login, "--name", name, typed=f"{PASSWORD}\n")
    tab = Person.of(the.browser, url, viewport={"width": 760, "height": 500}).open()
    tab.page.get_by_label("Login").fill("ann")
    camera.take(tab, "sign-in")
    tab.page.set_viewport_size({"width": 1180, "height": 740})
    tab.page.get_by_label("Password").fill(PASSWORD)
    tab.press("Sign in")
    expect(tab.page.locator("#conversations")).to_have_attribute("aria-busy", "false")
    tab.ask(WHAT_TO_PACK)
    tab.written(len(PACKING))
    tab.press("Share")
    dialog = tab.page.get_by_role("dialog", name="Share")
    tab.page.get_by_label("How long").select_option("One week")
    tab.press("Create link", dialog)
    link = dialog.get_by_label("The link").input_value()
    tab.page.get_by_label("Who may read").select_option("One user")
    dialog.get_by_label(re.compile("^Their login")).fill("bob")
    tab.press("Share", dialog)
    expect(dialog.locator("li")).to_have_count(2)
    phone = Person.of(the.browser, url, **PHONE).open(link.removeprefix(url))
    phone.written(len(PACKING))
    camera.take(phone, "phone-shared")
    expect(dialog.get_by_text("1 reading")).to_be_visible()
    camera.take(tab, "page-share")
    rig.scripted.release("packing")
    phone.finished()
    phone.close()
    tab.close()


def _dashboard(the: Set) -> None:
    client, person = the.client, the.person()
    for number in range(14):
        rate = 60 + number * 23
        steps = (scripted.long(40_000, rate=rate), scripted.finish(), scripted.done())
        client.ask(scripted.script(*steps, tag=str(number)))
        time.sleep(1.5)
    client.ask(scripted.script(scripted.say("Half"), scripted.cut(), tag="dashboard"))
    readers = [person.open(f"/c/{one['id']}") for one in _newest(client, 4)]
    tab = person.open("/live")
    tab.page.wait_for_timeout(45_000)
    the.camera.take(tab, "dashboard")
    for one in readers:
        one.close()


def _newest(client: Client, count: int) -> list[dict[str, str]]:
    found = client.http.get(f"/api/conversations?limit={count}").json()["items"]
    return list(found)


#: What can be taken; the dashboard comes last, as its questions are no good reading.
SETS: Final[dict[str, Callable[[Set], None]]] = {
    "desk": _desk,
    "phone": _phone,
    "sharing": _sharing,
    "tab": films.tab,
    "coming-back": films.coming_back,
    "tape": films.tape,
    "baton": films.baton,
    "dashboard": _dashboard,
}

if __name__ == "__main__":
    main()
