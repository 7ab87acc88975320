"""Migrations under load: no statement waits for long, and a killed migration is run again."""

import os
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
import pytest
from sqlalchemy import Engine, create_engine, event, text

from local.processes import ROOT
from tests.migrated import dangers
from tests.rig import Rig, eventually
from tests.shared.store.test_migrations import differences
from tests.store_fixtures import migrate, new_database

#: Answers in the table that is migrated, of two thousand characters. (By hand: a million.)
ANSWERS = int(os.environ.get("MIGRATED_ANSWERS", "10000"))
#: Seconds after which a web process or worker gives up a lock (shared/store/engine.py). A statement
#: of the old version that waited as long would have failed.
LONGEST = 2.0
#: Seconds between two questions of a person.
PACE = 0.02
#: Where the rule begins; what came before was never run on tables in use.
FIRST_IN_USE = "0002"

VERSIONS = sorted(
    file.stem.split("_")[0] for file in (ROOT / "shared/store/migrations/versions").glob("0*")
)


# --- the rule ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE INDEX one ON messages (id)",
        "create unique index one on public.messages (id)",
        "CREATE INDEX CONCURRENTLY two ON messages (id); CREATE INDEX one ON messages (id)",
        "DROP INDEX messages_branch",
        "REINDEX TABLE messages",
        "ALTER TABLE messages ADD COLUMN at timestamptz NOT NULL DEFAULT clock_timestamp()",
        "ALTER TABLE messages ADD one int, ADD COLUMN two uuid DEFAULT gen_random_uuid()",
        "ALTER TABLE messages ADD COLUMN one int NOT NULL",
        "ALTER TABLE messages ADD COLUMN one int, ADD COLUMN two int UNIQUE",
        "ALTER TABLE messages ADD COLUMN one bigint GENERATED ALWAYS AS IDENTITY",
        "ALTER TABLE messages ADD COLUMN one bigserial",
        "ALTER TABLE messages ADD COLUMN one int CHECK (one > 0)",
        "ALTER TABLE messages ADD COLUMN one uuid REFERENCES users (id)",
        "ALTER TABLE messages ADD CONSTRAINT one CHECK (length > 0)",
        "ALTER TABLE messages ADD CHECK (length > 0)",
        "ALTER TABLE messages ADD CONSTRAINT one UNIQUE (user_id, seq)",
        "ALTER TABLE messages ADD CONSTRAINT one FOREIGN KEY (id) REFERENCES users (id)",
        "ALTER TABLE messages ALTER COLUMN length TYPE bigint",
        "ALTER TABLE messages ALTER COLUMN length SET NOT NULL",
        "ALTER TABLE messages RENAME COLUMN length TO size",
        "ALTER TABLE messages DROP COLUMN length",
        "ALTER TABLE messages SET LOGGED",
        "UPDATE messages SET length = 0",
        "DELETE FROM pieces",
        "TRUNCATE pieces",
        "LOCK TABLE messages",
        "-- a comment\nDROP TABLE pieces",
    ],
)
def test_migrations_that_lock_for_long_are_recognised(sql: str) -> None:
    assert dangers([sql])


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE INDEX CONCURRENTLY IF NOT EXISTS one ON messages (id)",
        "DROP INDEX CONCURRENTLY IF EXISTS one",
        "ALTER TABLE messages ADD COLUMN one uuid",
        "ALTER TABLE messages ADD COLUMN one int NOT NULL DEFAULT 0, ADD two timestamptz",
        "ALTER TABLE messages ADD COLUMN at timestamptz NOT NULL DEFAULT now()",
        "ALTER TABLE messages ALTER COLUMN at SET DEFAULT clock_timestamp()",
        "ALTER TABLE messages ADD CONSTRAINT one CHECK (length > 0) NOT VALID",
        "ALTER TABLE messages VALIDATE CONSTRAINT one",
        "ALTER TABLE messages ADD CONSTRAINT one UNIQUE USING INDEX one",
        "UPDATE messages SET length = 0 WHERE id = ANY (:ids)",
        "CREATE TABLE things (id uuid PRIMARY KEY); CREATE INDEX one ON things (id)",
        "CREATE OR REPLACE FUNCTION f() RETURNS trigger AS $$ BEGIN UPDATE x SET y = 1; END $$",
        "UPDATE alembic_version SET version_num = '0004'",
    ],
)
def test_migrations_that_do_not_lock_for_long_are_allowed(sql: str) -> None:
    assert dangers([sql]) == []


