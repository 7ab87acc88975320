"""The document is complete, valid and true to the code, and the page shows all of it."""

import json
import re
import tomllib
from html.parser import HTMLParser
from typing import Any

import jsonschema
import pytest
from flask import Flask
from openapi_spec_validator import validate

from local.processes import ROOT
from shared.errors import REQUEST_ERRORS
from shared.sse import Decoder
from tests.client import new_id
from tests.web.contract.breaking import changes
from tests.web.contract.conftest import released
from web.contract.examples import EXAMPLES
from web.operations import OPERATIONS

Json = dict[str, Any]


def get(app: Flask, path: str) -> Any:
    return app.test_client().get(path, headers={"Host": "localhost"})


def fits(document: Json, name: str, value: Any) -> None:
    """The value has the schema of this name."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    jsonschema.Draft202012Validator(schema, format_checker=checker).validate(value)


def test_every_endpoint_is_described(app: Flask) -> None:
    endpoints = {rule.endpoint for rule in app.url_map.iter_rules()}

    assert endpoints == set(OPERATIONS)


def test_every_address_below_api_is_in_the_document(app: Flask, document: Json) -> None:
    """But those that the AI SDK describes, in whose form their errors are, too."""
    addresses = {
        re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)
        for rule in app.url_map.iter_rules()
        if re.match("/api/(?!docs$|chat$|chat/)", rule.rule)
    }

    assert addresses <= set(document["paths"])


def test_the_document_is_valid_openapi(document: Json) -> None:
    validate(document)


def test_its_version_is_that_of_the_project(document: Json) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert document["info"]["version"] == project["version"]


def test_nothing_that_was_released_is_broken(document: Json) -> None:
    assert changes(released(), document) == []


def test_every_code_is_one_of_some_operation(document: Json) -> None:
    codes = {
        code
        for methods in document["paths"].values()
        for operation in methods.values()
        for response in operation["responses"].values()
        for code in response.get("content", {})
        .get("application/problem+json", {})
        .get("examples", {})
    }

    # A method that an address does not have is no operation.
    assert codes == set(REQUEST_ERRORS) - {"method_not_allowed"}


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_fits_its_schema(document: Json, name: str) -> None:
    fits(document, name, EXAMPLES[name])


def test_the_examples_of_streams_are_streams_of_their_events(document: Json) -> None:
    streams = [
        media
        for methods in document["paths"].values()
        for operation in methods.values()
        for response in operation["responses"].values()
        for media in response.get("content", {}).values()
        if "x-itemSchema" in media
    ]

    assert len(streams) == 6
    for media in streams:
        events = list(Decoder().feed(media["example"].encode()))
        assert events
        for event in events:
            wire = {"event": event.event, "data": event.data, "id": event.id}
            fits(document, f"{event.event.title()}Frame", wire)
            data = document["components"]["schemas"][f"{event.event.title()}Frame"]
            name = data["properties"]["data"]["contentSchema"]["$ref"].rpartition("/")[2]
            fits(document, name, json.loads(event.data))


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/api/conversations?limits=3", "limits"),
        ("/api/conversations?limit=3&after=3", "after"),
        ("/api/models?x", "x"),
        ("/api/openapi.json?%00=", "\\x00"),
        (f"/api/search?q=x&{'n' * 1000}=1", "n" * 100),
    ],
)
def test_an_unknown_parameter_is_refused_by_its_name(app: Flask, path: str, name: str) -> None:
    answer = get(app, path)

    assert (answer.status_code, answer.json["code"]) == (422, "unknown_parameter")
    assert f"no parameter '{name}';" in answer.json["detail"]


def test_every_body_refuses_fields_that_it_does_not_have(document: Json) -> None:
    for methods in document["paths"].values():
        for operation in methods.values():
            for media in operation.get("requestBody", {}).get("content", {}).values():
                name = media["schema"]["$ref"].rpartition("/")[2]
                assert document["components"]["schemas"][name]["additionalProperties"] is False


@pytest.mark.parametrize("method", ["post", "delete"])
def test_a_call_without_a_body_takes_none(app: Flask, method: str) -> None:
    path = {"post": f"/api/messages/{new_id()}/stop", "delete": f"/api/conversations/{new_id()}"}
    send = getattr(app.test_client(), method)
    headers = {"Host": "localhost"}

    answer = send(path[method], json={"force": True}, headers=headers)
    form = send(path[method], data="force=1", headers=headers)

    assert (answer.status_code, answer.json["errors"][0]["field"]) == (422, "force")
    assert form.status_code == 415


def test_probes_and_pages_take_any_parameter(app: Flask) -> None:
    assert get(app, "/healthz?from=balancer").status_code == 200
    assert get(app, "/?utm_source=mail").status_code == 200


# --- the page ------------------------------------------------------------------------------------


class Page(HTMLParser):
    """The ids, links, scripts and text of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.sources: list[str] = []
        self.tags: set[str] = set()
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.add(tag)
        self.ids += [found["id"] or ""] if "id" in found else []
        if tag == "a":
            self.links.append(found["href"] or "")
        self.sources += [found[name] or "" for name in ("src", "style") if name in found]
        self.sources += [found["href"] or ""] if tag == "link" else []

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_shows_every_call_code_and_schema(app: Flask, document: Json) -> None:
    page = Page(get(app, "/api/docs").text)

    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation["operationId"] in page.ids
            assert f"{method.upper()} {path}" in page.text
            assert operation["summary"] in page.text
    for name, schema in document["components"]["schemas"].items():
        assert f"schema-{name}" in page.ids
        assert all(field in page.text for field in schema.get("properties", {}))
    assert all(code in page.text for code in set(REQUEST_ERRORS))


def test_the_page_needs_no_script_and_nothing_from_elsewhere(app: Flask) -> None:
    answer = get(app, "/api/docs")
    page = Page(answer.text)

    assert not page.tags & {"script", "iframe", "form", "style", "object"}
    assert page.sources
    assert all(source.startswith("/static/") for source in page.sources)
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert "script-src" not in answer.headers["Content-Security-Policy"]
    assert "unsafe" not in answer.headers["Content-Security-Policy"]


def test_its_ids_are_unique_and_its_links_lead_somewhere(app: Flask) -> None:
    page = Page(get(app, "/api/docs").text)

    assert len(page.ids) == len(set(page.ids))
    for link in page.links:
        place = link.removeprefix("#")
        assert place in page.ids if link.startswith("#") else get(app, link).status_code == 200
