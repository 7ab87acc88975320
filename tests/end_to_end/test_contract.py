"""The API keeps its contract: schemathesis asks what the document allows, and what it does not.

It sends thousands of requests to a real web process with Postgres, Redis and a worker, also in
sequences (ask, read, stop, delete, ...), and runs every check that it has: no 5xx; no status,
header, type or shape that the document does not name, also in the frames of streams; nothing
accepted that the document refuses, nothing refused that it accepts; nothing of what was deleted.

The run of a release is longer:

    CONTRACT_REQUESTS=50000 ./outlive test tests/end_to_end/test_contract.py -s
"""

import json
import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from local.processes import BIN, ROOT
from local.programs import Web
from scripted import done, finish, say, script, usage
from tests.rig import Rig, killing
from tests.store_fixtures import migrate, new_database
from tests.stories import start_worker

Json = dict[str, Any]

#: Requests that are sent, at least.
REQUESTS = int(os.environ.get("CONTRACT_REQUESTS", "5000"))

CONFIG = """
continue-on-failure = true

[generation]
max-examples = {}
database = "none"

[checks]
# Of 422 our own check says more (contract_hooks.py).
positive_data_acceptance.expected-statuses = ["2xx", "404", "409", "422"]
"""


#: What there is only with sign-in, which this deployment has not: a run would delete its own user.
NEED_SIGN_IN = {
    "POST /api/conversations/{conversation_id}/shares",
    "DELETE /api/shares/{share_id}",
    "POST /api/user/delete",
}


@pytest.fixture
def web(rig: Rig) -> Iterator[Web]:
    """A deployment of its own, whose streams are cut soon."""
    with new_database(rig, "contract") as url:
        migrate(url)
        env = {"DATABASE_URL": url, "OUTLIVE_PREFIX": "contract", "OUTLIVE_TITLES": "off"}
        web = rig.web(**env, OUTLIVE_STREAM_MAX_SECONDS="0.02", WEB_CONCURRENCY="1")
        with killing(web, start_worker(rig, **env).wait()):
            yield web


def closed(document: Json) -> Json:
    """The document as strict as what is sent: without fields and codes that it does not name.

    And without credentials, which nobody needs here. Streams as OpenAPI 3.2 writes them.
    """
    text = json.dumps(document).replace('"x-extensible-enum"', '"enum"')
    found = json.loads(text.replace('"x-itemSchema"', '"itemSchema"'))
    found["openapi"] = "3.2.0"
    for schema in found["components"]["schemas"].values():
        if "properties" in schema and "event" not in schema["properties"]:
            schema.setdefault("additionalProperties", False)
    for methods in found["paths"].values():
        for operation in methods.values():
            operation.pop("security")
            for response in operation["responses"].values():
                for kind, media in response.get("content", {}).items():
                    if "itemSchema" in media:
                        del media["schema"]  # it would be that of all events in a list
                    if kind == "application/problem+json":
                        codes = {"properties": {"code": {"enum": list(media["examples"])}}}
                        media["schema"] = {"allOf": [media["schema"], codes]}
    # An answer that ends soon, and can be continued.
    content = script(say("The sky scatters"), finish("length"), usage(3, 4), done())
    found["components"]["schemas"]["Question"]["examples"] = [{"content": content}]
    return dict(found)


#: What a response gives the next request of a sequence: what it is called there, and where it is.
#: Only calls that a sequence may begin with, and reads: so it begins with something that exists.
GIVEN = {
    "create_conversation": ("201", {"conversation_id": "$response.body#/id"}),
    "list_conversations": ("200", {"conversation_id": "$response.body#/items/0/id"}),
    "list_sidebar": ("200", {"message_id": "$response.body#/items/0/answer/id"}),
    "show_conversation": ("200", {"message_id": "$response.body#/messages/1/id"}),
    "delete_conversation": ("204", {"conversation_id": "$request.path.conversation_id"}),
}


def linked(document: Json) -> Json:
    """The document with a link from each of GIVEN to every operation that takes such an id."""
    operations = [one for methods in document["paths"].values() for one in methods.values()]
    for operation in operations:
        status, values = GIVEN.get(operation["operationId"], ("", {}))
        for target in operations:
            for name in {one["name"] for one in target["parameters"]} & set(values):
                called = target["operationId"]
                links = operation["responses"][status].setdefault("links", {})
                parameters = {name: values[name]}
                links[f"{called}_{name}"] = {"operationId": called, "parameters": parameters}
    return document


def run(place: Path, url: str, phases: str) -> Counter[str]:
    """Let schemathesis run; how often each operation answered with each status."""
    done = subprocess.run(
        [
            BIN / "schemathesis",
            *("--config-file", place / "schemathesis.toml", "run", "--no-color"),
            *("--phases", phases, "--checks", "all", "--url", url, place / "openapi.json"),
        ],
        cwd=place,  # where it keeps what it learns
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "SCHEMATHESIS_HOOKS": "tests.end_to_end.contract_hooks",
            "CONTRACT_COUNTS": str(place / "counts.json"),
        },
        check=False,
        capture_output=True,
        text=True,
    )
    counts: Counter[str] = Counter(json.loads((place / "counts.json").read_text()))
    print(done.stdout, *sorted(counts.items()), f"{counts.total():,} requests", sep="\n")
    assert done.returncode == 0, done.stdout
    return counts


def test_the_service_keeps_its_contract(web: Web, tmp_path: Path) -> None:
    document = httpx2.get(f"{web.url}/api/openapi.json").json()
    for path in ("/api/sign-in", "/api/sign-out"):  # there is nothing to sign in to here
        del document["paths"][path]
    (tmp_path / "openapi.json").write_text(json.dumps(linked(closed(document))))
    # About 900 requests are fixed, and each example more is about 18.
    (tmp_path / "schemathesis.toml").write_text(CONFIG.format(max(1, (REQUESTS - 900) // 22)))

    counts = run(tmp_path, web.url, "examples,coverage,fuzzing")
    # Hypothesis may end the sequences early, because the same one may be answered in another way.
    counts += run(tmp_path, web.url, "stateful")
    while counts.total() < REQUESTS:
        counts += run(tmp_path, web.url, "stateful")

    assert [answer for answer in counts if answer.startswith("5")] == []
    # Each operation was really reached.
    succeeded = {answer.split(" ", 1)[1] for answer in counts if answer.startswith("2")}
    assert succeeded | NEED_SIGN_IN >= {
        f"{method.upper()} {path}"
        for path, methods in document["paths"].items()
        for method in methods
    }