@contextmanager
def _written_down() -> Iterator[list[str]]:
    """Every statement that this process sends, as the driver gets it."""
    statements: list[str] = []

    def note(_: Any, __: Any, statement: str, *rest: Any) -> None:
        statements.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(Engine, "before_cursor_execute", note)


def _files(url: str) -> dict[str, int]:
    """The file of each table; a table that is rewritten gets another one."""
    engine = create_engine(url)
    with engine.connect() as connection:
        rows = connection.execute(
            text(
                "SELECT relname, pg_relation_filenode(oid) AS node FROM pg_class"
                " WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
            )
        ).all()
    engine.dispose()
    return {row.relname: row.node for row in rows}


@pytest.mark.failure(44)
def test_no_migration_blocks_other_statements_for_long(rig: Rig) -> None:
    with new_database(rig, "ruled") as url:
        for version in VERSIONS:
            before = _files(url)
            with _written_down() as statements:
                migrate(url, version)

            assert any("alembic_version" in one for one in statements)
            if version > FIRST_IN_USE:
                assert dangers(statements) == []
            after = _files(url)
            assert {name: after.get(name) for name in before} == before, version


# --- under load ----------------------------------------------------------------------------------


class Load:
    """Threads of the old version that ask, save and end all the time; the longest statement."""

    def __init__(self, url: str, people: int = 3) -> None:
        self.longest = 0.0
        self.done = 0
        self.errors: list[str] = []
        self._url = url
        self._enough = threading.Event()
        self._threads = [threading.Thread(target=self._live) for _ in range(people)]

    def __enter__(self) -> "Load":
        for one in self._threads:
            one.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._enough.set()
        for one in self._threads:
            one.join()

    def _live(self) -> None:
        connection = psycopg2.connect(self._url, options="-c lock_timeout=2000")
        connection.autocommit = True
        with connection.cursor() as cursor:
            while not self._enough.is_set():
                ids = {name: str(uuid.uuid4()) for name in ("place", "question", "answer")}
                parts = '[{"kind": "text", "text": "Why?", "meta": null}]'
                for sql in (_ASK, _CLAIM, _SAVE, _SAVE, _SAVE, _END, _READ):
                    begun = time.monotonic()
                    try:
                        cursor.execute(sql, {**ids, "user": USER, "body": parts})
                    except psycopg2.Error as error:
                        self.errors.append(str(error))
                    self.longest = max(self.longest, time.monotonic() - begun)
                    self.done += 1
                self._enough.wait(PACE)
        connection.close()


USER = "00000000-0000-4000-8000-000000000001"
#: What the version before 0003 does for one question, with its own columns only.
_ASK = """
INSERT INTO conversations (id, user_id) VALUES (%(place)s, %(user)s);
INSERT INTO messages (id, user_id, conversation_id, role, status, body, length, sha256, ended_at)
VALUES (%(question)s, %(user)s, %(place)s, 'user', 'DONE', %(body)s, 4, 'x', clock_timestamp());
INSERT INTO messages (id, user_id, conversation_id, parent_id, role, status, queue_deadline,
    dispatch_at)
VALUES (%(answer)s, %(user)s, %(place)s, %(question)s, 'assistant', 'SENDING',
    clock_timestamp() + '60 s', clock_timestamp() + '5 s')
"""
_CLAIM = """
UPDATE messages SET status = 'STREAMING', attempt = attempt + 1, tries = tries + 1, owner = 'me',
    lease_until = clock_timestamp() + '15 s', queue_deadline = NULL, dispatch_at = NULL,
    hard_deadline = clock_timestamp() + '900 s', started_at = clock_timestamp()
WHERE id = %(answer)s
"""
_SAVE = """
INSERT INTO pieces (message_id, start, user_id, part, kind, text)
SELECT id, saved_len, user_id, 0, 'text', 'Why?' FROM messages WHERE id = %(answer)s;
UPDATE messages SET saved_len = saved_len + 4, lease_until = clock_timestamp() + '15 s'
WHERE id = %(answer)s
"""
_END = """
UPDATE messages SET status = 'DONE', body = %(body)s, length = 4, sha256 = 'x', owner = NULL,
    lease_until = NULL, hard_deadline = NULL, ended_at = clock_timestamp()
WHERE id = %(answer)s;
DELETE FROM pieces WHERE message_id = %(answer)s
"""
_READ = "SELECT * FROM messages WHERE conversation_id = %(place)s"


