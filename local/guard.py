"""End the children of a process that died without ending them, where the kernel does not.

Linux ends a child with its parent (`processes.py`); macOS and the BSDs do not. There this process
reads a pipe from its parent. When the parent dies, however it dies, the pipe closes, and the guard
signals the process groups that were recorded.

    python -m local.guard < pipe        one line each: "<process group> <signal number>"
"""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

_guard: subprocess.Popen[str] | None = None
_watched: dict[int, int] = {}


def watch(group: int, number: signal.Signals) -> None:
    """Have the process group signalled if this process dies."""
    _watched[group] = int(number)
    try:
        _send({group: int(number)})
    except OSError:  # the guard was killed: a new one needs all groups
        _restart()


def forget(group: int) -> None:
    """Forget a group that has ended, as its number may be reused. Signal 0 does nothing."""
    if _watched.pop(group, None) is not None:
        with contextlib.suppress(OSError):
            _send({group: 0})


def _send(groups: dict[int, int]) -> None:
    global _guard  # noqa: PLW0603  (one guard a process)
    if _guard is None:
        _guard = subprocess.Popen(
            [sys.executable, "-m", "local.guard"],
            cwd=Path(__file__).parent.parent,
            stdin=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
    assert _guard.stdin is not None
    _guard.stdin.write("".join(f"{group} {number}\n" for group, number in groups.items()))
    _guard.stdin.flush()


def _restart() -> None:
    global _guard  # noqa: PLW0603
    _guard = None
    _send(_watched)


def end_all(lines: Iterable[str]) -> None:
    """Read groups until the pipe closes, then signal them, the newest first."""
    groups = {int(group): int(number) for group, number in (line.split() for line in lines)}
    for group, number in reversed(groups.items()):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, number)


if __name__ == "__main__":
    end_all(sys.stdin)
