"""As much HTTP/1.1 as the scripted provider needs: one request a connection.

`Connection: close` on every response makes it possible to know whether the client has read all of
it: a client that closes with unread bytes resets the connection, one that has them all closes it in
order.
"""

import asyncio
import contextlib
import fcntl
import json
import socket
import struct
import termios
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

LINE_LIMIT = 2**20  #: bytes of a request's head
BODY_LIMIT = 2**26
END = b"0\r\n\r\n"
NO_CHUNK = b"no chunk\r\n"  #: sent where the size of the next chunk should be


class Request(NamedTuple):
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


async def read_request(reader: asyncio.StreamReader) -> Request:
    """Read one request; ValueError or EOFError if it is not one."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head[:-4].split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
    size = int(headers.get("content-length", 0))
    if size > BODY_LIMIT or "transfer-encoding" in headers:
        raise ValueError("a body with a content-length, please")
    url = urlsplit(target)
    query = dict(parse_qsl(url.query))
    return Request(method, unquote(url.path), query, headers, await reader.readexactly(size))


def answer(status: int, body: bytes, headers: dict[str, str] | None = None) -> bytes:
    """A whole answer."""
    about = {"content-type": "application/json", "content-length": str(len(body))}
    return head(status, {**about, **(headers or {})}) + body


def json_answer(value: Any, status: int = 200) -> bytes:
    return answer(status, json.dumps(value).encode())


def head(status: int, headers: dict[str, str]) -> bytes:
    lines = [f"{name}: {value}" for name, value in {**headers, "connection": "close"}.items()]
    return "\r\n".join([f"HTTP/1.1 {status} {phrase(status)}", *lines, "", ""]).encode("latin-1")


def phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Scripted"


STREAM_HEAD = head(
    200,
    {
        "content-type": "text/event-stream; charset=utf-8",
        "cache-control": "no-cache",
        "transfer-encoding": "chunked",
    },
)


def chunked(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class ClientConnection:
    """The writing side of one connection; it knows whether the client is still connected."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._socket: socket.socket = writer.get_extra_info("socket")
        writer.transport.set_write_buffer_limits(high=0)  # so that `drain` waits for all of it
        #: done as soon as the client closes; True: in order
        self.closed = asyncio.ensure_future(closed_in_order(reader))

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def acknowledged(self, seconds: float = 5.0) -> bool:
        """Wait until the client's machine has acknowledged every byte."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while unacknowledged(self._socket):
                    await asyncio.sleep(0.001)
                return self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        return False

    async def finish(self, seconds: float = 5.0) -> bool:
        """Close in order; whether the client has read everything."""
        with contextlib.suppress(OSError):
            self._writer.write_eof()
        await asyncio.wait({self.closed}, timeout=seconds)
        reset = self.closed.done() and not self.closed.result()
        return not reset and await self.acknowledged()

    def reset(self) -> None:
        """Close with a TCP reset."""
        if not self._writer.transport.is_closing():
            linger = struct.pack("ii", 1, 0)
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._writer.transport.abort()

    def close(self) -> None:
        self.closed.cancel()
        self._writer.close()


async def closed_in_order(reader: asyncio.StreamReader) -> bool:
    """Wait until the other side closes, ignoring what it sends; whether it closed in order."""
    try:
        while await reader.read(4096):
            pass
    except OSError:
        return False
    return True


def unacknowledged(connection: socket.socket) -> int:
    """Bytes that the kernel holds because the other side has not acknowledged them (on Linux)."""
    try:
        counted = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, b"\0" * 4)
    except (OSError, ValueError):
        return 0
    return int(struct.unpack("i", counted)[0])
