"""Who asks. `local`: one user, on this machine only, no credential.

Every request is checked before its route, whatever the route is: a static file and an address that
does not exist, too. Why which check is there is told in `shared.origins`.
"""

import ipaddress
import uuid
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

from flask import Flask, Response, current_app, request

from shared import origins
from shared.errors import Refused
from shared.models import LOCAL_USER
from web.errors import NoCredential

#: What a load balancer may ask from outside, by whatever name it likes.
_OPEN: Final = frozenset({"/healthz", "/readyz"})

#: On every response. Pages say more (web/faces/pages.py).
HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "frame-ancestors 'none'",
}


def register(app: Flask) -> None:
    """Check every request before its route, and say on every response what browsers may do."""
    app.before_request(_check)
    app.after_request(_headers)


def current_user() -> uuid.UUID:
    """The user of this request."""
    return LOCAL_USER


def must_operate() -> None:
    """Raise Refused unless who asks may look at what everybody does.

    Without sign-in the one user is the operator, too.
    """
    settings = current_app.config["OUTLIVE"]
    if not (settings.live and settings.auth == "local"):
        raise Refused("Only operators may see this.", "not_operator")


def _check() -> None:
    settings = current_app.config["OUTLIVE"]
    local = settings.auth == "local"
    if request.path not in _OPEN:
        if local:
            _on_this_machine(settings.known_hosts)
        elif settings.known_hosts:
            _by_our_name(settings.known_hosts)
    _from_no_other_site()
    if not local and request.path not in _OPEN:
        raise NoCredential


def _on_this_machine(more: frozenset[str]) -> None:
    if not _is_loopback(request.remote_addr or ""):
        raise Refused("Without sign-in this service answers on its own machine only.", "not_local")
    _by_our_name(origins.LOCAL_NAMES | {_own_address()} | more)
    proxy = origins.forwarded_by(name for name, _ in request.headers)
    if proxy is not None:
        raise Refused(
            "Without sign-in this service answers on its own machine only, and this request came"
            f" through a proxy (it has the header {proxy}). Connect without the proxy, or set"
            " OUTLIVE_AUTH=required.",
            "forwarded",
        )


def _by_our_name(known: frozenset[str]) -> None:
    """The name that the request is for: in its first line, if that has one, and in `Host`."""
    target = request.environ.get("RAW_URI", "/")
    names = [request.environ.get("HTTP_HOST")]
    if not target.startswith(("/", "*")):
        names.append(urlsplit(target).netloc)
    if not all(origins.is_known(name, known) for name in names):
        raise Refused(
            "This service answers to its own name only (more of them: OUTLIVE_HOSTS).", "not_local"
        )


def _own_address() -> str:
    """The address that the server listens on."""
    address = request.environ["SERVER_NAME"]
    return f"[{address}]" if ":" in address else address


def _from_no_other_site() -> None:
    """No other site may act through a person's browser, nor make it read.

    A link from another site may lead to a page, and not to what a page asks for: each stream holds
    one of the few connections that a browser opens to a site.
    """
    site = request.headers.get("Sec-Fetch-Site", "none")
    followed = site not in ("none", "same-origin")
    if (
        origins.is_foreign(request.method, request.headers.get)
        or (followed and request.path.startswith("/api"))
    ):  # fmt: skip
        raise Refused("Requests from other sites are refused.", "cross_site")


def _headers(response: Response) -> Response:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response


@lru_cache
def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
