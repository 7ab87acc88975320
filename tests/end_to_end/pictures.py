"""Take the pictures of the documents: `python -m tests.end_to_end.pictures [FOLDER]`.

Real processes and a real browser. The model is the scripted one; a small prompter turns each
question into the script of its answer. `convert` (ImageMagick) makes the pictures small and the
animation; without it the pictures are larger and the animation is left out.
"""

import base64
import http.client
import json
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Browser, expect

import scripted
from local import data_dirs
from local.processes import ROOT
from scripted.steps import Step
from tests.client import Client
from tests.end_to_end.browser import Person, Tab, launched
from tests.rig import Rig
from tests.signing_in import PASSWORD, user_command

WIDE = {"viewport": {"width": 1180, "height": 740}}
PHONE = {"viewport": {"width": 390, "height": 780}, "has_touch": True, "is_mobile": True}

TIDES = """## Why the sea rises twice a day

The **Moon** pulls harder on the near side of the Earth than on its centre, and less on the far \
side. So the water stands high on *both* sides at once, and the Earth turns below.

| | Moon | Sun |
| --- | ---: | ---: |
| mass, kg | 7.35 × 10²² | 1.99 × 10³⁰ |
| distance, km | 384,400 | 149,600,000 |
| tidal pull | 1 | 0.46 |

A little model of it:

```python
def tide(hours: float, height: float = 1.0) -> float:
    \"\"\"Water level above the mean, in metres.\"\"\"
    period = 12.42  # hours, half a lunar day
    return height * math.cos(2 * math.pi * hours / period)
```

1. New and full Moon: both pull in a line, and the tides are highest.
2. Half Moon: they pull crosswise, and the tides are lowest.
"""
THOUGHT = (
    "They ask for a ten-year-old, so no formula at first. Two bulges is what surprises everybody: "
    "why is there one on the far side, too? Because the centre of the Earth is pulled away from "
    "that water. A merry-go-round might help, but it is misleading; better a stretched balloon. "
    "Then why the times move by fifty minutes every day: the Moon has walked on meanwhile. "
)
LIGHTHOUSE = (
    "The keeper counted ships the way other people count sheep. Forty-one on a good night, none "
    "in fog, and once, in the winter of the long ice, a single one that came back three times.\n\n"
    "On the third night it stood so close that she could read the name on its bow. It was her "
    "own. She put out the lamp, which no keeper may do, and lit it again, which every keeper "
    "must, and the ship turned slowly, like somebody who has been waved at, and went home.\n\n"
    "She wrote *42* in the book and underlined it twice.\n"
)


def _said(*steps: Step, tag: str = "") -> str:
    return scripted.script(*steps, scripted.finish(), scripted.usage(), scripted.done(), tag=tag)


def _answers() -> dict[str, str]:
    half = TIDES.index("    period")
    return {
        "Why does the sea rise twice a day?": _said(
            scripted.say(TIDES[:half], rate=2500), scripted.hold("code"), scripted.say(TIDES[half:])
        ),
        "Explain tides to a ten-year-old": _said(
            scripted.reasoning(THOUGHT, rate=900), scripted.hold("thought"), scripted.say(TIDES)
        ),
        "Tell me a very short story about a lighthouse.": _said(
            scripted.say(LIGHTHOUSE[:150], rate=40),
            scripted.hold("story-1"),
            scripted.say(LIGHTHOUSE[150:330], rate=500),
            scripted.hold("story-2"),
            scripted.say(LIGHTHOUSE[330:], rate=2000),
        ),
        "Summarise the minutes of the harbour board": scripted.script(
            scripted.say(LIGHTHOUSE[:210]), scripted.cut()
        ),
        "Translate the pilot's letter": _said(scripted.hold("letter"), scripted.say("Dear Sir,")),
        "Plan a quiet weekend by the sea": _said(scripted.say(LIGHTHOUSE)),
        "Write a poem about a train in the rain": _said(
            scripted.say(LIGHTHOUSE[:170], rate=900), scripted.hold("poem"), scripted.say(".")
        ),
        "Names for a small grey boat": _said(scripted.say("Heron. Pebble. Slow Answer.")),
    }


@contextmanager
def prompter(target: str) -> Iterator[str]:
    """An endpoint that replaces each question by the script of its answer; its URL."""
    answers, where = _answers(), urlsplit(target)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            last = asked["messages"][-1]
            last["content"] = answers.get(last["content"], last["content"])
            upstream = http.client.HTTPConnection(where.hostname or "", where.port or 80)
            upstream.request(
                "POST", self.path, json.dumps(asked), {"Content-Type": "application/json"}
            )
            answer = upstream.getresponse()
            self.send_response(answer.status)
            self.send_header("Content-Type", answer.headers["Content-Type"])
            self.end_headers()
            try:
                while data := answer.read1(65536):
                    self.wfile.write(data)
            except (OSError, http.client.HTTPException):
                self.close_connection = True

        def do_GET(self) -> None:
            names = ["scripted", "scripted-large"]
            data = json.dumps({"object": "list", "data": [{"id": one} for one in names]})
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(data.encode())

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()


