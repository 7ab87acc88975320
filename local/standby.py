"""A Postgres that fails over: a primary, a standby that streams from it, and one address for both.

For tests and the drill. `Replicated` is a deployment with a standby: its `url` stays the same while
the servers change. A failover is made of short steps, between which the drill can do other things;
tests call the methods that wait:

    follow ─▶ (hold ─▶ …) ─▶ fail_over

* `follow`     takes a base backup of the primary and starts a standby that streams from it.
               Synchronous: the primary confirms no commit that the standby has not on its disk.
* `hold`       disconnects the standby. A failover then loses what is committed from now on, and
               nothing that was committed before: a loss has an exact beginning.
* `fail_over`  points the address to the standby and promotes it. The old primary is killed, or it
               lives on and refuses writes; then clients that keep their connections still use it.

The next `follow` begins at the new primary, so a cluster can fail over any number of times.
"""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import psycopg2

from local import saved_addresses
from local.address import Address
from local.postgres import USER, Postgres
from local.processes import Command, children, spawn
from local.server import StartError, wait_until

#: Seconds that a step of a failover may take.
STEP_SECONDS: Final = 30.0
#: Seconds for which open writes of a demoted primary are waited for; a client may hold one longer.
LAST_WRITES: Final = 5.0


class Standby(Postgres):
    """A server that begins as a copy of another one, streams from it and can be promoted."""

    statuses = frozenset({"ready", "standby"})

    def __init__(self, directory: Path, primary: Postgres, log: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        # It has the primary's users, and so the primary's password.
        known = saved_addresses.Address(0, primary.address.password)
        saved_addresses.write_private(directory / "server.json", json.dumps(asdict(known)))
        super().__init__(directory, log=log, durable=False)
        self.clock = primary.clock  # the same clock, if that can be set
        self._primary = primary
        self._draft = self.home / "data.new"

    def copy(self) -> subprocess.Popen[bytes]:
        """Begin the base backup. Call `start` once the process has ended with status 0."""
        shutil.rmtree(self._draft, ignore_errors=True)
        words = [
            "--host=127.0.0.1", f"--port={self._primary.address.port}", f"--username={USER}",
            "--no-password", "--checkpoint=fast", "--no-sync", "--wal-method=stream",
            "--write-recovery-conf", f"--pgdata={self._draft}",
        ]  # fmt: skip
        return spawn(
            Command(
                [str(self.program("pg_basebackup")), *words],
                self.log,
                env={"PGPASSWORD": self.address.password},
                cwd=self.home,
                uid=self.uid,
            )
        )

    def _create(self) -> None:
        if not self._draft.exists() and self.copy().wait() != 0:
            raise StartError("postgres: the base backup failed", self.name)
        self._draft.rename(self.data)

    def is_standby(self) -> bool:
        """Whether it is not promoted yet."""
        return bool(ask(self.url, "SELECT pg_is_in_recovery()")[0][0])

    def has(self, position: str) -> bool:
        """Whether it has received the WAL up to a position of the primary's."""
        found = ask(self.url, "SELECT pg_last_wal_receive_lsn() >= %s::pg_lsn", position)
        return bool(found[0][0])

    def receives(self) -> bool:
        """Whether it is connected to the primary."""
        return bool(ask(self.url, "SELECT 1 FROM pg_stat_wal_receiver WHERE status = 'streaming'"))

    def disconnect(self) -> None:
        """Stop receiving."""
        configure(self.url, "primary_conninfo", "")

    def promote(self) -> None:
        """Begin to become a primary; `is_standby` says when it is one."""
        ask(self.url, "SELECT pg_promote(wait => false)")


class Replicated:
    """A primary, at times a standby, and the address of the one that takes writes."""

    def __init__(self, directory: Path, primary: Postgres, log: Path) -> None:
        """`primary` runs already; we stop it in the end."""
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)
        self.log = log
        self.primary = primary
        self.standby: Standby | None = None
        #: the primary before this one, while it lives on and refuses writes
        self.demoted: Postgres | None = None
        self.address = Address(directory, primary.address.port, log)
        self._number = 0

    @property
    def url(self) -> str:
        """The URL for DATABASE_URL."""
        own = f":{self.primary.address.port}/"
        return self.primary.url.replace(own, f":{self.address.port}/")

    def __enter__(self) -> Self:
        self.address.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for server in (self.standby, self.demoted):
            if server is not None:
                server.kill()
        self.primary.stop()
        self.address.__exit__(kind, error, trace)

    # --- step by step

    def new_standby(self) -> Standby:
        """A standby that is not copied yet: `copy`, `start` and `streaming` come next."""
        self._number += 1
        place = self.directory / f"standby-{self._number}"
        self.standby = Standby(place, self.primary, self.log)
        return self.standby

    def streaming(self) -> bool:
        """Whether the standby runs and receives."""
        return self.standby is not None and self.standby.ready() and self.standby.receives()

    def synchronous(self, on: bool) -> None:
        """Whether commits shall wait until the standby has them on its disk."""
        configure(self.primary.url, "synchronous_standby_names", "*" if on else "")

    def is_synchronous(self) -> bool:
        """Whether commits wait for the standby now."""
        state = "SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'"
        return bool(ask(self.primary.url, state))

    def abandon(self) -> None:
        """Remove the standby; no commit waits for it any more."""
        if self.standby is not None:
            _discard(self.standby)
            self.standby = None
        with suppress(psycopg2.Error):
            self.synchronous(False)

    def position(self) -> str:
        """The position up to which the primary has written its WAL."""
        return str(ask(self.primary.url, "SELECT pg_current_wal_lsn()")[0][0])

    def switch(self, *, spare: bool) -> None:
        """Point the address to the standby, and begin to promote it.

        The old primary is killed first; with `spare` it is made read-only instead.
        """
        standby, old = self._standby(), self.primary
        if spare:
            # Else there would be two primaries for a moment, or it would show what only it has.
            read_only(old.url, True)
            wait_until(lambda: not _writes(old), LAST_WRITES)
            self.demoted = old
        else:
            _discard(old)
        self.primary, self.standby = standby, None
        self.address.point(standby.address.port)
        standby.promote()

    def promoted(self) -> bool:
        """Whether the new primary takes writes."""
        assert isinstance(self.primary, Standby)
        return not self.primary.is_standby()

    def end_demoted(self) -> None:
        """End the old primary that lived on."""
        if self.demoted is not None:
            _discard(self.demoted)
            self.demoted = None

    def _standby(self) -> Standby:
        assert self.standby is not None, "there is no standby"
        return self.standby

    # --- steps that wait

    def follow(self, *, synchronous: bool = False) -> None:
        """Start a standby; return once it streams."""
        self.new_standby().start().wait()
        _must(self.streaming)
        if synchronous:
            self.synchronous(True)
            _must(self.is_synchronous)

    def hold(self) -> None:
        """Keep from the standby what is committed from now on; it has everything before."""
        standby, position = self._standby(), self.position()
        _must(lambda: standby.has(position))
        standby.disconnect()
        _must(lambda: not standby.receives())

    def fail_over(self, *, spare: bool = False) -> None:
        """Promote the standby and point the address to it."""
        self.switch(spare=spare)
        _must(self.promoted)


