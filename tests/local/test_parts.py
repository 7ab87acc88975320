"""The small pieces of `outlive up` that can be tested alone."""

import shutil
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from types import SimpleNamespace
from typing import Any

import pytest

from local import chromium, data_dirs, foreign, options, ports, procfile, saved_addresses


def test_a_server_keeps_its_address_between_two_runs(tmp_path: Path) -> None:
    first = saved_addresses.address(tmp_path / "server.json")

    assert saved_addresses.address(tmp_path / "server.json") == first
    assert len(first.password) == 32
    assert stat.S_IMODE((tmp_path / "server.json").stat().st_mode) == 0o600


def test_a_server_moves_when_its_port_was_taken_but_keeps_its_password(tmp_path: Path) -> None:
    first = saved_addresses.address(tmp_path / "server.json")

    with ports.listen(first.port, "127.0.0.1", backlog=1):
        second = saved_addresses.address(tmp_path / "server.json")

    assert second.port != first.port
    assert second.password == first.password


def test_a_damaged_address_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "server.json").write_text('{"port": ')

    assert saved_addresses.address(tmp_path / "server.json").port in ports.PORTS


def test_the_procfile_is_run_word_for_word_without_a_shell(tmp_path: Path) -> None:
    (tmp_path / "Procfile").write_text('web: serve "a b" $PORT\n\nworker: work --hard\n')

    assert procfile.read(tmp_path / "Procfile") == {
        "web": ["serve", "a b", "$PORT"],
        "worker": ["work", "--hard"],
    }


def test_the_command_line_has_the_documented_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PORT", raising=False)

    parsed = options.parse([])

    assert parsed.data.name == "var"
    assert (parsed.host, parsed.port, parsed.flower, parsed.model) == (
        "127.0.0.1",
        None,
        True,
        True,
    )


def test_the_port_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "9000")

    assert options.parse([]).port == 9000
    assert options.parse(["--port", "0"]).port == 0


@pytest.mark.parametrize("port", ["70000", "-1", "http"])
def test_an_impossible_port_is_refused(
    port: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        options.parse([f"--port={port}"])


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_the_loopback_needs_no_login(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OUTLIVE_AUTH", raising=False)

    options.check_host(host)


def test_other_addresses_need_a_login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OUTLIVE_AUTH", raising=False)
    with pytest.raises(options.UsageError, match="OUTLIVE_AUTH=required"):
        options.check_host("0.0.0.0")

    monkeypatch.setenv("OUTLIVE_AUTH", "required")
    options.check_host("0.0.0.0")


def test_only_one_up_holds_a_data_directory(tmp_path: Path) -> None:
    with (
        options.only_one(tmp_path) as left_over,
        pytest.raises(options.UsageError, match="already runs"),
        options.only_one(tmp_path),
    ):
        pass
    assert left_over is False


def test_a_directory_whose_last_up_crashed_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "lock").write_text("4711")

    with options.only_one(tmp_path) as left_over:
        assert left_over is True
    with options.only_one(tmp_path) as left_over:
        assert left_over is False


def test_a_browser_can_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    browser = tmp_path / "my-browser"
    browser.touch(mode=0o755)

    monkeypatch.setenv("CHROMIUM", str(browser))
    assert chromium.find() == str(browser)

    monkeypatch.setenv("CHROMIUM", str(tmp_path / "none"))
    assert chromium.find() is None


def test_two_starts_may_copy_the_programs_at_the_same_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = tmp_path / "packages" / "server"
    for folder in (wheel / "bin", wheel.with_name("server.libs")):
        folder.mkdir(parents=True)
        (folder / "file").write_text("program")
    wheel.with_name("server-1.0.dist-info").mkdir()
    tmp_path.chmod(0o700)  # so that another user cannot come down to it
    monkeypatch.setattr(data_dirs, "SHARED", tmp_path / "shared")
    both = Barrier(2)

    def together(source: Path, target: Path, **options: Any) -> None:
        shutil.copytree(source, target, **options)
        both.wait(10)

    monkeypatch.setattr(data_dirs, "shutil", SimpleNamespace(copytree=together))

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(data_dirs.reachable_copy, [wheel, wheel]))

    assert found == [tmp_path / "shared" / "server-1.0" / "server"] * 2
    assert (found[0] / "bin" / "file").read_text() == "program"
    assert (found[0].with_name("server.libs") / "file").exists()
    assert [file.name for file in data_dirs.SHARED.iterdir()] == ["server-1.0"]


def test_third_party_programs_are_found_in_sbin_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreign, "_SBIN", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    program = foreign.Foreign("some-server", "some-package", "something")
    assert program.find() is None

    (tmp_path / "some-server").touch(0o755)

    assert program.find() == str(tmp_path / "some-server")
