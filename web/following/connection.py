"""The connection of a stream: written by the loop, without a greenlet of its own.

From when a stream's socket was taken from gunicorn (see `serving`), the loop writes what comes. A
greenlet is made only where the network makes a write wait.

**Slow and gone are two things, and only the kernel can tell them apart.**

    slow    The machine acknowledges what it gets, or says that it has no room for more. The reader
            keeps its connection, however few bytes a second it reads. It is cut when it has taken
            nothing at all for a long time (`WRITE_TIMEOUT`). Little waits for it in the kernel
            (`UNSENT`), because what waits in this process still becomes fewer, larger frames.
    gone    Something is on its way to the machine, or it was asked whether it has room, and nothing
            came back for most of a heartbeat, although the kernel sent it again and again. Such a
            connection is closed within two heartbeats after a machine was switched off.

Linux' own limit, TCP_USER_TIMEOUT, cannot be used for this. It also counts the time in which a
machine has no room although it answers, and a receiver says that it has room again only when half
of its buffer is free: a program that reads 5 kB a second has none for 26 seconds.

**Ends.** A chunked body that ends is followed by the last chunk. A torn one (`Stream.torn`) is not,
so its client sees an error. Without chunks (HTTP/1.0) the end of the connection is the end of the
body, and a torn connection is reset instead. No exception is raised for it, so no traceback is
logged. No other request follows a stream, and a client finds that out by the end of the connection.
That has to come with the last bytes of the body: a client that goes on at once would send its next
request into a connection that is being closed, and some (httpx) do not repeat it then. So the
kernel holds back what does not fill a packet until the connection is closed (MORE).

A client that is gone, a write that timed out and a bug in a face end here, too: each time
the connection is closed, the stream freed and `on_close` called, once.
"""

import socket
import struct
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import gevent
import structlog
from gevent.monkey import get_original
from gevent.socket import wait_write

from shared import awake
from web.following.client_left import LEFT
from web.following.streaming import Stream

#: Heartbeats after which a reader that has taken nothing is cut; it resumes when it can read.
#: A receiver with Linux' usual buffer that reads 1 kB a second takes nothing for 131 seconds.
WRITE_TIMEOUT: Final = 12.0
#: Polls of a connection in a heartbeat, and unanswered ones in a row after which its machine is
#: gone. Seconds are not counted: time in which this process did not run is no evidence.
POLLS: Final = 5
UNANSWERED: Final = 4
#: Seconds between two polls at least.
POLL_LEAST: Final = 0.25
#: Connections that are polled before other greenlets run.
POLL_BATCH: Final = 500
#: Bytes of one connection that wait in the kernel to be sent. (What is on its way comes on top.)
UNSENT: Final = 16 << 10

#: An option of Linux 6.15 (<linux/tcp.h>): milliseconds between two tries of the kernel at most.
TCP_RTO_MAX_MS: Final = 44
RTO_MAX_MS: Final = 120_000
#: Times that the kernel has to have tried. (A try soon after another may go without an answer.)
TRIES: Final = 2
#: The beginning of `struct tcp_info` there. Of it we read how often the kernel has sent something
#: again, and has asked for room, without an answer, and how many packets came from the other end.
_TCP_INFO: Final = struct.Struct("=2xBB136xI")
#: The first two of these while nothing waits for an answer, as nearly always.
_NOTHING: Final = bytes(2)

#: Bytes of an HTTP chunk: some clients read nothing of one that is not whole. The largest frame and
#: what a response begins with fit into it.
CHUNK_BYTES: Final = 9 << 10
#: Bytes that a client may have sent after its request.
UNREAD: Final = 1 << 16

#: Flag of a send after which more follows soon: here, the end. Linux has it.
MORE: Final = getattr(socket, "MSG_MORE", 0)

_Socket: Final = get_original("socket", "socket")

log = structlog.get_logger("serving")


