"""Reads an answer to its end through every cut, and proves that it is whole."""

import hashlib
import json
import time
import uuid
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Final

from cli.api_client import Api, Json, RequestRefused, ServiceUnreachable, jitter
from shared.body import Body, Delta, Gap
from shared.sse import Decoder, Event

#: Milliseconds until the next connection, unless the server sends `retry:`.
RETRY_MS: Final = 1000
#: Bytes of a frame, at most. A late reader may get a whole answer in one, with every character
#: as `\uXXXX`.
FRAME_BYTES: Final = 64 << 20


class ResumingStream:
    """Reads one message to its end, over as many connections as that takes."""

    def __init__(self, api: Api, message_id: uuid.UUID) -> None:
        self.message_id = message_id
        self.body = Body()
        #: the data of the `end` frame, once it has arrived
        self.end: Json | None = None
        self._api = api
        self._last_id = ""
        self._retry_ms = RETRY_MS
        self._connected = False

    def deltas(self, on_cut: Callable[[], None]) -> Iterator[Delta]:
        """Yield the answer, each character once; `on_cut` is called before every pause.

        Retries forever. Raises RequestRefused, and ServiceUnreachable if no connection ever
        succeeded.
        """
        while self.end is None:
            try:
                yield from self._connection()
            except (ValueError, Gap):
                pass  # damaged or incomplete: read again from the last good position
            except ServiceUnreachable as error:
                if not (error.temporary or self._connected):
                    raise
            except RequestRefused as error:
                if error.status != HTTPStatus.TOO_MANY_REQUESTS:
                    raise
            if self.end is None:
                on_cut()
                time.sleep(jitter(self._retry_ms / 1000))

    @property
    def proven(self) -> bool:
        """Whether what arrived has the length and sha256 of the whole answer."""
        content, end = self.body.content, self.end or {}
        digest = hashlib.sha256(content.encode()).hexdigest()
        return (end.get("length"), end.get("sha256")) == (len(content), digest)

    def _connection(self) -> Iterator[Delta]:
        decoder = Decoder(limit=FRAME_BYTES)
        try:
            with self._api.stream(self.message_id, self._last_id) as chunks:
                self._connected = True
                for chunk in chunks:
                    for event in decoder.feed(chunk):
                        yield from self._take(event)
        finally:
            if decoder.retry is not None:
                self._retry_ms = decoder.retry

    def _take(self, event: Event) -> Iterator[Delta]:
        data = json.loads(event.data)
        if event.event == "end":
            self.end = data
        elif event.event == "delta":
            new = self.body.append(Delta(*map(data.get, Delta._fields)))
            self._last_id = event.id
            if new is not None:
                yield new
