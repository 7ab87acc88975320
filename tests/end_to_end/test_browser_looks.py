"""How the page looks and feels: the list, light and dark, models, shortcuts, phones, print."""

import re

import pytest
from playwright.sync_api import Locator, expect

import scripted
from local.programs import Web
from tests.client import Client
from tests.end_to_end import axe
from tests.end_to_end.browser import Meet, Tab
from tests.end_to_end.questions import gated, quick
from tests.rig import Rig

pytestmark = pytest.mark.usefixtures("worker")

PHONE = {"viewport": {"width": 390, "height": 780}, "has_touch": True, "is_mobile": True}

#: What can be pressed and is smaller than 44 px, and fields whose type is smaller than 16 px.
SMALL = """() => [...document.querySelectorAll("a, button, select, input, textarea, summary")]
  .filter(one => one.checkVisibility({visibilityProperty: true})
    && !one.closest(".unseen, .skip") && !one.matches(".block :is(a, input)"))
  .filter(one => {
    const {width, height} = one.getBoundingClientRect();
    return width < 44 || height < 44
      || one.matches("input, select, textarea") && parseFloat(getComputedStyle(one).fontSize) < 16;
  })
  .map(one => one.outerHTML.slice(0, 120))"""

# --- the list ------------------------------------------------------------------------------------


def aged(rig: Rig, client: Client, title: str, age: str) -> str:
    """A conversation whose last question is so old."""
    place = client.conversation(title=title)
    rig.rows(
        "UPDATE conversations SET updated_at = updated_at - CAST(:age AS interval) WHERE id = :id"
        " RETURNING id",
        age=age,
        id=place,
    )
    return place


def test_list_is_grouped_by_days_of_the_persons_clock(
    rig: Rig, meet: Meet, web: Web, client: Client
) -> None:
    aged(rig, client, "Just now", "0 days")
    aged(rig, client, "The day before", "1 day")
    aged(rig, client, "Some days", "5 days")
    aged(rig, client, "Two years", "731 days")
    tab = meet(web, timezone_id="Pacific/Kiritimati").open()
    link = tab.page.get_by_role("link", name="Just now", exact=True)
    expect(link).to_be_visible()

    def day_of(title: str) -> str:
        item = tab.page.get_by_role("listitem").filter(has_text=title)
        above = "one => { while (!one.matches('.day')) one = one.previousSibling;"
        return str(item.evaluate(above + " return one.textContent; }"))

    assert day_of("Just now") == "Today"
    assert day_of("The day before") == "Yesterday"
    assert day_of("Some days") == "Last 7 days"
    assert re.fullmatch(r"[A-Z][a-z]+ \d{4}", day_of("Two years"))
    days = tab.page.evaluate(
        "async () => { const { dayOf } = await import('/static/sidebar.js');"
        " const now = new Date(2026, 2, 3, 0, 30);"
        " const at = (...moment) => dayOf(new Date(...moment).toISOString(), now);"
        " return [at(2026, 2, 3, 0, 1), at(2026, 2, 2, 23, 59), at(2026, 2, 1, 23, 59),"
        "  at(2026, 1, 24), at(2026, 1, 23, 23, 59), at(2025, 1, 28)]; }"
    )
    assert days == [
        "Today", "Yesterday", "Last 7 days", "Last 7 days", "February", "February 2025",
    ]  # fmt: skip


def opacity(button: Locator) -> str:
    """How visible it is."""
    return str(button.evaluate("one => getComputedStyle(one).opacity"))


def test_icons_show_on_hover_and_never_cover_a_titles_beginning(tab: Tab, client: Client) -> None:
    client.conversation(title="قصة طويلة عن منارة قديمة وسفينة رمادية صغيرة")
    title = tab.page.locator("bdi", has_text="منارة")
    item = tab.page.get_by_role("listitem").filter(has=title)
    rename = item.get_by_role("button", name=re.compile("^Rename"))
    expect(title).to_be_visible()
    assert opacity(rename) == "0"

    item.hover()

    assert opacity(rename) == "1"
    begins = title.evaluate("one => one.getBoundingClientRect().right")
    ends = rename.evaluate("one => one.getBoundingClientRect().left")
    assert begins <= ends
    assert title.evaluate("one => getComputedStyle(one).direction") == "rtl"
    item.get_by_role("link").click()
    tab.page.mouse.move(600, 300)
    tab.page.locator("#question").focus()
    assert opacity(rename) == "0"


def test_empty_list_says_what_will_be_there(tab: Tab) -> None:
    expect(tab.page.locator("#conversations")).to_have_attribute("aria-busy", "false")
    shown = tab.page.evaluate(  # as for a new user, whatever other tests have left
        "async () => { const { Sidebar } = await import('/static/sidebar.js');"
        " new Sidebar({known: true, entries: new Map(), sorted: []}, {}).show();"
        " const { hidden, textContent } = document.getElementById('nothing');"
        " return [hidden, textContent]; }"
    )

    assert shown == [False, "What you ask is kept here."]


