"""Words for the person who started us."""

import contextlib


def echo(line: str = "") -> None:
    """Print a line. The terminal may have been closed meanwhile; the service goes on."""
    with contextlib.suppress(OSError):
        print(line, flush=True)
