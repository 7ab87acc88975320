"""The address leads to another server, while the old one stays up and is read-only."""

import shutil
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg2
import pytest

from local import data_dirs, ports
from local.postgres import Postgres
from local.standby import read_only
from shared.body import text_body
from shared.errors import KeyReused, StorageDown
from shared.settings import with_driver
from shared.store import conversations
from shared.store.asking import Asking, ask
from shared.store.database import Database
from shared.store.engine import LEAVE_SECONDS, POOL_SIZE
from tests.client import Client
from tests.rig import Rig, eventually, killing
from tests.store_fixtures import migrate
from tests.tcp_proxy import TcpProxy

USER = "00000000-0000-4000-8000-000000000001"
WRITE = "UPDATE users SET name = name WHERE id = CAST(:id AS uuid) RETURNING id"
WHERE = "SELECT current_setting('port')"


@dataclass(frozen=True)
class Two:
    """The old primary and the new one, and the address that the service knows."""

    old: Postgres
    new: Postgres
    proxy: TcpProxy

    def demote(self) -> None:
        """Make the old one read-only; its connections stay open."""
        read_only(self.old.url, True)

    def promote_back(self) -> None:
        """Make the old one writable again."""
        read_only(self.old.url, False)

    def switch(self) -> None:
        """Let the address lead to the new one."""
        self.proxy.lead_to(self.new.url)


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[Postgres, Postgres]]:
    """Two servers with the same data, users and passwords."""
    with data_dirs.temporary() as home:
        old = Postgres(home / "old", durable=False)
        with old:
            migrate(with_driver(old.url))
        with old, _copy(old, home / "new") as new:
            yield old, new


def _copy(server: Postgres, directory: Path) -> Postgres:
    """Another server with this one's data, copied while this one is stopped."""
    server.stop()
    directory.mkdir()
    shutil.copy(server.password_file, directory / "server.json")
    copy = Postgres(directory, ports.choose(), durable=False)
    shutil.copytree(server.data, copy.data)
    if copy.uid is not None:
        for path in [copy.data, *copy.data.rglob("*")]:
            shutil.chown(path, copy.uid, copy.uid)
    server.start().wait()
    return copy


@pytest.fixture
def two(servers: tuple[Postgres, Postgres]) -> Iterator[Two]:
    """The address leads to the old one, which writes."""
    with TcpProxy(servers[0].url) as proxy:
        two = Two(*servers, proxy)
        yield two
        two.promote_back()


@pytest.fixture
def db(two: Two) -> Iterator[Database]:
    db = Database(with_driver(two.proxy.url))
    db.warm()  # several pooled connections, all to the old one
    yield db
    db.dispose()


def _write(db: Database, how: str) -> bool:
    try:
        if how == "planned":
            db.planned("UPDATE users SET name = name WHERE id = :id RETURNING id", id=USER)
        elif how == "alone":
            db.rows(WRITE, id=USER)
        else:
            with db.transaction() as connection:
                connection.exec_driver_sql("SELECT 1 FROM users FOR UPDATE")
    except StorageDown:
        return False
    return True


@pytest.mark.failure(45)
@pytest.mark.parametrize("how", ["planned", "alone", "transaction"])
def test_a_server_that_has_become_read_only_is_left(two: Two, db: Database, how: str) -> None:
    assert _write(db, how)
    two.demote()
    eventually(lambda: not _write(db, how))
    two.switch()

    # Of the pooled connections, no matter how many, one at most is refused again.
    eventually(lambda: _write(db, how), LEAVE_SECONDS + 5)
    assert all(_write(db, how) for _ in range(20))
    assert db.rows(WHERE)[0][0] == str(two.new.address.port)


@pytest.mark.failure(40, 45)
def test_a_key_known_to_an_old_primary_only_is_not_trusted(two: Two, db: Database) -> None:
    """Its standby has never had that question, which is asked again elsewhere."""
    user = uuid.UUID(USER)
    asking = Asking(user, "scripted", {}, uuid.uuid4().hex, "one", 0, 60.0)
    ask(db, asking, conversations.create(db, user, None, None).id, text_body("Hello"))
    with pytest.raises(KeyReused):
        ask(db, replace(asking, request_hash="another"), uuid.uuid4(), text_body("Hello"))
    two.demote()

    eventually(lambda: not _write(db, "alone"))
    with pytest.raises(StorageDown):
        ask(db, replace(asking, request_hash="another"), uuid.uuid4(), text_body("Hello"))


@pytest.mark.failure(45)
@pytest.mark.parametrize("how", ["alone", "planned"])
def test_nothing_is_read_from_a_server_that_has_become_read_only(two: Two, how: str) -> None:
    """Not even once, on a connection that was idle since: what it returns is old."""
    read = {"alone": Database.rows, "planned": Database.planned}[how]
    db = Database(with_driver(two.proxy.url))
    db.warm()
    with ExitStack() as stack:
        for _ in range(POOL_SIZE):  # each of them has been used
            stack.enter_context(db.alone()).exec_driver_sql("SELECT 1")
    two.demote()
    two.switch()

    seen = set()
    for _ in range(3 * POOL_SIZE):
        with suppress(StorageDown):
            seen.add(read(db, WHERE)[0][0])

    assert seen == {str(two.new.address.port)}
    db.dispose()


def test_a_server_that_may_only_be_read_is_read(two: Two, db: Database) -> None:
    """Its connections are kept for a while: not every read connects anew."""
    two.demote()
    eventually(lambda: not _write(db, "alone"))

    backends = {db.rows("SELECT pg_backend_pid()")[0][0] for _ in range(200)}

    assert len(backends) <= 10
    assert not _write(db, "alone")
    two.promote_back()
    eventually(lambda: _write(db, "alone"))


@pytest.mark.failure(41, 45)
def test_nothing_is_read_from_a_standby_before_it_is_promoted(two: Two) -> None:
    """It replays a moment later what the primary has committed."""
    with data_dirs.temporary() as home:
        standby = _copy(two.old, home / "standby")
        (standby.data / "standby.signal").touch()
        with standby, TcpProxy(standby.url) as proxy:
            db = Database(with_driver(proxy.url))
            for sql in ("SELECT 1", WRITE.replace("CAST(:id AS uuid)", "id"), "TABLE uptime"):
                with pytest.raises(StorageDown):
                    db.rows(sql)
            with psycopg2.connect(standby.url) as connection:
                connection.cursor().execute("SELECT pg_promote()")
            assert _write(db, "alone")
            db.dispose()


@pytest.mark.failure(45)
def test_a_web_process_takes_questions_again_once_its_address_leads_to_the_new_primary(
    rig: Rig, two: Two
) -> None:
    web = rig.web(DATABASE_URL=two.proxy.url, WEB_CONCURRENCY="1")
    with killing(web), Client(web.url) as client:
        place = client.conversation()
        assert client.post_question("Before", place).status_code == 202

        # when: the old primary may only be read, and lives on
        two.demote()
        eventually(lambda: _asks(client) == 503)
        assert client.http.get(f"/api/conversations/{place}").status_code == 200
        two.switch()

        # then
        eventually(lambda: _asks(client) == 201, LEAVE_SECONDS + 5)
        assert [_asks(client) for _ in range(20)] == [201] * 20


def _asks(client: Client) -> int:
    return client.http.post("/api/conversations", json={}).status_code
