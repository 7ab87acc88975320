"""The place that a request comes from, and the name that it is for.

Without sign-in (`OUTLIVE_AUTH=local`) only this machine may ask, by a name of ours and not through
a proxy. With sign-in only the name is checked, if OUTLIVE_HOSTS lists any. `shared.origins` says
against which attacks.
"""

import ipaddress
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from shared import origins
from shared.errors import Forbidden
from shared.settings import Settings

Environ = dict[str, Any]


def check_place(settings: Settings, environ: Environ) -> None:
    """Raise Forbidden unless this deployment answers a request like this."""
    if settings.auth == "local":
        _must_be_this_machine(environ, settings.known_hosts)
    elif settings.known_hosts:
        _must_name_us(environ, settings.known_hosts)


def _must_be_this_machine(environ: Environ, more_names: frozenset[str]) -> None:
    if not _is_loopback(environ.get("REMOTE_ADDR") or ""):
        raise Forbidden(
            "Without sign-in this service answers only on the machine that it runs on. Connect from"
            " that machine, for example through an SSH tunnel.",
            "not_local",
        )
    _must_name_us(environ, _local_names(environ["SERVER_NAME"], more_names))
    proxy = next(filter(_is_forwarding, environ), None)
    if proxy is not None:
        raise Forbidden(
            "Without sign-in this service answers only on the machine that it runs on, and this"
            f" request came through a proxy (it has the header {_header(proxy)}). Connect without"
            " the proxy, or set OUTLIVE_AUTH=required.",
            "forwarded",
        )


@lru_cache(256)  # requests have the same few headers
def _is_forwarding(key: str) -> bool:
    """Whether this key of an environ is a header that only a proxy sends."""
    return key.startswith("HTTP_") and origins.forwarded_by([_header(key)]) is not None


def _header(key: str) -> str:
    return key.removeprefix("HTTP_").replace("_", "-").title()


def _must_name_us(environ: Environ, known: frozenset[str]) -> None:
    """Check the host that the request is for: in `Host`, and in its first line if that has one."""
    target = environ.get("RAW_URI", "/")
    names = [environ.get("HTTP_HOST")]
    if not target.startswith(("/", "*")):
        names.append(urlsplit(target).netloc)
    if not all(origins.is_known(name, known) for name in names):
        raise Forbidden(
            "This service does not know the host name in this request. Use a name that it knows, or"
            " add this one to OUTLIVE_HOSTS.",
            "not_local",
        )


@lru_cache(8)
def _local_names(address: str, more: frozenset[str]) -> frozenset[str]:
    """The names of this machine, and the address that the server listens on."""
    return origins.LOCAL_NAMES | {f"[{address}]" if ":" in address else address} | more


@lru_cache
def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
