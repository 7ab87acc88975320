"""Roles of Postgres: what is refused, and what a database of one role becomes."""

import psycopg2
import pytest
from sqlalchemy.exc import ProgrammingError

from shared.store.roles import Login, roles_sql
from tests.rig import Rig
from tests.store_fixtures import Store, migrate, new_database

MIGRATING, USING = Login("roles_migrate", "m" * 20), Login("roles_use", "u'\\ \"$$" + "u" * 20)


@pytest.mark.parametrize(
    "wrong",
    [
        Login("roles_migrate", "x"),
        Login('a"b', "x"),
        Login("a'b", "x"),
        Login("$$", "x"),
        Login("", "x"),
        Login("Upper", "x"),
        Login("roles_use", "pässword"),
        Login("roles_use", "a\nb"),
    ],
)
def test_names_and_passwords_that_cannot_be_used_are_refused(wrong: Login) -> None:
    with pytest.raises(ValueError, match="must"):
        roles_sql("outlive", "public", MIGRATING, wrong)


@pytest.mark.parametrize("schema", ["public", "of-its-own"])
def test_a_database_of_one_role_gets_two(rig: Rig, schema: str) -> None:
    with new_database(rig, "roles") as url:
        if schema == "public":
            migrate(url)  # as an older deployment, where one role had all
        sql = roles_sql("roles", schema, MIGRATING, USING)
        assert MIGRATING.password not in sql
        assert USING.password not in sql
        admin = psycopg2.connect(url.replace("+psycopg2", ""))
        admin.autocommit = True
        for _ in range(2):  # it may be run again
            admin.cursor().execute(sql)
        where = admin.info.dsn_parameters
        near = {"host": where["host"], "port": where["port"], "dbname": "roles"}
        migrating = psycopg2.connect(user=MIGRATING.name, password=MIGRATING.password, **near)
        using = psycopg2.connect(user=USING.name, password=USING.password, **near)
        with migrating, migrating.cursor() as cursor:
            cursor.execute("CREATE TABLE later (id bigint GENERATED ALWAYS AS IDENTITY, x int)")
            if schema == "public":
                cursor.execute("ALTER TABLE messages ADD COLUMN later int")
        with using, using.cursor() as cursor:
            cursor.execute("INSERT INTO later (x) VALUES (1) RETURNING id")
            assert cursor.fetchone() == (1,)
            cursor.execute("SELECT relnamespace::regnamespace::text FROM pg_class WHERE relname ="
                           " 'later'")  # fmt: skip
            assert cursor.fetchone()[0].strip('"') == schema
        with using, using.cursor() as cursor, pytest.raises(psycopg2.errors.InsufficientPrivilege):
            cursor.execute("ALTER TABLE later ADD COLUMN y int")
        for connection in (using, migrating, admin):
            connection.close()
    with rig.db.alone() as connection:
        connection.exec_driver_sql("DROP ROLE roles_migrate; DROP ROLE roles_use")


def test_two_deployments_in_one_database_have_a_schema_each(rig: Rig) -> None:
    names = ("north", "south")
    with new_database(rig, "shared_by_two") as url:
        admin = psycopg2.connect(url.replace("+psycopg2", ""))
        admin.autocommit = True
        stores = []
        for name in names:
            logins = (Login(f"{name}_migrate", name * 4), Login(name, name * 4))
            admin.cursor().execute(roles_sql("shared_by_two", name, *logins))
            where = url.partition("://")[2].partition("@")[2]
            migrate(f"postgresql+psycopg2://{name}_migrate:{name * 4}@{where}")
            stores.append(Store(f"postgresql+psycopg2://{name}:{name * 4}@{where}", rig.redis.url))
        answers = [store.ended() for store in stores]

        for store, answer, other in zip(stores, answers, reversed(names), strict=True):
            rows = store.db.rows("SELECT id FROM messages WHERE role = 'assistant'")
            assert [row.id for row in rows] == [answer]
            with pytest.raises(ProgrammingError, match="permission denied"):
                store.db.rows(f"SELECT 1 FROM {other}.messages")
        for store in stores:
            store.close()
        admin.close()
    with rig.db.alone() as connection:
        connection.exec_driver_sql(
            "DROP ROLE north; DROP ROLE south; DROP ROLE north_migrate; DROP ROLE south_migrate"
        )
