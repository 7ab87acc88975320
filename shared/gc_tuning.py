"""When Python collects cyclic garbage.

It scans everything that a process has loaded, again and again while readers or answers
come: a tenth of a second each time, in which nothing moves.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

#: New objects until the young ones are scanned, and scans of those until the older ones are.
THRESHOLDS: Final = (10_000, 20, 20)


@contextmanager
def paused() -> Iterator[None]:
    """Collect nothing within the block, and exempt what it made.

    For imports: nothing of them becomes garbage, and scanning it again and again as it grows is a
    sixth of their CPU time.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def freeze() -> None:
    """Exempt what is there now from collection. Called once the process serves."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)


def unfreeze() -> None:
    """At the end have everything collected once more, while the libraries are still whole.

    What stays until the interpreter takes itself apart may find its own library gone, and write
    an error to standard error.
    """
    gc.unfreeze()
