"""A connection pooler in transaction mode: every limit holds, and nothing leaks between clients."""

import time
from collections.abc import Iterator
from contextlib import suppress
from threading import Barrier

import psycopg2
import pytest
from sqlalchemy.exc import SQLAlchemyError

from shared.errors import StorageDown
from shared.settings import with_driver
from shared.store.database import Database
from shared.store.engine import LIMITS
from tests.pgbouncer import SERVER_CONNECTIONS, PgBouncer, pgbouncer
from tests.rig import PATIENCE, Rig, eventually
from tests.store_fixtures import at_once, migrate, new_database
from tests.tcp_proxy import TcpProxy

#: A pooler that refuses our startup options, and one that drops them.
KINDS = {"refuses": "", "ignores": "ignore_startup_parameters = options"}
SHOW = "SELECT name, setting || coalesce(unit, '') AS value FROM pg_settings WHERE name = ANY(:all)"
NUMBER = "SELECT CAST(:number AS int) AS number"


@pytest.fixture(scope="module", params=KINDS)
def pooler(request: pytest.FixtureRequest, rig: Rig) -> Iterator[PgBouncer]:
    with new_database(rig, f"pooled_{request.param}") as url:
        migrate(url)
        with pgbouncer(
            url.replace("postgresql+psycopg2", "postgresql"), KINDS[request.param]
        ) as up:
            yield up


@pytest.fixture
def db(pooler: PgBouncer) -> Iterator[Database]:
    """Our own connections, through the pooler."""
    db = Database(with_driver(pooler.url))
    yield db
    db.dispose()


def _limits(db: Database) -> list[dict[str, str]]:
    """The limits in force in a statement alone, in a transaction, and in a planned statement."""
    sql = "SELECT " + ", ".join(f"current_setting('{name}') AS {name}" for name in LIMITS)
    alone = db.rows(sql)
    with db.transaction() as connection:
        begun = connection.exec_driver_sql(sql).all()
        later = connection.exec_driver_sql(sql).all()
    return [dict(zip(LIMITS, row, strict=True)) for [row] in (alone, begun, later, db.planned(sql))]


@pytest.mark.failure(47)
def test_all_limits_are_in_force_in_every_kind_of_statement(db: Database) -> None:
    assert _limits(db) == [LIMITS] * 4


def test_all_limits_are_in_force_without_a_pooler(rig: Rig) -> None:
    db = Database(rig.db.engine.url.render_as_string(hide_password=False))

    assert _limits(db) == [LIMITS] * 4
    db.dispose()


@pytest.mark.failure(47)
@pytest.mark.parametrize("kind", ["rows", "planned"])
def test_a_lock_is_waited_for_for_two_seconds(db: Database, kind: str) -> None:
    lock = "SELECT 1 FROM users FOR UPDATE"
    with db.transaction() as connection:
        connection.exec_driver_sql(lock)
        begun = time.monotonic()
        with pytest.raises(StorageDown) as refused:
            getattr(db, kind)(lock)

    assert _state(refused.value) == "55P03"
    assert time.monotonic() - begun > 1.9


@pytest.mark.failure(47)
def test_a_statement_ends_at_its_limit(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "shared.store.engine.SET_LOCAL", "SELECT set_config('statement_timeout', '200ms', true); "
    )
    with pytest.raises(StorageDown) as refused:
        db.rows("SELECT pg_sleep(10)")
    assert _state(refused.value) == "57014"


@pytest.mark.failure(47)
def test_a_client_that_stops_inside_a_transaction_is_cut_off(
    pooler: PgBouncer, db: Database
) -> None:
    """So others get the lock that it held."""
    lock = "SELECT 1 FROM users FOR UPDATE"
    other, cut_off = Database(with_driver(pooler.url)), None
    with suppress(SQLAlchemyError), db.transaction() as connection:  # there is nothing to commit
        connection.exec_driver_sql(lock)
        eventually(lambda: _locks(other, lock))  # in two tries: each waits for two seconds
        with pytest.raises(SQLAlchemyError) as cut_off:
            connection.exec_driver_sql("SELECT 1")

    assert cut_off is not None
    other.dispose()


def _locks(db: Database, lock: str) -> bool:
    with suppress(StorageDown):
        return bool(db.rows(lock))
    return False


@pytest.mark.failure(47)
def test_nothing_of_a_session_meets_another_client(pooler: PgBouncer, db: Database) -> None:
    # given: a plain client of the same pooler, and ours, which have used every server connection
    all_at_once = Barrier(SERVER_CONNECTIONS, timeout=PATIENCE)  # each in a transaction

    def use(number: int) -> None:
        with db.transaction() as connection:
            connection.exec_driver_sql("SELECT 1")
            all_at_once.wait()
        assert db.planned(NUMBER, number=number)[0].number == number

    _, errors = at_once(SERVER_CONNECTIONS * 2, use)
    assert not errors

    def inspect(_: int) -> tuple[int, tuple[str, ...], list[int]]:
        plain = psycopg2.connect(pooler.url)
        with plain, plain.cursor() as cursor:  # one transaction: one server connection
            cursor.execute("SELECT pg_backend_pid()")
            pid = cursor.fetchone()[0]
            all_at_once.wait()
            sql = ", ".join(f"current_setting('{name}')" for name in LIMITS)
            cursor.execute(f"SELECT {sql}")
            settings = cursor.fetchone()
            cursor.execute("SELECT count(*) FROM pg_prepared_statements")
            plans = cursor.fetchone()[0]
            cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
            locks = cursor.fetchone()[0]
            cursor.execute("SELECT count(*) FROM pg_listening_channels()")
            channels = cursor.fetchone()[0]
        plain.close()
        return pid, settings, [plans, locks, channels]

    # then: on each server connection everything is as its server has it
    seen, errors = at_once(SERVER_CONNECTIONS, inspect)
    assert not errors
    assert len({pid for pid, *_ in seen}) == SERVER_CONNECTIONS
    for _, settings, left in seen:
        assert settings[:3] == ("0", "0", "0")  # of a lock, a statement, a pause
        assert left == [0, 0, 0]


def test_one_statement_is_one_message_to_the_pooler(pooler: PgBouncer) -> None:
    with TcpProxy(pooler.url) as proxy:
        db = Database(with_driver(proxy.url))
        db.planned(NUMBER, number=0)
        db.rows("SELECT 1")
        sent = []
        for ask, values in ((db.planned, {"number": 1}), (db.rows, {"number": 1})):
            before = proxy.sent
            ask(NUMBER, **values)
            sent.append(proxy.sent - before)
        db.dispose()

    assert sent == [1, 1]


def _state(error: BaseException) -> str | None:
    """The SQLSTATE of what lies below our error."""
    cause = error.__cause__
    return getattr(getattr(cause, "orig", cause), "pgcode", None)
