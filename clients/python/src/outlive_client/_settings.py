"""What both clients are made with, and what follows from it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Union
from urllib.parse import urlsplit

import httpx

from outlive_client._calls import Call
from outlive_client._errors import Unreachable

#: Seconds for which a call is repeated, and for which a stream may bring nothing.
PATIENCE, STREAM_PATIENCE = 60.0, 300.0
#: Seconds in which a server that is there answers, and in which it is there.
TIMEOUT, CONNECT = 30.0, 5.0
#: Seconds of silence after which a stream is dead: three heartbeats of the service.
SILENCE = 45.0

_LOOPBACK = ("127.0.0.1", "::1", "localhost")

#: A credential, or what gives one for each request (a JWT that expires soon).
Token = Union[str, Callable[[], str], None]


@dataclass(frozen=True)
class Settings:
    """How a client reaches the service, and as whom."""

    url: str
    token: Token
    user: str | None
    patience: float
    stream_patience: float

    def headers(self, call: Call[Any]) -> dict[str, str]:
        """The headers of a request: its own, and who makes it."""
        headers = {"Accept": "application/json", **call.headers}
        if call.fields is not None:
            headers["Content-Type"] = "application/json"
        token = self.token() if callable(self.token) else self.token
        if token is not None:
            headers["Authorization"] = f"Bearer {_printable('token', token)}"
        if self.user is not None:
            headers["Outlive-User"] = _printable("user", self.user)
        return headers

    def transport(self) -> dict[str, Any]:
        """What an httpx client is made with.

        A proxy from the environment must not get requests to this machine.
        """
        return {
            "timeout": httpx.Timeout(TIMEOUT, connect=CONNECT),
            "limits": httpx.Limits(max_connections=None, max_keepalive_connections=20),
            "trust_env": urlsplit(self.url).hostname not in _LOOPBACK,
        }

    def unreachable(self, error: httpx.TransportError, *, reached: bool) -> Unreachable:
        """The failure of a connection: temporary if the service was there before."""
        there = not isinstance(error, (httpx.ConnectError, httpx.ConnectTimeout))
        return Unreachable(f"Nothing answers at {self.url}.", temporary=reached or there)


def settings(
    url: str, token: Token, user: str | None, patience: float, stream_patience: float
) -> Settings:
    """Checked settings. Raises ValueError."""
    url = url.rstrip("/")
    where = urlsplit(url)
    if where.scheme not in ("http", "https") or not where.hostname:
        raise ValueError(f"{url!r} does not begin with http:// or https:// and a host")
    where.port  # noqa: B018 - raises ValueError if it is no number
    for name, value in (("token", token), ("user", user)):
        if isinstance(value, str):
            _printable(name, value)
    return Settings(url, token, user, patience, stream_patience)


STREAM_TIMEOUT = httpx.Timeout(SILENCE, connect=CONNECT)


def _printable(name: str, value: str) -> str:
    """The value, which must not be shown if it is refused."""
    if not value or not value.isascii() or not value.isprintable():
        raise ValueError(f"{name} must be printable ASCII, to be sent in a header")
    return value
