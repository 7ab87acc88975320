"""axe-core, for the tests only; npm installs it beside the environment at its first use."""

import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from local.venv import VENV

PACKAGE = "axe-core@4.14.1"
SHA256 = "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c"
#: Impacts that no page may have.
SERIOUS = ("serious", "critical")


def serious(page: Page) -> list[str]:
    """The serious violations in the page as it is now."""
    page.evaluate(_script())
    found: dict[str, Any] = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{one['id']}: {node['html'][:200]} {node.get('failureSummary', '')}"
        for one in found["violations"]
        if one["impact"] in SERIOUS
        for node in one["nodes"]
    ]


@cache
def _script() -> str:
    """axe's source. Without npm the test is skipped, but in CI it fails."""
    kept = VENV / f"{PACKAGE}.js"
    if not kept.exists():
        if shutil.which("npm") is None:
            reason = "no npm here, which brings axe-core"
            pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
        with tempfile.TemporaryDirectory() as folder:
            kept.write_bytes(_fetched(Path(folder)))
    return kept.read_text()


def _fetched(folder: Path) -> bytes:
    words = ["npm", "pack", "--silent", PACKAGE, "--pack-destination", str(folder)]
    subprocess.run(words, cwd=folder, check=True, stdout=subprocess.DEVNULL, timeout=60)
    [archive] = folder.glob("*.tgz")
    with tarfile.open(archive) as opened:
        member = opened.extractfile("package/axe.min.js")
        assert member is not None
        program = member.read()
    assert hashlib.sha256(program).hexdigest() == SHA256
    return program
