"""When a provider that refused a request is asked again, for how long, and what readers are told.

While it waits for longer than a moment it reports so every REPORT_SECONDS. The report is stored
nowhere: who comes later gets the next one.
"""

import random
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import gevent
import structlog

from shared import awake
from shared.bus.coding import Retrying
from shared.errors import GenerationFailed
from worker import metrics
from worker.provider.refusals import Refusal

#: Seconds that all tries together may wait for a provider that is down or overloaded.
RETRY_BUDGET: Final = 60.0
#: Tries of a provider that answers 200 and then reports an error before any text.
TRIES_IN_STREAM: Final = 4
#: Seconds of the first pause between tries; it doubles.
BACKOFF: Final = 0.5

#: Seconds between two reports, and of a pause that is too short to be reported.
REPORT_SECONDS: Final = 2.0
UNSEEN_SECONDS: Final = 1.0

#: Takes what readers are told.
Report = Callable[[Retrying], None]

log = structlog.get_logger("provider")


class Retries:
    """The tries of one request."""

    def __init__(self, report: Report = lambda _: None) -> None:
        self._report = report
        self._count = 0
        self._reported = False
        self._begun = time.monotonic()
        self._pause = BACKOFF
        self._in_stream = 1

    def wait(self, refusal: Refusal) -> None:
        """Wait for the next try. Raises GenerationFailed if there is none.

        A Retry-After makes the pause longer, never shorter.
        """
        self._in_stream += refusal.in_stream
        if self._in_stream > TRIES_IN_STREAM:
            raise GenerationFailed("provider_error", upstream=refusal.upstream) from None
        wait = max(self._pause * random.uniform(0.5, 1.5), refusal.after or 0.0)  # noqa: S311
        if awake.since(self._begun) + wait > RETRY_BUDGET:
            raise GenerationFailed("provider_unavailable", upstream=refusal.upstream) from None
        metrics.RETRIES.labels(str(refusal.status or "connection")).inc()
        log.info("provider.retry", status=refusal.status, wait=round(wait, 2))
        self._count += 1
        self._sleep(wait, Retrying(self._count, refusal.status is not None))
        self._pause *= 2

    def accepted(self) -> None:
        """The provider has accepted the request."""
        if self._reported:
            self._report(Retrying())
            self._reported = False

    def _sleep(self, seconds: float, state: Retrying) -> None:
        if self._count == 1 and seconds < UNSEEN_SECONDS:
            gevent.sleep(seconds)
            return
        self._reported = True
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._report(state)
            gevent.sleep(min(left, REPORT_SECONDS))


def retry_after(headers: Mapping[str, Any]) -> float | None:
    """The Retry-After header in seconds: a number, or a date (RFC 9110, 10.2.3).

    A date is compared with the response's own Date, if it has one: the provider's clock may be
    wrong. What cannot be parsed is None.
    """
    value = headers.get("retry-after", "").strip()
    try:
        seconds = float(value)
        return max(0.0, seconds) if seconds < float("inf") else None
    except ValueError:
        pass
    moment, now = _parsed(value), _parsed(headers.get("date", ""))
    return max(0.0, (moment - (now or datetime.now(UTC))).total_seconds()) if moment else None


def _parsed(date: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(date)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
