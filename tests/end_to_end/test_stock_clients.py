"""Third-party clients on a link that cuts them in the middle of frames.

Each follows an answer while it is written (it is stopped when all have been cut) and one that ended
long ago, and is cut five times in each, by a reset and by a close. They come unmodified from their
registries and are used as their documentation shows; docs/clients.md says how.
What they read must be exact, and end once.
"""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from local.processes import ROOT
from local.programs import Web, Worker
from scripted import done, finish, hold, say, script, usage
from tests.client import Client, new_id, proof
from tests.clients.python import CLIENTS as PYTHON
from tests.cutting import IN_FRAMES, CuttingProxy, Manner
from tests.foreign import need, need_node, npm_packages
from tests.rig import PATIENCE, Rig, eventually

NODE = (
    "eventsource 1.1.2", "eventsource 2.0.2", "eventsource 3.0.7", "eventsource 4.1.1",
    "eventsource 5.1.5", "undici 6", "undici 7", "Node's own", "eventsource-client",
    "fetch-event-source",
)  # fmt: skip
CHROMIUM = "Chromium"
#: Clients that leave a cut within the line of an id to their user: see docs/clients.md.
KEEPS_DATA = ("eventsource 1.1.2", "eventsource 2.0.2")

#: How an answer is read.
RUNNING, ENDED = "while it is written", "long after its end"
MANNERS: tuple[Manner, ...] = ("reset", "close")

#: Everything that is more than a byte, and whatever a careless reader would split.
PIECES = [
    "你好，世界。",
    "👩‍👧 and 😀",
    "Ordinary words, ",
    "\r\n\n",
    "e\u0301\u2028\x85",
    '"data: \\n"',
    "привет ",
]


def _text(characters: int) -> str:
    count = characters // sum(map(len, PIECES)) + 1
    return "".join(f"{number}{piece}" for number in range(count) for piece in PIECES)[:characters]


@dataclass(frozen=True)
class Job:
    """One client that follows one answer on a link of its own."""

    client: str
    answer: str
    manner: Manner
    message: str
    link: CuttingProxy

    @property
    def url(self) -> str:
        return f"{self.link.url}/api/messages/{self.message}/stream"


@dataclass(frozen=True)
class Read:
    """What the client has read."""

    job: Job
    text: str
    ends: list[dict[str, Any]]
    elsewhere: int
    failure: str | None


@pytest.fixture(scope="module")
def node_modules() -> Path:
    """Where the clients from npm are, installed once for each lock file."""
    need_node(20)
    return npm_packages(ROOT / "tests" / "clients", "clients", "clients.mjs")


@dataclass(frozen=True)
class Found:
    """The results by client, answer and manner of the cut, and the answers' messages."""

    reads: dict[tuple[str, str, str], Read]
    messages: dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def found(
    rig: Rig, web: Web, worker_of_file: Worker, node_modules: Path, browser: Browser
) -> Found:
    """All of them at once: most of their time they wait."""
    gate = f"stock {new_id()}"
    running = script(
        say(_text(40)),
        hold(gate),
        say(_text(40_000), rate=200, chunk=(1, 12), split_pairs=True),  # until it is stopped
        done(),
    )
    ended = script(say(_text(30_000), chunk=500), finish(), usage(), done())
    clients = [*NODE, *PYTHON, CHROMIUM]
    with ExitStack() as stack, Client(web.url) as client:
        enter = stack.enter_context
        texts = {RUNNING: client.ask(running), ENDED: client.ask(ended)}
        client.ended(texts[ENDED])
        client.shown(texts[RUNNING])
        jobs = [
            Job(
                name, answer, manner, texts[answer], enter(CuttingProxy(web.url, IN_FRAMES, manner))
            )
            for name, answer, manner in product(clients, texts, MANNERS)
        ]
        pages = [(job, _open(browser, job)) for job in jobs if job.client == CHROMIUM]
        pool = enter(ThreadPoolExecutor(2))
        nodes = pool.submit(_by_node, node_modules, [job for job in jobs if job.client in NODE])
        pythons = pool.submit(_by_python, [job for job in jobs if job.client in PYTHON])
        eventually(lambda: all(job.link.streams for job in jobs))
        rig.scripted.release(gate)
        links = [job.link for job in jobs if job.answer == RUNNING]
        eventually(lambda: all(link.cuts == len(IN_FRAMES) for link in links), 2 * PATIENCE)
        client.stop(texts[RUNNING])
        reads = [*(_by_chromium(*one) for one in pages), *nodes.result(), *pythons.result()]
        messages = {answer: client.message(message) for answer, message in texts.items()}
    return Found({(one.job.client, one.job.answer, one.job.manner): one for one in reads}, messages)


