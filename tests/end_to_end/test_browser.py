"""The page in a real Chromium: no failure costs a character of the text."""

import os
import re
import signal

import pytest
from playwright.sync_api import expect

import scripted
from local.processes import children
from local.programs import Web, Worker
from scripted.steps import Step
from shared import naming
from tests.client import Client
from tests.end_to_end.browser import Meet, Tab, drawn, held, text_of
from tests.end_to_end.questions import answer_text, gated, lengthy, quick
from tests.rig import Rig, killing
from tests.tcp_proxy import TcpProxy

pytestmark = pytest.mark.usefixtures("worker")

# --- leaving and returning -----------------------------------------------------------------------


def test_answer_goes_on_while_the_tab_is_closed(meet: Meet, web: Web) -> None:
    person, question = meet(web), lengthy(1500, "close")
    tab = person.open()

    tab.ask(question)
    begun = tab.written(50)
    assert answer_text(question).startswith(begun)
    expect(tab.answer).to_have_attribute("data-status", "STREAMING")
    assert tab.page.title().startswith("● ")
    place = tab.path
    tab.close()
    back = person.open(place)

    expect(back.answers).to_have_count(1)
    assert back.finished() == answer_text(question)
    assert back.copied(back.answer) == answer_text(question)
    assert text_of(back.questions) == question
    assert "22 tokens" in back.answer.inner_text()
    assert not back.page.title().startswith("● ")


def test_answer_that_ended_while_no_tab_was_open_is_complete(
    meet: Meet, web: Web, client: Client
) -> None:
    question = quick("Nobody looks at this one while it is written.")
    answer = client.ask(question)
    place = client.message(answer)["conversation_id"]
    client.ended(answer)

    tab = meet(web).open(f"/c/{place}")

    assert tab.finished() == answer_text(question)


def test_stream_cut_every_second_shows_one_whole_message(rig: Rig, meet: Meet) -> None:
    web = rig.web(OUTLIVE_STREAM_MAX_SECONDS="1")
    with killing(web):
        person, question = meet(web), lengthy(3000, "cut")
        tab = person.open()

        tab.ask(question)

        assert tab.finished() == answer_text(question)
        assert person.streams >= 6
        expect(tab.answers).to_have_count(1)
        expect(tab.page.locator("#connection")).to_have_attribute("data-state", "good")


def test_killed_web_worker_and_master_cost_no_character(rig: Rig, meet: Meet) -> None:
    web = rig.web()
    with killing(web):
        question = lengthy(1800, "kill")
        tab = meet(web).open()
        tab.ask(question)

        tab.written(200)
        processes = children(web.pid)
        assert len(processes) >= 2
        for process in processes:  # one of them has the connection
            os.kill(process, signal.SIGKILL)
        tab.written(700)
        web.kill()
        web.start().wait()

        assert tab.finished() == answer_text(question)
        expect(tab.answers).to_have_count(1)


def test_page_says_that_the_network_is_broken_and_resumes(rig: Rig, meet: Meet, web: Web) -> None:
    with TcpProxy(web.url) as proxy:
        question = gated("Before the tunnel. " * 5, "tunnel", "And after it. " * 20)
        tab = meet(proxy).open()
        tab.ask(question)
        tab.written(50)
        connection = tab.page.locator("#connection")

        proxy.cut()
        expect(connection).to_have_text("Reconnecting…")
        rig.scripted.release("tunnel")
        [record] = rig.scripted.wait_requests(1, contains=question, ended=True)
        assert record.ended == "whole"
        expect(tab.answer).to_have_attribute("data-status", "STREAMING")
        proxy.mend()

        assert tab.finished() == answer_text(question)
        expect(connection).to_have_attribute("data-state", "good")
        expect(tab.answers).to_have_count(1)


def test_offline_browser_resumes_when_it_is_online(rig: Rig, meet: Meet, web: Web) -> None:
    person, question = meet(web), gated("Before take-off. ", "flight", "After landing. " * 20)
    tab = person.open()
    tab.ask(question)
    tab.written()
    connection = tab.page.locator("#connection")

    person.context.set_offline(True)
    expect(connection).to_have_attribute("data-state", "offline")
    rig.scripted.release("flight")
    person.context.set_offline(False)

    assert tab.finished() == answer_text(question)
    expect(connection).to_have_attribute("data-state", "good")


def test_question_asked_while_the_server_is_down_is_asked_once(rig: Rig, meet: Meet) -> None:
    web = rig.web()
    with killing(web), Client(web.url) as client:
        person, question = meet(web), quick("Yes, somebody is here.")
        tab = person.open()
        expect(tab.page.locator("#empty")).to_be_visible()

        web.kill()
        tab.ask(question)
        expect(tab.page.locator(".pending")).to_contain_text(question)
        tab.close()  # the question survives that, too
        web.start().wait()
        back = person.open()

        assert back.finished() == answer_text(question)
        found = client.http.get("/api/conversations").json()["items"]
        assert [one["title"] for one in found].count(naming.by_question(question)) == 1
        back.page.reload()
        assert back.finished() == answer_text(question)


