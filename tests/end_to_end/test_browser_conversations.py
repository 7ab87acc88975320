"""Many conversations in a real Chromium: their states, and what a person does with them."""

import re

import pytest
from playwright.sync_api import expect

import scripted
from local.programs import Web
from shared import naming
from tests.client import Client
from tests.end_to_end.browser import HIDE, SHOW, Meet, Tab, held
from tests.end_to_end.questions import answer_text, gated, quick
from tests.rig import Rig, eventually

pytestmark = pytest.mark.usefixtures("worker")


def test_all_tabs_and_devices_show_the_state_of_all_conversations(
    rig: Rig, meet: Meet, web: Web
) -> None:
    person, phone = meet(web), meet(web, viewport={"width": 390, "height": 844})
    tab = person.open()
    other, elsewhere = person.open(), phone.open()

    tab.ask(gated("One moment. ", "notice", "Here it is."))
    tab.written()
    place = tab.path.removeprefix("/c/")
    for one in (tab, other, elsewhere):
        expect(one.mark(place)).to_have_attribute("data-mark", "writing")
    tab.page.get_by_role("link", name="New", exact=True).click()
    rig.scripted.release("notice")

    for one in (tab, other, elsewhere):
        expect(one.mark(place)).to_have_attribute("data-mark", "unseen")
        expect(one.page).to_have_title(re.compile(r"^\(\d+\) "))
    tab.page.locator(f"[data-conversation='{place}'] a").click()
    assert tab.finished().startswith("One moment.")
    for one in (tab, other, elsewhere):
        expect(one.mark(place)).to_have_count(0)


def test_another_tab_takes_over_the_notices_when_the_first_is_closed(meet: Meet, web: Web) -> None:
    person = meet(web)
    tabs = [person.open() for _ in range(3)]
    for tab in tabs:
        expect(tab.page.locator("#conversations")).to_have_attribute("aria-busy", "false")
    assert sum(url.endswith("/api/notices") for url in person.requests) == 1

    tabs[0].close()  # it had the stream of notices
    tabs[1].ask(quick("After the first one has gone."))

    tabs[1].finished()
    place = tabs[1].path.removeprefix("/c/")
    expect(tabs[2].page.locator(f"[data-conversation='{place}']")).to_have_count(1)


def test_many_conversations_are_written_at_once(rig: Rig, tab: Tab) -> None:
    questions = [gated(f"Number {n}. ", f"many-{n}", f"The end of {n}.") for n in range(4)]
    places = []
    for question in questions:
        tab.page.get_by_role("link", name="New", exact=True).click()
        tab.ask(question)
        tab.written()
        places.append(tab.path)

    for number in (2, 0, 3, 1):
        rig.scripted.release(f"many-{number}")
        name = places[number].removeprefix("/c/")
        expect(tab.mark(name)).to_have_attribute("data-mark", "unseen")  # and the list has moved
        tab.page.locator(f"[data-conversation='{name}'] a").click()
        assert tab.finished() == answer_text(questions[number])


#: A pointer that moves in the list, until `away` is called.
POINT = """() => {
  const list = document.getElementById("conversations");
  const move = () => list.dispatchEvent(new PointerEvent("pointermove"));
  move();
  const timer = setInterval(move, 100);
  window.away = () => clearInterval(timer);
}"""


def test_no_conversation_moves_away_from_under_the_pointer(tab: Tab, client: Client) -> None:
    below, above = client.conversation(title="Below"), client.conversation(title="Above")
    listed = tab.page.locator("#conversations [data-conversation]")
    expect(listed.first).to_have_attribute("data-conversation", above)
    tab.page.evaluate(POINT)

    client.ask(quick("Asked on another device."), below)

    expect(tab.mark(below)).to_have_attribute("data-mark", "unseen")
    expect(listed.first).to_have_attribute("data-conversation", above)
    tab.page.evaluate("away()")
    expect(listed.first).to_have_attribute("data-conversation", below)


