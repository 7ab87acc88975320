"""The state of one answer while it is written, split by what works on it.

    Generation      the writer's: the body, and the limits that it grows under
    ├── outbox      the publisher's: how far the text went to Redis
    ├── save_state  the saver's: how far Postgres has the text, and the lease
    └── reading     interrupts the greenlet that reads the provider

A generation runs in one greenlet, which reads the provider and calls `write`. Whatever ends the
answer from outside (Stop, a stall, a deadline, a lost lease, a drain) calls `reading.interrupt`.

No part refers back to its Generation: an ended answer, which may hold megabytes, is freed at once
and does not wait for the garbage collector.
"""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import gevent
from gevent.event import Event

from shared.body import PARTS_MAX, Body, Delta
from shared.store.ending import Ending
from shared.store.owning import Claim, Save

#: Code points that may wait for Postgres; with more the provider is not read on.
UNSAVED_MAX: Final = 1 << 18


class Result(NamedTuple):
    """How a generation ended."""

    #: the end to write; None: the message is no longer ours, and nothing may be written
    ending: Ending | None
    #: if nothing was shown, give the message back to the queue instead
    release: bool = False


#: The message belongs to another claim, or has ended without us.
LOST: Final = Result(None)
#: This worker stops: another one may take the message if nothing of it was shown.
SHUTDOWN: Final = Result(Ending.error("worker_shutdown"), release=True)


class Interrupted(BaseException):
    """Thrown into the greenlet that reads the provider, to end the reading with `result`."""

    def __init__(self, result: Result) -> None:
        super().__init__(result)
        self.result = result


class TooLong(Exception):
    """The answer has as many code points, or parts, as are allowed."""


