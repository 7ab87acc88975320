"""The gate before every route.

In this order, after the request was counted for its address (`web/rate_limits.py`):

1. The **place** that the request comes from (`place`).
2. The **site** whose page sends it (`site`).
3. The **principal**: each kind of credential that this deployment accepts is asked who makes the
   request (`kinds`). Without sign-in that is always the local user. If none knows: 401.
4. The **right** that the endpoint asks for: its row in `web/routes.py`. An endpoint without a row
   is answered like an address that does not exist.

Steps 1 to 3 hold for every address, also for one that does not exist, so that nothing about the
service can be learned without them. Only PUBLIC endpoints skip 1 and 3, and OPEN ones skip 3.

A browser that asks for a page without a credential, or with the cookie of a session that has ended,
is sent to the sign-in page. Everything else gets the 401.
"""

from collections.abc import Mapping, Sequence
from typing import cast

from flask import Flask, Request, Response, current_app, g, redirect, request
from werkzeug.exceptions import MethodNotAllowed, NotFound
from werkzeug.local import LocalProxy

from shared.errors import Forbidden
from shared.settings import Settings
from web.auth.credential_kind import CredentialKind
from web.auth.pages import asked_path, is_framed_page, is_navigation, sign_in_path
from web.auth.place import check_place
from web.auth.principal import Principal, Right
from web.auth.scopes import scopes_for
from web.auth.site import check_site
from web.errors import Challenged, InsufficientScope, NoCredential


def register(app: Flask, rights: Mapping[str, Right], kinds: Sequence[CredentialKind]) -> None:
    """Check every request before its route; `rights` has the right of each endpoint."""
    app.before_request(Gate(app.config["OUTLIVE"], rights, kinds).check)


class Gate:
    """What a request has to pass."""

    def __init__(
        self, settings: Settings, rights: Mapping[str, Right], kinds: Sequence[CredentialKind]
    ) -> None:
        self._settings = settings
        self._rights = rights
        self._kinds = kinds

    def check(self) -> Response | None:
        """Set `g.principal`, or send a browser to the sign-in page, or raise what refuses."""
        # Once, as each use of Flask's proxy costs half a microsecond.
        here = cast("LocalProxy[Request]", request)._get_current_object()
        endpoint = _endpoint(here)
        right = self._rights.get(endpoint) if endpoint is not None else None
        if right is Right.PUBLIC:
            check_site(here)
            return None
        check_place(self._settings, here.environ)
        if not (self._settings.frames and is_framed_page(here)):
            check_site(here)
        if right is Right.OPEN:
            return None
        try:
            g.principal = who = self._authenticate(here)
        except Challenged:
            if "HTTP_AUTHORIZATION" not in here.environ and is_navigation(here):
                return _to_sign_in(here)
            raise
        if endpoint is None:
            return None  # Flask answers 404
        if right is None:
            raise NotFound
        if here.routing_exception is None and here.method != "OPTIONS":  # else no route runs
            _check_right(right, who)
        return None

    def _authenticate(self, here: Request) -> Principal:
        for kind in self._kinds:
            found = kind.authenticate(here)
            if found is not None:
                return found
        raise NoCredential


def _endpoint(here: Request) -> str | None:
    """The endpoint at the request's address, even if the method is wrong; None if there is none."""
    error = here.routing_exception
    if isinstance(error, MethodNotAllowed) and error.valid_methods:
        adapter = current_app.create_url_adapter(here)
        assert adapter is not None  # there is one for every request
        endpoint, _ = adapter.match(method=next(iter(error.valid_methods)))
        return str(endpoint)
    return here.endpoint


def _to_sign_in(here: Request) -> Response:
    response = redirect(sign_in_path(asked_path(here)))
    response.headers["Cache-Control"] = "no-store"
    return cast("Response", response)


def _check_right(right: Right, who: Principal) -> None:
    if right in who.rights:
        return
    if right is Right.WATCH and Right.OPERATE in who.rights:
        raise Forbidden("The dashboard is switched off (OUTLIVE_LIVE).", "not_operator")
    if right in (Right.OPERATE, Right.WATCH):
        raise Forbidden(code="not_operator")
    raise InsufficientScope(scopes_for(right)[0])
