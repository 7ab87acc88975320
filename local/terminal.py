"""Lines for the user at the terminal."""

import contextlib


def echo(line: str = "") -> None:
    """Print a line. If the terminal has been closed, go on without."""
    with contextlib.suppress(OSError):
        print(line, flush=True)
