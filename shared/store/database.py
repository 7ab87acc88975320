"""Runs statements and transactions on Postgres, and says what their failures mean.

**Guaranteed.** A caller sees three kinds of result: rows, StorageDown (or Busy, TooSlow), or the
driver's error for a statement that is wrong. StorageDown means that Postgres cannot be reached,
refuses to write or broke off; nothing is known about the outcome of a commit that was under way.

**How.** Most statements stand alone: connections are in autocommit mode, and one statement is one
round trip. `transaction` is for several; `planned` for what is done at every start, by plans that
Postgres keeps for each connection, without SQLAlchemy's share of the time. Requests that may be
expensive have a `QueryBudget`, so that they leave connections for the others.

**When something fails.** A connection that broke is replaced. A plan that a pooler or a migration
took away fails before anything is done, and the statement runs without it. Serialization failures,
deadlocks and full disks are StorageDown: callers try again, which their guards make safe. Tables
of another version are StorageDown with the code not_migrated.

**Invariant.** A connection is returned to the pool only in a known state: idle, with autocommit
on.

The file is long because whatever runs a statement has to know of failures, plans and budgets.
"""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any, Final

import psycopg2
from psycopg2 import errors
from psycopg2.extras import NamedTupleCursor
from sqlalchemy import Connection, CursorResult, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import PoolProxiedConnection

from shared.errors import REQUEST_ERRORS, Busy, StorageDown, TooSlow
from shared.store.engine import (
    POOL_SIZE,
    SET_LOCAL,
    SETS_LOCAL,
    cooperate,
    is_read_only,
    make_engine,
)
from shared.store.tables import metadata

__all__ = [
    "NOT_MIGRATED",
    "Database",
    "QueryBudget",
    "cooperate",
    "run",
    "run_planned",
    "schema_head",
]

#: Serialization failure, deadlock, lock not available: run the transaction again.
_RETRYABLE = frozenset({"40001", "40P01", "55P03"})
#: No such table, column or function: the migrations of this version have not run (yet).
_NO_SUCH = frozenset({"42P01", "42703", "42883"})
NOT_MIGRATED: Final = REQUEST_ERRORS["not_migrated"].sentence


_text = lru_cache(text)  # to parse a statement takes longer than to send it


def run(connection: Connection, sql: str, **parameters: Any) -> CursorResult[Any]:
    """One statement with named parameters, in the connection's transaction."""
    return connection.execute(_text(sql), parameters)


_DIALECT: Final = postgresql.dialect()  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class _Plan:
    """A statement that Postgres parses and plans once a connection."""

    name: str
    prepare: str
    #: with the driver's parameters: once it is prepared, and without that
    execute: str
    plain: str


@cache
def _plan(sql: str) -> _Plan:
    compiled = _text(sql).compile(dialect=_DIALECT)  # as SQLAlchemy would hand it to the driver
    plain, names = compiled.string, list(compiled.params)
    name = f"outlive_{hashlib.sha1(sql.encode(), usedforsecurity=False).hexdigest()[:12]}"
    numbered = plain % {one: f"${place}" for place, one in enumerate(names, 1)}
    given = ", ".join(f"%({one})s" for one in names)
    execute = f"EXECUTE {name}({given})" if names else f"EXECUTE {name}"
    return _Plan(name, f"PREPARE {name} AS {numbered}", execute, plain)


#: A connection on which nothing can be prepared: a pooler stands between, or a table has changed
#: since. These come before anything is done.
_UNPLANNED: Final = (
    errors.InvalidSqlStatementName,
    errors.DuplicatePreparedStatement,
    errors.FeatureNotSupported,
)


