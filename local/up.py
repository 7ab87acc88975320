"""`outlive up`: everything on this machine, in the foreground, until Ctrl-C."""

import errno
import os
import shutil
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from local import model, ports, procfile, saved_addresses
from local.model import Model
from local.options import WEB_PORT, Options, UsageError, check_host, only_one, parse
from local.postgres import Postgres
from local.processes import ROOT
from local.programs import Environment, Flower, Program, Web, Worker
from local.redis import Redis
from local.server import Server, StartError, wait_until
from local.signals import Signals, Stop
from local.supervisor import Supervisor
from local.terminal import echo
from shared import vapid

FLOWER_PORT = 5555
#: Connections that may wait while gunicorn starts again; the kernel has a limit of its own.
BACKLOG = 4096
#: Seconds in which the processes of a killed `up` have ended.
FREE_PORTS_SECONDS = 10.0
#: Characters of history that fit into the small model's context with an answer.
HISTORY_CHARS = 16_000


def main(arguments: Sequence[str]) -> int:
    """Run everything; 0 if it was stopped, 1 if it could not start, 2 for a usage error."""
    options = parse(arguments)
    try:
        check_host(options.host)
        data = options.data.resolve()
        with only_one(data) as left_over:
            return Up(options, data, FREE_PORTS_SECONDS if left_over else 0).run()
    except UsageError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # before anything was started
        return 0
    except PermissionError as error:
        print(f"Not allowed: {error}. Choose another place with --data.", file=sys.stderr)
        return 1


