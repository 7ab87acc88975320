"""Sharing in a real browser: by a link, which a clean profile opens, reads live, and loses."""

import time

import httpx2
import pytest
from playwright.sync_api import expect

from local.programs import Web
from tests.client import new_id
from tests.credentials import bearer, token
from tests.end_to_end import axe
from tests.end_to_end.browser import Meet, Tab, expect_loaded, text_of
from tests.end_to_end.questions import answer_text, gated, quick
from tests.rig import Rig
from tests.web.faces.test_tools import data_url, image, unique_png

pytestmark = pytest.mark.usefixtures("worker")

NOTHING = "Nothing is shared here, or not any more."
#: Seconds within which a revoked reader's stream has to end.
SOON = 2.0
#: Notes when a fetch of a stream ends.
WATCH = """
window.streams = [];
const plain = window.fetch;
window.fetch = async (...given) => {
  const response = await plain(...given);
  if (!String(given[0]).includes("/stream?")) return response;
  const [mine, theirs] = response.body.tee();
  const entry = {ended: null};
  window.streams.push(entry);
  (async () => {
    const reader = mine.getReader();
    try { while (!(await reader.read()).done); } catch {}
    entry.ended = performance.timeOrigin + performance.now();
  })();
  return new Response(theirs, {status: response.status, headers: response.headers});
};
"""


def test_a_link_is_made_read_live_and_revoked(meet: Meet, required_web: Web, rig: Rig) -> None:
    owner = meet(required_web, extra_http_headers=bearer(token(new_id()))).open()
    first, gate = quick("Because."), f"gate {new_id()}"
    second = gated("Once upon a time", gate, " the end")
    assert owner.answer_to(first) == answer_text(first)
    owner.press("Share")
    dialog = owner.page.locator("#sharing")
    owner.press("Create link", dialog)
    owner.press("Copy", dialog)
    owner.page.wait_for_function("() => window.copied !== null")
    link = str(owner.page.evaluate("window.copied"))
    owner.press("Close", dialog)

    reader = meet(required_web)
    reader.context.add_init_script(WATCH)
    shown = reader.open(link.removeprefix(required_web.url))
    assert shown.finished() == answer_text(first)
    for name in ("Retry", "Edit", "Send"):
        expect(shown.page.get_by_role("button", name=name, exact=True)).to_have_count(0)
    owner.ask(second)
    expect(shown.answers).to_have_count(2)
    shown.written()
    assert text_of(shown.answer) == "Once upon a time"
    secret = link.partition("#")[2]
    assert secret.startswith("ols_")
    assert not [url for url in reader.requests if secret in url.partition("#")[0]]

    owner.press("Share")
    since = time.time()
    owner.press("Revoke", dialog)
    expect(shown.page.get_by_role("alert")).to_contain_text("is not shared any more.")
    expect(shown.answers).to_have_count(0)
    ended = [one["ended"] for one in shown.page.evaluate("window.streams")]
    assert ended
    assert all(at is not None and at / 1000 - since < SOON for at in ended)
    shown.page.reload()
    expect(shown.page.get_by_role("alert")).to_contain_text(NOTHING)
    rig.scripted.release(gate)
    owner.press("Close", dialog)
    assert owner.finished() == answer_text(second)
    assert secret not in rig.logs()


def test_a_reader_by_a_link_sees_images(meet: Meet, required_web: Web) -> None:
    headers = bearer(token(new_id()))
    with httpx2.Client(base_url=required_web.url, headers=headers, verify=False) as owner:
        place = owner.post("/api/conversations", json={}).json()["id"]
        body = {"content": quick("Because."), "parts": [image(data_url(unique_png()))]}
        asked = owner.post(f"/api/conversations/{place}/messages", json=body)
        assert asked.status_code == 202, asked.text
        shared = owner.post(f"/api/conversations/{place}/shares", json={}).json()

    page = meet(required_web).open(f"/s#{shared['token']}").page

    expect_loaded(page.locator(".message.user img"))


def test_a_named_user_reads_on_a_page_of_its_own(meet: Meet, required_web: Web) -> None:
    name = new_id()
    theirs = meet(required_web, extra_http_headers=bearer(token(name)))
    theirs.open()
    owner = meet(required_web, extra_http_headers=bearer(token(new_id()))).open()
    question = quick("Because.")
    owner.answer_to(question)
    owner.press("Share")
    dialog = owner.page.locator("#sharing")
    owner.page.get_by_label("Who may read").select_option("One user")
    owner.page.locator("#share-user").fill(f"not {name}")
    owner.press("Share", dialog)
    expect(owner.page.locator("#sharing-notice")).to_contain_text("No other user has this name.")
    owner.page.locator("#share-user").fill(name)
    owner.page.locator("#share-user").press("Enter")
    expect(dialog.locator("li")).to_contain_text(f"With {name}")
    assert axe.serious(owner.page) == []
    path = owner.path.replace("/c/", "/s/")

    listed = theirs.open().page
    listed.get_by_role("link", name="Shared with you").click()
    listed.locator("#list a").click()
    listed.wait_for_url(f"**{path}")
    assert Tab(listed).finished() == answer_text(question)
    stranger = meet(required_web, extra_http_headers=bearer(token(new_id()))).open(path)
    expect(stranger.page.get_by_role("alert")).to_contain_text(NOTHING)
    nobody = meet(required_web).open(path)
    nobody.page.wait_for_url(f"**/sign-in?next={path.replace('/', '%2F')}")
    for broken in ("/s#ols_cut-off", "/s#no-secret"):
        tab = meet(required_web).open(broken)
        expect(tab.page.get_by_role("alert")).to_contain_text(NOTHING)
