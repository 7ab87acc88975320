"""The document as the page at /api/docs shows it: types in words, prose and examples as text."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from markupsafe import Markup, escape

Json = dict[str, Any]

_SCHEMAS: Final = "#/components/schemas/"
_EXAMPLES: Final = "#/components/examples/"


class Word(NamedTuple):
    """A piece of a type; with a name it leads to that schema."""

    text: str
    schema: str | None = None


class Field(NamedTuple):
    """A parameter of a request, or a field of an object."""

    name: str
    place: str
    type: list[Word]
    required: bool
    description: str


class Code(NamedTuple):
    """A code of a problem, and its sentence."""

    code: str
    sentence: str


class Media(NamedTuple):
    """What a body holds, and an example of it as text."""

    content_type: str
    type: list[Word]
    example: str


class Answer(NamedTuple):
    """A response."""

    status: str
    description: str
    headers: list[Field]
    media: list[Media]
    codes: list[Code]


@dataclass(frozen=True, slots=True)
class Call:
    """An operation at an address."""

    id: str
    method: str
    path: str
    summary: str
    description: str
    #: that a token or a key needs; empty where no credential is asked for
    scope: str
    parameters: list[Field]
    body: Media | None
    answers: list[Answer]


class Shape(NamedTuple):
    """A schema with a name."""

    name: str
    description: str
    fields: list[Field]
    type: list[Word]
    example: str


class Group(NamedTuple):
    """The calls with one tag."""

    name: str
    description: str
    calls: list[Call]


def groups(document: Json) -> list[Group]:
    """All calls, by tag."""
    found = [Group(tag["name"], tag["description"], []) for tag in document["tags"]]
    by_name = {group.name: group for group in found}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            by_name[operation["tags"][0]].calls.append(_call(document, path, method, operation))
    return found


def shapes(document: Json) -> list[Shape]:
    """All schemas that have a name."""
    return [_shape(name, schema) for name, schema in document["components"]["schemas"].items()]


def _call(document: Json, path: str, method: str, operation: Json) -> Call:
    body = operation.get("requestBody")
    [sent] = _media(document, body["content"]) if body else [None]
    return Call(
        operation["operationId"],
        method.upper(),
        path,
        operation["summary"],
        operation["description"],
        next((way["bearer"][0] for way in operation["security"] if "bearer" in way), ""),
        [_parameter(one) for one in operation["parameters"]],
        sent,
        [_answer(document, status, one) for status, one in operation["responses"].items()],
    )


def _parameter(parameter: Json) -> Field:
    return Field(
        parameter["name"],
        parameter["in"],
        words(parameter["schema"]),
        parameter.get("required", False),
        parameter.get("description", ""),
    )


def _answer(document: Json, status: str, response: Json) -> Answer:
    content = response.get("content", {})
    problem = content.get("application/problem+json", {})
    codes = [name.removeprefix(_EXAMPLES) for name in _refs(problem.get("examples", {}))]
    return Answer(
        status,
        response["description"],
        [
            Field(name, "header", words(header["schema"]), False, header["description"])
            for name, header in response.get("headers", {}).items()
            if "$ref" not in header  # the introduction explains it once
        ],
        [] if codes else _media(document, content),
        [Code(code, document["components"]["examples"][code]["summary"]) for code in codes],
    )


def _refs(examples: Json) -> list[str]:
    return [example["$ref"] for example in examples.values()]


def _media(document: Json, content: Json) -> list[Media]:
    return [_one_media(document, name, media) for name, media in content.items()]


def _one_media(document: Json, content_type: str, media: Json) -> Media:
    if "x-itemSchema" in media:
        return Media(
            content_type, [Word("events: "), *words(media["x-itemSchema"])], media["example"]
        )
    schema = media["schema"]
    named = document["components"]["schemas"].get(schema.get("$ref", "").removeprefix(_SCHEMAS), {})
    return Media(content_type, words(schema), _example(named))


def _example(schema: Json) -> str:
    if "examples" not in schema:
        return ""
    return json.dumps(schema["examples"][0], indent=2, ensure_ascii=False)


def _shape(name: str, schema: Json) -> Shape:
    required = schema.get("required", [])
    fields = [
        Field(field, "", words(its), field in required, its.get("description", ""))
        for field, its in schema.get("properties", {}).items()
    ]
    kind = [] if fields else words(schema)
    return Shape(name, schema.get("description", ""), fields, kind, _example(schema))


# --- prose ---------------------------------------------------------------------------------------


def prose(text: str) -> Markup:
    """The little Markdown that our own prose uses: paragraphs, `code` and **strong**."""
    html = str(escape(text.strip()))
    html = re.sub(r"`([^`]+)`", r"<code>\1</code>", html)
    html = re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", html)
    paragraphs = re.split(r"\n\s*\n", html) if html else []
    return Markup("".join(f"<p>{one}</p>" for one in paragraphs))  # noqa: S704 - escaped above


# --- types in words ------------------------------------------------------------------------------

#: What a schema says besides its type, and how that is said.
_BOUNDS: Final = (
    ("minimum", "at least {}"),
    ("maximum", "at most {}"),
    ("minLength", "at least {} characters"),
    ("maxLength", "at most {} characters"),
    ("minItems", "at least {} items"),
    ("maxItems", "at most {} items"),
    ("maxProperties", "at most {} fields"),
    ("default", "by default {}"),
)
#: Formats of a string.
_FORMATS: Final = {
    "uuid": "id (UUID)",
    "date-time": "moment (RFC 3339)",
    "binary": "bytes",
}


def words(schema: Json) -> list[Word]:
    """A schema in a few words, like "integer, at least 1, or null"."""
    return [*_type(schema), *_bounds(schema)]


def _type(schema: Json) -> Iterator[Word]:
    alternatives = schema.get("anyOf") or schema.get("oneOf")
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(_SCHEMAS)
        yield Word(name, name)
    elif alternatives:
        for number, one in enumerate(alternatives):
            yield from ([Word(" or ")] if number else [])
            yield from words(one)
    elif "const" in schema:
        yield Word(json.dumps(schema["const"]))
    elif "enum" in schema:
        yield Word(" or ".join(map(json.dumps, schema["enum"])))
    elif "contentSchema" in schema:
        yield Word("JSON of ")
        yield from words(schema["contentSchema"])
    elif schema.get("type") == "array":
        yield Word("list of ")
        yield from words(schema["items"])
    elif "format" in schema:
        yield Word(_FORMATS[schema["format"]])
    else:
        yield Word(str(schema.get("type", "anything")))


def _bounds(schema: Json) -> Iterator[Word]:
    for name, phrase in _BOUNDS:
        if name in schema:
            bound = schema[name]
            shown = f"{bound:,}" if isinstance(bound, int) else json.dumps(bound)
            yield Word(", " + phrase.format(shown))
    if "x-extensible-enum" in schema:
        yield Word(": " + ", ".join(map(json.dumps, schema["x-extensible-enum"])) + ", or others")
