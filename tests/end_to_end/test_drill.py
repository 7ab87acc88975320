"""The drill finds nothing in the product, and finds each bug that is planted into a copy of it."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from local.processes import ROOT

#: What a copy of the product needs.
PARTS = ("shared", "worker", "web", "local", "Procfile", "alembic.ini", "pyproject.toml")


def drill(root: Path, ledger: Path, *words: str) -> tuple[int, str, dict[str, Any]]:
    """Run `outlive drill` on the code below `root`: its exit status, words and numbers."""
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
    """A planted bug: edits of the source, and what the drill has to say about it."""

    edits: list[tuple[str, str, str]]
    said: str
    words: tuple[str, ...]


BUGS = {
    "without the attempt test": Bug(
        [
            (
                "shared/owning.py",
                "WHERE m.attempt = due.attempt AND m.owner = :owner AND m.status = 'STREAMING'",
                "WHERE m.status = 'STREAMING'",
            ),
            (
                "shared/owning.py",
                "= ANY(CAST(:ids AS uuid[])) AND owner = :owner AND status = 'STREAMING'\"",
                "= ANY(CAST(:ids AS uuid[])) AND (owner = :owner OR true) AND status = 'STREAMING'\"",
            ),
            (
                "worker/saver.py",
                "if row is None or row.attempt != generation.attempt:",
                "if row is None:",
            ),
            ("shared/publish.lua", "if top_attempt > attempt then return 'fenced' end", ""),
        ],
        "characters",
        ("--faults", "worker-freeze", "--generations", "100"),
    ),
    "publishes without storing": Bug(
        [
            (
                "shared/publish.lua",
                "redis.call('XADD', KEYS[1], ARGV[2] .. '-' .. ARGV[4], 'd', ARGV[5])",
                "",
            )
        ],
        "were shown and are lost",
        ("--faults", "worker-kill", "--generations", "60"),
    ),
    "calls a plain end of stream DONE": Bug(
        [
            (
                "worker/provider.py",
                '        if not reply.ended:\n            raise GenerationFailed("provider_cut")\n        return reply',
                "        return reply",
            )
        ],
        "ended as DONE stop",
        ("--faults", "none", "--generations", "60"),
    ),
    "reads before it subscribes": Bug(
        [
            (
                "web/hub.py",
                "        self._subscribe(followed)\n        followed.subscribed.wait(CONFIRM)\n        complete = self._read(followed)\n",
                "        complete = self._read(followed)\n        self._subscribe(followed)\n        followed.subscribed.wait(CONFIRM)\n",
            ),
            ("web/hub.py", "if not followed.read_begun:", "if True:"),
        ],
        "came as the last text did",
        ("--faults", "none", "--generations", "320"),
    ),
    "loses an end": Bug(
        [
            (
                "web/hub.py",
                "row is None or row.ended or followed.lagging",
                "row is None or followed.lagging",
            ),
            (
                "shared/livelog.py",
                "            pipeline.pexpire(_log(message_id), ENDED_TTL)\n            pipeline.publish(channel(message_id), _WAKE)",
                "            pipeline.pexpire(_log(message_id), ENDED_TTL)",
            ),
        ],
        "a connected reader was not told",
        ("--faults", "none", "--generations", "40"),
    ),
}


@pytest.mark.parametrize("name", BUGS)
def test_the_drill_catches_a_product_that(name: str, tmp_path: Path) -> None:
    bug = BUGS[name]
    for part in PARTS:
        copy = shutil.copytree if (ROOT / part).is_dir() else shutil.copy
        copy(ROOT / part, tmp_path / part)
    for file, good, bad in bug.edits:
        source = (tmp_path / file).read_text()
        assert source.count(good) == 1, f"{file} has changed: plant the bug anew"
        (tmp_path / file).write_text(source.replace(good, bad))

    status, said, run = drill(tmp_path, tmp_path / "drill.json", "--local", *bug.words)

    assert status == 1, said
    assert any(bug.said in violation for violation in run["violations"]), said
