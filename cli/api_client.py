"""The native face as a client sees it: ask, look, stop, open a stream.

What passes is tried again, with the same Idempotency-Key: a question is asked once, however
often it had to be sent. An address where nothing was ever reached is given up at once.
"""

import random
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any, Final

import httpx2

Json = dict[str, Any]

#: Seconds a request may go on failing for reasons that pass; between two tries, first and most.
PATIENCE: Final = 60.0
PAUSE_FIRST, PAUSE_MOST = 0.2, 3.0
#: Seconds of silence on a stream after which it is taken for dead: three of its heartbeats.
SILENCE: Final = 45.0
#: Conversations in one page.
PAGE: Final = 200

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_PASSING = (HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT)


class ApiError(Exception):
    """The service was not reached, or it refused. The message is for a person."""


class Unreachable(ApiError):
    """Nothing answers, or not as Outlive does; `passing`: trying again makes sense."""

    def __init__(self, message: str, *, passing: bool) -> None:
        super().__init__(message)
        self.passing = passing


class Refused(ApiError):
    """The service understood and said no."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(f"{detail} ({code})")
        self.status = status
        self.code = code


class Api:
    """The service at one address."""

    def __init__(self, url: str, transport: httpx2.BaseTransport | None = None) -> None:
        self.url = url
        self._reached = False
        self._http = httpx2.Client(
            base_url=url,
            timeout=httpx2.Timeout(30.0, connect=5.0),
            transport=transport,
            # A proxy for the world outside is none for this machine.
            trust_env=httpx2.URL(url).host not in _LOOPBACK,
        )

    def conversations(self, limit: int) -> Json:
        """The newest conversations, and the cursor of those behind them."""
        items: list[Json] = []
        query: dict[str, str] = {}
        while True:
            query["limit"] = str(min(limit - len(items), PAGE))
            page = self._call("GET", "/api/conversations", params=query)
            items += page["items"]
            if len(items) >= limit or page["next"] is None:
                return {"items": items, "next": page["next"]}
            query["cursor"] = page["next"]

    def conversation(self, conversation_id: uuid.UUID) -> Json:
        """A conversation with its newest branch."""
        return self._call("GET", f"/api/conversations/{conversation_id}")

    def new_conversation(self, system: str | None) -> uuid.UUID:
        """An empty conversation."""
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        made = self._call("POST", "/api/conversations", json={"system": system}, headers=headers)
        return uuid.UUID(made["id"])

    def ask(self, conversation_id: uuid.UUID, content: str, again: Json) -> Json:
        """Ask below the newest answer; the answer that will be written."""
        return self._asked(
            f"/api/conversations/{conversation_id}/messages", {"content": content, **again}
        )

    def retry(self, message_id: uuid.UUID, again: Json) -> Json:
        """Another answer beside this one."""
        return self._asked(f"/api/messages/{message_id}/retry", again)

    def go_on(self, message_id: uuid.UUID, again: Json) -> Json:
        """An answer that continues this one."""
        return self._asked(f"/api/messages/{message_id}/continue", again)

    def message(self, message_id: uuid.UUID) -> Json:
        """A message as it is now."""
        return self._call("GET", f"/api/messages/{message_id}")

    def stop(self, message_id: uuid.UUID) -> Json:
        """Press Stop; the message as it is then."""
        return self._call("POST", f"/api/messages/{message_id}/stop")

    @contextmanager
    def stream(self, message_id: uuid.UUID, last_id: str) -> Iterator[Iterator[bytes]]:
        """One response of the stream route, from behind `last_id` on; cuts are Unreachable."""
        headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity"}
        if last_id:
            headers["Last-Event-ID"] = last_id
        timeout = httpx2.Timeout(SILENCE, connect=5.0)
        path = f"/api/messages/{message_id}/stream"
        with (
            self._failures(),
            self._http.stream("GET", path, headers=headers, timeout=timeout) as response,
        ):
            if not response.is_success:
                response.read()
            self._check(response, "text/event-stream")
            yield response.iter_raw()

    # --- one request and its tries

    def _asked(self, path: str, body: Json) -> Json:
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        answer: Json = self._call("POST", path, json=body, headers=headers)["assistant"]
        return answer

    def _call(self, method: str, path: str, **request: Any) -> Json:
        deadline, pause = time.monotonic() + PATIENCE, PAUSE_FIRST
        while True:
            try:
                return self._once(method, path, **request)
            except Unreachable as error:
                if not error.passing or time.monotonic() > deadline:
                    raise
            time.sleep(jitter(pause))
            pause = min(2 * pause, PAUSE_MOST)

    def _once(self, method: str, path: str, **request: Any) -> Json:
        with self._failures():
            response = self._http.request(method, path, **request)
        self._check(response, "application/json")
        found: Json = response.json()
        return found

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """Whatever goes wrong with a connection is Unreachable."""
        try:
            yield
        except httpx2.TransportError as error:
            self._reached |= not isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout)
            raise Unreachable(f"Nothing answers at {self.url}.", passing=self._reached) from error

    def _check(self, response: httpx2.Response, expected: str) -> None:
        """Raise unless this is the answer that was asked for."""
        kind = response.headers.get("Content-Type", "").partition(";")[0]
        if response.status_code in _PASSING:
            self._reached = True
            reason = f"HTTP {response.status_code}"
            raise Unreachable(f"The service at {self.url} is not ready ({reason}).", passing=True)
        if kind == "application/problem+json":
            self._reached = True
            problem = response.json()
            raise Refused(response.status_code, problem["code"], problem["detail"])
        if not response.is_success or kind != expected:
            raise Unreachable(f"What answers at {self.url} is not Outlive.", passing=False)
        self._reached = True


def jitter(seconds: float) -> float:
    """A little later than asked, so that not all come back at once."""
    return seconds * random.uniform(1.0, 1.3)  # noqa: S311
