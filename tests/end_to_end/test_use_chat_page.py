"""`useChat` in a React page in Chromium: the example of docs/use-chat.md, in strict mode.

The page is that of the document, bundled as it stands there; with `plain` its fetch is the
browser's. After each story the page shows the exact text of the question and of one answer.
"""

import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect
from rjsmin import jsmin

from local.processes import ROOT
from local.programs import Web, Worker
from scripted import done, finish, hold, say, script, tool_call, wrong_key
from tests.client import Client, new_id
from tests.cutting import CutPoint, CuttingProxy
from tests.end_to_end.browser import HIDE, SHOW
from tests.foreign import need_node, npm_packages
from tests.rig import PATIENCE, Rig, eventually
from tests.stories import NEVER

#: Everything that takes more than a byte, and what looks like a frame or like HTML.
TEXT: Final = '你好 👩‍👧 e\u0301 \u2028\n\n"data: \\n" id: 7 <b>&amp; '
OUTLIVE: Final = "  fetch: createOutliveFetch(), // may be left out: see below\n"
DOCUMENT: Final = '<!doctype html><div id="root"></div><script type="module" src="/{}.js"></script>'
SHOWN: Final = """() => [...document.querySelectorAll("[data-role]")]
  .map((one) => [one.dataset.role, one.textContent])"""


@pytest.fixture(scope="module")
def bundles() -> dict[str, str]:
    """The page's code with outlive-fetch.js, and without."""
    need_node(20)
    place = npm_packages(ROOT / "tests" / "clients", "clients", "use_chat_page.jsx")
    module = ROOT / "web" / "page" / "static" / "outlive-fetch.js"
    (place / module.name).write_bytes(module.read_bytes())
    [example] = re.findall(
        r"^```jsx\n(.*?)^```", (ROOT / "docs/use-chat.md").read_text(), re.DOTALL | re.MULTILINE
    )
    assert OUTLIVE in example
    plain = example.replace(OUTLIVE, "")
    return {"outlive": bundled(place, example), "plain": bundled(place, plain)}


