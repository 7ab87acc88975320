"""The engine: how this process connects to Postgres, and which connections it leaves.

**Limits.** Every statement, lock and pause inside a transaction has a time limit. A server that we
reach directly gets them once, when a connection begins (libpq's `options`). A pooler that hands
each transaction to another server connection (PgBouncer in transaction mode) refuses `options`, or
drops it silently, and whatever a session sets there meets the next client. So after connecting we
ask whether the limits hold. Where they do not, they go with each transaction, as SET LOCAL does, in
the same message as its first statement: no round trip is added, and nothing is left on the pooler's
connection. Nothing is prepared there either, since a plan belongs to one server connection.

**Leaving.** A server that is not the primary serves stale rows: a reader would see an answer open
again after it had ended. There are two such servers. A standby that is not promoted yet has not
replayed the last commits: libpq refuses it (`target_session_attrs`). And after a failover the old
primary may stay up, read-only, while its address already leads to the new one; pooled connections
would keep using it. So when a server refuses a write, or reports that it became read-only after the
connection was made, the result of that statement is discarded and all connections are stale: each
is replaced at its next checkout. A server that was read-only when the connection was made is
read-only on purpose: it may be read, and its connections are replaced every LEAVE_SECONDS. A server
that is cut off reports nothing, so no connection is kept for longer than RECYCLE_SECONDS.
"""

import select
import time
from typing import Any, Final

import psycopg2
from gevent import monkey
from psycogreen.gevent import gevent_wait_callback
from psycopg2 import extensions
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import InvalidatePoolError

from shared import awake

#: Connections a process may hold. No connection is held across a wait for the network.
POOL_SIZE: Final = 8
#: Seconds that a new connection may take, and for which an answer is waited for: longer than any
#: statement may run, so after that no answer will come, though a machine on the way holds the line.
CONNECT_SECONDS: Final = 3
ANSWER_SECONDS: Final = 25
#: Seconds after which a pooled connection is replaced when it is next taken.
RECYCLE_SECONDS: Final = 300
#: Age in seconds at which a connection is replaced that was made to a read-only server.
LEAVE_SECONDS: Final = 2.0

#: What holds in every session, in Postgres' own spelling, so that it can be compared.
#: Between two statements no code of ours needs longer than Redis may take (two tries of a second).
#: A process that is stopped there, such as a sweep in the middle of a row, must not hold the row
#: past the five seconds in which the others have to end it.
LIMITS: Final = {
    "lock_timeout": "2s",
    "statement_timeout": "20s",
    "idle_in_transaction_session_timeout": "3s",
    "TimeZone": "UTC",
}
#: The same for one transaction, before its first statement and in one message with it.
SET_LOCAL: Final = (
    "SELECT "
    + ", ".join(f"set_config('{name}', '{value}', true)" for name, value in LIMITS.items())
    + "; "
)
_LIMITS_HOLD: Final = "SELECT " + " AND ".join(
    f"current_setting('{name}') = '{value}'" for name, value in LIMITS.items()
)

#: A dead peer is noticed in seconds.
_CONNECT: Final = {
    "connect_timeout": CONNECT_SECONDS,
    "options": " ".join(f"-c {name}={value}" for name, value in LIMITS.items()),
    "application_name": "outlive",
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 15_000,
    "target_session_attrs": "primary",
}
#: Keys of a connection's `info`: whether limits go with each transaction; when it was made
#: (monotonic seconds); whether the server was read-only then; the generation it belongs to.
SETS_LOCAL: Final = "sets_local"
_MADE: Final = "made"
_READ_ONLY: Final = "read_only"
_GENERATION: Final = "generation"


def cooperate() -> None:
    """Let other greenlets run while this process waits for Postgres, which is not for ever."""
    extensions.set_wait_callback(_wait)


def _wait(connection: Any) -> None:
    connecting = connection.status == extensions.STATUS_SETUP
    seconds = CONNECT_SECONDS if connecting else ANSWER_SECONDS
    begun = time.monotonic()
    while True:
        try:
            gevent_wait_callback(connection, seconds)
            return
        except TimeoutError:
            # If this process stood still the answer may have come meanwhile: wait once more.
            if awake.since(begun) >= seconds:  # psycopg2 closes the connection then
                raise psycopg2.OperationalError("no answer") from None


def is_read_only(error: BaseException | None) -> bool:
    """Whether the server refused because it can only be read: it may not be the primary any more.

    Mostly 25006. A standby refuses our unlogged table as an unsupported feature, by its text only.
    """
    state = getattr(error, "pgcode", None)
    return bool(state == "25006" or (state == "0A000" and "recovery" in str(error)))


