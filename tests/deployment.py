"""A deployment as docs/deploy.md describes it, on this machine: what `outlive export` made, run.

Postgres has two roles, Redis has users and lets nobody else in, the processes are the commands of
the systemd units with the environment that systemd would give them, and nginx has the document's
configuration. Only addresses differ from a real one, and that there is no systemd.
"""

import os
import shlex
import subprocess
import uuid
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Final, Self
from urllib.parse import urlsplit

import redis
from click.testing import CliRunner

from cli.__main__ import outlive
from local import env_files, ports
from local.postgres import Postgres
from local.processes import Command
from local.programs import answers_http
from local.redis import CONFIG, Redis
from local.saved_addresses import write_private
from local.server import Server, answers
from scripted import Scripted
from shared.settings import with_driver
from shared.store.database import Database
from tests.nginx import DeployedNginx

#: The deployment's name in units, roles and keys.
PREFIX: Final = "shop"
#: A user of Redis for the tests, who may do anything.
ADMIN: Final = "admin"


#: How systemd passes a socket on: as descriptor 3, with its number and the receiver in variables.
_LISTEN: Final = 'export LISTEN_FDS=1 LISTEN_PID=$$; exec "$@"'


class ConfinedRedis(Redis):
    """Redis with an ACL file; `admin` is the tests' own user."""

    acl = ""

    def command(self) -> Command:
        command = super().command()
        rules = f"user {ADMIN} reset on >{self.address.password} ~* &* +@all\n"
        write_private(self.directory / "users.acl", self.acl + rules)
        config = CONFIG.format(port=self.address.port, password=self.address.password)
        config = "".join(
            line for line in config.splitlines(keepends=True) if "requirepass" not in line
        )
        write_private(self.directory / "valkey.conf", f"{config}aclfile users.acl\n")
        return command

    @property
    def url(self) -> str:
        return f"redis://{ADMIN}:{self.address.password}@127.0.0.1:{self.address.port}/0"

    def ready(self) -> bool:
        question = f"AUTH {ADMIN} {self.address.password}\r\nINFO server\r\nQUIT\r\n"
        return answers(self.address.port, question.encode(), f"process_id:{self.pid}\r".encode())


class Unit(Server):
    """A service of systemd, as far as its command, its environment and its socket go."""

    def __init__(
        self, file: Path, instance: str, run: Path, env: Mapping[str, str], listener: int | None
    ) -> None:
        super().__init__()
        self.name = file.stem.replace("@", f"@{instance}")
        self.instance = instance
        self.run = run
        self.more_env = env
        self.listener = listener
        self.log = run / f"{self.name}.log"
        self.settings: dict[str, list[str]] = defaultdict(list)
        for line in file.read_text().splitlines():
            name, separator, value = line.partition("=")
            if separator:
                self.settings[name].append(value)
        self.invocation = ""

    @property
    def url(self) -> str | None:
        return None

    @property
    def env(self) -> dict[str, str]:
        """The environment that systemd would give it; folders of /run are below `run`."""
        lines = (line.replace("%i", self.instance) for line in self.settings["Environment"])
        env = dict(line.split("=", 1) for line in lines)
        common, own = map(Path, self.settings["EnvironmentFile"])
        assert common.stem == env_files.COMMON
        env |= env_files.load(own.parent, own.stem)
        for name in ("PROMETHEUS_MULTIPROC_DIR", "OUTLIVE_READY_FILE"):
            if name in env:
                env[name] = f"{self.run}{env[name]}"
        return {**env, **self.more_env, "INVOCATION_ID": self.invocation}

    @property
    def stop_seconds(self) -> float:
        """After which systemd would kill it."""
        return float(self.settings["TimeoutStopSec"][0])

    def words(self, setting: str) -> list[str]:
        """A command of the unit, with systemd's replacements."""
        [command] = self.settings[setting]
        found = []
        for word in shlex.split(command.removeprefix("-")):
            text = word.replace("%%", "\0").replace("%i", self.instance).replace("\0", "%")
            text = text.replace("${INVOCATION_ID}", self.invocation).replace("$$", "$")
            found.append(text)
        return found

    def start(self) -> Self:
        self.invocation = uuid.uuid4().hex
        for folder in " ".join(self.settings["RuntimeDirectory"]).split():
            (self.run / "run" / folder).mkdir(parents=True, exist_ok=True)
        if ready := self.env.get("OUTLIVE_READY_FILE"):  # as its ExecStartPre does
            Path(ready).unlink(missing_ok=True)
        return super().start()

    def command(self) -> Command:
        words = self.words("ExecStart")
        fds: tuple[int, ...] = ()
        if self.listener is not None:
            words = ["bash", "-c", f"{_LISTEN} 3<&{self.listener}", "bash", *words]
            fds = (self.listener,)
        folder = Path(self.settings["WorkingDirectory"][0])
        return Command(words, self.log, env=self.env, cwd=folder, fds=fds)

    def run_once(self, setting: str = "ExecStart") -> None:
        """Run a command of the unit to its end; it has to succeed."""
        if not self.invocation:
            self.invocation = uuid.uuid4().hex
        subprocess.run(
            self.words(setting),
            env={**os.environ, **self.env},
            cwd=self.settings["WorkingDirectory"][0],
            check=True,
            capture_output=True,
            timeout=120,
        )

    def ready(self) -> bool:
        if self.name.endswith("flower"):
            return answers_http(f"http://127.0.0.1:{self.more_env['FLOWER_PORT']}", "/healthcheck")
        return Path(self.env["OUTLIVE_READY_FILE"]).exists()

    def ended(self) -> None:
        super().ended()
        self.signal_rest()