# --- asking --------------------------------------------------------------------------------------


def test_what_is_to_be_pressed_next_stands_out(rig: Rig, tab: Tab) -> None:
    send, stop = tab.page.locator("#send"), tab.page.locator("#stop")
    style = "one => { const {backgroundColor, borderColor} = getComputedStyle(one);"
    look = style + " return [backgroundColor, borderColor]; }"
    quiet = send.evaluate(look)

    tab.page.locator("#question").fill("Something")
    tab.page.wait_for_function(
        "before => getComputedStyle(document.getElementById('send')).backgroundColor !== before",
        arg=quiet[0],
    )
    tab.ask(gated("First. ", "stands-out", "Second."))
    tab.written()
    ink = tab.page.evaluate("getComputedStyle(document.body).color")
    assert stop.evaluate(look)[1] == ink
    assert "Stop" in stop.inner_text()

    # in one line on a small phone, beside a long name
    tab.page.set_viewport_size({"width": 360, "height": 640})
    tab.page.locator("#model").evaluate("one => one.textContent = 'a-model-with-a-long-name'")
    box = stop.bounding_box()
    assert box
    assert box["height"] < 48

    rig.scripted.release("stands-out")
    tab.finished()
    expect(stop).to_be_hidden()


def test_a_model_is_searched_liked_and_chosen_by_keyboard(tab: Tab) -> None:
    page = tab.page
    offered = [{"id": f"model-{number:02}"} for number in range(60)] + [{"id": "org/big-coder"}]
    page.route(
        "**/api/models",
        lambda route: route.fulfill(json={"items": offered, "default": "scripted", "known": True}),
    )
    page.locator("#model").click()
    dialog = page.get_by_role("dialog", name="Model")
    names = dialog.locator(".name")
    expect(names).to_have_count(62)
    expect(dialog.get_by_role("button", pressed=True)).to_have_text("scriptedusual")
    assert axe.serious(page) == []

    page.keyboard.type("cod big")
    expect(names).to_have_count(1)
    dialog.get_by_role("button", name="Favourite: org/big-coder").click()
    dialog.get_by_role("searchbox").fill("")
    expect(names.first).to_have_text("org/big-coder")
    dialog.get_by_role("searchbox").focus()
    page.keyboard.press("ArrowDown")
    expect(names.first).to_be_focused()
    page.keyboard.press("Enter")

    expect(dialog).to_be_hidden()
    expect(page.locator("#model")).to_have_text("org/big-coder")
    expect(page.locator("#model")).to_be_focused()
    page.reload()
    expect(page.locator("#model")).to_have_text("org/big-coder")
    page.locator("#model").click()
    expect(names.first).to_have_text("org/big-coder")
    page.keyboard.press("Escape")
    expect(page.locator("#model")).to_have_text("org/big-coder")
    page.unroute("**/api/models")  # the provider does not offer it any more
    page.reload()
    expect(page.locator("#model")).to_have_text("scripted")


# --- light and dark, and shortcuts ---------------------------------------------------------------


def test_theme_is_chosen_and_is_in_the_page_from_its_first_byte(meet: Meet, web: Web) -> None:
    person = meet(web, color_scheme="light")
    tab = person.open()
    paper = "getComputedStyle(document.body).backgroundColor"
    light = tab.page.evaluate(paper)

    tab.press("Light or dark")
    expect(tab.page.locator("html")).to_have_attribute("data-theme", "dark")
    dark = tab.page.evaluate(paper)
    assert dark != light
    for path in ("/", "/live", "/s"):
        found = person.context.request.get(web.url + path)
        assert 'data-theme="dark"' in found.text().split(">")[1]
    tab.page.reload()
    assert tab.page.evaluate(paper) == dark

    tab.press("Light or dark")  # light, whatever the system has
    tab.page.emulate_media(color_scheme="dark")
    assert tab.page.evaluate(paper) == light
    tab.press("Light or dark")
    expect(tab.page.locator("html")).to_have_attribute("data-theme", "dark")
    tab.page.context.add_cookies([{"name": "outlive_theme", "value": '"><x>', "url": web.url}])
    tab.page.reload()
    expect(tab.page.locator("html")).not_to_have_attribute("data-theme", re.compile(".*"))


