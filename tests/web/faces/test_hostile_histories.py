"""Arguments of calls that some reader cannot read, as every face shows them; and odd names."""

import json
from typing import Any

import httpx2
import pytest

from local.programs import Web, Worker
from scripted import done, finish, say, script
from tests.client import new_id
from tests.rig import PATIENCE

FACES = (
    "/api/chat/{place}",
    "/ag-ui?threadId={place}",
    "/ag-ui?threadId={place}&format=ag-ui",
    "/api/conversations/{place}/turns",
    "/streams/{answer}?steps=all",
    "/v1/responses/{answer}/input_items",
    "/v1/chat/completions/{answer}/messages",
)


def no_json(name: str) -> Any:
    raise AssertionError(name)


@pytest.mark.parametrize(
    "arguments",
    ["[" * 900 + "]" * 900, '{"a":' * 400 + "1" + "}" * 400, "NaN", "[1e99999]", '"\\u0000"'],
    ids=lambda text: text[:9],
)
def test_hostile_arguments_are_shown_by_every_face(
    web: Web, worker: Worker, arguments: str
) -> None:
    del worker
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}
    turns: list[Any] = [
        {"role": "user", "content": new_id()},
        {"role": "assistant", "tool_calls": [call]},
        {
            "role": "tool",
            "tool_call_id": "c",
            "content": script(say("x"), finish(), done(), tag=new_id()),
        },
    ]
    asked = httpx2.post(
        f"{web.url}/v1/chat/completions", json={"messages": turns}, timeout=PATIENCE
    )
    assert asked.status_code == 200
    place, answer = (asked.headers[f"Outlive-{one}-Id"] for one in ("Conversation", "Message"))
    for face in FACES:
        shown = httpx2.get(web.url + face.format(place=place, answer=answer), timeout=PATIENCE)
        assert shown.status_code == 200, face
        if "json" in shown.headers["Content-Type"]:
            json.loads(shown.text, parse_constant=no_json)


def test_names_that_postgres_cannot_hold_are_of_nothing(web: Web) -> None:
    assert httpx2.get(f"{web.url}/ag-ui?runId=%00", timeout=PATIENCE).status_code == 404
