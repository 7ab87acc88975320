"""When Python collects cyclic garbage.

It scans everything that a process has loaded, again and again while readers or answers
come: a tenth of a second each time, in which nothing moves.
"""

import gc
from typing import Final

#: New objects until the young ones are scanned, and scans of those until the older ones are.
THRESHOLDS: Final = (10_000, 20, 20)


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
