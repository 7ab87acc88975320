"""Nothing typed is lost: what is being typed, wherever, survives whatever happens to its page."""

import re

import pytest
from playwright.sync_api import Page, expect

import scripted
from local.programs import Web
from tests.client import Client
from tests.end_to_end.browser import Meet, Tab
from tests.end_to_end.questions import quick
from tests.rig import Rig

pytestmark = pytest.mark.usefixtures("worker")


def instructions(page: Page) -> str:
    """Open the dialog, and read it."""
    page.get_by_role("button", name="Instructions").click()
    return page.locator("#system-text").input_value()


def edit(tab: Tab, text: str, question: int = 0) -> None:
    """Open the editor of a question, and type."""
    tab.questions.nth(question).hover()
    tab.press("Edit", tab.questions.nth(question))
    tab.page.get_by_label("Edit your question").fill(text)


def test_instructions_survive_escape_a_reload_and_are_those_of_the_new_conversation(
    tab: Tab, rig: Rig, client: Client
) -> None:
    page = tab.page
    assert instructions(page) == ""
    page.locator("#system-text").fill("Half of a th")
    page.keyboard.press("Escape")
    page.reload()
    assert instructions(page) == "Half of a th"
    page.locator("#system-text").fill("Be brief.")
    page.locator("#system").get_by_role("button", name="Save").click()
    page.reload()
    assert instructions(page) == "Be brief."
    page.locator("#system-text").fill("Be br")
    page.locator("#system").get_by_role("button", name="Cancel").click()

    tab.answer_to(quick("Short."))
    place = tab.path.removeprefix("/c/")
    assert client.http.get(f"/api/conversations/{place}").json()["system"] == "Be brief."
    page.get_by_role("link", name="New", exact=True).click()
    assert instructions(page) == ""  # those were the other conversation's


def test_open_editor_survives_a_reload_and_navigation(tab: Tab) -> None:
    tab.answer_to(quick("Because."))
    place = tab.page.url
    edit(tab, "Why not")
    tab.page.reload()
    editor = tab.page.get_by_label("Edit your question")
    expect(editor).to_have_value("Why not")
    tab.page.get_by_role("link", name="New", exact=True).click()
    expect(editor).to_have_count(0)
    tab.page.go_back()
    expect(tab.page).to_have_url(place)
    expect(editor).to_have_value("Why not")
    tab.press("Cancel")
    tab.page.reload()
    tab.finished()
    expect(editor).to_have_count(0)


def test_what_was_typed_in_a_conversation_that_is_deleted_elsewhere_is_a_new_draft(
    tab: Tab, client: Client, meet: Meet, web: Web
) -> None:
    tab.answer_to(quick("Because."))
    place = tab.path.removeprefix("/c/")
    edit(tab, "What I was editing")
    tab.page.locator("#question").fill("What I was asking")

    client.http.delete(f"/api/conversations/{place}")

    expect(tab.page.locator("#question")).to_have_value("What I was editing\n\nWhat I was asking")
    expect(tab.page.locator("#notice")).to_contain_text("draft of a new conversation")
    assert tab.path == "/"
    tab.page.locator("#question").fill(quick("Here it is."))
    tab.page.locator("#question").press("Enter")
    tab.finished()
    assert tab.path != f"/c/{place}"

    # One that is gone when it is opened: its draft from before is not lost, either.
    page = tab.page
    page.evaluate("id => localStorage.setItem(`outlive.draft.${id}`, 'From before')", place)
    page.goto(f"{web.url}/c/{place}")
    expect(page.get_by_role("heading", name="There is no such conversation.")).to_be_visible()
    expect(page.locator("#question")).to_have_value("From before")


def test_address_without_a_conversation_is_a_page_with_a_way_out(meet: Meet, web: Web) -> None:
    person = meet(web)
    tab = person.open()
    answer = tab.page.goto(f"{web.url}/c/nonsense")
    assert answer is not None
    assert answer.status == 404
    expect(tab.page.get_by_role("heading", name="There is no such conversation.")).to_be_visible()
    expect(tab.page.locator("#empty")).to_be_hidden()
    tab.page.get_by_role("link", name="New conversation").last.click()
    expect(tab.page.locator("#empty")).to_be_visible()
    tab.page.goto(f"{web.url}/c/nonsense/more")
    tab.answer_to(quick("Asked from there."))
    assert re.fullmatch("/c/[0-9a-f-]{36}", tab.path)
    expect(tab.page.locator("#gone")).to_be_hidden()