class Camera:
    """Takes the pictures and stores them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.convert = shutil.which("convert")

    def take(self, tab: Tab, name: str) -> Path:
        """Take a picture of a tab."""
        tab.page.wait_for_timeout(400)
        path = self.folder / f"{name}.png"
        tab.page.screenshot(path=path, animations="disabled")
        if self.convert:
            words = [self.convert, str(path), "-strip", "+dither", "-colors", "128", f"PNG8:{path}"]
            subprocess.run(words, check=True)
        print(f"{path} {path.stat().st_size // 1000} kB", flush=True)
        return path


def main() -> None:
    """Take all pictures of the documents."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "images"
    camera = Camera(folder)
    with ExitStack() as stack:
        browser = stack.enter_context(launched())
        home = stack.enter_context(data_dirs.temporary())
        rig = stack.enter_context(Rig(home / "rig"))
        endpoint = stack.enter_context(prompter(rig.scripted.url))
        more = {"OPENAI_BASE_URL": endpoint}
        web = rig.web(**more)
        rig.worker(**more)
        client = stack.enter_context(Client(web.url))
        _take_all(camera, browser, rig, web.url, client)
        _sharing(camera, browser, rig, rig.web(OUTLIVE_AUTH="required", **more).url)


def _take_all(camera: Camera, browser: Browser, rig: Rig, url: str, client: Client) -> None:
    questions = list(_answers())
    for question in reversed(questions[3:]):  # for the list of conversations
        client.ask(question)
        time.sleep(0.2)
    light = Person.of(browser, url, **WIDE)
    dark = Person.of(browser, url, **WIDE, color_scheme="dark")
    phone = Person.of(browser, url, **PHONE, device_scale_factor=2)
    night = Person.of(browser, url, **PHONE, device_scale_factor=2, color_scheme="dark")

    tab = light.open()
    expect(tab.page.locator("#conversations li").first).to_be_visible()
    camera.take(tab, "page-new")
    moved = _closing_the_tab(camera, light, rig)
    tab.ask(questions[0])
    tab.written(TIDES.index("    period") - 20)
    camera.take(tab, "page-writing")
    rig.scripted.release("code")
    tab.finished()
    tab.answer.locator(".spent").click()
    tab.page.mouse.move(700, 300)
    camera.take(tab, "page-code")

    tab = dark.open()
    tab.ask(questions[1])
    tab.page.locator(".part.reasoning").wait_for()
    tab.page.wait_for_timeout(700)
    camera.take(tab, "page-thinking-dark")
    rig.scripted.release("thought")
    tab.finished()

    for name in ("Summarise", "Write a poem"):
        tab = (phone if name == "Summarise" else night).open()
        tab.press("Conversations")
        if name == "Summarise":
            camera.take(tab, "phone-list")
        tab.page.get_by_role("link", name=re.compile(f"^{name}")).click()
        tab.answer.wait_for()
        if name == "Summarise":
            camera.take(tab, "phone-failed")
            continue
        tab.written(100)
        camera.take(tab, "phone-writing-dark")
        night.context.set_offline(True)
        camera.take(tab, "phone-offline-dark")
        night.context.set_offline(False)
        tab.press("Stop")
        tab.finished("CANCELLED")
        camera.take(tab, "phone-stopped-dark")
    _under_load(camera, light, rig, client)
    if camera.convert:
        _animate(camera, browser, moved)


def _sharing(camera: Camera, browser: Browser, rig: Rig, url: str) -> None:
    for login, name in (("ann", "Ann Example"), ("bob", "Bob Example")):
        user_command(rig, "add", login, "--name", name, typed=f"{PASSWORD}\n")
    tab = Person.of(browser, url, viewport={"width": 760, "height": 500}).open()
    tab.page.get_by_label("Login").fill("ann")
    camera.take(tab, "sign-in")
    tab.page.set_viewport_size({"width": 1180, "height": 740})
    tab.page.get_by_label("Password").fill(PASSWORD)
    tab.press("Sign in")
    expect(tab.page.locator("#conversations")).to_have_attribute("aria-busy", "false")
    question = "Tell me a very short story about a lighthouse."
    tab.ask(question)
    tab.written(140)
    tab.press("Share")
    dialog = tab.page.get_by_role("dialog", name="Share")
    tab.page.get_by_label("How long").select_option("One week")
    tab.press("Create link", dialog)
    link = dialog.get_by_label("The link").input_value()
    tab.page.get_by_label("Who may read").select_option("One user")
    dialog.get_by_label(re.compile("^Their login")).fill("bob")
    tab.press("Share", dialog)
    expect(dialog.locator("li")).to_have_count(2)
    phone = Person.of(browser, url, **PHONE, device_scale_factor=2).open(link.removeprefix(url))
    phone.written(140)
    camera.take(phone, "phone-shared")
    expect(dialog.get_by_text("1 reading")).to_be_visible()
    camera.take(tab, "page-share")
    for number in (1, 2):
        rig.scripted.release(f"story-{number}")
    phone.finished()


