"""Signing in with an account, and signing out. Both are JSON, which no other site's form can send.

That another site's page can do neither is checked before these routes run: by the site that a
browser names (`web/auth/site.py`), and for signing out by the session's CSRF token, too.
"""

import uuid
from contextlib import suppress

from flask import Blueprint, Response, request
from werkzeug.exceptions import NotFound

from shared import logins
from shared.errors import Invalid, RedisDown
from shared.store import sessions
from web import requests, schemas
from web.auth import Revoked, SignIns, principal
from web.context import context
from web.rate_limits import count_sign_in

blueprint = Blueprint("sign_in", __name__, url_prefix="/api")


@blueprint.post("/sign-in")
def sign_in() -> Response:
    """204 and the cookies of a new session; the browser's session before ends."""
    sent = requests.json_body(schemas.SignInBody)
    sign_ins = _sign_ins()
    # before anything is looked up, so that it says nothing about the account
    count_sign_in(logins.normal(sent.login) or "")
    done = sign_ins.with_password(
        sent.login,
        sent.password,
        address=_address(),
        replaces=context().session_cookies.hash(request),
    )
    for one in done.ended:
        _revoke(one)
    response = _nothing()
    context().session_cookies.set(response, done.token)
    return response


@blueprint.post("/sign-out")
def sign_out() -> Response:
    """204; the session's streams end at once, and with `everywhere` those of all of the user."""
    wanted = requests.json_body(schemas.SignOutBody)
    _sign_ins()
    who = principal()
    if who.credential.kind != "session":
        raise Invalid(code="no_session")
    session_id = uuid.UUID(who.credential.id)
    end = sessions.end_all if wanted.everywhere else sessions.end
    end(context().db, who.user_id, session_id, _address())
    _revoke(who.user_id if wanted.everywhere else who.credential)
    response = _nothing()
    context().session_cookies.clear(response)
    return response


def _sign_ins() -> SignIns:
    found = context().sign_ins
    if found is None:  # nobody has to sign in
        raise NotFound
    return found


def _revoke(one: Revoked) -> None:
    """End the streams of a user or a credential, here and in every other process."""
    here = context()
    here.revocations.note(one)
    here.readers.evict(one)
    kind, revoked = ("user", one) if isinstance(one, uuid.UUID) else (one.kind, uuid.UUID(one.id))
    with suppress(RedisDown):  # the others find out when they next ask Postgres
        here.livelog.notify_revoked(kind, revoked)


def _nothing() -> Response:
    response = Response(status=204)
    response.headers["Cache-Control"] = "no-store"
    return response


def _address() -> str:
    return request.remote_addr or ""
