"""Coming back to where one was: on every device, to the line, with what is new since."""

import re

import pytest
from playwright.sync_api import Page, expect

import scripted
from local.programs import Web
from tests.client import Client
from tests.end_to_end.browser import Meet, Tab
from tests.end_to_end.questions import gated, quick
from tests.rig import Rig, eventually

pytestmark = pytest.mark.usefixtures("worker")

LOW = {"viewport": {"width": 1280, "height": 420}}
PHONE = {"viewport": {"width": 390, "height": 700}, "has_touch": True, "is_mobile": True}
#: The text at the line that is read, and how far from the top it is.
LINE = """() => {
  const pane = document.getElementById("scroll").getBoundingClientRect();
  const words = [...document.querySelectorAll(".block p")].map(one => [one.textContent,
    Math.round(one.getBoundingClientRect().top - pane.top)]);
  return words.find(([, top]) => top > -20) ?? null;
}"""
#: Layout shifts since the page was loaded.
SHIFTS = """() => new Promise(resolve => {
  let sum = 0;
  new PerformanceObserver(list => list.getEntries().forEach(one => sum += one.value))
    .observe({type: "layout-shift", buffered: true});
  setTimeout(() => resolve(sum), 100);
})"""


def paragraphs(first: int, last: int) -> str:
    """Numbered paragraphs, each of a few lines."""
    return "".join(
        f"Paragraph {n}. {'It goes on for a while. ' * 12}\n\n" for n in range(first, last)
    )


def place_of(client: Client, tab: Tab) -> dict[str, object]:
    """The place that the server has of the tab's conversation."""
    found: dict[str, object] = client.http.get(f"/api{conversation(tab)}/place").json()["place"]
    return found


def conversation(tab: Tab) -> str:
    """The path of the tab's conversation in the API."""
    return "/conversations/" + tab.path.removeprefix("/c/").split("?")[0]


def scroll_to(page: Page, text: str) -> tuple[str, int]:
    """Scroll up by the wheel until this paragraph is the first; the line that is read then."""
    page.mouse.move(450, 300)
    page.evaluate(
        "text => { const one = [...document.querySelectorAll('.block')]"
        ".find(one => one.textContent.startsWith(text));"
        " one.scrollIntoView(); document.getElementById('scroll').scrollBy(0, -12) }",
        text,
    )
    page.mouse.wheel(0, 1)
    page.wait_for_function(f"text => ({LINE})()?.[0].startsWith(text)", arg=text)
    line: tuple[str, int] = page.evaluate(LINE)
    return line


def test_one_is_where_one_was_after_a_reload_and_on_another_device(
    rig: Rig, meet: Meet, web: Web, client: Client
) -> None:
    tab = meet(web).open()
    page = tab.page
    tab.ask(gated(paragraphs(0, 40), "places", "## What came later\n\n" + paragraphs(40, 60)))
    tab.written(9_000)
    before = scroll_to(page, "Paragraph 11.")

    page.reload()  # it is still being written
    page.wait_for_function(f"text => ({LINE})()?.[0] === text", arg=before[0])
    assert abs(page.evaluate(LINE)[1] - before[1]) < 28  # a line
    assert page.evaluate(SHIFTS) <= 0.01
    top = page.evaluate("document.getElementById('scroll').scrollTop")
    eventually(lambda: place_of(client, tab) is not None)
    rig.scripted.release("places")
    tab.finished()
    assert page.evaluate("document.getElementById('scroll').scrollTop") == top  # no pulling

    phone = meet(web, **PHONE).open(tab.path)
    phone.finished()
    phone.page.wait_for_function(f"() => ({LINE})()?.[0].startsWith('Paragraph 11.')")
    assert phone.page.evaluate(SHIFTS) <= 0.01


