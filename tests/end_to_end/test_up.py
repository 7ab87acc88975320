"""`outlive up` as a user sees it: real processes, really killed."""

import json
import os
import signal
import socket
import stat
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from click.testing import CliRunner

from cli.__main__ import outlive
from local import data_dirs
from local.processes import LINUX, LOG_BYTES, Command, spawn
from tests.credentials import bearer
from tests.rig import eventually

#: What the environment may carry that would replace a part of ours.
OTHERS = ("DATABASE_URL", "REDIS_URL", "OPENAI_BASE_URL", "OPENAI_API_KEY", "PORT", "OUTLIVE_AUTH")
PARTS = ("web", "worker", "flower", "postgres", "redis")


class Up:
    """One `outlive up` in a directory of its own."""

    def __init__(self, data: Path, *arguments: str) -> None:
        self.data = data
        self.mark = str(uuid4())
        self.output = data / "up.txt"
        words = [
            "-m",
            "local",
            "up",
            "--data",
            str(data),
            "--no-model",
            *(arguments or ("--port", "0")),
        ]
        data.mkdir(exist_ok=True)
        data.chmod(0o711)
        self.process = spawn(
            Command([sys.executable, *words], self.output, env={"OUTLIVE_TEST_MARK": self.mark})
        )

    def wait(self) -> "Up":
        """Wait until all is ready."""
        file = self.data / "outlive.json"
        eventually(lambda: file.exists() or self.process.poll() is not None, 90)
        assert file.exists(), self.output.read_text()
        return self

    def state(self) -> Any:
        """What outlive.json says now."""
        return json.loads((self.data / "outlive.json").read_text())

    def pid(self, part: str) -> int:
        """The part's process."""
        return int(self.state()[part]["pid"])

    def printed(self) -> str:
        """What it has printed."""
        return self.output.read_text()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to `up` itself."""
        self.process.send_signal(number)

    def relatives(self) -> list[int]:
        """All living processes that this `up` started, whichever parent they have now."""
        return relatives(self.mark)


def relatives(mark: str) -> list[int]:
    """All living processes with this mark in their environment."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [pid for pid in pids if f"OUTLIVE_TEST_MARK={mark}".encode() in _environment(pid)]


def _environment(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes()  # empty for a zombie
    except OSError:
        return b""


def serves(url: str) -> bool:
    """Whether something accepts connections at the address."""
    host, _, port = url.rpartition("@")[2].removeprefix("http://").split("/")[0].rpartition(":")
    try:
        socket.create_connection((host, int(port)), 1).close()
    except OSError:
        return False
    return True


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Up]]:
    """Start `outlive up`; all are ended when the test is over."""
    with starting(monkeypatch) as start:
        yield start


@pytest.fixture(scope="module")
def shared() -> Iterator[Up]:
    """One that runs for all tests after which it still does."""
    with pytest.MonkeyPatch.context() as monkeypatch, starting(monkeypatch) as start:
        yield start().wait()


@contextmanager
def starting(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Up]]:
    """A function that starts `outlive up`; all are ended with the block."""
    for name in OTHERS:
        monkeypatch.delenv(name, raising=False)
    started: list[Up] = []

    with data_dirs.temporary() as home:

        def start(*arguments: str, data: str = "var") -> Up:
            started.append(Up(home / data, *arguments))
            return started[-1]

        yield start
        for up in started:
            up.process.kill()
            up.process.wait()
        if LINUX:
            eventually(lambda: not any(up.relatives() for up in started), 20)


def test_outlive_json_names_every_part_and_only_its_owner_can_read_it(shared: Up) -> None:
    up = shared

    state = up.state()

    assert stat.S_IMODE((up.data / "outlive.json").stat().st_mode) == 0o600
    assert list(state) == ["web", "worker", "flower", "postgres", "redis", "model"]
    assert {name: sorted(state[name]) for name in PARTS} == {
        "web": ["pid", "url"],
        "worker": ["pid"],
        "flower": ["pid", "url"],
        "postgres": ["pid", "url"],
        "redis": ["pid", "url"],
    }
    assert state["model"] is None
    assert all(serves(state[name]["url"]) for name in PARTS if name != "worker")
    assert urllib.request.urlopen(f"{state['web']['url']}/readyz", timeout=5).status == 200


def test_a_killed_part_starts_again_at_the_same_address(shared: Up) -> None:
    up = shared
    addresses = {part: up.state()[part].get("url") for part in PARTS}

    for part, address in addresses.items():
        for _ in range(3):
            old = up.pid(part)
            os.kill(old, signal.SIGKILL)

            eventually(lambda old=old, part=part: up.pid(part) != old)  # type: ignore[misc]

            assert up.state()[part].get("url") == address
            if address:
                eventually(lambda address=address: serves(address))  # type: ignore[misc]
    assert urllib.request.urlopen(f"{up.state()['web']['url']}/healthz", timeout=20).status == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.skipif(not LINUX, reason="reads /proc")
def test_sigterm_and_sigint_end_every_process(
    run: Callable[..., Up], number: signal.Signals
) -> None:
    up = run().wait()
    urls = [part["url"] for part in up.state().values() if part and "url" in part]

    up.signal(number)
    eventually(lambda: up.process.poll() is not None)

    assert up.process.returncode == 0, up.printed()
    assert up.relatives() == []
    assert not any(serves(url) for url in urls)
    assert not (up.data / "outlive.json").exists()
    assert "Traceback" not in up.printed()


