"""The units: systemd itself finds nothing wrong with them, and rates them as well confined."""

import re
import subprocess
from pathlib import Path

import pytest

from local import procfile, systemd
from local.processes import BIN, ROOT
from tests.foreign import need

LINES = ("release", "web", "worker", "flower")


def _units(folder: Path, **changes: object) -> dict[str, str]:
    plain = {
        "procfile": procfile.read(), "root": ROOT, "programs": BIN, "env": folder / "etc",
        "prefix": "shop", "user": "root", "web": 3, "workers": 2, "port": 8000, "drain": 900.0,
    }  # fmt: skip
    return systemd.units(systemd.Deployment(**{**plain, **changes}))  # type: ignore[arg-type]


def test_every_line_of_the_procfile_has_a_service_and_the_target_wants_all(tmp_path: Path) -> None:
    units = _units(tmp_path)

    services = {re.sub(r"@?\.service", "", name) for name in units if name.endswith(".service")}
    assert services == {f"shop-{line}" for line in procfile.read()}
    [wanted] = re.findall("^Wants=(.*)", units["shop.target"], re.MULTILINE)
    assert wanted.split() == [
        "shop-release.service", "shop-web.socket", "shop-web@1.service", "shop-web@2.service",
        "shop-web@3.service", "shop-worker@1.service", "shop-worker@2.service",
        "shop-flower.service",
    ]  # fmt: skip


def test_a_worker_gets_longer_than_its_answers(tmp_path: Path) -> None:
    [seconds] = re.findall(
        r"TimeoutStopSec=(\d+)", _units(tmp_path, drain=25.0)["shop-worker@.service"]
    )
    assert int(seconds) > 25


def test_the_start_of_one_web_process_does_not_make_the_others_block_in_accept(
    tmp_path: Path,
) -> None:
    assert "\nNonBlocking=yes\n" in _units(tmp_path)["shop-web@.service"]


@pytest.mark.parametrize("line", LINES)
def test_secrets_are_in_files_only(tmp_path: Path, line: str) -> None:
    [text] = [text for name, text in _units(tmp_path).items() if name.startswith(f"shop-{line}")
              and name.endswith("service")]  # fmt: skip
    assert f"EnvironmentFile={tmp_path}/etc/outlive.env\n" in text
    assert f"EnvironmentFile={tmp_path}/etc/{line}.env\n" in text
    assert "_URL=" not in text


def test_systemd_finds_nothing_wrong_and_rates_them_as_confined(tmp_path: Path) -> None:
    program = need("systemd-analyze")
    for name, text in _units(tmp_path).items():
        (tmp_path / name).write_text(text)
    whole = [name.replace("@.", "@1.") for name in _units(tmp_path)]
    for name in whole:
        template = tmp_path / name.replace("@1.", "@.")
        if not (tmp_path / name).exists():
            (tmp_path / name).symlink_to(template)

    done = subprocess.run(
        [program, "verify", "--man=no", *(str(tmp_path / name) for name in whole)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip

    ours = [line for line in done.stderr.splitlines() if "shop" in line]
    assert (done.returncode, ours) == (0, [])
    for line in LINES:
        [file] = [one for one in tmp_path.glob(f"shop-{line}*.service") if "@1" not in one.name]
        rated = subprocess.run(
            [program, "security", "--offline=true", "--threshold=30", str(file)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert rated.returncode == 0, rated.stdout[-300:]