def test_what_came_meanwhile_is_below_a_line_that_says_what_happened(
    rig: Rig, meet: Meet, web: Web, client: Client
) -> None:
    person = meet(web)
    tab = person.open()
    tab.ask(gated(paragraphs(0, 20), "news", "## Later on\n\n" + paragraphs(20, 40)))
    tab.written(4_500)
    path = tab.path
    tab.page.goto(f"{web.url}/healthz")
    eventually(lambda: client.http.get(f"/api/conversations/{path[3:]}/place").json()["place"])
    rig.scripted.release("news")
    rig.scripted.wait_requests(1, contains="news", ended=True)

    cut = client.ended(client.ask(scripted.script(scripted.say("Half"), scripted.cut())))
    empty = client.ended(client.ask(scripted.script(scripted.finish(), scripted.done())))

    tab.page.goto(web.url)  # first the page of the morning
    away = tab.page.locator("#away")
    expect(away).to_contain_text("While you were away")
    expect(away.locator("h4[data-kind='finished']")).to_have_text("Finished")
    for kind, message in (("waits", cut), ("failed", empty)):
        link = f"a[href='/c/{message['conversation_id']}']"
        expect(away.locator(f"h4[data-kind='{kind}'] + ul {link}")).to_be_visible()
    phone = meet(web, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    small = phone.open().page
    expect(small.locator("#away h4")).to_have_count(3)
    expect(small.locator("#ideas")).to_be_hidden()  # there is no room for both
    away.locator(f"a[href='{path}']").click()
    tab.finished()

    page, news = tab.page, tab.page.get_by_role("region", name="New since you left")
    expect(news.locator("small")).to_have_text(re.compile(r"\d+ words · ✓ nothing lost$"))
    pane = page.locator("#scroll").bounding_box()
    assert pane
    upper = range(int(pane["y"]), int(pane["y"] + pane["height"] / 2))
    eventually(lambda: (box := news.bounding_box()) and int(box["y"]) in upper)
    expect(page.get_by_role("button", name="↓ Latest")).to_be_visible()
    assert page.evaluate(SHIFTS) <= 0.01

    news.locator("summary").first.click()
    news.get_by_text("✓ Nothing was lost").click()
    message = client.message(tab.answer.get_attribute("data-id") or "")
    expect(news.locator(".proof")).to_contain_text(message["sha256"])
    news.get_by_role("link", name="Later on").click()
    page.wait_for_function(
        "() => { const top = document.querySelector('.block h2').getBoundingClientRect().top;"
        " return top > 0 && top < 400 }"
    )
    assert tab.path == path  # a reload is where one was


def test_place_on_another_branch_and_far_up_a_long_thread(
    meet: Meet, web: Web, client: Client
) -> None:
    place = client.conversation(title="Long")
    answers = []
    for number in range(26):
        answers.append(client.ask(quick(f"Answer {number}. {'word ' * 60}"), place))
        client.ended(answers[-1])
    body = {"message_id": answers[2], "position": 0}
    body["end"] = {"message_id": answers[-1], "position": client.message(answers[-1])["length"]}
    assert client.http.put(f"/api/conversations/{place}/place", json=body).status_code == 204

    person = meet(web)
    tab = person.open(f"/c/{place}")
    page = tab.page
    expect(page.locator(f"[data-id='{answers[2]}'] .block").first).to_be_in_viewport()
    expect(page.get_by_role("region", name="New since you left")).to_have_count(0)

    again = client.http.post(f"/api/messages/{answers[-1]}/retry", json={}).json()
    client.ended(again["assistant"]["id"])
    tab = person.open(f"/c/{place}#{answers[-1]}.3")  # to the branch that is not the newest
    page = tab.page
    expect(page.locator(f"[data-id='{answers[-1]}'] .block").first).to_be_in_viewport()
    assert tab.path == f"/c/{place}?leaf={answers[-1]}"
    page.goto(f"{web.url}/c/{place}#00000000-0000-7000-8000-000000000000.3")  # there is none
    tab.finished()


def test_link_to_a_place_is_copied(meet: Meet, web: Web) -> None:
    person = meet(web)
    tab = person.open()
    tab.answer_to(quick(paragraphs(0, 40)))
    line = scroll_to(tab.page, "Paragraph 17.")

    tab.page.get_by_role("button", name="Copy a link to this place").click()
    tab.page.wait_for_function("() => window.copied !== null")
    link = tab.page.evaluate("window.copied")

    assert re.fullmatch(rf"{re.escape(web.url + tab.path)}#[0-9a-f-]{{36}}\.\d+", link)
    other = person.open(link.removeprefix(web.url))
    expect(other.page.get_by_text(line[0][:20]).last).to_be_in_viewport()
    expect(other.page.locator(".linked")).to_have_count(1)


def test_search_hit_opens_at_the_hit_which_is_marked(meet: Meet, web: Web, client: Client) -> None:
    text = f"{paragraphs(0, 30)}- the **kittiwake** nests\n\n{paragraphs(30, 60)}"
    client.ended(client.ask(quick(text)))
    tab = meet(web).open()

    tab.page.locator("#search").fill("kittiwake")
    hit = tab.page.locator("#conversations li")
    expect(hit.locator(".found")).to_contain_text("the kittiwake nests")
    expect(hit.locator("mark")).to_have_text("kittiwake")
    hit.get_by_role("link").click()

    expect(tab.page.locator("strong", has_text="kittiwake")).to_be_in_viewport()
    marked = "[...CSS.highlights.get('found')].map(String)"
    assert "kittiwake" in tab.page.evaluate(marked)


def test_first_visit_in_a_low_window_begins_at_the_top(meet: Meet, web: Web) -> None:
    page = meet(web, **LOW).open().page

    expect(page.locator("#conversations")).to_have_attribute("aria-busy", "false")
    assert page.evaluate("document.getElementById('scroll').scrollTop") == 0
    expect(page.locator("#empty h2")).to_be_in_viewport()
    expect(page.get_by_role("button", name="↓ Latest")).to_be_hidden()


def test_interrupted_answer_is_told_as_it_was(meet: Meet, web: Web, client: Client) -> None:
    broken = scripted.script(scripted.say(paragraphs(0, 3)), scripted.cut())
    tab = meet(web).open()
    tab.ask(quick("The first one."))
    tab.finished()
    path = tab.path
    tab.page.goto(f"{web.url}/healthz")
    eventually(lambda: client.http.get(f"/api/conversations/{path[3:]}/place").json()["place"])
    client.ended(client.ask(broken, path[3:]))

    tab.page.goto(web.url + path)

    news = tab.page.get_by_role("region", name="New since you left")
    expect(news).to_contain_text("something broke")
    news.locator("summary").first.click()
    expect(news.locator("li").filter(has_text="Failed")).to_have_count(1)
    expect(news.get_by_text("✓ Nothing was lost")).to_be_visible()
