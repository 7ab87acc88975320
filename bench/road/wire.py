"""What provider and load client agree on: an answer is a row of blocks of 32 characters.

    c 00000042 t 00000012345678901 00007      the last one of an answer begins with z
      counter    when it was made    answer

The moment is `time.monotonic_ns()`, which all processes of a machine share. There is nothing in a
block that JSON would escape, so a reader may search for its text without parsing.
"""

import socket
from array import array
from typing import Final

#: Characters of a block, and the columns of its parts.
BLOCK: Final = 32
STAMP: Final = slice(10, 27)
SECOND: Final = 1_000_000_000


def receive(sock: socket.socket, most: int) -> bytes | None:
    """What a socket that does not wait has got; nothing at its end, None if there is none yet."""
    try:
        return sock.recv(most)
    except BlockingIOError:
        return None
    except OSError:
        return b""


def block(number: int, now: int, tag: int, *, last: bool = False) -> bytes:
    """One block."""
    return b"%c%08dt%017d%05d" % (b"z" if last else b"c", number, now, tag)


class Checker:
    """Text of an answer as a reader gets it, cut anywhere; checks whether it is exact.

    Every block's moment of making goes to `stamps`, how long it was under way to `delays` (both
    in nanoseconds).
    """

    __slots__ = ("_rest", "_tag", "blocks", "delays", "ended", "first", "stamps", "wrong")

    def __init__(self, tag: int, stamps: "array[int]", delays: "array[int]") -> None:
        self._tag = b"%05d" % tag
        self._rest = b""
        self.stamps = stamps
        self.delays = delays
        self.blocks = 0
        self.ended = False
        self.wrong = False
        #: how long the first block was under way
        self.first: int | None = None

    @property
    def exact(self) -> bool:
        """Whether all blocks came, in order, and nothing else."""
        return self.ended and not self.wrong and not self._rest

    def take(self, text: bytes, now: int) -> None:
        """What comes next."""
        if self._rest:
            text = self._rest + text
        whole = len(text) - len(text) % BLOCK
        number, tag, stamps, delays = self.blocks, self._tag, self.stamps, self.delays
        for at in range(0, whole, BLOCK):
            head = b"c%08dt" % number
            if text[at : at + 10] != head or text[at + 27 : at + BLOCK] != tag or self.ended:
                self._unexpected(text[at : at + BLOCK], number)
            stamp = int(text[at + 10 : at + 27])
            stamps.append(stamp)
            delays.append(now - stamp)
            number += 1
        if self.first is None and number:
            self.first = now - int(text[STAMP])
        self.blocks = number
        self._rest = text[whole:]

    def _unexpected(self, found: bytes, number: int) -> None:
        """The last block, or one that should not be there."""
        if self.ended or found[:10] != b"z%08dt" % number or found[27:] != self._tag:
            self.wrong = True
        self.ended = True
