"""The pages: a template and a script each, without a build step; and the operators' numbers.

Where sign-in is required a page says who is signed in, so browsers must not keep it.
"""

import uuid
from typing import Final

from flask import Blueprint, Response, jsonify, make_response, render_template, request
from werkzeug.exceptions import NotFound

from shared.store import accounts
from web.auth import Right, principal, safe_path
from web.context import context

blueprint = Blueprint("pages", __name__)

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none';"
    " require-trusted-types-for 'script'; trusted-types blocks"
)

#: What may have gone wrong at an identity provider, by the word in the address.
_PROBLEMS: Final = {
    "refused": "You were not signed in there. Try again.",
    "expired": "That took too long, or began in another browser. Try again.",
    "failed": "The sign-in service cannot be used at the moment. Try again later.",
    "often": "There were too many attempts. Wait a minute, and try again.",
    "disabled": "You may not use this service any more.",
}


@blueprint.get("/")
@blueprint.get("/c/<uuid:conversation_id>")
def page(conversation_id: uuid.UUID | None = None) -> Response:  # noqa: ARG001 - the script reads it
    """The chat. Its script reads the conversation from the address."""
    settings, who = context().settings, principal()
    signed_in = who.credential.kind == "session"
    return _page(
        "index.html",
        model=settings.model,
        shares=settings.auth != "local",
        user=str(who.user_id),
        name=accounts.name_of(context().db, who.user_id) if signed_in else None,
        watches=Right.WATCH in who.rights,
    )


@blueprint.get("/sign-in")
def sign_in() -> Response:
    """Where people sign in. `?next=` is where they go then."""
    sign_ins = context().sign_ins
    if sign_ins is None:
        raise NotFound
    return _page(
        "sign-in.html",
        next=safe_path(request.args.get("next", "/")),
        provider=sign_ins.provider.name if sign_ins.provider else None,
        problem=_PROBLEMS.get(request.args.get("problem", "")),
    )


@blueprint.get("/s")
@blueprint.get("/s/<uuid:conversation_id>")
def shared(conversation_id: uuid.UUID | None = None) -> Response:  # noqa: ARG001 - the script reads it
    """A conversation that others share. Its script finds a link's secret in the fragment, which
    never reaches a server; without one it reads as the user who is signed in."""
    return _page("shared.html")


@blueprint.get("/live")
def dashboard() -> Response:
    """The dashboard, for operators."""
    return _page("dashboard.html")


@blueprint.get("/api/live")
def dashboard_state() -> Response:
    """What the dashboard shows: numbers, ids and codes; no text."""
    return jsonify(context().dashboard.state())


def _page(template: str, **values: str | bool | None) -> Response:
    response = make_response(render_template(template, **values))
    response.headers["Content-Security-Policy"] = _POLICY
    # `no-store` also keeps Back from being instant, so only where a page may outlive a sign-out.
    signed_in = context().sign_ins is not None
    response.headers["Cache-Control"] = "no-store" if signed_in else "no-cache"
    return response
