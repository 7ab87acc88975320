"""A followed message: its body in memory, once for all its readers here, and its end.

The body grows by what Redis brings and by what is read from the row, its pieces and the live log.
The keeper decides when to read. The end is read from the row only.

Three rules keep a body true:

- `Body.append` takes a delta only where it belongs: it never guesses at a gap. What does not fit
  makes `receive` return False, and the row is read.
- While a read is under way, what Redis brings waits, and is applied after what was read.
- A body is the text of one claim for as long as it lives. The row says which. When it names another
  one (Postgres went back and another worker began anew), the text so far is not continued: the
  message is `replaced`, its readers are cut, and a reader that comes back gets another topic.
"""

import math
import time
import uuid
from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Any, Final

from shared.body import Body, Delta
from shared.bus.coding import Payload, Retrying
from shared.bus.keys import message_channel
from shared.bus.livelog import LiveLog, extend
from shared.errors import RedisDown
from shared.lifecycle import TERMINAL, Status
from shared.store import messages
from shared.store.database import Database
from shared.store.messages import Message
from web.following.face import EndsMessage
from web.following.source import FRAME_CACHE
from web.following.topic import Topic

#: Seconds for which the last reader's leaving may be that of one who was cut.
CUT_SECONDS: Final = 1.0


class MessageTopic(Topic[Any]):
    """A message as all its readers here see it."""

    def __init__(
        self, message_id: uuid.UUID, user_id: uuid.UUID, conversation_id: uuid.UUID | None = None
    ) -> None:
        super().__init__(message_channel(message_id))
        self.id = message_id
        #: for whom it is read: its owner, as soon as the row is known
        self.user_id = user_id
        self._conversation_id = conversation_id
        #: the message that it continues, as soon as the row is known
        self.continues_id: uuid.UUID | None = None
        self.body = Body()
        #: whose text it is: that of the row, or before that is read, of the first that is received
        self.claim: uuid.UUID | None = None
        #: the provider is asked again, as its owner says
        self.retrying = Retrying()
        #: the row, once it has ended, and when that was read
        self.end: Message | None = None
        self.end_read_at = 0.0
        #: the row has another text than this body
        self.replaced = False
        #: when anything was last received or read, and whether Postgres had text that Redis did not
        #: bring
        self.received_at = time.monotonic()
        self.lagging = False
        #: a first read has begun, and when the last one did
        self.read_begun = False
        self.read_at = -math.inf
        #: something is missing and has to be read; a greenlet does it
        self.missing = False
        self.rereading = False
        #: what came during a read, which Postgres and Redis end within seconds; None: there is none
        self._arrived: list[Payload] | None = None
        self._end_frames: dict[Hashable, bytes] = {}

    @property
    def message_id(self) -> uuid.UUID:
        """This message."""
        return self.id

    @property
    def owner_id(self) -> uuid.UUID:
        """Whose message it is."""
        return self.user_id

    @property
    def conversation_id(self) -> uuid.UUID | None:
        """The conversation that it belongs to, as soon as the row is known."""
        return self._conversation_id

    @property
    def was_cut(self) -> bool:
        """Whether the response of a reader who was there ended a moment ago."""
        return self.closed or time.monotonic() - self.cut_at < CUT_SECONDS

    def receive(self, deltas: Sequence[Delta], claim: uuid.UUID | None = None) -> bool:
        """Take text of a claim from Redis; False if it does not fit and the row has to be read."""
        self.received_at = time.monotonic()
        if self._arrived is not None:  # a read is under way
            self._arrived.append(Payload(claim, deltas))
            return True
        return self._take(deltas, claim)

    def _take(self, deltas: Sequence[Delta], claim: uuid.UUID | None) -> bool:
        if claim != self.claim:
            if self.claim is not None or self.body.length:
                return False
            self.claim = claim
        return self._grow(deltas)

    def _grow(self, deltas: Sequence[Delta]) -> bool:
        before = self.body.length
        fits = extend(self.body, deltas)
        if self.body.length > before:
            self.retrying = Retrying()
            self.notify()
        return fits

    def receive_retrying(self, claim: uuid.UUID, state: Retrying) -> None:
        """Take what the owner says of its provider; nothing once there is text."""
        if self.body.length or (self.claim is not None and claim != self.claim):
            return
        if state != self.retrying:
            self.retrying = state
            self.notify()

    def end_frame(self, face: EndsMessage) -> bytes:
        """The end as a face writes it; written once for all readers, wherever they stand."""
        assert self.end is not None
        found = self._end_frames.get(face.frames_key)
        if found is None:
            if len(self._end_frames) >= FRAME_CACHE:
                self._end_frames.clear()
            found = self._end_frames[face.frames_key] = face.end(self.end)
        return found

    # --- reading

    def begin_reading(self) -> None:
        """A read begins: what is received from now on waits for it."""
        self.read_begun = True
        self.read_at = time.monotonic()
        self._arrived = []

    def end_reading(self, message: Message | None, logged: Sequence[Delta]) -> bool:
        """Apply row and pieces, then the live log, then what arrived meanwhile.

        Returns whether nothing is missing in between.
        """
        arrived, self._arrived = self._arrived or [], None
        self.received_at = time.monotonic()
        if message is None:
            return False
        self.user_id = message.user_id  # who asked first may lose the right, others keep it
        self._conversation_id = message.conversation_id
        self.continues_id = message.continues_id
        self.on_disconnect = message.on_disconnect
        # Text is published after its claim is committed. So a body that has some text was not read
        # too early: it is of a claim that the row does not know any more.
        if message.claim != self.claim and self.body.length:
            self.replaced = True
            return True
        if message.claim != self.claim:
            self.retrying = Retrying()
        self.claim = message.claim
        if message.status in TERMINAL:
            self.finish(message)
            return True
        whole = self._grow([*message.body.since(self.body.length), *logged])
        for payload in arrived:
            whole = self._take(payload.deltas, payload.claim) and whole
        return whole

    def finish(self, message: Message) -> None:
        """End, as the row says and with the body that it has."""
        # Postgres is the truth. Usually it is the same body, seldom a shorter one (Redis and the
        # worker died together), which a reader learns from the length in the end.
        self.body = message.body
        self.end = message
        self._end_frames.clear()
        self.end_read_at = time.monotonic()
        self.notify()