def test_failure_and_stop_in_other_conversations_are_shown(
    rig: Rig, tab: Tab, client: Client
) -> None:
    answer = client.ask(scripted.script(scripted.say("Half of it"), scripted.cut()))
    place = client.message(answer)["conversation_id"]
    expect(tab.mark(place)).to_have_attribute("data-mark", "failed")

    held = client.ask(gated("Some of it", "stop-elsewhere", " and the rest"))
    place = client.message(held)["conversation_id"]
    expect(tab.mark(place)).to_have_attribute("data-mark", "writing")
    tab.page.locator(f"[data-conversation='{place}'] a").click()
    tab.written()
    client.stop(held)

    tab.finished("CANCELLED")
    expect(tab.answer.locator(".state")).to_have_text("Stopped by you")
    rig.scripted.release("stop-elsewhere")


def test_renamed_conversation_changes_in_all_tabs(meet: Meet, web: Web, client: Client) -> None:
    place = client.conversation(title="The first name")
    tab, elsewhere = meet(web).open(f"/c/{place}"), meet(web).open(f"/c/{place}")
    expect(tab.page.locator("h1")).to_have_text("The first name")

    tab.press("Rename The first name")
    tab.page.get_by_label("Name", exact=True).fill("Another name")
    tab.page.keyboard.press("Enter")

    for one in (tab, elsewhere):
        expect(one.page.locator("h1")).to_have_text("Another name")
        expect(one.page.get_by_role("link", name="Another name")).to_be_visible()
    assert client.http.get(f"/api/conversations/{place}").json()["title"] == "Another name"


def test_deleted_conversation_can_be_restored(
    rig: Rig, meet: Meet, web: Web, client: Client
) -> None:
    person = meet(web)
    tab, other = person.open(), person.open()
    tab.ask(gated("Do not delete this", "deleted", "."))
    tab.written()
    place, name = tab.path, tab.page.locator("h1").inner_text()
    answer = tab.answer.get_attribute("data-id") or ""
    other.page.goto(person.url + place)
    other.written()

    tab.press(f"Delete {name}")
    expect(tab.page.locator("#empty")).to_be_visible()
    expect(other.page.locator("#empty")).to_be_visible()
    expect(tab.page.locator(f"[data-conversation='{place.removeprefix('/c/')}']")).to_have_count(0)
    eventually(lambda: client.http.get(f"/api/messages/{answer}").status_code == 404)
    tab.page.go_back()
    expect(tab.page.locator("#gone")).to_contain_text("There is no such conversation.")
    tab.page.go_forward()
    tab.press("Undo")

    assert tab.finished("CANCELLED") == "Do not delete this"  # stopped by the deletion
    assert tab.path == place
    expect(other.page.locator(f"[data-conversation='{place.removeprefix('/c/')}']")).to_have_count(
        1
    )
    rig.scripted.release("deleted")


def test_search_finds_words_in_messages(meet: Meet, web: Web, client: Client) -> None:
    question = quick("The cormorant dries its wings.")
    answer = client.ask(question)
    client.ended(answer)
    person = meet(web)
    tab, second = person.open(), person.open()

    tab.page.keyboard.press("Control+k")
    tab.page.keyboard.type("cormorant")

    hit = tab.page.locator("[data-conversation]")
    expect(hit).to_have_count(1)
    expect(hit.locator("mark").first).to_have_text("cormorant")
    tab.page.keyboard.press("ArrowDown")
    client.conversation(title="Meanwhile")
    expect(second.page.get_by_role("link", name="Meanwhile", exact=True)).to_have_count(1)
    expect(hit.get_by_role("link")).to_be_focused()
    tab.page.keyboard.press("Enter")
    assert tab.finished() == answer_text(question)
    tab.page.locator("#search").fill("nobody ever said this")
    expect(tab.page.locator("#nothing")).to_be_visible()
    tab.page.locator("#search").press("Escape")
    expect(tab.page.locator("#search")).to_have_value("")
    expect(hit.first).to_be_visible()


