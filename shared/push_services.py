"""Where notifications may be sent: the services through which browsers are reached. Pure.

A subscription's endpoint is an address that a user gives, and this service sends requests there.
So it has to be one of a list of push services, https on its usual port. Such a name must lead to
public addresses only, which whoever sends has to check (`is_public`). The operator may list a whole
origin instead, for a push service of their own: that one may be at any address.
"""

import ipaddress
import re
from collections.abc import Collection
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from shared.origins import is_host, is_origin

#: The services of Chrome and those made from it, Firefox, Safari and Edge.
SERVICES: Final = (
    "fcm.googleapis.com,*.push.services.mozilla.com,*.push.apple.com,*.notify.windows.com"
)
#: Characters of an endpoint: they have some hundred.
ENDPOINT_CHARS: Final = 2_048

_ENDPOINT: Final = re.compile(r"https?://[!-~]+", re.ASCII)
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


class Place(NamedTuple):
    """Where to connect to for an endpoint."""

    scheme: str
    host: str
    port: int
    #: the operator named this very origin, which may be at a private address
    named: bool

    @property
    def origin(self) -> str:
        """As browsers write it; the audience of what proves who sends."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = {"https": 443, "http": 80}[self.scheme]
        return f"{self.scheme}://{host}" + ("" if self.port == usual else f":{self.port}")


def is_service(text: str) -> bool:
    """Whether this may be in the list: a host, `*.` and a domain, or an origin.

    An origin is https, or http on this machine.
    """
    if "://" in text:
        return is_origin(text) and (
            text.startswith("https://") or urlsplit(text).hostname in _LOOPBACK
        )
    name = text.removeprefix("*.")
    return "." in name and ":" not in name and is_host(name)


def place_of(endpoint: str, services: Collection[str]) -> Place | None:
    """Where an endpoint leads, if that is one of these services."""
    if len(endpoint) > ENDPOINT_CHARS or not _ENDPOINT.fullmatch(endpoint):
        return None
    try:
        url = urlsplit(endpoint)
        host, port = url.hostname, url.port
    except ValueError:
        return None
    if host is None or "@" in url.netloc or "\\" in endpoint or "#" in endpoint:
        return None
    place = Place(url.scheme, host, port or {"https": 443, "http": 80}[url.scheme], named=False)
    if place.origin in services:
        return place._replace(named=True)
    if place.scheme != "https" or place.port != 443:
        return None
    domains = [f"*.{host[at + 1 :]}" for at, character in enumerate(host) if character == "."]
    return place if not {host, *domains}.isdisjoint(services) else None


def is_public(address: str) -> bool:
    """Whether an IP address is one of the internet: not this machine's, nor a private network's."""
    found = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or (found.teredo or (None, None))[1]
        if inner is not None:
            return False  # an IPv4 address in disguise
    return found.is_global and not found.is_multicast