_FILL = """
INSERT INTO conversations (id, user_id)
SELECT gen_random_uuid(), CAST(:user AS uuid) FROM generate_series(1, :conversations);
INSERT INTO messages (id, user_id, conversation_id, role, status, body, length, sha256, ended_at)
SELECT gen_random_uuid(), CAST(:user AS uuid), c.id, 'assistant', 'DONE',
    jsonb_build_array(jsonb_build_object('kind', 'text', 'meta', NULL, 'text', (
        SELECT string_agg(md5((c.seq * n * word)::text), ' ') FROM generate_series(1, 60) word))),
    1979, 'x', clock_timestamp()
FROM conversations c, generate_series(1, 20) n
"""


def _release(rig: Rig, url: str) -> "subprocess.Popen[bytes]":
    env = {**os.environ, **rig.env(), "DATABASE_URL": url}
    return subprocess.Popen(rig.procfile["release"], env=env)


@pytest.mark.failure(44)
def test_a_migration_of_many_answers_delays_no_statement_and_can_be_killed(rig: Rig) -> None:
    with new_database(rig, "migrated_online") as url:
        # given: a database of the version before, full of answers
        migrate(url, FIRST_IN_USE)
        plain = url.replace("postgresql+psycopg2", "postgresql")
        admin = create_engine(url, isolation_level="AUTOCOMMIT")
        with admin.connect() as watching, Load(plain) as load:
            watching.execute(text(_FILL), {"user": USER, "conversations": ANSWERS // 20})

            # when: a migration is killed in the middle of its longest step, and two more follow
            building = text(
                "SELECT 1 FROM pg_stat_progress_create_index"
                " WHERE index_relid = to_regclass('messages_words')"
            )
            first = _release(rig, url)
            eventually(lambda: watching.execute(building).first(), 600)
            first.kill()
            first.wait()
            both = [_release(rig, url) for _ in range(2)]
            assert [one.wait(7200) for one in both] == [0, 0]
            longest, done, errors = load.longest, load.done, list(load.errors)

        # then
        print(f"{ANSWERS} answers: the longest of {done} statements took {longest:.3f} s")
        assert errors == []
        assert done > 100
        assert longest < LONGEST
        assert differences(url) == []
        with admin.connect() as watching:
            assert not watching.execute(text("SELECT 1 FROM pg_index WHERE NOT indisvalid")).all()
        admin.dispose()


@pytest.mark.failure(44)
def test_a_held_table_delays_the_migration_and_no_other_statement(rig: Rig) -> None:
    """A dump, for instance: the migration waits for it, and others must not wait after that."""
    with new_database(rig, "dumped") as url:
        migrate(url, FIRST_IN_USE)
        plain = url.replace("postgresql+psycopg2", "postgresql")
        dump, watching = psycopg2.connect(plain), psycopg2.connect(plain)
        watching.autocommit = True
        with dump.cursor() as holding, watching.cursor() as cursor:
            holding.execute("LOCK TABLE messages, conversations IN ACCESS SHARE MODE")
            waiting: set[tuple[int, str]] = set()

            def tries() -> bool:
                cursor.execute(
                    "SELECT pid, waitstart::text FROM pg_locks WHERE NOT granted"
                    " AND mode = 'AccessExclusiveLock' AND waitstart IS NOT NULL"
                )
                waiting.update(cursor.fetchall())
                return len(waiting) >= 3

            with Load(plain) as load:
                release = _release(rig, url)
                eventually(tries)
                dump.rollback()
                assert release.wait(60) == 0
        dump.close()
        watching.close()

        assert load.errors == []
        assert load.longest < LONGEST
        assert differences(url) == []
