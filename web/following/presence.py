"""Tells Postgres which answers are read in this process, so that abandoned ones are stopped.

Only for answers that are to be stopped when nobody reads them (`store/abandonment.py`); for all
others nothing is done here, and nothing runs. A reader is whatever follows an answer: a stream of
any dialect, or a client that waits for the whole body.

    enter   The first reader here: written before the reader is served, so that no other process
            stops the answer meanwhile.
    renew   All that is read here, by one statement every RENEW_EVERY seconds.
    leave   The last reader here: written by a greenlet, as the loop may not wait. An answer that is
            to be stopped at once is stopped if no other process speaks for it.

A reader whose response ended while its client was there (its time was up, this process drains, a
long poll) is about to come back, and has LEASE seconds for that. Without Postgres nothing is
written. What was read here then counts as left when the lease has lapsed, unless a renewal comes
through before.

The invariant to keep in mind: what is written about an answer is written one statement after the
other (`_writing`), so that a reader who leaves and one who comes are never noted in reverse.
"""

import uuid
from contextlib import suppress
from functools import cached_property
from typing import Final

import gevent
import structlog
from gevent.lock import BoundedSemaphore

from shared.errors import StorageDown
from shared.store import abandonment
from shared.store.abandonment import LEASE, RENEW_EVERY
from shared.store.database import Database
from shared.sweep import Sweep
from web.following.message_topic import MessageTopic

log = structlog.get_logger("presence")

#: Answers of one statement.
BATCH: Final = 1_000


class Presence:
    """The readers of this process, as far as they decide whether an answer goes on."""

    def __init__(self, db: Database, sweep: Sweep) -> None:
        self._db = db
        self._sweep = sweep
        #: answers with a policy that have readers here, or had until now
        self._read: set[MessageTopic] = set()
        #: those whose last reader has left, and that is not written yet
        self._left: set[MessageTopic] = set()
        self._writing = BoundedSemaphore()
        self._renewing = False

    @cached_property
    def _process(self) -> uuid.UUID:
        """Names this process; made after the fork."""
        return uuid.uuid4()

    def enter(self, topic: MessageTopic) -> None:
        """A reader has come."""
        if topic.on_disconnect is None or topic.end is not None or topic in self._read:
            return
        if not self._renewing:
            self._renewing = True
            gevent.spawn(self._renew)
        self._read.add(topic)
        with self._writing, suppress(StorageDown):  # the next renewal may come through
            abandonment.speak_for(self._db, self._process, [topic.id], LEASE)

    def leave(self, topic: MessageTopic) -> None:
        """A reader has left. Does not wait."""
        if topic.on_disconnect is None or topic.readers or topic not in self._read:
            return
        if not self._left:
            gevent.spawn(self._note_left)
        self._left.add(topic)

    def _renew(self) -> None:
        while self._read:
            gevent.sleep(RENEW_EVERY)
            try:
                with self._writing:
                    ids = [one.id for one in self._read if one.readers and one.end is None]
                    for start in range(0, len(ids), BATCH):
                        batch = ids[start : start + BATCH]
                        abandonment.speak_for(self._db, self._process, batch, LEASE)
            except StorageDown:
                self._sweep.doubt()
            except Exception:  # a bug here would have every answer stopped
                log.exception("presence.renew")
        self._renewing = False

    def _note_left(self) -> None:
        with self._writing:
            left = [one for one in self._left if not one.readers]
            self._left.clear()
            self._read.difference_update(left)
            ended = [one for one in left if one.end is not None]
            cut = [one for one in left if one.end is None and one.was_cut]
            gone = [one for one in left if one.end is None and not one.was_cut]
            with suppress(StorageDown):  # their leases lapse, and a sweep does the rest
                abandonment.forget(self._db, self._process, [one.id for one in ended])
                abandonment.speak_for(self._db, self._process, [one.id for one in cut], LEASE)
                abandonment.speak_for(self._db, self._process, [one.id for one in gone], 0)
                at_once = [one.id for one in gone if not (one.on_disconnect or one.readers)]
                if at_once:
                    self._sweep.stop_abandoned(at_once)