class ProviderReading:
    """The greenlet that reads the provider, for whatever has to interrupt it."""

    def __init__(self) -> None:
        #: how the interruption ends the generation; None: it was not interrupted
        self.result: Result | None = None
        self._greenlet: gevent.Greenlet | None = None

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Raise Interrupted inside, wherever the greenlet waits, once `interrupt` was called."""
        if self.result is not None:
            raise Interrupted(self.result)
        self._greenlet = gevent.getcurrent()
        try:
            yield
        finally:
            self._greenlet = None

    def interrupt(self, result: Result) -> None:
        """End the reading with this result. Only the first call counts."""
        if self.result is None:
            self.result = result
            gevent.get_hub().loop.run_callback(self._throw)

    def _throw(self) -> None:
        # Runs in gevent's hub, as a gevent.Timeout does. So the greenlet is waiting, and as it is
        # still set here, it waits inside `interruptible`.
        greenlet, self._greenlet = self._greenlet, None
        if greenlet is not None and self.result is not None:
            greenlet.throw(Interrupted(self.result))


class SaveState:
    """How far Postgres has an answer, and the age of its lease. Only its saver and the final
    write change it. Positions are code points, times are monotonic seconds."""

    def __init__(self, claim: Claim, body: Body, reading: ProviderReading) -> None:
        self.id = claim.id
        self.claim = claim.token
        self.reading = reading
        #: end of what Postgres has
        self.saved = 0
        #: `saved` as it was before the last save; Redis need not keep text before it
        self.saved_before = 0
        #: when the oldest unsaved character came; None: everything is saved
        self.unsaved_since: float | None = None
        #: start of the last statement that renewed the lease
        self.renewed = time.monotonic()
        self._body = body
        self._was_saved = Event()

    @property
    def unsaved(self) -> int:
        """Code points that Postgres does not have."""
        return self._body.length - self.saved

    def to_save(self, most: int = sys.maxsize) -> Save:
        """The unsaved text, with the condition under which it may be written.

        `most`: code points that it may have; with 0 the save only renews the lease.
        """
        deltas = _first(self._body.since(self.saved), most) if most else ()
        return Save(self.id, self.claim, self.saved, tuple(deltas))

    def saved_to(self, position: int, begun: float) -> None:
        """Note a save up to `position` (or a mere renewal, if that is no progress).

        `begun`: when its statement was sent.
        """
        self.renewed = begun
        if position > self.saved:
            self.saved_before, self.saved = self.saved, position
            # Text that came during the save is counted from the start of the save.
            self.unsaved_since = begun if self.unsaved else None
            self._was_saved.set()

    def rewind(self, position: int) -> None:
        """Postgres went back and has the text only up to `position`: save the rest again.

        Redis may have dropped text that Postgres now lacks; the next save brings it back.
        """
        self.saved = position
        self.saved_before = min(self.saved_before, position)
        self.unsaved_since = self.unsaved_since or time.monotonic()

    def wait_for_room(self) -> None:
        """Return when fewer than UNSAVED_MAX code points are unsaved."""
        while self.unsaved >= UNSAVED_MAX:
            self._was_saved.clear()
            self._was_saved.wait()


class Outbox:
    """How far an answer went to Redis. Only its publisher changes it, which reads of `save_state`
    what it needs. Positions are code points, times are monotonic seconds."""

    def __init__(
        self, claim: Claim, body: Body, save_state: SaveState, reading: ProviderReading
    ) -> None:
        self.id = claim.id
        self.claim = claim.token
        self.attempt = claim.attempt
        self.user_id = claim.user_id
        self.save_state = save_state
        self.reading = reading
        #: end of what was handed to Redis
        self.sent = 0
        #: end of what Redis confirmed
        self.published = 0
        #: Redis lost text before `sent`, and Postgres confirmed that the row is ours
        self.force = False
        #: when the oldest unsent character came
        self.unsent_since = time.monotonic()
        #: the answer is being finished, and nothing more of it is published
        self.closed = False
        self._body = body

    @property
    def unsent(self) -> int:
        """Code points that were not handed to Redis."""
        return self._body.length - self.sent

    def take(self) -> list[Delta]:
        """Return the unsent text, and count it as sent."""
        deltas = self._body.since(self.sent)
        self.sent = self._body.length
        self.force = False
        return deltas

    def rewind(self, position: int, *, force: bool = False) -> None:
        """Send text after `position` again, as Redis may have lost it."""
        self.sent = min(self.sent, position)
        self.force = force

    def published_to(self, position: int) -> None:
        """Note that Redis has the text up to `position`."""
        self.published = max(self.published, position)


class Generation:
    """The writer's view of one answer. Times are monotonic seconds."""

    def __init__(self, claim: Claim, *, limit: int, grown: Callable[["Generation"], None]) -> None:
        """`limit`: code points that the answer may have, with the names and ids of its parts.

        `grown` is called after each write that has to be published and saved.
        """
        now = time.monotonic()
        self.id = claim.id
        self.user_id = claim.user_id
        self.claim = claim.token
        self.attempt = claim.attempt
        self.body = Body()
        self.reading = ProviderReading()
        self.save_state = SaveState(claim, self.body, self.reading)
        self.outbox = Outbox(claim, self.body, self.save_state, self.reading)
        self.claimed = now
        #: when the provider last sent something new
        self.progress = now
        #: when the first character came
        self.first_text: float | None = None
        #: the provider is not being read, because too much is unsaved
        self.waits_for_storage = False
        self._limit = limit
        self._grown = grown

    def write(
        self, kind: str, text: str, meta: dict[str, Any] | None = None, *, fresh: bool = False
    ) -> None:
        """Append text from the provider; an empty one only counts as progress.

        Blocks while too much is unsaved. Raises TooLong when the answer is full.
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
        save_state = self.save_state
        if room > 0:
            delta = body.write(kind, text[:room], meta, fresh=fresh)
            now = time.monotonic()
            self.progress = now
            self.first_text = self.first_text or now
            save_state.unsaved_since = save_state.unsaved_since or now
            if delta.start == self.outbox.sent:
                self.outbox.unsent_since = now
            self._grown(self)
        if room < len(text):
            raise TooLong
        # After an interruption, the text at hand is still written, and must not wait here.
        if body.length - save_state.saved >= UNSAVED_MAX and self.reading.result is None:
            self._wait_for_storage()

    def estimated_usage(self) -> dict[str, int | str] | None:
        """Tokens of a partial answer, at four characters each: providers do not report them."""
        if not self.body.length:
            return None
        return {"completion_tokens": -(-self.body.length // 4), "source": "estimated"}

    def _wait_for_storage(self) -> None:
        """Wait for a save, or an interruption. To the provider we look like a slow client, so its
        silence meanwhile is not counted as a stall."""
        self.waits_for_storage = True
        try:
            self.save_state.wait_for_room()
        finally:
            self.waits_for_storage = False
            self.progress = time.monotonic()


def _first(deltas: Sequence[Delta], most: int) -> Iterator[Delta]:
    """The first `most` code points of consecutive deltas."""
    for delta in deltas:
        if most <= 0:
            return
        yield delta._replace(text=delta.text[:most])
        most -= len(delta.text)
