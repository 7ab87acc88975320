"""The real PgBouncer in transaction mode, between the service and its Postgres.

Few server connections, so that clients share them all the time.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from local import data_dirs, ports
from local.data_dirs import NOBODY
from local.processes import Command
from local.server import Server
from tests.foreign import need

#: Connections to Postgres for each database.
SERVER_CONNECTIONS: Final = 3

_CONFIG: Final = """\
[databases]
* = host={host} port={server}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {folder}/users.txt
pool_mode = transaction
default_pool_size = {size}
max_client_conn = 200
{more}
"""


class PgBouncer(Server):
    """PgBouncer; `more`: further lines of its configuration."""

    name = "pgbouncer"

    def __init__(self, folder: Path, target: str, more: str = "") -> None:
        super().__init__()
        self.program = need("pgbouncer")
        self.folder = folder
        self.log = folder / "pgbouncer.log"
        self.target = urlsplit(target)
        self.more = more
        self.port = ports.choose()

    @property
    def url(self) -> str:
        """The URL for clients, instead of the server's."""
        near = f"{self.target.username}:{self.target.password}@127.0.0.1:{self.port}"
        return self.target._replace(netloc=near).geturl()

    def command(self) -> Command:
        config = self.folder / "pgbouncer.ini"
        config.write_text(
            _CONFIG.format(
                host=self.target.hostname,
                server=self.target.port,
                port=self.port,
                folder=self.folder,
                size=SERVER_CONNECTIONS,
                more=self.more,
            )
        )
        users = self.folder / "users.txt"
        users.write_text(f'"{self.target.username}" "{self.target.password}"\n')
        # It refuses to run as root.
        uid = NOBODY if os.geteuid() == 0 else None
        return Command([self.program, str(config)], self.log, uid=uid)

    def ready(self) -> bool:
        """Whether it takes connections."""
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True


@contextmanager
def pgbouncer(target: str, more: str = "") -> Iterator[PgBouncer]:
    """A running PgBouncer in front of the Postgres at `target`."""
    with data_dirs.temporary() as folder, PgBouncer(folder, target, more) as server:
        yield server
