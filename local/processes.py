"""Start a process that cannot outlive us.

Every server that this package starts is bound to the life of the process that started it:
by the kernel on Linux (`PR_SET_PDEATHSIG`), by a small guard process elsewhere (`guard.py`).
That holds for `kill -9` too, when nobody is left to tidy up.

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

#: Bytes of a log; the last so many of what was before are kept beside it.
LOG_BYTES = 10_000_000

PR_SET_PDEATHSIG = 1  # from <sys/prctl.h>
LINUX = sys.platform == "linux"
# Loaded before any fork: the child of a fork should not have to open libraries.
LIBC = ctypes.CDLL(None, use_errno=True) if LINUX else None


def children(pid: int) -> list[int]:
    """The processes that this one has started; none if it has gone."""
    if LINUX:  # small images have no `ps`
        with suppress(OSError):
            told = Path(f"/proc/{pid}/task/{pid}/children").read_text()
            return [int(child) for child in told.split()]
        return []
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, check=True)
    pairs = [line.split() for line in listed.stdout.decode().splitlines()]
    return [int(child) for child, parent in pairs if int(parent) == pid]


@dataclass(frozen=True)
class Command:
    """Everything that one process is started with."""

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
            # A Ctrl-C in the terminal is for us: we end the children in the right order.
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
    """Put the end of a log that has become too large aside, in the place of what was there.

    Who writes to it goes on: it was opened for appending. A line that is written in this very
    moment may be lost.
    """
    size = log.stat().st_size
    if size <= LOG_BYTES:
        return
    with log.open("rb") as full, log.with_suffix(".log.1").open("wb") as aside:
        full.seek(size - LOG_BYTES)
        shutil.copyfileobj(full, aside)
    os.truncate(log, 0)


def _bound_to(parent: int, death_signal: signal.Signals) -> Callable[[], None]:
    """What the child does before it becomes the program.

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
    """Whether the process exists, also when it is somebody else's."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def program_name(pid: int) -> str:
    """What runs under this process id, as `ps` calls it; empty when nothing does any more."""
    if LINUX:
        return _linux_program_name(pid)
    done = subprocess.run(
        ["ps", "-o", "comm=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return Path(done.stdout.strip()).name


def works_in(folder: Path, name: str) -> bool:
    """Whether a program of that name has this working directory. Never, where nothing tells."""
    pids = [int(file.name) for file in Path("/proc").glob("[0-9]*")] if LINUX else []
    return any(_folder(pid) == folder and program_name(pid) == name for pid in pids)


def _folder(pid: int) -> Path | None:
    """Where it works; None for what has just ended or is somebody else's."""
    try:
        return Path(f"/proc/{pid}/cwd").readlink()
    except OSError:
        return None


def _linux_program_name(pid: int) -> str:
    """From /proc, since small images have no `ps`. A zombie has ended, whoever fails to bury it."""
    try:
        shown = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    name, _, rest = shown.partition("(")[2].rpartition(")")
    return "" if rest.split()[0] == "Z" else name
