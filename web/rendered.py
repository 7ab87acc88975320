"""Bodies as HTML, once for all their readers here.

A followed message is rendered while somebody reads it so, an ended one when somebody looks at it.
It is done by whoever waits for it, never more often than a screen can show, and less often where
that would cost more than its part of a share of this process' time: then each frame brings more.
"""

import json
import time
import uuid
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any, Final
from weakref import WeakKeyDictionary

import gevent
from gevent.lock import BoundedSemaphore

from shared.body import Body
from shared.messages import Message
from web.blocks import Block, Blocks
from web.followed import PLACES, Followed
from web.streaming import Reader

#: Frames a second that a screen can show.
FRAMES: Final = 30.0
#: Of this process' time, the share that rendering may take: one part in so many.
SHARE: Final = 3.0
#: Seconds between two frames at most, whatever they cost.
SLOWEST: Final = 1.0
#: Seconds that rendering may keep the process to itself.
SLICE: Final = 0.005
#: Bytes of blocks in one event.
EVENT_BYTES: Final = 64 << 10
#: Code points of text and HTML of ended messages that are kept, and for how many seconds.
KEPT: Final = 8 << 20
KEPT_SECONDS: Final = 600.0


class Rendering:
    """A followed message as blocks, and the frames that carry them."""

    def __init__(self, all_of_them: "Renderings") -> None:
        self._all = all_of_them
        self._blocks = Blocks()
        self._ends: list[int] = []
        self._encoded: list[bytes] = []
        self._open: bytes = b"null"
        self._frames: dict[int, bytes] = {}
        self._busy = BoundedSemaphore()
        self.due = 0.0
        #: the position behind the last finished block, and how far it is rendered, the open block
        #: included; both as they are encoded: `_blocks` is ahead while others run
        self.settled = 0
        self.length = 0
        #: counts what was seen anew
        self.version = 0

    @property
    def ended(self) -> bool:
        """Whether all of an ended body is here."""
        return self._blocks.ended

    def finished(self) -> list[Block]:
        """The finished blocks."""
        return list(self._blocks.finished)

    def pause(self, followed: Followed) -> float:
        """Seconds until it may be rendered again; none before its end is shown."""
        return 0.0 if followed.end is not None else max(0.0, self.due - time.monotonic())

    def behind(self, followed: Followed) -> bool:
        """Whether there is something to be rendered."""
        if followed.end is not None:
            return not self.ended
        return self.length < followed.body.length

    def refresh(self, followed: Followed) -> None:
        """Render what is new. Other greenlets run meanwhile if it is much."""
        with self._busy:
            if not self.behind(followed):
                return
            body, end = followed.body, followed.end
            if self._blocks.length > body.length:  # it ended shorter than it had been shown
                self._blocks, self._ends, self._encoded = Blocks(), [], []
            cost = _politely(chain(self._blocks.feed(body), self._blocks.end() if end else ()))
            begun = time.process_time()
            self._encode()
            cost += time.process_time() - begun
            self.due = time.monotonic() + self._all.interval(cost)

    def _encode(self) -> None:
        for block in self._blocks.finished[len(self._encoded) :]:
            self._encoded.append(encode(block, whole=True))
            self._ends.append(block.end)
        opened = self._blocks.open()
        self._open = encode(opened, whole=False) if opened else b"null"
        self._frames.clear()
        self.settled, self.length = self._blocks.settled, self._blocks.length
        self.version += 1

    def frames(self, position: int) -> tuple[bytes, int]:
        """The finished blocks behind `position` and the open one; the position behind those.

        Nothing while the position is ahead: another process had more of it.
        """
        if position > self.settled:
            return b"", position
        if position not in self._frames:
            if len(self._frames) >= PLACES:
                self._frames.clear()
            self._frames[position] = b"".join(self._events(position))
        return self._frames[position], self.settled

    def _events(self, position: int) -> list[bytes]:
        first = bisect_right(self._ends, position)
        events: list[bytes] = []
        waiting: list[bytes] = []
        size = 0
        for number in range(first, len(self._encoded)):
            waiting.append(self._encoded[number])
            size += len(self._encoded[number])
            if size > EVENT_BYTES:
                place = self._ends[number]
                events.append(_event(waiting, b"null", place, place))
                waiting, size = [], 0
        settled = self.settled
        return [*events, _event(waiting, self._open, settled, self.length)]


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
    """One line of ASCII JSON; the open one without its text, which comes when it is finished."""
    found = shape(block)
    if not whole:
        del found["text"]
    return json.dumps(found, separators=(",", ":")).encode("ascii")


