"""The port and password of a server, saved from one run to the next."""

import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from local import ports


@dataclass(frozen=True)
class Address:
    """The port and password of a server on this machine."""

    port: int
    password: str


def address(file: Path, port: int = 0) -> Address:
    """The address saved in the file, with another port if that one is taken.

    `port` wins over the saved one. The password is only in this file, which only its owner can
    read.
    """
    saved = load(file)
    chosen = Address(ports.choose(port, saved.port), saved.password or secrets.token_hex(16))
    write_private(file, json.dumps(asdict(chosen)))
    return chosen


def load(file: Path) -> Address:
    """The address in the file; port 0 and no password if there is none."""
    try:
        return Address(**json.loads(file.read_text()))
    except (OSError, ValueError, TypeError):
        return Address(0, "")


def write_private(file: Path, text: str) -> None:
    """Replace the file in one step, readable by its owner only."""
    draft = file.with_name(f"{file.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:  # noqa: PTH123
        out.write(text)
    draft.replace(file)
