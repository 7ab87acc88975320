"""Sends the new text of all running answers to Redis. One greenlet and one connection a process.

It guarantees that the log of a claim grows in order and without a gap, that nothing is published
for an answer whose lease may have lapsed, and that reading a provider never waits for Redis.

How. The greenlet works in rounds. A round writes everything that waits (new logs, text, ends) to
the socket at once; text of one answer that waits together is one publication. It does not wait for
replies: they are read in the next round, or by `poll` 0.2 s later. Until its reply is read, a
publication is *unconfirmed*. A lone answer is sent at once. Where much is written, rounds start at
least GATHER apart, because each costs Redis and every web process a wake-up.

When something fails:

* The connection breaks, or a reply is overdue. Any unconfirmed publication may have landed or not.
  All are sent again over a new connection, from the last confirmed position; publish.lua
  recognises text that it has.
* Redis lost the log (MISSING). Postgres is asked whether the row is still ours, then the log is
  begun anew at the last save. Readers find older text in Postgres.
* A sweep fenced the log (FENCED), or the row is no longer ours. The generation is interrupted as
  LOST, and nothing more of it is written anywhere.
* Postgres is away. Publishing goes on until the lease lapses, since from then on another worker may
  own the answer. The saver's next renewal adds it again.

Invariant: `published <= sent <= body.length` for each outbox. `published` only follows a reply, and
`_unconfirmed` has one entry for every publication without a reply, in the order of the replies.
"""

import time
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

import gevent
import structlog
from gevent.event import Event

from shared import awake
from shared.bus.coding import Retrying
from shared.bus.connection import TIMEOUT
from shared.bus.livelog import LiveLog
from shared.bus.publishing import Publication, PublishConnection, PublishResult
from shared.errors import RedisDown, StorageDown
from shared.store import owning
from shared.store.database import Database
from worker.generation import LOST, Outbox

#: Seconds before Redis, or Postgres, is tried again after it did not answer.
PAUSE: Final = 0.25
#: Seconds that a connection must have lasted for the next one to be made without a pause.
RECONNECT: Final = 1.0
#: Seconds from the start of a round to the start of the next, at least.
GATHER: Final = 0.002
#: Replies that may be outstanding; with more the publisher waits for Redis.
UNCONFIRMED_MAX: Final = 2_000

log = structlog.get_logger("publisher")


class Sent(NamedTuple):
    """A publication without a reply: up to `end`, sent at the monotonic time `at`."""

    outbox: Outbox
    end: int
    at: float


