"""A person at a real browser: asks, reads, presses, goes away and comes back."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    BrowserType,
    Dialog,
    Locator,
    Page,
    Request,
    Route,
    expect,
    sync_playwright,
)

from local import chromium
from tests.rig import PATIENCE

ARGUMENTS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
#: What a page would copy, kept where a test can read it.
CLIPBOARD = """
window.copied = null;
Object.defineProperty(navigator, "clipboard", {
  value: {writeText: async (text) => { window.copied = text; }},
});
"""
#: What a page sees that nobody looks at; when somebody looks at another tab, and again at this one.
#: (A Chromium without a screen calls every tab visible.)
HIDDEN = """
Object.defineProperty(document, "hidden", {value: true, configurable: true});
Object.defineProperty(document, "visibilityState", {value: "hidden", configurable: true});
"""
HIDE = f"{HIDDEN} document.dispatchEvent(new Event('visibilitychange'));"
SHOW = """
delete document.hidden;
delete document.visibilityState;
document.dispatchEvent(new Event('visibilitychange'));
"""
#: What a message says: the source of what is finished, and what is seen of the block being written.
TEXT = """node => (node.source ?? node.querySelector(".part").textContent)
  + [...node.querySelectorAll(".text .block.open")].map(open => open.innerText).join("")"""

expect.set_options(timeout=PATIENCE * 1000)


@contextmanager
def launched() -> Iterator[Browser]:
    """Chromium; without one the test is skipped, except where nobody would notice."""
    if chromium.find() is None:
        reason = "no Chromium here (Debian, Ubuntu: apt install chromium)"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    with sync_playwright() as playwright:
        browser = launch(playwright.chromium)
        yield browser
        browser.close()


def launch(kind: BrowserType, *arguments: str, **options: Any) -> Browser:
    """A browser of this kind; `arguments` are its own, `options` are Playwright's."""
    root = ["--no-sandbox"] if os.geteuid() == 0 else []
    return kind.launch(
        executable_path=chromium.find(),
        args=[*root, *ARGUMENTS, *arguments],
        timeout=PATIENCE * 1000,
        **options,
    )


@dataclass
class Person:
    """One profile of a browser, and everything in it that should never have happened."""

    context: BrowserContext
    url: str
    mishaps: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    #: event streams that the browser wants or has now, each with its page, and the most that it
    #: ever had at a time
    open_streams: dict[Request, Page] = field(default_factory=dict)
    most_streams: int = 0

    @property
    def streams(self) -> int:
        """How often an answer's stream was asked for."""
        return sum("/stream?" in url for url in self.requests)

    @classmethod
    def of(cls, browser: Browser, url: str, **options: Any) -> Self:
        """A new profile, looking at the service at `url`."""
        options = {"viewport": {"width": 900, "height": 700}} | options
        context = browser.new_context(**options)
        context.set_default_timeout(PATIENCE * 1000)
        context.add_init_script(CLIPBOARD)
        person = cls(context, url)
        context.on("request", lambda request: person.saw(request.url))
        context.on("request", person.began)
        context.on("requestfinished", person.ended)
        context.on("requestfailed", person.ended)
        context.on("page", person.opened)
        context.on("weberror", lambda error: person.mishaps.append(str(error.error)))
        context.on("console", lambda message: person.heard(message.text))
        context.on("dialog", person.was_asked)
        return person

    def saw(self, url: str) -> None:
        """A request: to us, or it is a mishap."""
        if not url.startswith((self.url, "data:")):
            self.mishaps.append(url)
        self.requests.append(url)

    def began(self, request: Request) -> None:
        """A request on its way."""
        if request.resource_type == "eventsource":
            self.open_streams[request] = request.frame.page
            self.most_streams = max(self.most_streams, len(self.open_streams))

    def ended(self, request: Request) -> None:
        """A request that is over."""
        self.open_streams.pop(request, None)

    def opened(self, page: Page) -> None:
        """A tab: what it holds ends with it, and nobody reports that."""
        page.on("close", self.left)
        page.on("crash", self.left)

    def left(self, page: Page) -> None:
        """A tab that is gone."""
        self.open_streams = {one: its for one, its in self.open_streams.items() if its != page}

    def was_asked(self, dialog: Dialog) -> None:
        """A dialog of the browser: the page has none."""
        self.mishaps.append(dialog.message)
        dialog.dismiss()

    def heard(self, text: str) -> None:
        """A line in the console; a lost connection is no mishap."""
        if "Failed to load resource" not in text and "net::ERR" not in text:
            self.mishaps.append(text)

    def open(self, path: str = "/", *, hidden: bool = False) -> "Tab":
        """A new tab; hidden: in the background, as by Ctrl and a click."""
        page = self.context.new_page()
        if hidden:
            page.add_init_script(HIDDEN)
        page.goto(self.url + path)
        return Tab(page)


