"""The API's document at /api/openapi.json, and the same as a page at /api/docs.

Both are made once, when a process starts: they are the same for every request.
"""

from typing import Any

from flask import Blueprint, Flask, Response, current_app, json, render_template

from web.contract import reading

blueprint = Blueprint("reference", __name__, url_prefix="/api")

#: No script, nothing from elsewhere, no form.
_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'none';"
    " base-uri 'none'; frame-ancestors 'none'"
)


def register(app: Flask, document: dict[str, Any]) -> None:
    """Serve this document, and its page."""
    with app.test_request_context():
        page = render_template(
            "reference.html",
            info=document["info"],
            security=document["components"]["securitySchemes"],
            groups=reading.groups(document),
            shapes=reading.shapes(document),
            prose=reading.prose,
        )
        text = json.dumps(document, ensure_ascii=False, sort_keys=False)
    app.extensions["reference"] = {"text": text, "page": page}


@blueprint.get("/openapi.json")
def openapi() -> Response:
    """What clients can be generated from. `/api/docs` is the same for people."""
    return Response(current_app.extensions["reference"]["text"], content_type="application/json")


@blueprint.get("/docs")
def page() -> Response:
    """The same as a page without scripts."""
    headers = {"Content-Security-Policy": _POLICY, "Cache-Control": "no-cache"}
    return Response(
        current_app.extensions["reference"]["page"],
        content_type="text/html; charset=utf-8",
        headers=headers,
    )
