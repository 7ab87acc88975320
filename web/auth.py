"""Who asks. `local`: one user, on this machine only, no credential.

Every request is checked before its route, whatever the route is: a static file and an address that
does not exist, too. Why which check is there is told in `shared.origins`.
"""

import ipaddress
import uuid
from functools import lru_cache
from typing import Any, Final
from urllib.parse import urlsplit

from flask import Flask, current_app, request

from shared import origins
from shared.errors import Forbidden
from shared.store.tables import LOCAL_USER
from web.errors import NoCredential

Environ = dict[str, Any]

#: What a load balancer may ask from outside, by whatever name it likes.
_OPEN: Final = frozenset({"/healthz", "/readyz"})


def register(app: Flask) -> None:
    """Check every request before its route."""
    app.before_request(_check)


def current_user() -> uuid.UUID:
    """The user of this request."""
    return LOCAL_USER


def must_operate() -> None:
    """Raise Forbidden unless who asks may look at what everybody does.

    Without sign-in the one user is the operator, too.
    """
    settings = current_app.config["OUTLIVE"]
    if not (settings.live and settings.auth == "local"):
        raise Forbidden("Only operators may see this.", "not_operator")


def _check() -> None:
    settings, environ, path = current_app.config["OUTLIVE"], request.environ, request.path
    local = settings.auth == "local"
    if path not in _OPEN:
        if local:
            _on_this_machine(environ, settings.known_hosts)
        elif settings.known_hosts:
            _by_our_name(environ, settings.known_hosts)
    if "HTTP_SEC_FETCH_SITE" in environ or "HTTP_ORIGIN" in environ:  # or it is no browser
        _from_no_other_site(path)
    if not local and path not in _OPEN:
        raise NoCredential


def _on_this_machine(environ: Environ, more: frozenset[str]) -> None:
    if not _is_loopback(environ.get("REMOTE_ADDR") or ""):
        raise Forbidden("Without sign-in this service answers on its own machine only.", "not_local")
    _by_our_name(environ, _local_names(environ["SERVER_NAME"], more))
    proxy = next(filter(_forwards, environ), None)
    if proxy is not None:
        raise Forbidden(
            "Without sign-in this service answers on its own machine only, and this request came"
            f" through a proxy (it has the header {_header(proxy)}). Connect without the proxy, or"
            " set OUTLIVE_AUTH=required.",
            "forwarded",
        )


@lru_cache(256)  # the same few again and again
def _forwards(key: str) -> bool:
    """Whether this key of an environ is a header that only a proxy sends."""
    return key.startswith("HTTP_") and origins.forwarded_by([_header(key)]) is not None


def _header(key: str) -> str:
    return key.removeprefix("HTTP_").replace("_", "-").title()


def _by_our_name(environ: Environ, known: frozenset[str]) -> None:
    """The name that the request is for: in its first line, if that has one, and in `Host`."""
    target = environ.get("RAW_URI", "/")
    names = [environ.get("HTTP_HOST")]
    if not target.startswith(("/", "*")):
        names.append(urlsplit(target).netloc)
    if not all(origins.is_known(name, known) for name in names):
        raise Forbidden(
            "This service answers to its own name only (more of them: OUTLIVE_HOSTS).", "not_local"
        )


@lru_cache(8)
def _local_names(address: str, more: frozenset[str]) -> frozenset[str]:
    """This machine's, and the address that the server listens on."""
    return origins.LOCAL_NAMES | {f"[{address}]" if ":" in address else address} | more


def _from_no_other_site(path: str) -> None:
    """No other site may act through a person's browser, nor make it read.

    A link from another site may lead to a page, and not to what a page asks for: each stream holds
    one of the few connections that a browser opens to a site.
    """
    site = request.headers.get("Sec-Fetch-Site", "none")
    followed = site not in ("none", "same-origin")
    if (
        origins.is_foreign(request.method, request.headers.get)
        or (followed and path.startswith("/api"))
    ):  # fmt: skip
        raise Forbidden("Requests from other sites are refused.", "cross_site")


@lru_cache
def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