def _by_node(place: Path, jobs: list[Job]) -> list[Read]:
    words = [need("node"), "--experimental-eventsource", "--no-warnings", "clients.mjs"]
    return _by_process(words, place, jobs)


def _by_python(jobs: list[Job]) -> list[Read]:
    return _by_process([sys.executable, "-m", "tests.clients.python"], ROOT, jobs)


def _by_process(words: list[str], place: Path, jobs: list[Job]) -> list[Read]:
    """Clients that run together in a process of their language."""
    by_url = {job.url: job for job in jobs}
    wanted = json.dumps([{"client": job.client, "url": job.url} for job in jobs])
    done = subprocess.run(
        words, cwd=place, input=wanted, capture_output=True, text=True, check=False,
        timeout=4 * PATIENCE, env={**os.environ, "no_proxy": "*"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.removesuffix("\n").split("\n")]
    assert {line["url"] for line in lines} == set(by_url), done.stderr
    names = ("text", "ends", "elsewhere", "failure")
    return [Read(by_url[line["url"]], *(line[name] for name in names)) for line in lines]


_FOLLOW = """url => {
  const reading = window.reading = { text: "", ends: [], elsewhere: 0, closed: false };
  let position = 0;
  const source = new EventSource(url);
  source.addEventListener("delta", ({ data }) => {
    const { start, text } = JSON.parse(data);
    reading.elsewhere += start !== position;
    reading.text += text;
    position = start + [...text].length;
  });
  source.addEventListener("end", ({ data }) => reading.ends.push(JSON.parse(data)));
  source.addEventListener("error", () => { reading.closed = source.readyState === 2; });
}"""


def _open(browser: Browser, job: Job) -> Page:
    """A tab at an address of ours that opens no stream by itself; its policy would forbid it."""
    page = browser.new_page(bypass_csp=True)
    page.goto(f"{job.link.url}/healthz")
    page.evaluate(_FOLLOW, job.url)
    return page


def _by_chromium(job: Job, page: Page) -> Read:
    """Wait until it has come back after the end, got a 204 and closed for good."""
    page.wait_for_function("() => window.reading.closed", timeout=2000 * PATIENCE)
    found = page.evaluate("window.reading")
    page.close()
    return Read(job, found["text"], found["ends"], found["elsewhere"], None)


@pytest.mark.failure(53)
@pytest.mark.parametrize("client", [*NODE, *PYTHON, CHROMIUM])
@pytest.mark.parametrize("answer", [RUNNING, ENDED])
@pytest.mark.parametrize("manner", MANNERS)
def test_a_stock_client_that_is_cut_five_times_reads_every_character_and_one_end(
    found: Found, client: str, answer: str, manner: Manner
) -> None:
    read, message = found.reads[client, answer, manner], found.messages[answer]

    assert read.failure is None
    assert read.text == message["text"]
    [end] = read.ends
    assert (end["length"], end["sha256"]) == proof(read.text)
    assert {name: message[name] for name in end} == end
    assert read.elsewhere == 0 or client in KEEPS_DATA
    assert read.job.link.cuts == len(IN_FRAMES)
    assert end["status"] == ("CANCELLED" if answer == RUNNING else "DONE")
