"""Bodies as HTML, once for all their readers here.

A followed message is rendered while somebody reads it so, an ended one when somebody looks at it.
It is done by whoever waits for it, in slices (see `yielding`), never more often than a screen can
show, and less often where that would cost more than its part of a share of this process' time:
then each frame brings more.

HTML may be much longer than its text (each bracket of code is a tag), so only the newest blocks of
a long body are kept, encoded, in memory that is bounded by the length of the text. What is older
is rendered again for each reader that asks for it, from the last `Mark` before it. That is exact,
because blocks depend on the text alone.
"""

import json
import sys
import time
import uuid
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterator
from itertools import chain
from typing import Any, Final
from weakref import WeakKeyDictionary

import gevent
from gevent.lock import BoundedSemaphore

from shared.body import Body
from shared.store.messages import Message
from web.following.streaming import Reader
from web.following.topic import FRAME_CACHE, MessageTopic
from web.page.blocks import Block, Blocks
from web.page.yielding import Slices

#: Frames a second that a screen can show.
FRAMES: Final = 30.0
#: Of this process' time, the share that rendering may take: one part in so many.
SHARE: Final = 3.0
#: Seconds between two frames at most, whatever they cost.
SLOWEST: Final = 1.0
#: Code points that are rendered before what is finished is shown.
BURST_CHARS: Final = 1 << 15
#: Bytes of blocks in one event: what a connection has to carry for its reader to get on.
EVENT_BYTES: Final = 16 << 10
#: Bytes of encoded blocks that are kept of a body: so many, and so many for each code point.
KEPT_BYTES: Final = 512 << 10
KEPT_PER_CHAR: Final = 3
#: Bytes that a kept block takes besides what it holds.
BLOCK_BYTES: Final = 100
#: Bytes of blocks and bodies of ended messages that are kept, and for how many seconds.
ENDED_BYTES: Final = 16 << 20
ENDED_SECONDS: Final = 600.0


class Finished:
    """The finished blocks of a body, encoded, in order; of a long one, only the newest are kept."""

    def __init__(self, body: Body) -> None:
        self.body = body
        self.made = Blocks()
        #: where the first kept block begins, and the position behind the last one
        self.start = 0
        self.settled = 0
        #: of each kept block its end and its JSON
        self._ends: list[int] = []
        self._lines: list[bytes] = []
        self._bytes = 0

    @property
    def size(self) -> int:
        """Bytes that it takes, more or less."""
        return self._bytes + self.body.length + BLOCK_BYTES * len(self.made.marks)

    def collect(self) -> None:
        """Keep what was finished."""
        for block in self.made.take():
            line = encode(block, whole=True)
            self._lines.append(line)
            self._ends.append(block.end)
            self._bytes += len(line) + BLOCK_BYTES
            self.settled = block.end
        if self._bytes > KEPT_BYTES + KEPT_PER_CHAR * self.made.length:
            self._forget()

    def _forget(self) -> None:
        """Drop a quarter, so that this is seldom done; the last block stays."""
        most = (KEPT_BYTES + KEPT_PER_CHAR * self.made.length) * 3 // 4
        gone = 0
        while self._bytes > most and gone < len(self._lines) - 1:
            self._bytes -= len(self._lines[gone]) + BLOCK_BYTES
            gone += 1
        if gone:
            self.start = self._ends[gone - 1]
            del self._ends[:gone], self._lines[:gone]

    def cut(self, position: int, most: int, until: int = sys.maxsize) -> tuple[list[bytes], int]:
        """Kept blocks between two positions until they have `most` bytes; the position behind
        them."""
        first = last = bisect_right(self._ends, position)
        size = 0
        while last < len(self._lines) and size < most and self._ends[last] <= until:
            size += len(self._lines[last])
            last += 1
        return self._lines[first:last], self._ends[last - 1] if last > first else position

    def again(self, position: int) -> "Again":
        """The blocks behind `position` that are not kept any more."""
        marks = self.made.marks
        mark = marks[bisect_right(marks, position, key=lambda one: one.settled) - 1]
        return Again(self, Blocks(mark), position)


