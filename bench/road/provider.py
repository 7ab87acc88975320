"""A cheap provider: OpenAI's chat-completions stream from one process, one epoll loop.

    python -m bench.road.provider PORT        GET /end ends every answer

The last user message says in JSON what is wanted (`Wanted`). Everything but a block's counter
and moment is made beforehand; whatever is due at a wake-up goes out in one write. A block that was
due while the target did not read has the moment at which it was due: being slow does not help.
"""

import heapq
import json
import select
import socket
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any, Final

from bench.road.wire import BLOCK, SECOND, block, receive

HEAD: Final = (
    b'data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1700000000,'
    b'"model":"bench","system_fingerprint":null,"choices":[{"index":0,"delta":{"content":"'
)
TAIL: Final = b'"},"logprobs":null,"finish_reason":null}]}\n\n'
FINISH: Final = (
    b'data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1700000000,'
    b'"model":"bench","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    b"data: [DONE]\n\n"
)
OPENING: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)
#: Events of one write of a stream without a rate, and writes until others have their turn.
BATCH: Final = 64
TURNS: Final = 8
#: Spreads the beats of streams that began in step.
GOLDEN: Final = 0.618034
FOR_EVER: Final = 1 << 62


@dataclass
class Wanted:
    """What a prompt asks for. Moments are monotonic nanoseconds."""

    tag: int
    #: (until when, events a second), one after the other; a rate of 0 is as fast as it goes
    stairs: list[tuple[int, float]]
    #: blocks after which the answer ends, if before its last stair does
    count: int = FOR_EVER
    #: blocks of an event
    width: int = 1
    #: events that come at once
    burst: int = 0
    #: seconds until the first event
    delay: float = 0.0

    @classmethod
    def of(cls, request: Any) -> "Wanted":
        """What the last message of a request asks for."""
        return cls(**json.loads(request["messages"][-1]["content"]))


def prompt(**wanted: Any) -> str:
    """A question that asks for it."""
    return json.dumps(asdict(Wanted(**wanted)))


class Answer:
    """One answer being sent."""

    def __init__(self, wanted: Wanted, now: int) -> None:
        self.wanted = wanted
        self._size = b"%x\r\n" % (len(HEAD) + BLOCK * wanted.width + len(TAIL)) + HEAD
        self._number = 0
        self._burst = wanted.burst
        self._stair = 0
        self._end = wanted.stairs[-1][0]
        self.ended = False
        self.due = now + int(wanted.delay * SECOND)
        beat = self._beat()
        if beat and not self._burst:
            self.due += int(beat * (wanted.tag * GOLDEN % 1))

    def _beat(self) -> int:
        """Nanoseconds to the next event; 0 when there is no rate."""
        stairs = self.wanted.stairs
        while self._stair < len(stairs) - 1 and self.due >= stairs[self._stair][0]:
            self._stair += 1
        rate = stairs[self._stair][1]
        return int(SECOND / rate) if rate else 0

    def end(self, now: int) -> None:
        """The next event is the last one."""
        self.due = self._end = now

    def events(self, now: int, *, late: bool) -> bytes:
        """What is due now, as bytes of a chunked body. `late`: it was not read for a while."""
        made: list[bytes] = []
        while self.due <= now and not self.ended:
            beat = 0 if self._burst else self._beat()
            stamp = self.due if late and beat else now
            last = max(now, self.due + beat) >= self._end
            made.append(self._event(stamp, last))
            if self._burst:
                self._burst -= 1
            elif beat:
                self.due += beat
            else:  # the first one goes alone, so that its way can be measured
                self.due = now
                if self._number == self.wanted.width or len(made) >= BATCH:
                    break
        if self.ended:
            made.append(b"%x\r\n%b\r\n0\r\n\r\n" % (len(FINISH), FINISH))
        return b"".join(made)

    def _event(self, stamp: int, last: bool) -> bytes:
        wanted, number = self.wanted, self._number
        self._number = number + wanted.width
        self.ended = last or self._number >= wanted.count
        if wanted.width == 1:
            text = block(number, stamp, wanted.tag, last=self.ended)
        else:
            final = self._number - 1 if self.ended else -1
            text = b"".join(
                block(one, stamp, wanted.tag, last=one == final)
                for one in range(number, self._number)
            )
        return b"%b%b%b\r\n" % (self._size, text, TAIL)


