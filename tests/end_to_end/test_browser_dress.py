"""An operator's dress of the page, and the page in a frame of theirs."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from playwright.sync_api import expect

from local.programs import Web
from tests.client import Client
from tests.end_to_end.browser import Meet
from tests.end_to_end.other_site import other_site
from tests.end_to_end.questions import quick
from tests.rig import Rig

pytestmark = pytest.mark.usefixtures("worker")

#: Whose pages may have it in a frame.
PARENT = "https://app.example.org"
LOGO = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 9 9"><circle cx="4" cy="4" r="4"/></svg>'
)
#: Another port, another origin. (Frames of another site are processes of their own, in which this
#: Chromium starts no scripts for Playwright.)
NEAR = "127.0.0.1"
#: A page that has the one after `#` in a frame.
AROUND = """<!doctype html><title>Around</title><body><script>
const frame = document.createElement("iframe");
Object.assign(frame, {src: location.hash.slice(1), width: 860, height: 600});
document.body.append(frame);
</script>"""


@pytest.fixture(scope="module")
def listed() -> Iterator[str]:
    """A page of a listed origin."""
    with other_site(AROUND, NEAR) as url:
        yield url


@pytest.fixture(scope="module")
def dressed(rig: Rig, listed: str) -> Web:
    logo = Path(rig.home) / "logo.svg"
    logo.write_text(LOGO)
    return rig.web(
        OUTLIVE_NAME="Acme & <Sons>",
        OUTLIVE_LOGO=str(logo),
        OUTLIVE_COLORS="#0b3d91,#9dbcff",
        OUTLIVE_INSTRUCTIONS='Be brief, and "kind".',
        OUTLIVE_SUGGESTIONS="What is <new>?|And what is old?",
        OUTLIVE_FRAME_ORIGINS=f"{PARENT},{listed.rstrip('/')}",
    )


def test_the_page_wears_the_operators_dress(meet: Meet, dressed: Web) -> None:
    tab = meet(dressed).open()
    page = tab.page

    expect(page).to_have_title(re.compile(r"^(\(\d+\) )?Acme & <Sons>$"))  # what others left
    expect(page.locator(".brand")).to_have_text("Acme & <Sons>")
    assert page.locator(".brand img").evaluate("one => one.decode().then(() => true)")
    page.locator("#question").fill("Without a question the button is pale.")
    expect(page.locator("#send")).to_have_css("background-color", "rgb(11, 61, 145)")
    page.emulate_media(color_scheme="dark")
    expect(page.locator("#send")).to_have_css("background-color", "rgb(157, 188, 255)")
    expect(page.locator("#ideas button")).to_have_count(2)
    tab.press("Instructions")
    expect(page.locator("#system-text")).to_have_value('Be brief, and "kind".')
    tab.press("Cancel")
    tab.press("What is <new>?")
    expect(page.locator("#question")).to_have_value("What is <new>?")
    tab.ask(quick("Soon."))
    assert tab.finished() == "Soon."
    with Client(dressed.url) as client:
        found = client.http.get(f"/api/conversations/{tab.path.removeprefix('/c/')}").json()
        assert found["system"] == 'Be brief, and "kind".'
        assert client.http.get("/manifest.webmanifest").json()["name"] == "Acme & <Sons>"


def test_only_a_listed_origin_may_have_the_page_in_a_frame(dressed: Web, listed: str) -> None:
    def framed_by(path: str) -> str:
        policy = httpx2.get(dressed.url + path).headers["Content-Security-Policy"]
        return str(policy.partition("frame-ancestors ")[2].partition(";")[0])

    assert framed_by("/") == f"{listed.rstrip('/')} {PARENT}"
    assert [framed_by(path) for path in ("/live", "/s", "/api/docs", "/api/usage")] == [
        "'none'"
    ] * 4


def test_what_pages_ask_for_stays_closed_to_frames(dressed: Web, web: Web) -> None:
    framed = {
        "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"
    }  # fmt: skip

    def status(web: Web, path: str, **more: str) -> int:
        return httpx2.get(web.url + path, headers={**framed, **more}).status_code

    assert status(dressed, "/") == 200
    assert [status(dressed, path) for path in ("/live", "/api/usage", "/api/docs")] == [403] * 3
    assert status(dressed, "/", **{"Sec-Fetch-Mode": "cors"}) == 403
    assert status(web, "/") == 403
    plain = httpx2.get(web.url + "/").headers["Content-Security-Policy"]
    assert "frame-ancestors 'none';" in plain


def test_the_page_works_in_a_frame_of_a_listed_site_and_no_other_has_it(
    meet: Meet, dressed: Web, listed: str
) -> None:
    person = meet(dressed)
    person.url = "http://"  # the pages around it are of other servers
    page = person.context.new_page()
    page.goto(f"{listed}#{dressed.url}/")
    frame = page.frame_locator("iframe")
    question, answer = frame.locator("#question"), frame.locator(".message.assistant")
    question.fill(quick("In a frame."))
    question.press("Enter")
    expect(answer).to_have_attribute("data-proof", "ok")
    expect(answer.locator(".body")).to_have_text("In a frame.")

    # the page around it begins anew, and the conversation is in the list
    page.reload()
    expect(question).to_be_visible()
    expect(answer).to_have_count(0)
    frame.locator("[data-conversation]").first.click()
    expect(answer.locator(".body")).to_have_text("In a frame.")
    assert person.mishaps == []

    with other_site(AROUND, NEAR) as foreign:
        page.goto(f"{foreign}#{dressed.url}/")
        expect(page.locator("iframe")).to_be_attached()
        expect(question).to_have_count(0)
    assert any("frame-ancestors" in said for said in person.mishaps)
    person.mishaps.clear()
