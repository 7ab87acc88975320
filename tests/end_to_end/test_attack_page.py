"""A page of another site attacks all that `outlive up` starts, in every way a browser allows.

It must read nothing and change nothing, although the person has signed in everywhere. The same page
attacks an open server (the control), which proves that its ways work.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest
from playwright.sync_api import Browser, BrowserContext

from local import data_dirs
from scripted import done, finish, hold, say, script
from shared.settings import with_driver
from shared.store.database import Database
from tests.client import Client, new_id
from tests.end_to_end.attack_site import CONTROL, Site, attack
from tests.end_to_end.test_up import OTHERS, Up
from tests.rig import PATIENCE, Rig, eventually

#: The secret that must not be read.
CANARY = f"canary-{new_id()}"


@dataclass
class Service:
    """What `outlive up` runs, with an answer being written."""

    state: dict[str, Any]
    client: Client
    db: Database
    window: httpx2.Client
    conversation: str
    answer: str

    @property
    def web(self) -> str:
        return str(self.state["web"]["url"])

    @property
    def flower(self) -> str:
        """Flower's URL without credentials: the browser adds them."""
        scheme, _, rest = str(self.state["flower"]["url"]).partition("://")
        return f"{scheme}://{rest.rpartition('@')[2]}"

    @property
    def worker(self) -> str:
        """The worker's name in Celery."""
        return str(next(iter(self.window.get("/api/workers", params={"refresh": 1}).json())))

    def rows(self) -> list[Any]:
        """All rows that an attack could change."""
        messages = self.db.rows(
            "SELECT id, status, stop_requested, attempt FROM messages ORDER BY id"
        )
        conversations = self.db.rows(
            "SELECT id, title, system, deleted_at FROM conversations ORDER BY id"
        )
        return [tuple(row) for row in (*messages, *conversations)]

    def workers(self) -> Any:
        """The workers' state, as Celery reports it."""
        [worker] = self.window.get("/api/workers", params={"refresh": 1}).json().values()
        return (
            [queue["name"] for queue in worker["active_queues"]],
            worker["stats"]["pool"]["max-concurrency"],
            worker["stats"]["pid"],
            sorted(self.window.get("/api/tasks").json()),
        )


@pytest.fixture(scope="module")
def service(rig: Rig) -> Iterator[Service]:
    """`outlive up` with its defaults and the scripted provider."""
    patch = pytest.MonkeyPatch()
    for name in OTHERS:
        patch.delenv(name, raising=False)
    patch.setenv("OPENAI_BASE_URL", rig.scripted.url)
    patch.setenv("OUTLIVE_STALL_SECONDS", "600")  # the answer waits until the end
    with patch.context(), data_dirs.temporary() as home:
        up = Up(home / "var", "--port", "0")
        try:
            yield from _served(rig, up.wait().state())
        finally:
            up.process.terminate()
            up.process.wait(20)
            patch.undo()


def _served(rig: Rig, state: dict[str, Any]) -> Iterator[Service]:
    db = Database(with_driver(state["postgres"]["url"]))
    flower = state["flower"]["url"]
    with (
        Client(state["web"]["url"]) as client,
        httpx2.Client(base_url=flower, timeout=10) as window,
    ):
        # Flower knows only tasks that begin after it has started to listen.
        eventually(lambda: window.get("/api/workers", params={"refresh": 1}).json())
        name, conversation = f"held {new_id()}", client.conversation(title=f"title {CANARY}")
        question = script(say(f"so far {CANARY}"), hold(name), finish(), done())
        answer = client.ask(question, conversation)
        client.shown(answer, 6)
        eventually(lambda: window.get("/api/tasks").json())
        yield Service(state, client, db, window, conversation, answer)
        # After all attacks the answer and the service go on.
        rig.scripted.release(name)
        assert client.ended(answer)["status"] == "DONE"
        later = client.ask(script(say("still here"), finish(), done()))
        assert client.ended(later)["text"] == "still here"
    db.dispose()