@dataclass
class Tab:
    """The page, in the words of who uses it."""

    page: Page

    @property
    def path(self) -> str:
        """Where it is: what a bookmark would keep."""
        return re.sub(r"^\w+://[^/]+", "", self.page.url)

    def ask(self, question: str) -> None:
        """Type it, press Enter."""
        self.page.locator("#question").fill(question)
        self.page.locator("#question").press("Enter")

    def answer_to(self, question: str) -> str:
        """Ask, and read the whole answer."""
        before = self.answers.count()
        self.ask(question)
        expect(self.answers).to_have_count(before + 1)
        return self.finished()

    def press(self, name: str, within: Locator | None = None) -> None:
        """Press the button of that name."""
        (within or self.page).get_by_role("button", name=name, exact=True).click()

    @property
    def questions(self) -> Locator:
        """What was asked, on this branch."""
        return self.page.locator(".message.user:visible")

    @property
    def answers(self) -> Locator:
        """The answers, on this branch."""
        return self.page.locator(".message.assistant:visible")

    @property
    def answer(self) -> Locator:
        """The last answer."""
        return self.answers.last

    def mark(self, conversation: str) -> Locator:
        """What the list says about a conversation, if anything."""
        return self.page.locator(f"[data-conversation='{conversation}'] .mark")

    def written(self, characters: int = 1, seconds: float = PATIENCE) -> str:
        """The last answer's text, once so much of it is shown."""
        self.answer.wait_for()
        self.page.wait_for_function(
            "least => [...document.querySelectorAll('.assistant')].at(-1)?.dataset.length >= least",
            arg=characters,
            timeout=seconds * 1000,
        )
        expect(self.answer.locator(".part").first).not_to_be_empty()
        return text_of(self.answer)

    def finished(self, status: str = "DONE") -> str:
        """The last answer's text once it has ended so, every character of it proven."""
        expect(self.answer).to_have_attribute("data-status", status)
        expect(self.answer).to_have_attribute("data-proof", "ok")
        return text_of(self.answer)

    def copied(self, message: Locator) -> str:
        """What its Copy button copies."""
        self.press("Copy", message)
        self.page.wait_for_function("() => window.copied !== null")
        return str(self.page.evaluate("[window.copied, window.copied = null][0]"))

    def close(self) -> None:
        """As a person does: the page is not asked."""
        self.page.close()


def text_of(message: Locator) -> str:
    """What it says, as it was written."""
    return str(message.evaluate(TEXT))


def drawn(message: Locator) -> str:
    """What the page has made of it: every block's elements."""
    inside = 'node => [...node.querySelectorAll(".block")].map(one => one.innerHTML).join("")'
    return str(message.evaluate(inside))


def held(page: Page, urls: str) -> list[Route]:
    """The page's requests to such addresses, which get nowhere by themselves."""
    routes: list[Route] = []

    def hold(route: Route) -> None:
        routes.append(route)

    page.route(urls, hold)
    return routes


#: Makes a person who looks at a web master, or at it through a road.
Meet = Callable[..., Person]
