"""The one door to Postgres: an engine and its manners."""

import hashlib
import select
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Final

import psycopg2
from gevent import monkey
from psycogreen.gevent import gevent_wait_callback
from psycopg2 import errors, extensions
from psycopg2.extras import NamedTupleCursor
from sqlalchemy import Connection, CursorResult, Engine, create_engine, event, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DBAPIError, InvalidatePoolError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import PoolProxiedConnection

from shared.errors import StorageDown

#: Connections a process may hold. No connection is held across a wait for the network.
POOL_SIZE = 8
#: Serialization failure, deadlock, lock not available: run the transaction again.
_RETRYABLE = frozenset({"40001", "40P01", "55P03"})
#: No such table, column or function: the migrations of this version have not run (yet).
_NO_SUCH = frozenset({"42P01", "42703", "42883"})
NOT_MIGRATED = "The database is not that of this version yet; `outlive migrate` makes it so."

#: Seconds that a new connection may take, and for which an answer is waited for: longer than any
#: statement may run, so then nobody will answer, though something on the way still holds the line.
CONNECT_SECONDS = 3
ANSWER_SECONDS = 25

#: Milliseconds that a lock, and any one statement, may take; a dead peer is noticed in seconds.
#: Between two statements nobody needs longer than Redis may take (two tries of a second): a process
#: that is stopped there, a sweep in the middle of a row, must not hold it past the five seconds in
#: which the others have to end it.
_OPTIONS = (
    "-c lock_timeout=2000 -c statement_timeout=20000 -c idle_in_transaction_session_timeout=3000"
    " -c timezone=UTC"
)
_CONNECT = {
    "connect_timeout": CONNECT_SECONDS,
    "options": _OPTIONS,
    "application_name": "outlive",
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
}


def cooperate() -> None:
    """Let other greenlets run while this process waits for Postgres, which is not for ever."""
    extensions.set_wait_callback(_wait)


def _wait(connection: Any) -> None:
    connecting = connection.status == extensions.STATUS_SETUP
    try:
        gevent_wait_callback(connection, CONNECT_SECONDS if connecting else ANSWER_SECONDS)
    except TimeoutError:  # psycopg2 closes the connection then
        raise psycopg2.OperationalError("no answer") from None


def make_engine(url: str) -> Engine:
    """An engine for this process. Nothing connects before the first statement.

    `hide_parameters`: an error must not carry a message's text into a log.
    """
    engine = create_engine(
        url,
        pool_size=POOL_SIZE,
        max_overflow=0,
        pool_timeout=5,
        # Most statements stand alone. To say so for each would take as long as to send it.
        isolation_level="AUTOCOMMIT",
        hide_parameters=True,
        connect_args=_CONNECT,
        # The one that was used a moment ago, not the one that has rested longest.
        pool_use_lifo=True,
    )
    _look_at_it_first(engine)
    return engine


def _look_at_it_first(engine: Engine) -> None:
    """Whether a pooled connection still lives, before it is used.

    One that nobody uses is silent. Only if it is not is Postgres asked: that is a round trip, and
    under load as dear as most statements.
    """
    poll: type[select.poll] = monkey.get_original("select", "poll")

    @event.listens_for(engine, "checkout")
    def taken(connection: Any, _: Any, __: Any) -> None:
        watch = poll()
        try:
            watch.register(connection.fileno(), select.POLLIN)
            if watch.poll(0):
                engine.dialect.do_ping(connection)
        except psycopg2.Error:
            raise InvalidatePoolError from None  # this one and all that are as old


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
    known: set[str] | None = connection.info.setdefault("planned", set())
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
        cursor.execute("; ".join([plan.plain for plan in plans]), parameters)
        return list(cursor.fetchall())


@cache
def schema_head() -> str | None:
    """The newest migration of this code."""
    # A worker never asks, and would start a tenth later if it had to load Alembic.
    from alembic.config import Config  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return ScriptDirectory.from_config(config).get_current_head()


class Database:
    """Transactions on one engine, with the driver's failures turned into ours."""

    def __init__(self, url: str) -> None:
        self.engine = make_engine(url)

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

    def rows(self, sql: str, **parameters: Any) -> list[Any]:
        """The rows of one statement, alone."""
        with self.alone() as connection:
            return list(run(connection, sql, **parameters).all())

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
            except psycopg2.Error as error:
                driver: Any = connection.driver_connection
                if self.engine.dialect.is_disconnect(error, driver, None):
                    connection.invalidate()
                    raise StorageDown from error
                connection.close()
                raise
            except BaseException:  # in the middle of it: nobody knows what comes next
                connection.invalidate()
                raise
            connection.close()
            return rows

    def is_current(self) -> bool:
        """Whether Postgres answers and has the schema that this code was written for."""
        try:
            found = self.rows("SELECT version_num FROM alembic_version")
        except StorageDown as error:
            if error.code == "not_migrated":
                return False
            raise
        return [row.version_num for row in found] == [schema_head()]

    def warm(self) -> None:
        """Have connections before somebody waits for them, if Postgres is there."""
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
        except psycopg2.Error:  # it is broken, and nobody may have it again
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
    if isinstance(original, psycopg2.OperationalError) or _is_passing(state):
        raise StorageDown from error
    if state in _NO_SUCH:
        raise StorageDown(NOT_MIGRATED, "not_migrated") from error


def _is_passing(state: str) -> bool:
    """Disk full, read-only, a shutdown ..."""
    return state in _RETRYABLE or state == "25006" or state[:2] in ("08", "53", "57", "58")
