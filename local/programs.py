"""The processes of the Procfile: web, worker, flower."""

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self
from uuid import uuid4

from local import ports
from local.processes import ROOT, Command
from local.server import Server, answers
from shared import flower_access

#: Connections that may wait for a web which is being started again.
BACKLOG = 2048


@dataclass(frozen=True)
class Environment:
    """What all programs of one `outlive up` share."""

    data: Path
    env: Mapping[str, str]
    #: the checkout whose code runs
    root: Path = ROOT

    def make_folders(self) -> None:
        """Make the folders that programs expect."""
        for name in ("log", "run", "metrics"):
            (self.data / name).mkdir(parents=True, exist_ok=True)

    def log(self, name: str) -> Path:
        """Where a part writes."""
        return self.data / "log" / f"{name}.log"


class Program(Server):
    """One line of the Procfile.

    Every start is somebody new: it has a boot id, which names it wherever it leaves a trace,
    and a file that it makes when it is ready. When a worker crashes its file stays, as a note
    of whose work has to be swept up.
    """

    #: Whether somebody else has to finish what this program had begun.
    leaves_work = False

    #: Whether its numbers are told by web's /metrics.
    counts = True

    def __init__(self, name: str, words: Sequence[str], environment: Environment) -> None:
        super().__init__()
        self.name = name
        self.words = words
        self.environment = environment
        self.boot = ""

    @property
    def url(self) -> str | None:
        return None

    @property
    def ready_file(self) -> Path:
        """Made by the program itself."""
        return self.environment.data / "run" / f"{self.name}-{self.boot}.ready"

    def start(self) -> Self:
        self.boot = str(uuid4())
        return super().start()

    def command(self) -> Command:
        own = {"OUTLIVE_BOOT": self.boot, "OUTLIVE_READY_FILE": str(self.ready_file)}
        if self.counts:
            own["PROMETHEUS_MULTIPROC_DIR"] = str(self.environment.data / "metrics")
        return Command(
            [*self.words, *self.extra()],
            self.environment.log(self.name),
            env={**self.environment.env, **own},
            cwd=self.environment.root,
            fds=self.fds(),
        )

    def extra(self) -> Sequence[str]:
        """Words after those of the Procfile, for one machine with several of each."""
        return ()

    def fds(self) -> Sequence[int]:
        """Open files that the program inherits, under the same numbers."""
        return ()

    def ready(self) -> bool:
        return self.ready_file.exists()

    def successor(self) -> Self:
        """The same program, not yet started, to take over from this one."""
        other = copy(self)
        other.process = None
        return other

    def crashed(self) -> bool:
        """Whether it ended otherwise than by finishing its work."""
        return self.process is not None and self.process.poll() not in (None, 0)

    def ended(self) -> None:
        """Gunicorn's workers would serve on for a second after their master was killed."""
        super().ended()
        self.signal_rest()
        if not (self.leaves_work and self.crashed()):
            self.ready_file.unlink(missing_ok=True)


class Web(Program):
    """Gunicorn, on a socket that is ours: it stays open while one master follows another."""

    def __init__(
        self, words: Sequence[str], environment: Environment, socket_fd: int, url: str
    ) -> None:
        super().__init__("web", words, environment)
        self.socket_fd = socket_fd
        self._url = url

    @classmethod
    def on_loopback(cls, words: Sequence[str], environment: Environment, stack: ExitStack) -> Self:
        """One at a port of its own, whose socket stays open until the stack is closed."""
        listener = ports.listen(0, "127.0.0.1", BACKLOG)
        stack.callback(listener.close)
        fd, port = listener.fileno(), listener.getsockname()[1]
        there = replace(environment, env={**environment.env, "OUTLIVE_BIND": f"fd://{fd}"})
        return cls(words, there, fd, f"http://127.0.0.1:{port}")

    @property
    def url(self) -> str:
        return self._url

    def fds(self) -> Sequence[int]:
        return (self.socket_fd,)

    def ready(self) -> bool:
        return super().ready() and answers_http(self.url, "/readyz")


class Worker(Program):
    """Celery. Two of them live side by side during a deploy, so each has its own node name."""

    leaves_work = True

    def extra(self) -> Sequence[str]:
        concurrency = os.environ.get("OUTLIVE_WORKER_CONCURRENCY") or "200"
        return ("--concurrency", concurrency, "--hostname", f"outlive-{self.boot[:8]}@%h")


class Flower(Program):
    """Celery's window, behind credentials of its own: only it and operators know them."""

    counts = False  # it has a page of its own

    def __init__(
        self,
        words: Sequence[str],
        environment: Environment,
        port: int,
        credential: str | None = None,
    ) -> None:
        super().__init__("flower", words, environment)
        self.port = port
        self.credential = credential or flower_access.new_credential()

    @property
    def address(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """The same with the credential, for tools."""
        return flower_access.with_credential(self.address, self.credential)

    @property
    def link(self) -> str:
        """Signs a browser in."""
        return flower_access.sign_in_link(self.address, self.credential)

    def command(self) -> Command:
        command = super().command()
        own = {"FLOWER_BASIC_AUTH": self.credential}  # not in the arguments: all can read those
        return replace(command, env={**command.env, **own})

    def extra(self) -> Sequence[str]:
        return ("--address=127.0.0.1", f"--port={self.port}")

    def ready(self) -> bool:
        return answers_http(self.address, "/healthcheck")


def answers_http(url: str, path: str) -> bool:
    """Whether a page is there, with the status 200."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    request = f"GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n"
    return answers(int(port), request.encode(), b" 200 ", host.strip("[]"))


def sweep(boot: str, environment: Environment) -> Command:
    """The command that ends honestly, and at once, what a dead worker left."""
    words = [sys.executable, "-m", "cli", "sweep", "--died", boot]
    return Command(
        words, environment.log("sweep"), env=environment.env, death_signal=signal.SIGTERM
    )
