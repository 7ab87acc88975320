"""Errors as HTTP: the only place where an error becomes a status and a problem document.

Problem documents are those of RFC 9457, with a `code` that programs can rely on and a `detail` that
says to a person what happened and what to do.
"""

import structlog
from flask import Flask, Response, json, request
from pydantic import ValidationError
from werkzeug.exceptions import HTTPException
from werkzeug.http import HTTP_STATUS_CODES

from shared import errors
from shared.errors import OutliveError

log = structlog.get_logger("web")

#: The status of an error: that of its class, else of the nearest class that it derives from.
_STATUS: dict[type[OutliveError], int] = {
    errors.NotFound: 404,
    errors.KeyReused: 422,
    errors.Conflict: 409,
    errors.Invalid: 422,
    errors.TooMany: 429,
    errors.Forbidden: 403,
    errors.Unavailable: 503,
}

#: Code and sentence of what werkzeug and gunicorn refuse before a route runs, by status.
CODES = {
    400: ("malformed_request", "This is not a valid HTTP request."),
    404: ("not_found", "There is nothing at this address. Check the path."),
    405: (
        "method_not_allowed",
        "This address does not support this method. The Allow header lists those that it supports.",
    ),
    408: ("request_timeout", "The body of the request came too slowly. Send it again."),
    413: ("too_large", "The request is too large. Send less at once."),
    415: (
        "unsupported_media_type",
        "The body must be JSON, sent with Content-Type: application/json.",
    ),
    431: (
        "headers_too_large",
        "The headers of the request are too large. Send fewer or shorter ones.",
    ),
}


class Malformed(OutliveError):
    """The body of the request is not valid JSON."""

    code = "malformed_json"


class NotJson(OutliveError):
    """The body must be JSON, sent with Content-Type: application/json."""

    code = "unsupported_media_type"


class NoCredential(OutliveError):
    """Sign-in is required, and this version cannot check credentials yet (OUTLIVE_AUTH)."""

    code = "unauthenticated"


_STATUS |= {Malformed: 400, NotJson: 415, NoCredential: 401}


def problem(status: int, code: str, detail: str, **more: object) -> Response:
    """A problem document; 429 and 503 say when to try again."""
    document = {
        "type": "about:blank",
        "title": HTTP_STATUS_CODES.get(status, "Error"),
        "status": status,
        "code": code,
        "detail": detail,
        **more,
    }
    response = Response(json.dumps(document), status, content_type="application/problem+json")
    if status in (429, 503):
        response.headers["Retry-After"] = "1"
    return response


def register(app: Flask) -> None:
    """Answer every error of the app with a problem document."""
    app.register_error_handler(OutliveError, _ours)
    app.register_error_handler(ValidationError, _invalid)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(Exception, _bug)


def _ours(error: OutliveError) -> Response:
    status = next((_STATUS[kind] for kind in type(error).__mro__ if kind in _STATUS), 500)
    return problem(status, error.code, error.message)


def _invalid(error: ValidationError) -> Response:
    """Say which field is wrong and why; never what it held."""
    found = [
        {"field": ".".join(map(str, item["loc"])), "message": item["msg"]}
        for item in error.errors(include_url=False, include_input=False, include_context=False)
    ]
    detail = "; ".join(f"{item['field'] or 'body'}: {item['message']}" for item in found)
    return problem(422, "invalid", detail, errors=found)


def _http(error: HTTPException) -> Response:
    status = error.code or 500
    if status < 400:
        return error.get_response()  # type: ignore[return-value]  # a redirect
    code, detail = CODES.get(status, ("error", HTTP_STATUS_CODES.get(status, "Error")))
    answer = problem(status, code, detail)
    allowed = getattr(error, "valid_methods", None)
    if allowed:
        answer.headers["Allow"] = ", ".join(sorted(allowed))
    return answer


def _bug(error: Exception) -> Response:
    # Not the message, which may quote a user's text.
    log.error("web.bug", error=type(error).__name__, endpoint=request.endpoint)
    return problem(
        500,
        "internal",
        "This is a bug in the service; its log says where. Try again, and report it if it stays.",
    )
