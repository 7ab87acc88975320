"""The migrations make the tables that the code knows, and can be taken back."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect

from cli.exit_status import Exit
from shared.errors import StorageDown
from shared.store import conversations, migrations
from shared.store.database import NOT_MIGRATED, Database, schema_head
from shared.store.tables import LOCAL_USER, metadata
from tests.client import Client
from tests.rig import Rig, killing
from tests.store_fixtures import migrate, new_database

HEAD = schema_head()


@pytest.fixture
def url(rig: Rig) -> Iterator[str]:
    """An empty database."""
    with new_database(rig, "migrated") as url:
        yield url


def differences(url: str) -> list[object]:
    """The operations by which alembic would turn the tables into the models."""
    engine = create_engine(url)
    options = {"compare_type": True, "compare_server_default": True}
    with engine.connect() as connection:
        found = compare_metadata(MigrationContext.configure(connection, opts=options), metadata)
    engine.dispose()
    return list(found)


def leftovers(url: str) -> tuple[list[str], int]:
    """Tables and functions of ours."""
    db = Database(url)
    [row] = db.rows(
        "SELECT count(*) AS functions FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
    )
    tables = inspect(db.engine).get_table_names()
    db.dispose()
    return sorted(tables), row.functions


def test_up_down_and_up_again_leaves_what_the_models_say(url: str) -> None:
    migrate(url)
    first = differences(url)

    migrate(url, "base")
    between = leftovers(url)
    migrate(url)

    assert first == differences(url) == []
    assert between == (["alembic_version"], 0)


def test_a_file_is_called_after_its_revision() -> None:
    """The newest migration is known from the names, without Alembic."""
    script = ScriptDirectory(str(Path(migrations.__file__).parent))

    assert script.get_current_head() == HEAD
    for one in script.walk_revisions():
        assert Path(one.path).name.startswith(f"{one.revision}_")


def test_differences_finds_a_missing_index(url: str) -> None:
    migrate(url)
    db = Database(url)
    db.engine.dispose()
    with db.transaction() as connection:
        connection.exec_driver_sql("DROP INDEX messages_branch")

    found = differences(url)

    db.dispose()
    assert len(found) == 1


@pytest.mark.failure(43)
@pytest.mark.parametrize(
    ("versions", "ready"),
    [
        ([HEAD], True),
        ([], False),  # a migration that never ran to its end, or a restored half
        (["0001"], False),
        (["0002"], False),
        (["next"], True),  # the next version's migration has run
        ([HEAD, "branch"], True),
        (["next", "branch"], True),
        (["0002", "branch"], False),
    ],
)
def test_a_newer_schema_is_ready_and_an_older_one_is_not(
    url: str, versions: list[str], ready: bool
) -> None:
    migrate(url)
    db = Database(url)
    with db.transaction() as connection:
        connection.exec_driver_sql("DELETE FROM alembic_version")
        for version in versions:
            connection.exec_driver_sql(f"INSERT INTO alembic_version VALUES ('{version}')")

    found = db.has_schema()

    db.dispose()
    assert found == ready


@pytest.mark.parametrize("missing", ["messages.first_text_at", "pieces", "everything"])
def test_an_unknown_version_without_our_columns_is_not_ready(url: str, missing: str) -> None:
    """Another program's database, or a newer schema that has already dropped what we use."""
    migrate(url)
    db = Database(url)
    table, _, column = missing.partition(".")
    with db.transaction() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'unknown'")
        if column:
            connection.exec_driver_sql(f"ALTER TABLE {table} DROP COLUMN {column}")
        else:
            tables = ", ".join(metadata.tables) if table == "everything" else table
            connection.exec_driver_sql(f"DROP TABLE {tables}")

    found = db.has_schema()

    db.dispose()
    assert not found


@pytest.mark.failure(43)
def test_a_web_process_serves_on_while_the_next_version_has_migrated(rig: Rig, url: str) -> None:
    # given
    migrate(url)
    web = rig.web(DATABASE_URL=url, WEB_CONCURRENCY="1")
    db = Database(url)
    with killing(web), Client(web.url) as client:
        assert client.http.get("/readyz").status_code == 200
        place = client.conversation()
        assert client.post_question("Before", place).status_code == 202

        # when: it adds columns to tables that are in use, and notes a version of its own
        with db.transaction() as connection:
            for table in ("users", "conversations", "messages", "pieces"):
                connection.exec_driver_sql(f"ALTER TABLE {table} ADD COLUMN next_thing text")
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'next'")

        # then
        assert client.http.get("/readyz").status_code == 200
        assert client.post_question("After").status_code == 202
        assert client.http.get(f"/api/conversations/{place}").status_code == 200

        # and: what has not been migrated is not served
        with db.transaction() as connection:
            connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0001'")
        refused = client.http.get("/readyz")
        assert refused.status_code == 503
        assert refused.json()["postgres"] == "schema is older than this code"
    db.dispose()


def test_a_database_without_tables_is_not_ready_and_a_question_can_wait(url: str) -> None:
    db = Database(url)

    assert not db.has_schema()
    with pytest.raises(StorageDown) as down:
        conversations.load(db, LOCAL_USER, LOCAL_USER)
    assert down.value.code == "not_migrated"
    db.dispose()


def test_a_sweep_by_hand_says_that_there_are_no_tables(rig: Rig, url: str) -> None:
    env = {**os.environ, **rig.env(), "DATABASE_URL": url}

    command = [sys.executable, "-m", "cli", "sweep"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)

    assert done.returncode == Exit.UNREACHABLE
    assert done.stderr == f"Error: {NOT_MIGRATED}\n"


def test_the_local_user_is_there_from_the_beginning(url: str) -> None:
    migrate(url)
    db = Database(url)

    rows = db.rows("SELECT id, name FROM users")

    db.dispose()
    assert [tuple(row) for row in rows] == [(LOCAL_USER, "local")]


def test_two_releases_at_once_wait_for_each_other(rig: Rig, url: str) -> None:
    env = {**os.environ, **rig.env(), "DATABASE_URL": url}

    both = [subprocess.Popen(rig.procfile["release"], env=env) for _ in range(2)]

    assert [one.wait(60) for one in both] == [0, 0]
    assert differences(url) == []
