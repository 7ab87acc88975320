"""What trusted proxies say about a request: the address it comes from, its scheme and its host.

Whoever connects may send `X-Forwarded-For` and the like, so they count only from an address in
OUTLIVE_TRUSTED_PROXIES; from others they are ignored. Each proxy appends the address that connected
to it. So the list is read from its end for as long as the addresses are trusted, and the first one
that is not is the client: what stands before that is the client's own invention.
`X-Forwarded-Proto` and `X-Forwarded-Host` may be lists or single values, and count as the last
trusted proxy on the way to the client wrote them.

The request's environ is changed in place: rate limits, cookies, links, the check of Origin and the
access log use what stands in it.
"""

import ipaddress
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, Final

from shared import origins
from shared.settings import Network

Environ = dict[str, Any]
WsgiApp = Callable[[Environ, Any], Iterable[bytes]]

#: Proxies on the way of one request; more are not followed.
MOST: Final = 16


def with_proxies(app: WsgiApp, trusted: frozenset[Network]) -> WsgiApp:
    """The app, which believes these networks' forwarded headers."""

    def answer(environ: Environ, start_response: Any) -> Iterable[bytes]:
        believe(environ, trusted)
        return app(environ, start_response)

    return answer


def believe(environ: Environ, trusted: frozenset[Network]) -> None:
    """Put the client's address, scheme and host into the environ, if a trusted proxy sent it."""
    client = environ.get("REMOTE_ADDR", "")
    if not _is_trusted(client, trusted):
        return
    hops = _values(environ, "HTTP_X_FORWARDED_FOR")
    passed = 0  # proxies that have named who connected to them
    while passed < min(len(hops), MOST) and _is_trusted(client, trusted):
        hop = _address(hops[-1 - passed])
        if hop is None:
            break
        client = hop
        passed += 1
    environ["REMOTE_ADDR"] = client
    scheme = _written(environ, "HTTP_X_FORWARDED_PROTO", passed).lower()
    if scheme in ("http", "https"):
        environ["wsgi.url_scheme"] = scheme
    host = _written(environ, "HTTP_X_FORWARDED_HOST", passed)
    if origins.is_host(host):
        environ["HTTP_HOST"] = host


def _values(environ: Environ, name: str) -> list[str]:
    found = environ.get(name)
    return [value.strip() for value in found.split(",")] if found else []


def _written(environ: Environ, name: str, passed: int) -> str:
    """What the last of the trusted proxies wrote; empty if it wrote nothing."""
    values = _values(environ, name)
    return values[-min(max(passed, 1), len(values))] if values else ""


@lru_cache(1024)
def _is_trusted(address: str, trusted: frozenset[Network]) -> bool:
    found = _address(address)
    if found is None:
        return False
    parsed = ipaddress.ip_address(found)
    return any(parsed in network for network in trusted)


@lru_cache(1024)
def _address(text: str) -> str | None:
    """An address in its usual spelling, without a port; None if it is none."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        parsed = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.scope_id is not None:
            return None
        parsed = parsed.ipv4_mapped or parsed
    return str(parsed)
