"""Error bodies as OpenAI sends them, and the steps that answer with them. Pure."""

import json
from typing import Any

from scripted.steps import Step, status


def error_body(
    message: str, kind: str = "invalid_request_error", code: str | None = None, param: str = ""
) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": param or None, "code": code}}


def encoded(body: Any, code: int) -> bytes:
    """The bytes of an error's body; a str is sent as it is, None is a body like OpenAI's."""
    if isinstance(body, str):
        return body.encode()
    return json.dumps(_usual(code) if body is None else body).encode()


def _usual(code: int) -> dict[str, Any]:
    kinds = {429: ("rate_limit_exceeded", "requests"), 503: (None, "service_unavailable")}
    name, kind = kinds.get(code, (None, "server_error" if code >= 500 else "invalid_request_error"))
    return error_body(f"Scripted answer {code}", kind, name)


def unsupported(name: str) -> dict[str, Any]:
    message = f"Unsupported parameter: '{name}' is not supported with this model."
    return error_body(message, code="unsupported_parameter", param=name)


def wrong_key(times: int | None = None) -> Step:
    """401: the key is wrong."""
    message = "Incorrect API key provided."
    return status(401, error_body(message, code="invalid_api_key"), times=times)


def unknown_model(name: str = "scripted-unknown", times: int | None = None) -> Step:
    """404: there is no such model."""
    message = f"The model `{name}` does not exist or you do not have access to it."
    return status(404, error_body(message, code="model_not_found"), times=times)


def too_long(times: int | None = None) -> Step:
    """400: the prompt does not fit into the model's context."""
    message = "This model's maximum context length is 128000 tokens."
    body = error_body(message, code="context_length_exceeded", param="messages")
    return status(400, body, times=times)


def rate_limited(
    retry_after: float | None = None, as_date: bool = False, times: int | None = None
) -> Step:
    """429, with either form of Retry-After."""
    return status(429, retry_after=retry_after, as_date=as_date, times=times)
