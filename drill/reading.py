"""A reader of the stream route as others would write one, on a raw socket that can be cut anywhere.

It keeps what a browser keeps, an id and a text, and checks what is promised of every frame: it
starts exactly where the reader stands. Of the code under test it uses only the decoder of
Server-Sent Events, which has tests of its own.
"""

import hashlib
import json
import math
import random
import socket
import time
from collections.abc import Iterator
from typing import Any, Self
from urllib.parse import urlsplit

from local.server import wait_until
from shared.sse import Decoder, Event

#: Seconds of silence after which a connection counts as dead.
PATIENCE = 30.0


class Disconnected(Exception):
    """The connection ended before the stream did; the reader has to come back."""


class PromiseBroken(AssertionError):
    """A promise is broken; the message says how."""


def proof(text: str) -> tuple[int, str]:
    """Length in code points and sha256 of the UTF-8."""
    return len(text), hashlib.sha256(text.encode()).hexdigest()


class Reading:
    """What a reader keeps from one connection to the next: the text so far and the last id."""

    def __init__(self, message_id: str, urls: list[str], patience: float = PATIENCE) -> None:
        self.message_id = message_id
        self.urls = urls
        self.patience = patience
        self.text = ""
        self.kinds: list[tuple[int, str]] = []
        self.last_id = ""
        self.end: dict[str, Any] | None = None
        self.connections = 0

    # --- one connection

    def open(
        self, *, after: int | None = None, last_event_id: str | None = None, url: str | None = None
    ) -> "StreamConnection":
        """Request the stream; without arguments as EventSource does, by the last id seen."""
        if after is None and last_event_id is None:
            last_event_id = self.last_id or None
        self.connections += 1
        where = url or random.choice(self.urls)  # noqa: S311 - any will do
        return StreamConnection(
            where, self.message_id, after=after, last_id=last_event_id, patience=self.patience
        )

    def take(self, event: Event) -> None:
        """Apply a frame as a page does; raise PromiseBroken if it is not the next one."""
        data = json.loads(event.data)
        self.last_id = event.id
        if event.event == "end":
            self.end = data
            return
        if event.event != "delta":
            raise PromiseBroken(f"an event {event.event!r}")
        if data["start"] != len(self.text):
            raise PromiseBroken(f"at {len(self.text)}, frame from {data['start']}")
        self.text += data["text"]
        self.kinds.append((data["part"], data["kind"]))
        if event.id != str(len(self.text)):
            raise PromiseBroken(f"at {len(self.text)}, the id {event.id!r}")

    # --- to the end

    def to_end(self, seconds: float = PATIENCE) -> Self:
        """Read until `end`, coming back after every cut."""
        deadline = time.monotonic() + seconds

        def once() -> bool:
            try:
                with self.open() as connection:
                    connection.deadline = deadline  # heartbeats may come for ever
                    for event in connection.events():
                        self.take(event)
            except (Disconnected, OSError):
                pass
            return self.end is not None

        if not wait_until(once, seconds):
            raise PromiseBroken("no end came")
        return self

    @property
    def proven(self) -> bool:
        """Whether the end's proof fits what was read."""
        assert self.end is not None
        return (self.end["length"], self.end["sha256"]) == proof(self.text)


class StreamConnection:
    """One HTTP/1.1 response on a raw socket."""

    def __init__(
        self,
        url: str,
        message_id: str,
        *,
        after: int | None,
        last_id: str | None,
        patience: float = PATIENCE,
    ) -> None:
        where = urlsplit(url)
        assert where.hostname is not None
        self.socket = socket.create_connection((where.hostname, where.port or 80), patience)
        query = f"?after={after}" if after is not None else ""
        header = f"Last-Event-ID: {last_id}\r\n" if last_id is not None else ""
        self._buffer = bytearray()
        self.decoder = Decoder()
        #: the beginning of a line whose rest has not come; whether the line before it was an id
        self._line = b""
        self._has_id = False
        #: monotonic seconds at which it is given up
        self.deadline = math.inf
        try:
            self.socket.sendall(
                f"GET /api/messages/{message_id}/stream{query} HTTP/1.1\r\nHost: {where.netloc}\r\n"
                f"Accept: text/event-stream\r\n{header}\r\n".encode()
            )
            self.status, self.headers = self._head()
        except BaseException:
            self.socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.socket.close()

    def events(self, *, cut_after: int | None = None) -> Iterator[Event]:
        """Events until the response's proper end.

        `cut_after`: raise Disconnected after as many bytes of the body, wherever that is.
        """
        for data in self.body(cut_after=cut_after):
            yield from self.decoder.feed(data)

    def _check_order(self, data: bytes) -> None:
        """Raise PromiseBroken if a frame goes on after its id.

        Some clients adopt an id as soon as its line is there; a cut in what follows would cost
        them the frame.
        """
        *lines, self._line = (self._line + data).split(b"\n")
        for line in lines:
            if self._has_id and line:
                raise PromiseBroken("the id is not the last field of its frame")
            self._has_id = line.startswith(b"id:")

    def body(self, *, cut_after: int | None = None) -> Iterator[bytes]:
        """The same as bytes: comments and `retry:` too."""
        left = cut_after
        for data in self._chunks():
            self._check_order(data)
            if left is not None and len(data) >= left:
                yield data[:left]
                raise Disconnected
            left = None if left is None else left - len(data)
            yield data

    def _head(self) -> tuple[int, dict[str, str]]:
        while b"\r\n\r\n" not in self._buffer:
            self._more()
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        return int(first.split()[1]), {name.lower(): value.strip() for name, _, value in pairs}

    def _chunks(self) -> Iterator[bytes]:
        if self.status == 204:
            return
        if whole := self.headers.get("content-length"):  # Postgres is away: `retry:` and no more
            while len(self._buffer) < int(whole):
                self._more()
            yield bytes(self._buffer)
            return
        if self.headers.get("transfer-encoding") != "chunked":
            raise PromiseBroken(f"neither a length nor chunks: {self.headers}")
        while True:
            while (end := self._buffer.find(b"\r\n")) < 0:
                self._more()
            begin, length = end + 2, int(self._buffer[:end], 16)
            while len(self._buffer) < begin + length + 2:
                self._more()
            data = bytes(self._buffer[begin : begin + length])
            del self._buffer[: begin + length + 2]
            if not length:
                return
            yield data

    def _more(self) -> None:
        data = self.socket.recv(65536)
        if not data or time.monotonic() > self.deadline:
            raise Disconnected
        self._buffer += data
