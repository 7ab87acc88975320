"""Run the migrations against DATABASE_URL, while others use the database.

**Locks.** While an ALTER TABLE waits for its lock, all other statements wait after it. So no lock
is waited for longer than LOCK_TIMEOUT. Then the migration is rolled back and tried again when the
holder of the table (a dump, a long statement) may have gone. What takes long is done by the steps
of `online`, which lock no statement out.

**One at a time.** The lock for that is held by a transaction of its own, so that it works through a
pooler, too. A second migration asks for it now and then: a waiting statement would hold a snapshot,
for whose end CREATE INDEX CONCURRENTLY would wait in turn.

**Killed.** Each migration is one transaction, or consists of repeatable steps: run it again.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from alembic import context
from sqlalchemy import Connection, Engine, NullPool, create_engine, event, text
from sqlalchemy.exc import OperationalError

from shared.settings import Settings
from shared.store.engine import without_refused_options
from shared.store.tables import metadata

#: Any constant: a second migrator waits until the first one is done.
_LOCK: Final = 7_305_216_001
#: Milliseconds for which a table's lock is waited for. Other statements may wait as long.
LOCK_TIMEOUT: Final = 300
#: Seconds between two tries, and after which it is given up: a table may be held for hours.
PAUSE: Final = 0.5
PATIENCE: Final = 1800.0
#: Lock not available, deadlock.
_BUSY: Final = frozenset({"55P03", "40P01"})

#: A step may take long. Whose client was killed is stopped within a second.
_OPTIONS: Final = (
    "-c statement_timeout=0 -c lock_timeout=0 -c idle_in_transaction_session_timeout=0"
    " -c client_connection_check_interval=1000"
)


def run() -> None:
    url = context.config.attributes.get("url") or Settings.from_env().database_url
    engine = create_engine(
        url, hide_parameters=True, poolclass=NullPool, connect_args={"options": _OPTIONS}
    )
    without_refused_options(engine)
    event.listen(engine, "begin", _limit_locks)
    with _alone(engine):
        patience = time.monotonic() + PATIENCE
        while not _tried(engine, last=time.monotonic() > patience):
            time.sleep(PAUSE)
    engine.dispose()


def _limit_locks(connection: Connection) -> None:
    driver: Any = connection.connection.driver_connection
    if not driver.autocommit:  # else `online` has begun, and no statement waits for it
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = {LOCK_TIMEOUT}")
        connection.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")


@contextmanager
def _alone(engine: Engine) -> Iterator[None]:
    """Within, no other process migrates."""
    reported = False
    with engine.connect() as connection:
        lock = text("SELECT pg_try_advisory_xact_lock(:key)")
        while not connection.execute(lock, {"key": _LOCK}).scalar_one():
            connection.rollback()
            if not reported:
                _report("Another process is migrating; waiting for it.")
                reported = True
            time.sleep(PAUSE)
        yield


def _tried(engine: Engine, *, last: bool) -> bool:
    """Run what has not run yet; False if a table was busy."""
    try:
        with engine.connect() as connection:
            context.configure(
                connection=connection, target_metadata=metadata, transaction_per_migration=True
            )
            with context.begin_transaction():
                context.run_migrations()
    except OperationalError as error:
        if last or getattr(error.orig, "pgcode", None) not in _BUSY:
            raise
        _report("A table is in use; trying again.")
        return False
    return True


def _report(line: str) -> None:
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - an operator's terminal


run()
