"""What a question has besides text, on the page: how it gets in, and that only stored images are
loaded."""

from typing import Any

import pytest
from playwright.sync_api import FilePayload, expect

import scripted
from local.programs import Web
from tests.client import Client, new_id
from tests.end_to_end import axe
from tests.end_to_end.browser import Meet, expect_loaded
from tests.end_to_end.questions import quick
from tests.web.faces.test_tools import TOOLS, data_url, image, unique_png

pytestmark = pytest.mark.usefixtures("worker")

#: Gives files to the page as a paste or a drop does.
GIVE = """([kind, target, bytes, name, type]) => {
  const data = new DataTransfer();
  data.items.add(new File([new Uint8Array(bytes)], name, {type}));
  const init = {bubbles: true, cancelable: true, clipboardData: data, dataTransfer: data};
  const event = kind === "paste" ? new ClipboardEvent(kind, init) : new DragEvent(kind, init);
  document.querySelector(target).dispatchEvent(event);
}"""
#: A photograph that has to be made smaller.
PHOTO = """async () => {
  const canvas = Object.assign(document.createElement("canvas"), {width: 3000, height: 1500});
  const drawn = canvas.getContext("2d");
  const noise = drawn.createImageData(3000, 1500);
  noise.data.forEach((_, n) => (noise.data[n] = n % 4 === 3 ? 255 : Math.random() * 60));
  drawn.putImageData(noise, 0, 0);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  const data = new DataTransfer();
  data.items.add(new File([blob], "photo.png", {type: "image/png"}));
  const files = document.getElementById("files");
  files.files = data.files;
  files.dispatchEvent(new Event("change"));
  return blob.size;
}"""
LOADED = "one => one.complete && one.naturalWidth"
EVERY_IMAGE_LOADED = f"() => [...document.querySelectorAll('img.sent')].every({LOADED})"


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
    expect(question.get_by_role("button", name="Edit")).to_have_count(1)


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


def test_files_are_added_kept_sent_and_carried_by_an_edit(
    meet: Meet, web: Web, client: Client
) -> None:
    place = client.conversation()
    tab = meet(web).open(f"/c/{place}")
    page, tray = tab.page, tab.page.locator("#tray li")
    page.locator("#question").wait_for()

    # The button, a paste, a drop; what cannot be sent is said.
    send = page.locator("#send")
    quiet = send.evaluate("one => getComputedStyle(one).backgroundColor")
    page.locator("#files").set_input_files(_dot())
    expect(tray).to_have_count(1)
    expect(send).not_to_have_css("background-color", quiet)  # files alone can be sent
    page.evaluate(GIVE, ["paste", "#question", list(unique_png()), "pasted.png", "image/png"])
    expect(tray).to_have_count(2)
    page.evaluate(GIVE, ["drop", "main", list(b"Some notes."), "notes.md", ""])
    expect(tray).to_have_count(3)
    page.evaluate(GIVE, ["drop", "main", list(b"PK"), "tool.exe", "application/x-msdownload"])
    expect(page.locator("#notice")).to_have_text(
        "tool.exe: only images, PDF and plain text can be sent."
    )
    assert page.evaluate(PHOTO) > 2_500_000
    expect(tray).to_have_count(4)
    assert axe.serious(page) == []

    # Nothing is lost by a reload; what is not wanted is removed.
    page.locator("#question").fill(quick("Seen.", tag=new_id()))
    page.reload()
    expect(tray).to_have_count(4)
    page.get_by_role("button", name="Remove pasted.png").click()
    expect(tray).to_have_count(3)

    tab.press("Send")
    tab.finished()
    expect(tray).to_have_count(0)
    question = page.locator(".message.user").last
    expect(question.locator("img.sent")).to_have_count(2)
    expect(question.get_by_role("link", name="notes.md")).to_be_visible()
    page.wait_for_function(EVERY_IMAGE_LOADED)
    sent = _question(client, place)
    assert [one["kind"] for one in sent] == ["text", "image", "file", "image"]
    assert sent[2]["meta"]["filename"] == "notes.md"
    assert sent[3]["meta"]["bytes"] < 2_500_000

    # An edited question has the same files, which are stored once.
    question.get_by_role("button", name="Edit").click()
    expect(question.locator("img.sent").first).to_be_visible()
    page.get_by_label("Edit your question").fill(quick("Again.", tag=new_id()))
    tab.press("Send", question)
    expect(page.locator(".assistant").last).to_contain_text("Again.")
    tab.finished()
    again = _question(client, place)
    assert [one["text"] for one in again[1:]] == [one["text"] for one in sent[1:]]


def test_question_that_is_refused_gives_its_files_back(
    meet: Meet, web: Web, client: Client
) -> None:
    place = client.conversation()
    tab = meet(web).open(f"/c/{place}")
    page = tab.page
    page.locator("#files").set_input_files(_dot())
    expect(page.locator("#tray li")).to_have_count(1)
    refusal = {"code": "invalid_content", "detail": "Not this one.", "status": 422, "title": "No"}
    page.route("**/messages", lambda route: route.fulfill(status=422, json=refusal))

    tab.press("Send")

    expect(page.locator("#notice")).to_have_text("Not this one.")
    expect(page.locator("#tray li")).to_have_count(1)


def _dot() -> FilePayload:
    """An image of one pixel, as a person chooses it."""
    return {"name": "dot.png", "mimeType": "image/png", "buffer": unique_png()}


def _question(client: Client, conversation: str) -> list[dict[str, Any]]:
    """The parts of the last question of a conversation."""
    found = client.http.get(f"/api/conversations/{conversation}").json()["messages"]
    parts: list[dict[str, Any]] = found[-2]["parts"]
    return parts
