"""Bodies as blocks of HTML, rendered once for all their readers here.

A followed message is rendered while its blocks have readers, an ended one when it is opened.

**Following.** A BlockSource renders what is new in its message and then wakes its readers, who find
a frame that was written once for all of them. One greenlet does that, in slices (see `yielding`):
never more often than a screen can show, and less often where that would cost more than the
message's part of a share of this process' time. Then each frame brings more. So an expensive
message slows only itself. The end is rendered as soon as that pause is over.

**Older blocks.** Of a long body only the newest blocks are kept (`finished_blocks`). Older ones are
rendered again for readers far from the end, by a greenlet of their own. Readers that stand at the
same position share the work, and a few such places are remembered, as a reader soon asks for what
follows.

**Failure.** A bug in a renderer closes the source: its readers are cut, and the next one gets a new
source. What limits a text that takes too long is in `blocks` and `cpu_limit`.

**Ended messages** are kept for some minutes while there is room, since several people or pages may
open the same one. Whichever request comes first to a block renders it.
"""

import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any, Final
from weakref import WeakKeyDictionary, ref

import gevent
import structlog
from gevent.hub import Waiter
from gevent.lock import BoundedSemaphore

from shared.bus.coding import Retrying
from shared.store.messages import Message
from web.following.message_topic import MessageTopic
from web.following.source import Source
from web.page.blocks import Rest
from web.page.finished_blocks import BlockPages, FinishedBlocks, OlderBlocks, encode
from web.page.yielding import Slices

#: Frames a second that a screen can show.
FRAMES: Final = 30.0
#: Rendering may take one part in SHARE of this process' time.
SHARE: Final = 3.0
#: Seconds between two frames at most, whatever they cost.
SLOWEST: Final = 1.0
#: Code points that are rendered before what is finished is shown.
BURST_CHARS: Final = 1 << 15
#: Bytes of blocks in one event: what a connection has to carry for its reader to get on.
EVENT_BYTES: Final = 16 << 10
#: Bytes of blocks and bodies of ended messages that are kept, and for how many seconds.
ENDED_BYTES: Final = 16 << 20
ENDED_SECONDS: Final = 600.0
#: Ends of messages that are kept for their continuations.
RESTS: Final = 256
#: Places in a body from which older blocks are rendered again, and those places' next events.
OLDER_PLACES: Final = 16
#: Seconds after which a greenlet that renders checks whether it still has readers.
IDLE_SECONDS: Final = 5.0

#: How far a reader of blocks is: the position after its last finished block, and the rendering
#: whose open block it was shown.
BlockPlace = tuple[int, int]

_ACCEPTED: Final = Retrying()

log = structlog.get_logger("render_cache")