class Up:
    """One run: what to start, in which order, with which environment."""

    def __init__(self, options: Options, data: Path, patience: float) -> None:
        self.options = options
        self.data = data
        self.patience = patience
        self.words = procfile.read()
        self.env: dict[str, str] = {}
        self.environment = Environment(data, self.env)

    def run(self) -> int:
        """Start, watch, end."""
        started = time.monotonic()
        self._prepare()
        self._await_free_ports()
        listener = self._listen()
        supervisor = Supervisor(self.environment, Signals())
        try:
            self._begin(supervisor, listener)
            self._welcome(supervisor, time.monotonic() - started)
            supervisor.run()
        except Stop:
            echo("Stopping")
        except StartError as error:
            self._show_error(error)
            return 1
        finally:
            listener.close()
            supervisor.end()
        echo("Stopped; all conversations are kept")
        return 0

    def _prepare(self) -> None:
        """Make folders and remove stale files: old metrics would be counted again."""
        shutil.rmtree(self.data / "metrics", ignore_errors=True)
        self.environment.make_folders()
        for stale in (self.data / "outlive.json", *(self.data / "run").glob("web-*.ready")):
            stale.unlink(missing_ok=True)

    def _await_free_ports(self) -> None:
        """Wait until the children of a killed `up` have freed our addresses."""
        files = (self.data / name / "server.json" for name in ("postgres", "redis", "model"))
        doors = [(saved_addresses.load(file).port, "127.0.0.1") for file in files]
        doors.append((self._port(), self.options.host))
        wait_until(lambda: all(ports.is_free(*door) for door in doors), self.patience)

    def _port(self) -> int:
        return WEB_PORT if self.options.port is None else self.options.port

    def _listen(self) -> socket.socket:
        """Web's socket. It is ours, so that it stays open whatever happens to web."""
        port = self._port()
        try:
            return ports.listen(port, self.options.host, BACKLOG)
        except OSError as error:
            if self.options.port is not None:
                raise UsageError(_refusal(self.options.host, port, error)) from error
        echo(f"Port {port} is taken; using another one")
        return ports.listen(0, self.options.host, BACKLOG)

    def _begin(self, supervisor: Supervisor, listener: socket.socket) -> None:
        shown = self.data.relative_to(ROOT) if self.data.is_relative_to(ROOT) else self.data
        echo(f"Starting Outlive in {shown}")
        servers = self._servers(supervisor)
        supervisor.begin(servers)
        self._fill_environment({server.name: server.url or "" for server in servers}, listener)
        if words := self.words.get("release"):
            supervisor.run_once(Program("release", words, self.environment))
        for note in (self.data / "run").glob("worker-*.ready"):
            supervisor.sweep(note.stem.removeprefix("worker-"))
        supervisor.begin(self._programs(supervisor, listener))

    def _servers(self, supervisor: Supervisor) -> list[Server]:
        """The servers to start: those for which the environment names no other."""
        servers: list[Server] = []
        for name, variable, kind in (
            ("postgres", "DATABASE_URL", Postgres),
            ("redis", "REDIS_URL", Redis),
        ):
            if given := os.environ.get(variable):
                supervisor.elsewhere[name] = given
            else:
                servers.append(kind(self.data / name, log=self.environment.log(name)))
        if other_model():
            supervisor.elsewhere["model"] = other_model()
        elif self.options.model:
            servers.append(self._model())
        return servers

    def _model(self) -> Model:
        if not model.installed():
            raise StartError("the small model is not installed; start with ./outlive up")
        return Model(self.data / "model", log=self.environment.log("model"))

    def _fill_environment(self, urls: dict[str, str], listener: socket.socket) -> None:
        """Fill in the variables of the programs; those that the user has set win."""
        defaults = {
            "OUTLIVE_AUTH": "local",
            "WEB_CONCURRENCY": "2",
        }
        self.env |= {name: os.environ.get(name) or value for name, value in defaults.items()}
        self.env |= {
            "PORT": str(listener.getsockname()[1]),
            "OUTLIVE_BIND": f"fd://{listener.fileno()}",
            "OUTLIVE_PUSH_KEY": os.environ.get("OUTLIVE_PUSH_KEY") or self._push_key(),
        }
        if "postgres" in urls:
            self.env["DATABASE_URL"] = urls["postgres"]
        if "redis" in urls:
            self.env["REDIS_URL"] = urls["redis"]
        if "model" in urls:
            self.env |= {
                "OPENAI_BASE_URL": urls["model"],
                "OPENAI_API_KEY": "local",
                "OUTLIVE_MODEL": model.NAME,
                "OUTLIVE_HISTORY_CHARS": str(HISTORY_CHARS),
            }

    def _push_key(self) -> str:
        """The key of this folder's deployment, made at its first start: another one would make all
        browsers that subscribed unreachable."""
        file = self.data / "push.key"
        if not file.exists():
            saved_addresses.write_private(file, vapid.new_key())
        return file.read_text().strip()

    def _programs(self, supervisor: Supervisor, listener: socket.socket) -> list[Program]:
        programs: list[Program] = [
            Web(self.words["web"], self.environment, listener.fileno(), self._web_url(listener)),
            Worker("worker", self.words["worker"], self.environment),
        ]
        if self.options.flower:
            programs.append(self._flower())
        else:
            supervisor.elsewhere["flower"] = None
        return programs

    def _web_url(self, listener: socket.socket) -> str:
        """Web's address for a browser on this machine, also where it listens on all addresses."""
        host, port = listener.getsockname()[:2]
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def _flower(self) -> Flower:
        port = ports.choose(FLOWER_PORT)
        if port != FLOWER_PORT:
            echo(f"Port {FLOWER_PORT} is taken; Flower uses {port}")
        flower = Flower(self.words["flower"], self.environment, port)
        self.env["OUTLIVE_FLOWER_URL"] = os.environ.get("OUTLIVE_FLOWER_URL") or flower.link
        return flower

    def _welcome(self, supervisor: Supervisor, seconds: float) -> None:
        echo(f"\nReady in {seconds:.1f} s. Ctrl-C stops it.\n")
        for name in ("web", "flower"):
            if part := supervisor.parts.get(name):
                echo(f"  {name:<7} {part.link if isinstance(part, Flower) else part.url}")
        echo(f"  data    {self.data}  (logs in log/, addresses in outlive.json)\n")
        if self.env["OUTLIVE_AUTH"] == "required":
            echo("Sign-in is required. Make an account: ./outlive user add LOGIN --operator")
            echo("Other ways to sign in: docs/sign-in.md.\n")
        if "model" in supervisor.parts:
            echo(
                "The answers come from a tiny model on this machine, for trying things out. For a"
                " better one\nset OPENAI_BASE_URL, OPENAI_API_KEY and OUTLIVE_MODEL, in .env too."
            )
        elif "model" not in supervisor.elsewhere:
            echo("There is no model: set OPENAI_BASE_URL or OPENAI_API_KEY to get answers.")

    def _show_error(self, error: StartError) -> None:
        echo(f"\nOutlive did not start: {error}")
        log = self.environment.log(error.part)
        if error.part and log.exists():
            echo(f"The end of {log}:\n")
            for line in log.read_text(errors="replace").splitlines()[-15:]:
                echo(f"  {line}")


def _refusal(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} on {host} is taken. Choose another one with --port, or --port 0."
    return f"Cannot listen on {host}:{port}: {error.strerror}"


def other_model() -> str | None:
    """The address of the provider that the environment names, if any."""
    if url := os.environ.get("OPENAI_BASE_URL"):
        return url
    return "https://api.openai.com/v1" if os.environ.get("OPENAI_API_KEY") else None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
