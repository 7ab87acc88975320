"""What a question has besides text, on the page: only stored images are loaded."""

import pytest
from playwright.sync_api import expect

import scripted
from local.programs import Web
from tests.client import Client, new_id
from tests.end_to_end.browser import Meet, expect_loaded
from tests.end_to_end.questions import quick
from tests.web.faces.test_tools import TOOLS, data_url, image, unique_png

pytestmark = pytest.mark.usefixtures("worker")


def test_stored_images_are_shown_and_what_is_elsewhere_is_not_loaded(
    meet: Meet, web: Web, client: Client
) -> None:
    place, elsewhere = client.conversation(), "https://images.invalid/beacon.png"
    parts = [image(data_url(unique_png())), image(elsewhere)]
    parts.append({"type": "text", "text": quick("A dot.", new_id())})
    reply = client.http.post(f"/api/conversations/{place}/messages", json={"parts": parts})
    client.ended(reply.json()["assistant"]["id"])

    person = meet(web)  # who must not load anything from another server
    page = person.open(f"/c/{place}").page

    question = page.locator(".message.user")
    expect_loaded(question.locator("img"))
    expect(question.locator(".elsewhere")).to_have_text(f"Image: {elsewhere}")
    expect(question.get_by_role("button", name="Edit")).to_have_count(0)


def test_calls_and_their_results_can_be_unfolded(meet: Meet, web: Web, client: Client) -> None:
    place = client.conversation()
    called = scripted.tool_call("c1", "add", '{"a": 1}')
    after = [scripted.say("It is 3."), scripted.finish(), scripted.done()]
    steps = (called, scripted.finish("tool_calls"), scripted.done())
    question = scripted.script(*steps, after=after, tag=new_id())
    client.ended(client.ask(question, place, options={"tools": TOOLS}))
    results = [{"tool_call_id": "c1", "content": "<b>3</b>"}]
    path = f"/api/conversations/{place}/messages"
    reply = client.http.post(path, json={"tool_results": results})
    client.ended(reply.json()["assistant"]["id"])

    page = meet(web).open(f"/c/{place}").page

    expect(page.get_by_text("Called add")).to_be_visible()
    expect(page.locator(".message.assistant").last).to_contain_text("It is 3.")
    page.get_by_text("Result of c1").click()
    expect(page.locator(".tool_result pre")).to_have_text("<b>3</b>")