class BlockSource(Source[BlockPlace]):
    """A followed message as blocks, and the events that carry them."""

    def __init__(
        self, cache: "RenderCache", topic: MessageTopic, continues: Rest | None = None
    ) -> None:
        """`continues`: the end of the message that this one continues."""
        super().__init__()
        #: weak, because the cache keeps this object for as long as its topic lives. A reader holds
        #: the topic.
        self._topic = ref(topic)
        self.on_disconnect = topic.on_disconnect
        self.finished = FinishedBlocks(topic.body, continues)
        self.readers = 0
        #: when it may be rendered again (monotonic)
        self.due = 0.0
        #: the position after the last finished block, and how far it is rendered, the open block
        #: included; both as they are shown
        self.settled = 0
        self.length = 0
        #: an ended body is rendered to its end
        self.ended = False
        #: counts the renderings
        self.rendering = 0
        self._cache = cache
        self._open: bytes = b"null"
        #: what readers are told of the provider
        self._retrying = _ACCEPTED
        self._busy = BoundedSemaphore()
        self._following = False
        #: older blocks by position: the events that were rendered again, what goes on from there,
        #: and what is being rendered now
        self._older: OrderedDict[int, tuple[bytes, int]] = OrderedDict()
        self._going_on: OrderedDict[int, OlderBlocks] = OrderedDict()
        self._rendering_older: set[int] = set()

    @property
    def topic(self) -> MessageTopic:
        """The message whose text is rendered."""
        topic = self._topic()
        assert topic is not None
        return topic

    @property
    def message_id(self) -> uuid.UUID:
        """The message."""
        return self.topic.id

    @property
    def owner_id(self) -> uuid.UUID:
        """Whose message it is."""
        return self.topic.owner_id

    @property
    def conversation_id(self) -> uuid.UUID | None:
        """The conversation that it belongs to."""
        return self.topic.conversation_id

    def pause(self) -> float:
        """Seconds until it may be rendered again; none before its end is shown."""
        return 0.0 if self.topic.end is not None else max(0.0, self.due - time.monotonic())

    def is_behind(self) -> bool:
        """Whether there is something to be rendered."""
        if self.topic.end is not None:
            return not self.ended
        return self.length < self.topic.body.length

    def refresh(self) -> None:
        """Render what is new, BURST_CHARS of it at most, and notify. Other greenlets run
        meanwhile."""
        with self._busy:
            if not self.is_behind() or self.pause():
                return
            body, ended = self.topic.body, self.topic.end is not None
            if self.finished.made.length > body.length:  # it ended shorter than it had been shown
                self.finished = FinishedBlocks(body, self.finished.continues)
                self._older.clear()
                self._going_on.clear()
            finished, slices = self.finished, Slices()
            finished.body = body
            made = finished.made
            until = made.length + BURST_CHARS
            steps = chain(
                made.feed(body, until), made.end() if ended and until >= body.length else ()
            )
            for _ in steps:
                finished.collect()
                slices.pause()
            finished.collect()
            opened = made.open()
            self._open = encode(opened, whole=False) if opened else b"null"
            self.settled, self.length, self.ended = finished.settled, made.length, made.ended
            self.rendering += 1
            self._retrying = self.topic.retrying
            self.due = time.monotonic() + self._cache.interval(slices.end())
            self.notify()

    @contextmanager
    def reading(self) -> Iterator[None]:
        """A reader's time with it, in which it is rendered."""
        self.readers += 1
        if not self._following:
            self._following = True
            gevent.spawn(self._follow)
        try:
            yield
        finally:
            self.readers -= 1

    def _follow(self) -> None:
        """Render what the message grows by, for as long as there are readers."""
        topic = self.topic
        try:
            while self.readers and not topic.closed:
                self._show_retrying(topic.retrying)
                if not self.is_behind():
                    _wait_for(topic)
                elif pause := self.pause():
                    gevent.sleep(pause)
                else:
                    self.refresh()
        except Exception as error:  # noqa: BLE001 - the type and no message, which may quote text
            self._fail(error)
        self._following = False
        if topic.closed:
            self.close()

    def _show_retrying(self, retrying: Retrying) -> None:
        if retrying != self._retrying:
            self._retrying = retrying
            self.rendering += 1
            self.notify()

    def _fail(self, error: Exception) -> None:
        log.error("render_cache.render", error=type(error).__name__)
        self._cache.forget(self.topic)
        self.close()

    def event(self, position: int) -> tuple[bytes, int, bool]:
        """The kept blocks after `position`, as many as one event has, and the position after them;
        whether those are all, and the open one is with them.

        Nothing while the position is ahead: another process had more of it.
        """
        if position > self.settled:
            return b"", position, True
        lines, end = self.finished.cut(position, EVENT_BYTES, self.settled)
        if end < self.settled:
            return _event(lines, b"null", end, end), end, False
        return _event(lines, self._open, end, self.length, self._retrying), end, True

    def older_event(self, position: int) -> tuple[bytes, int] | None:
        """Blocks after `position` that are not kept, and the position after them.

        None until they are rendered, which it begins; then it notifies.
        """
        found = self._older.get(position)
        if found is None and position not in self._rendering_older:
            self._rendering_older.add(position)
            gevent.spawn(self._render_older, position)
        return found

    def _render_older(self, position: int) -> None:
        try:
            finished = self.finished
            older = self._going_on.pop(position, None) or finished.older(position)
            lines, end = older.cut(EVENT_BYTES, Slices()), older.position
            if finished is self.finished:
                _put(self._going_on, end, older)
                _put(self._older, position, (_event(lines, b"null", end, end), end))
        except Exception as error:  # noqa: BLE001 - as above
            self._fail(error)
        self._rendering_older.discard(position)
        self.notify()


def _wait_for(topic: MessageTopic) -> None:
    waiter: Waiter[bool] = Waiter()
    topic.changed.listen(waiter.switch, IDLE_SECONDS)
    waiter.get()


