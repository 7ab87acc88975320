"""The embedded servers: real ones, at one address for life, never orphaned."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg2
import pytest

from local import data_dirs
from local.postgres import Postgres
from local.processes import LINUX, ROOT, program_name
from local.redis import Redis
from local.server import Server, StartError, wait_until


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    with data_dirs.temporary() as folder:
        yield folder


KINDS = pytest.mark.parametrize("kind", [Postgres, Redis])


@KINDS
def test_a_killed_server_comes_back_at_its_address(
    kind: Callable[[Path], Server], home: Path
) -> None:
    with kind(home / kind.__name__) as server:
        url, old = server.url, server.pid
        server.kill()

        server.restart()

        assert server.url == url
        assert server.pid != old
        assert server.ready()
    assert not server.alive()


@pytest.mark.skipif(not LINUX, reason="elsewhere the supervisor tries again")
def test_a_postgres_whose_backends_linger_is_waited_for(home: Path) -> None:
    with Postgres(home / "lingering") as server, ThreadPoolExecutor(1) as pool:
        connection = psycopg2.connect(server.url)
        lingering = connection.info.backend_pid
        os.kill(lingering, signal.SIGSTOP)
        server.kill()

        start = pool.submit(server.command)  # what waits for it
        try:
            with pytest.raises(TimeoutError):
                start.result(0.2)
        finally:
            os.kill(lingering, signal.SIGCONT)
        start.result()
        connection.close()

        assert server.start().wait().ready()


@KINDS
@pytest.mark.parametrize("bound", ["as here", "by the guard"])
def test_no_server_outlives_the_process_that_started_it(
    kind: Callable[[Path], Server], home: Path, bound: str
) -> None:
    program = (
        f"from local import processes; processes.LINUX &= {bound == 'as here'}\n"
        f"from local.{kind.__name__.lower()} import {kind.__name__} as Kind\n"
        f"from pathlib import Path\n"
        f"print(Kind(Path({str(home / 'orphan')!r})).start().wait().pid, flush=True); input()"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    with parent:
        pid = int(parent.stdout.readline())
        assert program_name(pid)

        parent.send_signal(signal.SIGKILL)

        assert wait_until(lambda: not program_name(pid), 10)


def test_a_server_that_cannot_start_raises_a_start_error(home: Path) -> None:
    with Redis(home / "first") as first:
        second = Redis(home / "second")
        second.address = first.address
        second.start()
        with pytest.raises(StartError, match="redis did not start"):
            second.wait()


def test_questions_do_not_reach_the_log_of_postgres(home: Path) -> None:
    with Postgres(home / "quiet", durable=False) as server:
        client = [str(server.program("psql")), server.url, "--command"]
        for statement in (
            "CREATE TABLE t (body text PRIMARY KEY)",
            "INSERT INTO t VALUES ('a secret'), ('a secret')",
            "SELECT 'a secret'::jsonb",
            "SELECT * FROM 'a secret'",
        ):
            subprocess.run([*client, statement], check=False, capture_output=True)

        log = server.log.read_text()

    assert "ready to accept connections" in log
    assert "secret" not in log
