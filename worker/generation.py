"""One answer while it is being written: its body, how far it is published and saved.

A generation runs in one greenlet that reads the provider. Everything else that concerns it
(Stop, a stall, a deadline, a lost lease, a drain) interrupts that greenlet.
"""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import gevent
from gevent.event import Event

from shared.body import PARTS_MAX, Body, Delta
from shared.store.messages import Ending
from shared.store.owning import Claim, Save

#: Code points that may wait for Postgres; with more the provider is not read on.
UNSAVED_MAX: Final = 1 << 18


class Interrupted(BaseException):
    """Thrown into the greenlet that reads the provider.

    `ending` says how the answer ends; None that it is not ours any more and nothing may be
    written; `release` that it goes back to the queue if nothing was shown.
    """

    def __init__(self, ending: Ending | None, *, release: bool = False) -> None:
        super().__init__(ending)
        self.ending = ending
        self.release = release


class TooLong(Exception):
    """The answer has as many code points, or parts, as are allowed."""


class Generation:
    """The owner's view of one message. Positions are code points."""

    def __init__(self, claim: Claim, *, limit: int, grown: Callable[["Generation"], None]) -> None:
        """`grown` is told whenever there is something new to publish and to save."""
        now = time.monotonic()
        self.id = claim.id
        self.user_id = claim.user_id
        self.claim = claim.token
        self.attempt = claim.attempt
        self.body = Body()
        #: it was sent to readers this far, and is known to have reached Redis this far
        self.sent = 0
        self.published = 0
        #: Postgres has it this far, and had it this far a save before
        self.saved = 0
        self.saved_before = 0
        #: Redis lost what was before `sent`; the row is confirmed to be ours
        self.force = False
        #: when the first unsaved character came; when the lease was last renewed
        self.unsaved_since: float | None = None
        self.renewed = now
        self.claimed = now
        #: when the first character came that is not sent
        self.unsent_since = now
        #: when the provider last said something new, and first
        self.progress = now
        self.first_text: float | None = None
        #: nothing more is published or saved for it but by its own finish
        self.closing = False
        #: the provider is not read: too much waits for Postgres
        self.waits_for_storage = False
        self._was_saved = Event()
        #: code points that its text may have; names and ids of its parts take room of it
        self._limit = limit
        self._grown = grown
        self._greenlet: gevent.Greenlet | None = None
        self._interruption: Interrupted | None = None

    # --- growing

    def write(
        self, kind: str, text: str, meta: dict[str, Any] | None = None, *, fresh: bool = False
    ) -> None:
        """Text from the provider; none is a sign of life. TooLong when the answer is full.

        Returns when there is room for more: while too much of it is unsaved, nothing is read.
        """
        if not text:
            self.progress = time.monotonic()
            return
        body = self.body
        if len(body.parts) >= PARTS_MAX and (fresh or body.parts[-1].kind != kind):
            raise TooLong
        if meta:
            self._limit -= sum(len(str(value)) for value in meta.values())
        room = self._limit - body.length
        delta = body.write(kind, text[:room], meta, fresh=fresh) if room > 0 else None
        if delta is not None:
            now = time.monotonic()
            self.progress = now
            self.first_text = self.first_text or now
            self.unsaved_since = self.unsaved_since or now
            if delta.start == self.sent:
                self.unsent_since = now
            self._grown(self)
        if room < len(text):
            raise TooLong
        # Who was interrupted only writes what it had in hand, and must not be held up by that.
        if self.unsaved >= UNSAVED_MAX and self._interruption is None:
            self._wait_for_storage()

    def _wait_for_storage(self) -> None:
        """Until a save has made room, or somebody interrupts. The provider feels it as a client
        that is slow, and cannot be blamed for what it does not say meanwhile."""
        self.waits_for_storage = True
        try:
            while self.unsaved >= UNSAVED_MAX:
                self._was_saved.clear()
                self._was_saved.wait()
        finally:
            self.waits_for_storage = False
            self.progress = time.monotonic()

    def send(self) -> list[Delta]:
        """What was not sent to readers yet, and now is."""
        deltas = self.body.since(self.sent)
        self.sent = self.body.length
        self.force = False
        return deltas

    def send_again(self, position: int, *, force: bool = False) -> None:
        """What is behind `position` may have been lost on its way."""
        self.sent = min(self.sent, position)
        self.force = force

    def published_to(self, position: int) -> None:
        """Redis has it as far as `position`."""
        self.published = max(self.published, position)

    @property
    def unsaved(self) -> int:
        """Code points that Postgres does not have yet."""
        return self.body.length - self.saved

    def to_save(self, most: int = sys.maxsize) -> Save:
        """What Postgres does not have yet, with the condition under which it may be written.

        At most so many code points of it; with 0 the save only renews the lease.
        """
        deltas = _first(self.body.since(self.saved), most) if most else ()
        return Save(self.id, self.claim, self.saved, tuple(deltas))

    def saved_to(self, position: int, begun: float) -> None:
        """A save that began at `begun` reached `position`, or renewed the lease there."""
        self.renewed = begun
        if position > self.saved:
            self.saved_before, self.saved = self.saved, position
            # What came during the save is due a save's time after it began, at the latest.
            self.unsaved_since = begun if self.unsaved else None
            self._was_saved.set()

    def save_again(self, position: int) -> None:
        """Postgres went back, and has the text only as far as `position`: write it forward again.

        Redis may have been freed of text that is missing there now; the next save brings it back.
        """
        self.saved = position
        self.saved_before = min(self.saved_before, position)
        self.unsaved_since = self.unsaved_since or time.monotonic()

    # --- interrupting

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Within, the greenlet may be interrupted wherever it waits."""
        if self._interruption is not None:
            raise self._interruption
        self._greenlet = gevent.getcurrent()
        try:
            yield
        finally:
            self._greenlet = None

    def interrupt(self, interruption: Interrupted) -> None:
        """End the reading of the provider. The first interruption counts."""
        if self._interruption is None:
            self._interruption = interruption
            gevent.get_hub().loop.run_callback(self._deliver)

    def _deliver(self) -> None:
        # Runs in the hub, as a gevent.Timeout does: a greenlet that is still set here is waiting
        # inside `interruptible`, and nowhere else.
        greenlet, self._greenlet = self._greenlet, None
        if greenlet is not None:
            greenlet.throw(self._interruption)


def _first(deltas: Sequence[Delta], most: int) -> Iterator[Delta]:
    """The beginning of what follows on one another: so many code points of it."""
    for delta in deltas:
        if most <= 0:
            return
        yield delta._replace(text=delta.text[:most])
        most -= len(delta.text)
