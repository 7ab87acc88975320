"""Keeps the bodies of messages true: every message that has a reader here, once.

A first reader makes the hub subscribe and then read the row with its pieces, the live log, and what
arrived meanwhile, in this order. Later readers find the body here; all that is asked for them is
whether they may still read it (`read_access`). Nothing is read for an answer that was asked for
here: `expect` subscribes before any worker can write it.

A body is the text of one claim (see `message_topic`). What another claim publishes on the same
channel, and what is no payload of this version, is no part of it, but a reason to read the row.

Redis only wakes. What it loses is found by reading: at once, and every REREAD seconds while
something is known to be missing; and by polling, every few seconds, what is silent. The poll
also finds what has no owner any more and ends it, so that its readers need not wait for a worker's
sweep. The end is read from the row only.

Without Redis readers see what is saved, about a second late. Without Postgres they see what Redis
brings, and no new reader is admitted.
"""

import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final

import gevent
import structlog

from shared.bus.coding import decode, decode_retrying
from shared.bus.keys import message_channel
from shared.bus.livelog import LiveLog
from shared.errors import NotFound, StorageDown
from shared.store import messages
from shared.store.database import Database
from shared.sweep import Sweep
from web import metrics
from web.following.device_marks import DeviceMarks
from web.following.hub import Hub, Keeper
from web.following.message_topic import MessageTopic, read
from web.following.presence import Presence
from web.following.read_access import NOT_THERE, ReadAccess

#: Seconds between reads while text is known to be missing.
REREAD: Final = 0.25
#: Seconds of silence after which a message is polled; less once a poll found text that Redis did
#: not bring.
SILENCE: Final = 3.0
LAGGING_SILENCE: Final = 1.0
#: Seconds for which the confirmation of a subscription is waited for while a question waits for it.
CONFIRM_NEW: Final = 0.2

log = structlog.get_logger("hub")


