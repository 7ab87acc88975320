"""What a person sees: the answer as it comes, and what is being waited for.

The text goes to standard output: on a terminal with everything else dimmed and control
characters made visible, into a pipe or a file alone and byte for byte. What is being waited for
goes to standard error, on a terminal only.
"""

import os
import re
import threading
import time
from collections.abc import Callable
from typing import Final, TextIO

from shared.body import Delta

#: Seconds between two looks at what is being waited for; shorter waits are not shown.
TICK: Final = 0.5

_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"
#: Draws behind the cursor, which stays where it is (text may stand before it), without wrapping.
_DRAW = "\x1b7\x1b[?7l\x1b[K" + _DIM + "{}" + _PLAIN + "\x1b[?7h\x1b8"
_ERASE = "\x1b[K"

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")

Label = str | Callable[[], str]


def visible(text: str) -> str:
    """The text without control characters: a model must not steer somebody's terminal."""
    return _CONTROL.sub(_picture, text)


def _picture(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else "\ufffd"


class Progress:
    """A line that says what is being waited for and how long; nothing without a terminal."""

    def __init__(self, err: TextIO, lock: threading.RLock) -> None:
        self._err = err
        self._lock = lock
        self._label: Label | None = None
        self._since = 0.0
        self._drawn = False
        self._over = threading.Event()
        if err.isatty():
            threading.Thread(target=self._run, daemon=True).start()

    def show(self, label: Label) -> None:
        """Say it, once it has taken a moment. A function is asked anew every time."""
        with self._lock:
            if label != self._label:
                self._label, self._since = label, time.monotonic()

    def clear(self) -> None:
        """There is nothing to wait for now."""
        with self._lock:
            self._label = None
            if self._drawn:
                self._write(_ERASE)
            self._drawn = False

    def close(self) -> None:
        """Never to be seen again."""
        self._over.set()
        self.clear()

    def _run(self) -> None:
        while not self._over.wait(TICK):
            label = self._label
            if label is not None:
                self._draw(label, label() if callable(label) else label)

    def _draw(self, label: Label, words: str) -> None:
        with self._lock:
            if self._label is label:  # it may have come while we asked
                seconds = int(time.monotonic() - self._since)
                self._write(_DRAW.format(f"{words}… {seconds}s"))
                self._drawn = True

    def _write(self, text: str) -> None:
        self._err.write(text)
        self._err.flush()


class Screen:
    """One answer on its way to a person."""

    def __init__(
        self, out: TextIO, err: TextIO, *, silent: bool = False, reasoning: bool = True
    ) -> None:
        """`silent`: show no answer, only what is being waited for."""
        self._out = out
        self._err = err
        self._silent = silent
        self._reasoning = reasoning
        self._terminal = out.isatty()
        self._lock = threading.RLock()
        self._progress = Progress(err, self._lock)
        self._last: Delta | None = None

    def wait_for(self, label: Label) -> None:
        """Say what is being waited for until something comes."""
        self._progress.show(label)

    def show(self, delta: Delta) -> None:
        """A piece of the answer, at once."""
        if not self._shows(delta.kind):
            self._progress.show("writing" if delta.kind == "text" else "thinking")
            return
        with self._lock:
            self._progress.clear()
            self._out.write(self._styled(delta) if self._terminal else delta.text)
            self._out.flush()
            self._last = delta

    def rewrite(self, text: str) -> None:
        """The whole text once more, on a line of its own."""
        self._out.write(f"\n{visible(text) if self._terminal else text}")
        self._out.flush()

    def close(self) -> None:
        """The last piece came. Only a terminal gets a line end that was not in the text."""
        with self._lock:
            self._progress.close()
            if self._terminal and self._last is not None and not self._last.text.endswith("\n"):
                self._out.write("\n")
                self._out.flush()
            self._last = None

    def note(self, sentence: str) -> None:
        """Say something about the answer."""
        self._err.write(f"{sentence}\n")
        self._err.flush()

    def hint(self, sentence: str) -> None:
        """Say what can be done next, to a person; no program wants to know."""
        if self._err.isatty() and not self._silent:
            self.note(self._dimmed(sentence))

    def _shows(self, kind: str) -> bool:
        if self._silent:
            return False
        return kind == "text" or (self._terminal and self._reasoning)

    def _styled(self, delta: Delta) -> str:
        text = visible(delta.text)
        if delta.kind == "text":
            return self._gap(delta) + text
        return self._gap(delta) + self._dimmed(self._title(delta) + text)

    def _gap(self, delta: Delta) -> str:
        """An empty line where thinking ends or begins."""
        if self._last is None or self._last.part == delta.part:
            return ""
        return "" if self._last.kind == delta.kind == "text" else "\n\n"

    def _title(self, delta: Delta) -> str:
        """A tool call begins with the tool's name."""
        if delta.kind == "reasoning" or (self._last and self._last.part == delta.part):
            return ""
        return visible(f"[{(delta.meta or {}).get('name', delta.kind)}] ")

    def _dimmed(self, text: str) -> str:
        if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
            return text
        return f"{_DIM}{text}{_PLAIN}"
