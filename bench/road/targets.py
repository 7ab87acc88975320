"""What is compared: the service as it is deployed, and its peers, each in processes of its own."""

import http.client
import json
import os
import resource
import shutil
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit

from bench.road import processes
from bench.road.load import Job, Road
from local import ports, procfile
from local.postgres import Postgres
from local.processes import BIN, ROOT, Command
from local.programs import Environment, Program, Web, Worker, answers_http
from local.redis import Redis
from local.server import Server
from shared.settings import with_driver
from shared.store.database import Database, run

PEERS: Final = ROOT / "bench" / "peers"
INSTALLED: Final = ROOT / "var" / "bench" / "peers"
#: Characters of an answer that a minute at a megabyte a second does not reach.
ANSWER_CHARS: Final = 64_000_000
FILES: Final = 20_000


class Process(Server):
    """A program that answers HTTP at a port which it is given."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        port: int,
        log: Path,
        *,
        env: Mapping[str, str] | None = None,
        ready_path: str = "/ready",
    ) -> None:
        super().__init__()
        self.name = name
        self.port = port
        self._command = Command(argv, log, env=env or {})
        self._ready_path = ready_path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def command(self) -> Command:
        return self._command

    def ready(self) -> bool:
        return answers_http(self.url, self._ready_path)

    def ended(self) -> None:
        super().ended()
        self.signal_rest()


def provider(home: Path) -> Process:
    """The cheap provider, not yet started."""
    port = ports.choose()
    argv = [sys.executable, "-m", "bench.road.provider", str(port)]
    return Process("provider", argv, port, home / "provider.log")


class Load:
    """The load client's process."""

    def __init__(self, home: Path) -> None:
        self._log = home / "load.log"

    def __enter__(self) -> Self:
        self._errors = self._log.open("ab")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.road.load"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            cwd=ROOT,
        )
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.wait()
        self._errors.close()

    def begin(self, job: Job) -> None:
        """Have it done; `outcome` waits."""
        assert self._process.stdin is not None
        self._process.stdin.write(job.line() + "\n")
        self._process.stdin.flush()

    def outcome(self) -> dict[str, Any]:
        """What came of the job."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the load client ended:\n{self._log.read_text()[-2000:]}")
        found: dict[str, Any] = json.loads(line)
        return found


class Target(ABC):
    """Something that can be asked and followed; `with` starts and stops it."""

    name: str
    road: Road
    #: processes by name
    parts: Mapping[str, Server]
    #: those that are reported separately, because the other targets have nothing like them
    apart: Sequence[str] = ()

    def __init__(self, home: Path, provider_url: str) -> None:
        self.home = home
        self.provider_root = provider_url
        self.provider_url = f"{provider_url}/v1"
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        Environment(self.home, {}).make_folders()
        try:
            self.start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    @abstractmethod
    def start(self) -> None:
        """Start all parts."""

    @abstractmethod
    def questions(self, prompts: Sequence[str]) -> list[tuple[str, str]]:
        """Path and body of a request for each prompt; whatever has to be there first is made."""

    def cpu(self) -> dict[str, float]:
        """Seconds of the processor so far, by part."""
        return {name: processes.cpu(part.pid) for name, part in self.parts.items()}

    def memory(self) -> dict[str, float]:
        """Bytes now, by part."""
        return {name: processes.memory(part.pid) for name, part in self.parts.items()}

    def redis(self) -> Redis:
        """A Redis of its own, so that its cost can be measured."""
        return self._stack.enter_context(
            Redis(self.home / "redis", log=self.home / "log" / "redis.log")
        )


class Us(Target):
    """Outlive: one web, one worker, as the Procfile says; its servers keep what they promise."""

    name = "us"
    apart = ("postgres",)
    #: the checkout that runs
    root = ROOT
    one_request = True

    def start(self) -> None:
        enter = self._stack.enter_context
        log = self.home / "log"
        self.postgres = enter(Postgres(self.home / "postgres", log=log / "postgres.log"))
        redis = self.redis()
        environment = Environment(
            self.home,
            {
                "DATABASE_URL": self.postgres.url,
                "REDIS_URL": redis.url,
                "OPENAI_BASE_URL": self.provider_url,
                "OPENAI_API_KEY": "none",
                "OUTLIVE_AUTH": "local",
                "OUTLIVE_MODEL": "bench",
                "OUTLIVE_MAX_OPEN": "0",
                "OUTLIVE_TITLES": "off",
                "OUTLIVE_ANSWER_CHARS": str(ANSWER_CHARS),
                "WEB_CONCURRENCY": "1",
            },
            self.root,
        )
        words = procfile.read(self.root / "Procfile", self.root / ".venv" / "bin")
        release = Program("release", words["release"], environment).start()
        assert release.process is not None
        assert release.process.wait() == 0, "no migrations"
        web = Web.on_loopback(words["web"], environment, self._stack)
        worker = Worker("worker", words["worker"], environment)
        for program in (web, worker):
            self._stack.callback(program.ended)
            self._stack.callback(program.kill)
            program.start()
        for program in (web, worker):
            program.wait()
        self.parts = {"web": web, "worker": worker, "redis": redis, "postgres": self.postgres}
        place = ("127.0.0.1", urlsplit(web.url).port or 80)
        path = "/api/messages/{id}/stream?after={after}"
        self.road = Road(place, place, path, one_request=self.one_request)
        self._db = Database(with_driver(self.postgres.url))
        self._stack.callback(self._db.dispose)
        self._durable()

    def _durable(self) -> None:
        """Check that Postgres is durable: without that the comparison would be worthless."""
        for setting in ("fsync", "synchronous_commit", "full_page_writes"):
            [row] = self._db.rows(f"SELECT current_setting('{setting}') AS value")
            assert row.value == "on", setting

    def questions(self, prompts: Sequence[str]) -> list[tuple[str, str]]:
        kept = http.client.HTTPConnection(*self.road.ask, timeout=30)
        found = []
        for prompt in prompts:
            kept.request("POST", "/api/conversations", "{}", {"Content-Type": "application/json"})
            place = json.loads(kept.getresponse().read())["id"]
            body = json.dumps({"content": prompt, "parent_id": None})
            found.append((f"/api/conversations/{place}/messages", body))
        kept.close()
        return found

    def wal(self) -> int:
        """Bytes of the write-ahead log so far."""
        [row] = self._db.rows("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0') AS at")
        return int(row.at)

    def checkpoint(self) -> None:
        """So that whole pages are not logged once more in the middle of a measurement."""
        with self._db.transaction() as connection:
            run(connection, "CHECKPOINT")


class Chat(Us):
    """Outlive, asked as OpenAI is: the answer comes with the request."""

    name = "chat"

    def start(self) -> None:
        super().start()
        self.road = Road(self.road.ask, self.road.ask, None, mark='"content":"')

    def questions(self, prompts: Sequence[str]) -> list[tuple[str, str]]:
        asked = [[{"role": "user", "content": prompt}] for prompt in prompts]
        bodies = ({"model": "bench", "messages": one, "stream": True} for one in asked)
        return [("/v1/chat/completions", json.dumps(body)) for body in bodies]


class Before(Us):
    """Another checkout of Outlive, in an environment of its own, to compare a change with."""

    name = "before"

    def __init__(self, home: Path, provider_url: str, *, root: Path) -> None:
        super().__init__(home, provider_url)
        self.root = root


class _Peer(Target):
    def questions(self, prompts: Sequence[str]) -> list[tuple[str, str]]:
        return [("/ask", json.dumps({"prompt": prompt})) for prompt in prompts]


class Passthrough(_Peer):
    """gunicorn, Flask and the openai package: the usual way. Nothing outlives a request."""

    name = "passthrough"

    def start(self) -> None:
        port = ports.choose()
        argv = [
            str(BIN / "gunicorn"), "--worker-class", "gevent", "--workers", "1",
            "--worker-connections", "10000", "--bind", f"127.0.0.1:{port}",
            "--no-control-socket", "bench.peers.passthrough:app",
        ]  # fmt: skip
        env = {"OPENAI_BASE_URL": self.provider_url, "OPENAI_API_KEY": "none"}
        web = Process("passthrough", argv, port, self.home / "log" / "passthrough.log", env=env)
        self._stack.enter_context(web)
        self.parts = {"web": web}
        self.road = Road(("127.0.0.1", port), ("127.0.0.1", port), None)


class Follower(_Peer):
    """npm resumable-stream on Node: one process writes, readers resume in another."""

    name = "follower"

    def start(self) -> None:
        node = shutil.which("node")
        assert node is not None
        redis = self.redis()
        env = {
            "REDIS_URL": redis.url,
            "OPENAI_BASE_URL": self.provider_url,
            "NODE_ENV": "production",
        }
        parts: dict[str, Process] = {}
        for part in ("producer", "reader"):
            port = ports.choose()
            argv = [node, str(INSTALLED / "follower.cjs"), part, str(port)]
            log = self.home / "log" / f"{part}.log"
            parts[part] = self._stack.enter_context(Process(part, argv, port, log, env=env))
        self.parts = {**parts, "redis": redis}
        ask, follow = parts["producer"].port, parts["reader"].port
        self.road = Road(("127.0.0.1", ask), ("127.0.0.1", follow), "/follow/{id}")


TARGETS: Final[Mapping[str, type[Target]]] = {
    "us": Us,
    "chat": Chat,
    "passthrough": Passthrough,
    "follower": Follower,
}


def makers(before: Path | None) -> dict[str, Callable[[Path, str], Target]]:
    """What makes each target; `before` is another checkout of Outlive that is one of them."""
    found: dict[str, Callable[[Path, str], Target]] = dict(TARGETS)
    if before is not None:
        found["before"] = partial(Before, root=before.resolve())
    return found


def install() -> str | None:
    """Install what the Node peer needs, below var/; why that is impossible, if it is."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        return "there is no Node here"
    INSTALLED.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json", ".npmrc", "follower.cjs"):
        shutil.copy(PEERS / name, INSTALLED / name)
    stamp, wanted = INSTALLED / "installed", (PEERS / "package-lock.json").read_bytes()
    if stamp.exists() and stamp.read_bytes() == wanted:
        return None
    done = subprocess.run(
        [npm, "ci", "--omit=dev"], cwd=INSTALLED, capture_output=True, text=True, check=False
    )
    if done.returncode:
        return f"npm could not install it: {done.stderr.strip().splitlines()[-1:]}"
    stamp.write_bytes(wanted)
    return None


def allow_files() -> int:
    """A reader is a file, here as in the processes that we start; how many there may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def cores() -> int:
    """Processors that we may use."""
    return len(os.sched_getaffinity(0))