class MessageKeeper(Keeper[MessageTopic]):
    """The messages that are read in this process."""

    def __init__(self, hub: Hub, db: Database, livelog: LiveLog, sweep: Sweep) -> None:
        super().__init__(hub)
        self._db = db
        self._livelog = livelog
        self._sweep = sweep
        self._read_access = ReadAccess(db)
        self._presence = Presence(db, sweep)
        self._marks = DeviceMarks(db)

    def counts(self) -> tuple[int, int]:
        """Bodies in memory and their readers."""
        return len(self.topics), sum(topic.readers for topic in self.topics.values())

    def count_changed(self) -> None:
        """Report the bodies in memory."""
        metrics.BODIES.set(len(self.topics))

    @contextmanager
    def follow(self, message_id: uuid.UUID, user_id: uuid.UUID) -> Iterator[MessageTopic]:
        """A message for as long as a reader stays. Raises NotFound and StorageDown."""
        topic = self._entered(message_id, user_id)
        try:
            with self._hub.reading(topic):
                self._presence.enter(topic)
                yield topic
        finally:
            self._presence.leave(topic)

    @contextmanager
    def watch(
        self, message_id: uuid.UUID, user_id: uuid.UUID, device: str | None
    ) -> Iterator[MessageTopic]:
        """The same for a browser: if the answer is its user's own, its tape notes that the device
        came and left."""
        with self.follow(message_id, user_id) as topic:
            if device is None or topic.user_id != user_id:
                yield topic
                return
            self._marks.came(topic, device)
            try:
                yield topic
            finally:
                self._marks.went(topic, device)

    def expect(
        self,
        message_id: uuid.UUID,
        user_id: uuid.UUID,
        conversation_id: uuid.UUID,
        on_disconnect: float | None = None,
        continues_id: uuid.UUID | None = None,
    ) -> None:
        """Subscribe to an answer that was made here and that no worker can have taken yet.

        What is subscribed to before anything was published has missed nothing and is not read.
        """
        if not self._hub.connected or message_channel(message_id) in self.topics:
            return  # in the second case a reader has found it already, in a list
        topic = self._enter(message_id, user_id, conversation_id)
        topic.on_disconnect = on_disconnect
        topic.continues_id = continues_id
        self._hub.subscribe([topic], CONFIRM_NEW)
        if topic.subscribed.is_set():
            topic.read_begun = True  # from now on a confirmation is one that came again
            topic.opened.set()
        else:
            self._hub.open_soon(topic)
        self._hub.forget_later(topic)

    def _entered(self, message_id: uuid.UUID, user_id: uuid.UUID) -> MessageTopic:
        place = message_channel(message_id)
        while True:
            topic = self.topics.get(place)
            if topic is None:
                topic = self._enter(message_id, user_id)
                self._hub.open_soon(topic)
                return topic  # its first read checks the access as well
            granted = self._read_access.check(message_id, user_id)
            if self.topics.get(place) is not topic:
                continue  # it had no reader and was forgotten meanwhile
            end = topic.end
            if end and end.ended_at != granted.ended_at and topic.end_read_at < granted.asked_at:
                self._hub.drop(topic)  # Postgres went back: it is open again, or ended anew
                continue
            if topic.user_id == user_id:
                return topic
            topic.opened.wait()
            if topic.refusal is None:
                return topic  # it is shared
            # else a stranger asked for it first, and was refused

    def _enter(
        self, message_id: uuid.UUID, user_id: uuid.UUID, conversation_id: uuid.UUID | None = None
    ) -> MessageTopic:
        topic = MessageTopic(message_id, user_id, conversation_id)
        self._hub.enter(topic, self)
        return topic

    # --- reading

    def open(self, topics: Sequence[MessageTopic]) -> None:
        """Read them by one statement, and one round trip to Redis."""
        whole = read(self._db, self._live_log(), topics, first=True)
        for topic in topics:
            if topic not in whole:
                topic.refusal = NotFound(NOT_THERE)
            elif topic.missing or not whole[topic]:
                gevent.spawn(self._reread, topic)

    def _reread(self, topic: MessageTopic) -> None:
        """Read until nothing is known to be missing; one greenlet at a time."""
        topic.missing = True
        if topic.rereading:
            return
        topic.rereading = True
        try:
            while topic.missing and topic.end is None and not topic.closed:
                topic.missing = False
                if not self._read(topic):
                    topic.missing = True
                    gevent.sleep(REREAD)
        finally:
            topic.rereading = False

    def _read(self, topic: MessageTopic) -> bool:
        try:
            whole = read(self._db, self._live_log(), [topic])
        except StorageDown:
            return False
        if topic not in whole:
            # Purged, or Postgres went back to before there was this message, or this text of it:
            # readers that come back ask anew.
            if topic.replaced:
                log.warning("hub.replaced", message_id=str(topic.id))
            self._hub.drop(topic)
        return whole.get(topic, True)

    def _live_log(self) -> LiveLog | None:
        """The live log while Redis is there. When it is back, every message is read again."""
        return self._livelog if self._hub.connected else None

    # --- what comes from Redis

    def receive(self, topic: MessageTopic, payload: str) -> None:
        """Deltas of a claim, or a wake-up."""
        if topic.end is not None or not topic.read_begun:
            return  # if it is yet to be read, then with what was published before
        retrying = decode_retrying(payload)
        if retrying is not None:
            topic.receive_retrying(*retrying)
            return
        published = decode(payload)
        if published and published.deltas and topic.receive(published.deltas, published.claim):
            return
        if not published or (published.deltas and published.claim != topic.claim):
            self._read_soon(topic)
        else:  # text before it is missing, or it is a wake-up, which may mean the end
            self._read_now(topic)

    def subscribed(self, topic: MessageTopic) -> None:
        """Read what was published before."""
        if topic.end is None and topic.read_begun:
            self._read_now(topic)

    def _read_now(self, topic: MessageTopic) -> None:
        topic.missing = True
        if topic.opened.is_set():
            gevent.spawn(self._reread, topic)

    def _read_soon(self, topic: MessageTopic) -> None:
        """Read the row because of a payload that is not of its text: of another claim, or of
        another version. There may be many, so not before REREAD seconds after the last read."""
        if topic.missing:
            return  # it will be read
        topic.missing = True
        if topic.opened.is_set():
            pause = topic.read_at + REREAD - time.monotonic()
            gevent.spawn_later(max(0.0, pause), self._reread, topic)

    # --- polling

    def begin(self) -> None:
        """Check the clock before anything is silent, so that later checks can compare."""
        with suppress(StorageDown):
            self._sweep.check_clock()

    def poll(self) -> None:
        """Ask about all silent messages in one statement."""
        try:
            self._poll()
        except StorageDown:
            self._sweep.doubt()

    def _poll(self) -> None:
        now = time.monotonic()
        silent = {
            topic.id: topic
            for topic in self.topics.values()
            if topic.opened.is_set()
            and topic.end is None
            and now - topic.received_at > (LAGGING_SILENCE if topic.lagging else SILENCE)
        }
        if not silent:
            return
        self._sweep.check_clock()  # a process that polls nothing has nothing to end
        found = messages.poll_states(self._db, list(silent))
        self._sweep.answered(now)
        for message_id, topic in silent.items():
            row = found.get(message_id)
            topic.received_at = now
            topic.lagging = row is not None and row.saved > topic.body.length
            another = row is None or (row.claim != topic.claim and topic.body.length)
            if row is not None and row.lapsed:
                gevent.spawn(self._reap, topic)
            elif row is None or row.ended or topic.lagging or another:
                gevent.spawn(self._reread, topic)
        if any(row.forgotten for row in found.values()):
            gevent.spawn(self._give_turns)

    def _give_turns(self) -> None:
        """Do for questions that wait for their turn what no worker does at the moment."""
        with suppress(StorageDown):
            self._sweep.sweep_forgotten()

    def _reap(self, topic: MessageTopic) -> None:
        """End a message whose owner is gone."""
        with suppress(StorageDown):
            self._sweep.sweep_message(topic.id)
        self._reread(topic)
