"""Reading an answer to its end, through every cut, and proving that it is whole."""

import hashlib
import json
import time
import uuid
from collections.abc import Callable, Iterator
from http import HTTPStatus
from typing import Final

from cli.api_client import Api, Json, Refused, Unreachable, jitter
from shared.body import Body, Delta, Gap
from shared.sse import Decoder, Event

#: Milliseconds until a cut reader comes back, unless the server says otherwise.
RETRY: Final = 1000
#: Bytes of a frame: who comes late gets a whole answer in one, every character as `\uXXXX`.
FRAME_BYTES: Final = 64 << 20


class Following:
    """Reads one message to its end, through as many connections as that takes."""

    def __init__(self, api: Api, message_id: uuid.UUID) -> None:
        self.message_id = message_id
        self.body = Body()
        #: The data of the `end` frame, once it came.
        self.end: Json | None = None
        self._api = api
        self._last_id = ""
        self._retry = RETRY
        self._connected = False

    def deltas(self, cut: Callable[[], None]) -> Iterator[Delta]:
        """What comes, each character once; `cut` is told before every pause.

        Goes on for ever but for Refused, and for Unreachable when nothing was reached before.
        """
        while self.end is None:
            try:
                yield from self._connection()
            except (ValueError, Gap):
                pass  # not what was sent, or not all of it: read again from where we stand
            except Unreachable as error:
                if not (error.passing or self._connected):
                    raise
            except Refused as error:
                if error.status != HTTPStatus.TOO_MANY_REQUESTS:
                    raise
            if self.end is None:
                cut()
                time.sleep(jitter(self._retry / 1000))

    @property
    def proven(self) -> bool:
        """Whether all that came is all there is: length and sha256 over all parts."""
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
                self._retry = decoder.retry

    def _take(self, event: Event) -> Iterator[Delta]:
        data = json.loads(event.data)
        if event.event == "end":
            self.end = data
        elif event.event == "delta":
            new = self.body.append(Delta(*map(data.get, Delta._fields)))
            self._last_id = event.id
            if new is not None:
                yield new
