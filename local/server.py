"""A server of ours: one process that can be started again at the same address."""

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

#: Seconds that a server gets to become ready before we call it broken.
START_SECONDS = 60.0
#: Seconds between two looks at something that cannot wake us.
POLL_SECONDS = 0.02


class StartError(Exception):
    """A part did not start. The message is for the person at the terminal."""

    def __init__(self, message: str, part: str = "") -> None:
        super().__init__(message)
        #: Whose log tells more.
        self.part = part


class Server(ABC):
    """One process: started, asked whether it is ready, stopped, started again.

    `start` returns at once, `wait` waits; the supervisor starts several and then waits.
    As a context manager it does both and stops in the end.
    """

    #: What a person calls it; also the name of its log and its key in outlive.json.
    name: str
    #: The polite way to ask for the end.
    stop_signal: signal.Signals = signal.SIGTERM

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.started = 0.0  # monotonic seconds

    @property
    @abstractmethod
    def url(self) -> str | None:
        """Where it answers; None for one that only listens to others."""

    @abstractmethod
    def command(self) -> Command:
        """What to run, made anew for every start."""

    @abstractmethod
    def ready(self) -> bool:
        """Whether it does its work now. Must answer within a moment."""

    @property
    def pid(self) -> int:
        """The process whose death is the death of this server."""
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
        """Wait until it is ready; raise StartError if it ends first or takes too long."""
        wait_until(lambda: not self.alive() or self.ready(), seconds)
        if not self.alive() or not self.ready():
            raise StartError(f"{self.name} did not start", self.name)
        return self

    def stop(self, seconds: float = 5.0) -> None:
        """Ask for the end, and insist after so many seconds."""
        self.signal(self.stop_signal)
        if not wait_until(lambda: not self.alive(), seconds):
            self.kill()
        self.ended()

    def kill(self) -> None:
        """End it now, as a crash would."""
        self.signal(signal.SIGKILL)
        if self.process is not None:
            self.process.wait()

    def restart(self) -> Self:
        """Start it again at the same address, whether it still runs or not."""
        self.stop()
        return self.start().wait()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, to its children too when that is the only way to end them."""
        if self.process is None or not self.alive():
            return
        if number == signal.SIGKILL:
            signal_group(self.process, number)
        else:
            self.process.send_signal(number)

    def ended(self) -> None:
        """Its process is gone: what else has to go with it?"""
        if self.process is not None:
            guard.forget(self.process.pid)

    def signal_rest(self) -> None:
        """End what is left of its group once the process itself is gone."""
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
    """Look again and again until it holds; False when the time is over."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True


def answers(port: int, request: bytes, answer: bytes, host: str = "127.0.0.1") -> bool:
    """Whether a server gives the answer that we expect to a few bytes, within a second."""
    with contextlib.suppress(OSError), socket.create_connection((host, port), 1) as peer:
        peer.sendall(request)
        said = b""
        while answer not in said and (more := peer.recv(4096)):
            said += more
        return answer in said
    return False
