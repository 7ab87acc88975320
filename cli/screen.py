"""Shows one answer on a terminal or in a pipe, and a progress line while something is awaited.

The answer goes to standard output. On a terminal the reasoning and tool calls are dimmed, and
control characters are made visible, because a model must not control a person's terminal. A pipe or
a file gets the answer's text alone, byte for byte. The progress line goes to standard error, and
only if that is a terminal.

The progress line is drawn after the cursor and the cursor is put back, because an unfinished line
of the answer may stand before it: the text that arrives next goes on there.

Why not rich (15.0 was tried in a pseudo terminal of 24 x 40):

* `rich.status` owns its line. After "A line that is cut" it redraws with CR and erase-line, and
  that part of the answer is gone; rich has no control for saving and restoring the cursor.
* `rich.live` with the whole answer in it: once the answer is longer than the screen, each refresh
  leaves a copy in the scrollback (the first of 40 lines was there 30 times). Cropped, it shows the
  top of the answer and no new text until the end.
* A printed tab becomes spaces, counted from the beginning of the print and not of the line, and
  NO_COLOR still dims.
* Its import takes 36 ms, in each command.
"""

import os
import re
import threading
import time
from collections.abc import Callable
from typing import Final, TextIO

from outlive_client import Delta
from shared.parts import PartKind, is_text

#: Seconds between two drawings of the progress line; shorter waits are not shown.
TICK: Final = 0.5

_DIM, _PLAIN = "\x1b[2m", "\x1b[0m"
_ERASE = "\x1b[K"
#: Save the cursor, draw after it without wrapping, restore the cursor.
_DRAW = "\x1b7\x1b[?7l" + _ERASE + _DIM + "{}" + _PLAIN + "\x1b[?7h\x1b8"

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")

#: What the progress line says, or a function that is called at each drawing.
Label = str | Callable[[], str]


def visible(text: str) -> str:
    """The text with pictures in place of control characters, but for tab and newline."""
    return _CONTROL.sub(_picture, text)


def _picture(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else "\ufffd"


class ProgressLine:
    """Says what is being waited for, and how long already. Draws nothing without a terminal."""

    def __init__(self, err: TextIO, lock: threading.RLock) -> None:
        self._err = err
        #: held while anything is written to the terminal
        self._lock = lock
        self._label: Label | None = None
        self._since = 0.0
        self._drawn = False
        self._closed = threading.Event()
        if err.isatty():
            threading.Thread(target=self._run, daemon=True).start()

    def show(self, label: Label) -> None:
        """Show the label from the next tick on."""
        with self._lock:
            if label != self._label:
                self._label, self._since = label, time.monotonic()

    def clear(self) -> None:
        """Erase the line: nothing is being waited for."""
        with self._lock:
            self._label = None
            if self._drawn:
                self._write(_ERASE)
            self._drawn = False

    def close(self) -> None:
        """Erase the line for good."""
        self._closed.set()
        self.clear()

    def _run(self) -> None:
        while not self._closed.wait(TICK):
            label = self._label
            if label is not None:
                self._draw(label, label() if callable(label) else label)

    def _draw(self, label: Label, words: str) -> None:
        with self._lock:
            if self._label is label:  # the wait may have ended while the label was computed
                seconds = int(time.monotonic() - self._since)
                self._write(_DRAW.format(f"{words}… {seconds}s"))
                self._drawn = True

    def _write(self, text: str) -> None:
        self._err.write(text)
        self._err.flush()


class Screen:
    """Shows one answer."""

    def __init__(
        self, out: TextIO, err: TextIO, *, silent: bool = False, reasoning: bool = True
    ) -> None:
        """`silent`: show only the progress line. `reasoning`: on a terminal, show it."""
        self._out = out
        self._err = err
        self._silent = silent
        self._reasoning = reasoning
        self._terminal = out.isatty()
        self._lock = threading.RLock()
        self._progress = ProgressLine(err, self._lock)
        self._last: Delta | None = None

    def wait_for(self, label: Label) -> None:
        """Show the progress line until the next delta."""
        self._progress.show(label)

    def show(self, delta: Delta) -> None:
        """Show a delta, or that there is one if its kind is not shown."""
        if not self._shows(delta.kind):
            self._progress.show("writing" if is_text(delta.kind) else "thinking")
            return
        with self._lock:
            self._progress.clear()
            self._out.write(self._styled(delta) if self._terminal else delta.text)
            self._out.flush()
            self._last = delta

    def rewrite(self, text: str) -> None:
        """Show the whole text again, on a new line."""
        self._out.write(f"\n{visible(text) if self._terminal else text}")
        self._out.flush()

    def close(self) -> None:
        """End the answer. A terminal gets a newline if the text has none at its end."""
        with self._lock:
            self._progress.close()
            if self._terminal and self._last is not None and not self._last.text.endswith("\n"):
                self._out.write("\n")
                self._out.flush()
            self._last = None

    def note(self, sentence: str) -> None:
        """Write a sentence about the answer to standard error."""
        self._err.write(f"{sentence}\n")
        self._err.flush()

    def hint(self, sentence: str) -> None:
        """Write what can be done next, if a person reads standard error."""
        if self._err.isatty() and not self._silent:
            self.note(self._dimmed(sentence))

    def _shows(self, kind: str) -> bool:
        if self._silent:
            return False
        return is_text(kind) or (self._terminal and self._reasoning)

    def _styled(self, delta: Delta) -> str:
        text = visible(delta.text)
        if is_text(delta.kind):
            return self._gap(delta) + text
        return self._gap(delta) + self._dimmed(self._title(delta) + text)

    def _gap(self, delta: Delta) -> str:
        """An empty line between parts, but not between two parts of text."""
        if self._last is None or self._last.part == delta.part:
            return ""
        return "" if is_text(self._last.kind) and is_text(delta.kind) else "\n\n"

    def _title(self, delta: Delta) -> str:
        """The tool's name at the beginning of a tool call."""
        if delta.kind == PartKind.REASONING or (self._last and self._last.part == delta.part):
            return ""
        return visible(f"[{(delta.meta or {}).get('name', delta.kind)}] ")

    def _dimmed(self, text: str) -> str:
        if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
            return text
        return f"{_DIM}{text}{_PLAIN}"