class Again:
    """Blocks that are rendered once more, for one reader who is far behind."""

    def __init__(self, finished: Finished, made: Blocks, position: int) -> None:
        self.finished = finished
        self.position = position
        self._made = made
        self._steps = made.feed(finished.body)
        self._waiting: list[Block] = []

    def cut(self, most: int, slices: Slices) -> list[bytes]:
        """The next ones until they have `most` bytes, or the first one that is kept is next."""
        lines: list[bytes] = []
        size = 0
        while size < most and self.position < self.finished.start:
            while not self._waiting:
                next(self._steps)  # the blocks before a kept one end before the body does
                self._waiting = [one for one in self._made.take() if one.end > self.position]
                slices.pause()
            block = self._waiting.pop(0)
            lines.append(encode(block, whole=True))
            size += len(lines[-1])
            self.position = block.end
        return lines


class Rendering:
    """A followed message as blocks, and the frames that carry them."""

    def __init__(self, all_of_them: "RenderCache", body: Body) -> None:
        self._all = all_of_them
        self.finished = Finished(body)
        self._open: bytes = b"null"
        self._frames: dict[int, tuple[bytes, int, bool]] = {}
        self._busy = BoundedSemaphore()
        self.due = 0.0
        #: the position behind the last finished block, and how far it is rendered, the open block
        #: included; both as they are shown
        self.settled = 0
        self.length = 0
        #: an ended body is rendered to its end
        self.ended = False
        #: counts what was seen anew
        self.version = 0

    def pause(self, topic: MessageTopic) -> float:
        """Seconds until it may be rendered again; none before its end is shown."""
        return 0.0 if topic.end is not None else max(0.0, self.due - time.monotonic())

    def behind(self, topic: MessageTopic) -> bool:
        """Whether there is something to be rendered."""
        if topic.end is not None:
            return not self.ended
        return self.length < topic.body.length

    def refresh(self, topic: MessageTopic) -> None:
        """Render what is new, AT_ONCE code points of it at most. Other greenlets run meanwhile."""
        with self._busy:
            if not self.behind(topic) or self.pause(topic):
                return
            body, ended = topic.body, topic.end is not None
            if self.finished.made.length > body.length:  # it ended shorter than it had been shown
                self.finished = Finished(body)
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
            self._frames.clear()
            self.settled, self.length, self.ended = finished.settled, made.length, made.ended
            self.version += 1
            self.due = time.monotonic() + self._all.interval(slices.end())

    def frame(self, position: int) -> tuple[bytes, int, bool]:
        """The kept blocks behind `position`, as many as one event has, and the position behind
        them; whether those are all, and the open one is with them.

        Nothing while the position is ahead: another process had more of it.
        """
        if position > self.settled:
            return b"", position, True
        if position not in self._frames:
            if len(self._frames) >= FRAME_CACHE:
                self._frames.clear()
            lines, end = self.finished.cut(position, EVENT_BYTES, self.settled)
            whole = end >= self.settled
            frame = _event(lines, self._open, end, self.length) if whole else _part(lines, end)
            self._frames[position] = frame, end, whole
        return self._frames[position]


def _part(blocks: list[bytes], place: int) -> bytes:
    return _event(blocks, b"null", place, place)


def _event(blocks: list[bytes], opened: bytes, place: int, covered: int) -> bytes:
    # The id comes last, as in `sse.frame`.
    return b'event: blocks\ndata: {"blocks":[%s],"open":%s,"position":%d}\nid: %d\n\n' % (
        b",".join(blocks),
        opened,
        covered,
        place,
    )


def shape(block: Block) -> dict[str, Any]:
    """A finished block as clients get it."""
    return {
        "n": block.number,
        "part": block.part,
        "kind": block.kind,
        "meta": dict(block.meta) if block.meta else None,
        "start": block.start,
        "end": block.end,
        "joins": block.joins,
        "html": block.html,
        "text": block.text,
    }


def encode(block: Block, *, whole: bool) -> bytes:
    """One line of JSON in UTF-8; the open one without its text, which comes when it is finished."""
    found = shape(block)
    if not whole:
        del found["text"]
    return _JSON.encode(found).encode()


_JSON: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))


