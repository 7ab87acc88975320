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

#: Connections that may wait while web is started again.
BACKLOG = 2048


@dataclass(frozen=True)
class Environment:
    """What all programs of one `outlive up` share: folders, variables and code."""

    data: Path
    env: Mapping[str, str]
    #: the checkout whose code runs
    root: Path = ROOT

    def make_folders(self) -> None:
        """Make the folders that programs write to."""
        for name in ("log", "run", "metrics"):
            (self.data / name).mkdir(parents=True, exist_ok=True)

    def log(self, name: str) -> Path:
        """The path of a part's log."""
        return self.data / "log" / f"{name}.log"


class Program(Server):
    """One line of the Procfile.

    Every start has a boot id of its own, which names it in the database and in logs, and a file
    that the program makes when it is ready. When a worker crashes its file stays: it names a boot
    whose answers have to be swept.
    """

    #: whether a sweep has to end what this program had begun
    needs_sweep = False

    #: whether web's /metrics reports its numbers
    has_metrics = True

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
        """The file that the program makes when it is ready."""
        return self.environment.data / "run" / f"{self.name}-{self.boot}.ready"

    def start(self) -> Self:
        self.boot = str(uuid4())
        return super().start()

    def command(self) -> Command:
        own = {"OUTLIVE_BOOT": self.boot, "OUTLIVE_READY_FILE": str(self.ready_file)}
        if self.has_metrics:
            own["PROMETHEUS_MULTIPROC_DIR"] = str(self.environment.data / "metrics")
        return Command(
            [*self.words, *self.extra_arguments()],
            self.environment.log(self.name),
            env={**self.environment.env, **own},
            cwd=self.environment.root,
            fds=self.fds(),
        )

    def extra_arguments(self) -> Sequence[str]:
        """Arguments after those of the Procfile, where one machine runs several of a kind."""
        return ()

    def fds(self) -> Sequence[int]:
        """Open descriptors that the program inherits under the same numbers."""
        return ()

    def ready(self) -> bool:
        return self.ready_file.exists()

    def successor(self) -> Self:
        """The same program, not yet started, to take over from this one."""
        other = copy(self)
        other.process = None
        return other

    def crashed(self) -> bool:
        """Whether it ended with another status than 0."""
        return self.process is not None and self.process.poll() not in (None, 0)

    def ended(self) -> None:
        """Kill the rest of its group: gunicorn's workers would serve on without their master."""
        super().ended()
        self.signal_rest()
        if not (self.needs_sweep and self.crashed()):
            self.ready_file.unlink(missing_ok=True)


class Web(Program):
    """Gunicorn, on a socket of ours that stays open while one master follows another."""

    def __init__(
        self, words: Sequence[str], environment: Environment, socket_fd: int, url: str
    ) -> None:
        super().__init__("web", words, environment)
        self.socket_fd = socket_fd
        self._url = url

    @classmethod
    def on_loopback(cls, words: Sequence[str], environment: Environment, stack: ExitStack) -> Self:
        """On a free port, whose socket stays open until the stack is closed."""
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
    """Celery. Two run side by side during a deploy, so each has a node name of its own."""

    needs_sweep = True

    def extra_arguments(self) -> Sequence[str]:
        concurrency = os.environ.get("OUTLIVE_WORKER_CONCURRENCY") or "200"
        return ("--concurrency", concurrency, "--hostname", f"outlive-{self.boot[:8]}@%h")


class Flower(Program):
    """Flower, with credentials that only it and operators know."""

    has_metrics = False  # it serves its own

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
        """Its address with the credential, for tools."""
        return flower_access.with_credential(self.address, self.credential)

    @property
    def link(self) -> str:
        """A link that signs a browser in."""
        return flower_access.sign_in_link(self.address, self.credential)

    def command(self) -> Command:
        command = super().command()
        own = {"FLOWER_BASIC_AUTH": self.credential}  # not an argument: every user can read those
        return replace(command, env={**command.env, **own})

    def extra_arguments(self) -> Sequence[str]:
        return ("--address=127.0.0.1", f"--port={self.port}")

    def ready(self) -> bool:
        return answers_http(self.address, "/healthcheck")


def answers_http(url: str, path: str) -> bool:
    """Whether GET of a path is answered with status 200."""
    host, _, port = url.removeprefix("http://").rpartition(":")
    request = f"GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n"
    return answers(int(port), request.encode(), b" 200 ", host.strip("[]"))


def sweep(boot: str, environment: Environment) -> Command:
    """The command that ends the answers of a dead worker at once."""
    words = [sys.executable, "-m", "cli", "sweep", "--died", boot]
    return Command(
        words, environment.log("sweep"), env=environment.env, death_signal=signal.SIGTERM
    )
