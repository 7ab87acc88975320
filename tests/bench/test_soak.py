"""The soak's own arithmetic: what a process holds, what a line gains in an hour, what is drawn."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import plotting, sampling, soak
from bench.sampling import Sampler, held_by, slope
from local.processes import ROOT
from tests.rig import Rig, eventually
from tests.strategies import thorough

SVG = "{http://www.w3.org/2000/svg}"


# --- what is held ---------------------------------------------------------------------------------


def _measured() -> None:
    """What a process measures of itself: alone, with connections, with a child. To stdout."""
    samples = [held_by(os.getpid())]
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        socket.create_connection(listening.getsockname()),
        listening.accept()[0],
    ):
        samples.append(held_by(os.getpid()))
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
            samples.append(held_by(os.getpid()))
            child.communicate(b"\n")
    print(json.dumps(samples))


def test_a_process_holds_its_descriptors_its_connections_and_what_its_children_hold() -> None:
    # in a process of its own: in this one other tests' servers open and close theirs
    words = [sys.executable, "-c", f"from {__name__} import _measured; _measured()"]
    measured = subprocess.run(words, capture_output=True, check=True, cwd=ROOT)
    before, now, with_child = json.loads(measured.stdout)

    assert now["descriptors"] == before["descriptors"] + 3
    assert now["tcp"] == before["tcp"] + 2  # both ends; the listening one is no connection
    assert with_child["processes"] == now["processes"] + 1
    assert with_child["descriptors"] > now["descriptors"]
    assert now["rss"] > now["anon"] > 1_000_000


def test_an_ended_process_holds_nothing() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        pass

    assert not held_by(child.pid)


def test_a_sampler_finds_processes_that_were_started_again(rig: Rig, tmp_path: Path) -> None:
    file = tmp_path / "samples.jsonl"
    pids: list[int | None] = [rig.scripted.pid]

    with Sampler(
        file,
        {"scripted": lambda: pids[-1]},
        redis_url=rig.redis.url,
        database_url=rig.postgres.url,
        more=lambda: {"answers": 7},
        every=0.01,
    ):
        eventually(lambda: "scripted.rss" in file.read_text() if file.exists() else False)
        pids.append(None)
        eventually(lambda: "scripted.rss" not in file.read_text().split("\n")[-2])
        pids.append(os.getpid())
        eventually(lambda: "scripted.rss" in file.read_text().split("\n")[-2])

    first = json.loads(file.read_text().split("\n")[0])
    assert first["answers"] == 7
    assert first["redis.clients"] >= 0
    assert first["postgres.backends"] >= 0
    assert first["postgres.size"] > 1_000_000
    assert {name for name in first if name.startswith("scripted.")} == {
        f"scripted.{what}" for what in ("rss", "anon", "descriptors", "tcp", "processes")
    }


def test_a_sampler_goes_on_while_the_servers_are_away(tmp_path: Path) -> None:
    nowhere = "127.0.0.1:1"
    sampler = Sampler(
        tmp_path / "samples.jsonl",
        {"us": os.getpid},
        redis_url=f"redis://{nowhere}/0",
        database_url=f"postgresql://user@{nowhere}/nothing",
    )

    sample = sampler.sample()

    assert "us.rss" in sample
    assert not any(name.startswith(("redis", "postgres")) for name in sample)


# --- what an hour adds ----------------------------------------------------------------------------


@thorough(50)
@given(st.integers(-1000, 1000), st.integers(-1000, 1000))
def test_the_slope_of_a_straight_line_is_its_own(an_hour: int, beginning: int) -> None:
    series = [(float(at), beginning + an_hour * at / 3600) for at in range(0, 3600, 7)]

    assert slope(series) == pytest.approx(an_hour, abs=1e-6)


def test_the_warm_up_is_not_in_the_slope() -> None:
    series = [(float(at), min(at, 1000) * 1.0) for at in range(0, 3600, 5)]

    assert slope(series) == pytest.approx(0)


@pytest.mark.parametrize("series", [[], [(0.0, 5.0)], [(0.0, 5.0), (5.0, 9.0)]])
def test_too_few_samples_have_no_slope(series: list[tuple[float, float]]) -> None:
    assert slope(series) == 0


# --- the picture ----------------------------------------------------------------------------------


def samples(file: Path, count: int = 1000) -> Path:
    """Samples of a service in which everything stays as it is."""
    flat = dict.fromkeys(plotting.names(), 3_000_000)
    lines = (json.dumps({"at": at * 5.0, **flat, "answers": at, "wrong": 0}) for at in range(count))
    file.write_text("".join(f"{line}\n" for line in lines))
    return file


def test_a_file_becomes_a_picture_with_a_line_for_each_series(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "soak.svg"

    assert soak.main(["--plot", str(samples(tmp_path / "soak.jsonl")), str(picture)]) == 0

    root = ET.fromstring(picture.read_text())
    paths = [
        path.get("d", "") for path in root.iter(f"{SVG}path") if path.get("stroke-width") == "2"
    ]
    assert len(paths) == len(plotting.names())
    shown = [text.text or "" for text in root.iter(f"{SVG}text")]
    assert {"web", "worker", "Redis", "Postgres", "0", "83 min"} <= set(shown)
    assert shown[0] == "83 minutes, 999 answers, 0 returns of a reader, 0 wrong"
    assert picture.stat().st_size < 100_000
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == plotting.names()
    assert all(line.endswith("+0.0 an hour") for line in lines)


def test_a_flat_series_is_a_flat_line_and_every_axis_begins_at_zero(tmp_path: Path) -> None:
    series = sampling.read(samples(tmp_path / "soak.jsonl", 10))

    drawn = plotting.draw({"web.anon": series["web.anon"]}, "flat")

    [line] = re.findall(r'd="M([^"]+L[^"]+)"', drawn)
    heights = {place.split()[1] for place in line.split("L")}
    [base, _, top] = [float(y) for y in re.findall(r'd="M[\d.]+ ([\d.]+)h', drawn)]
    assert heights == {f"{base - (base - top) * 3 / 4:.1f}"}  # 3 MB of a panel of 4


@pytest.mark.parametrize(
    ("value", "top"), [(0, 0.1), (0.3, 0.4), (1, 1), (3, 4), (45, 50), (81, 100), (170, 200)]
)
def test_a_panel_ends_at_a_round_number(value: float, top: float) -> None:
    assert plotting.ceiling(value) == pytest.approx(top)


def test_series_without_samples_are_left_out() -> None:
    drawn = plotting.draw({"redis.used": [(0.0, 1.0), (9.0, 2.0)]}, "a < b")

    assert drawn.count('font-weight="600"') == 3  # the title, one panel, its one line
    ET.fromstring(drawn)
