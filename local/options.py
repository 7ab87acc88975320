"""The command line of `outlive up`, and what makes it refuse to start."""

import argparse
import fcntl
import ipaddress
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from local.processes import ROOT

WEB_PORT = 8000


class UsageError(Exception):
    """The command cannot be run as given. The message is for the user."""


@dataclass(frozen=True)
class Options:
    """The command line."""

    data: Path
    host: str
    port: int | None
    flower: bool
    model: bool


def parse(arguments: Sequence[str]) -> Options:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="outlive up", description="Run everything on this machine, until Ctrl-C."
    )
    parser.add_argument("--data", type=Path, default=ROOT / "var", metavar="DIR",
                        help="keep everything here (default: var/ in the repository)")  # fmt: skip
    parser.add_argument("--host", default="127.0.0.1", help="listen here (default: %(default)s)")
    parser.add_argument("--port", type=int, default=os.environ.get("PORT") or None,
                        help=f"0: any free one (default: PORT or {WEB_PORT})")  # fmt: skip
    parser.add_argument("--no-flower", dest="flower", action="store_false", help="without Flower")
    parser.add_argument("--no-model", dest="model", action="store_false",
                        help="without the small model")  # fmt: skip
    options = Options(**vars(parser.parse_args(arguments)))
    if options.port is not None and not 0 <= options.port <= 65535:
        parser.error(f"there is no port {options.port}")
    return options


def check_host(host: str) -> None:
    """Refuse to listen beyond this machine where no login is required."""
    try:
        address = ipaddress.ip_address(socket.getaddrinfo(host, None)[0][4][0])
    except OSError as error:
        raise UsageError(f"There is no host {host!r}: {error}") from error
    if not address.is_loopback and (os.environ.get("OUTLIVE_AUTH") or "local") == "local":
        raise UsageError(
            f"Refusing to listen on {host}: without sign-in everyone who can reach it is let in."
            "\nTurn it on with OUTLIVE_AUTH=required, and make accounts with `outlive user add`"
            " (docs/accounts.md). Or leave --host out to serve this machine only."
        )


@contextmanager
def only_one(data: Path) -> Iterator[bool]:
    """Lock the data directory; yields whether the last process that held it has crashed.

    The kernel releases the lock with the process; the process id in the file is for people.
    """
    data.mkdir(parents=True, exist_ok=True)
    with (data / "lock").open("a+") as lock:
        lock.seek(0)
        owner = lock.read().strip()
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(f"`outlive up` already runs on {data} (process {owner}).") from None
        _write(lock, str(os.getpid()))
        yield bool(owner)
        _write(lock, "")


def _write(lock: TextIO, text: str) -> None:
    lock.seek(0)
    lock.truncate()
    lock.write(text)
    lock.flush()
