"""The pages: a template and a script each, without a build step; and the operators' numbers.

Where sign-in is required a page says who is signed in, so browsers must not keep it.
"""

import uuid
from typing import Final

from flask import Blueprint, Response, jsonify, make_response, render_template, request
from werkzeug.exceptions import NotFound

from shared.store import accounts
from web.auth import Right, asked_path, is_navigation, principal, safe_path
from web.context import context
from web.page import languages

blueprint = Blueprint("pages", __name__)

#: `{}`: which pages may show this one in a frame.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; manifest-src 'self'; worker-src 'self'; form-action 'self';"
    " base-uri 'none'; frame-ancestors {};"
    " require-trusted-types-for 'script'; trusted-types blocks service-worker"
)

#: What may have gone wrong at an identity provider, by the word in the address.
PROBLEMS: Final = {
    "refused": "You were not signed in there. Try again.",
    "expired": "That took too long, or began in another browser. Try again.",
    "failed": "The sign-in service cannot be used at the moment. Try again later.",
    "often": "There were too many attempts. Wait a minute, and try again.",
    "disabled": "You may not use this service any more.",
}

#: Why somebody is on the sign-in page who did not want to go there, in the same place.
HINTS: Final = {
    "ended": "You are signed out here, or your session has ended. Sign in to go on.",
    "deleted": "Your account is deleted, and what was yours is being removed.",
}
#: The cookie in which a browser keeps a person's choice of light or dark (theme.js); its values.
#: A cookie, as the first byte of a page has to know it: nothing flashes, and no script runs first.
_THEME: Final = "outlive_theme"
_THEMES: Final = frozenset({"light", "dark"})
#: Refusals of what comes by a wrong way: the files of a page would be refused there, too.
_FROM_ELSEWHERE: Final = ("not_local", "forwarded", "cross_site")


@blueprint.get("/")
@blueprint.get("/c/<uuid:conversation_id>")
def page(conversation_id: uuid.UUID | None = None) -> Response:  # noqa: ARG001 - the script reads it
    """The chat. Its script reads the conversation from the address."""
    settings, who = context().settings, principal()
    signed_in = who.credential.kind == "session"
    names = accounts.names_of(context().db, who.user_id) if signed_in else None
    return _page(
        "index.html",
        framed=True,
        model=settings.model,
        limit=settings.question_chars,
        shares=settings.auth != "local",
        user=str(who.user_id),
        name=names and names.name,
        login=names and names.login,
        watches=Right.WATCH in who.rights,
        push_key=context().push_key,
    )


@blueprint.get("/c/<path:nothing>")
def no_page(nothing: str) -> Response:  # noqa: ARG001 - it is no conversation's id
    """404, as the page: with the list of conversations, and a form for a new one."""
    response = page()
    response.status_code = 404
    return response


@blueprint.get("/sign-in")
def sign_in() -> Response:
    """Where people sign in. `?next=` is where they go then."""
    sign_ins = context().sign_ins
    if sign_ins is None:
        raise NotFound
    why = request.args.get("problem", "")
    return _page(
        "sign-in.html",
        framed=True,
        next=safe_path(request.args.get("next", "/")),
        provider=sign_ins.provider.name if sign_ins.provider else None,
        problem=PROBLEMS.get(why),
        hint=HINTS.get(why),
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
    return _page("dashboard.html", user=str(principal().user_id))


@blueprint.get("/api/live")
def dashboard_state() -> Response:
    """What the dashboard shows: numbers, ids and codes; no text."""
    return jsonify(context().dashboard.state())


@blueprint.after_app_request
def show_error(response: Response) -> Response:
    """An error as a page, where a browser asked for one: people read no problem documents."""
    if response.status_code < 400 or not is_navigation(request):
        return response
    if response.mimetype != "application/problem+json":
        return response
    document = response.get_json()
    if document["code"] in _FROM_ELSEWHERE:
        return response
    shown = _page(
        "error.html",
        framed=True,
        detail=_language().why(document["code"], document["detail"]),
        again=asked_path(request) if response.status_code in (429, 503) else None,
    )
    response.data = shown.data
    for name in ("Content-Type", "Content-Security-Policy", "Content-Language"):
        response.headers[name] = shown.headers[name]
    response.vary.update(shown.vary)
    return response


def _language() -> languages.Language:
    """The language of the page that is asked for."""
    return languages.choose(
        request.cookies.get(languages.COOKIE),
        request.accept_languages,
        context().settings.language,
    )


def _page(template: str, *, framed: bool = False, **values: str | int | None) -> Response:
    """A page. `framed`: listed origins may show it in a frame."""
    theme = request.cookies.get(_THEME)
    values["theme"] = theme if theme in _THEMES else None
    language = _language()
    response = make_response(render_template(template, t=language.t, language=language, **values))
    response.headers["Content-Language"] = language.code
    response.vary.update(("Accept-Language", "Cookie"))
    origins = sorted(context().settings.frames) if framed else []
    response.headers["Content-Security-Policy"] = _POLICY.format(" ".join(origins) or "'none'")
    # `no-store` also keeps Back from being instant, so only where a page may outlive a sign-out.
    signed_in = context().sign_ins is not None
    response.headers["Cache-Control"] = "no-store" if signed_in else "no-cache"
    return response
