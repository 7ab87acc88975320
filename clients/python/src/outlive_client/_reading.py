"""Reads one answer to its end, over as many connections as that takes. Pure: no I/O, no clock.

A client does what a `Reading` says, until it has `ended`:

    request()               what to send now: the question, later the answer's stream
    respond(status, …)      whether the response is a stream; if not, `refuse` it
    feed(data)              the deltas that some bytes of the stream complete
    cut(failure, now)       the connection is over: seconds until the next one

What it guarantees: each character of the answer is returned once and in order, whatever the
connections did. A position is only ever echoed: it is the id of the last frame that was complete.
Text that came already is dropped; text that would leave a gap, and what cannot be understood, ends
the connection, and the next one begins at the last good position. At the end `proven` says whether
all of it has the length and sha256 of the answer.

A question is sent with its Idempotency-Key until its `accepted` has come, so it is asked once. It
is never sent again after that: then the answer's own stream is read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from outlive_client._calls import Call, message_path
from outlive_client._errors import OutliveError, TooMany, Unreachable
from outlive_client._events import Decoder, Event
from outlive_client._models import Asked, Delta, End, Json, Part
from outlive_client._responses import EVENTS, JSON, Retries, content_type, jitter, parsed, refusal

#: Milliseconds until the next connection, unless the server says when.
RETRY_MS = 1000
#: Seconds after which a connection that brought nothing was a good one nevertheless: its
#: heartbeats came.
STEADY = 5.0


class Damaged(ValueError):
    """A frame that cannot follow what is here, or cannot be understood."""


class Reading:
    """What is known of an answer, and what to do next."""

    def __init__(
        self,
        url: str,
        subject: Call[Asked] | str,
        *,
        patience: float,
        stream_patience: float,
        now: float,
    ) -> None:
        """`subject`: a question that is to be asked, or the id of an answer.

        `patience`: seconds for which a question is sent; `stream_patience`: seconds after which an
        answer is given up, if no connection brings anything.
        """
        self._url = url
        self._question = None if isinstance(subject, str) else subject
        self._message_id = subject if isinstance(subject, str) else None
        self._stream_patience = stream_patience
        self._retries = Retries(patience, now)
        self._good_at = now
        self._opened_at: float | None = None
        self._decoder = Decoder()
        self._retry_ms = RETRY_MS
        self._last_id = ""
        self._damaged = False
        self._moved = False
        #: a connection has brought something of this answer
        self._reached = False
        #: both messages, once a question was accepted
        self.accepted: Asked | None = None
        #: how it ended, once it has
        self.end: End | None = None
        self.position = 0
        self._hash = hashlib.sha256()
        #: kind, meta and pieces of each part
        self._parts: list[tuple[str, Mapping[str, Any] | None, list[str]]] = []

    # --- what is here

    @property
    def message_id(self) -> str | None:
        """The answer's id, as soon as it is known."""
        return self._message_id

    @property
    def parts(self) -> list[Part]:
        """The parts as far as they have come."""
        return [Part(kind, "".join(pieces), meta) for kind, meta, pieces in self._parts]

    @property
    def proven(self) -> bool:
        """Whether what came has the length and sha256 of the whole answer."""
        if self.end is None:
            return False
        return (self.end.length, self.end.sha256) == (self.position, self._hash.hexdigest())

    @property
    def over(self) -> bool:
        """Whether nothing more is wanted of this connection."""
        return self.end is not None or self._damaged

    # --- one connection

    def request(self) -> Call[Any]:
        """What to send now."""
        headers = {"Accept": EVENTS, "Accept-Encoding": "identity"}
        if self._message_id is None:
            assert self._question is not None
            made = self._question
            return Call(
                made.method, made.path, made.read,
                fields=made.fields, headers={**made.headers, **headers},
            )  # fmt: skip
        if self._last_id:
            headers["Last-Event-ID"] = self._last_id
        return Call("GET", f"{message_path(self._message_id)}/stream", _nothing, headers=headers)

    def respond(self, status: int, headers: Mapping[str, str], now: float) -> bool:
        """Whether a response that begins so is a stream, which then goes to `feed`."""
        self._decoder = Decoder()
        self._damaged = self._moved = False
        self._opened_at = None
        if status != 200 or content_type(headers) != EVENTS:
            return False
        self._opened_at = now
        self._reached = True
        return True

    def refuse(self, status: int, headers: Mapping[str, str], body: bytes) -> OutliveError | None:
        """The failure that another response is.

        None for a 202: a question that was accepted, by a service that does not stream it.
        """
        if self._message_id is None and content_type(headers) == JSON:
            try:
                self._accept(parsed(self._url, status, headers, body))
            except Unreachable as failure:
                return failure
            return None
        return refusal(self._url, status, headers, body)

    def feed(self, data: bytes) -> list[Delta]:
        """The deltas that these bytes complete; check `over` afterwards."""
        found: list[Delta] = []
        try:
            for event in self._decoder.feed(data):
                found += self._take(event)
        except (ValueError, KeyError, TypeError):  # Damaged is a ValueError, as are those of JSON
            self._damaged = True
        if self._decoder.retry is not None:
            self._retry_ms = self._decoder.retry
        return found

    def cut(self, failure: OutliveError | None, now: float) -> float:
        """Seconds until the next connection. Raises the failure where none follows."""
        lasted = self._opened_at is not None and now - self._opened_at >= STEADY
        if self._moved or (lasted and not self._damaged):
            self._good_at = now
        moved, self._moved = self._moved, False
        if self._message_id is None:
            return self._before_accepted(failure, now)
        if failure is not None and not self._passes(failure):
            raise failure
        if moved and self._opened_at is None:
            return 0.0  # accepted without a stream: read that now
        pause = max(jitter(self._retry_ms / 1000), (failure and failure.retry_after) or 0.0)
        if now + pause - self._good_at > self._stream_patience:
            raise failure or Unreachable(f"The stream at {self._url} breaks.", temporary=True)
        return pause

    def _before_accepted(self, failure: OutliveError | None, now: float) -> float:
        cut = Unreachable(f"The connection to {self._url} broke.", temporary=True)
        return self._retries.pause(failure or cut, now)

    def _passes(self, failure: OutliveError) -> bool:
        """Whether a later connection may succeed."""
        if isinstance(failure, Unreachable):
            return failure.temporary or self._reached
        return isinstance(failure, TooMany)

    # --- one event

    def _take(self, event: Event) -> list[Delta]:
        if self.over:
            return []
        if event.name not in ("delta", "end", "accepted"):
            return []
        data: Json = json.loads(event.data)
        if event.name == "accepted":
            self._accept(data)
            return []
        if event.name == "end":
            self.end = End.of(data)
            self._moved = True
            return []
        new = self._append(_delta(data))
        self._last_id = event.id
        return [] if new is None else [new]

    def _accept(self, raw: Json) -> None:
        self.accepted = Asked.of(raw)
        self._message_id = self.accepted.answer.id
        self._reached = self._moved = True

    def _append(self, delta: Delta) -> Delta | None:
        """Grow by what is new in `delta`; return that."""
        end = delta.start + len(delta.text)
        if delta.start > self.position:
            raise Damaged("a gap")
        opens = not delta.text and delta.meta is not None and delta.part == len(self._parts)
        if end <= self.position and not (opens and delta.start == self.position):
            return None  # known already
        new = delta._replace(start=self.position, text=delta.text[self.position - delta.start :])
        last = len(self._parts) - 1
        if new.part == last + 1:
            self._parts.append((new.kind, new.meta, []))
        elif new.part != last or self._parts[last][0] != new.kind:
            raise Damaged("an impossible part")
        self._parts[-1][2].append(new.text)
        self._hash.update(new.text.encode("utf-8", "surrogatepass"))
        self.position = end
        self._moved = True
        return new


def _delta(data: Json) -> Delta:
    delta = Delta(data["start"], data["part"], data["kind"], data["text"], data.get("meta"))
    numbers, words = (delta.start, delta.part), (delta.kind, delta.text)
    if not (all(type(one) is int for one in numbers) and all(type(one) is str for one in words)):
        raise Damaged("a field of another type")
    return delta


def _nothing(_raw: Json) -> None:
    return None
