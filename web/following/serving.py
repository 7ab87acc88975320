"""gunicorn's worker of web, and how a stream goes on without a greenlet of its own.

gunicorn gives a connection a greenlet until its response ends, which for a stream is nearly all the
time that somebody waits. So a stream's connection is taken from it as soon as its headers are
known; the loop writes what comes, and a greenlet is made where the network makes it wait.

Slow and gone are two things, and only the kernel can tell them apart.

    slow    The machine acknowledges what it gets, or says that it has no room for more. The reader
            keeps its connection, however few bytes a second it reads; it is sent away when it has
            taken nothing at all for a long time (`STUCK`). Little waits for it in the kernel
            (`UNSENT`): what waits here instead becomes fewer, larger frames.
    gone    Something is on its way to the machine, or it was asked whether it has room, and nothing
            came back for most of a heartbeat, although the kernel sent it again and again. Such a
            connection is closed: within two heartbeats after a machine was switched off.

Linux' own limit, TCP_USER_TIMEOUT, cannot be used for it: it also counts the time in which a
machine has no room, although it answers. A receiver says that it has room again when half of its
buffer is free, so a program that reads 5 kB a second has none for 26 seconds.
"""

import socket
import struct
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any, Final, NamedTuple

import gevent
import structlog
from gevent.monkey import get_original
from gevent.socket import wait_write
from gunicorn.workers.ggevent import GeventWorker
from gunicorn.workers.workertmp import WorkerTmp

from shared import awake
from web.following.streaming import Stream

#: Heartbeats after which a reader who has taken nothing is sent away; it resumes when it can read.
#: A receiver with Linux' usual buffer that reads 1 kB a second takes nothing for 131 seconds.
WRITE_TIMEOUT: Final = 12.0
#: How often in a heartbeat it is looked at who is gone, and after how many looks without an answer
#: somebody is. Looks are counted, not seconds: time in which we did not run is no evidence.
LOOKS: Final = 5
UNANSWERED: Final = 4
#: Seconds between two looks at least.
LOOK_LEAST: Final = 0.25
#: Connections that are looked at before others run.
LOOK_SLICE: Final = 500
#: Bytes of one connection that wait in the kernel to be sent. (What is on its way comes on top.)
UNSENT: Final = 16 << 10

#: An option of Linux 6.15 (<linux/tcp.h>): milliseconds between two tries of the kernel at most.
TCP_RTO_MAX_MS: Final = 44
RTO_MAX_MS: Final = 120_000
#: How often the kernel has to have tried. (A try soon after another may go without an answer.)
TRIES: Final = 2
#: The beginning of `struct tcp_info` there. Of it we read how often the kernel has sent something
#: again, and has asked for room, without an answer, and how many packets came from the other end.
_TCP_INFO: Final = struct.Struct("=2xBB136xI")
#: The first two of these while nothing waits for an answer, as nearly always.
_NOTHING: Final = bytes(2)

#: Seconds between two looks of a master at its workers after which it stood still.
MASTER_PAUSE: Final = 3.0

#: Bytes of an HTTP chunk: some clients read nothing of one that is not whole. The largest frame and
#: what a response begins with fit into it.
CHUNK_BYTES: Final = 9 << 10

#: Bytes that a client may have sent behind its request.
UNREAD: Final = 1 << 16

_Socket: Final = get_original("socket", "socket")

log = structlog.get_logger("serving")


