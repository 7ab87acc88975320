"""The load client: asks and reads over raw sockets, one epoll loop, and checks every byte.

    python -m bench.road.load        one job a line on stdin (`Job`), one outcome a line on stdout

Its jobs name moments, not durations (monotonic nanoseconds), so that what measures the processes
meanwhile knows when what happens.
"""

import heapq
import json
import re
import select
import socket
import sys
import time
from array import array
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from bench.road.wire import BLOCK, SECOND, Checker, receive
from drill.percentiles import percentile

#: How every target reports that an answer has ended.
ENDS: Final = (b"event: end\n", b"data: [DONE]\n")
LENGTH: Final = re.compile(rb'"status":"(\w+)".*?"length":(\d+)')
SIZE: Final = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
STATUS: Final = re.compile(rb"HTTP/1\.1 (\d+)")
#: What comes first where the response to a question is the stream: both messages.
ACCEPTED: Final = b"event: accepted\n"
#: Bytes that a reader who does not read may leave in its own machine.
LITTLE: Final = 65_536
#: Addresses from which connections leave in turn.
ADDRESSES: Final = 4
#: Windows that miss one after the other and end a job: one may be the machine's fault.
MISSES: Final = 2
#: Seconds until a reader that was cut comes back.
RETURN: Final = 0.2


@dataclass
class Road:
    """How a target is asked and followed."""

    ask: tuple[str, int]
    follow: tuple[str, int]
    #: "/path/{id}?after={after}"; None where the answer comes with the request
    path: str | None
    #: names the answer in the response to a question
    header: str = "outlive-message-id"
    #: what a piece of text follows
    mark: str = '"text":"'
    #: whether a question is answered with the stream, if its client reads
    one_request: bool = False


@dataclass
class Ask:
    """A question: asked at `at`; `follow` says whether the client that asks also reads."""

    at: int
    tag: int
    path: str
    body: str
    group: str = "all"
    follow: bool = True


@dataclass
class Read:
    """Readers of a question's answer, besides the client that asked."""

    at: int
    ask: int
    group: str = "readers"
    number: int = 1
    #: nanoseconds between one and the next
    apart: int = 0
    #: compare when all has ended; with this number of blocks a reader is `done`
    blocks: int = 0
    #: reads nothing between these moments
    stalls: tuple[int, int] | None = None


@dataclass
class Job:
    """What to do; everything has ended at `until`."""

    road: Road
    asks: list[Ask]
    until: int
    reads: list[Read] = field(default_factory=list)
    #: spans that are reported separately
    windows: list[tuple[int, int]] = field(default_factory=list)
    #: the job ends when a window's 99th percentile is above `limit` milliseconds or its rate below
    #: its floor
    limit: float = 0.0
    floors: list[float] = field(default_factory=list)

    @classmethod
    def parse(cls, line: str) -> "Job":
        """From its line."""
        fields = json.loads(line)
        fields["road"] = Road(**fields["road"])
        fields["asks"] = [Ask(**one) for one in fields["asks"]]
        fields["reads"] = [Read(**one) for one in fields["reads"]]
        return cls(**fields)

    def line(self) -> str:
        """As its line."""
        return json.dumps(asdict(self))


class Times:
    """What a group saw: nanoseconds."""

    def __init__(self) -> None:
        self.stamps = array("q")
        self.delays = array("q")
        #: from the question (the request, for other readers) to the first text
        self.waits = array("q")
        self.firsts = array("q")
        #: when readers were done
        self.done = array("q")

    def window(self, begin: int, end: int, start: int = 0) -> dict[str, float]:
        """Percentiles of what was made, and the rate of what came, within.

        Only what stands from `start` on counts.
        """
        came, delays = 0, []
        for stamp, delay in zip(self.stamps[start:], self.delays[start:], strict=True):
            came += begin <= stamp + delay < end
            if begin <= stamp < end:
                delays.append(delay)
        delays.sort()
        return {
            "made": len(delays),
            "came": came,
            "rate": came * SECOND / (end - begin),
            **{f"p{share}": percentile(delays, share / 100) / 1e6 for share in (50, 95, 99)},
            "max": (delays[-1] if delays else 0) / 1e6,
        }