class Renderings:
    """All renderings of this process."""

    def __init__(self) -> None:
        self._followed: WeakKeyDictionary[Followed, Rendering] = WeakKeyDictionary()
        self._ended: OrderedDict[tuple[uuid.UUID, str | None], _Rendered] = OrderedDict()

    def of(self, followed: Followed) -> Rendering:
        """That of a followed message."""
        found = self._followed.get(followed)
        if found is None:
            found = self._followed[followed] = Rendering(self)
        return found

    def interval(self, cost: float) -> float:
        """Seconds until the next look at a message whose last one took `cost` seconds: each that is
        being shown has the same part of the share."""
        shown = time.monotonic() - SLOWEST
        count = sum(one.due > shown and not one.ended for one in self._followed.values())
        return max(1.0 / FRAMES, min(SLOWEST, SHARE * cost * max(1, count)))

    def blocks(self, message: Message) -> Iterable[Block]:
        """The finished blocks of a message as it is, rendered as somebody comes to them.

        Those of ended ones are kept for a while; those of one that is followed here are there.
        """
        same = (message.id, message.claim)  # another claim's text is another body
        followed = next((one for one in self._followed if (one.id, one.claim) == same), None)
        if followed is not None:
            rendering = self._followed[followed]
            if not rendering.pause(followed):
                rendering.refresh(followed)
            if message.ended_at is None or rendering.ended:
                return rendering.finished()
        if message.ended_at is None:
            return _Rendered(message.body, ended=False)
        key = (message.id, message.sha256)
        found = self._ended.get(key)
        if found is None:
            found = self._ended[key] = _Rendered(message.body, ended=True)
            gevent.spawn_later(KEPT_SECONDS, self._ended.pop, key, None)
        self._ended.move_to_end(key)
        while len(self._ended) > 1 and sum(one.size for one in self._ended.values()) > KEPT:
            self._ended.popitem(last=False)
        return found


class _Rendered:
    """The blocks of a body as it is: whoever is first at one renders it, for all of them."""

    def __init__(self, body: Body, *, ended: bool) -> None:
        made = Blocks()
        self._blocks = made.finished
        self._steps = chain(made.feed(body), made.end() if ended else ())
        #: code points of text and HTML
        self.size = body.length

    def __iter__(self) -> Iterator[Block]:
        number, begun = 0, time.process_time()
        while True:
            while number == len(self._blocks):
                if next(self._steps, self) is self:
                    return
                self.size += sum(len(block.html) for block in self._blocks[number:])
                if time.process_time() - begun > SLICE:
                    gevent.sleep(0)
                    begun = time.process_time()
            yield self._blocks[number]
            number += 1


def _politely(steps: Iterable[None]) -> float:
    """Go through the steps; others run now and then. The seconds that it took itself."""
    spent, begun = 0.0, time.process_time()
    for _ in steps:
        if time.process_time() - begun > SLICE:
            spent += time.process_time() - begun
            gevent.sleep(0)
            begun = time.process_time()
    return spent + time.process_time() - begun


class BlockReader(Reader):
    """A reader of blocks: a position, and which look at the open block it has seen."""

    __slots__ = ("_rendering", "_seen")

    quick = False

    def __init__(self, renderings: Renderings, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._rendering = renderings.of(self.followed)
        self._seen = 0

    def advance(self) -> bytes:
        """Everything new, and the position behind it."""
        rendering = self._rendering
        if rendering.behind(self.followed) and not rendering.pause(self.followed):
            rendering.refresh(self.followed)
        if self._seen == rendering.version:
            return b""
        self._seen = rendering.version
        frames, self.position = rendering.frames(self.position)
        return frames

    @property
    def lag(self) -> int:
        """Code points that are there and were not shown to it."""
        shown = self._rendering.length if self._seen == self._rendering.version else self.position
        return max(0, self.followed.body.length - shown)

    @property
    def at_end(self) -> bool:
        """Whether there is an end and every block before it was sent."""
        done = self._rendering.ended and self._seen == self._rendering.version
        return done and self.followed.end is not None

    def pause(self) -> float | None:
        """Seconds until there is something to be shown, and it may be."""
        rendering = self._rendering
        if rendering.behind(self.followed):
            return rendering.pause(self.followed)
        return 0.0 if self._seen != rendering.version or self.followed.gone else None