def test_long_lists_and_long_conversations_load_in_pages(
    meet: Meet, web: Web, client: Client
) -> None:
    for number in range(105):
        client.conversation(title=f"Page {number}")
    place = client.conversation(title="Long")
    for number in range(14):
        client.ended(client.ask(quick(f"Answer {number}."), place))
    person = meet(web)
    tab = person.open(f"/c/{place}")
    listed = tab.page.locator("[data-conversation]")

    expect(listed.first).to_contain_text("Long")
    assert listed.count() <= 101
    tab.press("Older")
    oldest = tab.page.get_by_role("link", name="Page 0", exact=True)
    expect(oldest).to_have_count(1)
    tab.page.evaluate("document.dispatchEvent(new Event('resume'))")  # the notices begin anew
    newest = client.conversation(title="Newest")
    second = person.open()
    for one in (tab, second):
        expect(one.page.locator(f"[data-conversation='{newest}']")).to_have_count(1)
    expect(oldest).to_have_count(1)

    expect(tab.answers).to_have_count(10)
    assert tab.finished() == "Answer 13."
    tab.press("Earlier messages")
    expect(tab.answers).to_have_count(14)
    expect(tab.page.get_by_role("button", name="Earlier messages")).to_be_hidden()
    assert tab.answer_to(quick("Answer 14.")) == "Answer 14."
    expect(tab.answers).to_have_count(15)
    expect(tab.answers.first).to_contain_text("Answer 0.")
    tab.page.reload()
    expect(tab.page.get_by_role("button", name="Earlier messages")).to_be_visible()
    tab.page.get_by_role("link", name="New", exact=True).click()
    expect(tab.page.get_by_role("button", name="Earlier messages")).to_be_hidden()


def test_unknown_branch_in_the_address_does_not_trap_back(
    meet: Meet, web: Web, client: Client
) -> None:
    answer = client.ask(quick("The only branch."))
    client.ended(answer)
    place = f"/c/{client.message(answer)['conversation_id']}"
    tab = meet(web).open()
    expect(tab.page.locator("#empty")).to_be_visible()

    for leaf in ("bad", "00000000-0000-7000-8000-000000000000"):
        tab.page.goto(f"{web.url}{place}?leaf={leaf}")
        assert tab.finished() == "The only branch."
        assert tab.path == place
        tab.page.go_back()
        expect(tab.page.locator("#empty")).to_be_visible()


def test_each_conversation_keeps_its_draft(tab: Tab, client: Client, web: Web) -> None:
    first, second = client.conversation(title="First"), client.conversation(title="Second")
    question = tab.page.locator("#question")

    tab.page.locator(f"[data-conversation='{first}'] a").click()
    question.fill("to the first")
    tab.page.locator(f"[data-conversation='{second}'] a").click()
    expect(question).to_have_value("")
    question.fill("to the second")
    tab.page.locator(f"[data-conversation='{first}'] a").click()

    expect(question).to_have_value("to the first")
    tab.page.reload()
    expect(question).to_have_value("to the first")


def test_first_question_that_is_sent_late_does_not_navigate(rig: Rig, meet: Meet, web: Web) -> None:
    person, question = meet(web), quick("Eventually, somebody asked.")
    tab = person.open()
    routes = held(tab.page, "**/api/conversations")
    with tab.page.expect_request("**/api/conversations"):
        tab.ask(question)
    tab.page.get_by_role("link", name="New", exact=True).click()
    tab.page.locator("#question").fill("something else")
    second = person.open()
    expect(second.page.locator("#conversations")).to_have_attribute("aria-busy", "false")
    expect(second.page.locator("#empty")).to_be_visible()
    expect(second.questions).to_have_count(0)

    for route in routes:
        route.continue_()
    rig.scripted.wait_requests(1, contains=question, ended=True)

    for one in (tab, second):
        listed = one.page.locator("#conversations").get_by_role("link")
        expect(listed.filter(has_text=naming.by_question(question))).to_have_count(1)
        expect(one.page.locator("#empty")).to_be_visible()
        assert one.path == "/"
    expect(tab.page.locator("#question")).to_have_value("something else")