class Follower:
    """One connection and what comes over it."""

    __slots__ = (
        "_chunk",
        "_head",
        "_line",
        "_parts",
        "ask",
        "at",
        "checker",
        "deferred",
        "ended",
        "group",
        "id",
        "length",
        "phase",
        "read",
        "reported",
        "shown",
        "skip",
        "sock",
        "texts",
    )

    def __init__(self, ask: int, group: str, checker: Checker, read: Read | None) -> None:
        self.ask = ask
        self.group = group
        self.checker = checker
        self.read = read
        self.deferred = bool(read and read.blocks)
        self.sock: socket.socket | None = None
        self.id = ""
        self.at = 0
        self.ended = False
        self.texts: list[bytes] = []
        self.length = 0
        self.shown = False
        #: bytes of a response that do not matter
        self.skip = 0
        self.reported: tuple[str, int] | None = None
        self.reset()

    def reset(self) -> None:
        """A new response begins."""
        self.phase = "head"
        self._head = b""
        self._chunk = -1  # bytes left of the chunk under way; -1: its size comes first
        self._line = b""
        self._parts: list[bytes] = []

    def head(self, data: bytes) -> tuple[bytes, bytes] | None:
        """Head and beginning of the body, once they are there."""
        self._head += data
        head, found, rest = self._head.partition(b"\r\n\r\n")
        return (head, rest) if found else None

    def body(self, data: bytes) -> bytes:
        """What a chunked body holds. (Both kinds of target send chunks.)"""
        found: list[bytes] = []
        at, end = 0, len(data)
        while at < end:
            if self._chunk > 0:
                piece = data[at : at + self._chunk]
                found.append(piece)
                at += len(piece)
                self._chunk -= len(piece)
                continue
            stop = data.find(b"\n", at)
            if stop < 0:
                self._line += data[at:]
                break
            line, self._line = (self._line + data[at:stop]).strip(), b""
            at = stop + 1
            if line:  # an empty one ends a chunk
                self._chunk = int(line, 16)
        return found[0] if len(found) == 1 else b"".join(found)

    def events(self, data: bytes) -> bytes:
        """All that is complete, down to a blank line; the rest waits."""
        cut = data.rfind(b"\n\n")
        if cut < 0:
            half = data[:1] == b"\n" and self._parts and self._parts[-1][-1:] == b"\n"
            if not half:
                if data:
                    self._parts.append(data)
                return b""
            cut = -1
        self._parts.append(data[: cut + 2])
        whole = b"".join(self._parts)
        rest = data[cut + 2 :]
        self._parts = [rest] if rest else []
        return whole


