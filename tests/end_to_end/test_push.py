"""A browser is notified through its push service when an answer is ready, by real processes."""

import json
import queue
import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

import scripted
from local.programs import Web
from shared.store import pushes
from shared.vapid import Vapid
from tests.client import Client
from tests.end_to_end.browser import Meet
from tests.end_to_end.questions import quick
from tests.push_receiver import KEY, PushReceiver, receiving
from tests.rig import Rig, eventually, killing
from tests.stories import holding


@pytest.fixture(scope="module")
def receiver() -> Iterator[PushReceiver]:
    with receiving() as found:
        yield found


@pytest.fixture(scope="module")
def notifying_web(rig: Rig, receiver: PushReceiver) -> Iterator[Web]:
    web, worker = rig.web(**receiver.settings), rig.worker(**receiver.settings)
    with killing(web, worker):  # or it would take the work of other files, too
        yield web


@pytest.fixture
def mine(notifying_web: Web) -> Iterator[Client]:
    with Client(notifying_web.url) as client:
        yield client
        for one in client.http.get("/api/push").json()["items"]:
            client.http.delete(f"/api/push/{one['id']}")


def subscribe(client: Client, receiver: PushReceiver, name: str, **fields: object) -> str:
    answer = client.http.post("/api/push", json={**receiver.subscription(name), **fields})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def test_a_browser_is_told_once_and_of_nothing_that_was_said(
    rig: Rig, mine: Client, receiver: PushReceiver
) -> None:
    subscribe(mine, receiver, "plain")
    subscribe(mine, receiver, "with-text", with_text=True)
    conversation = mine.conversation(title="Secret plans")
    answer = mine.ask(quick("The answer is 42."), conversation)

    found = {one.path: one for one in (receiver.next(), receiver.next())}

    plain, with_text = found["/plain"], found["/with-text"]
    assert plain.said == {"conversation": conversation, "message": answer, "result": "ready"}
    assert (with_text.said["title"], with_text.said["text"]) == (
        "Secret plans",
        "The answer is 42.",
    )
    assert plain.headers["Content-Encoding"] == "aes128gcm"
    assert plain.headers["Topic"] == answer.replace("-", "")
    assert not rig.rows("SELECT 1 FROM pushes")


def test_who_saw_it_or_stopped_it_is_not_told_and_a_failure_is(
    rig: Rig, mine: Client, receiver: PushReceiver
) -> None:
    subscribe(mine, receiver, "seen")
    seen = mine.conversation()
    mine.ended(mine.ask(quick("Seen."), seen))
    assert mine.http.post(f"/api/conversations/{seen}/seen", json={}).status_code == 204
    with holding(rig, mine, scripted.say("Once")) as held:
        mine.stop(held.id)
        mine.ended(held.id)
    failed = mine.ask(scripted.script(scripted.say("Oh"), scripted.cut()))

    told = receiver.next()

    assert (told.said["message"], told.said["result"]) == (failed, "failed")
    eventually(lambda: not rig.rows("SELECT 1 FROM pushes"))
    with pytest.raises(queue.Empty):
        receiver.next(1)


def test_an_expired_browser_is_removed_and_no_redirect_is_followed(
    rig: Rig, mine: Client, receiver: PushReceiver
) -> None:
    kept = subscribe(mine, receiver, "moved")
    receiver.status, receiver.location = 307, f"{receiver.origin}/elsewhere"
    mine.ask(quick("One."))
    assert receiver.next().path == "/moved"
    receiver.status, receiver.location = 410, ""
    mine.ask(quick("Two."))
    assert receiver.next().path == "/moved"
    receiver.status = 201

    eventually(lambda: mine.http.get("/api/push").json()["items"] == [])

    assert receiver.received.empty()
    assert mine.http.delete(f"/api/push/{kept}").status_code == 404


