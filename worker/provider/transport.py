"""HTTP/1.1 to the provider, below the openai package: its connections, and bodies as they come.

Why it exists, instead of the package's own transport (httpx): that takes a dozen calls from the
socket to the reader for each token. In a running worker with 200 streams of 10 chunks a second,
1,000 chunks cost 96 ms of CPU with this one and 130 ms with httpx', a quarter of all that the
worker spends (medians of four interleaved runs; openai 3.54, httpx2 2.16, gevent 26.9). A start
costs 1.0 ms against 1.1 ms.

It also reads no more than REFUSAL_MAX of a refusal, while the package reads all of it, and it may
have no end. TLS settings and trusted certificates are those of `tls.client_context` in both.

Where a proxy is configured, httpx' transport is used all the same, because it knows every kind of
proxy.
"""

import ipaddress
import re
import socket
import ssl
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Final

import gevent
import h11
import httpx2

from shared import tls
from worker.provider.framing import Chunked, FixedLength, Framing, FramingError, UntilClosed

#: Bytes that are read at once, and that the head of a response may have.
READ: Final = 1 << 16
HEAD_MAX: Final = 1 << 16
#: Bytes of a refusal that are read: what matters stands at its beginning.
REFUSAL_MAX: Final = 1 << 16
#: Bytes of a read after which more is probably there already, and seconds for which such a stream
#: is read on without a turn for other greenlets.
BURST_BYTES: Final = 1 << 12
YIELD_AFTER: Final = 0.005
#: libev's EV_READ.
READABLE: Final = 1
#: Seconds for which an idle connection is kept. Servers close theirs after five or more, and a
#: request sent at that moment is lost.
IDLE_TTL: Final = 4.0
_HEAD_END: Final = re.compile(rb"\n\r?\n")

#: Scheme, host and port.
Origin = tuple[str, str, int]
#: Idle connections to one origin, each with the monotonic time since when it is idle.
Idle = list[tuple[float, socket.socket]]


def is_direct() -> bool:
    """Whether no proxy is configured."""
    proxies = urllib.request.getproxies()
    return not any(proxies.get(scheme) for scheme in ("http", "https", "all"))


class DirectTransport(httpx2.BaseTransport):
    """Sends httpx' requests over its own connections. How long a response may take is not limited
    here: the writer interrupts a request that takes too long."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        """`context`: with the trusted certificates; None: those that the environment names."""
        self._tls = context or tls.client_context()
        self._tls.set_alpn_protocols(["http/1.1"])
        self._idle: dict[Origin, Idle] = defaultdict(list)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send it; returns when the head of the response has come. Raises httpx2's errors."""
        url = request.url
        origin = url.scheme, url.host, url.port or (443 if url.scheme == "https" else 80)
        connection = self._take_idle(origin) or self._connect(origin, request)
        try:
            with _errors():
                wire = _send(connection, request)
                return self._response(connection, wire, origin, request.method)
        except BaseException:
            connection.close()
            raise

    def close(self) -> None:
        """Close the idle connections."""
        for idle in self._idle.values():
            while idle:
                idle.pop()[1].close()

    def _take_idle(self, origin: Origin) -> socket.socket | None:
        """An idle connection that can be used again."""
        idle = self._idle[origin]
        while idle:
            since, connection = idle.pop()
            if time.monotonic() - since < IDLE_TTL and _is_open(connection):
                return connection
            connection.close()
        return None

    def _connect(self, origin: Origin, request: httpx2.Request) -> socket.socket:
        scheme, host, port = origin
        seconds = request.extensions.get("timeout", {}).get("connect")
        try:
            connection = _dial(host, port, seconds)
            try:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                if scheme == "https":
                    connection = self._tls.wrap_socket(connection, server_hostname=host)
                connection.settimeout(None)
            except BaseException:
                connection.close()
                raise
        except TimeoutError:
            raise httpx2.ConnectTimeout("no connection in time") from None
        except (OSError, UnicodeError) as error:  # an impossible host name is a UnicodeError
            raise httpx2.ConnectError(type(error).__name__) from None
        return connection

    def _response(
        self, connection: socket.socket, wire: h11.Connection, origin: Origin, method: str
    ) -> httpx2.Response:
        head, rest = _head(connection, wire)
        idle = self._idle[origin] if _is_persistent(head) else None
        body = ResponseBody(connection, _framing(head, method), rest, idle)
        if head.status_code >= 400:
            body.limit = REFUSAL_MAX
        return httpx2.Response(
            head.status_code,
            headers=head.headers.raw_items(),
            stream=body,
            extensions={"http_version": b"HTTP/1.1", "body": body},
        )