class Load:
    """One job being done."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._mark = job.road.mark.encode()
        self._poll = select.epoll()
        self._open: dict[int, Follower] = {}
        self._due: list[tuple[int, int, Callable[[], None]]] = []
        self._turn = 0
        self._times: dict[str, Times] = defaultdict(Times)
        self._followers: list[Follower] = []
        self._ids: dict[int, str] = {}
        self._left = 0
        self._faults: list[str] = []
        self._addresses = 0
        self._stopped = False
        self._returns = 0
        self._judged = 0
        self._missed = 0

    # --- what happens when

    def run(self) -> dict[str, Any]:
        """All of it; the outcome."""
        self._plan()
        while self._left and not self._stopped and time.monotonic_ns() <= self._job.until:
            self._step()
        for follower in list(self._open.values()):
            self._close(follower)
        return self._outcome()

    def _plan(self) -> None:
        job = self._job
        for number, ask in enumerate(job.asks):
            self._at(ask.at, lambda number=number: self._ask(number))  # type: ignore[misc]
            self._left += 1
        for read in job.reads:
            for number in range(read.number):
                at = read.at + number * read.apart
                self._at(at, lambda read=read: self._read(read))  # type: ignore[misc]
                self._left += 1
        for window, floor in zip(job.windows, job.floors, strict=False):
            at = window[1] + int(job.limit * 1e6)
            self._at(at, lambda window=window, floor=floor: self._judge(window, floor))  # type: ignore[misc]

    def _step(self) -> None:
        """Do what is due, then wait for what comes."""
        while self._due and self._due[0][0] <= time.monotonic_ns():
            heapq.heappop(self._due)[2]()
        due = min(self._due[0][0] if self._due else self._job.until, self._job.until)
        for number, what in self._poll.poll(max(0.0, (due - time.monotonic_ns()) / SECOND)):
            follower = self._open.get(number)
            if follower is None:
                continue
            if what & select.EPOLLOUT:
                self._poll.modify(number, select.EPOLLIN)
                self._request(follower)
            elif what:
                self._receive(follower)

    def _at(self, moment: int, do: Callable[[], None]) -> None:
        self._turn += 1
        heapq.heappush(self._due, (moment, self._turn, do))

    def _judge(self, window: tuple[int, int], floor: float) -> None:
        times = self._times["all"]
        seen = times.window(*window, self._judged)
        self._judged = len(times.stamps)
        missed = seen["p99"] > self._job.limit or seen["rate"] < floor
        self._missed = self._missed + 1 if missed else 0
        self._stopped = self._missed >= MISSES

    def _ask(self, number: int) -> None:
        ask = self._job.asks[number]
        times = self._times[ask.group]
        checker = Checker(ask.tag, times.stamps, times.delays)
        follower = Follower(number, ask.group, checker, None)
        self._followers.append(follower)
        self._connect(follower, self._job.road.ask)

    def _read(self, read: Read) -> None:
        if read.ask not in self._ids:  # the answer has no name yet
            self._at(time.monotonic_ns() + SECOND // 50, lambda: self._read(read))
            return
        times = self._times[read.group]
        checker = Checker(self._job.asks[read.ask].tag, times.stamps, times.delays)
        follower = Follower(read.ask, read.group, checker, read)
        follower.id = self._ids[read.ask]
        self._followers.append(follower)
        self._connect(follower, self._job.road.follow)
        if read.stalls is not None:
            self._at(read.stalls[0], lambda: self._stall(follower))

    def _stall(self, follower: Follower) -> None:
        if follower.sock is not None:
            self._poll.modify(follower.sock.fileno(), 0)
        assert follower.read is not None
        assert follower.read.stalls is not None
        self._at(follower.read.stalls[1], lambda: self._resume(follower))

    def _resume(self, follower: Follower) -> None:
        if follower.sock is not None:
            self._poll.modify(follower.sock.fileno(), select.EPOLLIN)

    # --- sockets

    def _connect(self, follower: Follower, address: tuple[str, int]) -> None:
        sock = socket.socket()
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if follower.read is not None and follower.read.stalls is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, LITTLE)
        self._addresses += 1
        with suppress(OSError, AttributeError):
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_BIND_ADDRESS_NO_PORT, 1)
        sock.bind((f"127.0.0.{1 + self._addresses % ADDRESSES}", 0))
        follower.sock = sock
        follower.at = follower.at or time.monotonic_ns()
        follower.reset()
        with suppress(BlockingIOError):
            sock.connect(tuple(address))
        self._open[sock.fileno()] = follower
        self._poll.register(sock.fileno(), select.EPOLLOUT)

    def _request(self, follower: Follower) -> None:
        """The connection stands: ask, or follow."""
        road, ask = self._job.road, self._job.asks[follower.ask]
        if follower.id:
            assert road.path is not None
            after = follower.checker.blocks * BLOCK
            path = road.path.format(id=follower.id, after=after)
            text = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"
        else:
            stream = road.one_request and ask.follow
            accept = "Accept: text/event-stream\r\n" if stream else ""
            text = (
                f"POST {ask.path} HTTP/1.1\r\nHost: localhost\r\n{accept}"
                "Content-Type: application/json\r\n"
                f"Content-Length: {len(ask.body)}\r\n\r\n{ask.body}"
            )
        assert follower.sock is not None
        try:
            follower.sock.sendall(text.encode())
        except OSError as error:
            self._fault(follower, f"request: {error.strerror}")

    def _receive(self, follower: Follower) -> None:
        assert follower.sock is not None
        data = receive(follower.sock, 1 << 18)
        if data is None:
            return
        if not data:
            self._cut(follower)
            return
        if follower.phase == "skip":
            follower.skip -= len(data)
            self._skip(follower)
        elif follower.phase == "head":
            found = follower.head(data)
            if found is None:
                return
            data = self._answered(follower, *found)
        if follower.phase == "body" and data:
            whole = follower.events(follower.body(data))
            if whole:
                self._take(follower, whole)

    def _answered(self, follower: Follower, head: bytes, rest: bytes) -> bytes:
        """A response has begun. What of its body belongs to the stream."""
        found = STATUS.match(head)
        status = int(found[1]) if found else 0
        road = self._job.road
        if status == 200:
            if follower.read is None and (name := self._name(head)):
                self._ids[follower.ask] = name
            follower.phase = "body"
            return rest
        if status != 202 or road.path is None:
            self._fault(follower, f"status {status}")
            return b""
        self._taken(follower, head, rest)
        return b""

    def _taken(self, follower: Follower, head: bytes, rest: bytes) -> None:
        """The question was taken, and its answer has a name."""
        road, name = self._job.road, self._name(head)
        size = SIZE.search(head)
        assert name, head
        follower.id = self._ids[follower.ask] = name
        if not self._job.asks[follower.ask].follow:
            self._end(follower)
        elif road.ask != road.follow:
            self._close(follower)
            self._connect(follower, road.follow)
        elif size is None:
            self._fault(follower, "a response without Content-Length")
        else:  # a browser would use the connection again, too
            follower.skip = int(size[1]) - len(rest)
            self._skip(follower)

    def _name(self, head: bytes) -> str:
        """The answer's name in the head of a response; empty if it has none."""
        named = re.search(rb"(?i)\r\n%b: *([^\r]+)" % self._job.road.header.encode(), head)
        return named[1].decode() if named else ""

    def _skip(self, follower: Follower) -> None:
        """The rest of the response to a question does not matter, but comes first."""
        follower.phase = "skip"
        if follower.skip <= 0:
            follower.reset()
            self._request(follower)

    def _take(self, follower: Follower, whole: bytes) -> None:
        now = time.monotonic_ns()
        mark = self._mark
        if not follower.shown and ACCEPTED in whole:  # it has a text, too: that of the question
            whole = whole[whole.index(b"\n\n") + 2 :]
        at = whole.find(mark)
        texts = []
        while at >= 0:
            end = whole.index(b'"', at + len(mark))
            texts.append(whole[at + len(mark) : end])
            at = whole.find(mark, end)
        if text := texts[0] if len(texts) == 1 else b"".join(texts):
            self._text(follower, text, now)
        if any(end in whole for end in ENDS):
            found = LENGTH.search(whole)
            if found is not None:
                follower.reported = found[1].decode(), int(found[2])
            self._end(follower)

    def _text(self, follower: Follower, text: bytes, now: int) -> None:
        times = self._times[follower.group]
        if not follower.shown:
            follower.shown = True
            times.waits.append(now - follower.at)
        if follower.deferred:
            assert follower.read is not None
            follower.texts.append(text)
            follower.length += len(text)
            if follower.length >= follower.read.blocks * BLOCK:
                times.done.append(now)
                follower.length = -(1 << 60)
            return
        first = follower.checker.first
        follower.checker.take(text, now)
        if first is None and follower.checker.first is not None:
            times.firsts.append(follower.checker.first)

    def _cut(self, follower: Follower) -> None:
        self._close(follower)
        if follower.ended:
            return
        if follower.id and follower.read is not None and follower.read.stalls is not None:
            self._returns += 1
            due = max(time.monotonic_ns(), follower.read.stalls[1]) + int(RETURN * SECOND)
            self._at(due, lambda: self._connect(follower, self._job.road.follow))
            return
        self._fault(follower, f"cut in its {follower.phase}")

    def _fault(self, follower: Follower, reason: str) -> None:
        self._faults.append(reason)
        self._end(follower)

    def _end(self, follower: Follower) -> None:
        if not follower.ended:
            follower.ended = True
            self._left -= 1
        self._close(follower)

    def _close(self, follower: Follower) -> None:
        if follower.sock is not None:
            self._open.pop(follower.sock.fileno(), None)
            follower.sock.close()
            follower.sock = None

    # --- what came of it

    def _outcome(self) -> dict[str, Any]:
        wrong = unfinished = exact = 0
        for follower in self._followers:
            checker = follower.checker
            now = time.monotonic_ns()
            for text in follower.texts:
                checker.take(text, now)
            ask = self._job.asks[follower.ask]
            if follower.read is None and not ask.follow and self._job.road.path:
                continue
            end = ("DONE", checker.blocks * BLOCK)
            wrong += checker.wrong or (follower.reported is not None and follower.reported != end)
            exact += checker.exact
            unfinished += not checker.ended
        return {
            "exact": exact,
            "wrong": wrong,
            "unfinished": unfinished,
            "returns": self._returns,
            "faults": sorted(set(self._faults)),
            "number_of_faults": len(self._faults),
            "groups": {name: _summary(times, self._job) for name, times in self._times.items()},
        }


def _summary(times: Times, job: Job) -> dict[str, Any]:
    stamps, delays = times.stamps, times.delays
    came = [stamp + delay for stamp, delay in zip(stamps, delays, strict=True)] or [0]
    return {
        "blocks": len(stamps),
        "span": (max(came) - min(came)) / 1e9,
        "windows": [times.window(*window) for window in job.windows],
        "waits": _spread(times.waits),
        "firsts": _spread(times.firsts),
        "readers_done": len(times.done),
        "done_at": max(times.done, default=0),
    }


def _spread(values: Sequence[int]) -> dict[str, float]:
    ordered = sorted(values)
    shares = {f"p{share}": percentile(ordered, share / 100) / 1e6 for share in (50, 95, 99)}
    return {"number": len(ordered), **shares, "max": (ordered[-1] if ordered else 0) / 1e6}


def main() -> None:
    """Run jobs until there are no more."""
    for line in sys.stdin:
        print(json.dumps(Load(Job.parse(line)).run()), flush=True)


if __name__ == "__main__":
    main()