class RenderCache:
    """All renderings of this process."""

    def __init__(self) -> None:
        self._topics: WeakKeyDictionary[MessageTopic, Rendering] = WeakKeyDictionary()
        self._ended: OrderedDict[tuple[uuid.UUID, str | None], Pages] = OrderedDict()

    def of(self, topic: MessageTopic) -> Rendering:
        """That of a followed message."""
        found = self._topics.get(topic)
        if found is None:
            found = self._topics[topic] = Rendering(self, topic.body)
        return found

    def interval(self, cost: float) -> float:
        """Seconds until the next look at a message whose last one took `cost` seconds: each that is
        being shown has the same part of the share."""
        shown = time.monotonic() - SLOWEST
        count = sum(one.due > shown and not one.ended for one in self._topics.values())
        return max(1.0 / FRAMES, min(SLOWEST, SHARE * cost * max(1, count)))

    def known(self, message: Message) -> "Pages | None":
        """Those of a message that has ended, if they are kept here; its body is not needed."""
        return self._ended.get((message.id, message.sha256)) if message.ended_at else None

    def pages(self, message: Message) -> "Pages":
        """The finished blocks of a message as it is, rendered as somebody comes to them.

        Those of ended ones are kept for a while; those of one that is followed here are there.
        """
        same = (message.id, message.claim)  # another claim's text is another body
        topic = next((one for one in self._topics if (one.id, one.claim) == same), None)
        if topic is not None:
            rendering = self._topics[topic]
            if rendering.behind(topic) and not rendering.pause(topic):
                rendering.refresh(topic)
            if message.ended_at is None or rendering.ended:
                return Pages(rendering.finished, iter(()))
        finished = Finished(message.body)
        if message.ended_at is None:
            return Pages(finished, finished.made.feed(message.body))
        key = (message.id, message.sha256)
        found = self._ended.get(key)
        if found is None:
            steps = chain(finished.made.feed(message.body), finished.made.end())
            found = self._ended[key] = Pages(finished, steps)
            gevent.spawn_later(ENDED_SECONDS, self._ended.pop, key, None)
        self._ended.move_to_end(key)
        while len(self._ended) > 1 and self._size() > ENDED_BYTES:
            self._ended.popitem(last=False)
        return found

    def _size(self) -> int:
        return sum(one.finished.size for one in self._ended.values())


class Pages:
    """The blocks of a body as it is: whoever is first at one renders it, for all of them."""

    def __init__(self, finished: Finished, steps: Iterator[None]) -> None:
        self.finished = finished
        self._steps = steps

    def page(self, position: int, most: int) -> tuple[list[bytes], int | None]:
        """Encoded blocks behind a position until they have `most` bytes, and the position to ask
        for more from, if there is more."""
        slices, lines, size = Slices(), list[bytes](), 0
        finished = self.finished
        while True:
            old = position < finished.start
            if size >= most and (old or finished.cut(position, 1)[0]):
                return lines, position
            if old:
                again = finished.again(position)
                more = again.cut(most - size, slices)
                position = again.position
            else:
                more, position = finished.cut(position, most - size)
                if not more and not self._step():
                    return lines, None
            lines += more
            size += sum(map(len, more))
            slices.pause()

    def _step(self) -> bool:
        if next(self._steps, self) is self:
            return False
        self.finished.collect()
        return True


class BlockReader(Reader):
    """A reader of blocks: a position, and which look at the open block it has seen."""

    __slots__ = ("_again", "_rendering", "_seen")

    nonblocking = False

    def __init__(self, render_cache: RenderCache, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._rendering = render_cache.of(self.topic)
        self._seen = 0
        self._again: Again | None = None

    def advance(self) -> bytes:
        """What is new, as much as one event has, and the position behind it."""
        rendering = self._rendering
        if rendering.behind(self.topic) and not rendering.pause(self.topic):
            rendering.refresh(self.topic)
        if self._seen == rendering.version:
            return b""
        if self.position < rendering.finished.start:
            return self._old(rendering.finished)
        self._again = None
        version = rendering.version
        frame, self.position, whole = rendering.frame(self.position)
        if whole:
            self._seen = version
        return frame

    def _old(self, finished: Finished) -> bytes:
        again = self._again
        if again is None or again.finished is not finished or again.position != self.position:
            again = self._again = finished.again(self.position)
        lines = again.cut(EVENT_BYTES, Slices())
        self.position = again.position
        return _part(lines, self.position) if lines else b""

    @property
    def lag(self) -> int:
        """Code points that are there and were not shown to it."""
        shown = self._rendering.length if self._seen == self._rendering.version else self.position
        return max(0, self.topic.body.length - shown)

    @property
    def at_end(self) -> bool:
        """Whether there is an end and every block before it was sent."""
        done = self._rendering.ended and self._seen == self._rendering.version
        return done and self.topic.end is not None

    def pause(self) -> float | None:
        """Seconds until there is something to be shown, and it may be."""
        rendering = self._rendering
        if self._seen != rendering.version or self.topic.gone:
            return 0.0
        return rendering.pause(self.topic) if rendering.behind(self.topic) else None
