"""The tape of an answer: at which time it had reached which position. Pure.

A tape is a list of samples, (milliseconds since the claim, position), which grow together. Stored,
each is two numbers: how much further and how much later than the sample before. A number is
written in groups of seven bits, the highest first, and every byte but the last has its highest bit
set (a variable-length quantity). So a sample of a usual answer (a save: 200 characters or a second
later) takes four bytes.

Postgres writes tapes, with the end of an answer (`store/tape_sql.py`); `encode` is the same in
Python, and a test holds the two together.
"""

from collections import Counter
from collections.abc import Iterable
from typing import Final, NamedTuple

#: Samples that a tape has at most.
SAMPLES_MAX: Final = 512
#: Milliseconds after which a character is saved, unless settings say otherwise.
SAVED_WITHIN_MS: Final = 1_000
#: The largest number that is written; a larger difference is written as this one.
NUMBER_MAX: Final = (1 << 28) - 1


class Sample(NamedTuple):
    """By when how much of an answer was saved."""

    #: milliseconds since the answer was claimed
    ms: int
    #: code points
    position: int


def encode(samples: Iterable[Sample]) -> bytes:
    """A tape of these; times and positions that go back stay where they are."""
    written, before = bytearray(), Sample(0, 0)
    for sample in samples:
        written += _number(sample.position - before.position)
        written += _number(sample.ms - before.ms)
        before = Sample(max(sample.ms, before.ms), max(sample.position, before.position))
    return bytes(written)


def _number(value: int) -> bytes:
    value = max(0, min(value, NUMBER_MAX))
    groups = [value & 127]
    while value := value >> 7:
        groups.append(value & 127 | 128)
    return bytes(reversed(groups))


def decode(tape: bytes) -> list[Sample]:
    """The samples of a tape; of one that is cut or too long those that are whole and fit."""
    samples: list[Sample] = []
    numbers: list[int] = []
    ms = position = value = 0
    for byte in tape:
        value = value << 7 | byte & 127
        if byte & 128:
            continue
        numbers.append(value)
        value = 0
        if len(numbers) == 2:
            position, ms = position + numbers[0], ms + numbers[1]
            samples.append(Sample(ms, position))
            numbers.clear()
            if len(samples) == SAMPLES_MAX:
                break
    return samples


def passed(samples: Iterable[Sample], position: int) -> int | None:
    """About when an answer grew beyond this position, to a second; None: it has not, or nobody
    knows."""
    before = Sample(0, 0)
    for sample in samples:
        if sample.position > position:
            since = max(before.ms, sample.ms - SAVED_WITHIN_MS)
            share = (position - before.position) / (sample.position - before.position)
            return since + round(share * (sample.ms - since))
        before = sample
    return None


def kept(number: int, count: int) -> bool:
    """Whether the sample `number` (from 1) of `count` stays when a tape is thinned out: evenly,
    and always the last."""
    return number % step(count) == 0 or number == count


def step(count: int) -> int:
    """Of so many samples every which one stays, so that SAMPLES_MAX stay at most."""
    return count // SAMPLES_MAX + 1


class Mark(NamedTuple):
    """Something that happened while an answer was open."""

    #: milliseconds since it was asked
    ms: int
    #: "taken", "lost" and "released" of an attempt; "joined" and "left" of a device
    kind: str
    device: str | None = None


#: Milliseconds within which a device that left and came is one that only connected again.
AGAIN_MS: Final = 8_000


def settled(marks: Iterable[Mark]) -> list[Mark]:
    """The marks in order; of a device when it came and when it left for a while.

    Each web process notes what it sees: a device that reads through two of them comes twice, and
    has left when it has left both.
    """
    streams: Counter[str] = Counter()
    found: list[Mark] = []
    for mark in sorted(marks, key=lambda mark: mark.ms):
        device = mark.device
        if device is None:
            found.append(mark)
        elif mark.kind == "joined":
            streams[device] += 1
            if streams[device] == 1 and not _undo(found, mark):
                found.append(mark)
        elif streams[device]:
            streams[device] -= 1
            if not streams[device]:
                found.append(mark)
    return found


def _undo(found: list[Mark], joined: Mark) -> bool:
    """Take back that a device left, if it is back soon."""
    for place in range(len(found) - 1, -1, -1):
        before = found[place]
        if before.device == joined.device:
            if before.kind == "left" and joined.ms - before.ms < AGAIN_MS:
                del found[place]
                return True
            break
    return False
