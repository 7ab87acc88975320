"""Errors as HTTP: the only place where an error becomes a status and a problem document.

Problem documents are those of RFC 9457, with a `code` that programs can rely on and a `detail` that
says to a person what happened and what to do. Below the addresses of an API that others defined
(`/v1/`), everything that goes wrong has the form of that API, also where there is no such address.
"""

import math
from collections.abc import Callable, Mapping
from typing import Final

import structlog
from flask import Flask, Response, json, request
from pydantic import ValidationError
from werkzeug.exceptions import HTTPException
from werkzeug.http import HTTP_STATUS_CODES

from shared.errors import REQUEST_ERRORS, OutliveError, TooMany, Unavailable
from web import refusals
from web.mistakes import sentence

log = structlog.get_logger("web")

#: Code points of a field's name that are echoed.
_NAME_CHARS: Final = 200

#: What werkzeug and gunicorn refuse before a route runs.
_BEFORE_ROUTES = (
    "malformed_request",
    "method_not_allowed",
    "request_timeout",
    "too_large",
    "unsupported_media_type",
    "headers_too_large",
)
#: The same by status: code and sentence.
CODES = {
    REQUEST_ERRORS[code].status: (code, REQUEST_ERRORS[code].sentence) for code in _BEFORE_ROUTES
} | {404: ("not_found", "There is nothing at this address. Check the path.")}


class Malformed(OutliveError):
    """The body of the request is not valid JSON."""

    code = "malformed_json"


class NotJson(OutliveError):
    """The body of the request is not sent as JSON."""

    code = "unsupported_media_type"


class Challenged(OutliveError):
    """The request needs a credential, or another one. Its response says so in WWW-Authenticate."""

    @property
    def challenge(self) -> str:
        """The header's value (RFC 6750, 3)."""
        return 'Bearer realm="outlive"'


class NoCredential(Challenged):
    """There is no credential."""

    code = "unauthenticated"


class BadCredential(Challenged):
    """There is one that is not good. It is raised with a code that says how, and no more."""

    code = "token_invalid"

    @property
    def challenge(self) -> str:
        """RFC 6750 has one word for all of them."""
        return f'{super().challenge}, error="invalid_token", error_description="{self.code}"'


class KeysUnavailable(Unavailable):
    """The keys that tokens are checked with were never fetched."""

    code = "keys_unavailable"


class SignInFailed(Challenged):
    """There is no such account, or this is not its password. It never says which."""

    code = "sign_in_failed"


class TooBusy(Unavailable):
    """Too many passwords are being checked in this process."""

    code = "busy"


class InsufficientScope(Challenged):
    """The credential is good, but not for this request."""

    code = "insufficient_scope"

    def __init__(self, scope: str, message: str | None = None) -> None:
        """`scope`: one with which it would be."""
        plain = REQUEST_ERRORS[self.code].sentence.rstrip(".")
        super().__init__(message or f"{plain}: it needs the scope {scope}.")
        self._scope = scope

    @property
    def challenge(self) -> str:
        """The header's value, which names the scope."""
        return f'{super().challenge}, error="insufficient_scope", scope="{self._scope}"'


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


Handler = Callable[[Exception], Response]


def register(app: Flask, dialects: Mapping[str, Handler]) -> None:
    """Answer every error of the app.

    `dialects`: what answers those of addresses that begin so, the longer beginnings first. All
    others get problem documents.
    """

    def respond(error: Exception) -> Response:
        for beginning, handler in dialects.items():
            if request.path.startswith(beginning):
                return counted(error, handler(error))
        return counted(error, of_any(error))

    # HTTPException, too: Flask has handlers of its own for it.
    app.register_error_handler(HTTPException, respond)
    app.register_error_handler(Exception, respond)


def counted(error: Exception, response: Response) -> Response:
    """The response to this error; noted, unless it is none (a redirect, a stream after all)."""
    if response.status_code >= 400:
        refusals.count(_code_of(error))
    return response


def _code_of(error: Exception) -> str:
    if isinstance(error, OutliveError):
        return error.code
    if isinstance(error, ValidationError):
        return "invalid"
    return of_status(error.code or 500)[0] if isinstance(error, HTTPException) else "internal"


def of_any(error: Exception) -> Response:
    """The problem document of any error."""
    if isinstance(error, OutliveError):
        return of_ours(error)
    if isinstance(error, ValidationError):
        return _invalid(error)
    if isinstance(error, HTTPException):
        return _http(error)
    return _bug(error)


def of_ours(error: OutliveError) -> Response:
    """One of our errors."""
    response = problem(error.status, error.code, error.message, **error.fields)
    if error.retry_after is not None:
        response.headers["Retry-After"] = str(max(1, math.ceil(error.retry_after)))
    if isinstance(error, TooMany) and "limit" in error.fields:
        # The limit that refused: a number, or a rate like "60 per 1 minute".
        response.headers["RateLimit-Limit"] = str(error.fields["limit"]).partition(" ")[0]
        response.headers["RateLimit-Remaining"] = "0"
        response.headers["RateLimit-Reset"] = response.headers["Retry-After"]
    if isinstance(error, Challenged):
        response.headers["WWW-Authenticate"] = error.challenge
    return response


def _invalid(error: ValidationError) -> Response:
    """Say which field is wrong and why; never what it held."""
    found = [
        {"field": ".".join(map(str, item["loc"]))[:_NAME_CHARS], "message": sentence(item)}
        for item in error.errors(include_url=False, include_input=False)
    ]
    detail = "; ".join(f"{item['field'] or 'body'}: {item['message']}" for item in found)
    return problem(422, "invalid", detail, errors=found)


def _http(error: HTTPException) -> Response:
    status = error.code or 500
    if status < 400:
        return error.get_response()  # type: ignore[return-value]  # a redirect
    code, detail = of_status(status)
    return with_allowed(problem(status, code, detail), error)


def of_status(status: int) -> tuple[str, str]:
    """Code and sentence of what werkzeug or gunicorn refuses."""
    return CODES.get(status, ("error", HTTP_STATUS_CODES.get(status, "Error")))


def with_allowed(answer: Response, error: HTTPException) -> Response:
    """The answer; that to a wrong method says which there are."""
    allowed = getattr(error, "valid_methods", None)
    if allowed:
        answer.headers["Allow"] = ", ".join(sorted(allowed))
    return answer


def _bug(error: Exception) -> Response:
    # Not the message, which may quote a user's text.
    log.error("web.bug", error=type(error).__name__, endpoint=request.endpoint)
    return problem(500, "internal", REQUEST_ERRORS["internal"].sentence)