class StreamConnection:
    """A stream and the socket that it is written to."""

    __slots__ = (
        "_chunked", "_head", "_idle", "_on_close", "_received", "_sent", "_socket", "_stream",
        "_unanswered",
    )  # fmt: skip

    def __init__(
        self,
        stream: Stream,
        taken: "socket.socket",
        head: bytes,
        *,
        chunked: bool,
        on_close: Callable[[int], object],
    ) -> None:
        """Takes the socket from its present owner.

        `head` is written before the body; `on_close` gets the number of bytes of the body.
        """
        self._stream = stream
        self._head = head
        self._chunked = chunked
        self._on_close = on_close
        self._sent = 0
        #: nothing is being written
        self._idle = True
        #: packets that had come at the last poll, and polls since the other end has answered
        self._received = 0
        self._unanswered = 0
        family, kind, protocol = taken.family, taken.type, taken.proto
        self._socket: socket.socket = _Socket(family, kind, protocol, fileno=taken.detach())
        self._socket.setblocking(False)
        self._keep_little_in_the_kernel()
        stream.on_evict = self._evict
        poller.add(self)

    @property
    def heartbeat(self) -> float:
        """Seconds between signs of life."""
        return self._stream.heartbeat

    def resume(self, notified: bool = True) -> None:
        """Write what is new. Called by the loop, so it never waits."""
        if not self._idle:  # it was dropped meanwhile
            return
        self._idle = False
        try:
            data = self._framed(self._next(notified))
            if data:
                sent = self._send(data)
                if sent < len(data) and (rest := self._send_on(memoryview(data)[sent:])):
                    gevent.spawn(self._write_slowly, rest)
                    return
        except OSError:  # the client has gone
            self._close()
        except Exception as error:  # noqa: BLE001 - a bug must not leave a connection open and silent
            log.error("serving.stream", error=type(error).__name__)
            self._stream.torn = True
            self._close()
        else:
            self._sleep()

    def _next(self, notified: bool) -> bytes:
        try:
            return self._stream.next(notified)
        except Exception as error:  # noqa: BLE001 - the type and no message, which may quote text
            log.error("serving.stream", error=type(error).__name__)
            return self._stream.fail()

    def _framed(self, data: bytes) -> bytes:
        self._sent += len(data)
        if self._chunked:
            if len(data) > CHUNK_BYTES:
                starts = range(0, len(data), CHUNK_BYTES)
                data = b"".join(_chunk(data[start : start + CHUNK_BYTES]) for start in starts)
            elif data:
                data = _chunk(data)
            if self._stream.closed and not self._stream.torn:
                data += b"0\r\n\r\n"
        if self._head:
            data, self._head = self._head + data, b""
        return data

    def _send(self, data: "bytes | memoryview") -> int:
        try:
            # The end of the connection goes with the last bytes, see above.
            return self._socket.send(data, MORE if self._stream.closed else 0)
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
        """Write what the kernel did not take at once; cut a reader that takes nothing for long."""
        try:
            while data:
                self._wait_until_it_takes_more()
                data = data[self._send(data) :]
        except OSError:  # gone, timed out or evicted
            self._close()
        else:
            self._sleep()

    def _wait_until_it_takes_more(self) -> None:
        timeout, begun = max(0.001, WRITE_TIMEOUT * self._stream.heartbeat), time.monotonic()
        while True:
            try:
                wait_write(self._socket.fileno(), timeout=timeout)
                return
            except TimeoutError:
                if awake.since(begun) >= timeout:  # and not this process stood still
                    raise

    def _keep_little_in_the_kernel(self) -> None:
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            self._set(socket.TCP_NOTSENT_LOWAT, UNSENT)
        if sys.platform == "linux":  # or a machine without room would be asked ever less often
            self._set(TCP_RTO_MAX_MS, max(1000, int(1000 * self._stream.heartbeat / POLLS)))

    def _set(self, option: int, value: int) -> None:
        with suppress(OSError):  # not TCP, or a kernel that does not know it
            self._socket.setsockopt(socket.IPPROTO_TCP, option, value)

    def poll(self) -> None:
        """Drop it if its machine has left several polls in a row without an answer."""
        try:
            state = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 4)
            if state[0] in LEFT and self._idle and self._stream.source.on_disconnect is not None:
                self._drop()  # a write would tell, but there may be none for long
                return
            if state[2:] == _NOTHING:
                self._received = self._unanswered = 0
                return
            found = self._socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
            sent_again, asked, received = _TCP_INFO.unpack(found)
        except (OSError, struct.error):  # not TCP, or closed meanwhile
            return
        answered = self._received not in (0, received)  # since the last poll that found it waiting
        self._unanswered = 0 if answered else self._unanswered + 1
        self._received = received
        if self._unanswered >= UNANSWERED and max(sent_again, asked) >= TRIES:
            self._drop()

    def _drop(self) -> None:
        """Its machine is gone: forget what was not sent, too."""
        self._reset_on_close()
        if self._idle:
            self._idle = False
            self._close()
        else:
            self._shut_down()

    def _evict(self) -> None:
        """Have its stream write its end now; a slow write is not waited for."""
        if self._idle:
            self._stream.wake(self.resume)
        else:
            self._shut_down()

    def _shut_down(self) -> None:
        """Close it under the greenlet that writes slowly, which then frees everything."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)

    def _reset_on_close(self) -> None:
        with suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def _sleep(self) -> None:
        if self._stream.closed:
            self._close()
        else:
            self._idle = True
            self._stream.sleep(self.resume)

    def _close(self) -> None:
        poller.open.discard(self)
        self._stream.left = not self._stream.closed
        if self._stream.torn and not self._chunked:  # else its end would be the body's end
            self._reset_on_close()
        with suppress(OSError):
            # A close with unread input is a reset, and that loses what is still on its way.
            self._socket.recv(UNREAD)
        if sys.platform == "linux":  # the kernel goes on sending as it does for others
            self._set(TCP_RTO_MAX_MS, RTO_MAX_MS)
        with suppress(OSError):
            self._socket.close()
        self._stream.close()
        self._on_close(self._sent)


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Poller:
    """Polls the open connections now and then, while there are any."""

    def __init__(self) -> None:
        self.open: set[StreamConnection] = set()
        self._polling = False

    def add(self, one: StreamConnection) -> None:
        self.open.add(one)
        if not self._polling and sys.platform == "linux":  # others cannot be asked
            self._polling = True
            gevent.spawn(self._poll)

    def _poll(self) -> None:
        while self.open:
            gevent.sleep(max(POLL_LEAST, next(iter(self.open)).heartbeat / POLLS))
            for number, one in enumerate(list(self.open), 1):
                one.poll()
                if number % POLL_BATCH == 0:
                    gevent.sleep(0)
        self._polling = False


poller: Final = Poller()
