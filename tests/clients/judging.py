"""Talks to a process of clients that others wrote (`judges.py`, `judges.mjs`): cases in, what they
show out."""

import json
import os
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from tests.rig import PATIENCE


@dataclass
class Heard:
    """What one client has shown."""

    client: str
    text: str = ""
    end: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def take(self, line: dict[str, Any]) -> None:
        """A line of its process."""
        with self._changed:
            self.text += line.get("text", "")
            self.end = line.get("end", self.end)
            self.error = line.get("error", self.error)
            self._changed.notify_all()

    def wait(self, text: str | None = None) -> "Heard":
        """Until it has ended, or has shown this text."""
        with self._changed:
            assert self._changed.wait_for(
                lambda: self.end or self.error or (text is not None and text in self.text),
                PATIENCE,
            ), (self.client, self.text)
        return self


class Judges:
    """A process of clients."""

    def __init__(self, words: Sequence[str | Path], cwd: Path) -> None:
        self._process = subprocess.Popen(
            [str(word) for word in words],
            cwd=cwd,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={name: value for name, value in os.environ.items() if "PYTHON" not in name},
        )
        self._numbers = count()
        self._heard: dict[str, Heard] = {}
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def ask(self, client: str, url: str, question: str, **more: Any) -> Heard:
        """Ask through a client; what it shows, as it comes."""
        number = str(next(self._numbers))
        heard = self._heard[number] = Heard(client)
        case = {"id": number, "client": client, "base_url": f"{url}/v1", "question": question}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(case | more) + "\n")
        self._process.stdin.flush()
        return heard

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        self._listener.join()  # it reads to the end
        with self._process:
            pass

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):
                found = json.loads(line)
                self._heard[found["id"]].take(found)


@contextmanager
def judging(words: Sequence[str | Path], cwd: Path) -> Iterator[Judges]:
    """A process of clients, while the block runs."""
    judges = Judges(words, cwd)
    try:
        yield judges
    finally:
        judges.close()
