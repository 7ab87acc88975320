"""What the doctor looks at, and what it finds."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from local import env_files
from shared.settings import Settings


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that should be otherwise, and how to mend it."""

    check: str
    what: str
    mend: str


@dataclass(frozen=True, slots=True)
class Process:
    """The environment of one kind of process: a line of the Procfile."""

    name: str
    env: Mapping[str, str]
    settings: Settings


@dataclass(frozen=True, slots=True)
class Patient:
    """A deployment: its processes' environments, and the address that browsers use."""

    processes: tuple[Process, ...]
    address: str | None
    #: the folder with the environments, if they are not this process' own
    folder: Path | None

    @classmethod
    def of(cls, folder: Path | None, address: str | None) -> Self:
        """The deployment in `folder`, or the one of this process' environment.

        Raises SystemExit with a sentence for an environment that cannot be used, and
        env_files.Unreadable.
        """
        if folder is None:
            process = Process("web", dict(os.environ), Settings.from_env())
            return cls((process,), address, None)
        names = ("web", "worker", "flower", "release")
        envs = {name: env_files.load(folder, name) for name in names}
        processes = (Process(name, env, _settings(env)) for name, env in envs.items())
        return cls(tuple(processes), address, folder)

    @property
    def web(self) -> Process:
        """The environment of web."""
        return self.processes[0]


def _settings(env: Mapping[str, str]) -> Settings:
    with _environment(env):
        return Settings.from_env()


@contextmanager
def _environment(env: Mapping[str, str]) -> Iterator[None]:
    """Within, this process has that environment and no other of our variables."""
    before = dict(os.environ)
    ours = {name for name in before if name.startswith(("OUTLIVE_", "OPENAI_"))}
    for name in ours | {"DATABASE_URL", "REDIS_URL", "PORT", "WEB_CONCURRENCY"}:
        os.environ.pop(name, None)
    os.environ.update(env)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
