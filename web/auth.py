"""Who asks. `local`: one user, on this machine only, no credential."""

import ipaddress
import uuid
from functools import lru_cache
from urllib.parse import urlsplit

from flask import Flask, current_app, request

from shared.errors import Refused
from shared.models import LOCAL_USER
from web.errors import NoCredential

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


#: What a load balancer may ask from outside.
_OPEN = frozenset({"/healthz", "/readyz"})


def register(app: Flask) -> None:
    """Check every request before its route."""
    app.before_request(_check)


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
    if request.path in _OPEN:
        return
    if current_app.config["OUTLIVE"].auth == "required":
        raise NoCredential
    if not (_is_loopback(request.remote_addr or "") and _is_loopback(_name(request.host))):
        raise Refused("Without sign-in this service answers on its own machine only.", "not_local")
    if request.method not in _SAFE:
        _same_origin()


def _same_origin() -> None:
    """No other site may act through a person's browser.

    A browser tells where a request comes from; what says nothing is no browser.
    """
    if request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
        raise Refused("Requests from other sites are refused.", "cross_site")
    origin = request.headers.get("Origin")
    if origin is not None and urlsplit(origin).netloc != request.host:
        raise Refused("Requests from other sites are refused.", "cross_site")


@lru_cache
def _name(host: str) -> str:
    """The host's name without port and brackets."""
    return urlsplit(f"//{host}").hostname or ""


@lru_cache
def _is_loopback(host: str) -> bool:
    # The Host header too: a foreign name that resolves to 127.0.0.1 is an attack (DNS rebinding).
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
