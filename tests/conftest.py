"""One rig for each test process, since starting servers takes seconds; and the order of files."""

import json
import math
import os
import socket
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from local import data_dirs
from local.processes import ROOT
from local.programs import Web, Worker
from shared import awake
from shared.bus.livelog import LiveLog
from tests import turns_of_tests
from tests.client import Client
from tests.credentials import EC, ED, RSA, KeyServer, serving_keys, sign_in_settings
from tests.identity_provider import IdentityProvider, oidc_settings
from tests.rig import Rig
from tests.store_fixtures import Store, migrate, new_database
from tests.stories import sweep
from web.following.hub import Hub
from web.following.message_keeper import MessageKeeper

for name in list(os.environ):
    # The user's own settings are not the tests'.
    if name.startswith(("OUTLIVE_", "OPENAI_")) or name in ("DATABASE_URL", "REDIS_URL", "PORT"):
        del os.environ[name]


#: Seconds that each file took once. The longest begin first: one that begins last keeps only one
#: process busy. A file that is not in it comes first, as nothing is known of it; an entry without a
#: file does nothing. `./outlive test --record-durations` writes it anew.
DURATIONS = Path(__file__).with_name("durations.json")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--record-durations", action="store_true", help=f"write {DURATIONS.name} from this run"
    )


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        return
    config.add_cleanup(turns_of_tests.prepare().close)
    if config.getoption("--record-durations"):
        config.pluginmanager.register(Recorder())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    with turns_of_tests.turn(alone=item.get_closest_marker("alone") is not None):
        return (yield)


class Recorder:
    """Adds up what each file takes in all processes of a run, and writes it down at the end."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid.partition("::")[0]] += report.duration

    def pytest_sessionfinish(self) -> None:
        kept = {name: seconds for name, seconds in durations().items() if (ROOT / name).exists()}
        found = kept | {name: round(seconds, 1) for name, seconds in self.seconds.items()}
        DURATIONS.write_text(json.dumps(dict(sorted(found.items())), indent=1) + "\n")


def durations() -> dict[str, float]:
    """The seconds of each file, by its path; empty where they cannot be read."""
    try:
        return {name: float(seconds) for name, seconds in json.loads(DURATIONS.read_text()).items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that run alone, and then with the files that take longest.

    One that runs alone later would wait until the tests beside it have ended, and whatever could
    begin meanwhile would wait for it. Else nothing changes within a file.
    """
    known = durations()
    alone = {item.path for item in items if item.get_closest_marker("alone")}
    files = {item.path: item.nodeid.partition("::")[0] for item in items}
    order = {
        path: (path not in alone, -known.get(name, math.inf), number)
        for number, (path, name) in enumerate(files.items())
    }
    items.sort(key=lambda item: (order[item.path], item.get_closest_marker("alone") is None))


@pytest.fixture(autouse=True)
def awake_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fresh clock: a test process does not run its loop all the time, as `awake` expects."""
    monkeypatch.setattr(awake, "_clock", awake.Clock())


@pytest.fixture(scope="session")
def rig() -> Iterator[Rig]:
    """Postgres, Redis and the scripted provider; migrated."""
    with data_dirs.temporary() as home, Rig(home / "rig") as rig:
        yield rig


@pytest.fixture(scope="session")
def nowhere() -> Iterator[str]:
    """Host and port that refuse connections for as long as this process lives: the port is bound.

    A port that is merely free may become that of another test's server.
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
    """A second web master, with two processes more."""
    return rig.web()


@pytest.fixture(scope="session")
def key_server() -> Iterator[KeyServer]:
    """Where the host product of `required_web` serves its public keys."""
    with serving_keys(RSA, EC, ED) as server:
        yield server


@pytest.fixture(scope="session")
def required_web(rig: Rig, key_server: KeyServer) -> Web:
    """A web master where sign-in is required, with two processes."""
    rates = {"OUTLIVE_SIGN_IN_RATE": "5/day", "OUTLIVE_ASK_RATE": "1000/minute"}
    return rig.web(**sign_in_settings(key_server), **rates)


@pytest.fixture(scope="session")
def oidc_web(rig: Rig, key_server: KeyServer) -> Web:
    """A web master that knows its address, and accepts every credential there is: an identity
    provider's word (see below), accounts, tokens, keys."""
    kinds = sign_in_settings(key_server) | oidc_settings()
    web = rig.new_web(**kinds, OUTLIVE_SIGN_IN_RATE="1000/minute")
    public = {**web.environment.env, "OUTLIVE_PUBLIC_URL": web.url}
    web.environment = replace(web.environment, env=public)
    return web.start().wait()


@pytest.fixture(scope="session")
def identity_provider(rig: Rig, oidc_web: Web) -> Iterator[IdentityProvider]:
    """The identity provider of `oidc_web`."""
    port = int(oidc_web.environment.env["OUTLIVE_OIDC_ISSUER"].rpartition(":")[2])
    with IdentityProvider(rig.home / "log", port, oidc_web.url) as provider:
        yield provider


@pytest.fixture
def worker(rig: Rig, long_lived_worker: Worker) -> Worker:
    """A running worker; a new one if a test has killed the last."""
    return _alive(long_lived_worker)


@pytest.fixture(scope="module")
def worker_of_file(rig: Rig, long_lived_worker: Worker) -> Worker:
    """The same, for fixtures that a whole file shares."""
    return _alive(long_lived_worker)


def _alive(worker: Worker) -> Worker:
    if not worker.alive():
        worker.start().wait()
    return worker


@pytest.fixture(scope="session")
def long_lived_worker(rig: Rig) -> Worker:
    """See `worker`."""
    return rig.worker()


@pytest.fixture
def no_workers(rig: Rig, long_lived_worker: Worker) -> None:
    """No worker but those that the test starts, and no open answers of the one before."""
    long_lived_worker.kill()
    assert not any(one.alive() for one in rig.workers), "an earlier test has left a worker"
    sweep(rig, died=long_lived_worker.boot)


@pytest.fixture
def client(web: Web) -> Iterator[Client]:
    """A client of the first web master."""
    with Client(web.url) as client:
        yield client


@pytest.fixture(scope="session")
def tables(rig: Rig) -> Iterator[Store]:
    """A migrated database that no process of the rig uses, for one test after another."""
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


@pytest.fixture
def keeper(store: Store, nowhere: str) -> Iterator[MessageKeeper]:
    """The messages of a web process without Redis: a listener would wait and stop this process."""
    stops: list[bool] = []
    livelog = LiveLog(f"redis://{nowhere}", ttl=60)
    hub = Hub(livelog.subscription)
    keeper = MessageKeeper(hub, store.db, livelog, store.sweep())
    hub.serving_while(lambda: not stops)
    yield keeper
    stops.append(True)
