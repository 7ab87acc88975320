"""The Procfile: what a deployment runs, and what `outlive up` runs, word for word."""

import shlex
from pathlib import Path

from local.processes import BIN, ROOT


def read(file: Path = ROOT / "Procfile", programs: Path = BIN) -> dict[str, list[str]]:
    """The words of every line, by name. There is no shell, so nothing in them is expanded.

    `programs`: the folder of the environment whose programs are meant.
    """
    lines = (line.partition(":") for line in file.read_text().splitlines() if line.strip())
    return {name.strip(): _resolve(shlex.split(command), programs) for name, _, command in lines}


def _resolve(words: list[str], programs: Path) -> list[str]:
    """The environment's own program, so that it need not be on the PATH."""
    ours = programs / words[0]
    return [str(ours), *words[1:]] if ours.exists() else words