def test_draft_survives_a_reload(tab: Tab) -> None:
    tab.page.locator("#question").fill("half a thou")

    tab.page.reload()

    expect(tab.page.locator("#question")).to_have_value("half a thou")
    tab.page.keyboard.press("Escape")
    tab.page.locator("#question").press("Shift+Enter")
    expect(tab.page.locator("#question")).to_have_value("half a thou\n")


def test_two_tabs_and_a_device_show_the_same_conversation(rig: Rig, meet: Meet, web: Web) -> None:
    person = meet(web)
    first = person.open()
    question = gated("Both see this", "both", " and this.")
    first.ask(question)
    first.written()
    elsewhere = meet(web).open(first.path)  # another device
    second = person.open(first.path)

    for tab in (first, second, elsewhere):
        assert tab.written() == "Both see this"
    rig.scripted.release("both")
    for tab in (first, second, elsewhere):
        assert tab.finished() == answer_text(question)

    assert second.answer_to(quick("More.")) == "More."
    for tab in (first, elsewhere):  # the notices say so, without a reload
        expect(tab.answers).to_have_count(2)
        assert tab.finished() == "More."


# --- Stop, Retry, Continue, Edit -----------------------------------------------------------------


def test_stop_keeps_the_text_and_continue_goes_on(rig: Rig, tab: Tab) -> None:
    question = gated("As far as this.", "stop-1", " Never said.")
    tab.ask(question)
    tab.written(15)

    tab.press("Stop")

    assert tab.finished("CANCELLED") == "As far as this."
    expect(tab.answer.locator(".state")).to_have_text("Stopped by you")
    expect(tab.answer).to_contain_text("about 4 tokens")
    tab.press("Continue", tab.answer)
    every = tab.page.locator(".message.assistant")
    expect(every).to_have_count(2)
    more = answer_text("Please continue exactly where you stopped.")
    assert tab.finished() == more
    assert text_of(every.first) == "As far as this."
    assert tab.copied(every.last) == f"As far as this.{more}"


def test_retry_makes_another_answer_and_keeps_the_old_one(rig: Rig, tab: Tab) -> None:
    question = gated("The same words", "retry", ", again.")
    tab.ask(question)
    tab.written()
    tab.press("Stop")
    tab.finished("CANCELLED")

    rig.scripted.release("retry")
    tab.press("Retry", tab.answer)

    expect(tab.answer.locator(".place")).to_have_text("2/2")
    assert tab.finished() == answer_text(question)
    expect(tab.answers).to_have_count(1)
    tab.press("Previous version", tab.answer)
    assert tab.finished("CANCELLED") == "The same words"
    expect(tab.answer.locator(".place")).to_have_text("1/2")
    tab.page.reload()  # the address names the branch
    assert tab.finished("CANCELLED") == "The same words"
    tab.press("Next version", tab.answer)
    assert tab.finished() == answer_text(question)


def test_edit_makes_a_branch_beside_the_first_question(tab: Tab) -> None:
    one, two, better = quick("One."), quick("Two."), quick("Better.")
    tab.answer_to(one)
    tab.answer_to(two)

    tab.press("Edit", tab.questions.first)
    editor = tab.page.get_by_label("Edit your question")
    expect(editor).to_have_value(one)
    editor.fill(better)
    editor.press("Escape")
    expect(editor).to_have_value(better)
    editor.press("Enter")

    expect(tab.questions).to_have_count(1)
    expect(tab.answers).to_have_text(re.compile("Better."))
    assert (text_of(tab.questions), tab.finished()) == (better, "Better.")
    tab.press("Previous version", tab.questions.first)
    expect(tab.answers).to_have_count(2)
    assert (text_of(tab.answers.first), tab.finished()) == ("One.", "Two.")


def test_open_editor_survives_an_edit_on_another_device(rig: Rig, meet: Meet, web: Web) -> None:
    first = quick("First.")
    tab = meet(web).open()
    tab.answer_to(first)
    elsewhere = meet(web).open(tab.path)
    tab.press("Edit", tab.questions)
    editor = tab.page.get_by_label("Edit your question")
    editor.fill("half an ed")

    elsewhere.press("Edit", elsewhere.questions)
    elsewhere.page.get_by_label("Edit your question").fill(gated("Another ", "branch", "one."))
    elsewhere.page.get_by_label("Edit your question").press("Enter")
    mark = tab.mark(tab.path.removeprefix("/c/"))
    expect(mark).to_have_attribute("data-mark", "writing")
    rig.scripted.release("branch")
    elsewhere.finished()
    expect(mark).to_have_count(0)

    expect(editor).to_have_value("half an ed")
    tab.press("Cancel")
    expect(tab.answers).to_have_text(re.compile("Another one."))