def _put(places: OrderedDict[int, Any], position: int, value: Any) -> None:
    places[position] = value
    if len(places) > OLDER_PLACES:
        places.popitem(last=False)


def _event(
    blocks: list[bytes],
    opened: bytes,
    place: int,
    covered: int,
    retrying: Retrying = _ACCEPTED,
) -> bytes:
    retry = b""
    if retrying.times:
        answered = b"true" if retrying.answered else b"false"
        retry = b',"retry":{"count":%d,"answered":%s}' % (retrying.times, answered)
    # The id comes last, as in `sse.frame`.
    return b'event: blocks\ndata: {"blocks":[%s],"open":%s,"position":%d%s}\nid: %d\n\n' % (
        b",".join(blocks),
        opened,
        covered,
        retry,
        place,
    )


class RenderCache:
    """What is rendered in this process."""

    def __init__(self) -> None:
        self._sources: WeakKeyDictionary[MessageTopic, BlockSource] = WeakKeyDictionary()
        self._ended: OrderedDict[tuple[uuid.UUID, str | None], BlockPages] = OrderedDict()
        self._rests: OrderedDict[uuid.UUID, Rest | None] = OrderedDict()

    def of(
        self, topic: MessageTopic, continues: Callable[[], Rest | None] = lambda: None
    ) -> BlockSource:
        """The blocks of a followed message. `continues`: looks up the end of what it continues."""
        if topic not in self._sources:
            rest = continues()
            self._sources.setdefault(topic, BlockSource(self, topic, rest))
        return self._sources[topic]

    def forget(self, topic: MessageTopic) -> None:
        """Begin anew with this one."""
        self._sources.pop(topic, None)

    def interval(self, cost: float) -> float:
        """Seconds until the next rendering of a message whose last one took `cost` seconds: each
        that is being shown has the same part of the share."""
        shown = time.monotonic() - SLOWEST
        count = sum(one.due > shown and not one.ended for one in self._sources.values())
        return max(1.0 / FRAMES, min(SLOWEST, SHARE * cost * max(1, count)))

    def known(self, message: Message) -> "BlockPages | None":
        """Those of a message that has ended, if they are kept here; its body is not needed."""
        return self._ended.get((message.id, message.sha256)) if message.ended_at else None

    def known_rest(self, message_id: uuid.UUID) -> tuple[Rest | None] | None:
        """The end of an ended message, if it is kept here."""
        return (self._rests[message_id],) if message_id in self._rests else None

    def rest(self, message: Message, continues: Rest | None) -> Rest | None:
        """The end of an ended message, from which another one goes on; None without text there."""
        rest = self.pages(message, continues).rest()
        if message.id not in self._rests:
            gevent.spawn_later(ENDED_SECONDS, self._rests.pop, message.id, None)
        self._rests[message.id] = rest
        if len(self._rests) > RESTS:
            self._rests.popitem(last=False)
        return rest

    def pages(self, message: Message, continues: Rest | None = None) -> "BlockPages":
        """The finished blocks of a message as it is, rendered as far as they are asked for.

        `continues`: the end of the message that it continues.
        Those of ended ones are kept for a while; those of one that is followed here are there.
        """
        same = (message.id, message.claim)  # another claim's text is another body
        topic = next((one for one in self._sources if (one.id, one.claim) == same), None)
        if topic is not None:
            source = self._sources[topic]
            if source.is_behind() and not source.pause():
                source.refresh()
            if message.ended_at is None or source.ended:
                return BlockPages(source.finished, iter(()))
        finished = FinishedBlocks(message.body, continues)
        if message.ended_at is None:
            return BlockPages(finished, finished.made.feed(message.body))
        key = (message.id, message.sha256)
        found = self._ended.get(key)
        if found is None:
            steps = chain(finished.made.feed(message.body), finished.made.end())
            found = self._ended[key] = BlockPages(finished, steps)
            gevent.spawn_later(ENDED_SECONDS, self._ended.pop, key, None)
        self._ended.move_to_end(key)
        while len(self._ended) > 1 and self._size() > ENDED_BYTES:
            self._ended.popitem(last=False)
        return found

    def _size(self) -> int:
        return sum(one.finished.size for one in self._ended.values())
