"""Fixtures of the end-to-end tests: browsers, and a rig for tests that break its servers."""

import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.sync_api import Browser

from local import data_dirs
from local.programs import Web, Worker
from tests.client import Client
from tests.end_to_end.attack_site import Site
from tests.end_to_end.browser import Meet, Person, Tab, launched
from tests.rig import Rig, eventually
from tests.tcp_proxy import TcpProxy


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium for all stories of a file."""
    with launched() as browser:
        yield browser


@pytest.fixture
def meet(browser: Browser) -> Iterator[Meet]:
    """Make people; when the story is over nothing may have happened to them."""
    with ExitStack() as stack:
        people: list[Person] = []

        def meet(web: Web | TcpProxy, **options: Any) -> Person:
            people.append(Person.of(browser, web.url, **options))
            stack.callback(people[-1].context.close)
            return people[-1]

        yield meet
        assert [person.mishaps for person in people] == [[] for _ in people]


@pytest.fixture
def tab(meet: Meet, web: Web) -> Tab:
    """A person's first tab."""
    return meet(web).open()


@dataclass(frozen=True)
class Fragile:
    """A service of its own, and a client of it."""

    rig: Rig
    web: Web
    worker: Worker
    client: Client


@pytest.fixture(scope="session")
def fragile_service() -> Iterator[Fragile]:
    """See `fragile`."""
    with data_dirs.temporary() as home, Rig(home / "fragile") as rig:
        web, worker = rig.web(), rig.worker()
        with Client(web.url) as client:
            yield Fragile(rig, web, worker, client)


@pytest.fixture
def fragile(fragile_service: Fragile) -> Iterator[Fragile]:
    """A service on which everything runs, whatever the last test broke."""
    yield fragile_service
    service, rig = fragile_service, fragile_service.rig
    for server in (rig.postgres, rig.redis, service.web, service.worker):
        server.signal(signal.SIGCONT)
        if not server.alive():
            server.start().wait()
    eventually(lambda: fragile_service.client.http.get("/readyz").status_code == 200)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """The site of the attack page."""
    with Site() as site:
        threading.Thread(target=site.serve_forever, daemon=True).start()
        yield site
        site.shutdown()