def _run_planned(
    connection: PoolProxiedConnection, plans: list[_Plan], parameters: dict[str, Any]
) -> list[Any]:
    limits = SET_LOCAL if connection.info[SETS_LOCAL] else ""
    known: set[str] | None = connection.info.setdefault("planned", None if limits else set())
    with closing(connection.cursor(cursor_factory=NamedTupleCursor)) as cursor:
        if known is not None:
            try:
                for plan in plans:
                    if plan.name not in known:
                        cursor.execute(plan.prepare)
                        known.add(plan.name)
                cursor.execute("; ".join([plan.execute for plan in plans]), parameters)
                return list(cursor.fetchall())
            except _UNPLANNED:
                connection.info["planned"] = None
        cursor.execute(limits + "; ".join([plan.plain for plan in plans]), parameters)
        return list(cursor.fetchall())


def run_planned(connection: Connection, sql: str, **parameters: Any) -> list[Any]:
    """The rows of a statement in the connection's transaction, by a plan that Postgres keeps.

    Not for the first one of a transaction, which carries the limits. Parameters as in `planned`.
    """
    pooled = connection.connection
    known = pooled.info.setdefault("planned", None if pooled.info[SETS_LOCAL] else set())
    if known is None:
        return list(run(connection, sql, **parameters).all())
    plan = _plan(sql)
    with closing(pooled.cursor(cursor_factory=NamedTupleCursor)) as cursor:
        try:
            if plan.name not in known:
                cursor.execute(plan.prepare)
                known.add(plan.name)
            cursor.execute(plan.execute, parameters)
        except _UNPLANNED as error:
            pooled.info["planned"] = None  # the next try, in another transaction, goes without
            raise StorageDown from error
        return list(cursor.fetchall())


@cache
def _known_schemas() -> tuple[str, frozenset[str]]:
    """The newest migration of this code, and all that it knows."""
    # From the files' names, which begin with the revision, as web would need a fifth of a second
    # more to start if it had to load Alembic.
    folder = Path(__file__).parent / "migrations" / "versions"
    known = sorted(file.name[:4] for file in folder.glob("[0-9]*.py"))
    return known[-1], frozenset(known)


def schema_head() -> str:
    """The newest migration of this code."""
    return _known_schemas()[0]


def has_run(head: str, known: frozenset[str], found: Sequence[str]) -> bool | None:
    """Whether the migration `head` has run where Alembic notes these versions; None: the notes
    are those of newer code, and do not show it.

    Alembic notes the last migration of each branch. One that we know, but that is not our last, is
    there only as long as ours has not run after it. What we do not know was made after our time.
    """
    if head in found:
        return True
    if not found or known.intersection(found):
        return False
    return None


#: Fails where a column is missing that this code uses.
_HAS_COLUMNS: Final = tuple(
    f"SELECT {', '.join(column.name for column in table.columns)} FROM {table.name} WHERE false"
    for table in metadata.sorted_tables
)


@dataclass(frozen=True, slots=True)
class QueryBudget:
    """A kind of request that may be expensive: what it may take of one process at a time, so that
    others find a connection. All kinds together leave at least one."""

    #: of POOL_SIZE
    connections: int
    #: seconds for which a place is waited for
    patience: float
    #: seconds that one statement may take
    statement: float


