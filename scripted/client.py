"""Start a scripted provider, and ask it which requests it saw."""

import json
import os
import subprocess
import sys
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlencode, urlsplit

from scripted.ledger import Record


class Control:
    """The control calls of the provider at `url` (its OpenAI base URL)."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._address = urlsplit(url).netloc

    def requests(self, contains: str = "") -> list[Record]:
        """Its requests in order; with `contains` those with this text in a message."""
        return records(self._call("GET", "requests", contains=contains))

    def wait_requests(
        self, count: int = 1, contains: str = "", ended: bool = False, timeout: float = 30.0
    ) -> list[Record]:
        """Wait until as many requests have come, or ended."""
        query = {"count": count, "contains": contains, "ended": int(ended), "timeout": timeout}
        found = records(self._call("GET", "wait", **query))
        if len(found) < count:
            raise TimeoutError(f"{len(found)} of {count} requests in {timeout} s")
        return found

    def wait_ended(self, number: int, timeout: float = 30.0) -> Record:
        """Wait until a request has ended."""
        found = records(self._call("GET", "wait", request=number, ended=1, timeout=timeout))
        if not found:
            raise TimeoutError(f"request {number} has not ended in {timeout} s")
        return found[0]

    def held(self) -> dict[str, list[int]]:
        """The numbers of the requests that wait in a hold now, by its name."""
        return dict(self._call("GET", "held"))

    def wait_held(self, name: str, count: int = 1, timeout: float = 30.0) -> list[int]:
        """Wait until as many requests wait in this hold; their numbers."""
        held = dict(self._call("GET", "held", name=name, count=count, timeout=timeout))
        waiting: list[int] = held.get(name, [])
        if len(waiting) < count:
            raise TimeoutError(f"{len(waiting)} of {count} are held at {name} after {timeout} s")
        return waiting

    def release(self, name: str) -> int:
        """Let requests pass this hold, now and later; returns how many waited."""
        return int(self._call("POST", f"release/{quote(name, safe='')}")["released"])

    def reset(self) -> int:
        """Cut all running replies and forget everything; returns how many were cut."""
        return int(self._call("POST", "reset")["cut"])

    def _call(self, method: str, verb: str, **query: Any) -> Any:
        with closing(HTTPConnection(self._address, timeout=query.get("timeout", 30) + 10)) as http:
            http.request(method, f"/control/{verb}?{urlencode(query)}")
            return json.loads(http.getresponse().read())


class Scripted(Control):
    """A scripted provider that we started; it ends with `stop` or with our process."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        super().__init__(url)
        self.process = process
        self.pid = process.pid

    def stop(self) -> None:
        self.process.terminate()
        self.process.communicate(timeout=10)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()


def start_scripted(port: int = 0) -> Scripted:
    """Start a scripted provider; return once it listens."""
    here = str(Path(__file__).parents[1])
    path = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH")]))
    numbers = ["--port", str(port), "--parent", str(os.getpid())]
    process = subprocess.Popen(
        [sys.executable, "-m", "scripted", *numbers],
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    line = process.stdout.readline() if process.stdout else ""
    if not line:
        process.communicate()
        raise RuntimeError(f"the scripted provider did not start (exit {process.returncode})")
    return Scripted(process, json.loads(line)["url"])


def records(values: list[dict[str, Any]]) -> list[Record]:
    return [Record(**value) for value in values]