class Publisher:
    """The outboxes that have something to send, and the connection that they share."""

    def __init__(
        self,
        db: Database,
        livelog: LiveLog,
        owner: str,
        lease: float,
        observe: Callable[[int, int, float], None],
    ) -> None:
        """`lease`: seconds. `observe` is called by `poll` with the number of publications, the
        number of rounds, and the longest time in seconds that text waited for its round."""
        self._db = db
        self._livelog = livelog
        self._owner = owner
        self._lease = lease
        self._observe = observe
        #: what `observe` is called with next
        self._publications, self._rounds, self._lag = 0, 0, 0.0
        self._connection: PublishConnection | None = None
        self._connected_at = 0.0
        #: what the next round sends: logs to open, outboxes with text, ended answers to announce
        self._opened: list[Outbox] = []
        self._waiting: dict[Outbox, None] = {}
        self._ended: list[Outbox] = []
        self._retrying: dict[Outbox, Retrying] = {}
        #: publications without a reply, oldest first
        self._unconfirmed: deque[Sent] = deque()
        #: outboxes of which Redis lost text; Postgres has to confirm that they are ours
        self._missing: dict[Outbox, None] = {}
        self._wake = Event()

    def open(self, outbox: Outbox) -> None:
        """Begin the log of a claim."""
        self._opened.append(outbox)
        self._wake.set()

    def add(self, outbox: Outbox) -> None:
        """Send its new text."""
        self._waiting[outbox] = None
        self._wake.set()

    def end(self, outbox: Outbox) -> None:
        """Announce that the answer has ended in Postgres."""
        self._ended.append(outbox)
        self._wake.set()

    def report_retrying(self, outbox: Outbox, state: Retrying) -> None:
        """Tell readers that the provider is asked again. Nothing repeats it if Redis is away."""
        self._retrying[outbox] = state
        self._wake.set()

    def poll(self) -> None:
        """Have outstanding replies read, and report to `observe`. Called every 0.2 s or so."""
        if self._unconfirmed:
            self._wake.set()
        if self._rounds:
            self._observe(self._publications, self._rounds, self._lag)
            self._publications, self._rounds, self._lag = 0, 0, 0.0

    def run(self) -> None:
        """Publish for ever. Connects before there is anything to send."""
        while True:
            begun = time.monotonic()
            self.round()
            self._wake.wait()
            left = begun + GATHER - time.monotonic()
            if left > 0:
                gevent.sleep(left)
            self._wake.clear()

    def round(self) -> None:
        """Send everything that waits and read the replies that have come.

        What fails stays queued, and the next round is due at once, or after PAUSE.
        """
        try:
            if self._connection is None:
                self._connected_at = time.monotonic()
                self._connection = self._livelog.publish_connection()
            self._send(self._connection)
            self._read_replies(self._connection)
            if self._missing:
                self._republish_missing()
        except RedisDown as error:
            self._disconnect()
            worked = time.monotonic() - self._connected_at >= RECONNECT
            self._try_again(error, at_once=worked)
        except StorageDown as error:
            self._try_again(error, at_once=False)

    def _try_again(self, error: RedisDown | StorageDown, *, at_once: bool) -> None:
        if self._waiting:
            log.warning("publisher.waits", code=error.code, messages=len(self._waiting))
        if not at_once:
            gevent.sleep(PAUSE)
        self._wake.set()

    def _send(self, connection: PublishConnection) -> None:
        # An opening is sent only once. Repeated after Redis lost the log, it would prove, wrongly,
        # that no text was ever published.
        opened, self._opened = self._opened, []
        for outbox in opened:
            connection.open(outbox.id, outbox.claim, outbox.attempt, outbox.user_id)
        now = time.monotonic()
        waiting, self._waiting = self._waiting, {}
        for outbox in waiting:
            unsent_since = outbox.unsent_since
            publication = self._publication(outbox, now)
            if publication is not None:
                connection.publish(publication)
                self._unconfirmed.append(Sent(outbox, outbox.sent, now))
                self._publications += 1
                self._lag = max(self._lag, now - unsent_since)
        retrying, self._retrying = self._retrying, {}
        for outbox, state in retrying.items():
            if not outbox.closed:
                connection.notify_retrying(outbox.id, outbox.claim, state)
        ended = len(self._ended)
        for outbox in self._ended:
            connection.notify_ended(outbox.id, outbox.claim, outbox.user_id)
        connection.flush()
        del self._ended[:ended]  # `flush` may have let others add to it
        if waiting:
            self._rounds += 1

    def _publication(self, outbox: Outbox, now: float) -> Publication | None:
        """Take its unsent text; None if there is none, or if it may not be shown.

        The lease counts in real seconds, not in those in which this process ran: it lapses while
        the process is frozen, too.
        """
        save_state = outbox.save_state
        if outbox.closed or now - save_state.renewed > self._lease:
            return None
        force = outbox.force
        deltas = outbox.take()
        if not deltas:
            return None
        return Publication(
            outbox.id, outbox.claim, outbox.attempt, deltas, save_state.saved_before, force
        )

    def _read_replies(self, connection: PublishConnection) -> None:
        """Read the replies that have come. Raises RedisDown if one is overdue."""
        too_many = connection.outstanding > UNCONFIRMED_MAX
        for result in connection.read_results(TIMEOUT if too_many else 0.0):
            outbox, end, _ = self._unconfirmed.popleft()
            if result == PublishResult.FENCED:
                outbox.reading.interrupt(LOST)
            elif result == PublishResult.MISSING:
                self._missing[outbox] = None
            else:
                outbox.published_to(end)
        if self._unconfirmed and awake.since(self._unconfirmed[0].at) > TIMEOUT:
            raise RedisDown

    def _republish_missing(self) -> None:
        """Begin lost logs anew at the last save, if the rows in Postgres are still ours."""
        missing = [outbox for outbox in self._missing if not outbox.closed]
        rows = owning.lease_state(self._db, self._owner, [outbox.id for outbox in missing])
        self._missing.clear()  # nothing was added meanwhile: only this greenlet does
        for outbox in missing:
            row = rows.get(outbox.id)
            if row is None or row.claim != outbox.claim:
                outbox.reading.interrupt(LOST)
                continue
            outbox.rewind(outbox.save_state.saved, force=True)
            self.add(outbox)

    def _disconnect(self) -> None:
        """Close the connection, and queue everything unconfirmed again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        for outbox, _, _ in self._unconfirmed:
            outbox.rewind(outbox.published)
            self._waiting[outbox] = None
        self._unconfirmed.clear()
