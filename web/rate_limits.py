"""How many requests in a minute: per user, service key and address, by Flask-Limiter.

Each request that starts an answer counts as asking, every other one of a user as reading; both
count for its address. Attempts to sign in are counted by `count_sign_in`. A refusal is 429
`rate_limited`, and each counted response says where it stands: RateLimit-Limit, -Remaining and
-Reset (seconds) of the limit that has the fewest requests left, as in draft-ietf-httpapi-
ratelimit-headers.

Each process counts by itself and brings its counts to Redis ten times a second
(`shared.bus.counting`), so no request waits for Redis. Within that time, and while Redis is away,
a limit holds for each process by itself.

Streams are not counted: EventSource gives up for ever after a 429. Their number is limited instead
(`Readers`). Without sign-in there are no limits, unless a setting asks for one; nothing is
registered then, and requests pay nothing.
"""

import hashlib
import ipaddress
import time
from collections.abc import Callable, Collection
from functools import lru_cache
from typing import Any, Final

from flask import Flask, Response, current_app, g, request
from flask_limiter import ApplicationLimit, Limiter, RequestLimit
from limits import RateLimitItem, parse
from limits.storage import Storage

from shared.bus.counting import Counters
from shared.errors import RateLimited
from shared.settings import Settings

#: Counts of which the end is remembered: those of the requests that are being answered.
_REMEMBERED: Final = 1_000
#: Bits of an IPv6 address that name a network; whoever has one address has all of them.
_NETWORK: Final = 64


class CounterStorage(Storage):
    """Our counters as a storage of `limits`, for its strategy "fixed-window"."""

    STORAGE_SCHEME = ["outlive"]  # noqa: RUF012 - declared so by its base

    def __init__(self, uri: str | None = None, *, counters: Counters, **_: Any) -> None:
        super().__init__(uri)
        self._counters = counters
        #: what was last counted, so that headers need no question to Redis: number, end
        self._last: dict[str, tuple[int, float]] = {}

    @property
    def base_exceptions(self) -> type[Exception]:
        """None is expected: `Counters` raises nothing."""
        return LookupError

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Count; the number after it."""
        found = self._counters.add(key, expiry, amount)
        self._last.pop(key, None)
        self._last[key] = (found.number, time.time() + found.left)
        if len(self._last) > _REMEMBERED:
            del self._last[next(iter(self._last))]
        return found.number

    def get(self, key: str) -> int:
        """The number, as last counted here."""
        return self._last.get(key, (0, 0.0))[0]

    def get_expiry(self, key: str) -> float:
        """When it begins anew, in seconds of the epoch."""
        return self._last.get(key, (0, time.time()))[1]

    def check(self) -> bool:
        """It always works."""
        return True

    def reset(self) -> int | None:
        """Nothing is reset."""
        return None

    def clear(self, key: str) -> None:
        """Forget what was counted here."""
        self._last.pop(key, None)


class RateLimits:
    """The limits of one app."""

    def __init__(
        self,
        app: Flask,
        settings: Settings,
        asking: Collection[str],
        uncounted: Collection[str],
    ) -> None:
        """Count requests after they were let in. `asking`: the endpoints that start an answer;
        `uncounted`: those that are not counted."""
        self._asking, self._uncounted = frozenset(asking), frozenset(uncounted)
        self._sign_in: RateLimitItem | None = None
        app.extensions["outlive_rate_limits"] = self
        if not settings.limits_rates:
            return
        if settings.sign_in_rate:
            self._sign_in = parse(settings.sign_in_rate)
        limits: list[str | Callable[[], str] | ApplicationLimit] = [
            *self._limits(settings.ask_rate, self._asks),
            *self._limits(settings.read_rate, self._reads),
        ]
        if settings.address_rate:
            limits.append(
                ApplicationLimit(
                    settings.address_rate,
                    key_function=lambda: f"address:{address()}",
                    exempt_when=lambda: not (self._asks() or self._reads()),
                )
            )
        self.counters = Counters(settings.redis_url, settings.prefix)
        options: Any = {"counters": self.counters}
        self._limiter = Limiter(
            address,
            app=app,
            application_limits=limits,
            storage_uri="outlive://",
            storage_options=options,
            strategy="fixed-window",
            on_breach=_refuse,
        )
        app.after_request(self._headers)

    def _limits(self, rate: str, applies: Callable[[], bool]) -> list[ApplicationLimit]:
        """One for the user and one for the service key."""
        if not rate:
            return []
        kind = "ask" if applies == self._asks else "read"
        return [
            ApplicationLimit(
                rate,
                key_function=lambda: f"{kind}:user:{g.principal.user_id}",
                exempt_when=lambda: not applies(),
            ),
            ApplicationLimit(
                rate,
                key_function=lambda: f"{kind}:key:{_key()}",
                exempt_when=lambda: not applies() or _key() is None,
            ),
        ]

    def _asks(self) -> bool:
        return request.endpoint in self._asking and "principal" in g

    def _reads(self) -> bool:
        endpoint = request.endpoint
        return endpoint not in self._asking and endpoint not in self._uncounted and "principal" in g

    def _headers(self, response: Response) -> Response:
        """Where the request stands."""
        limits = self._limiter.current_limits
        if limits:
            tightest = min(limits, key=lambda limit: limit.remaining)
            response.headers["RateLimit-Limit"] = str(tightest.limit.amount)
            response.headers["RateLimit-Remaining"] = str(tightest.remaining)
            response.headers["RateLimit-Reset"] = str(_seconds_left(tightest))
        return response

    def count_sign_in(self, login: str) -> None:
        """Count an attempt to sign in, by its address and by the account. Raises RateLimited."""
        if self._sign_in is None:
            return
        account = hashlib.sha256(login.encode()).hexdigest()[:32]
        for who in (f"address:{address()}", f"account:{account}"):
            item, place = self._sign_in, ("sign-in", who)
            if not self._limiter.limiter.hit(item, *place):
                stats = self._limiter.limiter.get_window_stats(item, *place)
                raise RateLimited(
                    limit=str(item), retry_after=max(0.0, stats.reset_time - time.time())
                )


def count_sign_in(login: str) -> None:
    """Count an attempt to sign in to this account, before the password is checked.

    Raises RateLimited (429). Without limits it does nothing.
    """
    limits: RateLimits = current_app.extensions["outlive_rate_limits"]
    limits.count_sign_in(login)


def address() -> str:
    """The address that the request comes from; of IPv6 the network."""
    return _network(request.remote_addr or "")


@lru_cache(1024)
def _network(found: str) -> str:
    try:
        parsed = ipaddress.ip_address(found)
    except ValueError:
        return "unknown"
    if parsed.version == 4:
        return found
    return str(ipaddress.ip_network((parsed, _NETWORK), strict=False).network_address)


def _key() -> object:
    """The service key of the request's principal, if it has one."""
    return getattr(g.principal, "key_id", None)


def _refuse(limit: RequestLimit) -> Response | None:
    raise RateLimited(limit=str(limit.limit), retry_after=_seconds_left(limit))


def _seconds_left(limit: RequestLimit) -> int:
    return max(1, int(limit.reset_at - time.time()))  # Flask-Limiter has rounded it up