def test_shortcuts_are_listed_and_work(tab: Tab, client: Client) -> None:
    page, keys = tab.page, tab.page.keyboard
    client.ended(client.ask(quick("Sheet.", tag="sheet")))
    keys.type("really?")
    expect(page.locator("#question")).to_have_value("really?")
    page.locator("#question").fill("")
    page.locator("#question").blur()

    keys.press("?")
    sheet = page.get_by_role("dialog", name="Keyboard shortcuts")
    expect(sheet).to_be_visible()
    assert axe.serious(page) == []
    keys.press("?")
    expect(sheet).to_be_hidden()
    keys.press("/")
    expect(page.locator("#question")).to_be_focused()
    page.locator("#conversations a").first.click()
    expect(tab.answers).to_have_count(1)
    keys.press("Control+Shift+O")
    expect(page.locator("#empty")).to_be_visible()
    assert tab.path == "/"


# --- phones --------------------------------------------------------------------------------------

#: Answers that are wider than a phone, in each way that Markdown has.
WIDE = "\n\n".join(
    (
        "W" * 400,
        f"`{'code_without_end' * 30}`",
        f"```\n{'wide ' * 80}\n```",
        "| " + " | ".join(["a_long_word_in_a_cell"] * 9) + " |\n" + "| --- " * 9 + "|",
        "\n".join(f"{'  ' * depth}- level {depth}" for depth in range(24)),
        "> " * 24 + "deep",
        f"1{'0' * 30}. a number",
        f"# {'H' * 200}",
        f"[{'L' * 200}](https://example.org/{'x' * 300})",
        f"$$ {'x+' * 200} $$ and ${'y+' * 200}$",
        "שלום " * 60 + "W" * 300,
        "﷽" * 40 + "𒐫" * 40,
        "e" + "\u0301" * 300,
    )
)


def test_a_phone_has_room_for_fingers_and_nothing_wobbles(meet: Meet, web: Web) -> None:
    person = meet(web, **PHONE)
    tab = person.open()
    page = tab.page
    expect(page.locator("#empty")).to_be_visible()
    small = page.evaluate(SMALL)
    page.locator("#question").fill(quick(f"{WIDE}\n\nThat was it."))
    tab.press("Send")
    tab.finished()
    expect(page.locator("#question")).not_to_be_focused()
    small += page.evaluate(SMALL)

    # Runs far away are not laid out; here all are.
    page.locator(".run").evaluate_all("all => all.forEach(one => one.className = '')")
    room = "one => one.scrollWidth - one.clientWidth"
    assert page.locator("#scroll").evaluate(room) == 0
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    tab.press("Conversations")
    expect(page.locator("#side")).to_be_visible()
    first = page.locator("[data-conversation]").first
    expect(first.get_by_role("button", name=re.compile("^Delete"))).to_be_hidden()
    first.get_by_role("button", name=re.compile("^Rename or delete")).tap()
    expect(first.get_by_role("button", name=re.compile("^Delete"))).to_be_visible()
    small += page.evaluate(SMALL)
    page.locator("#shade").click(position={"x": 380, "y": 400})
    page.locator("#model").tap()
    expect(page.get_by_role("dialog", name="Model")).to_be_visible()
    small += page.evaluate(SMALL)
    page.keyboard.press("Escape")

    page.get_by_role("link", name="New conversation").tap()
    expect(page.locator("#empty")).to_be_visible()
    assert small == []


# --- print ---------------------------------------------------------------------------------------


def test_print_has_the_whole_conversation_and_nothing_else(
    meet: Meet, web: Web, client: Client
) -> None:
    place = client.conversation(title="On paper")
    for number in range(11):
        client.ended(client.ask(quick(f"Answer {number}."), place))
    code = "".join(f"line_{number} = '{'x' * 150}'\n" for number in range(150))
    thought = scripted.reasoning("A thought that is folded. " * 40)
    steps = (thought, scripted.say(f"```python\n{code}```\n"), scripted.finish())
    client.ended(client.ask(scripted.script(*steps, scripted.done()), place))
    person = meet(web, color_scheme="dark")
    person.context.add_init_script("window.print = () => window.printed = true")
    tab = person.open(f"/c/{place}")
    page = tab.page
    tab.finished()
    expect(page.locator("#earlier")).to_be_visible()

    page.keyboard.press("Control+p")

    page.wait_for_function("() => window.printed")
    assert tab.answers.count() == 12
    page.emulate_media(media="print")
    expect(page.locator("#side, .foot, .actions, #earlier").filter(visible=True)).to_have_count(0)
    expect(page.get_by_text("A thought that is folded").first).to_be_visible()
    wide = page.locator("pre.code").evaluate_all(
        "all => all.some(one => one.scrollWidth > one.clientWidth)"
    )
    assert not wide
    assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "light"
    pages = len(re.findall(rb"/Type\s*/Page\b", page.pdf(format="A4")))
    assert 6 <= pages <= 60
