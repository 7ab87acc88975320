"""Understands responses, and says when a request is worth another try. Pure."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from typing import Any, cast

from outlive_client._errors import BY_STATUS, ApiError, OutliveError, Unreachable
from outlive_client._models import Json

#: Seconds between two tries, at first and at most.
PAUSE_FIRST, PAUSE_MOST = 0.2, 3.0
#: Not ready, or the request came too slowly: the same may succeed a moment later.
TEMPORARY = (408, 502, 503, 504)
EVENTS, JSON, PROBLEM = "text/event-stream", "application/json", "application/problem+json"


def jitter(seconds: float) -> float:
    """A little more than `seconds`, so that not all clients return at once."""
    return seconds * random.uniform(1.0, 1.3)  # noqa: S311


def content_type(headers: Mapping[str, str]) -> str:
    """The type of a body, without its parameters."""
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def parsed(url: str, status: int, headers: Mapping[str, str], body: bytes) -> Json:
    """The JSON of a response; {} for 204. Raises Unreachable and ApiError."""
    if status == 204:
        return {}
    if 200 <= status < 300 and content_type(headers) == JSON:
        found = _json(body)
        if found is not None:
            return found
    raise refusal(url, status, headers, body)


def refusal(
    url: str, status: int, headers: Mapping[str, str], body: bytes
) -> Unreachable | ApiError:
    """The exception for a response that is not what was asked for."""
    document = (_json(body) if content_type(headers) == PROBLEM else None) or {}
    code, after = document.get("code"), _seconds(headers.get("retry-after"))
    if status in TEMPORARY:
        return Unreachable(
            f"The service at {url} is not ready (HTTP {status}).",
            temporary=True, status=status, code=code, retry_after=after,
        )  # fmt: skip
    if not isinstance(code, str):
        return Unreachable(
            f"What answers at {url} is not Outlive (HTTP {status}).", temporary=False, status=status
        )
    detail = str(document.get("detail", ""))
    kind = BY_STATUS.get(status, ApiError)
    return kind(status, code, detail, retry_after=after, document=document)


def _json(body: bytes) -> Json | None:
    try:
        found: Any = json.loads(body)
    except ValueError:
        return None
    return cast("Json", found) if isinstance(found, dict) else None


def _seconds(value: str | None) -> float | None:
    """A Retry-After of seconds; a date is none that we read."""
    given = (value or "").strip()
    return float(given) if given.isascii() and given.isdigit() and len(given) < 10 else None


def passes(failure: OutliveError) -> bool:
    """Whether the same request may succeed in a while: the service is not ready, or we were fast.

    Nobody knows when other limits allow more (an answer has to end, a day), so they are raised.
    """
    if isinstance(failure, Unreachable):
        return failure.temporary
    return failure.code == "rate_limited"


class Retries:
    """The tries of one call: after a temporary failure it is repeated, for `patience` seconds."""

    def __init__(self, patience: float, now: float) -> None:
        self._deadline = now + patience
        #: there was a try before this one
        self.begun = False
        self._pause = PAUSE_FIRST

    def pause(self, failure: OutliveError, now: float) -> float:
        """Seconds until the next try. Raises the failure where none follows."""
        pause = max(jitter(self._pause), failure.retry_after or 0.0)
        if not passes(failure) or now + pause > self._deadline:
            raise failure
        self._pause = min(2 * self._pause, PAUSE_MOST)
        self.begun = True
        return pause