class Database:
    """Transactions on one engine, with the driver's failures turned into ours."""

    def __init__(self, url: str) -> None:
        self.engine, self._stale = make_engine(url)
        self._places: dict[QueryBudget, BoundedSemaphore] = {}

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A connection in a transaction: committed at the end, rolled back on an error.

        Raises StorageDown when Postgres cannot be reached, refuses to write or broke off; a
        commit's outcome is then unknown. With the code not_migrated when the tables of this
        version are not there (yet).
        """
        with self.alone() as connection, _no_autocommit(connection), connection.begin():
            yield connection

    @contextmanager
    def alone(self) -> Iterator[Connection]:
        """A connection whose statement is a transaction by itself: one round trip, not three.

        Raises as `transaction` does.
        """
        with _failures(), self.engine.connect() as connection:
            yield connection

    def ping(self) -> None:
        """Run the smallest statement. Raises StorageDown."""
        self.rows("SELECT 1")

    def rows(self, sql: str, **parameters: Any) -> list[Any]:
        """The rows of one statement, alone."""
        with self.alone() as connection:
            return list(run(connection, sql, **parameters).all())

    def rows_within(self, kind: QueryBudget, sql: str, **parameters: Any) -> list[Any]:
        """The same within the limits of its kind, which go with the statement.

        Raises Busy when too many of the kind are under way, TooSlow when this one takes too long,
        and as `transaction` does.
        """
        places = self._places.setdefault(kind, BoundedSemaphore(kind.connections))
        if not places.acquire(timeout=kind.patience):
            raise Busy
        limit = f"SELECT set_config('statement_timeout', '{int(1000 * kind.statement)}', true); "
        try:
            return self.rows(limit + sql, **parameters)
        except StorageDown as error:
            if isinstance(getattr(error.__cause__, "orig", None), errors.QueryCanceled):
                raise TooSlow from error
            raise
        finally:
            places.release()

    def planned(self, *statements: str, **parameters: Any) -> list[Any]:
        """The rows of the last of these statements: one transaction, one round trip, by plans
        that Postgres keeps. For what is done at every start, without SQLAlchemy's share.

        A parameter's type must be clear from the statement; a list's is text[], so cast it to that.
        Raises as `transaction` does.
        """
        with _failures():
            connection = self.engine.raw_connection()
            try:
                rows = _run_planned(connection, [_plan(one) for one in statements], parameters)
                self._stale.check(connection.driver_connection, connection.info)
            except psycopg2.Error as error:
                driver: Any = connection.driver_connection
                if is_read_only(error):
                    self._stale.refused(connection.info)
                if self.engine.dialect.is_disconnect(error, driver, None):
                    connection.invalidate()
                    raise StorageDown from error
                connection.close()
                raise
            except BaseException:  # in the middle of it: what comes next is unknown
                connection.invalidate()
                raise
            connection.close()
            return rows

    def has_schema(self) -> bool:
        """Whether Postgres has the schema that this code was written for, or a newer one, which
        keeps what this code uses until no process of it is left. Raises StorageDown.
        """
        try:
            found = [
                row.version_num for row in self.rows("SELECT version_num FROM alembic_version")
            ]
            there = has_run(*_known_schemas(), found)
            if there is None:
                for statement in _HAS_COLUMNS:
                    self.rows(statement)
        except StorageDown as error:
            if error.code == "not_migrated":
                return False
            raise
        return there is not False

    def warm(self) -> None:
        """Connect before the first request needs it, if Postgres is there."""
        with suppress(StorageDown), ExitStack() as stack:
            for _ in range(POOL_SIZE):
                stack.enter_context(self.alone())

    def dispose(self) -> None:
        """Close every pooled connection."""
        self.engine.dispose()


@contextmanager
def _no_autocommit(connection: Connection) -> Iterator[None]:
    """Within, the driver begins transactions (by SQLAlchemy's own way it takes twice as long)."""
    driver: Any = connection.connection.driver_connection
    driver.autocommit = False
    try:
        yield
    finally:
        try:
            driver.autocommit = True
        except psycopg2.Error:  # it is broken, and must not be used again
            connection.invalidate()


@contextmanager
def _failures() -> Iterator[None]:
    try:
        yield
    except PoolTimeout as error:
        raise StorageDown from error
    except psycopg2.Error as error:
        _judge(error, error)
        raise
    except DBAPIError as error:
        if error.connection_invalidated:
            raise StorageDown from error
        _judge(error, error.orig)
        raise


def _judge(error: Exception, original: BaseException | None) -> None:
    """Raise StorageDown if it is the server's fault, not the statement's."""
    state = getattr(original, "pgcode", None) or ""
    passing = is_read_only(original) or _is_passing(state)
    if isinstance(original, psycopg2.OperationalError) or passing:
        raise StorageDown from error
    if state in _NO_SUCH:
        raise StorageDown(code="not_migrated") from error


def _is_passing(state: str) -> bool:
    """Disk full, a shutdown ..."""
    return state in _RETRYABLE or state[:2] in ("08", "53", "57", "58")