class Deployment:
    """The files, servers and processes; `start_servers` and the rest in the document's order."""

    def __init__(self, home: Path, provider: Scripted) -> None:
        self.home = home
        self.provider = provider
        self.env, self.units = home / "etc", home / "units"
        self.run = home / "processes"
        self.units.mkdir()
        self.run.mkdir()
        self._stack = ExitStack()
        self.listener = ports.listen(0, "127.0.0.1", 128)
        self._stack.callback(self.listener.close)
        self.port = self.listener.getsockname()[1]
        self.flower_port, self.tls_port = ports.choose(), ports.choose()

    def __enter__(self) -> Self:
        try:
            self._servers()
            self.outlive("export", "systemd", str(self.units))
            self.unit("release").run_once()
            self.web = [self._started("web", str(n)) for n in (1, 2)]
            self.workers = [self._started("worker", str(n)) for n in (1, 2)]
            self.flower = self._started("flower")
            for unit in (*self.web, *self.workers, self.flower):
                unit.wait()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def _servers(self) -> None:
        enter = self._stack.enter_context
        self.redis = ConfinedRedis(self.home / "redis")
        host = f"localhost:{self.tls_port}"
        self.outlive("export", "env", str(self.env), "--host", host, "--prefix", PREFIX)
        self.postgres = enter(Postgres(self.home / "postgres", durable=False))
        self._edit()
        self.redis.acl = self.outlive("export", "redis-acl")
        enter(self.redis)
        self.psql(self.postgres.url, f"CREATE DATABASE {PREFIX}")
        self.psql(self.admin_url, self.outlive("export", "postgres"))

    def _edit(self) -> None:
        """Put in what an operator edits: where the servers and the provider are."""
        postgres, redis_port = urlsplit(self.postgres.url).port, self.redis.address.port
        for file in self.env.iterdir():
            text = file.read_text()
            text = text.replace("127.0.0.1:5432", f"127.0.0.1:{postgres}")
            text = text.replace("127.0.0.1:6379", f"127.0.0.1:{redis_port}")
            text = text.replace("https://api.openai.com/v1", self.provider.url)
            text = text.replace("OPENAI_API_KEY=", "OPENAI_API_KEY=sk-canary-key-of-a-deployment")
            text = text.replace("gpt-4o-mini", "scripted")
            if file.stem == env_files.COMMON:
                text += "OUTLIVE_LEASE_SECONDS=4\n"  # which the end of the restore waits for
            write_private(file, text)

    @property
    def admin_url(self) -> str:
        """The deployment's database, as a superuser."""
        return urlsplit(self.postgres.url)._replace(path=f"/{PREFIX}").geturl()

    def of(self, line: str) -> dict[str, str]:
        """The environment of one line of the Procfile."""
        return env_files.load(self.env, line)

    def outlive(self, *words: str, typed: str = "") -> str:
        """What a command prints; it has to succeed. (In this process: a new one takes a second.)"""
        env = ["--env", str(self.env)] if self.env.exists() else []
        before = dict(os.environ)
        try:
            done = CliRunner().invoke(outlive, [*env, *words], input=typed, catch_exceptions=False)
        finally:
            os.environ.clear()
            os.environ.update(before)
        assert done.exit_code == 0, done.output
        return done.stdout

    def psql(self, url: str, sql: str) -> str:
        """Run SQL by the real psql."""
        words: Sequence[str] = ("--no-psqlrc", "-v", "ON_ERROR_STOP=1", "-qAt", url)
        done = subprocess.run(
            [self.postgres.program("psql"), *words],
            input=sql, text=True, capture_output=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def pg(self, program: str, *words: str, stdout: IO[bytes] | None = None) -> None:
        """Run a program that came with Postgres; it has to succeed."""
        subprocess.run([self.postgres.program(program), *words], check=True, stdout=stdout)

    def unit(self, line: str, instance: str = "") -> Unit:
        """A service, not yet started."""
        template = "@" if instance else ""
        return Unit(
            self.units / f"{PREFIX}-{line}{template}.service",
            instance,
            self.run,
            {"FLOWER_PORT": str(self.flower_port)} if line == "flower" else {},
            self.listener.fileno() if line == "web" else None,
        )

    def _started(self, line: str, instance: str = "") -> Unit:
        unit = self.unit(line, instance)
        self._stack.callback(unit.kill)
        return unit.start()

    def nginx(self, **changed: str) -> DeployedNginx:
        """nginx in front of it, not yet started; one that is changed has a port of its own."""
        folder = self.home / f"nginx-{uuid.uuid4().hex[:8]}"
        folder.mkdir()
        proxy = DeployedNginx(folder, f"http://127.0.0.1:{self.port}", changed)
        if not changed:
            proxy.tls_port = self.tls_port
        return proxy

    def database(self, line: str = "web") -> Database:
        """The database as the role of one line."""
        return Database(with_driver(self.of(line)["DATABASE_URL"]))

    def acl_log(self) -> list[dict[str, str]]:
        """What Redis has refused."""
        with redis.Redis.from_url(self.redis.url, decode_responses=True) as server:
            return [dict(entry) for entry in server.acl_log()]

    def reset_acl_log(self) -> None:
        """Forget what was refused so far."""
        with redis.Redis.from_url(self.redis.url) as server:
            server.acl_log_reset()