class ResponseBody(httpx2.SyncByteStream):
    """A body as it comes: each piece is all that one read of the socket brought."""

    def __init__(
        self, connection: socket.socket, framing: Framing, begun: bytes, idle: Idle | None
    ) -> None:
        """`begun`: what came together with the head. `idle`: where the connection goes when the
        body has ended; None: it must not be used again."""
        self._connection = connection
        self._framing = framing
        self._begun = begun
        self._idle = idle
        self._closed = False
        #: bytes of it that are read, about; None: all
        self.limit: int | None = None

    def __iter__(self) -> Iterator[bytes]:
        framing, connection = self._framing, self._connection
        hub = gevent.get_hub()
        # To wait before a read, and not after one that found nothing, saves a system call and
        # gives other greenlets a turn. A stream that sends much at once is read on for a while.
        readable = hub.loop.io(connection.fileno(), READABLE)
        data, turn_ends = self._begun, 0.0
        try:
            with _errors():
                if data:
                    yield from framing.feed(data)
                while not framing.ended:
                    if self.limit is not None:
                        self.limit -= len(data)
                        if self.limit < 0:
                            return
                    if len(data) < BURST_BYTES or time.monotonic() > turn_ends:
                        if not _has_decrypted(connection):
                            hub.wait(readable)
                        turn_ends = time.monotonic() + YIELD_AFTER
                    data = connection.recv(READ)
                    yield from framing.feed(data)
        finally:
            readable.close()
            self.close()

    def close(self) -> None:
        """Read no more; keep the connection if the body has ended and nothing came after it."""
        if self._closed:
            return
        self._closed = True
        if self._framing.reusable and self._idle is not None:
            self._idle.append((time.monotonic(), self._connection))
        else:
            self._connection.close()


def _dial(host: str, port: int, seconds: float | None) -> socket.socket:
    """A TCP connection. An IP address skips the name lookup, which would take a thread."""
    family = _family(host)
    if family is None:
        return socket.create_connection((host, port), seconds)
    connection = socket.socket(family)
    try:
        connection.settimeout(seconds)
        connection.connect((host, port))
    except BaseException:
        connection.close()
        raise
    return connection


@lru_cache
def _family(host: str) -> socket.AddressFamily | None:
    """The family of an IP address; None for a name."""
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        return None
    return socket.AF_INET if version == 4 else socket.AF_INET6


def _send(connection: socket.socket, request: httpx2.Request) -> h11.Connection:
    """Send head and body in one piece; returns h11's state, which reads the response's head."""
    wire = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_MAX)
    head = h11.Request(
        method=request.method, target=request.url.raw_path, headers=request.headers.raw
    )
    body = request.read()
    events = (head, h11.Data(data=body), h11.EndOfMessage()) if body else (head, h11.EndOfMessage())
    connection.sendall(b"".join(wire.send(event) or b"" for event in events))
    return wire


def _head(connection: socket.socket, wire: h11.Connection) -> tuple[h11.Response, bytes]:
    """The head of the response, and what came of the body together with it."""
    data = b""
    while True:
        end = _HEAD_END.search(data)
        if end is None:
            received = connection.recv(READ)
            if not received or len(data) > HEAD_MAX:
                raise h11.RemoteProtocolError("no response")
            data += received
            continue
        wire.receive_data(data[: end.end()])
        data = data[end.end() :]
        event = wire.next_event()
        if isinstance(event, h11.Response):  # an informational one is skipped (RFC 9110, 15.2)
            return event, data


def _is_persistent(head: h11.Response) -> bool:
    """Whether the server will read another request on this connection."""
    closes = any(
        name == b"connection" and b"close" in value.lower() for name, value in head.headers
    )
    return not closes and head.http_version >= b"1.1"


def _framing(head: h11.Response, method: str) -> Framing:
    """How the end of the body is found (RFC 9112, section 6.3)."""
    headers = dict(head.headers)
    if method == "HEAD" or head.status_code in (204, 304):
        return FixedLength(0)
    if b"transfer-encoding" in headers:
        return Chunked()
    if b"content-length" in headers:
        return FixedLength(int(headers[b"content-length"]))
    return UntilClosed()


@contextmanager
def _errors() -> Iterator[None]:
    """Turn errors of a connection into httpx' ones."""
    try:
        yield
    except (h11.ProtocolError, FramingError) as error:
        raise httpx2.RemoteProtocolError(str(error)) from None
    except OSError as error:
        raise httpx2.ReadError(type(error).__name__) from None


def _has_decrypted(connection: socket.socket) -> bool:
    """Whether TLS holds bytes that it has read from the socket already."""
    return isinstance(connection, ssl.SSLSocket) and connection.pending() > 0


def _is_open(connection: socket.socket) -> bool:
    """Whether an idle connection is open: nothing can be read from it but the end."""
    connection.settimeout(0)
    try:
        connection.recv(1)
    except (BlockingIOError, ssl.SSLWantReadError):
        connection.settimeout(None)
        return True
    except OSError:
        pass
    return False
