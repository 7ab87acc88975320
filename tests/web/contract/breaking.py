"""What a client of one OpenAPI document would miss in another: the breaking changes. Pure.

What a request may hold must stay allowed; what a response holds must stay within what it was. So
schemas are compared in one direction for requests and in the other for responses: `_within` says
why a value of the narrow schema may be none of the wide one. Nothing is reported for what only
adds: paths, operations, optional parameters and fields, fields of responses, codes, events.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

Json = Mapping[str, Any]

_METHODS: Final = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
#: Bounds of a schema, and whether a greater one lets less pass.
_LOWER: Final = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_UPPER: Final = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")


def changes(old: Json, new: Json) -> list[str]:
    """A line for each breaking change from one document to another."""
    return list(_Comparison(old, new).paths())


@dataclass(frozen=True)
class _Comparison:
    old: Json
    new: Json

    def paths(self) -> Iterator[str]:
        for path, operations in self.old["paths"].items():
            if path not in self.new["paths"]:
                yield f"{path}: removed"
                continue
            for method in _METHODS:
                if method in operations:
                    place = f"{method.upper()} {path}"
                    now = self.new["paths"][path].get(method)
                    if now is None:
                        yield f"{place}: removed"
                    else:
                        yield from self._operation(place, operations[method], now)

    def _operation(self, place: str, old: Json, new: Json) -> Iterator[str]:
        if old["operationId"] != new["operationId"]:
            yield f"{place}: is called {new['operationId']}, was {old['operationId']}"
        for way in old.get("security", []):
            if new.get("security") and way not in new["security"]:
                yield f"{place}: does not take {' and '.join(way)} any more"
        if not old.get("security") and new.get("security"):
            yield f"{place}: asks for a credential"
        yield from self._parameters(place, _by_name(old), _by_name(new))
        yield from self._body(place, old.get("requestBody", {}), new.get("requestBody", {}))
        for status, response in old["responses"].items():
            if status in new["responses"]:
                yield from self._response(f"{place} {status}", response, new["responses"][status])
            else:
                yield f"{place} {status}: removed"

    def _parameters(self, place: str, old: Json, new: Json) -> Iterator[str]:
        for key, parameter in old.items():
            where = f"{place} {key}"
            if key not in new:
                yield f"{where}: removed"
                continue
            if new[key].get("required") and not parameter.get("required"):
                yield f"{where}: is required"
            yield from self._accepts(where, parameter["schema"], new[key]["schema"])
        for key, parameter in new.items():
            if key not in old and parameter.get("required"):
                yield f"{place} {key}: is new and required"

    def _body(self, place: str, old: Json, new: Json) -> Iterator[str]:
        where = f"{place} body"
        if new.get("required") and not old.get("required"):
            yield f"{where}: is required"
        for kind, media in old.get("content", {}).items():
            if kind not in new.get("content", {}):
                yield f"{where}: {kind} removed"
            else:
                yield from self._accepts(where, media["schema"], new["content"][kind]["schema"])

    def _response(self, place: str, old: Json, new: Json) -> Iterator[str]:
        for name in old.get("headers", {}):
            if name not in new.get("headers", {}):
                yield f"{place} {name}: removed"
        for kind, media in old.get("content", {}).items():
            now = new.get("content", {}).get(kind)
            if now is None:
                yield f"{place}: {kind} removed"
                continue
            yield from self._sends(place, media["schema"], now["schema"])
            for code in media.get("examples", {}):
                if code not in now.get("examples", {}):
                    yield f"{place}: code {code} removed"
            yield from self._events(place, media.get("x-itemSchema"), now.get("x-itemSchema"))

    def _events(self, place: str, old: Json | None, new: Json | None) -> Iterator[str]:
        after = self._frames(self.new, new)
        for name, frame in self._frames(self.old, old).items():
            if name not in after:
                yield f"{place}: event {name} removed"
            else:
                yield from self._sends(f"{place} {name}", frame, after[name])

    def _frames(self, document: Json, events: Json | None) -> dict[str, Json]:
        if events is None:
            return {}
        found = [_resolved(document, one) for one in events.get("oneOf", [events])]
        return {str(one["properties"].get("event", {}).get("const")): one for one in found}

    # --- schemas

    def _accepts(self, place: str, old: Json, new: Json) -> Iterator[str]:
        """Why a value of the old schema may not be accepted any more."""
        yield from _Within(self.old, self.new, sent=False).schema(place, old, new, ())

    def _sends(self, place: str, old: Json, new: Json) -> Iterator[str]:
        """Why a value of the new schema may be none that was expected."""
        yield from _Within(self.new, self.old, sent=True).schema(place, new, old, ())


@dataclass(frozen=True)
class _Within:
    """Compares schemas of two documents; `sent`: what the service sends, rather than accepts."""

    narrow: Json
    wide: Json
    sent: bool

    def schema(self, place: str, narrow: Json, wide: Json, seen: tuple[Any, ...]) -> Iterator[str]:
        """Why a value of `narrow` may be none of `wide`."""
        pair = narrow.get("$ref"), wide.get("$ref")
        if pair != (None, None) and pair in seen:  # it contains itself
            return
        seen = (*seen, pair)
        choices = _alternatives(_resolved(self.wide, wide))
        for one in _alternatives(_resolved(self.narrow, narrow)):
            found = [[*self._one(place, one, choice, seen)] for choice in choices]
            yield from min(found, key=lambda lines: (len(lines), "type" in "".join(lines)))

    def _one(self, place: str, narrow: Json, wide: Json, seen: tuple[Any, ...]) -> Iterator[str]:
        if "$ref" in narrow or "$ref" in wide:
            yield from self.schema(place, narrow, wide, seen)
            return
        was, now = (wide, narrow) if self.sent else (narrow, wide)
        if "type" in wide and not _has_type(narrow, wide["type"]):
            yield f"{place}: type {_type(was)} became {_type(now)}"
            return
        if values := _values(wide):
            others = [one for one in _values(narrow) or ["anything"] if one not in values]
            if others:
                yield f"{place}: values {others} {'added' if self.sent else 'removed'}"
        for name in ("format", "pattern", "contentMediaType"):
            if name in wide and wide[name] != narrow.get(name):
                yield f"{place}: {name} {was.get(name)} became {now.get(name)}"
        for names, sign in ((_LOWER, 1), (_UPPER, -1)):
            for name in names:
                if (
                    name in wide
                    and not sign * narrow.get(name, -sign * 10**400) >= sign * wide[name]
                ):
                    yield f"{place}: {name} {was.get(name)} became {now.get(name)}"
        for name in ("items", "contentSchema"):
            if name in wide:
                yield from self.schema(f"{place}[]", narrow.get(name, {}), wide[name], seen)
        yield from self._fields(place, narrow, wide, seen)

    def _fields(self, place: str, narrow: Json, wide: Json, seen: tuple[Any, ...]) -> Iterator[str]:
        here, there = narrow.get("properties", {}), wide.get("properties", {})
        for name in wide.get("required", []):
            if name not in narrow.get("required", []) and (name in here or not self.sent):
                yield f"{place}.{name}: {'may be missing' if self.sent else 'is required'}"
        is_closed = wide.get("additionalProperties", True) is False
        for name, schema in here.items():
            if name in there:
                yield from self.schema(f"{place}.{name}", schema, there[name], seen)
            elif is_closed:
                yield f"{place}.{name}: removed"
        if self.sent:
            for name in there:
                if name not in here:
                    yield f"{place}.{name}: removed"
        elif is_closed and narrow.get("additionalProperties", True) is not False:
            yield f"{place}: refuses other fields"


def _by_name(operation: Json) -> dict[str, Json]:
    return {f"{one['in']} {one['name']}": one for one in operation.get("parameters", [])}


def _resolved(document: Json, schema: Json) -> Json:
    while "$ref" in schema:
        found: Any = document
        for name in schema["$ref"].removeprefix("#/").split("/"):
            found = found[name]
        schema = found
    return schema


def _alternatives(schema: Json) -> list[Json]:
    if found := schema.get("anyOf") or schema.get("oneOf"):
        return [one for choice in found for one in _alternatives(choice)]
    if isinstance(schema.get("type"), list):
        return [{**schema, "type": one} for one in schema["type"]]
    return [schema]


def _values(schema: Json) -> list[Any]:
    return [schema["const"]] if "const" in schema else list(schema.get("enum", []))


def _type(schema: Json) -> str:
    values = {type(one).__name__ for one in _values(schema)}
    return str(schema.get("type") or (values and "/".join(sorted(values))) or "anything")


def _has_type(schema: Json, wanted: str) -> bool:
    types = {"str": "string", "int": "integer", "bool": "boolean", "NoneType": "null"}
    found = _type(schema)
    found = types.get(found, found)
    return found == wanted or (found, wanted) == ("integer", "number")
