"""Errors as Anthropic's SDKs expect them: `{"type": "error", "error": {"type", "message"}}`.

Which status an error has, and whether an SDK should repeat the request, is decided in one place for
all gateway faces (`openai_errors.py`): these SDKs repeat after the same statuses. Here the same
response is said in the other form. `code` is ours, beside what the form has; `message` names the
field where one is wrong.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from flask import Response
from pydantic import ValidationError

from shared.store.messages import Message
from web.dialects import openai_errors

#: Status -> type. Others: by the hundred.
TYPES: Final[Mapping[int, str]] = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
#: Steps of a field's path, and characters of each, that are echoed.
_STEPS: Final = 12
_STEP_CHARS: Final = 60


def response_to(error: Exception) -> Response:
    """The response to a request that was refused, or failed."""
    if isinstance(error, ValidationError):
        return _invalid(error)
    return translated(openai_errors.response_to(error))


def response(status: int, message: str, code: str) -> Response:
    """An error."""
    return translated(openai_errors.response(status, message, code))


def again() -> Response:
    """This process cannot wait any longer. A repeat reaches another one, and joins."""
    return translated(openai_errors.again())


def translated(found: Response) -> Response:
    """A response in OpenAI's form, in Anthropic's."""
    if found.status_code < 400:
        return found  # a redirect
    said: Any = found.get_json()
    error = said["error"]
    found.data = json.dumps(document(found.status_code, error["message"], error["code"]))
    return found


def document(status: int, message: str, code: str | None) -> dict[str, Any]:
    """What a response, or the event `error`, says."""
    kind = TYPES.get(status) or ("invalid_request_error" if status < 500 else "api_error")
    return {"type": "error", "error": {"type": kind, "message": message, "code": code}}


def failure(message: Message) -> dict[str, Any]:
    """What the event `error` says of an answer that ended in ERROR."""
    status, error = openai_errors.failure(message)
    return document(status, error["message"], error["code"])


def response_to_failure(message: Message, *, final: bool) -> Response:
    """The response of an answer that failed. `final`: the same request would give the same one."""
    return translated(openai_errors.response_to_failure(message, final=final))


def _invalid(error: ValidationError) -> Response:
    """Say which field is wrong and why, as Anthropic does; never what it held."""
    first, *_ = error.errors(include_url=False, include_input=False)
    field = ".".join(str(step)[:_STEP_CHARS] for step in first["loc"][:_STEPS]) or "body"
    why = first["msg"]
    if first["type"] == "extra_forbidden":
        why = "This field is not known here."
    if first["type"] == "union_tag_invalid":  # its message repeats what was sent
        why = f"Not supported here. Those that are: {first['ctx']['expected_tags']}."
    said: Any = openai_errors.response_to(error).get_json()
    code = said["error"]["code"]
    if field == "thread":
        return _without_threads(f"{field}: {why}", code)
    return response(400, f"{field}: {why}", code)


def _without_threads(sentence: str, code: str) -> Response:
    """As Anthropic refuses a `thread`, a conversation that its server holds: the package's tool
    runner then goes on without one, and sends the whole history."""
    said = document(400, sentence, code)
    details = {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}
    said["error"]["details"] = details
    return Response(json.dumps(said), 400, content_type="application/json")