@contextmanager
def _person(
    browser: Browser, service: Service, *, bypass_csp: bool = False
) -> Iterator[BrowserContext]:
    """A person who uses the service and has signed in to Flower, by link and by password."""
    context = browser.new_context(bypass_csp=bypass_csp)
    context.set_default_timeout(PATIENCE * 1000)
    page = context.new_page()
    page.goto(f"{service.web}/c/{service.conversation}")
    page.goto(f"{service.web}/live")
    page.locator("#flower").click()
    page.wait_for_url(f"{service.flower}/")
    assert "Flower" in page.title()
    page.goto(f"{service.state['flower']['url']}/api/workers")
    assert "active_queues" in page.content()
    yield context
    context.close()


def _readable(service: Service, web: str, flower: str) -> list[str]:
    message = f"{web}/api/messages/{service.answer}"
    return [
        f"{web}/",
        f"{web}/live",
        f"{web}/static/app.js",
        f"{web}/static/layout.css",
        f"{web}/api/conversations",
        f"{web}/api/live",
        f"{message}/stream",
        f"{web}/healthz",
        f"{flower}/",
        f"{flower}/api/workers",
        f"{flower}/static/css/flower.css",
    ]


def _writable(service: Service, web: str, flower: str) -> list[str]:
    [task] = [name for name in service.workers()[3] if service.answer in name]
    worker = service.worker
    return [
        f"{web}/api/conversations",
        f"{web}/api/conversations/{service.conversation}",
        f"{web}/api/conversations/{service.conversation}/messages",
        f"{web}/api/messages/{service.answer}/stop",
        f"{flower}/api/worker/queue/cancel-consumer/{worker}?queue=outlive",
        f"{flower}/api/worker/pool/shrink/{worker}?n=3",
        f"{flower}/api/task/send-task/outlive.generate",
        f"{flower}/api/task/revoke/{task}?terminate=true",
        f"{flower}/api/worker/shutdown/{worker}",
    ]


def test_attack_page_succeeds_against_an_open_server(browser: Browser, site: Site) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"http://evil.localhost:{site.port}/")
    base = f"http://127.0.0.1:{site.port}/control"

    found = attack(page, [f"{base}{path}" for path in CONTROL], [f"{base}/write"])

    context.close()
    ways = {way for way, *_ in found}
    assert ways >= {
        "fetch", "fetch with credentials", "image", "script", "module", "style", "event stream",
        "POST", "PUT", "PATCH", "DELETE",
    }  # fmt: skip
    # A form, a beacon and a blind POST read nothing, but they arrive.
    assert site.asked.count(("POST", "/write")) >= 5


@pytest.mark.failure(58)
@pytest.mark.parametrize("name", ["evil.localhost", "127.0.0.1"])
def test_other_site_reads_and_changes_nothing(
    browser: Browser, service: Service, site: Site, name: str
) -> None:
    before = service.rows(), service.workers()
    with _person(browser, service) as context:
        page = context.new_page()
        page.goto(f"http://{name}:{site.port}/")
        web, flower = service.web, service.flower

        found = attack(page, _readable(service, web, flower), _writable(service, web, flower))

    assert found == []

    assert (service.rows(), service.workers()) == before


@pytest.mark.parametrize("part", ["web", "flower"])
def test_rebound_name_reads_and_changes_nothing(
    browser: Browser, service: Service, part: str
) -> None:
    before = service.rows(), service.workers()
    port = (service.web if part == "web" else service.flower).rpartition(":")[2]
    base = f"http://rebound.localhost:{port}"
    # The page that attacks came from another server, so our policy does not hold for it.
    with _person(browser, service, bypass_csp=True) as context:
        page = context.new_page()
        page.goto(f"{base}/")  # the same origin from now on
        assert CANARY not in page.content()

        found = attack(page, _readable(service, base, base), _writable(service, base, base))

        # It reads refusals only.
        text = json.dumps(found)
        assert CANARY not in text
        assert "active_queues" not in text
        fetched = [what for way, _, what in found if way in ("fetch", "POST", "DELETE")]
        assert {what.partition(" ")[0] for what in fetched} <= {"403", "200"}
        assert all("alive" in what for what in fetched if what.startswith("200"))

    assert (service.rows(), service.workers()) == before
