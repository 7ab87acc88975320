"""Postgres: rights of our roles, migrations, version, clock, and whether workers sweep."""

import time
from collections.abc import Iterator
from typing import Final

from doctor.findings import Finding, Patient, Process
from shared.errors import StorageDown
from shared.store import inspection
from shared.store.database import Database
from shared.store.inspection import RoleRights

#: The oldest version that its makers still mend.
OLDEST: Final = 15
#: Seconds by which two clocks may differ.
SKEW: Final = 1.0
#: Sweeps that may be missing.
SWEEPS: Final = 5

_ROLES: Final = "Make two roles by `outlive export postgres` (docs/deploy.md)."


def check(patient: Patient) -> Iterator[Finding]:
    """Each database address once; the one of the migrations may do DDL, as that is its purpose."""
    seen = set()
    for process in patient.processes:
        url = process.settings.database_url
        if url not in seen and process.name != "flower":  # which does not connect
            seen.add(url)
            yield from _check(process, migrates=process.name == "release")


def _check(process: Process, *, migrates: bool) -> Iterator[Finding]:
    db = Database(process.settings.database_url)
    try:
        rights = inspection.role_rights(db)
        yield from _rights(rights, migrates=migrates)
        if rights.rows and not migrates:
            yield from _state(process, db)
    except StorageDown:
        yield Finding(
            "postgres",
            f"Postgres does not answer, or refuses the role of {process.name}.",
            "Check DATABASE_URL, pg_hba.conf, and whether Postgres runs.",
        )
    finally:
        db.dispose()


def _rights(rights: RoleRights, *, migrates: bool) -> Iterator[Finding]:
    if rights.superuser:
        yield Finding(
            "postgres-role", f"The role {rights.name} is a superuser: it may do anything.", _ROLES
        )
        return
    if rights.administrator:
        yield Finding(
            "postgres-role", f"The role {rights.name} may make roles or databases.", _ROLES
        )
    if rights.ddl and not migrates:
        yield Finding(
            "postgres-role",
            f"The role {rights.name} may create, change or drop tables; only migrations need that.",
            _ROLES,
        )
    if not rights.rows:
        yield Finding(
            "postgres-role",
            f"The role {rights.name} may not read and write the rows of all tables.",
            _ROLES,
        )


def _state(process: Process, db: Database) -> Iterator[Finding]:
    migrated = db.has_schema()
    if not migrated:
        yield Finding(
            "migrations",
            "The tables are older than this code, or not there.",
            "Run `outlive migrate` as the role that migrates.",
        )
    before = time.time()
    state = inspection.server_state(db, migrated=migrated)
    yield from skew("Postgres", state.clock, before, time.time())
    if state.version // 10_000 < OLDEST:
        yield Finding(
            "versions",
            f"Postgres {state.version // 10_000} gets no corrections any more.",
            f"Upgrade it to {OLDEST} or newer.",
        )
    patience = max(SWEEPS * process.settings.sweep_seconds, 10.0)
    if migrated and (state.swept is None or state.swept > patience):
        yield Finding(
            "workers",
            "No worker has swept lately: questions are not answered, and what a dead worker left"
            " stays open.",
            "Start a worker, or read its log.",
        )


def skew(name: str, clock: float, before: float, after: float) -> Iterator[Finding]:
    """A finding if a server's clock, read between two moments of ours, is another one."""
    ahead = clock - after if clock > after else min(clock - before, 0.0)
    if abs(ahead) > SKEW:
        direction = "ahead of" if ahead > 0 else "behind"
        yield Finding(
            "clocks",
            f"The clock of {name} is {abs(ahead):.1f} s {direction} that of this machine.",
            "Have all machines follow a time server (chrony, systemd-timesyncd).",
        )
