"""Ends the streams of those who may not read any more.

Rights are checked when a stream is opened, and a stream may stay open for half an hour. So where
sign-in is required each web process also

- **listens** on one channel for users, keys, sessions and shares that were revoked: it forgets
  what it knows of them and evicts their streams at once;
- **asks Postgres** every CHECK_EVERY seconds about all users and credentials that hold streams
  open, in one statement, because notifications may be lost. It asks at once when the subscription
  was confirmed again, since something may have been missed, and for a payload that it cannot read.

A client whose stream is evicted comes back and is refused like any other. Without Redis a revoked
reader stays for CHECK_EVERY seconds at most; without Postgres nobody is evicted by a check, and no
new stream is opened.
"""

import time
import uuid
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, Literal, cast

import gevent

from shared.bus.keys import RIGHTS_CHANNEL
from shared.errors import StorageDown
from shared.store.database import Database
from shared.store.revoked import Held, revoked
from web.auth.principal import Credential, Principal
from web.auth.revocations import Revocations, Revoked
from web.following.hub import Hub, Keeper
from web.following.streaming import Readers
from web.following.topic import Topic

#: Seconds between two checks of all open streams, and between two that payloads ask for.
CHECK_EVERY: Final = 60.0
CHECK_AGAIN: Final = 1.0
#: Principals that are taken in one turn of the loop.
SLICE: Final = 1_000
#: Kinds of credentials that have rows.
STORED: Final = ("key", "session", "share")


class RightsTopic(Topic[None]):
    """The channel of revocations; it has no readers."""

    def __init__(self) -> None:
        super().__init__(RIGHTS_CHANNEL)


class Rights(Keeper[RightsTopic]):
    """What this process knows of revocations, and the streams that they concern."""

    def __init__(self, hub: Hub, db: Database, readers: Readers, revocations: Revocations) -> None:
        super().__init__(hub)
        self._db = db
        self._readers = readers
        self._revocations = revocations
        self._checked_at = time.monotonic()
        #: something may have been missed
        self._doubted = False

    def begin(self) -> None:
        """Listen for as long as the process lives."""
        topic = RightsTopic()
        self._hub.enter(topic, self)
        self._hub.open_soon(topic)

    def open(self, topics: Sequence[RightsTopic]) -> None:
        """There is nothing to read."""

    def receive(self, topic: RightsTopic, payload: str) -> None:  # noqa: ARG002
        """A user or a credential was revoked."""
        found = _parsed(payload)
        if found is None:
            self._doubt()
            return
        self._revocations.note(found)
        self._readers.evict(found)

    def subscribed(self, topic: RightsTopic) -> None:  # noqa: ARG002
        """What was published before may have been missed."""
        self._doubt()

    def _doubt(self) -> None:
        self._revocations.doubt()
        self._doubted = True

    def poll(self) -> None:
        """Check all open streams when that is due."""
        since = time.monotonic() - self._checked_at
        if since > CHECK_EVERY or (self._doubted and since > CHECK_AGAIN):
            with suppress(StorageDown):  # then at the next poll
                self._check()

    def _check(self) -> None:
        """Evict those whom Postgres does not know as good any more, and those who expired."""
        self._doubted, self._checked_at = False, time.monotonic()
        held: set[Held] = set()
        expired = False
        for number, one in enumerate(self._readers.principals()):
            held.add(held_by(one))
            expired = expired or _has_expired(one)
            if number % SLICE == SLICE - 1:
                gevent.sleep(0)
        try:
            gone = set(revoked(self._db, held))
        except StorageDown:
            self._doubted = True
            raise
        for user_id in {one.user_id for one in gone}:
            self._revocations.note(user_id)
        if gone or expired:
            self._readers.evict_if(lambda one: _has_expired(one) or held_by(one) in gone)


def held_by(principal: Principal) -> Held:
    """What Postgres is asked about this principal."""
    kind, name = principal.credential.kind, principal.credential.id
    return Held(principal.user_id, kind, name if kind in STORED else "")


def _has_expired(principal: Principal) -> bool:
    """A stream ends when its credential expires; this is for clocks that were set."""
    return principal.expires_at is not None and principal.expires_at <= time.time()


def _parsed(payload: str) -> Revoked | None:
    """Whom a payload names; None for what is no payload of ours."""
    kind, _, name = payload.partition(" ")
    try:
        found = uuid.UUID(name)
    except ValueError:
        return None
    if kind == "user":
        return found
    if kind in STORED:
        return Credential(cast("Literal['key', 'session', 'share']", kind), str(found))
    return None