class Connection:
    """The rest of a response: a stream, and the socket that it is written to."""

    __slots__ = (
        "_asleep", "_chunked", "_ended", "_head", "_heard", "_sent", "_socket", "_stream",
        "_unanswered",
    )  # fmt: skip

    def __init__(
        self,
        stream: Stream,
        taken: "socket.socket",
        head: bytes,
        *,
        chunked: bool,
        ended: Callable[[int], object],
    ) -> None:
        """`head` is written before all else; `ended` learns how many bytes came behind it.

        The socket is taken from whoever has it now.
        """
        self._stream = stream
        self._head = head
        self._chunked = chunked
        self._ended = ended
        self._sent = 0
        #: nobody writes to it now
        self._asleep = True
        #: packets that had come at the last look, and looks since the other end has answered
        self._heard = 0
        self._unanswered = 0
        family, kind, protocol = taken.family, taken.type, taken.proto
        self._socket: socket.socket = _Socket(family, kind, protocol, fileno=taken.detach())
        self._socket.setblocking(False)
        self._keep_little_in_the_kernel()
        _watch.add(self)

    @property
    def heartbeat(self) -> float:
        """Seconds between signs of life."""
        return self._stream.heartbeat

    def go_on(self, notified: bool = True) -> None:
        """Write what is new. Called by the loop, so it never waits."""
        if not self._asleep:  # it was dropped meanwhile
            return
        self._asleep = False
        if self._stream.nonblocking:
            self._write(notified)
        else:
            gevent.spawn(self._write, notified)

    def _write(self, notified: bool) -> None:
        try:
            data = self._framed(self._stream.next(notified))
            if data:
                sent = self._send(data)
                if sent < len(data) and (rest := self._send_on(memoryview(data)[sent:])):
                    gevent.spawn(self._write_slowly, rest)
                    return
        except OSError:  # the client has gone
            self._close()
        except Exception as error:  # noqa: BLE001 - a bug must not be a stream that is silent for ever
            log.error("serving.stream", error=type(error).__name__)
            self._close()
        else:
            self._sleep()

    def _framed(self, data: bytes) -> bytes:
        self._sent += len(data)
        if self._chunked:
            if len(data) > CHUNK_BYTES:
                starts = range(0, len(data), CHUNK_BYTES)
                data = b"".join(_chunk(data[start : start + CHUNK_BYTES]) for start in starts)
            elif data:
                data = _chunk(data)
            if self._stream.over:
                data += b"0\r\n\r\n"
        if self._head:
            data, self._head = self._head + data, b""
        return data

    def _send(self, data: "bytes | memoryview") -> int:
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0

    def _send_on(self, data: memoryview) -> memoryview:
        """Send more for as long as the kernel takes it without a wait; returns the rest.

        It takes UNSENT bytes at a time, and on a fast link it has sent those meanwhile.
        """
        while data and (sent := self._send(data)):
            data = data[sent:]
        return data

    def _write_slowly(self, data: memoryview) -> None:
        """Write what the system did not take at once; who takes nothing for long is cut."""
        try:
            while data:
                self._wait_until_it_takes_more()
                data = data[self._send(data) :]
        except OSError:  # gone, or stuck
            self._close()
        else:
            self._sleep()

    def _wait_until_it_takes_more(self) -> None:
        stuck, begun = max(0.001, WRITE_TIMEOUT * self._stream.heartbeat), time.monotonic()
        while True:
            try:
                wait_write(self._socket.fileno(), timeout=stuck)
                return
            except TimeoutError:
                if awake.since(begun) >= stuck:  # and not this process stood still
                    raise

    def _keep_little_in_the_kernel(self) -> None:
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            self._set(socket.TCP_NOTSENT_LOWAT, UNSENT)
        if sys.platform == "linux":  # or a machine without room would be asked ever less often
            self._set(TCP_RTO_MAX_MS, max(1000, int(1000 * self._stream.heartbeat / LOOKS)))

    def _set(self, option: int, value: int) -> None:
        with suppress(OSError):  # not TCP, or a kernel that does not know it
            self._socket.setsockopt(socket.IPPROTO_TCP, option, value)

    def look(self) -> None:
        """Drop it if its machine has left several looks running without an answer."""
        try:
            if self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 4)[2:] == _NOTHING:
                self._heard = self._unanswered = 0
                return
            found = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
            sent_again, asked, heard = _TCP_INFO.unpack(found)
        except (OSError, struct.error):  # not TCP, or closed meanwhile
            return
        answered = self._heard not in (0, heard)  # since the last look at which something waited
        self._unanswered = 0 if answered else self._unanswered + 1
        self._heard = heard
        if self._unanswered >= UNANSWERED and max(sent_again, asked) >= TRIES:
            self._drop()

    def _drop(self) -> None:
        """Nobody is there: forget what was not sent, too."""
        with suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if self._asleep:
            self._asleep = False
            self._close()
        else:  # who is writing to it finds it closed
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)

    def _sleep(self) -> None:
        if self._stream.over:
            self._close()
        else:
            self._asleep = True
            self._stream.sleep(self.go_on)

    def _close(self) -> None:
        _watch.open.discard(self)
        with suppress(OSError):
            # A close on what nobody has read is a reset, and that loses what is still on its way.
            self._socket.recv(UNREAD)
        if sys.platform == "linux":  # the kernel goes on sending as it does for others
            self._set(TCP_RTO_MAX_MS, RTO_MAX_MS)
        with suppress(OSError):
            self._socket.close()
        self._stream.close()
        self._ended(self._sent)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class _Watch:
    """Looks at the open connections now and then, while there are any."""

    def __init__(self) -> None:
        self.open: set[Connection] = set()
        self._looking = False

    def add(self, one: Connection) -> None:
        self.open.add(one)
        if not self._looking and sys.platform == "linux":  # others cannot be asked
            self._looking = True
            gevent.spawn(self._look)

    def _look(self) -> None:
        while self.open:
            gevent.sleep(max(LOOK_LEAST, next(iter(self.open)).heartbeat / LOOKS))
            for number, one in enumerate(list(self.open), 1):
                one.look()
                if number % LOOK_SLICE == 0:
                    gevent.sleep(0)
        self._looking = False


