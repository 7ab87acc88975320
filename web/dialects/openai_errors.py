"""Errors as OpenAI's SDKs expect them: `{"error": {"message", "type", "param", "code"}}`.

The SDKs repeat a request after 408, 409, 429 and 5xx, and after no other status. So what is final
is a 4xx of another number, or says `x-should-retry: false`. An answer that failed has the status
and the code of the provider where the provider named one; otherwise those of STATUSES.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

import structlog
from flask import Response, request
from pydantic import ValidationError
from werkzeug.exceptions import HTTPException

from shared.errors import REQUEST_ERRORS, OutliveError
from shared.store.messages import Message
from web import errors
from web.mistakes import sentence

#: Code of an answer that ended in ERROR -> the status of its response.
STATUSES: Final[Mapping[str, int]] = {
    "worker_lost": 502,
    "worker_shutdown": 503,
    "queue_timeout": 503,
    "deadline": 504,
    "storage": 503,
    "provider_rejected": 400,
    "provider_unavailable": 503,
    "provider_error": 502,
    "provider_empty": 502,
    "provider_cut": 502,
    "provider_stalled": 504,
    "provider_malformed": 502,
}
#: pydantic's type of an error -> OpenAI's code.
_CODES: Final = {
    "extra_forbidden": "unknown_parameter",
    "not_supported": "unsupported_parameter",
    "refused": "unsupported_parameter",
    "missing": "missing_required_parameter",
}
#: Code points of a field's name that are echoed.
_NAME_CHARS: Final = 200
#: Refusals with a status that SDKs repeat, for which that is no use.
_FINAL: Final = ("budget_exhausted",)

log = structlog.get_logger("web")


def response_to(error: Exception) -> Response:
    """The response to a request that was refused, or failed."""
    if isinstance(error, OutliveError):
        return _of_ours(error)
    if isinstance(error, ValidationError):
        return _invalid(error)
    if isinstance(error, HTTPException):
        return _of_http(error)
    # Not the message, which may quote a user's text.
    log.error("web.bug", error=type(error).__name__, endpoint=request.endpoint)
    return response(500, REQUEST_ERRORS["internal"].sentence, "internal")


def response(
    status: int, message: str, code: str, param: str | None = None, *, retry: bool | None = None
) -> Response:
    """An error. `retry`: whether an SDK should repeat the request, if not by the status alone."""
    data = {"error": error_object(status, message, code, param)}
    made = Response(json.dumps(data), status, content_type="application/json")
    if status in (429, 503):
        made.headers["Retry-After"] = "1"
    if retry is not None:
        made.headers["x-should-retry"] = "true" if retry else "false"
    return made


def error_object(
    status: int, message: str, code: str, param: str | None = None
) -> dict[str, str | None]:
    """The object under `error`."""
    return {"message": message, "type": _type(status, code), "param": param, "code": code}


def _type(status: int, code: str) -> str:
    if status == 429:
        return "insufficient_quota" if code in _FINAL else "rate_limit_error"
    if status == 401:
        return "authentication_error"
    if status == 403:
        return "permission_error"
    return "invalid_request_error" if status < 500 else "server_error"


def _of_ours(error: OutliveError) -> Response:
    problem = errors.of_ours(error)
    status = 400 if error.status == 422 else error.status
    param, code = error.fields.get("param"), error.fields.get("openai_code")
    made = response(
        status,
        error.message,
        code if isinstance(code, str) else error.code,
        param if isinstance(param, str) else None,
        retry=False if error.code in _FINAL or status == 409 else None,
    )
    for name, value in problem.headers.items():
        if name not in ("Content-Type", "Content-Length"):
            made.headers[name] = value
    return made


def _of_http(error: HTTPException) -> Response:
    status = error.code or 500
    if status < 400:
        return error.get_response()  # type: ignore[return-value]  # a redirect
    code, sentence = errors.of_status(status)
    return errors.with_allowed(response(status, sentence, code), error)


def _invalid(error: ValidationError) -> Response:
    """Say which field is wrong and why; never what it held."""
    first, *_ = error.errors(include_url=False, include_input=False)
    param = param_of(first["loc"], first["type"])
    code = _CODES.get(first["type"], "invalid_value")
    if code == "unknown_parameter":
        return response(400, f"Unknown parameter: {param!r}.", code, param)
    return response(400, f"{param or 'body'}: {sentence(first)}", code, param or None)


#: What pydantic puts between a place in a list and a field: which of several models it took.
_CHOSEN: Final = frozenset(
    ("system", "developer", "user", "assistant", "tool", "text", "image_url", "input_audio", "file")
)
#: Lists of several models, and the field that says which.
_CHOICES: Final = {"messages": "role", "content": "type"}


def param_of(place: tuple[int | str, ...], kind: str = "") -> str:
    """A field as OpenAI writes it: `messages[0].content[1].type`. What pydantic says below options
    are types that it has tried. `kind`: pydantic's type of the error."""
    kept = place if place[:1] in (("messages",), ("stream_options",)) else place[:1]
    field: list[int | str] = []
    for before, step in zip((None, *kept), kept, strict=False):
        is_choice = isinstance(before, int) and len(field) > 1 and field[-2] in _CHOICES
        if not (is_choice and step in _CHOSEN):
            field.append(step)
    if kind.startswith("union_tag") and len(field) > 1 and field[-2] in _CHOICES:
        field.append(_CHOICES[str(field[-2])])
    name = ""
    for step in field:
        name += f"[{step}]" if isinstance(step, int) else f".{step}" if name else step
    return name[:_NAME_CHARS]


# --- an answer that failed ------------------------------------------------------------------------


def failure(message: Message) -> tuple[int, dict[str, Any]]:
    """The status and the error object of an answer that ended in ERROR."""
    assert message.error_code is not None
    upstream = message.upstream or {}
    status = upstream.get("status")
    if not (isinstance(status, int) and 400 <= status < 600):
        status = STATUSES[message.error_code]
    code = upstream.get("code") or message.error_code
    return status, error_object(status, message.error_message or "", code)


def response_to_failure(message: Message, *, final: bool) -> Response:
    """The response of an answer that failed. `final`: the same request would give the same one."""
    status, found = failure(message)
    return response(status, found["message"], found["code"], retry=False if final else None)


def again() -> Response:
    """This process cannot wait any longer. A repeat reaches another one, and joins."""
    return response(
        503, "The answer is still being written. Send the request again.", "busy", retry=True
    )
