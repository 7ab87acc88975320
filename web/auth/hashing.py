"""Checks and hashes passwords beside the event loop: in a thread, one at a time, and with a bounded
queue.

So any number of sign-ins at once takes the memory of one hash and at most one core, and every other
request goes on. The answer to an unknown login takes as long as the one to a wrong password.
"""

from collections.abc import Callable
from typing import Final, NamedTuple, TypeVar

from gevent.threadpool import ThreadPool

from shared import passwords
from web.errors import TooBusy

#: Hashes at a time in a process, and requests that may wait for theirs: some seconds' worth.
THREADS: Final = 1
WAITING: Final = 200

Made = TypeVar("Made")


class Verdict(NamedTuple):
    """Whether the password was right, and the hash to keep instead of one that is outdated."""

    right: bool
    rehashed: str | None = None


class Hashing:
    """The thread of this process."""

    def __init__(self) -> None:
        self._pool: ThreadPool | None = None
        #: the hash of accounts that do not exist
        self.nobodys = passwords.unmatchable()
        self._waiting = 0

    def check(self, password: str, encoded: str | None) -> Verdict:
        """Whether this is the password of `encoded`; None is an account that does not exist.

        Raises TooBusy.
        """
        return self._run(_check, password, encoded or self.nobodys)

    def hashed(self, password: str) -> str:
        """What is stored of a password. Raises TooBusy."""
        return self._run(passwords.hashed, password)

    def _run(self, work: Callable[..., Made], *arguments: str) -> Made:
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


def _check(password: str, encoded: str) -> Verdict:
    if not passwords.matches(password, encoded):
        return Verdict(right=False)
    outdated = passwords.is_outdated(encoded)
    return Verdict(right=True, rehashed=passwords.hashed(password) if outdated else None)
