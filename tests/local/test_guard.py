"""The guard that ends children where the kernel does not: a real one, with a real child."""

import signal
import subprocess
import sys

from local.processes import ROOT


def sleeper() -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True
    )


def guarding(lines: str) -> None:
    """Run a guard whose parent writes these lines and ends."""
    words = [sys.executable, "-m", "local.guard"]
    subprocess.run(words, input=lines, text=True, cwd=ROOT, check=True, timeout=20)


def test_recorded_process_groups_end_when_the_pipe_closes() -> None:
    with sleeper() as child:
        guarding(f"{child.pid} {signal.SIGTERM}\n")

        assert child.wait(10) == -signal.SIGTERM


def test_forgotten_process_groups_are_left_alone() -> None:
    with sleeper() as child:
        guarding(f"{child.pid} {signal.SIGTERM}\n{child.pid} 0\n")

        assert child.poll() is None
        child.kill()
