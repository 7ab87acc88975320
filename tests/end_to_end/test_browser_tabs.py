"""Many tabs of one browser: together they leave connections free for requests.

Over HTTP/1.1 a browser has six connections to a server. One tab streams the notices for all; a
hidden tab streams no answer, and of the visible ones three at a time do.
"""

from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass

import pytest
from playwright.sync_api import Browser, Error, expect

import scripted
from local.programs import Web
from tests.client import Client
from tests.end_to_end.browser import HIDE, SHOW, Meet, Person, Tab, launch, text_of
from tests.end_to_end.questions import answer_text, gated, quick
from tests.nginx import nginx
from tests.rig import Rig, killing

pytestmark = pytest.mark.usefixtures("worker")

#: A browser without locks, as on plain HTTP from another machine.
WITHOUT_LOCKS = "delete Navigator.prototype.locks;"
#: A host name of another machine.
ELSEWHERE = "lan.test"
#: Streams that one browser may have over HTTP/1.1: the notices and three answers.
MOST = 4
LISTED = "#conversations[aria-busy='false']"


@dataclass(frozen=True)
class Load:
    """A person, a service, and questions whose answers wait or take long."""

    person: Person
    rig: Rig
    client: Client
    #: how the browser reaches the service; makes names differ between the variants
    way: str

    @property
    def multiplexed(self) -> bool:
        """Whether all requests share one connection."""
        return self.way == "http2"

    def release(self, gate: str) -> None:
        """Let the answer at this gate go on."""
        self.rig.scripted.release(f"{gate} {self.way}")

    def held(self, gate: str) -> tuple[str, str, str]:
        """A question whose answer waits in the middle: its conversation, its answer, itself."""
        name = f"{gate} {self.way}"
        question = gated(f"The beginning of {gate}. ", name, f"And the end of {gate}.")
        answer = self.client.ask(question)
        self.client.shown(answer)
        return f"/c/{self.client.message(answer)['conversation_id']}", answer, question

    def slow(self, number: int) -> tuple[str, str]:
        """An answer that is written until the test ends: its conversation and itself."""
        steps = (scripted.say(f"Number {number}. "), scripted.long(9000, rate=20))
        question = scripted.script(*steps, scripted.done(), tag=f"{number} {self.way}")
        answer = self.client.ask(question)
        self.client.shown(answer)
        return f"/c/{self.client.message(answer)['conversation_id']}", answer

    def streaming(self, count: int) -> None:
        """Wait until the browser has this many streams."""
        page = self.person.context.pages[0]
        for _ in range(600):
            if len(self.person.open_streams) == count:
                return
            page.wait_for_timeout(50)  # Playwright handles its events meanwhile
        pytest.fail(f"{[one.url for one in self.person.open_streams]} instead of {count}")


@pytest.fixture(params=["http1", "http1-without-locks", "http2"])
def load(
    request: pytest.FixtureRequest, meet: Meet, rig: Rig, web: Web, client: Client
) -> Iterator[Load]:
    """One browser, with and without locks, over HTTP/1.1 and over HTTP/2 through nginx."""
    with ExitStack() as stack:
        if request.param == "http2":
            there = stack.enter_context(nginx(web.url))
            person = meet(web, ignore_https_errors=True)
            person.url = there.tls_url
        else:
            person = meet(web)
        if request.param == "http1-without-locks":
            person.context.add_init_script(WITHOUT_LOCKS)
        yield Load(person, rig, client, request.param)
        person.context.close()


#: With and without locks; the protocol makes no difference.
LOCKS = pytest.mark.parametrize("load", ["http1", "http1-without-locks"], indirect=True)


def loaded(tab: Tab) -> None:
    """Wait until the page has loaded and lists the conversations."""
    expect(tab.page.locator(LISTED)).to_have_count(1)


def good(*tabs: Tab) -> None:
    """Fail if a tab says that it cannot reach the server."""
    for tab in tabs:
        expect(tab.page.locator("#connection")).to_have_attribute("data-state", "good")


@pytest.mark.failure(61)
def test_hidden_tabs_hold_no_stream(load: Load) -> None:
    person, held = load.person, [load.held(f"hidden-{n}") for n in range(4)]
    idle = f"/c/{load.client.conversation(title='Idle')}"
    tab = person.open(held[0][0])
    assert tab.written(10).startswith("The beginning of hidden-0.")
    born = [person.open(place, hidden=True) for place, _, _ in held[1:] for _ in range(2)]
    resting = [person.open(idle) for _ in range(3)]
    for one in resting:
        loaded(one)
        one.page.evaluate(HIDE)
    for one in (*born, *resting):
        loaded(one)

    load.streaming(2)  # the notices, and the visible answer
    elsewhere = load.client.ask(quick("Asked on another device."), idle.removeprefix("/c/"))
    load.client.ended(elsewhere)
    for one in born:
        mark = one.mark(idle.removeprefix("/c/"))
        expect(mark).to_have_attribute("data-mark", "unseen")
    load.streaming(2)

    new = person.open()  # it loads, asks and gets an answer
    assert new.answer_to(quick("There is room.")) == "There is room."
    tab.press("Stop")
    tab.finished("CANCELLED")
    load.streaming(1)
    assert person.most_streams <= 4
    good(tab, new, *born, *resting)

    born[0].page.evaluate(SHOW)  # shows what was written, and goes on
    assert born[0].written(10).startswith("The beginning of hidden-1.")
    load.release("hidden-1")
    assert born[0].finished() == answer_text(held[1][2])
    resting[0].page.evaluate(SHOW)
    assert resting[0].finished() == "Asked on another device."
    born[0].page.evaluate(HIDE)
    load.release("hidden-2")
    load.release("hidden-3")
    for one, (_, _, question) in zip(born[2:], (held[2], held[2], held[3], held[3]), strict=True):
        expect(one.page).not_to_have_title("● ")
        one.page.evaluate(SHOW)
        assert one.finished() == answer_text(question)
    load.release("hidden-0")