def _under_load(camera: Camera, person: Person, rig: Rig, client: Client) -> None:
    for number in range(14):
        rate = 60 + number * 23
        steps = (scripted.long(40_000, rate=rate), scripted.finish(), scripted.done())
        client.ask(scripted.script(*steps, tag=str(number)))
        time.sleep(1.5)
    client.ask(scripted.script(scripted.say("Half"), scripted.cut(), tag="dashboard"))
    readers = [person.open(f"/c/{one['id']}") for one in _newest(client, 4)]
    tab = person.open("/live")
    tab.page.wait_for_timeout(45_000)
    camera.take(tab, "dashboard")
    for one in readers:
        one.close()


def _newest(client: Client, count: int) -> list[dict[str, str]]:
    found = client.http.get(f"/api/conversations?limit={count}").json()["items"]
    return list(found)


# --- the animation -------------------------------------------------------------------------------


def _closing_the_tab(camera: Camera, person: Person, rig: Rig) -> list[tuple[str, str, int]]:
    """Frames: picture as base64 or "", the words below it, hundredths of a second."""
    question = "Tell me a very short story about a lighthouse."
    shots: list[tuple[str, str, int]] = []

    def shoot(tab: Tab, words: str, hundredths: int) -> None:
        data = tab.page.screenshot(animations="disabled")
        shots.append((base64.b64encode(data).decode(), words, hundredths))

    tab = person.open()
    tab.page.set_viewport_size({"width": 900, "height": 520})
    tab.page.locator("#question").fill(question)
    shoot(tab, "Ask.", 150)
    tab.ask(question)
    for characters in (20, 60, 100, 140):
        tab.written(characters)
        shoot(tab, "It is being written.", 45)
    place = tab.path
    tab.close()
    shots.append(("", "Close the tab. A worker writes on.", 220))
    rig.scripted.release("story-1")
    time.sleep(1)
    tab = person.open(place)
    tab.page.set_viewport_size({"width": 900, "height": 520})
    tab.written(300)
    shoot(tab, "Come back: it is there.", 170)
    rig.scripted.release("story-2")
    tab.finished()
    tab.page.wait_for_timeout(300)
    shoot(tab, "Nothing is missing.", 320)
    tab.close()
    return shots


STAGE = """<body style="margin:0;background:#dcd7cb;font:15px -apple-system,'Noto Sans',sans-serif">
<div style="height:38px;padding:8px 12px 0;box-sizing:border-box;display:flex;gap:8px">{tab}</div>
<div style="height:520px;background:{below};display:grid;place-items:center">{picture}</div>
<div style="height:40px;line-height:40px;text-align:center;color:#57524a">{words}</div></body>"""
TAB = """<span style="padding:6px 18px;border-radius:9px 9px 0 0;background:#fbfaf7;color:#23211d">
{name}</span>"""


def _animate(camera: Camera, browser: Browser, shots: list[tuple[str, str, int]]) -> None:
    page = browser.new_page(viewport={"width": 900, "height": 598})
    frames: list[str] = []
    for number, (data, said, hundredths) in enumerate(shots):
        picture = f'<img width="900" src="data:image/png;base64,{data}">' if data else ""
        tab = TAB.format(name="Outlive") if data else TAB.format(name="News of the day")
        below = "#fbfaf7" if data else "#f1eee6"
        page.set_content(STAGE.format(tab=tab, picture=picture, words=said, below=below))
        path = camera.folder / f".frame-{number}.png"
        page.screenshot(path=path)
        frames += ["-delay", str(hundredths), str(path)]
    target = camera.folder / "close-and-come-back.webp"
    words = [str(camera.convert), *frames, "-loop", "0", "-quality", "78", str(target)]
    subprocess.run(words, check=True)
    for path in camera.folder.glob(".frame-*.png"):
        path.unlink()
    print(f"{target} {target.stat().st_size // 1000} kB", flush=True)


if __name__ == "__main__":
    main()