def test_model_and_instructions_are_sent_with_the_question(rig: Rig, tab: Tab) -> None:
    model, names = tab.page.locator("#model"), tab.page.locator("#models .name")
    model.click()
    expect(names.nth(1)).to_be_visible()
    other = names.last.inner_text()
    names.last.click()
    tab.press("Instructions")
    tab.page.get_by_role("textbox", name="Instructions").fill("Answer like a lighthouse keeper.")
    tab.press("Save")
    question = quick("Aye.", tag="model")

    assert tab.answer_to(question) == "Aye."

    [record] = rig.scripted.wait_requests(1, contains=question)
    assert record.request is not None
    assert record.request["model"] == other
    assert record.request["messages"][0] == {
        "role": "system",
        "content": "Answer like a lighthouse keeper.",
    }
    tab.page.reload()
    expect(tab.page.locator("#instructions")).to_have_attribute("data-set", "true")
    expect(model).to_have_text(other)
    tab.press(f"{tab.answer.locator('.spent').inner_text()}: how it was written")
    expect(tab.answer.locator(".facts")).to_contain_text(other)
    expect(tab.answer.locator(".facts")).to_contain_text("First token after")


def test_hidden_tab_shows_a_desktop_notification_when_the_answer_is_ready(
    rig: Rig, meet: Meet, web: Web
) -> None:
    person = meet(web, permissions=["notifications"])
    person.context.add_init_script(
        "window.shown = []; window.Notification = class { static permission = 'granted';"
        " static requestPermission = async () => 'granted';"
        " constructor(title, {body}) { window.shown.push(`${title}: ${body}`); } }"
    )
    tab = person.open()
    tab.press("Notify me")
    expect(tab.page.get_by_role("button", name="Notify me")).to_have_attribute(
        "aria-pressed", "true"
    )
    tab.ask(gated("Soon. ", "hidden", "Now."))
    tab.written()
    assert tab.page.evaluate("window.shown") == []

    tab.page.evaluate(HIDE)
    rig.scripted.release("hidden")

    tab.page.wait_for_function("() => window.shown.length > 0")
    assert tab.page.evaluate("window.shown[0]").endswith(": The answer is ready.")
    tab.page.evaluate(SHOW)
    assert tab.finished() == "Soon. Now."


def test_who_left_while_an_answer_was_written_is_offered_notifications_once(
    rig: Rig, meet: Meet, web: Web
) -> None:
    person = meet(web)
    person.context.add_init_script(
        "window.Notification = class { static permission = 'default';"
        " static requestPermission = async () => (Notification.permission = 'granted'); }"
    )
    tab = person.open()
    offer = tab.page.get_by_text("Answers go on while you are away.")
    tab.page.evaluate(HIDE)
    tab.page.evaluate(SHOW)
    expect(offer).to_be_hidden()  # nothing was being written
    tab.ask(gated("Soon. ", "offer", "Now."))
    tab.written()

    tab.page.evaluate(HIDE)
    tab.page.evaluate(SHOW)

    tab.press("Notify me", tab.page.locator("#toasts"))
    expect(tab.page.locator("#notify")).to_have_attribute("aria-pressed", "true")
    tab.page.evaluate(HIDE)
    tab.page.evaluate(SHOW)
    expect(offer).to_be_hidden()
    rig.scripted.release("offer")
    tab.finished()


def test_notifications_are_not_offered_where_pages_may_not_show_them(
    rig: Rig, meet: Meet, web: Web
) -> None:
    person = meet(web, permissions=["notifications"])
    person.context.add_init_script(
        "window.Notification = class { static permission = 'granted';"
        " static requestPermission = async () => 'granted';"
        " constructor() { throw new TypeError('Illegal constructor'); } }"  # as on Android
    )
    tab = person.open()
    tab.press("Notify me")
    tab.ask(gated("Soon. ", "android", "Now."))
    tab.written()

    tab.page.evaluate(HIDE)
    rig.scripted.release("android")

    expect(tab.page.get_by_text("Notify me")).to_be_hidden()
    tab.page.evaluate(SHOW)
    assert tab.finished() == "Soon. Now."
