"""Which tests run beside one another: all, but for those that are marked `alone`.

Several files run at a time (local/test.py). A test whose limit is a time would measure the others,
so it waits until theirs have ended, and the others wait for it.
"""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

#: Names the folder of a run's locks to its processes.
_VARIABLE: Final = "TURNS_OF_TESTS"


def prepare() -> ExitStack:
    """Make the locks of a run, in its first process. Closing what is returned removes them."""
    stack = ExitStack()
    os.environ[_VARIABLE] = stack.enter_context(
        tempfile.TemporaryDirectory(prefix="outlive-tests-")
    )
    stack.callback(os.environ.pop, _VARIABLE)
    return stack


@contextmanager
def turn(*, alone: bool) -> Iterator[None]:
    """Hold a place among the running tests, or the only one."""
    folder = Path(os.environ[_VARIABLE])
    with (folder / "gate").open("w") as gate, (folder / "room").open("w") as room:
        # Whoever waits to be alone keeps the gate, so that no others come in meanwhile.
        fcntl.flock(gate, fcntl.LOCK_EX)
        fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        if not alone:
            fcntl.flock(gate, fcntl.LOCK_UN)
        yield