def bundled(place: Path, example: str) -> str:
    (place / "example.jsx").write_text(example)
    words = ["node_modules/.bin/esbuild", "use_chat_page.jsx", "--bundle", "--format=esm"]
    more = ["--jsx=automatic", '--define:process.env.NODE_ENV="development"', "--log-level=error"]
    done = subprocess.run([*words, *more], cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@dataclass
class ChatPage:
    """A tab with the example."""

    page: Page
    mishaps: list[str]

    def ask(self, question: str) -> None:
        self.page.locator("[name=question]").fill(question)
        self.page.get_by_role("button", name="Send").click()

    def press(self, button: str) -> None:
        self.page.get_by_role("button", name=button).click()

    def is_(self, status: str) -> None:
        expect(self.page.locator("main")).to_have_attribute("data-status", status)

    def shows(self, text: str) -> None:
        """Wait until the answer begins with this."""
        last = '[...document.querySelectorAll("[data-role=assistant]")].at(-1)'
        self.page.wait_for_function(
            f"text => {last}?.textContent.startsWith(text)", arg=text, timeout=PATIENCE * 1000
        )

    @property
    def messages(self) -> list[list[str]]:
        return list(self.page.evaluate(SHOWN))

    @property
    def error(self) -> str | None:
        found = self.page.get_by_role("alert")
        return found.text_content() if found.count() else None


Open = Callable[..., ChatPage]


def serve(context: BrowserContext, address: str, body: str, content_type: str) -> None:
    """Answer requests of a browser for an address, as a page of the same origin as web."""

    def fulfil(route: Route) -> None:
        route.fulfill(body=body, content_type=content_type)

    context.route(address, fulfil)


@pytest.fixture
def open_chat(browser: Browser, web: Web, bundles: dict[str, str]) -> Iterator[Open]:
    """Open the example in a tab; no tab may have reported an error of the page."""
    contexts: list[BrowserContext] = []
    pages: list[ChatPage] = []

    def open_chat(chat: str, kind: str = "outlive", url: str = "") -> ChatPage:
        context = browser.new_context()
        contexts.append(context)
        for name, code in bundles.items():
            serve(context, f"**/{name}.js", code, "text/javascript")
            serve(context, f"**/{name}.html?*", DOCUMENT.format(name), "text/html; charset=utf-8")
        page = context.new_page()
        made = ChatPage(page, [])
        page.on("pageerror", lambda error: made.mishaps.append(str(error)))
        page.goto(f"{url or web.url}/{kind}.html?chat={chat}")
        expect(page.locator("main")).to_be_visible()
        pages.append(made)
        return made

    yield open_chat
    for context in contexts:
        context.close()
    assert [page.mishaps for page in pages] == [[] for _ in pages]


def test_an_answer_is_one_message_and_another_one_replaces_it(
    open_chat: Open, client: Client, rig: Rig, worker: Worker
) -> None:
    chat, question = f"page-{new_id()}", script(say(TEXT), finish(), done(), tag=new_id())
    page = open_chat(chat)

    page.ask(question)
    page.shows(TEXT)
    page.is_("ready")
    before = client.http.get(f"/api/chat/{chat}").json()["messages"][-1]["id"]
    page.press("Another answer")
    rig.scripted.wait_requests(2, contains=question)
    page.is_("ready")
    page.shows(TEXT)

    assert page.messages == [["user", question], ["assistant", TEXT]]
    assert client.http.get(f"/api/chat/{chat}").json()["messages"][-1]["id"] != before


@pytest.mark.parametrize("kind", ["outlive", "plain"])
def test_a_reload_and_a_second_tab_follow_the_same_answer(
    open_chat: Open, rig: Rig, worker: Worker, kind: str
) -> None:
    gate = f"page {new_id()}"
    question = script(say(TEXT), hold(gate), say("the rest"), finish(), done())
    page = open_chat(chat := f"page-{new_id()}", kind)
    page.ask(question)
    page.shows(TEXT)

    page.page.reload()
    page.shows(TEXT)
    page.is_("streaming")
    other = open_chat(chat, kind)
    other.shows(TEXT)
    page.page.wait_for_timeout(250)  # in which a stop would be sent: strict mode resumes twice
    rig.scripted.release(gate)
    for tab in (page, other):
        tab.shows(f"{TEXT}the rest")
        tab.is_("ready")
        assert tab.messages == [["user", question], ["assistant", f"{TEXT}the rest"]]
        assert tab.error is None
    assert len(rig.scripted.wait_requests(1, contains=question)) == 1


def test_a_broken_connection_is_resumed_when_the_tab_is_shown_again(
    open_chat: Open, web: Web, rig: Rig, worker: Worker
) -> None:
    """By useChat itself: the tab was hidden, and the answer has ended meanwhile."""
    gate = f"page {new_id()}"
    question = script(say(TEXT), hold(gate), say("the rest"), finish(), done())
    with CuttingProxy(web.url) as proxy:
        page = open_chat(chat := f"page-{new_id()}", "plain", proxy.url)
        page.page.wait_for_load_state("networkidle")  # strict mode resumes twice
        proxy.cut_next(CutPoint(b'"the r', 1, 3))
        page.ask(question)
        page.shows(TEXT)
        page.page.evaluate(HIDE)
        rig.scripted.release(gate)
        page.is_("error")
        with Client(web.url) as client:
            eventually(lambda: not client.http.get(f"/api/chat/{chat}").json()["active"])
        page.page.evaluate(SHOW)
        page.shows(f"{TEXT}the rest")
        page.is_("ready")

        assert page.messages == [["user", question], ["assistant", f"{TEXT}the rest"]]
        assert page.error is None


@pytest.mark.parametrize("hidden", [False, True])
def test_the_fetch_goes_on_without_an_error(
    open_chat: Open, web: Web, rig: Rig, worker: Worker, hidden: bool
) -> None:
    gate = f"page {new_id()}"
    text = TEXT * 20
    question = script(say(TEXT), hold(gate), say(text, rate=1_500), finish(), done())
    cuts = [CutPoint(b'"delta":', nth, 11) for nth in (3, 2, 1)]
    with CuttingProxy(web.url) as proxy:
        page = open_chat(f"page-{new_id()}", "outlive", proxy.url)
        page.page.wait_for_load_state("networkidle")
        proxy.cut_next(*cuts)
        page.ask(question)
        page.shows(TEXT)
        if hidden:
            page.page.evaluate(HIDE)
        rig.scripted.release(gate)
        eventually(lambda: proxy.cuts > 0)
        if hidden:
            page.is_("streaming")
            page.page.evaluate(SHOW)
        page.shows(f"{TEXT}{text}")
        page.is_("ready")

        assert page.messages == [["user", question], ["assistant", f"{TEXT}{text}"]]
        assert (page.error, proxy.cuts) == (None, len(cuts))
    assert len(rig.scripted.wait_requests(1, contains=question)) == 1


def test_stop_reaches_the_server(open_chat: Open, client: Client, worker: Worker) -> None:
    question = script(say("So far"), hold(NEVER), tag=new_id())
    page = open_chat(chat := f"page-{new_id()}")
    page.ask(question)
    page.shows("So far")

    page.press("Stop")

    page.is_("ready")
    answer = client.http.get(f"/api/chat/{chat}").json()["messages"][-1]["id"]
    assert client.ended(answer)["status"] == "CANCELLED"
    assert page.messages == [["user", question], ["assistant", "So far"]]


def test_an_answer_that_fails_says_why(open_chat: Open, client: Client, worker: Worker) -> None:
    page = open_chat(chat := f"page-{new_id()}")

    page.ask(script(wrong_key(), tag=new_id()))

    page.is_("error")
    answer = client.http.get(f"/api/chat/{chat}").json()["messages"][-1]["id"]
    assert page.error == client.message(answer)["error"]["message"]


def test_a_tool_of_the_page_runs_once_and_the_answer_goes_on(
    open_chat: Open, rig: Rig, worker: Worker
) -> None:
    question = script(
        say("Look: "), tool_call("c1", "clock", "{}"), finish("tool_calls"), done(),
        tag=new_id(), after=[say("It is late."), finish(), done()],
    )  # fmt: skip
    page = open_chat(f"page-{new_id()}")

    page.ask(question)
    page.shows("Look: It is late.")
    page.is_("ready")
    page.page.reload()
    page.shows("Look: It is late.")
    page.is_("ready")

    assert page.messages == [["user", question], ["assistant", "Look: It is late."]]
    assert len(rig.scripted.wait_requests(2, contains=question)) == 2


def test_every_deployment_serves_the_fetch(client: Client) -> None:
    found = client.http.get("/static/outlive-fetch.js")

    module = ROOT / "web" / "page" / "static" / "outlive-fetch.js"
    assert (found.status_code, found.text) == (200, jsmin(module.read_text()))
    assert found.headers["Content-Type"].startswith("text/javascript")