def read(
    db: Database, livelog: LiveLog | None, ones: Collection[MessageTopic], *, first: bool = False
) -> dict[MessageTopic, bool]:
    """Read these messages. Returns, of each that there is, whether nothing of it is missing now.

    Those that do not exist and those that are `replaced` are left out. Without a live log (Redis is
    away) only what is saved is read. The `first` time a deleted conversation counts as none. Raises
    StorageDown.
    """
    for one in ones:
        one.begin_reading()
    rows: dict[uuid.UUID, Message] = {}
    logs: dict[uuid.UUID, list[Delta]] = {}
    try:
        wanted = {one.id: one.user_id for one in ones}
        rows = messages.load_all(db, wanted, deleted=not first)
        # Nothing was published of a message that no worker has taken; later the channel brings it.
        begun = {row.id: row.claim for row in rows.values() if row.status == Status.STREAMING}
        if livelog and begun:
            logs = _read_logs(livelog, begun)
    finally:
        whole = {one: one.end_reading(rows.get(one.id), logs.get(one.id, ())) for one in ones}
    return {one: done for one, done in whole.items() if one.id in rows and not one.replaced}


def _read_logs(
    livelog: LiveLog, claims: Mapping[uuid.UUID, uuid.UUID | None]
) -> dict[uuid.UUID, list[Delta]]:
    try:
        return livelog.read(claims)
    except RedisDown:
        return {}  # then only what is saved: at most a second old


def snapshot(db: Database, livelog: LiveLog, message_id: uuid.UUID, user_id: uuid.UUID) -> Message:
    """A message as far as it is published, for a request that does not follow it."""
    message = messages.load(db, message_id, user_id)
    if message.status not in TERMINAL:
        logged = _read_logs(livelog, {message_id: message.claim})
        extend(message.body, logged.get(message_id, ()))
    return message
