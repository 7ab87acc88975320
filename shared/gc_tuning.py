"""When Python looks for garbage that points at itself.

It looks through everything that a process has loaded, again and again while readers or answers
come: a tenth of a second each time, in which nothing moves.
"""

import gc
from typing import Final

#: New objects until the young ones are looked through, and how often that makes it the older ones.
THRESHOLDS: Final = (10_000, 20, 20)


def freeze() -> None:
    """What is there now stays, and need not be looked through any more. Called once it serves."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*THRESHOLDS)


def unfreeze() -> None:
    """At the end everything is looked through once more, while the libraries are still whole.

    What stays until the interpreter takes itself apart may find its own library gone, and says so
    on standard error.
    """
    gc.unfreeze()
