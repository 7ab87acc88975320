"""Where Postgres can live when we are root.

Postgres refuses to run as root, so it runs as the user `nobody`. That user may not be able
to enter the folders above our environment or our data (a home of mode 700). Then its programs
are copied to, and its data is kept in, a shelter; we never change the modes of your folders.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from local.terminal import echo

NOBODY = 65534
SHELTER = Path("/var/lib/outlive")


def enterable(path: Path) -> bool:
    """Whether any user may walk down to this folder and into it."""
    return all(folder.stat().st_mode & 0o001 for folder in (path, *path.parents))


def home_for(directory: Path, uid: int | None) -> Path:
    """The folder `directory/home`, the user's own, for data.

    When the user cannot come down to it, it becomes a link to a new folder in the shelter.
    """
    home = directory.resolve() / "home"
    if not home.is_symlink() and (uid is None or enterable(directory.resolve())):
        home.mkdir(exist_ok=True)
    elif not home.is_symlink():
        home.symlink_to(_shelter())
    if uid is not None:
        os.chown(home, uid, uid)
    return home.resolve()


def _shelter() -> Path:
    SHELTER.mkdir(mode=0o755, parents=True, exist_ok=True)
    home = Path(tempfile.mkdtemp(prefix="postgres-", dir=SHELTER))
    echo(f"  Postgres runs as an unprivileged user and keeps its data in {home}")
    return home


def reachable_copy(wheel: Path) -> Path:
    """The package's folder, or a copy where everyone can run its programs.

    The libraries lie beside the package and are found by a relative path.
    """
    if enterable(wheel):
        return wheel
    libraries = wheel.with_name(f"{wheel.name}.libs")
    version = next(wheel.parent.glob(f"{wheel.name}-*.dist-info")).stem
    shelter = SHELTER / version
    if not shelter.exists():
        SHELTER.mkdir(mode=0o755, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=SHELTER) as draft:
            for part in (wheel, libraries):
                shutil.copytree(part, Path(draft, version, part.name), symlinks=True)
            _move(Path(draft, version), shelter)
        echo(f"  Postgres' programs were copied to {shelter}, where its user can run them")
    return shelter / wheel.name


def _move(draft: Path, place: Path) -> None:
    """Put it into place whole, unless somebody else who started at the same time was first."""
    try:
        draft.rename(place)
    except OSError:
        if not place.exists():
            raise


@contextmanager
def temporary() -> Iterator[Path]:
    """A folder for the servers of a test, which Postgres' user can enter; removed at the end."""
    with tempfile.TemporaryDirectory(prefix="outlive-") as name:
        Path(name).chmod(0o711)
        yield Path(name)
