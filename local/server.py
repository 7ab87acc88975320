"""A server: one process that can be started again at the same address."""

import contextlib
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import Self

from local import guard
from local.processes import Command, signal_group, spawn

#: Seconds that a server may take to become ready.
START_SECONDS = 60.0
#: Seconds between two polls of a condition.
POLL_SECONDS = 0.02


class StartError(Exception):
    """A part did not start. The message is for the user."""

    def __init__(self, message: str, part: str = "") -> None:
        super().__init__(message)
        #: the part whose log says why
        self.part = part


class Server(ABC):
    """One process that is started, polled for readiness, stopped and started again.

    `start` returns at once and `wait` waits until it is ready, so that several servers can start at
    the same time. As a context manager it does both, and stops the process at the end.
    """

    #: its name for people, in its log's path and in outlive.json
    name: str
    #: the signal that asks it to end
    stop_signal: signal.Signals = signal.SIGTERM

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.started = 0.0  # monotonic seconds

    @property
    @abstractmethod
    def url(self) -> str | None:
        """Where it answers; None if it has no address."""

    @abstractmethod
    def command(self) -> Command:
        """What to run; called for every start."""

    @abstractmethod
    def ready(self) -> bool:
        """Whether it is ready now. Must not take long."""

    @property
    def pid(self) -> int:
        """The id of its main process."""
        assert self.process is not None, f"{self.name} was not started"
        return self.process.pid

    def start(self) -> Self:
        """Start the process, without waiting for it."""
        self.started = time.monotonic()
        self.process = spawn(self.command())
        return self

    def alive(self) -> bool:
        """Whether the process still runs; reaps it when it does not."""
        return self.process is not None and self.process.poll() is None

    def wait(self, seconds: float = START_SECONDS) -> Self:
        """Wait until it is ready; raise StartError if it ends or takes too long."""
        wait_until(lambda: not self.alive() or self.ready(), seconds)
        if not self.alive() or not self.ready():
            raise StartError(f"{self.name} did not start", self.name)
        return self

    def stop(self, seconds: float = 5.0) -> None:
        """Ask it to end, and kill it after some seconds."""
        self.signal(self.stop_signal)
        if not wait_until(lambda: not self.alive(), seconds):
            self.kill()
        self.ended()

    def kill(self) -> None:
        """Kill it, as a crash would."""
        self.signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait()

    def restart(self) -> Self:
        """Start it again at the same address, whether it still runs or not."""
        self.stop()
        return self.start().wait()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; SIGKILL also goes to its children, which it could not end itself."""
        if self.process is None or not self.alive():
            return
        if number == signal.SIGKILL:
            signal_group(self.process, number)
        else:
            self.process.send_signal(number)

    def ended(self) -> None:
        """Clean up after its process has ended."""
        if self.process is not None:
            guard.forget(self.process.pid)

    def signal_rest(self) -> None:
        """Kill what is left of its process group after it has ended."""
        if self.process is not None:
            signal_group(self.process, signal.SIGKILL)

    def __enter__(self) -> Self:
        try:
            return self.start().wait()
        except BaseException:
            self.kill()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Poll a condition until it holds; False if it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def answers(port: int, request: bytes, answer: bytes, host: str = "127.0.0.1") -> bool:
    """Whether a server answers a few bytes with the expected ones within a second."""
    with contextlib.suppress(OSError), socket.create_connection((host, port), 1) as peer:
        peer.sendall(request)
        received = b""
        while answer not in received and (more := peer.recv(4096)):
            received += more
        return answer in received
    return False