@pytest.mark.skipif(not LINUX, reason="reads /proc")
def test_no_process_survives_kill_9_and_the_next_start_works_at_once(
    run: Callable[..., Up],
) -> None:
    up = run().wait()
    before = up.state()
    port = before["web"]["url"].rpartition(":")[2]

    up.process.kill()
    up.process.wait()
    again = run("--port", port)  # without waiting for the killed processes

    eventually(lambda: not up.relatives(), 10)
    after = again.wait().state()
    for part in ("web", "postgres", "redis"):
        assert after[part]["url"] == before[part]["url"]


def test_addresses_and_data_survive_a_restart(run: Callable[..., Up]) -> None:
    up = run("--no-flower", "--port", "0").wait()
    before = up.state()
    cluster = (up.data / "postgres" / "home" / "data" / "global" / "pg_control").stat().st_ino
    up.signal(signal.SIGTERM)
    eventually(lambda: up.process.poll() is not None, 10)

    after = run("--no-flower", "--port", "0").wait().state()

    assert {part: after[part]["url"] for part in ("postgres", "redis")} == {
        part: before[part]["url"] for part in ("postgres", "redis")
    }
    assert after["flower"] is None
    kept = (up.data / "postgres" / "home" / "data" / "global" / "pg_control").stat().st_ino
    assert kept == cluster


def test_a_large_log_is_rotated_while_it_is_written(shared: Up) -> None:
    up = shared
    log, aside = (up.data / "log" / name for name in ("web.log", "web.log.1"))
    with log.open("ab") as full:
        full.write(b"x" * (2 * LOG_BYTES) + b" the end of it\n")

    eventually(lambda: aside.exists() and log.stat().st_size < LOG_BYTES, 30)

    assert aside.stat().st_size <= LOG_BYTES + 65536
    assert b" the end of it\n" in aside.read_bytes()
    urllib.request.urlopen(f"{up.state()['web']['url']}/healthz?{up.mark}", timeout=5)
    eventually(lambda: b"/healthz" in log.read_bytes(), 10)
    assert b"\0" not in log.read_bytes()  # what it writes goes to the new end


def test_a_second_up_on_the_same_data_is_refused(shared: Up) -> None:
    second = Up(shared.data, "--no-flower", "--port", "0")

    assert second.process.wait(20) == 2
    assert f"already runs on {shared.data}" in second.printed()
    assert f"process {shared.process.pid}" in second.printed()


def test_a_requested_port_that_is_taken_is_an_error(run: Callable[..., Up]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        up = run("--port", str(port))

        assert up.process.wait(20) == 2
        assert f"Port {port} on 127.0.0.1 is taken" in up.printed()


def test_listening_beyond_this_machine_without_a_login_is_refused(run: Callable[..., Up]) -> None:
    up = run("--host", "0.0.0.0")

    assert up.process.wait(20) == 2
    assert "OUTLIVE_AUTH=required" in up.printed()
    assert "outlive user add" in up.printed()


def test_with_sign_in_required_it_listens_anywhere_and_asks_for_a_credential(
    run: Callable[..., Up], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OUTLIVE_AUTH", "required")
    up = run("--host", "0.0.0.0", "--no-flower", "--port", "0").wait()
    state = up.state()
    servers = {"DATABASE_URL": state["postgres"]["url"], "REDIS_URL": state["redis"]["url"]}

    def run_command(*words: str, typed: str = "") -> str:
        return CliRunner().invoke(outlive, words, input=typed, env=servers).stdout

    key = run_command("key", "add", "x", "--scope", "ask")
    run_command("user", "add", "ann", typed="a good password\n")

    with httpx2.Client(base_url=state["web"]["url"]) as http:
        assert http.get("/api/models").status_code == 401
        assert http.get("/api/models", headers=bearer(key.strip())).status_code == 200
        account = {"login": "ann", "password": "a good password"}
        assert http.post("/api/sign-in", json=account).status_code == 204
        assert http.get("/api/models").status_code == 200
    assert "./outlive user add" in up.printed()


def test_a_deploy_starts_successors_before_the_old_programs_end(shared: Up) -> None:
    up = shared
    url = up.state()["web"]["url"]

    for _ in range(2):
        old = up.state()
        up.signal(signal.SIGHUP)
        while up.pid("web") == old["web"]["pid"]:  # no request fails meanwhile
            assert urllib.request.urlopen(f"{url}/healthz", timeout=10).status == 200
            assert up.process.poll() is None, up.printed()

        new = up.state()
        assert new["web"]["url"] == url
        assert new["worker"]["pid"] != old["worker"]["pid"]
        assert new["postgres"] == old["postgres"]


@pytest.mark.skipif(not LINUX, reason="reads /proc")
def test_a_part_that_cannot_start_is_reported_and_no_process_is_left(
    run: Callable[..., Up], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WEB_CONCURRENCY", "many")

    up = run()

    assert up.process.wait(90) == 1
    assert "Outlive did not start" in up.printed()
    assert "Traceback" not in up.printed().partition("The end of")[0]
    assert up.relatives() == []
