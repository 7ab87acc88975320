"""`outlive export`: new secrets, nothing overwritten, and settings that cannot be exported."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from cli.__main__ import outlive
from local import env_files


@pytest.fixture(autouse=True)
def same_environment() -> Iterator[None]:
    """`--env` changes the environment of this process."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


def _run(*words: object) -> Result:
    return CliRunner().invoke(outlive, [str(word) for word in words])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "etc"
    assert _run("export", "env", folder, "--prefix", "shop", "--host", "x.example").exit_code == 0
    return folder


def _edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_each_file_is_private_and_each_secret_is_another_one(folder: Path) -> None:
    files = sorted(folder.iterdir())
    assert [file.stem for file in files] == ["flower", "outlive", "release", "web", "worker"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    words = " ".join(file.read_text() for file in files).replace("@", " ").replace(":", " ").split()
    secrets = [word for word in words if len(word) == 48]
    assert len(secrets) == len(set(secrets)) == 6


def test_files_that_are_there_stay(folder: Path) -> None:
    before = {file: file.read_text() for file in folder.iterdir()}
    (folder / "web.env").unlink()
    shown = _run("export", "env", folder, "--prefix", "shop").output
    assert shown == f"{folder}/web.env is new\n"
    assert {file: file.read_text() for file in folder.iterdir() if file.stem != "web"} == {
        file: text for file, text in before.items() if file.stem != "web"
    }
    assert "Nothing is missing" in _run("export", "env", folder).output


def test_a_command_has_the_variables_of_web_and_migrations_their_own(folder: Path) -> None:
    web, release = env_files.load(folder, "web"), env_files.load(folder, "release")
    assert web["OUTLIVE_PUBLIC_URL"] == release["OUTLIVE_PUBLIC_URL"] == "https://x.example"
    assert web["DATABASE_URL"].startswith("postgresql://shop:")
    assert release["DATABASE_URL"].startswith("postgresql://shop_migrate:")
    assert web["REDIS_URL"].startswith("redis://shop-web:")


def test_no_secret_is_in_what_is_printed(folder: Path) -> None:
    shown = _run("--env", folder, "export", "redis-acl").output
    shown += _run("--env", folder, "export", "postgres").output
    for line in ("web", "worker", "flower", "release"):
        for value in env_files.load(folder, line).values():
            password = value.partition("@")[0].rpartition(":")[2]
            assert len(password) < 40 or password not in shown


@pytest.mark.parametrize(
    ("file", "old", "new", "command", "sentence"),
    [
        ("web", "shop-web", "shop-worker", "redis-acl", "another user for each"),
        ("worker", "shop-worker:", ":", "redis-acl", "names no user"),
        ("worker", "shop-worker", "~*", "redis-acl", "plain name"),
        ("release", "shop_migrate", "shop", "postgres", "must be two"),
        ("release", "5432/shop", "5432/other", "postgres", "one database"),
        ("outlive", "//shop:", "//Shop:", "postgres", "lower-case"),
    ],
)
def test_settings_that_cannot_be_exported_are_refused_with_a_sentence(
    folder: Path, file: str, old: str, new: str, command: str, sentence: str
) -> None:
    _edit(folder / f"{file}.env", old, new)
    done = _run("--env", folder, "export", command)
    assert done.exit_code == 1
    assert sentence in done.output


def test_a_folder_without_files_is_a_usage_error(tmp_path: Path) -> None:
    done = _run("--env", tmp_path, "sweep")
    assert isinstance(done.exception, env_files.Unreadable)
