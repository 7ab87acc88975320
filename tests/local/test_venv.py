"""How `./outlive` decides what to install and when to begin anew."""

from pathlib import Path

import pytest

from local import venv


@pytest.mark.parametrize(
    ("words", "variables", "files"),
    [
        ("up", {}, ["run.txt", "model.txt"]),
        ("up --port 0", {}, ["run.txt", "model.txt"]),
        ("up --no-model", {}, ["run.txt"]),
        ("up --help", {}, ["run.txt"]),
        ("up", {"OPENAI_API_KEY": "sk-1"}, ["run.txt"]),
        ("up", {"OPENAI_BASE_URL": "http://127.0.0.1:1/v1"}, ["run.txt"]),
        ("up", {"OPENAI_API_KEY": ""}, ["run.txt", "model.txt"]),
        ("ask hello", {}, ["run.txt"]),
        ("", {}, ["run.txt"]),
        ("check", {}, ["run.txt", "dev.txt"]),
        ("test -k up", {"OPENAI_API_KEY": "sk-1"}, ["run.txt", "dev.txt", "model.txt"]),
    ],
)
def test_a_command_installs_what_it_needs_and_no_more(
    words: str, variables: dict[str, str], files: list[str]
) -> None:
    assert venv.needed(words.split(), variables) == files


class Installer:
    """An environment that is made and filled by noting so."""

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        self.log: list[str] = []
        self.interrupt = False
        self.venv = root / ".venv"
        locks = root / "requirements"
        locks.mkdir()
        for name in venv.CONTENTS:
            (locks / name).write_text(name)
        patch.setattr(venv, "ROOT", root)
        patch.setattr(venv, "VENV", self.venv)
        patch.setattr(venv, "PYTHON", self.venv / "bin" / "python")
        patch.setattr(venv, "STAMP", self.venv / "outlive.json")
        patch.setattr(venv, "LOCKS", locks)
        patch.setattr(venv, "_create", self._create)
        patch.setattr(venv, "_install", self._install)

    def _create(self) -> dict[str, str]:
        self.log.append("create")
        (self.venv / "bin").mkdir(parents=True, exist_ok=True)
        (self.venv / "bin" / "python").touch(mode=0o755)
        self.packages.mkdir(parents=True, exist_ok=True)
        return {}

    @property
    def packages(self) -> Path:
        """Where pip would put packages."""
        return self.venv / "lib" / "python3.11" / "site-packages"

    def _install(self, name: str, lock: int) -> None:
        if self.interrupt:
            raise KeyboardInterrupt
        self.log.append(name)

    def prepare(self, *files: str) -> list[str]:
        """What preparing does this time."""
        self.log.clear()
        venv.prepare(files)
        return list(self.log)


@pytest.fixture
def installer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installer:
    return Installer(tmp_path, monkeypatch)


def test_the_second_call_does_nothing(installer: Installer) -> None:
    assert installer.prepare("run.txt") == ["create", "run.txt"]
    assert installer.prepare("run.txt") == []


def test_only_what_is_missing_is_added(installer: Installer) -> None:
    installer.prepare("run.txt")

    assert installer.prepare("run.txt", "dev.txt") == ["dev.txt"]
    assert installer.prepare("run.txt") == []


def test_a_changed_lock_file_is_installed_again(installer: Installer) -> None:
    installer.prepare("run.txt", "dev.txt")
    (installer.venv.parent / "requirements" / "run.txt").write_text("newer")

    assert installer.prepare("run.txt", "dev.txt") == ["run.txt"]


def test_a_half_filled_environment_is_made_again(installer: Installer) -> None:
    installer.prepare("run.txt")
    installer.interrupt = True
    with pytest.raises(KeyboardInterrupt):
        installer.prepare("run.txt", "dev.txt")
    installer.interrupt = False

    assert installer.prepare("run.txt") == ["create", "run.txt"]


def test_an_environment_without_its_python_is_made_again(installer: Installer) -> None:
    installer.prepare("run.txt")
    (installer.venv / "bin" / "python").unlink()

    assert installer.prepare("run.txt") == ["create", "run.txt"]


def test_packages_of_the_tree_are_on_the_path_of_an_older_environment_too(
    installer: Installer,
) -> None:
    installer.prepare("run.txt")
    path = installer.packages / "outlive.pth"
    wanted = path.read_text()
    assert wanted.endswith("clients/python/src\n")
    path.write_text("/only/this/one\n")

    assert installer.prepare("run.txt") == []
    assert path.read_text() == wanted


def test_a_dotenv_file_adds_but_never_overrides(tmp_path: Path, installer: Installer) -> None:
    (tmp_path / ".env").write_text(
        "# A comment = nothing\n\nPORT=9000  # the door\n"
        "OUTLIVE_MODEL='my model'\nEMPTY=\nGIVEN=no\n"
    )

    assert venv.dotenv({"GIVEN": "yes"}) == {"PORT": "9000", "OUTLIVE_MODEL": "my model"}
