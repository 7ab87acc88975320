"""The page over weak links: transfers that make progress are not restarted."""

import random
import re
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

import scripted
from local.programs import Web
from tests.client import Client
from tests.end_to_end.browser import Meet, held, text_of
from tests.end_to_end.questions import answer_text, gated, quick
from tests.rig import Rig
from tests.weak_link import WeakLink

pytestmark = pytest.mark.usefixtures("worker")

#: Makes a page wait a tenth as long, so that the link may be ten times as fast.
TENTH = """
const later = window.setTimeout;
window.setTimeout = (task, ms, ...more) => later(task, ms >= 20_000 ? ms / 10 : ms, ...more);
const limit = AbortSignal.timeout.bind(AbortSignal);
AbortSignal.timeout = (milliseconds) => limit(milliseconds / 10);
"""
#: Records every state of the connection, and every state of a question that is being sent.
WATCH = """
window.states = [];
addEventListener("DOMContentLoaded", () => new MutationObserver(() => {
  const {dataset: {state}} = document.getElementById("connection");
  window.states.push(state, document.querySelector(".pending .state")?.textContent);
}).observe(document.body, {childList: true, subtree: true, attributes: true, characterData: true}));
"""


def ideographs(count: int) -> str:
    """Lines of text that cannot be compressed much."""
    dice = random.Random(count)
    lines = (count + 99) // 100
    return "\n\n".join(
        "".join(chr(dice.randrange(0x4E00, 0x9FA5)) for _ in range(100)) for _ in range(lines)
    )


@pytest.mark.failure(62)
def test_long_question_over_a_weak_link_is_sent_once_with_progress(meet: Meet, web: Web) -> None:
    with WeakLink(web.url) as link:
        person = meet(link)
        person.context.add_init_script(TENTH)
        person.context.add_init_script(WATCH)
        tab = person.open()
        expect(tab.page.locator("#conversations")).to_have_attribute("aria-busy", "false")
        link.rate = 160_000  # 600 kB take twice the timeout

        tab.ask(quick("Here.", tag="x" * 600_000))
        expect(tab.page.locator(".pending .state")).to_have_text(
            re.compile(
                r"^Sending 600 kB(: \d+ %)?$"
            )  # without %: the system has buffered all of it
        )

        assert tab.finished() == "Here."
        states = tab.page.evaluate("window.states")
        assert {one for one in states if one in ("reconnecting", "offline")} == set()
        sent = [url for url in person.requests if url.endswith("/messages")]
        assert len(sent) == 1


@pytest.mark.failure(62)
def test_long_conversation_over_a_weak_link_is_loaded_once(
    meet: Meet, web: Web, client: Client
) -> None:
    texts = [ideographs(16_000) + f"{n}" for n in range(4)]
    place = client.conversation(title="Long")
    for text in texts:
        question = scripted.script(
            scripted.say(text, chunk=400), scripted.finish(), scripted.done()
        )
        client.ended(client.ask(question, place))
    with WeakLink(web.url) as link:
        person = meet(link)
        person.context.add_init_script(TENTH)
        person.context.add_init_script(WATCH)
        tab = person.open()
        row = tab.page.locator(f"[data-conversation='{place}'] a")
        expect(row).to_have_count(1)
        link.rate = 300_000

        row.click()

        expect(tab.page.locator(".assistant[data-proof='ok']")).to_have_count(4)
        assert [text_of(one) for one in tab.answers.all()] == texts
        assert "reconnecting" not in tab.page.evaluate("window.states")
        asked = [url for url in person.requests if re.search(r"/(turns|blocks)\b", url)]
        assert len(asked) == len(set(asked))


@pytest.mark.failure(62)
def test_stream_over_a_very_weak_link_is_not_opened_again(
    rig: Rig, meet: Meet, web: Web, client: Client
) -> None:
    question = gated(ideographs(1500), "weak stream", "\n\nThe end.")
    answer = client.ask(question)
    client.shown(answer, 1500)
    place = client.message(answer)["conversation_id"]
    with WeakLink(web.url) as link:
        person = meet(link)
        tab = person.open()
        row = tab.page.locator(f"[data-conversation='{place}'] a")
        expect(row).to_have_count(1)
        link.rate = 4_000

        row.click()
        tab.written(1400)
        rig.scripted.release("weak stream")

        assert tab.finished() == answer_text(question)
        assert person.streams == 1


@pytest.mark.failure(62)
def test_stream_refused_by_a_proxy_resumes_at_its_position(rig: Rig, meet: Meet, web: Web) -> None:
    question = gated("One.\n\nTwo.\n\nThree. ", "refused stream", "Four.\n\nFive.")
    person = meet(web)
    tab = person.open()
    tab.ask(question)
    tab.written(15)
    refused = held(tab.page, "**/blocks/stream?after=*")
    before = len(person.requests)

    tab.page.evaluate(
        "dispatchEvent(new Event('online'))"
    )  # the page treats old connections as dead
    for _ in range(100):
        if refused:
            break
        tab.page.wait_for_timeout(20)
    for route in refused:
        route.fulfill(status=502, body="Bad Gateway")
    tab.page.unroute("**/blocks/stream?after=*")
    rig.scripted.release("refused stream")

    assert tab.finished() == answer_text(question)
    read = [urlsplit(url).query for url in person.requests[before:] if "/blocks?after=" in url]
    assert read
    assert "after=0" not in read  # blocks that are here are not loaded again