def test_second_deletion_keeps_the_undo_of_the_first(tab: Tab, client: Client) -> None:
    places = [client.conversation(title=f"Number {number}") for number in (1, 2)]
    for name in ("Number 1", "Number 2"):
        tab.page.get_by_role("button", name=f"Delete {name}").press("Enter")
    toasts = tab.page.locator(".toast")
    expect(toasts).to_have_count(2)

    first = toasts.first.get_by_role("button", name="Undo")
    first.focus()
    first.press("Enter")
    expect(tab.page.locator(f"[data-conversation='{places[0]}']")).to_have_count(1)
    expect(toasts).to_have_count(1)
    expect(toasts.get_by_role("button", name="Undo")).to_be_focused()
    tab.page.keyboard.press("Enter")
    expect(tab.page.locator(f"[data-conversation='{places[1]}']")).to_have_count(1)
    expect(toasts).to_have_count(0)
    expect(tab.page.locator("#question")).to_be_focused()


def test_question_over_the_limit_says_the_numbers_and_stays(tab: Tab) -> None:
    page, field = tab.page, tab.page.locator("#question")
    notice = page.locator("#notice")
    assert page.evaluate("question.dataset.limit") == "1000000"
    page.evaluate("question.dataset.limit = 1_000")  # a browser is slow with the real one
    field.fill("😀" * 1_001)
    expect(notice).to_contain_text("1,001 characters, and at most 1,000")
    field.press("Enter")
    expect(field).to_have_value("😀" * 1_001)
    expect(tab.questions).to_have_count(0)

    field.fill("")
    expect(notice).to_be_hidden()
    # Refused by the server, as where a proxy or another setting allows less.
    document = {"status": 422, "code": "question_too_long", "detail": "Too long.", "limit": 10}
    page.route(
        "**/messages",
        lambda route: route.fulfill(
            status=422, json=document, content_type="application/problem+json"
        ),
    )
    tab.ask("More than ten 😀")
    expect(notice).to_contain_text("15 characters, and at most 10")
    expect(field).to_have_value("More than ten 😀")
    assert page.evaluate("localStorage.length") > 0


def test_back_closes_the_drawer_on_a_phone(meet: Meet, web: Web, client: Client) -> None:
    place = client.conversation(title="Where I go")
    tab = meet(web, viewport={"width": 390, "height": 844}).open()
    page, drawer = tab.page, tab.page.locator("body.drawer")
    page.locator("#question").fill("A draft")

    def shade() -> None:
        page.locator("#shade").click(position={"x": 380, "y": 400})

    for close in (page.go_back, lambda: page.keyboard.press("Escape"), shade):
        tab.press("Conversations")
        expect(drawer).to_have_count(1)
        close()
        expect(drawer).to_have_count(0)
        assert tab.path == "/"
    tab.press("Conversations")
    page.locator(f"[data-conversation='{place}'] a").click()
    expect(drawer).to_have_count(0)
    expect(page.locator("h1")).to_have_text("Where I go")
    page.go_back()  # one step, to where the drawer was opened
    expect(page).to_have_url(f"{web.url}/")
    expect(page.locator("#question")).to_have_value("A draft")


def test_editing_while_an_answer_is_written(rig: Rig, tab: Tab) -> None:
    page = tab.page
    tab.answer_to(quick("A first answer.\n\n" * 30))
    steps = (scripted.long(6000, rate=600), scripted.hold("beside"), scripted.finish())
    tab.ask(scripted.script(*steps, scripted.done(), tag="beside"))
    tab.written(200)
    edit(tab, quick("Another branch."), 1)
    editor = page.get_by_label("Edit your question")
    tab.written(2000)
    expect(editor).to_be_in_viewport()
    # all of it, its buttons, too: nothing is above it
    expect(page.locator("#latest")).to_be_visible()
    below = "one => one.getBoundingClientRect().bottom"
    top = page.locator("#latest").evaluate("one => one.getBoundingClientRect().top")
    assert page.locator(".editor").evaluate(below) <= top

    editor.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("An answer is still being written")
    dialog.get_by_role("button", name="Cancel").click()
    expect(editor).to_have_value(quick("Another branch."))
    running = tab.answer.get_attribute("data-id")
    editor.press("Enter")
    dialog.get_by_role("button", name="Let it go on").click()
    expect(tab.answer).to_contain_text("Another branch.")
    tab.finished()

    tab.press("Edit", tab.questions.last)
    tab.press("Cancel", tab.questions.last)
    expect(tab.questions.last.get_by_role("button", name="Edit")).to_be_focused()
    tab.press("Previous version", tab.questions.last)
    expect(tab.answer).to_have_attribute("data-id", running or "")
    expect(tab.answer).to_have_attribute("data-status", "STREAMING")
    edit(tab, quick("A third one."), 1)
    editor.press("Enter")
    dialog.get_by_role("button", name="Stop it").click()
    expect(tab.answer).to_contain_text("A third one.")
    tab.finished()
    stopped = rig.rows("SELECT status, stop_requested FROM messages WHERE id = :id", id=running)
    assert stopped[0].status == "CANCELLED" or stopped[0].stop_requested
    rig.scripted.release("beside")
