"""Each kind of breaking change is found, and what only adds is none."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.web.contract.breaking import changes
from tests.web.contract.conftest import released

Json = dict[str, Any]

DOCUMENT: Json = {
    "paths": {
        "/things": {
            "get": {
                "operationId": "list_things",
                "security": [{"bearer": []}, {"session": []}],
                "parameters": [
                    {
                        "name": "limit",
                        "in": "query",
                        "schema": {"type": "integer", "minimum": 1, "maximum": 50},
                    }
                ],
                "responses": {
                    "200": {
                        "headers": {"Thing-Id": {}},
                        "content": {
                            "application/json": {"schema": {"$ref": "#/components/schemas/Thing"}},
                            "text/event-stream": {
                                "schema": {"type": "string"},
                                "x-itemSchema": {
                                    "oneOf": [
                                        {"$ref": "#/components/schemas/Grown"},
                                        {"$ref": "#/components/schemas/Ended"},
                                    ]
                                },
                            },
                        },
                    },
                    "404": {
                        "content": {
                            "application/problem+json": {
                                "schema": {"type": "object"},
                                "examples": {"not_found": {}, "gone": {}},
                            }
                        }
                    },
                },
            },
            "post": {
                "operationId": "make_thing",
                "security": [],
                "requestBody": {
                    "content": {
                        "application/json": {"schema": {"$ref": "#/components/schemas/NewThing"}}
                    }
                },
                "responses": {"204": {}},
            },
        },
        "/others": {"get": {"operationId": "list_others", "responses": {"200": {}}}},
    },
    "components": {
        "schemas": {
            "Thing": {
                "type": "object",
                "properties": {
                    "id": {"type": "string", "format": "uuid"},
                    "state": {"type": "string", "enum": ["new", "old"]},
                    "kind": {"type": "string", "x-extensible-enum": ["a"]},
                    "note": {"type": "string"},
                    "size": {"type": "integer"},
                    "inside": {"type": "array", "items": {"$ref": "#/components/schemas/Thing"}},
                },
                "required": ["id", "state", "size"],
            },
            "NewThing": {
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    "name": {"type": "string", "maxLength": 20},
                    "color": {"enum": ["red", "blue"]},
                    "count": {"anyOf": [{"type": "number"}, {"type": "null"}]},
                    "tags": {"type": "array", "items": {"type": "string"}, "maxItems": 3},
                },
                "required": ["name"],
            },
            "Grown": {
                "properties": {
                    "event": {"const": "grown"},
                    "data": {
                        "type": "string",
                        "contentSchema": {"$ref": "#/components/schemas/Thing"},
                    },
                },
                "required": ["event", "data"],
            },
            "Ended": {"properties": {"event": {"const": "ended"}}, "required": ["event"]},
        }
    },
}
GET = ("paths", "/things", "get")
POST = ("paths", "/things", "post")
OK = (*GET, "responses", "200")
THING = ("components", "schemas", "Thing")
NEW = ("components", "schemas", "NewThing")


def at(document: Json, *place: Any) -> Any:
    for name in place:
        document = document[name]
    return document


def put(*place_and_value: Any) -> Callable[[Json], None]:
    *place, name, value = place_and_value
    return lambda document: at(document, *place).__setitem__(name, value)


def drop(*place: Any) -> Callable[[Json], None]:
    return lambda document: at(document, *place[:-1]).__delitem__(place[-1])


BREAKING: dict[str, tuple[Callable[[Json], None], str]] = {
    "path": (drop("paths", "/others"), "/others: removed"),
    "operation": (drop(*POST), "POST /things: removed"),
    "name": (put(*GET, "operationId", "things"), "is called things, was list_things"),
    "credential": (put(*GET, "security", [{"bearer": []}]), "does not take session any more"),
    "any credential": (put(*POST, "security", [{"bearer": []}]), "asks for a credential"),
    "parameter": (put(*GET, "parameters", []), "query limit: removed"),
    "parameter's bound": (
        put(*GET, "parameters", 0, "schema", "maximum", 20),
        "query limit: maximum 50 became 20",
    ),
    "required parameter": (
        put(*GET, "parameters", 0, "required", True),
        "query limit: is required",
    ),
    "new required parameter": (
        put(*POST, "parameters", [{"name": "X", "in": "header", "required": True, "schema": {}}]),
        "header X: is new and required",
    ),
    "required body": (put(*POST, "requestBody", "required", True), "body: is required"),
    "kind of body": (
        put(*POST, "requestBody", "content", {}),
        "body: application/json removed",
    ),
    "status": (drop(*GET, "responses", "404"), "GET /things 404: removed"),
    "header": (drop(*OK, "headers", "Thing-Id"), "Thing-Id: removed"),
    "kind of response": (drop(*OK, "content", "application/json"), "application/json removed"),
    "code": (
        drop(*GET, "responses", "404", "content", "application/problem+json", "examples", "gone"),
        "code gone removed",
    ),
    "event": (
        put(
            *OK,
            "content",
            "text/event-stream",
            "x-itemSchema",
            "oneOf",
            [{"$ref": "#/components/schemas/Grown"}],
        ),
        "event ended removed",
    ),
    "events": (drop(*OK, "content", "text/event-stream", "x-itemSchema"), "event grown removed"),
    "event's field": (
        drop("components", "schemas", "Grown", "properties", "data"),
        "grown.data: removed",
    ),
    "field sent": (drop(*THING, "properties", "note"), ".note: removed"),
    "field sent, perhaps": (put(*THING, "required", ["id", "state"]), ".size: may be missing"),
    "type sent": (put(*THING, "properties", "size", {"type": "string"}), "integer became string"),
    "type sent, wider": (
        put(*THING, "properties", "size", {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
        ".size: type integer became null",
    ),
    "value sent": (
        put(*THING, "properties", "state", "enum", ["new", "old", "odd"]),
        ".state: values ['odd'] added",
    ),
    "format sent": (put(*THING, "properties", "id", {"type": "string"}), "format uuid became None"),
    "field taken": (drop(*NEW, "properties", "count"), ".count: removed"),
    "field taken, required": (put(*NEW, "required", ["name", "color"]), ".color: is required"),
    "new field, required": (
        lambda document: (
            put(*NEW, "properties", "fresh", {"type": "string"})(document),
            put(*NEW, "required", ["name", "fresh"])(document),
        )[0],
        ".fresh: is required",
    ),
    "type taken": (put(*NEW, "properties", "name", {"type": "integer"}), "string became integer"),
    "type taken, narrower": (
        put(*NEW, "properties", "count", {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
        ".count: type number became",
    ),
    "null taken": (put(*NEW, "properties", "count", {"type": "number"}), "null became number"),
    "value taken": (put(*NEW, "properties", "color", {"enum": ["red"]}), "values ['blue'] removed"),
    "length taken": (
        put(*NEW, "properties", "name", "maxLength", 10),
        ".name: maxLength 20 became 10",
    ),
    "new bound": (
        put(*NEW, "properties", "name", "minLength", 1),
        ".name: minLength None became 1",
    ),
    "new pattern": (put(*NEW, "properties", "name", "pattern", "^a"), "pattern None became ^a"),
    "items taken": (
        put(*NEW, "properties", "tags", "items", {"type": "integer"}),
        ".tags[]: type string became integer",
    ),
}

HARMLESS: dict[str, Callable[[Json], None]] = {
    "nothing": lambda _: None,
    "path": put("paths", "/new", {"get": {"operationId": "new", "responses": {}}}),
    "operation": put("paths", "/others", "post", {"operationId": "new", "responses": {}}),
    "credential": put(*GET, "security", [{"bearer": []}, {"session": []}, {"key": []}]),
    "status": put(*GET, "responses", "202", {}),
    "code": put(
        *GET, "responses", "404", "content", "application/problem+json", "examples", "new", {}
    ),
    "optional parameter": put(*POST, "parameters", [{"name": "q", "in": "query", "schema": {}}]),
    "bound taken": put(*GET, "parameters", 0, "schema", "maximum", 100),
    "field sent": put(*THING, "properties", "more", {"type": "string"}),
    "always sent": put(*THING, "required", ["id", "state", "size", "note"]),
    "value no longer sent": put(*THING, "properties", "state", "enum", ["new"]),
    "open value": put(*THING, "properties", "kind", "x-extensible-enum", ["a", "b"]),
    "optional field taken": put(*NEW, "properties", "more", {"type": "string"}),
    "type taken, wider": put(*NEW, "properties", "name", {"type": ["string", "null"]}),
    "value taken": put(*NEW, "properties", "color", {"enum": ["red", "blue", "green"]}),
    "field no longer required": put(*NEW, "required", []),
    "words": put(*THING, "description", "Other words"),
}  # fmt: skip


def changed(document: Json, change: Callable[[Json], None]) -> Json:
    after = copy.deepcopy(document)
    change(after)
    return after


@pytest.mark.parametrize("name", BREAKING)
def test_a_breaking_change_is_reported(name: str) -> None:
    change, line = BREAKING[name]

    found = changes(DOCUMENT, changed(DOCUMENT, change))

    assert any(line in one for one in found), found


@pytest.mark.parametrize("name", HARMLESS)
def test_what_only_adds_is_not_reported(name: str) -> None:
    assert changes(DOCUMENT, changed(DOCUMENT, HARMLESS[name])) == []


# --- the released document -----------------------------------------------------------------------

RELEASED = released()


def test_the_released_document_does_not_break_itself() -> None:
    assert changes(RELEASED, RELEASED) == []


def removable(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Places of a document's paths, operations, parameters, fields, statuses, headers, events."""
    named = ("paths", "properties", "responses", "headers", "content", "parameters", "oneOf")
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for name, inside in items:
            if place and place[-1] in named:
                yield (*place, name)
            if name not in ("example", "examples"):
                yield from removable(inside, (*place, name))


REMOVABLE = list(removable(RELEASED))


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(REMOVABLE))
def test_nothing_can_be_removed_from_the_released_document_unnoticed(
    place: tuple[Any, ...],
) -> None:
    name = place[-1]

    def remove(document: Json) -> None:
        drop(*place)(document)
        above = at(document, *place[:-2])
        if place[-2] == "properties" and name in above.get("required", []):
            above["required"].remove(name)

    assert changes(RELEASED, changed(RELEASED, remove)), place
