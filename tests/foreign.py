"""Skips, or in CI fails, a test whose third-party program is missing (see local/foreign.py)."""

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
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

    The folder is named after the lock file, so packages are installed once for each. Processes that
    ask at the same time wait for the one that installs. `name` tells people what is in it.
    """
    npm, lock = need("npm"), (source / "package-lock.json").read_bytes()
    place = ROOT / "var" / f"{name}-{hashlib.sha256(lock).hexdigest()[:12]}"
    place.mkdir(parents=True, exist_ok=True)
    with (place / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        for file in ("package.json", "package-lock.json", ".npmrc", *files):
            (place / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source / file, place / file)
        stamp = place / "installed"
        if not stamp.exists():
            words = [npm, "ci", "--ignore-scripts"]
            done = subprocess.run(
                words, cwd=place, capture_output=True, text=True, timeout=300, check=False
            )
            assert done.returncode == 0, done.stderr
            stamp.touch()
    return place


def python_packages(lock: Path, name: str) -> Path:
    """The Python of an environment below var/ with the packages of this lock, installed once.

    They are large, and want other versions than ours. uv installs them in a tenth of the time that
    pip takes (2 s of CPU for 330 MB), where it is there.
    """
    content = lock.read_bytes()
    place = ROOT / "var" / f"{name}-{hashlib.sha256(content).hexdigest()[:12]}"
    place.mkdir(parents=True, exist_ok=True)
    python = place / "venv" / "bin" / "python"
    with (place / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        stamp = place / "installed"
        if not stamp.exists():
            for words in _installing(place / "venv", lock):
                done = subprocess.run(
                    words, cwd=place, capture_output=True, text=True, timeout=300, check=False
                )
                assert done.returncode == 0, done.stderr
            stamp.touch()
    return python


def _installing(venv: Path, lock: Path) -> list[list[str]]:
    uv = [sys.executable, "-m", "uv"]
    hashed = ["--quiet", "--require-hashes", "--no-deps", "--requirement", str(lock)]
    if importlib.util.find_spec("uv") is not None:
        made = [*uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(venv)]
        return [made, [*uv, "pip", "install", "--python", str(venv), *hashed]]
    pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "--no-compile"]
    return [[sys.executable, "-m", "venv", "--clear", str(venv)], [*pip, *hashed]]


def _missing(sentence: str) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(sentence)
    pytest.skip(sentence)
