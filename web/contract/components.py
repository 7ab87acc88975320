"""The schemas that the document names: of pydantic models, and of the events of streams."""

import inspect
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from web.contract.examples import EXAMPLES
from web.contract.operation import Event, Events, Operation
from web.contract.shapes import ProblemShape

Json = dict[str, Any]


def schemas(operations: Iterable[Operation]) -> Json:
    """The schema of every model and event that is named, and of those inside them, by name."""
    bodies: set[type[BaseModel]] = set()
    shapes: set[type[BaseModel]] = {ProblemShape}
    events: dict[str, Event] = {}
    for operation in operations:
        bodies |= {operation.body} if operation.body else set()
        for content in operation.answers.values():
            for one in content if isinstance(content, tuple) else (content,):
                if isinstance(one, Events):
                    events |= {frame_name(event): event for event in one.kinds}
                elif isinstance(one, type):
                    shapes.add(one)
    shapes |= {event.data for event in events.values()}
    _, found = models_json_schema(
        [(one, "validation") for one in bodies] + [(one, "serialization") for one in shapes],
        ref_template="#/components/schemas/{model}",
    )
    schemas = {_name(name): _tidied(schema) for name, schema in found["$defs"].items()}
    if len(schemas) < len(found["$defs"]):
        raise ValueError("two models have one name in the document")
    for name, example in EXAMPLES.items():
        if name in schemas:
            schemas[name]["examples"] = [example]
    return dict(sorted({**schemas, **{name: _frame(one) for name, one in events.items()}}.items()))


def _frame(event: Event) -> Json:
    """The schema of an event, with its fields as on the wire."""
    fields: Json = {
        "event": {"const": event.name},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": ref(event.data),
        },
    }
    if event.id is not None:
        fields["id"] = event.id
    return {
        "description": event.description,
        "type": "object",
        "properties": fields,
        "required": list(fields),
    }


def frame_name(event: Event) -> str:
    """The name of an event's schema."""
    return f"{event.name.title()}Frame"


def _name(model: str) -> str:
    return model.removesuffix("Shape")


def ref(model: type[BaseModel]) -> Json:
    """A reference to a model's schema."""
    return {"$ref": f"#/components/schemas/{_name(model.__name__)}"}


def description(model: type[BaseModel]) -> str:
    """The first paragraph of a model's docstring."""
    return (inspect.getdoc(model) or "").split("\n\n")[0].replace("\n", " ")


def _tidied(schema: Any) -> Any:
    """A schema of pydantic without what says nothing: titles, defaults that are null."""
    if isinstance(schema, list):
        return [_tidied(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    tidy = {
        name: {key: _tidied(one) for key, one in value.items()}
        if name == "properties"
        else _tidied(value)
        for name, value in schema.items()
        if not (name == "title" and isinstance(value, str)) and (name, value) != ("default", None)
    }
    if "$ref" in tidy:
        tidy["$ref"] = str(tidy["$ref"]).removesuffix("Shape")
    if "ge" in tidy and "le" in tidy:  # pydantic's bounds of a union of integer and number
        tidy = {"type": "number", "minimum": tidy["ge"], "maximum": tidy["le"]}
    return tidy