class Connection:
    """A kept connection: one request after the other."""

    __slots__ = ("answer", "blocked", "pending", "read", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.read = b""
        self.pending = b""
        self.blocked = False
        self.answer: Answer | None = None


class Provider:
    """The loop."""

    def __init__(self, port: int) -> None:
        self._listener = socket.create_server(("127.0.0.1", port), backlog=4096)
        self._listener.setblocking(False)
        self._poll = select.epoll()
        self._poll.register(self._listener.fileno(), select.EPOLLIN)
        self._connections: dict[int, Connection] = {}
        self._heap: list[tuple[int, int, Connection, Answer]] = []
        self._turn = 0

    def run(self) -> None:
        """For ever."""
        while True:
            now = time.monotonic_ns()
            while self._heap and self._heap[0][0] <= now:
                _, _, connection, answer = heapq.heappop(self._heap)
                if connection.answer is answer:
                    self._send(connection, now)
            wait = (self._heap[0][0] - time.monotonic_ns()) / SECOND if self._heap else None
            for number, what in self._poll.poll(None if wait is None else max(wait, 0.0)):
                if number == self._listener.fileno():
                    self._accept()
                    continue
                connection = self._connections[number]
                if what & select.EPOLLOUT:
                    self._send(connection, time.monotonic_ns())
                if what & ~select.EPOLLOUT and number in self._connections:
                    self._receive(connection)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except BlockingIOError:
                return
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._connections[sock.fileno()] = Connection(sock)
            self._poll.register(sock.fileno(), select.EPOLLIN)

    def _receive(self, connection: Connection) -> None:
        data = receive(connection.sock, 1 << 16)
        if data is None:
            return
        if not data:
            self._close(connection)
            return
        connection.read += data
        head, found, rest = connection.read.partition(b"\r\n\r\n")
        if not found:
            return
        if head.startswith(b"GET"):
            connection.read = rest
            if head.startswith(b"GET /end "):
                self._end_all()
            connection.pending = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
            self._flush(connection)
            return
        size = int(head.lower().partition(b"content-length:")[2].partition(b"\r")[0])
        if len(rest) < size:
            return
        connection.read = rest[size:]
        now = time.monotonic_ns()
        connection.answer = Answer(Wanted.of(json.loads(rest[:size])), now)
        connection.pending = OPENING
        self._flush(connection)
        self._later(connection, connection.answer)

    def _end_all(self) -> None:
        """The measurement is over: every answer ends with its next piece."""
        now = time.monotonic_ns()
        for connection in list(self._connections.values()):
            if connection.answer is not None:
                connection.answer.end(now)
                self._send(connection, now)

    def _later(self, connection: Connection, answer: Answer) -> None:
        self._turn += 1
        heapq.heappush(self._heap, (answer.due, self._turn, connection, answer))

    def _send(self, connection: Connection, now: int) -> None:
        """What is due, unless the target still has to read what was sent before."""
        late = connection.blocked
        if not self._flush(connection):
            return
        answer = connection.answer
        for _ in range(TURNS):
            if answer is None or answer.due > now:
                break
            connection.pending = answer.events(now, late=late)
            if answer.ended:
                connection.answer = answer = None
            if not self._flush(connection):
                return
            now = time.monotonic_ns()
        if answer is not None:
            self._later(connection, answer)

    def _flush(self, connection: Connection) -> bool:
        """Whether everything is sent."""
        if connection.pending:
            try:
                sent = connection.sock.send(connection.pending)
            except BlockingIOError:
                sent = 0
            except OSError:
                self._close(connection)
                return False
            connection.pending = connection.pending[sent:]
        blocked = bool(connection.pending)
        if blocked != connection.blocked:
            connection.blocked = blocked
            wanted = select.EPOLLIN | (select.EPOLLOUT if blocked else 0)
            self._poll.modify(connection.sock.fileno(), wanted)
        return not blocked

    def _close(self, connection: Connection) -> None:
        number = connection.sock.fileno()
        if self._connections.pop(number, None) is not None:
            self._poll.unregister(number)
        connection.answer = None
        connection.sock.close()


if __name__ == "__main__":
    Provider(int(sys.argv[1])).run()
