"""Reads the Procfile: `outlive up` runs exactly what a deployment runs."""

import shlex
from pathlib import Path

from local.processes import BIN, ROOT


def read(file: Path = ROOT / "Procfile", programs: Path = BIN) -> dict[str, list[str]]:
    """The arguments of every line, by its name. There is no shell, so nothing is expanded.

    `programs`: the folder in which the programs are searched for first.
    """
    lines = (line.partition(":") for line in file.read_text().splitlines() if line.strip())
    return {name.strip(): _resolve(shlex.split(command), programs) for name, _, command in lines}


def _resolve(words: list[str], programs: Path) -> list[str]:
    """Use the environment's own program, so that it need not be in the PATH."""
    ours = programs / words[0]
    return [str(ours), *words[1:]] if ours.exists() else words
