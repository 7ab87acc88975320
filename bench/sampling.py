"""What processes and servers hold, every few seconds, in a file of JSON lines.

A soak attaches a `Sampler` to whatever it drives; `bench.plotting` draws what it wrote, and
`slope` says what a line of it gains in an hour.
"""

import json
import re
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, Self

import redis

from shared.errors import StorageDown
from shared.settings import with_driver
from shared.store.database import Database

#: Seconds between samples.
EVERY: Final = 5.0
#: One series of a file: (seconds since its beginning, value).
Series = Sequence[tuple[float, float]]

_POSTGRES: Final = (
    "SELECT pg_database_size(current_database()) AS size, (SELECT count(*) FROM pg_stat_activity"
    " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()) AS backends"
)


class Sampler:
    """Samples in the background for as long as it is entered.

    `processes`: name -> the pid of a tree of processes, asked anew each time, since it may have
    been started again (None: it is not there now). `more`: numbers of the caller's own.
    """

    def __init__(
        self,
        file: Path,
        processes: Mapping[str, Callable[[], int | None]],
        *,
        redis_url: str,
        database_url: str,
        more: Callable[[], Mapping[str, float]] = dict,
        every: float = EVERY,
    ) -> None:
        self._file = file
        self._processes = processes
        self._redis = redis.Redis.from_url(redis_url, socket_timeout=1)
        self._db = Database(with_driver(database_url))
        self._more = more
        self._every = every
        self._begun = time.monotonic()
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._enough.set()
        self._thread.join()
        self._redis.close()
        self._db.dispose()

    def sample(self) -> dict[str, float]:
        """One sample: "web.anon" and the like in bytes or numbers; what is not there is missing."""
        found = {"at": round(time.monotonic() - self._begun, 1), **self._more()}
        for name, pid in self._processes.items():
            now = pid()
            for what, value in held_by(now).items() if now is not None else ():
                found[f"{name}.{what}"] = value
        with suppress(redis.RedisError):
            info: Any = self._redis.info()
            found["redis.clients"] = info["connected_clients"] - 1  # we are one of them
            found["redis.used"] = info["used_memory"]
        with suppress(StorageDown):
            [row] = self._db.rows(_POSTGRES)
            found |= {"postgres.size": row.size, "postgres.backends": row.backends}
        return found

    def _run(self) -> None:
        due = time.monotonic()
        with self._file.open("a") as file:
            while not self._enough.wait(max(0.0, due - time.monotonic())):
                print(json.dumps(self.sample()), file=file, flush=True)
                due = max(due + self._every, time.monotonic())


def held_by(pid: int) -> Counter[str]:
    """What a process and its descendants hold: bytes in memory (`rss`; `anon` is what is neither
    a file's nor shared: what can leak), open descriptors, TCP connections, processes."""
    held, connections = Counter[str](), _tcp_sockets()
    for one in family(pid):
        with suppress(OSError):  # it ended meanwhile, or belongs to another user
            sizes = memory_of(one)
            files = [_target(file) for file in Path(f"/proc/{one}/fd").iterdir()]
            held["rss"] += sizes["Rss"]
            held["anon"] += sizes["Pss_Anon"]
            held["descriptors"] += len(files)
            held["tcp"] += sum(file in connections for file in files)
            held["processes"] += 1
    return held


def memory_of(pid: int) -> dict[str, int]:
    """Bytes of one process: "Rss", "Pss" and so on (proc_pid_smaps(5)). OSError if it has ended."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return {name: int(kb) * 1024 for name, kb in re.findall(r"(\w+): +(\d+) kB", rollup)}


def family(pid: int) -> Iterator[int]:
    """The process and all its descendants."""
    yield pid
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in children.read_text().split():
                yield from family(int(child))


def _target(file: Path) -> str:
    try:
        return str(file.readlink())
    except OSError:
        return ""


def _tcp_sockets() -> set[str]:
    """Every TCP connection of the machine, listening sockets left out."""
    known = set()
    for name in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in Path(f"/proc/net/{name}").read_text().split("\n")[1:]:
                words = line.split()
                if words and words[3] != "0A":  # LISTEN
                    known.add(f"socket:[{words[9]}]")
    return known


# --- what was sampled ----------------------------------------------------------------------------


def read(file: Path) -> dict[str, list[tuple[float, float]]]:
    """The series of a file by name."""
    series: dict[str, list[tuple[float, float]]] = {}
    for line in file.read_text().split("\n"):
        sample = json.loads(line) if line else {}
        for name in sample.keys() - {"at"}:
            series.setdefault(name, []).append((sample["at"], sample[name]))
    return series


def slope(series: Series) -> float:
    """What the second half of a series gains in an hour: the line of least squares."""
    half = (series[0][0] + series[-1][0]) / 2 if series else 0.0
    late = [(at, value) for at, value in series if at >= half]
    if len(late) < 2:
        return 0.0
    moments, values = zip(*late, strict=True)
    return 3600 * statistics.linear_regression(moments, values).slope
