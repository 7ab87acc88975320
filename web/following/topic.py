"""A followed message: its body in memory, once for all its readers here, and its end.

It grows by what Redis brings and by what is read from the row and the live log; the hub decides
when to read. The end is read from the row, only.

Its body is the text of one claim, for as long as it lives. The row decides which: when it names
another claim (Postgres went back, and another worker has begun anew), the text so far is not
continued. The message is then `replaced`: its readers are sent away, and who comes back is given
another Followed.
"""

import math
import time
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

from gevent.event import Event

from shared import sse
from shared.body import Body, Delta
from shared.bus.coding import Payload
from shared.bus.livelog import LiveLog, extend
from shared.errors import RedisDown
from shared.lifecycle import TERMINAL, Status
from shared.store import messages
from shared.store.database import Database
from shared.store.messages import Message
from web.following.notifier import Notifier

#: Places in a body for which frames are kept. Readers under way stand at one or two; in a storm of
#: returning ones each may stand elsewhere, and frames for all of them would be bodies without end.
FRAME_CACHE: Final = 16
#: Bytes of text in one frame, as it is written: with what surrounds it a frame has at most 16 KiB,
#: so that a connection of any length gets a reader on, and a slow one soon shows something.
FRAME_BYTES: Final = 8 << 10
#: Bytes of frames after which a reader is given no more at once: one who is far behind costs no
#: second body, and an answer of thousands of parts is encoded in many turns.
BURST_BYTES: Final = 64 << 10


class MessageTopic:
    """A message as all its readers here see it."""

    def __init__(self, message_id: uuid.UUID, user_id: uuid.UUID) -> None:
        self.id = message_id
        self.user_id = user_id
        self.body = Body()
        #: whose text it is: that of the row, or before that is read, of the first that is heard
        self.claim: uuid.UUID | None = None
        #: the row, once it has ended, and when that was read
        self.end: Message | None = None
        self.ended = 0.0
        self.readers = 0
        #: rings when the body grew, it ended or its readers have to go
        self.changed = Notifier()
        self.subscribed = Event()
        self.opened = Event()
        #: why it could not be opened
        self.refusal: Exception | None = None
        #: nobody keeps it true any more: readers have to ask anew
        self.gone = False
        #: the row has another text than this body
        self.replaced = False
        #: when it was last heard of, and whether Postgres had text that Redis did not bring
        self.heard = time.monotonic()
        self.lagging = False
        #: something is missing and has to be read; a greenlet is at it
        self.read_begun = False
        self.read_at = -math.inf
        self.missing = False
        self.rereading = False
        self._arrived: list[Payload] | None = None
        self._frames: dict[tuple[object, int], tuple[bytes, int]] = {}
        self._end_frames: dict[Callable[[Message], bytes], bytes] = {}

    def hear(self, deltas: Sequence[Delta], claim: uuid.UUID | None = None) -> bool:
        """Text of a claim from Redis; False if it does not fit and the row has to be read."""
        self.heard = time.monotonic()
        if self._arrived is not None:  # a read is under way: in order, behind what it finds
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
            self.tell()
        return fits

    def leave(self) -> None:
        """Send every reader away."""
        self.gone = True
        self.tell()

    def tell(self) -> None:
        """Wake every reader."""
        self._frames.clear()
        self.changed.notify()

    def frames(self, face: Callable[[Delta], bytes], position: int) -> tuple[bytes, int]:
        """What is behind `position` as a face writes it, and the position behind that.

        Encoded once for all readers that stand at the same place. It is everything, or a part
        behind which there is more.
        """
        if position >= self.body.length:
            return b"", position
        key = (face, position)
        found = self._frames.get(key)
        if found is None:
            if len(self._frames) >= FRAME_CACHE:
                self._frames.clear()
            found = self._frames[key] = self._encode(face, position)
        return found

    def _encode(self, face: Callable[[Delta], bytes], position: int) -> tuple[bytes, int]:
        frames: list[bytes] = []
        size = 0
        while position < self.body.length and size < BURST_BYTES:
            delta = _one_frame(self.body, position)
            frames.append(face(delta))
            size += len(frames[-1])
            position = delta.end
        return b"".join(frames), position

    def end_frame(self, face: Callable[[Message], bytes]) -> bytes:
        """The end as a face writes it; made once for all readers."""
        assert self.end is not None
        if face not in self._end_frames:
            self._end_frames[face] = face(self.end)
        return self._end_frames[face]

    # --- reading the truth

    def begin_reading(self) -> None:
        """What is heard from now on waits for what will be read."""
        self.read_begun = True
        self.read_at = time.monotonic()
        self._arrived = []

    def end_reading(self, message: Message | None, logged: Sequence[Delta]) -> bool:
        """Row and pieces, then the live log, then what arrived meanwhile; whether all is there."""
        arrived, self._arrived = self._arrived or [], None
        self.heard = time.monotonic()
        if message is None:
            return False
        # Text is published after its claim is committed: a body that has some of it was not read
        # too early, it is of a claim that the row does not know any more.
        if message.claim != self.claim and self.body.length:
            self.replaced = True
            return True
        self.claim = message.claim
        if message.status in TERMINAL:
            self.finish(message)
            return True
        whole = self._grow([*message.body.since(self.body.length), *logged])
        for said in arrived:
            whole = self._take(said.deltas, said.claim) and whole
        return whole

    def finish(self, message: Message) -> None:
        """It has ended: the row says how, and with which body."""
        # Postgres is the truth: usually the same body, seldom one that is shorter (Redis and the
        # worker died together), which the end's length tells a reader.
        self.body = message.body
        self.end = message
        self._end_frames.clear()
        self.ended = time.monotonic()
        self.tell()


def _one_frame(body: Body, position: int) -> Delta:
    """What one frame carries from there on.

    Every frame has its part's meta. A frame whose meta alone is large has as much text as meta, so
    that the meta at most doubles what is sent.
    """
    delta = body.piece(position, FRAME_BYTES)
    if len(delta.text) * sse.WIDEST <= FRAME_BYTES:  # nearly always: what a provider just sent
        return delta
    room = FRAME_BYTES
    if delta.meta and (size := len(sse.to_json(dict(delta.meta)))) > room:
        room = size
        delta = body.piece(position, room)
    count = sse.fitting(delta.text, room)
    return delta if count == len(delta.text) else delta._replace(text=delta.text[:count])


def read(
    db: Database, livelog: LiveLog | None, ones: Collection[MessageTopic], *, first: bool = False
) -> dict[MessageTopic, bool]:
    """Read all of these; of each that goes on whether all of it is there now.

    Missing are those that there are not, and those that are `replaced`. Without a live log it is
    what is saved: Redis is known to be away. The `first` time their conversations must not be
    deleted. Raises StorageDown.
    """
    for one in ones:
        one.begin_reading()
    rows: dict[uuid.UUID, Message] = {}
    logs: dict[uuid.UUID, list[Delta]] = {}
    try:
        wanted = {one.id: one.user_id for one in ones}
        rows = messages.load_all(db, wanted, deleted=not first)
        # Of what nobody has taken yet nothing was published; what is comes by the channel.
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
    """A message as far as it is published, for somebody who does not follow it."""
    message = messages.load(db, message_id, user_id)
    if message.status not in TERMINAL:
        logged = _read_logs(livelog, {message_id: message.claim})
        extend(message.body, logged.get(message_id, ()))
    return message
