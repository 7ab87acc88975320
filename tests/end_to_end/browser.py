"""A person at a real browser: asks, reads, presses buttons, leaves and returns."""

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
from tests.foreign import need
from tests.rig import PATIENCE

ARGUMENTS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
#: Keeps what the page copies, for tests to read.
CLIPBOARD = """
window.copied = null;
Object.defineProperty(navigator, "clipboard", {
  value: {writeText: async (text) => { window.copied = text; }},
});
"""
#: Make a page hidden from its beginning, hide it, and show it again. (In headless Chromium every
#: tab is visible.)
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
#: A message's text: the source of its finished blocks, and the visible text of its open block.
TEXT = """node => (node.source ?? node.querySelector(".part").textContent)
  + [...node.querySelectorAll(".text .block.open")].map(open => open.innerText).join("")"""

expect.set_options(timeout=PATIENCE * 1000)


@contextmanager
def launched() -> Iterator[Browser]:
    """Chromium. Without one the test is skipped, but in CI it fails."""
    if chromium.find() is None:
        reason = "no Chromium here (Debian, Ubuntu: apt install chromium)"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    with sync_playwright() as playwright:
        browser = launch(playwright.chromium)
        yield browser
        browser.close()


@contextmanager
def firefox() -> Iterator[Browser]:
    """Debian's Firefox, which Playwright drives by WebDriver BiDi; missing in CI it is a failure.

    There it has no frozen pages, no `set_offline`, no `color_scheme` and no `is_mobile`.
    """
    path = need("firefox-esr")
    with sync_playwright() as playwright:
        browser = playwright.firefox.launch(
            channel="moz-firefox", executable_path=path, timeout=PATIENCE * 1000
        )
        yield browser
        browser.close()


def launch(kind: BrowserType, *arguments: str, **options: Any) -> Browser:
    """Start a browser; `arguments` are for the browser, `options` for Playwright."""
    root = ["--no-sandbox"] if os.geteuid() == 0 else []
    return kind.launch(
        executable_path=chromium.find(),
        args=[*root, *ARGUMENTS, *arguments],
        timeout=PATIENCE * 1000,
        **options,
    )


@dataclass
class Person:
    """One profile of a browser, and a record of everything that must not happen in it."""

    context: BrowserContext
    url: str
    mishaps: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)
    #: event streams that are open or being opened, each with its page; and the most at one time
    open_streams: dict[Request, Page] = field(default_factory=dict)
    most_streams: int = 0

    @property
    def streams(self) -> int:
        """How often an answer's stream was requested."""
        return sum("/stream?" in url for url in self.requests)

    @classmethod
    def of(cls, browser: Browser, url: str, **options: Any) -> Self:
        """A new profile for the service at `url`."""
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
        context.on("console", lambda message: person.logged(message.text))
        context.on("dialog", person.was_asked)
        return person

    def saw(self, url: str) -> None:
        """Record a request; one to another server is a mishap."""
        if not url.startswith((self.url, "data:")):
            self.mishaps.append(url)
        self.requests.append(url)

    def began(self, request: Request) -> None:
        """A request has begun."""
        if request.resource_type == "eventsource":
            self.open_streams[request] = request.frame.page
            self.most_streams = max(self.most_streams, len(self.open_streams))

    def ended(self, request: Request) -> None:
        """A request has ended."""
        self.open_streams.pop(request, None)

    def opened(self, page: Page) -> None:
        """A tab was opened. When it closes its streams end, which Playwright does not report."""
        page.on("close", self.left)
        page.on("crash", self.left)

    def left(self, page: Page) -> None:
        """A tab was closed."""
        self.open_streams = {one: its for one, its in self.open_streams.items() if its != page}

    def was_asked(self, dialog: Dialog) -> None:
        """A dialog is a mishap: the page has none."""
        self.mishaps.append(dialog.message)
        dialog.dismiss()

    def logged(self, text: str) -> None:
        """A line in the console is a mishap, unless it reports a lost connection."""
        if "Failed to load resource" not in text and "net::ERR" not in text:
            self.mishaps.append(text)

    def open(self, path: str = "/", *, hidden: bool = False) -> "Tab":
        """Open a new tab; `hidden`: in the background, as by Ctrl and a click."""
        page = self.context.new_page()
        if hidden:
            page.add_init_script(HIDDEN)
        page.goto(self.url + path)
        return Tab(page)


@dataclass
class Tab:
    """One tab of the page, as a person uses it."""

    page: Page

    @property
    def path(self) -> str:
        """The path of its address."""
        return re.sub(r"^\w+://[^/]+", "", self.page.url)

    def ask(self, question: str) -> None:
        """Type a question and press Enter."""
        self.page.locator("#question").fill(question)
        self.page.locator("#question").press("Enter")

    def answer_to(self, question: str) -> str:
        """Ask, wait for the end, and return the answer's text."""
        before = self.answers.count()
        self.ask(question)
        expect(self.answers).to_have_count(before + 1)
        return self.finished()

    def press(self, name: str, within: Locator | None = None) -> None:
        """Press the button with this name."""
        (within or self.page).get_by_role("button", name=name, exact=True).click()

    @property
    def questions(self) -> Locator:
        """The questions on this branch."""
        return self.page.locator(".message.user:visible")

    @property
    def answers(self) -> Locator:
        """The answers on this branch."""
        return self.page.locator(".message.assistant:visible")

    @property
    def answer(self) -> Locator:
        """The last answer."""
        return self.answers.last

    def mark(self, conversation: str) -> Locator:
        """A conversation's mark in the list."""
        return self.page.locator(f"[data-conversation='{conversation}'] .mark")

    def written(self, characters: int = 1, seconds: float = PATIENCE) -> str:
        """The last answer's text once this many characters of it are shown."""
        self.answer.wait_for()
        self.page.wait_for_function(
            "least => [...document.querySelectorAll('.assistant')].at(-1)?.dataset.length >= least",
            arg=characters,
            timeout=seconds * 1000,
        )
        expect(self.answer.locator(".part").first).not_to_be_empty()
        return text_of(self.answer)

    def finished(self, status: str = "DONE") -> str:
        """The last answer's text once it has ended with this status and its proof holds."""
        expect(self.answer).to_have_attribute("data-status", status)
        expect(self.answer).to_have_attribute("data-proof", "ok")
        return text_of(self.answer)

    def copied(self, message: Locator) -> str:
        """What the message's Copy button copies."""
        self.press("Copy", message)
        self.page.wait_for_function("() => window.copied !== null")
        return str(self.page.evaluate("[window.copied, window.copied = null][0]"))

    def close(self) -> None:
        """Close the tab as a person does, without asking the page."""
        self.page.close()


def text_of(message: Locator) -> str:
    """A message's text."""
    return str(message.evaluate(TEXT))


def expect_loaded(image: Locator) -> None:
    """Wait until there is one such image, loaded, and a pixel wide."""
    expect(image).to_have_count(1)
    expect(image).to_have_js_property("complete", True)
    expect(image).to_have_js_property("naturalWidth", 1)


def drawn(message: Locator) -> str:
    """The HTML of all blocks of a message."""
    inside = 'node => [...node.querySelectorAll(".block")].map(one => one.innerHTML).join("")'
    return str(message.evaluate(inside))


def held(page: Page, urls: str) -> list[Route]:
    """Hold the page's requests to these URLs; a test continues or aborts them."""
    routes: list[Route] = []

    def hold(route: Route) -> None:
        routes.append(route)

    page.route(urls, hold)
    return routes


#: Makes a person at a web master, or at a proxy before one.
Meet = Callable[..., Person]
