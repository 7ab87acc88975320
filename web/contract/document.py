"""The OpenAPI document, made once when a process starts.

Where each line of it comes from: addresses and methods from the routes, rights from
`web/routes.py`, the rest of an operation from its row in `web/operations.py` and the docstring of
its route, bodies from the pydantic models that check or make them, codes and their sentences from
`shared/errors.py`.

OpenAPI 3.1 has no words for a stream of events. As 3.2 does it, a response of events has the schema
of one event, in `x-itemSchema`.
"""

import inspect
import re
from collections.abc import Mapping
from typing import Any, Final

from flask import Flask
from werkzeug.http import HTTP_STATUS_CODES
from werkzeug.routing import Rule, UUIDConverter

from shared.errors import REQUEST_ERRORS
from web.auth import Right
from web.auth.scopes import scopes_for
from web.contract.components import description, frame_name, ref, schemas
from web.contract.operation import (
    STORED,
    Content,
    Events,
    Operation,
    Other,
    Parameter,
    Schema,
)
from web.contract.prose import COUNTED, HEADERS, INTRODUCTION, SECURITY_SCHEMES, TAGS, VERSION
from web.contract.shapes import ProblemShape

Json = dict[str, Any]

#: Codes of every operation, of every one that checks the place, of every one that asks for a
#: credential, of a body.
_ALWAYS: Final = ("malformed_request", "cross_site", "headers_too_large", "internal")
_PLACED: Final = ("not_local", "forwarded", "rate_limited")
_GUARDED: Final = (
    *(
        code
        for code, error in REQUEST_ERRORS.items()
        if error.status == 401 and code != "sign_in_failed"
    ),
    "insufficient_scope",
    "not_found",  # a link that leads to nothing
    "invalid_user",
    "keys_unavailable",
    *STORED,
)
_BODY: Final = (
    "malformed_json",
    "too_large",
    "unsupported_media_type",
    "request_timeout",
    "invalid",
)
#: Statuses that say when to try again.
_RETRIED: Final = (429, 503)
#: Statuses that may say which credential is needed.
_CHALLENGED: Final = (401, 403)
_PLACES: Final = {
    "conversation_id": "The conversation's id.",
    "message_id": "The message's id.",
    "question_id": "The id of the question in line.",
    "share_id": "The share's id.",
    "file_id": "The file's id: `meta.file` of a part.",
}


def build(
    app: Flask, rights: Mapping[str, Right], operations: Mapping[str, Operation | None]
) -> Json:
    """The document of an app's routes. Routes whose operation is None are no part of the API."""
    paths: dict[str, Json] = {}
    for rule in sorted(
        app.url_map.iter_rules(), key=lambda one: list(operations).index(one.endpoint)
    ):
        operation = operations[rule.endpoint]
        if operation is None:
            continue
        described = _operation(rule, operation, rights[rule.endpoint], app)
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            paths.setdefault(_path(rule), {})[method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Outlive",
            "version": VERSION,
            "summary": "LLM streams that outlive the tab",
            "description": INTRODUCTION,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": text} for name, text in TAGS.items()],
        "paths": paths,
        "components": {
            "schemas": schemas(one for one in operations.values() if one is not None),
            "examples": {code: _problem_example(code) for code in REQUEST_ERRORS},
            "headers": HEADERS,
            "securitySchemes": SECURITY_SCHEMES,
        },
    }


def _path(rule: Rule) -> str:
    return re.sub(r"<(?:[^<>:]+:)?([^<>]+)>", r"{\1}", rule.rule)


def _operation(rule: Rule, operation: Operation, right: Right, app: Flask) -> Json:
    route = app.view_functions[rule.endpoint]
    is_counted = right is not Right.PUBLIC and not _is_stream(operation)
    described: Json = {
        "operationId": operation.name or route.__name__,
        "tags": [operation.tag],
        "summary": operation.summary,
        "description": inspect.getdoc(route) or "",
        "security": _security(right, rule),
        "parameters": [_in_path(name, rule) for name in sorted(rule.arguments)]
        + [_parameter(one) for one in operation.parameters],
        "responses": {
            **{
                str(status): _answer(status, content, operation, is_counted=is_counted)
                for status, content in operation.answers.items()
            },
            **_problems(_codes(rule, operation, right)),
        },
    }
    if operation.body is not None:
        described["requestBody"] = {
            "required": any(one.is_required() for one in operation.body.model_fields.values())
            or operation.body.model_json_schema().get("minProperties", 0) > 0,
            "content": {"application/json": {"schema": ref(operation.body)}},
        }
    if operation.ignores_unknown:
        described["description"] += "\n\nQuery parameters that are not listed are ignored."
    return described


# --- requests ------------------------------------------------------------------------------------


