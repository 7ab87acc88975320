"""A client as others would write it: JSON over HTTP, and a stream reader on a raw socket.

The reader keeps what a browser keeps (an id, a text) and checks on every frame what the
protocol promises: each frame starts exactly where the reader stands.
"""

import hashlib
import json
import math
import random
import socket
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlsplit

import httpx2

from shared.sse import Decoder, Event
from tests.rig import PATIENCE, eventually


@dataclass
class Client:
    """Talks to one web master."""

    url: str
    http: httpx2.Client = field(init=False)

    def __post_init__(self) -> None:
        limits = httpx2.Limits(max_connections=None)
        self.http = httpx2.Client(base_url=self.url, timeout=PATIENCE, limits=limits)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.http.close()

    def conversation(self, **fields: Any) -> str:
        """A new conversation's id."""
        answer = self.http.post("/api/conversations", json=fields)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def post_question(
        self, content: str, conversation: str | None = None, key: str | None = None, **more: Any
    ) -> httpx2.Response:
        """Ask, whatever the answer."""
        headers = {"Idempotency-Key": key} if key else {}
        place = conversation or self.conversation()
        path = f"/api/conversations/{place}/messages"
        return self.http.post(path, json={"content": content, **more}, headers=headers)

    def ask(self, content: str, conversation: str | None = None, **more: Any) -> str:
        """Ask; the id of the answer that will be written."""
        answer = self.post_question(content, conversation, **more)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["assistant"]["id"])

    def message(self, message_id: str) -> dict[str, Any]:
        """A message as it is now."""
        answer = self.http.get(f"/api/messages/{message_id}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def stop(self, message_id: str) -> dict[str, Any]:
        """Press Stop."""
        answer = self.http.post(f"/api/messages/{message_id}/stop")
        assert answer.status_code == 202, answer.text
        return dict(answer.json())

    def ended(self, message_id: str, seconds: float = PATIENCE) -> dict[str, Any]:
        """The message once it has ended."""
        eventually(lambda: self.message(message_id)["status"] not in OPEN, seconds)
        return self.message(message_id)

    def shown(self, message_id: str, characters: int = 1) -> dict[str, Any]:
        """The message once that much of it is published."""
        eventually(lambda: self.message(message_id)["position"] >= characters)
        return self.message(message_id)

    def read(self, message_id: str, *urls: str) -> "Reading":
        """A reader that has seen nothing yet; it may resume at other masters too."""
        return Reading(message_id, [self.url, *urls])


OPEN = ("SENDING", "STREAMING")


def proof(text: str) -> tuple[int, str]:
    """Length in code points and sha256 of the UTF-8."""
    return len(text), hashlib.sha256(text.encode()).hexdigest()


class Cut(Exception):
    """The connection ended before the stream did: come back."""


class Reading:
    """A reader's whole memory: the text so far and the last id. Survives its connections."""

    def __init__(self, message_id: str, urls: list[str]) -> None:
        self.message_id = message_id
        self.urls = urls
        self.text = ""
        self.kinds: list[tuple[int, str]] = []
        self.last_id = ""
        self.end: dict[str, Any] | None = None
        self.connections = 0

    # --- one connection

    def open(
        self, *, after: int | None = None, last_event_id: str | None = None, url: str | None = None
    ) -> "Connection":
        """A request for the stream. Nothing given: as EventSource does, by the last id seen."""
        if after is None and last_event_id is None:
            last_event_id = self.last_id or None
        self.connections += 1
        return Connection(
            url or random.choice(self.urls), self.message_id, after=after, last_id=last_event_id
        )

    def take(self, event: Event) -> None:
        """What a page does with a frame; raises when the promise is broken."""
        data = json.loads(event.data)
        self.last_id = event.id
        if event.event == "end":
            self.end = data
            return
        assert event.event == "delta", event
        assert data["start"] == len(self.text), f"at {len(self.text)}, frame from {data['start']}"
        self.text += data["text"]
        self.kinds.append((data["part"], data["kind"]))
        assert event.id == str(len(self.text)), event.id

    # --- to the end

    def to_end(self, seconds: float = PATIENCE) -> Self:
        """Read on, coming back after every cut, until `end`."""
        deadline = time.monotonic() + seconds

        def once() -> bool:
            try:
                with self.open() as connection:
                    connection.deadline = deadline  # heartbeats may come for ever
                    for event in connection.events():
                        self.take(event)
            except (Cut, OSError):
                pass
            return self.end is not None

        eventually(once, seconds)
        return self

    @property
    def proven(self) -> bool:
        """Whether the end's proof fits what was read."""
        assert self.end is not None
        return (self.end["length"], self.end["sha256"]) == proof(self.text)


class Connection:
    """One HTTP/1.1 response on a raw socket, which can be cut at any byte."""

    def __init__(
        self, url: str, message_id: str, *, after: int | None, last_id: str | None
    ) -> None:
        where = urlsplit(url)
        assert where.hostname is not None
        self.socket = socket.create_connection((where.hostname, where.port or 80), PATIENCE)
        query = f"?after={after}" if after is not None else ""
        header = f"Last-Event-ID: {last_id}\r\n" if last_id is not None else ""
        self.socket.sendall(
            f"GET /api/messages/{message_id}/stream{query} HTTP/1.1\r\nHost: {where.netloc}\r\n"
            f"Accept: text/event-stream\r\n{header}\r\n".encode()
        )
        self._buffer = bytearray()
        self.decoder = Decoder()
        #: when it is given up, if it goes on for so long
        self.deadline = math.inf
        try:
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

        `cut_after`: raise Cut when so many bytes of the body were read, wherever that is.
        """
        for data in self.body(cut_after=cut_after):
            yield from self.decoder.feed(data)

    def _head(self) -> tuple[int, dict[str, str]]:
        while b"\r\n\r\n" not in self._buffer:
            self._more()
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        return int(first.split()[1]), {name.lower(): value.strip() for name, _, value in pairs}

    def body(self, *, cut_after: int | None = None) -> Iterator[bytes]:
        """The same as bytes: comments and `retry:` too."""
        left = cut_after
        for data in self._chunks():
            if left is not None and len(data) >= left:
                yield data[:left]
                raise Cut
            left = None if left is None else left - len(data)
            yield data

    def _chunks(self) -> Iterator[bytes]:
        if self.status == 204:
            return
        if whole := self.headers.get("content-length"):  # a passing fault: `retry:` and no more
            while len(self._buffer) < int(whole):
                self._more()
            yield bytes(self._buffer)
            return
        assert self.headers.get("transfer-encoding") == "chunked", self.headers
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
            raise Cut
        self._buffer += data


def new_id() -> str:
    """An id that nothing has."""
    return str(uuid.uuid4())
