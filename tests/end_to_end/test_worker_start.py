"""A worker that cannot start says why and ends, and `outlive up` does not claim to be ready."""

import socket
import sys
from pathlib import Path

import pytest

from local import data_dirs
from local.processes import Command, spawn
from tests.rig import Rig, eventually, killing
from tests.stories import start_worker

#: What is wrong -> the environment, and a part of the last line of the log.
WRONG = {
    "a proxy of another kind": ({"ALL_PROXY": "ftp://127.0.0.1:9"}, "ALL_PROXY"),
    "a file that is not there": ({"SSL_CERT_FILE": "/nowhere/ca.pem"}, "SSL_CERT_FILE"),
    "no address": ({"OPENAI_BASE_URL": "api.example.com/v1"}, "OPENAI_BASE_URL"),
    "a curly quote in the key": ({"OPENAI_API_KEY": "sk-“x"}, "OPENAI_API_KEY"),
}


@pytest.mark.failure(51)
def test_a_worker_that_cannot_start_says_why_and_exits(rig: Rig) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        wrong = {**WRONG, "a port that is taken": ({"OUTLIVE_METRICS_PORT": port}, "in use")}
        workers = {name: start_worker(rig, **env) for name, (env, _) in wrong.items()}
        with killing(*workers.values()):
            eventually(lambda: not any(worker.alive() for worker in workers.values()))

    codes = {name: worker.process and worker.process.returncode for name, worker in workers.items()}
    assert codes == dict.fromkeys(wrong, 1)
    lines = rig.logs().splitlines()
    for name, (_, words) in wrong.items():
        assert any(words in line for line in lines), name
    assert not any(worker.ready_file.exists() for worker in workers.values())


@pytest.mark.failure(51)
def test_up_does_not_say_ready_for_a_worker_that_cannot_start(rig: Rig) -> None:
    with data_dirs.temporary() as home, socket.create_server(("127.0.0.1", 0)) as taken:
        data = home / "var"
        data.mkdir()
        output = data / "output.txt"
        env = {
            "DATABASE_URL": rig.postgres.url,
            "REDIS_URL": rig.redis.url,
            "OUTLIVE_METRICS_PORT": str(taken.getsockname()[1]),
        }
        words = ["up", "--data", str(data), "--no-model", "--no-flower", "--port", "0"]
        process = spawn(Command([sys.executable, "-m", "local", *words], output, env=env))

        assert process.wait(60) == 1

        text = output.read_text()
        assert "worker ended while starting" in text
        assert "The worker cannot start" in text
        assert "Ready" not in text
        assert not Path(data / "outlive.json").exists()
