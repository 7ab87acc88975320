"""Expensive requests have a share of the connections and of the time; others are not delayed."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event

import pytest
from sqlalchemy import text

from shared.errors import Busy, TooSlow
from shared.store import admin_queries, branches, search
from shared.store.database import Database, QueryBudget
from shared.store.engine import POOL_SIZE
from shared.store.tables import LOCAL_USER
from tests.client import Client
from tests.rig import Rig, killing
from tests.store_fixtures import Store, at_once, migrate, new_database
from tests.stories import Stopwatch

#: As many searches at once as one process has connections, twice.
SEARCHES = 16
QUESTIONS = 12
KINDS = {
    "searches": search.SEARCHES,
    "operators": admin_queries.OPERATORS,
    "trees": branches.TREES,
}


def test_all_kinds_together_leave_a_connection_free() -> None:
    assert sum(kind.connections for kind in KINDS.values()) < POOL_SIZE


@pytest.fixture
def db(store: Store) -> Iterator[Database]:
    """Connections of its own."""
    fresh = Database(store.url)
    yield fresh
    fresh.dispose()


def test_statement_over_the_limit_of_its_kind_is_too_slow(db: Database) -> None:
    kind = QueryBudget(connections=1, patience=1.0, statement=0.1)

    with pytest.raises(TooSlow):
        db.rows_within(kind, "SELECT pg_sleep(10)")

    # and: the limit is of that statement only, and its place is free
    assert db.rows_within(kind, "SELECT 1 AS one")[0].one == 1
    assert db.rows("SHOW statement_timeout")[0][0] == "20s"


@pytest.mark.parametrize("name", KINDS)
def test_full_kind_is_busy_and_leaves_connections_to_others(
    db: Database, store: Store, name: str
) -> None:
    kind = QueryBudget(KINDS[name].connections, patience=0.1, statement=10.0)
    with _sleeping(db, store, kind):
        with pytest.raises(Busy):
            db.rows_within(kind, "SELECT 1")

        assert [db.rows("SELECT 1 AS one")[0].one for _ in range(20)] == [1] * 20
    assert db.rows_within(kind, "SELECT 1 AS one")[0].one == 1


@contextmanager
def _sleeping(db: Database, store: Store, kind: QueryBudget) -> Iterator[None]:
    """All places of a kind are taken by statements that wait for a lock of ours."""
    wait = "SELECT pg_advisory_xact_lock(4711)"
    with ThreadPoolExecutor(kind.connections) as pool:
        with store.db.transaction() as connection:
            connection.execute(text(wait))
            taken = [pool.submit(db.rows_within, kind, wait) for _ in range(kind.connections)]
            waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            while connection.execute(text(waiting)).scalar_one() < kind.connections:
                pass
            yield
        for one in taken:
            one.result()


_LARGE = """
INSERT INTO conversations (id, user_id) SELECT gen_random_uuid(), :user
FROM generate_series(1, 12);
INSERT INTO messages (id, user_id, conversation_id, role, status, body, length, sha256, ended_at)
SELECT gen_random_uuid(), :user, id, 'user', 'DONE', jsonb_build_array(jsonb_build_object(
    'kind', 'text', 'meta', NULL, 'text', repeat('\u6f22\u5b57', 2000000))), 4000000, 'x', now()
FROM conversations
"""
_SEARCHING = """
SELECT count(*) FROM pg_stat_activity WHERE datname = 'searched' AND state = 'active'
    AND query LIKE '%WITH hits AS%' AND pid <> pg_backend_pid()
"""


@pytest.mark.alone
def test_questions_are_accepted_during_many_expensive_searches(rig: Rig) -> None:
    """Text without blanks is searched without an index: the most expensive search there is."""
    with new_database(rig, "searched") as url:
        migrate(url)
        admin = Database(url)
        with admin.transaction() as connection:
            connection.execute(text(_LARGE), {"user": LOCAL_USER})
        web = rig.web(DATABASE_URL=url, WEB_CONCURRENCY="1")
        with killing(web), Client(web.url) as client:
            over, most = Event(), 0

            def find(_: int) -> list[tuple[int, str]]:
                found = []
                while not over.is_set():
                    answer = client.http.get("/api/search", params={"q": "\u6f22\u6f22"})
                    found.append((answer.status_code, answer.json().get("code", "")))
                return found

            with ThreadPoolExecutor(1) as pool:
                finding = pool.submit(at_once, SEARCHES, find)
                while not admin.rows(_SEARCHING)[0][0]:
                    pass
                longest = 0.0
                for _ in range(QUESTIONS):
                    watch = Stopwatch()
                    assert client.post_question("Now?", client.conversation()).status_code == 202
                    longest = max(longest, watch.seconds)
                    most = max(most, admin.rows(_SEARCHING)[0][0])
                over.set()
                results, errors = finding.result()

        admin.dispose()
        assert not errors
        assert 1 <= most <= search.SEARCHES.connections
        assert longest < search.SEARCHES.statement  # no question waited for a search to end
        answers = {answer for result in results for answer in result}
        assert answers <= {(200, ""), (503, "busy"), (503, "too_slow")}
        assert (503, "busy") in answers