class Stale:
    """Which of an engine's connections are to be replaced."""

    def __init__(self) -> None:
        self._generation = 0

    def made(self, connection: Any, info: dict[str, Any]) -> None:
        """A connection was made."""
        info[_MADE] = time.monotonic()
        info[_GENERATION] = self._generation
        info[_READ_ONLY] = _is_read_only(connection)

    def refused(self, info: dict[str, Any]) -> None:
        """The server refused a write: all connections of this one's generation are stale."""
        if info.get(_GENERATION) == self._generation and _to_leave(info):
            self._generation += 1

    def has(self, connection: Any, info: dict[str, Any]) -> bool:
        """Whether this one must not be used any more."""
        if info.get(_GENERATION) != self._generation:
            return True
        return _is_read_only(connection) and _to_leave(info)

    def check(self, connection: Any, info: dict[str, Any]) -> None:
        """Call after each statement, as reports come with its result. Raises OperationalError if
        the server became read-only after the connection was made."""
        if _is_read_only(connection) and not info[_READ_ONLY]:
            self.refused(info)
            raise psycopg2.OperationalError("not the primary any more")


def _is_read_only(connection: Any) -> bool:
    """Whether the server last reported `default_transaction_read_only` as on; no round trip."""
    return bool(connection.get_parameter_status("default_transaction_read_only") == "on")


def _to_leave(info: dict[str, Any]) -> bool:
    """Whether a connection to a read-only server is to be replaced: the server was writable when it
    was made, or `LEAVE_SECONDS` ago, so the address may lead to another server by now."""
    made: float = info[_MADE]
    return not info[_READ_ONLY] or time.monotonic() - made > LEAVE_SECONDS


def make_engine(url: str) -> tuple[Engine, Stale]:
    """An engine for this process. Nothing connects before the first statement.

    `hide_parameters`: an error must not carry a message's text into a log.
    """
    engine = create_engine(
        url,
        pool_size=POOL_SIZE,
        max_overflow=0,
        pool_timeout=5,
        pool_recycle=RECYCLE_SECONDS,
        # Most statements stand alone. To say so for each would take as long as to send it.
        isolation_level="AUTOCOMMIT",
        hide_parameters=True,
        connect_args=_CONNECT,
        # The one that was used a moment ago, not the one that has rested longest.
        pool_use_lifo=True,
    )
    stale = Stale()
    _limit_it(engine)
    _check_it_first(engine, stale)
    return engine, stale


def _limit_it(engine: Engine) -> None:
    """Have the limits hold on every connection, whatever stands between."""
    without_refused_options(engine)

    @event.listens_for(engine, "connect")
    def connected(connection: Any, record: Any) -> None:
        autocommit, connection.autocommit = connection.autocommit, True
        with connection.cursor() as cursor:
            cursor.execute(_LIMITS_HOLD)
            [holds] = cursor.fetchone()
        connection.autocommit = autocommit
        record.info[SETS_LOCAL] = not holds

    @event.listens_for(engine, "before_cursor_execute", retval=True)
    def limited(
        connection: Any, cursor: Any, statement: str, parameters: Any, _: Any, __: Any
    ) -> tuple[str, Any]:
        idle = cursor.connection.info.transaction_status == extensions.TRANSACTION_STATUS_IDLE
        if idle and connection.connection.info.get(SETS_LOCAL):
            statement = SET_LOCAL + statement
        return statement, parameters


def without_refused_options(engine: Engine) -> None:
    """Connect without `options` where a pooler refuses them."""
    refused = False

    @event.listens_for(engine, "do_connect")
    def connect(_: Any, __: Any, arguments: Any, settings: dict[str, Any]) -> Any:
        nonlocal refused
        if not refused:
            try:
                return psycopg2.connect(*arguments, **settings)
            except psycopg2.OperationalError as error:
                if not _is_about_options(error):
                    raise
        connection = psycopg2.connect(*arguments, **{**settings, "options": ""})
        refused = True
        return connection


def _is_about_options(error: psycopg2.Error) -> bool:
    """Whether a pooler did not take our startup parameter; each reports it in a text of its own."""
    reason = str(error).lower()
    return "startup parameter" in reason or "option" in reason


def _check_it_first(engine: Engine, stale: Stale) -> None:
    """Whether a pooled connection may still be used.

    An idle one is silent. Only if something came on it is Postgres asked: that is a round trip, and
    under load as expensive as most statements.
    """
    poll: type[select.poll] = monkey.get_original("select", "poll")

    @event.listens_for(engine, "connect")
    def made(connection: Any, record: Any) -> None:
        stale.made(connection, record.info)

    @event.listens_for(engine, "checkout")
    def taken(connection: Any, record: Any, _: Any) -> None:
        watch = poll()
        try:
            watch.register(connection.fileno(), select.POLLIN)
            if watch.poll(0):
                engine.dialect.do_ping(connection)
            left = stale.has(connection, record.info)
        except psycopg2.Error:
            left = True
        if left:
            raise InvalidatePoolError  # this one and all that are as old

    @event.listens_for(engine, "after_cursor_execute")
    def answered(connection: Any, cursor: Any, _: Any, __: Any, ___: Any, ____: Any) -> None:
        stale.check(cursor.connection, connection.connection.info)

    @event.listens_for(engine, "handle_error")
    def failed(context: Any) -> None:
        if context.connection is not None and is_read_only(context.original_exception):
            stale.refused(context.connection.connection.info)
