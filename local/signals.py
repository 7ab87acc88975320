"""Signals as events of a loop: they are noted here and wake the loop."""

import contextlib
import select
import signal
import socket
from types import FrameType


class Stop(Exception):
    """A signal asked us to end."""


class Signals:
    """What signals asked for. Make one in the main thread, before the first child."""

    def __init__(self) -> None:
        self._stops = 0
        self._deploy = False
        self._wake, waker = socket.socketpair()
        self._wake.setblocking(False)
        waker.setblocking(False)
        self._waker = waker  # kept open: the interpreter has only its number
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGHUP, self._ask_deploy)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self._stops += 1

    def _ask_deploy(self, _number: int, _frame: FrameType | None) -> None:
        self._deploy = True

    @property
    def impatient(self) -> bool:
        """Whether we were asked to stop more than once."""
        return self._stops > 1

    def take_deploy(self) -> bool:
        """Whether a deploy was asked for since the last call."""
        asked, self._deploy = self._deploy, False
        return asked

    def doze(self, seconds: float | None) -> None:
        """Wait for any signal, at most for some seconds."""
        select.select([self._wake], [], [], seconds)
        with contextlib.suppress(BlockingIOError):
            self._wake.recv(4096)

    def wait(self, seconds: float | None) -> None:
        """Wait for any signal, at most for some seconds; raise Stop if one asked us to end."""
        if not self._stops:
            self.doze(seconds)
        if self._stops:
            raise Stop