def test_only_a_browsers_subscription_can_be_notified(
    notifying_web: Web, mine: Client, receiver: PushReceiver, client: Client
) -> None:
    good = receiver.subscription("x")

    def code(**changes: object) -> str:
        return str(mine.http.post("/api/push", json={**good, **changes}).json()["code"])

    assert code(endpoint="https://127.0.0.1/x") == "invalid_endpoint"
    assert code(endpoint="https://fcm.googleapis.com/x") == "invalid_endpoint"  # not listed here
    assert code(keys={**good["keys"], "p256dh": "AAAA"}) == "invalid_push_keys"
    assert code(keys={**good["keys"], "auth": "AAAA"}) == "invalid_push_keys"
    assert code(more=1) == "invalid"
    assert mine.http.get("/api/push").json() == {"key": Vapid(KEY, "").public_key, "items": []}
    assert client.http.get("/api/push").json()["key"] is None
    assert client.http.post("/api/push", json=good).json()["code"] == "push_off"
    for number in range(pushes.MOST + 2):
        subscribe(mine, receiver, f"browser-{number}")
    subscribe(mine, receiver, "browser-5")  # it is known
    assert len(mine.http.get("/api/push").json()["items"]) == pushes.MOST


#: Where a browser reaches no push service, as headless Chromium: it has subscribed all the same.
SUBSCRIBED = """
const real = PushManager.prototype;
let mine = null;
real.subscribe = async () => (mine = {
  toJSON: () => (SUBSCRIPTION),
  unsubscribe: async () => { mine = null; },
});
real.getSubscription = async () => mine;
"""


def test_a_person_wants_to_be_notified_in_the_browser_and_then_not(
    rig: Rig, meet: Meet, notifying_web: Web, mine: Client, receiver: PushReceiver
) -> None:
    person = meet(notifying_web, permissions=["notifications"])
    subscription = json.dumps(receiver.subscription("page"))
    person.context.add_init_script(SUBSCRIBED.replace("SUBSCRIPTION", subscription))
    tab = person.open()
    page = tab.page

    def wanted() -> list[bool]:
        return [one["with_text"] for one in mine.http.get("/api/push").json()["items"]]

    def turn(words: str, now: list[bool]) -> None:
        box = page.get_by_role("checkbox", name=words)
        expect(box).to_be_enabled()
        box.click()
        eventually(lambda: wanted() == now)

    subscribe(mine, receiver, "elsewhere")
    tab.press("Notify me")
    turn("Notify me in this browser", [False, False])
    turn("first words", [True, False])
    page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    eventually(lambda: wanted() == [True])
    tab.press("Close")
    expect(page.get_by_role("button", name="Notify me")).to_have_attribute("aria-pressed", "true")
    assert page.evaluate("navigator.serviceWorker.ready.then(({scope}) => scope)").endswith("/")

    # The real service worker gets what a push service would give it.
    cdp = person.context.new_cdp_session(page)
    registrations: list[str] = []
    cdp.on(
        "ServiceWorker.workerRegistrationUpdated",
        lambda event: registrations.extend(one["registrationId"] for one in event["registrations"]),
    )
    cdp.send("ServiceWorker.enable")
    manifest = cdp.send("Page.getAppManifest")
    assert (manifest["errors"], json.loads(manifest["data"])["name"]) == ([], "Outlive")
    [worker] = person.context.service_workers
    place = mine.conversation(title="Tides")
    shown = "self.registration.getNotifications().then(all => all.map("
    shown += "({title, body, tag, data}) => [title, body, tag, data.url]))"

    def push(**fields: str) -> None:
        said = {"conversation": place, "message": "m", "result": "ready", **fields}
        cdp.send(
            "ServiceWorker.deliverPushMessage",
            {"origin": person.url, "registrationId": registrations[0], "data": json.dumps(said)},
        )

    push()
    worker.evaluate(
        "url => self.clients.matchAll().then(([one]) => one.postMessage({open: url}))",
        f"/c/{place}",
    )
    expect(page).to_have_title(re.compile("Tides"))
    assert worker.evaluate(shown) == []  # the page is seen
    page.goto("about:blank")
    push()
    eventually(lambda: len(worker.evaluate(shown)) == 1)
    push(message="n", result="failed", title="Tides", text="The moon")
    eventually(lambda: len(worker.evaluate(shown)) == 2)
    assert sorted(worker.evaluate(shown)) == [
        ["Tides", "The moon", "n", f"/c/{place}"],
        ["Your answer is ready.", "", "m", f"/c/{place}"],
    ]

    tab = person.open()
    tab.press("Notify me")
    box = tab.page.get_by_role("checkbox", name="Notify me in this browser")
    expect(box).to_be_checked()
    box.click()
    eventually(lambda: wanted() == [])
