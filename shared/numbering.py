"""One number for each event of a body, for dialects that number their events. Pure.

Our own events are named by a position alone. Other dialects say more: that the run began, that a
part opened, that it closed. Several of those stand at one position, and each needs a number of its
own, by which a client resumes. Nothing is stored for that. With the position `o`, the number `p` of
the part (0, 1 ...) and a slot `k` < 8, the number of an event is

    n = o + 8 * p + k

and these are the slots:

    0, 1      RUN, RUNNING           the run began; of part 0 only
    2, 3      OPEN, OPEN_INNER       a part opened; `o` is its start
    4         TEXT                   text; `o` is the position after it
    5, 6, 7   CLOSE_TEXT, CLOSE_INNER, CLOSE    a part ended; `o` is its end
    the end   total length + 8 * max(parts, 1)

A dialect uses of these what it has words for.

**Guaranteed.** The numbers of a body rise strictly. They follow from the body alone, so they are
the same in every process and on every day. A body only grows, so an event never gets another
number. The numbers of part `p` fill the range from `start + 8p` to `end + 8p + 7`, and that of part
`p + 1` follows without a gap: so `n` says which part its reader stands in, what they saw of its
text, and which of the other events. Text may be cut into events differently each time: each event
of text has the number of where it ends, and whoever has seen `n` goes on after it.

A part opens with its first character. One that is open without text has no events yet: it would be
left out if the answer ended before that, and a reader would have seen an event that is not there.
Its opening closes the part before it, as any part's does.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator
from enum import IntEnum
from typing import Final, NamedTuple

from shared.body import Body, Delta, Part

#: The number of a reader who has seen nothing.
NOTHING: Final = -1
#: Numbers that a part has besides those of its text.
STEP: Final = 8


class Slot(IntEnum):
    """What an event tells."""

    #: the run began
    RUN = 0
    RUNNING = 1
    #: a part opened
    OPEN = 2
    OPEN_INNER = 3
    #: text of a part
    TEXT = 4
    #: a part is complete
    CLOSE_TEXT = 5
    CLOSE_INNER = 6
    CLOSE = 7


RUNS: Final = (Slot.RUN, Slot.RUNNING)
OPENS: Final = (Slot.OPEN, Slot.OPEN_INNER)
CLOSES: Final = (Slot.CLOSE_TEXT, Slot.CLOSE_INNER, Slot.CLOSE)


class Event(NamedTuple):
    """An event of a body, but its end."""

    number: int
    slot: Slot
    #: index in `body.parts`; 0 for RUN and RUNNING, even if there is no part yet
    part: int
    #: of TEXT: which; None for all others
    delta: Delta | None = None


#: Cuts text: the piece of a body from a position on, within one part and not empty.
Cut = Callable[[Body, int], Delta]


def rest_of_part(body: Body, position: int) -> Delta:
    """All text that the part at `position` has from there."""
    return body.piece(position, body.length)


def events(
    body: Body, after: int = NOTHING, *, ended: bool, cut: Cut = rest_of_part
) -> Iterator[Event]:
    """The events after number `after`, in order, but the end, whose number is `end_number`.

    `ended`: the body does not grow any more, so that its last part is complete. The body must not
    grow while the events are taken.
    """
    for run in RUNS:
        if after < run:
            yield Event(run, run, 0)
    parts = body.parts
    for index in range(part_at(body, after), _parts(body)):
        part = parts[index]
        base = STEP * index
        for slot in OPENS:
            if after < (number := part.start + base + slot):
                yield Event(number, slot, index)
        position = _seen(part, base, after)
        while position < part.end:
            delta = cut(body, position)
            position = delta.end
            yield Event(position + base + Slot.TEXT, Slot.TEXT, index, delta)
        if ended or index + 1 < len(parts):
            for slot in CLOSES:
                if after < (number := part.end + base + slot):
                    yield Event(number, slot, index)


def end_number(body: Body) -> int:
    """The number of the end of a body that has ended."""
    return body.length + STEP * max(_parts(body), 1)


def position_at(body: Body, number: int) -> int:
    """The text that a reader has who has seen this number, as a position.

    For one beyond all events that is the end of the body.
    """
    if not _parts(body):
        return 0
    index = part_at(body, number)
    return _seen(body.parts[index], STEP * index, number)


def part_at(body: Body, number: int) -> int:
    """The index of the part that a number belongs to; the last one's for those beyond."""
    last = _parts(body) - 1
    if last <= 0 or number >= body.parts[last].start + STEP * last:
        return max(last, 0)  # readers are nearly always near the end
    begins = range(last + 1)
    found = bisect_right(begins, number, key=lambda index: body.parts[index].start + STEP * index)
    return max(found - 1, 0)


def _parts(body: Body) -> int:
    """Parts that have text."""
    return len(body.parts) - (1 if body.parts and body.parts[-1].is_empty else 0)


def _seen(part: Part, base: int, number: int) -> int:
    """The position up to which a reader has the text of a part."""
    return min(max(number - base - Slot.TEXT, part.start), part.end)