def test_refused_question_returns_above_what_was_typed_meanwhile(tab: Tab) -> None:
    tab.answer_to(quick("First."))
    routes = held(tab.page, "**/messages")
    with tab.page.expect_request("**/messages"):
        tab.ask("Refused")
    tab.page.locator("#question").fill("typed meanwhile")

    routes[0].fulfill(status=429, json={"detail": "Too many."})

    expect(tab.page.locator("#notice")).to_have_text("Too many.")
    expect(tab.page.locator("#question")).to_have_value("Refused\n\ntyped meanwhile")
    expect(tab.questions).to_have_count(1)
    tab.page.reload()
    expect(tab.page.locator("#question")).to_have_value("Refused\n\ntyped meanwhile")


def test_failed_answer_says_why_and_can_be_retried(tab: Tab) -> None:
    tab.ask(scripted.script(scripted.say("Half of it"), scripted.cut()))

    assert tab.finished("ERROR") == "Half of it"

    state = tab.answer.locator(".state").inner_text()
    assert state.startswith("Failed: The connection to the model's provider broke")
    assert state.endswith("Continue goes on from here, Retry begins again.")
    tab.press("Retry", tab.answer)
    expect(tab.answer.locator(".place")).to_have_text("2/2")


def test_answer_cut_at_the_length_limit_can_be_continued(tab: Tab) -> None:
    tab.ask(scripted.script(scripted.say("And so on"), scripted.finish("length"), scripted.done()))

    tab.finished()

    expect(tab.answer.locator(".state")).to_have_text("Cut off at the length limit")
    expect(tab.answer.get_by_role("button", name="Continue")).to_be_visible()


def test_question_shows_that_it_waits_for_a_worker(
    meet: Meet, web: Web, worker_of_file: Worker
) -> None:
    worker_of_file.kill()
    tab = meet(web).open()

    tab.ask(quick("Here I am."))

    expect(tab.answer.locator(".state")).to_have_text("Waiting in the queue")
    expect(tab.answer).to_have_attribute("data-status", "SENDING")
    worker_of_file.start().wait()
    assert tab.finished() == "Here I am."
    expect(tab.answer.locator(".state")).to_be_empty()


# --- the text ------------------------------------------------------------------------------------

AWKWARD = (
    "e\u0301 \U0001f469\u200d\U0001f469\u200d\U0001f467 \U0001d11e你好\u2028line\u2029para\r\n"
    "cr\rlf\n\n\n שלום \u202eback\u202c \ufeffbom \u0000nul\t**bold** `co*de` *em* ~~~\n"
    "# head\n\n- one\n  1. two\n- three\n\n```py\nif a < b:\n\treturn '\U0001f600'\n```\nend  \n"
)


@pytest.mark.parametrize("chunk", [1, 7])
def test_every_character_survives_any_chunking_and_markdown(tab: Tab, chunk: int) -> None:
    step = scripted.say(AWKWARD * 3, chunk=chunk, escaped=True, split_pairs=True)
    question = scripted.script(step, scripted.finish(), scripted.done(), tag=str(chunk))

    assert tab.answer_to(question) == answer_text(question)
    assert tab.answer.get_attribute("data-length") == str(len(answer_text(question)))
    assert tab.copied(tab.answer) == answer_text(question)
    expect(tab.answer.locator("strong").first).to_be_visible()
    grown = drawn(tab.answer)
    tab.page.reload()
    assert tab.finished() == answer_text(question)
    assert drawn(tab.answer) == grown  # the same elements as if it had come at once


def test_reasoning_is_a_part_of_its_own_and_folds(rig: Rig, tab: Tab) -> None:
    thoughts = "First \U0001f9e0 the Moon."
    steps = (scripted.reasoning(thoughts), scripted.hold("think"), scripted.say("The Moon."))
    tab.ask(scripted.script(*steps, scripted.finish(), scripted.done()))
    thinking = tab.page.locator(".part.reasoning")

    expect(thinking).to_be_visible()
    expect(thinking).to_have_text(thoughts)
    rig.scripted.release("think")

    assert tab.finished() == "The Moon."
    expect(thinking).to_be_hidden()
    assert tab.copied(tab.answer) == "The Moon."
    tab.page.locator("summary").click()
    expect(thinking).to_have_text(thoughts)


