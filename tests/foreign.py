"""Skips, or in CI fails, a test whose third-party program is missing (see local/foreign.py)."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import NoReturn

import pytest

from local import foreign
from local.processes import ROOT


def need_libfaketime() -> None:
    """Require the library that fakes the time."""
    if foreign.libfaketime() is None:
        need("faketime")


def need(name: str) -> str:
    """The path of a program; a failure in CI if it is missing, else a skip."""
    program = foreign.PROGRAMS[name]
    found = program.find()
    if found is not None:
        return found
    return _missing(f"{name} is missing (Debian: apt install {program.package})")


def need_node(least: int) -> str:
    """The path of a Node of at least this version, by the same rule."""
    node = need("node")
    found = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    if int(found.removeprefix("v").partition(".")[0]) >= least:
        return node
    return _missing(f"Node {least} is missing: {node} is {found.strip()}")


def npm_packages(source: Path, name: str, *files: str) -> Path:
    """A folder below var/ with the packages of this lock file, and with these files of `source`.

    They are installed once for each lock file.
    """
    npm, place = need("npm"), ROOT / "var" / name
    place.mkdir(parents=True, exist_ok=True)
    for file in ("package.json", "package-lock.json", ".npmrc", *files):
        shutil.copy(source / file, place / file)
    stamp, wanted = place / "installed", (source / "package-lock.json").read_bytes()
    if not stamp.exists() or stamp.read_bytes() != wanted:
        words = [npm, "ci", "--ignore-scripts"]
        done = subprocess.run(
            words, cwd=place, capture_output=True, text=True, timeout=180, check=False
        )
        assert done.returncode == 0, done.stderr
        stamp.write_bytes(wanted)
    return place


def _missing(sentence: str) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(sentence)
    pytest.skip(sentence)
