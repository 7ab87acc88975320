"""The pages: a template and a script each, without a build step; and the operators' numbers."""

import uuid

from flask import Blueprint, Response, jsonify, make_response, render_template

from web.context import context

blueprint = Blueprint("pages", __name__)

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none';"
    " require-trusted-types-for 'script'; trusted-types blocks"
)


@blueprint.get("/")
@blueprint.get("/c/<uuid:conversation_id>")
def page(conversation_id: uuid.UUID | None = None) -> Response:  # noqa: ARG001 - the script reads it
    """The chat. Its script reads the conversation from the address."""
    return _page("index.html", model=context().settings.model)


@blueprint.get("/live")
def dashboard() -> Response:
    """The dashboard, for operators."""
    return _page("dashboard.html")


@blueprint.get("/api/live")
def dashboard_state() -> Response:
    """What the dashboard shows: numbers, ids and codes; no text."""
    return jsonify(context().dashboard.state())


def _page(template: str, **values: str) -> Response:
    response = make_response(render_template(template, **values))
    response.headers["Content-Security-Policy"] = _POLICY
    response.headers["Cache-Control"] = "no-cache"  # `no-store` would keep Back from being instant
    return response
