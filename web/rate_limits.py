"""How many requests in a minute: per user, service key and address, by Flask-Limiter.

A request counts for its address before its credential is checked, so that guesses are counted, too,
and those over the limit cost no statement. When it was let in, one that starts an answer counts as
asking, every other one of a user as reading. `counted_sign_in` counts attempts to sign in. A
refusal is 429 `rate_limited`, and each counted response says where it stands: RateLimit-Limit,
-Remaining and -Reset (seconds) of the limit that has the fewest requests left, as in draft-ietf-
httpapi-ratelimit-headers.

Each process counts by itself and brings its counts to Redis ten times a second
(`shared.bus.counting`), so no request waits for Redis. Within that time, and while Redis is away,
a limit holds for each process by itself.

Streams and files are not counted: EventSource gives up for ever after a 429. The number of streams
is limited instead (`Readers`), and credentials that are refused there are counted apart, so that
only an address that guesses loses its streams. Without sign-in there are no limits, unless a
setting asks for one; nothing is registered then, and requests pay nothing.
"""

import hashlib
import ipaddress
import math
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from typing import Any, Final

from flask import Flask, Response, current_app, g, request
from flask_limiter import ApplicationLimit, Limiter, RequestLimit
from limits import RateLimitItem, parse
from limits.storage import Storage
from limits.strategies import FixedWindowRateLimiter

from shared.bus.counting import Counters
from shared.errors import RateLimited
from shared.settings import Settings

#: Counts of which the end is remembered: those of the requests that are being answered.
_REMEMBERED: Final = 1_000
#: Bits of an IPv6 address that name a network; whoever has one address has all of them.
_NETWORK: Final = 64
#: What is counted of an address: all its requests, and its credentials that were refused.
_ADDRESS, _REFUSED = "address", "refused"


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
    """The limits of one app: made before the gate is registered, `count_users` after it."""

    def __init__(
        self,
        app: Flask,
        settings: Settings,
        asking: Collection[str],
        uncounted: Collection[str],
        public: Collection[str],
    ) -> None:
        """Count the requests of each address. `asking`: the endpoints that start an answer;
        `uncounted`: those of which only refused credentials count; `public`: those that ask for
        none."""
        self._app, self._settings = app, settings
        self._asking, self._uncounted = frozenset(asking), frozenset(uncounted)
        self._public = frozenset(public)
        self._sign_in: RateLimitItem | None = None
        self._limiter: Limiter | None = None
        app.extensions["outlive_rate_limits"] = self
        if not settings.limits_rates:
            return
        self.counters = Counters(settings.redis_url, settings.prefix)
        self._window = FixedWindowRateLimiter(CounterStorage(counters=self.counters))
        if settings.sign_in_rate:
            self._sign_in = parse(settings.sign_in_rate)
        if settings.address_rate:
            self._address = parse(settings.address_rate)
            app.before_request(self._count_address)
            app.after_request(self._count_refused)
        app.after_request(self._headers)

    def count_users(self) -> None:
        """Count requests that were let in, by their user and their service key."""
        if not self._settings.limits_rates:
            return
        options: Any = {"counters": self.counters}
        self._limiter = Limiter(
            address,
            app=self._app,
            application_limits=[
                *self._limits(self._settings.ask_rate, self._asks),
                *self._limits(self._settings.read_rate, self._reads),
            ],
            storage_uri="outlive://",
            storage_options=options,
            strategy="fixed-window",
            on_breach=_refuse,
        )

    def _count_address(self) -> None:
        """Refuse an address that is over its limit, before its credential is checked."""
        if request.endpoint in self._public:
            return
        if request.endpoint in self._uncounted:
            self._hit(self._address, _REFUSED, cost=0)
        else:
            g.counted_address = True
            self._hit(self._address, _ADDRESS)

    def _count_refused(self, response: Response) -> Response:
        """Count a credential that was refused where nothing else is counted: a 401, for a link to a
        shared conversation a 404."""
        refused = response.status_code in (401, 404) and "principal" not in g
        if refused and request.endpoint in self._uncounted:
            self._window.hit(self._address, _REFUSED, address())
        return response

    def _hit(self, item: RateLimitItem, kind: str, *, cost: int = 1, whose: str = "") -> None:
        """Count; raises RateLimited over the limit."""
        place = (kind, whose or address())
        if not self._window.hit(item, *place, cost=cost):
            stats = self._window.get_window_stats(item, *place)
            raise RateLimited(limit=str(item), retry_after=_seconds_until(stats.reset_time))

    def _limits(self, rate: str, applies: Callable[[], bool]) -> list[ApplicationLimit]:
        """One for the user and one for the service key."""
        if not rate:
            return []
        kind = "ask" if applies == self._asks else "read"
        return [
            ApplicationLimit(
                rate,
                key_function=lambda: f"{kind}:user:{_reader()}",
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
        """Where the request stands. A refusal says it already, of the limit that refused."""
        if "RateLimit-Limit" in response.headers:
            return response
        found = [
            (limit.remaining, limit.limit.amount, _seconds_left(limit))
            for limit in (self._limiter.current_limits if self._limiter else ())
        ]
        if "counted_address" in g:
            stats = self._window.get_window_stats(self._address, _ADDRESS, address())
            found.append((stats.remaining, self._address.amount, _seconds_until(stats.reset_time)))
        if found:
            remaining, amount, seconds = min(found)
            response.headers["RateLimit-Limit"] = str(amount)
            response.headers["RateLimit-Remaining"] = str(remaining)
            response.headers["RateLimit-Reset"] = str(seconds)
        return response

    @contextmanager
    def counted_sign_in(self, login: str | None, *, is_known: bool) -> Iterator[None]:
        """See the function of this name."""
        if self._sign_in is None:
            yield
            return
        account = hashlib.sha256((login or "").encode()).hexdigest()[:32]
        if is_known:
            self._hit(self._sign_in, "sign-in:known", whose=account)
            yield
            return
        self._hit(self._sign_in, "sign-in:address")
        if login is not None:
            self._hit(self._sign_in, "sign-in:account", whose=account)
        yield
        self._window.hit(self._sign_in, "sign-in:address", address(), cost=-1)


def counted_sign_in(
    login: str | None = None, *, is_known: bool = False
) -> AbstractContextManager[None]:
    """Count an attempt to sign in before it is made: by its address, and by the account, if any.

    For its address it counts no more if it succeeds, as many people may share one. From a browser
    that the account knows it counts for the account only, and apart from what others send: they
    may be guessing. The same for a login that does not exist. Raises RateLimited (429). Without
    limits it does nothing.
    """
    limits: RateLimits = current_app.extensions["outlive_rate_limits"]
    return limits.counted_sign_in(login, is_known=is_known)


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


def _reader() -> str:
    """The request's user; of those who read by one link, which may be many, the address."""
    who = g.principal
    if who.credential.kind == "share":
        return f"{who.user_id}:{address()}"
    return str(who.user_id)


def _refuse(limit: RequestLimit) -> Response | None:
    raise RateLimited(limit=str(limit.limit), retry_after=_seconds_left(limit))


def _seconds_left(limit: RequestLimit) -> int:
    return max(1, int(limit.reset_at - time.time()))  # Flask-Limiter has rounded it up


def _seconds_until(moment: float) -> int:
    return max(1, math.ceil(moment - time.time()))
