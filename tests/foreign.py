"""Skips, or in CI fails, a test whose third-party program is missing (see local/foreign.py)."""

import os
import subprocess
from typing import NoReturn

import pytest

from local import foreign


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


def _missing(sentence: str) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(sentence)
    pytest.skip(sentence)
