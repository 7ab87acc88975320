"""The drill finds each bug that is planted into a copy of the product."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from local.processes import ROOT, Command, spawn
from local.programs import Web, Worker
from tests.client import new_id
from tests.end_to_end.test_up import relatives
from tests.rig import Rig, eventually, killing
from tests.stories import start_worker

#: What a copy of the product needs.
PARTS = ("shared", "worker", "web", "local", "Procfile", "alembic.ini", "pyproject.toml")


def drill(root: Path, ledger: Path, *words: str) -> tuple[int, str, dict[str, Any]]:
    """Run `outlive drill` on the code below `root`: its exit status, output and numbers."""
    done = subprocess.run(
        [sys.executable, "-m", "local", "drill", *words, "--resume", str(ledger)],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert ledger.exists(), done.stdout + done.stderr
    run: dict[str, Any] = json.loads(ledger.read_text())[-1]
    return done.returncode, done.stdout, run


@dataclass(frozen=True)
class Bug:
    """A planted bug: edits (file, old, new), a violation to expect, arguments of the drill."""

    edits: list[tuple[str, str, str]]
    violation: str
    words: str


#: A drill draws its questions and faults at random, and some bugs need the right ones.
TRIES = 3
OURS = "claim = due.claim AND m.owner = :owner AND m."
READS = """\
        self.subscribe(topics)
        self._read_first(keeper, topics)
"""
READS_FIRST = """\
        self._read_first(keeper, topics)
        self.subscribe(topics)
"""
LATE = """\
            topic.subscribed.set()
"""
WAKES = """\
        ("PUBLISH", message_channel(message_id), WAKE),
    ]"""
CUT_IS_AN_ERROR = """\
            if not reply.ended:
                raise GenerationFailed("provider_cut")
"""
STORES = (
    "redis.call('XADD', KEYS[1], 'MINID', ARGV[2] .. '-' .. ARGV[6],"
    " ARGV[2] .. '-' .. ARGV[4], 'd', ARGV[5])"
)

ID_LAST = 'f"event: {event}\\ndata: {data}\\n{tail}\\n"'
ID_FIRST = 'f"{tail}event: {event}\\ndata: {data}\\n\\n"'

BUGS = {
    "has no claim test": Bug(
        [
            ("shared/store/owning.py", f"WHERE m.{OURS}status", "WHERE m.status"),
            ("shared/store/owning.py", " AND kept.claim = p.claim", ""),
            (
                "shared/store/owning.py",
                ":ids AS uuid[])) AND owner = :owner",
                ":ids AS uuid[])) AND :owner <> ''",
            ),
            ("worker/saver.py", "row is None or row.claim != state.claim", "row is None"),
            ("shared/bus/publish.lua", "if name == 'fence' then return 'fenced' end", ""),
        ],
        "did not send there|is not what the provider sent|are not the answer's|are lost",
        "--faults worker-freeze --generations 120 --people 30",
    ),
    "publishes without storing": Bug(
        [("shared/bus/publish.lua", STORES, "")],
        "were shown and are lost|came as the last text did",
        "--faults worker-kill --generations 40 --people 40 --workers 2",
    ),
    "calls a plain end DONE": Bug(
        [("worker/provider/receiving.py", CUT_IS_AN_ERROR, "")],
        "ended as DONE stop, and no injected fault explains it",
        "--faults none --generations 40 --people 40 --workers 1",
    ),
    "reads before it subscribes": Bug(
        [
            ("web/following/hub.py", READS, READS_FIRST),
            ("web/following/hub.py", LATE, f"{LATE}            return\n"),
        ],
        "came as the last text did",
        "--faults none --generations 300 --rendezvous 300 --workers 2",
    ),
    "sends the id first": Bug(
        [("shared/sse.py", ID_LAST, ID_FIRST)],
        "the id is not the last field of its frame",
        "--faults none --generations 4 --people 4 --workers 1",
    ),
    "loses an end": Bug(
        [
            (
                "web/following/message_keeper.py",
                "row is None or row.ended or topic.lagging",
                "row is None or topic.lagging",
            ),
            ("shared/bus/publishing.py", WAKES, "    ]"),
        ],
        "a connected reader did not learn of it",
        "--faults none --generations 20 --people 20 --workers 1",
    ),
}


@pytest.mark.parametrize("name", BUGS)
def test_the_drill_finds_each_planted_bug(name: str, tmp_path: Path) -> None:
    bug = BUGS[name]
    for part in PARTS:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, tmp_path / part)
    for file, good, bad in bug.edits:
        source = (tmp_path / file).read_text()
        assert source.count(good) == 1, f"{file} has changed: plant the bug anew"
        (tmp_path / file).write_text(source.replace(good, bad))

    for _ in range(TRIES):
        status, output, run = drill(
            tmp_path, tmp_path / "drill.json", "--local", "--first", *bug.words.split()
        )
        if status:
            break

    assert status == 1, output
    assert any(re.search(bug.violation, found) for found in run["violations"]), output


def test_an_interrupted_drill_leaves_no_process(tmp_path: Path) -> None:
    mark = new_id()
    words = ["-m", "local", "drill", "--local", "--generations", "40", "--rendezvous", "0"]
    output = tmp_path / "drill.txt"
    drill = spawn(Command([sys.executable, *words], output, env={"OUTLIVE_TEST_MARK": mark}))
    eventually(lambda: " worker-" in output.read_text() or drill.poll() is not None)

    drill.send_signal(signal.SIGTERM)

    assert drill.wait(30) == 130, output.read_text()
    assert "nothing is left behind" in output.read_text()
    assert relatives(mark) == []


# --- against a deployment ------------------------------------------------------------------------


def test_a_running_deployment_can_be_drilled(rig: Rig, no_workers: None, tmp_path: Path) -> None:
    short = {"OUTLIVE_LEASE_SECONDS": "4", "OUTLIVE_HEARTBEAT_SECONDS": "0.8"}
    web, worker, spare = rig.web(**short), start_worker(rig, **short), start_worker(rig, **short)
    with killing(web), killing(worker.wait(), spare.wait()):
        status, output, run = drill(
            ROOT, tmp_path / "drill.json", "--against", web.url, "--pid", str(worker.pid),
            "--generations", "40", "--people", "20", "--seed", "4",
        )  # fmt: skip

        assert status == 0, output
        assert run["violations"] == []
        assert sum(run["statuses"].values()) == 40
        assert run["faults"]["process-kill"] == 1
        assert not worker.alive()
        assert spare.alive()


def test_a_deployment_with_another_model_is_refused(
    rig: Rig, web: Web, worker: Worker, nowhere: str
) -> None:
    words = [sys.executable, "-m", "local", "drill", "--against"]
    no_workers = f"http://{nowhere}"

    with killing(other := rig.web(OPENAI_BASE_URL=no_workers)):
        for url in (no_workers, other.url + "/nothing"):
            done = subprocess.run(
                [*words, url], cwd=ROOT, capture_output=True, text=True, check=False
            )
            assert done.returncode == 2
            assert "does not answer" in done.stderr
