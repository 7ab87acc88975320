"""Reading of large bodies beside the event loop: in a thread, one at a time.

A body of 4 MiB may be a hundred thousand values, and understanding them takes seconds of CPU time.
In a thread that is done in slices of a few milliseconds, between which everything else goes on.
What runs here is pure: it knows no request, no database and no greenlet.
"""

from collections.abc import Callable
from typing import Final, TypeVar

from flask import request
from gevent.threadpool import ThreadPool

from web.errors import TooBusy

#: Bytes of a body that is read on the loop: that takes less than the way to a thread and back, or
#: 20 ms at most.
SMALL_BYTES: Final = 16 << 10
#: Bodies that are read at a time in a process, and requests that may wait for theirs.
THREADS: Final = 1
WAITING: Final = 200

Made = TypeVar("Made")


class _Reading:
    """The thread of this process."""

    def __init__(self) -> None:
        self._pool: ThreadPool | None = None
        self._waiting = 0

    def run(self, work: Callable[..., Made], *arguments: object) -> Made:
        if self._waiting >= WAITING:
            raise TooBusy
        if self._pool is None:
            self._pool = ThreadPool(THREADS)
        self._waiting += 1
        try:
            made: Made = self._pool.apply(work, arguments)
        finally:
            self._waiting -= 1
        return made


_reading: Final = _Reading()


def read(work: Callable[..., Made], *arguments: object) -> Made:
    """What `work` makes of this request's body; beside the loop if the body is large.

    Raises what it raises, and TooBusy.
    """
    if len(request.get_data()) <= SMALL_BYTES:
        return work(*arguments)
    return _reading.run(work, *arguments)
