"""One rig for the whole run: starting servers costs seconds, stories take turns on them."""

import os
import socket
from collections.abc import Iterator

import pytest

from local import data_dirs
from local.programs import Web, Worker
from shared import awake
from tests.client import Client
from tests.rig import Rig
from tests.store_fixtures import Store, migrate, new_database
from tests.stories import sweep

for name in list(os.environ):
    # The person's own settings are not the tests'.
    if name.startswith(("OUTLIVE_", "OPENAI_")) or name in ("DATABASE_URL", "REDIS_URL", "PORT"):
        del os.environ[name]


#: Files that take minutes come first: one that is left for the end keeps only one process busy.
LONG = (
    "test_drill",
    "test_deploys",
    "test_lost_workers",
    "test_up",
    "test_newcomer",
    "test_streams",
    "test_mutated_streams",
    "test_browser",
    "test_frozen_worker",
    "test_terminal",
    "test_redis_loss",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """By what a file takes; within a file, and among the short ones, nothing changes."""
    order = {name: number for number, name in enumerate(LONG)}
    items.sort(key=lambda item: order.get(item.path.stem, len(LONG)))


@pytest.fixture(autouse=True)
def awake_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process of tests does not run its loop all the time, as it would have to (see `awake`)."""
    monkeypatch.setattr(awake, "_clock", awake.Clock())


@pytest.fixture(scope="session")
def rig() -> Iterator[Rig]:
    """Postgres, Redis, the scripted provider; migrated."""
    with data_dirs.temporary() as home, Rig(home / "rig") as rig:
        yield rig


@pytest.fixture(scope="session")
def nowhere() -> Iterator[str]:
    """Host and port where nobody listens for as long as this process lives: the port is taken.

    One that is merely free may become another story's server.
    """
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{held.getsockname()[1]}"


@pytest.fixture(scope="session")
def web(rig: Rig) -> Web:
    """A web master with two processes."""
    return rig.web()


@pytest.fixture(scope="session")
def other_web(rig: Rig) -> Web:
    """Another one, with two more."""
    return rig.web()


@pytest.fixture
def worker(rig: Rig, long_lived_worker: Worker) -> Worker:
    """A running worker; a new one if a story has killed the last."""
    if not long_lived_worker.alive():
        long_lived_worker.start().wait()
    return long_lived_worker


@pytest.fixture(scope="session")
def long_lived_worker(rig: Rig) -> Worker:
    """See `worker`."""
    return rig.worker()


@pytest.fixture
def no_workers(rig: Rig, long_lived_worker: Worker) -> None:
    """No worker but those that the story starts itself, and nothing left of who was there."""
    long_lived_worker.kill()
    sweep(rig, died=long_lived_worker.boot)


@pytest.fixture
def client(web: Web) -> Iterator[Client]:
    """A client of the first web master."""
    with Client(web.url) as client:
        yield client


@pytest.fixture(scope="session")
def tables(rig: Rig) -> Iterator[Store]:
    """A migrated database that no process of the rig knows, used by one story after another."""
    with new_database(rig, "store") as url:
        migrate(url)
        store = Store(url, rig.redis.url)
        yield store
        store.close()


@pytest.fixture
def store(tables: Store) -> Store:
    """The same, empty."""
    tables.clear()
    return tables
