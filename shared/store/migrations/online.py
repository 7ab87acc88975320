"""Steps of a migration that may take long without holding up other statements.

Each commits what was done before it, so a migration that uses one must be repeatable from its
beginning: it may be killed after any step and is then run again. Write `IF NOT EXISTS`; the steps
here look for what they have done themselves.
"""

import time
from typing import Final

from alembic import op
from sqlalchemy import text

#: Seconds between two polls whether another session still builds an index.
_PAUSE: Final = 0.5

_INVALID = """
SELECT 1 FROM pg_index WHERE indexrelid = to_regclass(:name) AND NOT indisvalid
"""
_IN_PROGRESS = """
SELECT 1 FROM pg_stat_progress_create_index WHERE index_relid = to_regclass(:name)
    AND pid <> pg_backend_pid()
"""
_CONSTRAINT = """
SELECT 1 FROM pg_constraint WHERE conrelid = to_regclass(:table) AND conname = :name
"""


def commit() -> None:
    """Commit what was done so far, with the locks that it took."""
    with op.get_context().autocommit_block():
        pass


def create_index(name: str, definition: str, *, unique: bool = False) -> None:
    """CREATE INDEX `name` ON `definition`, while others write.

    What a killed try has left is an index that is not valid: it is dropped and made anew. If
    Postgres still works on it, because it has not noticed the death yet, that is waited for.
    """
    with op.get_context().autocommit_block():
        while _found(_IN_PROGRESS, name=name):
            time.sleep(_PAUSE)
        if _found(_INVALID, name=name):
            op.execute(f"DROP INDEX CONCURRENTLY IF EXISTS {name}")
        kind = "UNIQUE INDEX" if unique else "INDEX"
        op.execute(f"CREATE {kind} CONCURRENTLY IF NOT EXISTS {name} ON {definition}")


def add_unique(table: str, name: str, columns: str) -> None:
    """ADD CONSTRAINT `name` UNIQUE (`columns`)."""
    if not _found(_CONSTRAINT, table=table, name=name):
        create_index(name, f"{table} ({columns})", unique=True)
        op.execute(f"ALTER TABLE {table} ADD CONSTRAINT {name} UNIQUE USING INDEX {name}")
        commit()


def add_check(table: str, name: str, condition: str) -> None:
    """ADD CONSTRAINT `name` CHECK (`condition`): for new rows at once, then the old are read."""
    if not _found(_CONSTRAINT, table=table, name=name):
        op.execute(f"ALTER TABLE {table} ADD CONSTRAINT {name} CHECK ({condition}) NOT VALID")
        commit()
    op.execute(f"ALTER TABLE {table} VALIDATE CONSTRAINT {name}")
    commit()


def _found(sql: str, **parameters: str) -> bool:
    return op.get_bind().execute(text(sql), parameters).first() is not None