def _writes(server: Postgres) -> bool:
    """Whether any transaction with writes is open or waits for the standby."""
    own = "SELECT 1 FROM pg_stat_activity WHERE backend_xid IS NOT NULL AND pid <> pg_backend_pid()"
    return bool(ask(server.url, own))


def _discard(server: Postgres) -> None:
    """Kill it with all its backends, and delete its data."""
    if server.alive():
        for pid in (server.pid, *children(server.pid)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        server.kill()
        server.ended()
    shutil.rmtree(server.data, ignore_errors=True)


def ask(url: str, sql: str, *values: str) -> list[Any]:
    """The rows of one statement, on a connection of its own."""
    with closing(psycopg2.connect(url, connect_timeout=5, application_name="harness")) as one:
        one.autocommit = True
        with one.cursor() as cursor:
            cursor.execute(sql, values)
            return list(cursor.fetchall()) if cursor.description else []


def configure(url: str, setting: str, value: str) -> None:
    """Change a setting of a running server, for all sessions and for its next starts."""
    ask(url, f"ALTER SYSTEM SET {setting} = %s", value)
    ask(url, "SELECT pg_reload_conf()")


def read_only(url: str, on: bool) -> None:
    """Make a running server read-only, or writable again; return once that is in force."""
    word = "on" if on else "off"
    configure(url, "default_transaction_read_only", word)
    _must(lambda: ask(url, "SHOW default_transaction_read_only")[0][0] == word)


def _must(condition: Callable[[], bool]) -> None:
    if not wait_until(condition, STEP_SECONDS):
        raise StartError("postgres: the failover did not go on", "postgres")