_watch: Final = _Watch()


class _Begun(NamedTuple):
    """A stream that the app has opened, and what gunicorn knows of its request."""

    stream: Stream
    environ: dict[str, Any]
    response: Any


class _Logged(NamedTuple):
    """What a line of the access log wants to know of a response."""

    status: str
    sent: int
    headers: tuple[()] = ()


#: And of a request: all of it would be most of what a reader costs.
_REQUEST: Final[tuple[str, ...]] = (
    "REMOTE_ADDR", "REQUEST_METHOD", "RAW_URI", "SERVER_PROTOCOL", "PATH_INFO", "QUERY_STRING",
)  # fmt: skip


def _telling(app: Callable[..., Any]) -> Callable[..., Any]:
    """The app, which with a stream tells what else is needed to go on with it."""

    def telling(environ: dict[str, Any], start_response: Any) -> Any:
        found = app(environ, start_response)
        if isinstance(found, Stream):
            return _Begun(found, environ, start_response.__self__)
        return found

    return telling


class _Beat(WorkerTmp):  # type: ignore[misc]
    """Where a worker says that it lives. Its master reads it once a second, and ends a worker that
    was silent for too long: but not for the time in which the master itself stood still."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self._clock = awake.Clock(pause=MASTER_PAUSE)

    def last_update(self) -> float:
        """When the worker said so last, in monotonic seconds; later by as long as we slept."""
        said: float = super().last_update()
        return self._clock.tick() - self._clock.since(said)


class Worker(GeventWorker):  # type: ignore[misc]
    """gunicorn's gevent worker."""

    wsgi: Any
    tmp: Any

    def __init__(self, *words: Any) -> None:
        super().__init__(*words)
        self.tmp.close()
        self.tmp = _Beat(self.cfg)

    def load_wsgi(self) -> None:
        """Load the app."""
        super().load_wsgi()
        self.wsgi = _telling(self.wsgi)

    def is_already_handled(self, found: object) -> bool:
        """Whether this is no response that is to be written here: take over if it is a stream."""
        if not isinstance(found, _Begun):
            return bool(super().is_already_handled(found))
        stream, environ, response = found
        try:
            response.force_close()  # it is not asked for another request after a stream
            lines = [*response.default_headers(), *(f"{k}: {v}\r\n" for k, v in response.headers)]
            head = "".join([*lines, "\r\n"]).encode("latin-1")
            request = tuple(map(environ.__getitem__, _REQUEST))  # a fourth of a dict
            ended = partial(self._log, response.status, request, time.monotonic())
            taken = environ["gunicorn.socket"]
            connection = Connection(stream, taken, head, chunked=response.chunked, ended=ended)
        except BaseException:
            stream.close()
            raise
        connection.go_on()
        raise StopIteration  # as gunicorn wants it: nothing more is read from this connection

    def _log(self, status: str, request: tuple[str, ...], begun: float, sent: int) -> None:
        took = timedelta(seconds=time.monotonic() - begun)
        environ = dict(zip(_REQUEST, request, strict=True))
        self.log.access(_Logged(status, sent), (), environ, took)

    def run(self) -> None:
        """Serve until told to stop, and then until every stream has said its goodbye."""
        super().run()
        deadline = time.monotonic() + self.cfg.graceful_timeout
        while _watch.open and time.monotonic() < deadline:
            self.notify()
            gevent.sleep(0.05)
