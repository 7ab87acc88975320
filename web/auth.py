"""Who makes a request, and whether they may make it. Checked before every route.

In this order:

1. The **place** it comes from. Without sign-in (`OUTLIVE_AUTH=local`) only this machine may ask, by
   a name of ours and not through a proxy. `shared.origins` says against which attacks.
2. The **site** it comes from: no other site's page may act through a user's browser.
3. The **principal**: today always the local user. With `OUTLIVE_AUTH=required` there is none, since
   this version cannot check a credential: 401.
4. The **right** that the endpoint asks for: its row in `web/routes.py`. An endpoint without a row
   is answered like an address that does not exist.

Steps 1 to 3 hold for every address, also for one that does not exist, so that nothing about the
service can be learned without them. Only PUBLIC endpoints skip 1 and 3.
"""

import ipaddress
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache, partial
from typing import Any, Final, cast
from urllib.parse import urlsplit

from flask import Flask, Request, current_app, g, request
from werkzeug.exceptions import MethodNotAllowed, NotFound
from werkzeug.local import LocalProxy

from shared import origins
from shared.errors import Forbidden
from shared.settings import Settings
from shared.store.tables import LOCAL_USER
from web.errors import NoCredential

Environ = dict[str, Any]


class Right(Enum):
    """What a principal may do."""

    #: Nothing is asked, neither a credential nor one of our names: for a load balancer's probes.
    PUBLIC = "public"
    #: See what belongs to no user: the pages and their files, the models, the metrics.
    USE = "use"
    #: Read one's own conversations.
    READ_OWN = "read own"
    #: Change one's own conversations, and ask in them.
    WRITE_OWN = "write own"
    #: See what runs, for all users.
    OPERATE = "operate"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who makes a request: a user and what they may do."""

    user_id: uuid.UUID
    rights: frozenset[Right]


_OWN_RIGHTS: Final = frozenset({Right.USE, Right.READ_OWN, Right.WRITE_OWN})
#: Without sign-in the only user is also the operator, unless OUTLIVE_LIVE is off.
_LOCAL: Final = Principal(LOCAL_USER, _OWN_RIGHTS)
_LOCAL_OPERATOR: Final = Principal(LOCAL_USER, _OWN_RIGHTS | {Right.OPERATE})


def register(app: Flask, rights: Mapping[str, Right]) -> None:
    """Check every request before its route; `rights` has the right of each endpoint."""
    app.before_request(partial(_check, app.config["OUTLIVE"], rights))


def principal() -> Principal:
    """Who makes this request. A PUBLIC endpoint has no principal."""
    return cast("Principal", g.principal)


def current_user() -> uuid.UUID:
    """The user who makes this request."""
    return principal().user_id


def _check(settings: Settings, rights: Mapping[str, Right]) -> None:
    # Once, as each use of Flask's proxy costs half a microsecond.
    here = cast("LocalProxy[Request]", request)._get_current_object()
    endpoint = _endpoint(here)
    right = rights.get(endpoint) if endpoint is not None else None
    if right is Right.PUBLIC:
        _check_site(here)
        return
    _check_place(settings, here.environ)
    _check_site(here)
    g.principal = who = _authenticate(settings)
    if endpoint is None:
        return  # Flask answers 404
    if right is None:
        raise NotFound
    if here.routing_exception is None and here.method != "OPTIONS":  # else no route runs
        _check_right(right, who)


def _endpoint(here: Request) -> str | None:
    """The endpoint at the request's address, even if the method is wrong; None if there is none."""
    error = here.routing_exception
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        adapter = current_app.create_url_adapter(here)
        assert adapter is not None  # there is one for every request
        endpoint, _ = adapter.match(method=next(iter(error.valid_methods)))
        return str(endpoint)
    return here.endpoint


def _authenticate(settings: Settings) -> Principal:
    if settings.auth != "local":
        raise NoCredential
    return _LOCAL_OPERATOR if settings.live else _LOCAL


def _check_right(right: Right, who: Principal) -> None:
    if right in who.rights:
        return
    if right is Right.OPERATE:
        raise Forbidden(
            "Only operators may see what runs here. Without sign-in, set OUTLIVE_LIVE=on.",
            "not_operator",
        )
    raise NotFound


# --- the place -----------------------------------------------------------------------------------


def _check_place(settings: Settings, environ: Environ) -> None:
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


# --- the site ------------------------------------------------------------------------------------


def _check_site(here: Request) -> None:
    """No other site's page may write through a user's browser, nor read.

    A link from another site may lead to a page, but not to what a page requests: each stream holds
    one of the few connections that a browser opens to a site.
    """
    if "HTTP_SEC_FETCH_SITE" not in here.environ and "HTTP_ORIGIN" not in here.environ:
        return  # no browser sent it
    site = here.headers.get("Sec-Fetch-Site", "none")
    from_elsewhere = site not in ("none", "same-origin")
    if (
        origins.is_foreign(here.method, here.headers.get)
        or (from_elsewhere and here.path.startswith("/api"))
    ):  # fmt: skip
        raise Forbidden(
            "This request comes from another site, which may not use this service. Open the"
            " service's own page instead.",
            "cross_site",
        )
