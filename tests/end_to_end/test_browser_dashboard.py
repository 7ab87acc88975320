"""The operators' dashboard in a real Chromium."""

import re

import pytest
from playwright.sync_api import expect

import scripted
from local.programs import Web
from tests.client import Client
from tests.end_to_end import axe
from tests.end_to_end.browser import Meet
from tests.end_to_end.questions import gated
from tests.rig import Rig

pytestmark = pytest.mark.usefixtures("worker")


def test_dashboard_shows_running_answers_their_readers_and_the_last_errors(
    rig: Rig, meet: Meet, web: Web, client: Client
) -> None:
    held = [client.ask(gated(f"Number {n}. " * 9, "dashboard", ".")) for n in range(3)]
    for answer in held:
        client.shown(answer)
    failed = client.ask(scripted.script(scripted.say("Half"), scripted.cut()))
    client.ended(failed)
    assert client.http.get("/api/messages/banana").status_code == 404
    person = meet(web, viewport={"width": 1100, "height": 800})
    reader = person.open(f"/c/{client.message(held[0])['conversation_id']}")
    reader.written()

    page = person.open("/live").page
    running = page.locator("#running tbody tr")

    mine = running.filter(has=page.get_by_title(held[0])).get_by_role("cell")
    expect(mine.nth(4)).to_have_text("90")  # characters
    expect(mine.nth(6)).to_have_text("1")  # readers
    expect(page.locator("#errors tbody tr").filter(has=page.get_by_title(failed))).to_contain_text(
        "provider_cut"
    )
    cause = page.locator("#causes li").filter(has_text="provider_cut")
    expect(cause).to_have_text(re.compile(r"^provider_cut [1-9]\d*$"))
    place = client.message(failed)["conversation_id"]
    expect(page.locator("#errors").get_by_role("link", name=failed[:8])).to_have_attribute(
        "href", f"/c/{place}?leaf={failed}"
    )
    expect(page.locator("#refused li").filter(has_text="not_found")).to_be_visible()
    expect(page.locator(".chart[data-name=running] .line")).to_have_attribute("d", re.compile("^M"))
    expect(page.locator(".chart")).to_have_count(5)
    assert axe.serious(page) == []
    rig.scripted.release("dashboard")
    for answer in held:
        expect(running.filter(has=page.get_by_title(answer))).to_have_count(0)
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == 390
