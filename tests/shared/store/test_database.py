"""What is planned once a connection, and what becomes of a connection that broke."""

import time
import uuid
from collections.abc import Iterator

import gevent
import psycopg2
import pytest

from shared import awake
from shared.errors import StorageDown
from shared.store import engine
from shared.store.database import Database, cooperate
from tests.rig import until
from tests.store_fixtures import Store

NUMBER = "SELECT CAST(:number AS int) AS number, pg_backend_pid() AS backend"
SLEEP = "SELECT pg_sleep(:seconds)"
PLANS = "SELECT name, statement FROM pg_prepared_statements"


@pytest.fixture
def db(store: Store) -> Iterator[Database]:
    """Connections of its own."""
    fresh = Database(store.db.engine.url.render_as_string(hide_password=False))
    yield fresh
    fresh.dispose()


def test_a_statement_is_planned_once_a_connection(db: Database) -> None:
    for number in range(3):
        [row] = db.planned(NUMBER, number=number)
        assert row.number == number

    assert [row.statement.count("$1") for row in db.rows(PLANS)] == [1]


def test_several_statements_are_one_transaction(db: Database, store: Store) -> None:
    user, name = uuid.uuid4(), "INSERT INTO users (id, name) VALUES (:id, :name) RETURNING id"

    [row] = db.planned(name, "SELECT name FROM users WHERE id = :id", id=user, name="a % b :c")

    assert row.name == "a % b :c"
    with pytest.raises(psycopg2.IntegrityError):
        db.planned(
            "UPDATE users SET name = :name WHERE id = :id RETURNING id", name, id=user, name="new"
        )
    [row] = store.db.rows("SELECT name FROM users WHERE id = :id", id=user)
    assert row.name == "a % b :c"
    store.db.rows("DELETE FROM users WHERE id = :id RETURNING id", id=user)


def test_a_lost_plan_falls_back_to_the_plain_statement(db: Database) -> None:
    with db.transaction() as connection:
        connection.exec_driver_sql("CREATE TABLE changing (one int)")
        connection.exec_driver_sql("INSERT INTO changing VALUES (1)")
    try:
        assert db.planned("SELECT * FROM changing") == [(1,)]
        with db.transaction() as connection:
            connection.exec_driver_sql("ALTER TABLE changing ADD COLUMN two int DEFAULT 2")

        assert db.planned("SELECT * FROM changing") == [(1, 2)]
        assert db.planned("SELECT * FROM changing") == [(1, 2)]
    finally:
        with db.transaction() as connection:
            connection.exec_driver_sql("DROP TABLE changing")


def test_a_plan_that_another_client_prepared_falls_back_to_the_plain_statement(
    db: Database,
) -> None:
    db.planned(NUMBER, number=1)
    with db.alone() as connection:
        connection.exec_driver_sql("DEALLOCATE ALL")

    assert [db.planned(NUMBER, number=number)[0].number for number in (2, 3)] == [2, 3]


def test_a_connection_that_was_closed_meanwhile_is_replaced(db: Database, store: Store) -> None:
    [before] = db.planned(NUMBER, number=1)
    store.db.rows("SELECT pg_terminate_backend(:pid, 5000)", pid=before.backend)

    [after] = db.planned(NUMBER, number=2)

    assert (after.number, after.backend != before.backend) == (2, True)


def test_a_connection_that_breaks_in_a_statement_is_reported_and_replaced(
    db: Database, store: Store
) -> None:
    [before] = db.planned(NUMBER, number=1)
    cooperate()
    sleeping = gevent.spawn(db.planned, SLEEP, seconds=30.0)
    _until_it_sleeps(store)
    store.db.rows("SELECT pg_terminate_backend(:pid, 5000)", pid=before.backend)

    with pytest.raises(StorageDown), gevent.Timeout(10):
        sleeping.get()

    assert db.planned(NUMBER, number=2)[0].number == 2


def test_an_answer_is_waited_for_once_more_after_this_process_stood_still(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    cooperate()
    monkeypatch.setattr(engine, "ANSWER_SECONDS", 0.5)
    with pytest.raises(StorageDown):
        db.planned(SLEEP, seconds=5.0)
    clock = awake.Clock()
    monkeypatch.setattr(awake, "_clock", clock)
    clock.tick()
    sleeping = gevent.spawn(db.planned, SLEEP, seconds=0.9)
    gevent.sleep(0.1)

    clock._pauses.appendleft((time.monotonic(), 0.2))

    assert sleeping.get() is not None


def test_a_killed_greenlets_connection_is_not_used_again(db: Database, store: Store) -> None:
    cooperate()
    db.planned(NUMBER, number=1)
    sleeping = gevent.spawn(db.planned, SLEEP, seconds=1.0)
    _until_it_sleeps(store)
    sleeping.kill()

    assert [db.planned(NUMBER, number=number)[0].number for number in (2, 3)] == [2, 3]


def _until_it_sleeps(store: Store) -> None:
    found = "SELECT 1 FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
    until(lambda: store.db.rows(found), 10)
