"""Signing in with an account or at an identity provider, changing a password, and signing out.

With an account all are JSON, which no other site's form can send. That another site's page can do
none of them is checked before these routes run: by the site that a browser names
(`web/auth/site.py`), and in a session by its CSRF token, too.

At an identity provider a browser is sent there, and comes back with an address that is good for
this browser only (`web/auth/oidc.py`). What goes wrong there is said on the sign-in page.
"""

import uuid
from contextlib import suppress
from typing import Final, cast

from flask import Blueprint, Response, redirect, request
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response as BaseResponse

from shared import logins, passwords
from shared.errors import Invalid, RateLimited, RedisDown
from shared.store import sessions
from web import requests, schemas
from web.auth import Principal, Revoked, principal, safe_path, sign_in_path
from web.auth.oidc import ATTEMPT_SECONDS, CALLBACK, IdentityProvider, NotSignedIn
from web.auth.sign_ins import SignedIn, SignIns
from web.context import context
from web.errors import SignInFailed
from web.rate_limits import counted_sign_in

blueprint = Blueprint("sign_in", __name__)

#: Bytes of a body: strangers send them, and a large one takes long to parse. (A password's
#: characters may be escaped.)
_MAX_BODY: Final = 64 << 10


@blueprint.post("/api/sign-in")
def sign_in() -> Response:
    """204 and the cookies of a new session; the browser's session before ends."""
    request.max_content_length = _MAX_BODY
    sent = requests.json_body(schemas.SignInBody)
    sign_ins, cookies = _sign_ins(), context().session_cookies
    login = logins.normal(sent.login) or ""
    with counted_sign_in(login, is_known=sign_ins.knows(login, cookies.device(request))):
        done = sign_ins.with_password(
            login, sent.password, address=_address(), replaces=cookies.hash(request)
        )
    response = _begin(_nothing(), done)
    cookies.set_device(response, done.device)
    return response


@blueprint.get("/sign-in/oidc")
def begin_oidc() -> Response:
    """To the identity provider. A link on another site leads to the sign-in page only."""
    provider = _provider()
    back = safe_path(request.args.get("next", "/"))
    if request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
        return _to(sign_in_path(back))
    try:
        begun = provider.begin()
    except NotSignedIn as error:
        return _to(sign_in_path(back, error.why))
    response = _to(begun.url)
    context().session_cookies.set_attempt(response, begun.secret, back, ATTEMPT_SECONDS)
    return response


@blueprint.get(CALLBACK)
def finish_oidc() -> Response:
    """From the identity provider, with a session to where the person wanted to go."""
    provider, cookies = _provider(), context().session_cookies
    secret, back = cookies.attempt(request)
    try:
        with counted_sign_in():
            identity = provider.finish(secret, request.args)
            done = _sign_ins().with_identity(
                provider.issuer, identity, address=_address(), replaces=cookies.hash(request)
            )
        response = _begin(_to(safe_path(back)), done)
    except NotSignedIn as error:
        response = _to(sign_in_path(safe_path(back), error.why))
    except SignInFailed:
        response = _to(sign_in_path(safe_path(back), "disabled"))
    except RateLimited:
        response = _to(sign_in_path(safe_path(back), "often"))
    cookies.clear_attempt(response)
    return response


@blueprint.post("/api/sign-out")
def sign_out() -> Response:
    """204; the session's streams end at once, and with `everywhere` those of all of the user."""
    wanted = requests.json_body(schemas.SignOutBody)
    _sign_ins()
    who = _in_session()
    session_id = uuid.UUID(who.credential.id)
    end = sessions.end_all if wanted.everywhere else sessions.end
    end(context().db, who.user_id, session_id, _address())
    _revoke(who.user_id if wanted.everywhere else who.credential)
    response = _nothing()
    context().session_cookies.clear(response)
    return response


@blueprint.post("/api/user/password")
def change_password() -> Response:
    """204; the user's other sessions end with their streams at once, this one goes on.

    The current password is checked as at a sign-in, and a wrong one counts as an attempt.
    """
    request.max_content_length = _MAX_BODY
    sent = requests.json_body(schemas.PasswordChange)
    sign_ins, cookies, who = _sign_ins(), context().session_cookies, _in_session()
    why = passwords.why_refused(sent.new)
    if why is not None:
        raise Invalid(why, "invalid_password")
    login = sign_ins.login_of(who.user_id)
    with counted_sign_in(login, is_known=sign_ins.knows(login, cookies.device(request))):
        done = sign_ins.change_password(login, who, sent.current, sent.new, address=_address())
    _revoke(*done.ended)
    response = _nothing()
    cookies.set_device(response, done.device)
    return response


def _in_session() -> Principal:
    """Who asks, in a session of theirs."""
    who = principal()
    if who.credential.kind != "session":
        raise Invalid(code="no_session")
    return who


def _sign_ins() -> SignIns:
    found = context().sign_ins
    if found is None:  # nobody has to sign in
        raise NotFound
    return found


def _provider() -> IdentityProvider:
    found = _sign_ins().provider
    if found is None:
        raise NotFound
    return found


def _begin(response: Response, done: SignedIn) -> Response:
    """Have the browser keep the new session, and end those that it replaces."""
    _revoke(*done.ended)
    context().session_cookies.set(response, done.token)
    return response


def _revoke(*ones: Revoked) -> None:
    """End the streams of users or credentials, here and in every other process."""
    here = context()
    for one in ones:
        here.revocations.note(one)
        here.readers.evict(one)
    with suppress(RedisDown):  # the others find out when they next ask Postgres
        for one in ones:
            if isinstance(one, uuid.UUID):
                here.livelog.notify_revoked("user", one)
            else:
                here.livelog.notify_revoked(one.kind, uuid.UUID(one.id))


def _nothing() -> Response:
    return _not_kept(Response(status=204))


def _to(url: str) -> Response:
    return _not_kept(redirect(url))


def _not_kept(response: BaseResponse) -> Response:
    response.headers["Cache-Control"] = "no-store"
    return cast("Response", response)


def _address() -> str:
    return request.remote_addr or ""