def _security(right: Right, rule: Rule) -> list[Json]:
    if right in (Right.PUBLIC, Right.OPEN):
        return []
    csrf: Json = {"csrf": []} if _changes(rule) else {}
    scope = str(scopes_for(right)[0])
    return [
        {name: [], **csrf} if scheme.get("in") == "cookie" else {name: [scope]}
        for name, scheme in SECURITY_SCHEMES.items()
        if name != "csrf"
    ]


def _changes(rule: Rule) -> bool:
    """Whether a request changes something."""
    return not (rule.methods or set()) <= {"GET", "HEAD", "OPTIONS"}


def _in_path(name: str, rule: Rule) -> Json:
    schema: Schema = {"type": "string"}
    if isinstance(rule._converters[name], UUIDConverter):
        schema["format"] = "uuid"
    described: Json = {"name": name, "in": "path", "required": True, "schema": schema}
    return {**described, "description": _PLACES[name]} if name in _PLACES else described


def _parameter(parameter: Parameter) -> Json:
    return {
        "name": parameter.name,
        "in": parameter.place,
        "description": parameter.description,
        "schema": parameter.schema,
    }


# --- responses -----------------------------------------------------------------------------------


def _is_stream(operation: Operation) -> bool:
    return set(operation.answers) <= {200, 204} and isinstance(operation.answers.get(200), Events)


def _answer(
    status: int,
    content: Content | tuple[Content, ...],
    operation: Operation,
    *,
    is_counted: bool,
) -> Json:
    contents = content if isinstance(content, tuple) else (content,)
    described: Json = {"description": " ".join(_words(one, status) for one in contents)}
    headers: Json = {
        name: {"description": text, "schema": {"type": "string"}}
        for name, text in operation.headers.items()
    }
    if is_counted and status < 300:
        headers |= _shared(*COUNTED)
    if headers:
        described["headers"] = headers
    media = {name: shown for one in contents for name, shown in _media(one).items()}
    return {**described, "content": media} if media else described


def _shared(*names: str) -> Json:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


def _words(content: Content, status: int) -> str:
    if isinstance(content, Events | Other):
        return content.description
    if content is None:
        return f"{HTTP_STATUS_CODES[status]}."
    return description(content)


def _media(content: Content) -> Json:
    match content:
        case None:
            return {}
        case Other():
            return {content.content_type: {"schema": content.schema}}
        case Events():
            return {"text/event-stream": _events(content)}
        case model:
            return {"application/json": {"schema": ref(model)}}


def _events(events: Events) -> Json:
    kinds = [{"$ref": f"#/components/schemas/{frame_name(one)}"} for one in events.kinds]
    return {
        "schema": {"type": "string"},
        "x-itemSchema": {"oneOf": kinds} if len(kinds) > 1 else kinds[0],
        "example": events.example,
    }


def _codes(rule: Rule, operation: Operation, right: Right) -> set[str]:
    codes = {*_ALWAYS, *operation.codes, *(one.code for one in operation.parameters if one.code)}
    if right is not Right.PUBLIC:
        codes |= {*_PLACED}
    if right not in (Right.PUBLIC, Right.OPEN):
        codes |= {*_GUARDED, *(["csrf_failed"] if _changes(rule) else [])}
    if right in (Right.OPERATE, Right.WATCH):
        codes |= {"not_operator"}
    if _is_stream(operation):
        codes -= {*STORED, "keys_unavailable"}  # what will pass is a 200
    if operation.body is not None or _changes(rule):
        codes |= {*_BODY}
    if not operation.ignores_unknown:
        codes |= {"unknown_parameter"}
    return codes


def _problems(codes: set[str]) -> dict[str, Json]:
    """A response for each status of these codes; its examples are the codes that it may have."""
    found: dict[str, Json] = {}
    for code, error in REQUEST_ERRORS.items():  # in the registry's order: by status
        if code not in codes:
            continue
        response = found.setdefault(
            str(error.status),
            {
                "description": HTTP_STATUS_CODES[error.status],
                "content": {
                    "application/problem+json": {"schema": ref(ProblemShape), "examples": {}}
                },
            },
        )
        examples = response["content"]["application/problem+json"]["examples"]
        examples[code] = {"$ref": f"#/components/examples/{code}"}
        if error.status in _RETRIED:
            response["headers"] = _shared("Retry-After")
        if error.status == 429:
            response["headers"] |= _shared(*COUNTED)
        if error.status in _CHALLENGED:
            response["headers"] = _shared("WWW-Authenticate")
    return found


def _problem_example(code: str) -> Json:
    error = REQUEST_ERRORS[code]
    value = {
        "type": "about:blank",
        "title": HTTP_STATUS_CODES[error.status],
        "status": error.status,
        "code": code,
        "detail": error.sentence,
    }
    return {"summary": error.sentence, "value": value}
