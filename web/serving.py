"""gunicorn's worker of web, and how a stream goes on without a greenlet of its own.

gunicorn gives a connection a greenlet until its response ends, which for a stream is nearly all the
time that somebody waits. So a stream's connection is taken from it as soon as its headers are
known; the loop writes what comes, and a greenlet is made where the network makes it wait.
"""

import socket
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

from web.streaming import Stream

#: Seconds a write may be stuck before the reader is sent away; it resumes when it can read.
STUCK: Final = 60.0
#: The part of a heartbeat in which a reader's machine has to acknowledge what was sent. The one
#: after the next then finds the connection closed: who vanished is noticed within two heartbeats.
ACKNOWLEDGED: Final = 0.75

#: Bytes that a client may have sent behind its request.
UNREAD: Final = 1 << 16

_Socket: Final = get_original("socket", "socket")

log = structlog.get_logger("serving")


class Connection:
    """The rest of a response: a stream, and the socket that it is written to."""

    __slots__ = ("_chunked", "_ended", "_head", "_sent", "_socket", "_stream")

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
        family, kind, protocol = taken.family, taken.type, taken.proto
        self._socket: socket.socket = _Socket(family, kind, protocol, fileno=taken.detach())
        self._socket.setblocking(False)
        self._close_unless_acknowledged(ACKNOWLEDGED * stream.heartbeat)
        _open.add(self)

    def go_on(self, rang: bool = True) -> None:
        """Write what is new. Called by the loop, so it never waits."""
        if self._stream.quick:
            self._write(rang)
        else:
            gevent.spawn(self._write, rang)

    def _write(self, rang: bool) -> None:
        try:
            data = self._framed(self._stream.next(rang))
            if data:
                sent = self._send(data)
                if sent < len(data):
                    gevent.spawn(self._write_slowly, memoryview(data)[sent:])
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
            if data:
                data = b"%x\r\n%b\r\n" % (len(data), data)
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

    def _write_slowly(self, data: memoryview) -> None:
        """Write what the system did not take at once; who takes nothing for long is cut."""
        deadline = time.monotonic() + STUCK
        try:
            while data:
                wait_write(self._socket.fileno(), timeout=max(0.001, deadline - time.monotonic()))
                data = data[self._send(data) :]
        except OSError:  # gone, or stuck
            self._close()
        else:
            self._sleep()

    def _close_unless_acknowledged(self, seconds: float) -> None:
        """A machine that was switched off sends no goodbye. (Only Linux can be told how long to
        wait.)

        It closes the connections of who is there but does not read, too: they resume when they do.
        """
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            with suppress(OSError):  # not TCP
                option, milliseconds = socket.TCP_USER_TIMEOUT, max(1, int(seconds * 1000))
                self._socket.setsockopt(socket.IPPROTO_TCP, option, milliseconds)

    def _sleep(self) -> None:
        if self._stream.over:
            self._close()
        else:
            self._stream.sleep(self.go_on)

    def _close(self) -> None:
        _open.discard(self)
        with suppress(OSError):
            # A close on what nobody has read is a reset, and that loses what is still on its way.
            self._socket.recv(UNREAD)
        with suppress(OSError):
            self._socket.close()
        self._stream.close()
        self._ended(self._sent)


#: Those that are being written to.
_open: Final[set[Connection]] = set()


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


class Worker(GeventWorker):  # type: ignore[misc]
    """gunicorn's gevent worker."""

    wsgi: Any

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
            request = {name: environ[name] for name in _REQUEST}
            ended = partial(self._log, response.status, request, time.monotonic())
            taken = environ["gunicorn.socket"]
            connection = Connection(stream, taken, head, chunked=response.chunked, ended=ended)
        except BaseException:
            stream.close()
            raise
        connection.go_on()
        raise StopIteration  # as gunicorn wants it: nothing more is read from this connection

    def _log(self, status: str, request: dict[str, Any], begun: float, sent: int) -> None:
        took = timedelta(seconds=time.monotonic() - begun)
        self.log.access(_Logged(status, sent), (), request, took)

    def run(self) -> None:
        """Serve until told to stop, and then until every stream has said its goodbye."""
        super().run()
        deadline = time.monotonic() + self.cfg.graceful_timeout
        while _open and time.monotonic() < deadline:
            self.notify()
            gevent.sleep(0.05)