@pytest.mark.failure(61)
def test_ten_visible_tabs_take_turns_and_leave_connections_free(
    load: Load,
) -> None:
    person, slow = load.person, [load.slow(number) for number in range(9)]
    tabs = [person.open(place) for place, _ in slow]

    for number, tab in enumerate(tabs):
        assert tab.written(10).startswith(f"Number {number}.")
    if load.multiplexed:
        load.streaming(10)
    else:
        load.streaming(MOST)
        assert (
            person.most_streams <= MOST + 2
        )  # a tab closes its stream a moment after another opens
    tabs[0].press("Stop")
    tabs[0].finished("CANCELLED")
    new = person.open()
    loaded(new)
    assert new.answer_to(quick("There is room.")) == "There is room."
    for _, answer in slow[1:]:
        load.client.stop(answer)
    for tab, (_, answer) in zip(tabs, slow, strict=True):
        assert tab.finished("CANCELLED") == load.client.message(answer)["text"]
    load.streaming(1)
    good(new, *tabs)


@LOCKS
@pytest.mark.failure(61)
def test_another_tab_leads_when_the_leader_is_closed_or_crashes(load: Load) -> None:
    person = load.person
    tabs = [person.open() for _ in range(4)]
    for tab in tabs:
        loaded(tab)
    load.streaming(1)

    def known(title: str, *there: Tab) -> None:
        load.client.conversation(title=title)
        for tab in there:
            expect(tab.page.get_by_role("link", name=title, exact=True)).to_have_count(1)
        load.streaming(1)

    def leader() -> Tab:
        [page] = person.open_streams.values()
        return next(tab for tab in tabs if tab.page == page)

    for way in ("closes", "freezes", "crashes"):
        left = leader()
        tabs.remove(left)
        if way == "closes":
            left.close()
        elif way == "freezes":
            left.page.evaluate("document.dispatchEvent(new Event('freeze'))")
        else:
            with pytest.raises(Error):
                left.page.goto("chrome://crash")
        known(f"It {way}, {load.way}", *tabs)


@LOCKS
def test_duplicated_and_thawed_tabs_follow_the_leader(load: Load) -> None:
    person = load.person
    first = person.open()
    loaded(first)
    with person.context.expect_page() as opened:
        first.page.evaluate("void window.open(location.href)")
    second = Tab(opened.value)
    loaded(second)
    load.streaming(1)

    for event in ("freeze", "resume"):  # both wake: one of them leads
        for tab in (first, second):
            tab.page.evaluate(f"document.dispatchEvent(new Event('{event}'))")

    title = f"After both slept, {load.way}"
    load.client.conversation(title=title)
    for tab in (first, second):
        expect(tab.page.get_by_role("link", name=title, exact=True)).to_have_count(1)
    load.streaming(1)


@LOCKS
def test_desktop_notification_only_while_no_tab_is_visible(load: Load) -> None:
    person = load.person
    person.context.grant_permissions(["notifications"], origin=person.url)
    person.context.add_init_script(
        "window.shown = []; window.Notification = class { static permission = 'granted';"
        " static requestPermission = async () => 'granted';"
        " constructor(title, {body}) { window.shown.push(body); } }"
    )
    leader, other = person.open(), person.open()
    loaded(other)
    leader.press("Notify me")
    leader.page.evaluate(HIDE)
    place, _, _ = load.held("watched")
    expect(leader.mark(place.removeprefix("/c/"))).to_have_attribute("data-mark", "writing")

    load.release("watched")
    expect(leader.mark(place.removeprefix("/c/"))).to_have_attribute("data-mark", "unseen")
    assert leader.page.evaluate("window.shown") == []

    other.page.evaluate(HIDE)
    load.held("unwatched")
    load.release("unwatched")
    leader.page.wait_for_function("() => window.shown.length > 0")
    assert leader.page.evaluate("window.shown") == ["The answer is ready."]
    assert other.page.evaluate("window.shown") == []


@pytest.mark.failure(61)
def test_seven_idle_tabs_without_locks_leave_connections_free(rig: Rig, browser: Browser) -> None:
    web = rig.web(OUTLIVE_HOSTS=ELSEWHERE)
    # For a browser this is plain HTTP from another machine: it has no locks there.
    there = launch(browser.browser_type, f"--host-resolver-rules=MAP {ELSEWHERE} 127.0.0.1")
    with killing(web), closing(there):
        person = Person.of(there, web.url.replace("127.0.0.1", ELSEWHERE))

        tabs = [person.open() for _ in range(7)]

        for tab in tabs:
            loaded(tab)
        assert not tabs[0].page.evaluate("isSecureContext || 'locks' in navigator")
        assert tabs[0].answer_to(quick("From the first.")) == "From the first."
        assert text_of(tabs[0].answer) == "From the first."
        assert len(person.open_streams) == 1
        good(*tabs)
        # Chromium reports that it ignores this header there.
        assert [one for one in person.mishaps if "Cross-Origin-Opener-Policy" not in one] == []
