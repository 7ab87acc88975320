"""AG-UI's `HttpAgent` in a React page in Chromium: the example of docs/ag-ui.md, in strict mode."""

import re
import subprocess
from collections.abc import Callable, Iterator
from typing import Final

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Route, expect

from local.processes import ROOT
from local.programs import Web, Worker
from scripted import done, finish, hold, say, script, wrong_key
from tests.client import Client, new_id
from tests.cutting import CutPoint, CuttingProxy
from tests.foreign import need_node, npm_packages
from tests.rig import PATIENCE, Rig
from tests.stories import NEVER

#: Everything that takes more than a byte, and what looks like a frame or like HTML.
TEXT: Final = '你好 👩\u200d👧 e\u0301 \u2028\n\n"data: \\n" id: 7 <b>&amp; '
DOCUMENT: Final = (
    '<!doctype html><div id="root"></div><script type="module" src="/agent.js"></script>'
)
SHOWN: Final = """() => [...document.querySelectorAll("[data-role]")]
  .map((one) => [one.dataset.role, one.textContent])"""

#: Opens the example in a tab, for a thread.
Open = Callable[..., Page]


@pytest.fixture(scope="module")
def bundle() -> str:
    """The page's code."""
    need_node(20)
    place = npm_packages(ROOT / "tests" / "clients", "clients", "ag_ui_page.jsx")
    [example] = re.findall(
        r"^```jsx\n(.*?)^```", (ROOT / "docs/ag-ui.md").read_text(), re.DOTALL | re.MULTILINE
    )
    (place / "ag_ui_example.jsx").write_text(example)
    words = ["node_modules/.bin/esbuild", "ag_ui_page.jsx", "--bundle", "--format=esm"]
    more = ["--jsx=automatic", '--define:process.env.NODE_ENV="development"', "--log-level=error"]
    done = subprocess.run([*words, *more], cwd=place, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def serve(context: BrowserContext, address: str, body: str, content_type: str) -> None:
    """Answer requests of a browser for an address, as a page of the same origin as web."""

    def fulfil(route: Route) -> None:
        route.fulfill(body=body, content_type=content_type)

    context.route(address, fulfil)


@pytest.fixture
def open_page(browser: Browser, web: Web, bundle: str) -> Iterator[Open]:
    """Open the example; no tab may have reported an error of the page, or a warning."""
    contexts: list[BrowserContext] = []
    mishaps: list[str] = []

    def failed(error: object) -> None:
        if str(error) != "network error":  # which HttpAgent leaks, besides what it rejects
            mishaps.append(str(error))

    def warned(said: ConsoleMessage) -> None:
        if said.type == "warning":
            mishaps.append(said.text)

    def open_page(thread: str, url: str = "") -> Page:
        context = browser.new_context()
        contexts.append(context)
        serve(context, "**/agent.js", bundle, "text/javascript")
        serve(context, "**/agent.html?*", DOCUMENT, "text/html; charset=utf-8")
        page = context.new_page()
        page.on("pageerror", failed)
        page.on("console", warned)
        page.goto(f"{url or web.url}/agent.html?thread={thread}")
        expect(page.locator("main")).not_to_have_attribute("data-status", "loading")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert mishaps == []


def ask(page: Page, question: str) -> None:
    page.locator("[name=question]").fill(question)
    page.get_by_role("button", name="Send").click()


def shows(page: Page, text: str) -> None:
    """Wait until the last answer is this so far."""
    last = '[...document.querySelectorAll("[data-role=assistant]")].at(-1)'
    page.wait_for_function(
        f"text => {last}?.textContent === text", arg=text, timeout=PATIENCE * 1000
    )


def is_ready(page: Page) -> None:
    expect(page.locator("main")).to_have_attribute("data-status", "ready")


def test_a_reload_and_a_second_tab_follow_the_same_answer(
    open_page: Open, rig: Rig, worker: Worker
) -> None:
    gate, thread = new_id(), f"page-{new_id()}"
    question = script(say(TEXT), hold(gate), say("the rest"), finish(), done())
    page = open_page(thread)
    ask(page, question)
    shows(page, TEXT)

    page.reload()
    shows(page, TEXT)
    other = open_page(thread)
    shows(other, TEXT)
    rig.scripted.release(gate)

    for tab in (page, other):
        shows(tab, f"{TEXT}the rest")
        is_ready(tab)
        assert tab.evaluate(SHOWN) == [["user", question], ["assistant", f"{TEXT}the rest"]]
    assert len(rig.scripted.requests(contains=question)) == 1
    # The conversation goes on from there.
    following = script(say("More."), finish(), done(), tag=new_id())
    ask(other, following)
    shows(other, "More.")
    is_ready(other)
    [record] = rig.scripted.requests(contains=following)
    assert record.request is not None
    assert [one["content"] for one in record.request["messages"]] == [
        question,
        f"{TEXT}the rest",
        following,
    ]


def test_a_connection_that_breaks_is_no_error(
    open_page: Open, web: Web, rig: Rig, worker: Worker
) -> None:
    gate = new_id()
    question = script(say(TEXT), hold(gate), say("the rest"), finish(), done())
    with CuttingProxy(web.url) as proxy:
        page = open_page(f"page-{new_id()}", proxy.url)
        proxy.cut_next(CutPoint(b'"delta":', 1, 3), CutPoint(b'"the r', 1, 3))
        ask(page, question)
        rig.scripted.wait_held(gate)
        rig.scripted.release(gate)
        shows(page, f"{TEXT}the rest")
        is_ready(page)

        assert page.evaluate(SHOWN) == [["user", question], ["assistant", f"{TEXT}the rest"]]
        assert page.get_by_role("alert").count() == 0
        assert proxy.cuts > 0
    assert len(rig.scripted.requests(contains=question)) == 1


def test_stop_reaches_the_server_and_a_failure_the_reader(
    open_page: Open, client: Client, worker: Worker
) -> None:
    page = open_page(thread := f"page-{new_id()}")
    ask(page, script(say("So far"), hold(NEVER), tag=new_id()))
    shows(page, "So far")

    page.get_by_role("button", name="Stop").click()

    is_ready(page)
    answer = client.http.get("/ag-ui", params={"threadId": thread}).json()["messages"][-1]["id"]
    assert client.message(answer)["status"] == "CANCELLED"
    ask(page, script(wrong_key(), tag=new_id()))
    expect(page.get_by_role("alert")).to_have_text("The model's provider refused the API key.")
    is_ready(page)
