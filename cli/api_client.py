"""The HTTP client of the native API: ask, read, stop, open a stream.

A request that fails for a temporary reason is repeated with the same Idempotency-Key, so a
question is asked once, however often it is sent. An address that was never reached is given up
after the first failure.
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

#: Seconds for which a request is repeated; between two tries, at first and at most.
PATIENCE: Final = 60.0
PAUSE_FIRST, PAUSE_MAX = 0.2, 3.0
#: Seconds of silence after which a stream is considered dead: three of its heartbeats.
SILENCE: Final = 45.0
#: Conversations requested in one page.
PAGE: Final = 200

_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_TEMPORARY = (
    HTTPStatus.BAD_GATEWAY,
    HTTPStatus.SERVICE_UNAVAILABLE,
    HTTPStatus.GATEWAY_TIMEOUT,
)


class ApiError(Exception):
    """The service was not reached, or it refused. The message is for a person."""


class ServiceUnreachable(ApiError):
    """Nothing answers, or something that is not Outlive; `temporary`: a retry may succeed."""

    def __init__(self, message: str, *, temporary: bool) -> None:
        super().__init__(message)
        self.temporary = temporary


class RequestRefused(ApiError):
    """The service answered with a problem document."""

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
            # A proxy from the environment must not get requests to this machine.
            trust_env=httpx2.URL(url).host not in _LOOPBACK,
        )

    def conversations(self, limit: int) -> Json:
        """The newest conversations, and the cursor of the next ones."""
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
        """Create an empty conversation."""
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        made = self._call("POST", "/api/conversations", json={"system": system}, headers=headers)
        return uuid.UUID(made["id"])

    def ask(self, conversation_id: uuid.UUID, content: str, fields: Json) -> Json:
        """Ask below the newest answer; the new answer."""
        return self._new_answer(
            f"/api/conversations/{conversation_id}/messages", {"content": content, **fields}
        )

    def retry(self, message_id: uuid.UUID, fields: Json) -> Json:
        """Ask for another answer beside this one."""
        return self._new_answer(f"/api/messages/{message_id}/retry", fields)

    def continue_(self, message_id: uuid.UUID, fields: Json) -> Json:
        """Ask for an answer that continues this one."""
        return self._new_answer(f"/api/messages/{message_id}/continue", fields)

    def message(self, message_id: uuid.UUID) -> Json:
        """A message as it is now."""
        return self._call("GET", f"/api/messages/{message_id}")

    def stop(self, message_id: uuid.UUID) -> Json:
        """Stop an answer; the message after that."""
        return self._call("POST", f"/api/messages/{message_id}/stop")

    @contextmanager
    def stream(self, message_id: uuid.UUID, last_id: str) -> Iterator[Iterator[bytes]]:
        """Open one response of the stream route after `last_id`. A cut is ServiceUnreachable."""
        headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity"}
        if last_id:
            headers["Last-Event-ID"] = last_id
        timeout = httpx2.Timeout(SILENCE, connect=5.0)
        path = f"/api/messages/{message_id}/stream"
        with (
            self._transport_errors(),
            self._http.stream("GET", path, headers=headers, timeout=timeout) as response,
        ):
            if not response.is_success:
                response.read()
            self._check(response, "text/event-stream")
            yield response.iter_raw()

    # --- one request and its tries

    def _new_answer(self, path: str, body: Json) -> Json:
        headers = {"Idempotency-Key": str(uuid.uuid4())}
        answer: Json = self._call("POST", path, json=body, headers=headers)["assistant"]
        return answer

    def _call(self, method: str, path: str, **request: Any) -> Json:
        deadline, pause = time.monotonic() + PATIENCE, PAUSE_FIRST
        while True:
            try:
                return self._call_once(method, path, **request)
            except ServiceUnreachable as error:
                if not error.temporary or time.monotonic() > deadline:
                    raise
            time.sleep(jitter(pause))
            pause = min(2 * pause, PAUSE_MAX)

    def _call_once(self, method: str, path: str, **request: Any) -> Json:
        with self._transport_errors():
            response = self._http.request(method, path, **request)
        self._check(response, "application/json")
        found: Json = response.json()
        return found

    @contextmanager
    def _transport_errors(self) -> Iterator[None]:
        """Raise ServiceUnreachable for every failure of a connection."""
        try:
            yield
        except httpx2.TransportError as error:
            self._reached |= not isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout)
            message = f"Nothing answers at {self.url}."
            raise ServiceUnreachable(message, temporary=self._reached) from error

    def _check(self, response: httpx2.Response, expected: str) -> None:
        """Raise unless this is a success of the expected content type."""
        kind = response.headers.get("Content-Type", "").partition(";")[0]
        if response.status_code in _TEMPORARY:
            self._reached = True
            message = f"The service at {self.url} is not ready (HTTP {response.status_code})."
            raise ServiceUnreachable(message, temporary=True)
        if kind == "application/problem+json":
            self._reached = True
            problem = response.json()
            raise RequestRefused(response.status_code, problem["code"], problem["detail"])
        if not response.is_success or kind != expected:
            raise ServiceUnreachable(f"What answers at {self.url} is not Outlive.", temporary=False)
        self._reached = True


def jitter(seconds: float) -> float:
    """A little more than `seconds`, so that not all clients return at once."""
    return seconds * random.uniform(1.0, 1.3)  # noqa: S311