def test_markup_in_questions_and_answers_is_shown_as_text(tab: Tab) -> None:
    evil = (
        "<script>alert(1)</script><img src=http://example.invalid/x onerror=alert(2)>"
        "<iframe src=//example.invalid></iframe>[go](javascript:alert(3)) </article>\n\n"
        "```<b>\n<svg onload=alert(4)>\n```\n**<u>bold</u>**"
    )

    assert tab.answer_to(quick(evil)) == evil
    tab.ask(evil)
    expect(tab.questions).to_have_count(2)
    assert text_of(tab.questions.last) == evil
    assert tab.page.locator("#thread :is(iframe, svg, b, script, img)").count() == 0
    expect(tab.answers.first.locator("strong u")).to_have_text("bold")  # it may be underlined
    tab.page.reload()
    expect(tab.answers).to_have_count(2)
    assert text_of(tab.answers.first) == evil


def test_forbidden_clipboard_is_reported_on_the_button(tab: Tab) -> None:
    tab.answer_to(quick("Words.\n\n```\ncode\n```\n"))
    tab.page.evaluate("void (navigator.clipboard.writeText = async () => { throw new Error(); })")
    tab.page.evaluate("void (document.execCommand = () => false)")

    for name in ("Copy", "Copy the code"):
        pressed = tab.answer.get_by_role("button", name=name, exact=True).element_handle()
        pressed.click()
        tab.page.wait_for_function("one => one.textContent === 'Not copied'", arg=pressed)


# --- the pane and the screen ---------------------------------------------------------------------


def test_new_text_does_not_move_a_reader_who_scrolled_up(rig: Rig, tab: Tab) -> None:
    tab.ask(gated("\n\n".join(f"Line {n}" for n in range(60)), "scroll", "\n\nmore" * 20))
    tab.written(500)
    place = "document.getElementById('scroll').scrollTop"
    tab.page.wait_for_function(f"() => {place} > 300")

    tab.page.mouse.move(450, 300)
    tab.page.mouse.wheel(0, -600)
    latest = tab.page.get_by_role("button", name="↓ Latest")
    expect(latest).to_be_visible()
    tab.page.wait_for_function(
        f"() => new Promise(r => {{ const a = {place};"
        f" requestAnimationFrame(() => requestAnimationFrame(() => r(a === {place}))) }})"
    )
    before = tab.page.evaluate(place)
    rig.scripted.release("scroll")
    tab.finished()

    assert tab.page.evaluate(place) == before
    latest.click()
    expect(latest).to_be_hidden()
    expect(tab.answer.get_by_text("more").last).to_be_in_viewport()


def test_page_fits_the_width_of_a_phone(meet: Meet, web: Web) -> None:
    phone = {"viewport": {"width": 360, "height": 640}, "has_touch": True, "is_mobile": True}
    tab = meet(web, **phone, color_scheme="dark").open()
    tab.page.locator("#question").fill(quick(f"```\n{'wide ' * 60}\n```\n{'W' * 300}"))
    tab.press("Send")
    tab.finished()

    assert tab.page.evaluate("document.documentElement.scrollWidth") == 360
    assert tab.page.evaluate("document.getElementById('scroll').scrollWidth") <= 360
    expect(tab.page.locator("#side")).to_be_hidden()
    tab.press("Conversations")
    expect(tab.page.locator("#side")).to_be_visible()
    tab.page.get_by_role("link", name="New", exact=True).click()
    expect(tab.page.locator("#empty")).to_be_visible()
    expect(tab.page.locator("#side")).to_be_hidden()


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ((), "The model gave no answer. Retry asks again."),
        (
            (scripted.reasoning("Nothing but a thought."),),
            "The model gave no answer. Retry asks again.",
        ),
        (
            (scripted.tool_call("call-1", "look", "{}"),),
            "The model called a tool and wrote no text.",
        ),
        ((scripted.hold("mute"),), "Stopped by you, before the first word"),
        (
            (scripted.reasoning("Half a"), scripted.hold("mute")),
            "Stopped by you, before any text",
        ),
    ],
    ids=["nothing", "reasoning", "tool call", "stopped", "stopped while thinking"],
)
def test_answer_without_text_says_so_and_offers_retry(
    tab: Tab, steps: tuple[Step, ...], said: str
) -> None:
    tab.ask(scripted.script(*steps, scripted.finish(), scripted.done(), tag="silent"))
    if "Stopped" in said:
        if len(steps) > 1:
            expect(tab.answer).to_contain_text("Half a")
        expect(tab.answer).to_have_attribute("data-status", "STREAMING")
        tab.press("Stop")

    state = tab.answer.locator(".state")
    expect(state).to_have_text(said)
    expect(tab.answer.get_by_role("button", name="Retry")).to_be_visible()
    expect(tab.answer.get_by_role("button", name="Continue")).to_have_count(0)
    tab.page.reload()
    expect(state).to_have_text(said)
