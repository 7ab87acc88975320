"""Start processes that cannot outlive us.

Every server that this package starts ends with the process that started it: by the kernel on Linux
(`PR_SET_PDEATHSIG`), by a small guard process elsewhere (`guard.py`). That also holds for
`kill -9`, after which no code of ours runs.

The kernel watches the *thread* that forked, so start processes from the main thread only.
"""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from local import guard

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent

#: Bytes after which a log is rotated; its last bytes, as many, are kept in a second file.
LOG_BYTES = 10_000_000

PR_SET_PDEATHSIG = 1  # from <sys/prctl.h>
LINUX = sys.platform == "linux"
# Loaded before any fork: a forked child should not have to open libraries.
LIBC = ctypes.CDLL(None, use_errno=True) if LINUX else None


def children(pid: int) -> list[int]:
    """The ids of the children of a process; none if it has ended."""
    if LINUX:  # small images have no `ps`
        with suppress(OSError):
            text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
            return [int(child) for child in text.split()]
        return []
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, check=True)
    pairs = [line.split() for line in listed.stdout.decode().splitlines()]
    return [int(child) for child, parent in pairs if int(parent) == pid]


@dataclass(frozen=True)
class Command:
    """Everything that a process is started with."""

    argv: Sequence[str]
    log: Path
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path = ROOT
    uid: int | None = None
    fds: Sequence[int] = ()
    death_signal: signal.Signals = signal.SIGKILL


def spawn(command: Command) -> subprocess.Popen[bytes]:
    """Start the command in a session of its own, output appended to its log."""
    with command.log.open("ab") as log:
        process = subprocess.Popen(
            command.argv,
            env={**os.environ, **command.env},
            cwd=command.cwd,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            # A Ctrl-C in the terminal is for us alone: we end the children in the right order.
            start_new_session=True,
            pass_fds=command.fds,
            # Unsafe beside threads, as the linter says; we have one, and nothing else does this.
            preexec_fn=_bound_to(os.getpid(), command.death_signal) if LINUX else None,  # noqa: PLW1509
            user=command.uid,
            group=command.uid,
            extra_groups=None if command.uid is None else [],
        )
    if not LINUX:
        guard.watch(process.pid, command.death_signal)
    return process


def rotate(log: Path) -> None:
    """Empty a log that has become too large, and keep its end in a second file.

    Its writer goes on, since it opened the log for appending. A line that is written at this very
    moment may be lost.
    """
    size = log.stat().st_size
    if size <= LOG_BYTES:
        return
    with log.open("rb") as full, log.with_suffix(".log.1").open("wb") as kept:
        full.seek(size - LOG_BYTES)
        shutil.copyfileobj(full, kept)
    os.truncate(log, 0)


def _bound_to(parent: int, death_signal: signal.Signals) -> Callable[[], None]:
    """A function that the child calls before exec, to end with its parent.

    Python calls it after the change of user, which would have reset the setting.
    """

    def bind() -> None:
        assert LIBC is not None
        if LIBC.prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
        if os.getppid() != parent:  # it died before the setting could see it
            os._exit(1)

    return bind


def signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Signal the process and the children that stayed in its group."""
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):  # gone; macOS says the latter of zombies
        return


def is_alive(pid: int) -> bool:
    """Whether the process exists, whichever user runs it."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def program_name(pid: int) -> str:
    """The program with this process id, as `ps` names it; empty if there is none."""
    if LINUX:
        return _linux_program_name(pid)
    done = subprocess.run(
        ["ps", "-o", "comm=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return Path(done.stdout.strip()).name


def works_in(folder: Path, name: str) -> bool:
    """Whether a program of that name has this working directory; False where it is unknown."""
    pids = [int(file.name) for file in Path("/proc").glob("[0-9]*")] if LINUX else []
    return any(_folder(pid) == folder and program_name(pid) == name for pid in pids)


def _folder(pid: int) -> Path | None:
    """Its working directory; None if it has just ended or belongs to another user."""
    try:
        return Path(f"/proc/{pid}/cwd").readlink()
    except OSError:
        return None


def _linux_program_name(pid: int) -> str:
    """From /proc, since small images have no `ps`. A zombie counts as ended."""
    try:
        shown = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    name, _, rest = shown.partition("(")[2].rpartition(")")
    return "" if rest.split()[0] == "Z" else name
