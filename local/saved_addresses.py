"""What a server has to remember between two runs: its port and its password."""

import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from local import ports


@dataclass(frozen=True)
class Address:
    """Where a server on this machine listens and what opens it."""

    port: int
    password: str


def address(file: Path, port: int = 0) -> Address:
    """The address remembered in the file, with another port if that one is taken.

    A port asked for wins. The file is the password's only home: readable by its owner only.
    """
    known = recall(file)
    chosen = Address(ports.choose(port, known.port), known.password or secrets.token_hex(16))
    write_private(file, json.dumps(asdict(chosen)))
    return chosen


def recall(file: Path) -> Address:
    """What the file says; port 0 and no password when it says nothing."""
    try:
        return Address(**json.loads(file.read_text()))
    except (OSError, ValueError, TypeError):
        return Address(0, "")


def write_private(file: Path, text: str) -> None:
    """Replace the file in one step, so that a reader sees the old or the new, whole."""
    draft = file.with_name(f"{file.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:  # noqa: PTH123
        out.write(text)
    draft.replace(file)
