"""Bodies that are made to be expensive, at every address that takes a history."""

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import httpx2
import pytest

from local.programs import Web
from tests.client import new_id
from tests.rig import PATIENCE

#: Seconds for which the process may answer nobody else: what the machine of the tests adds is most
#: of it. Without a thread and limits it was two to ten.
HELD: Final = 1.0
#: JSON that is nested too deeply for most who read it.
DEEP: Final = "[" * 900 + "]" * 900

Body = dict[str, Any]


def openai_body(parts: Any, **more: Any) -> Body:
    return {"messages": [{"role": "user", "content": parts}], **more}


def responses_body(parts: Any, **more: Any) -> Body:
    return {"input": [{"role": "user", "content": parts}], **more}


def ag_ui_body(parts: Any, **more: Any) -> Body:
    return {"threadId": new_id(), "runId": new_id(), **openai_body(parts), **more}


def ui_body(parts: Any, **more: Any) -> Body:
    parts = [{"type": "text", "text": parts}] if isinstance(parts, str) else parts
    return {"id": new_id(), "messages": [{"id": "a", "role": "user", "parts": parts}], **more}


FACES: Final[dict[str, Callable[..., Body]]] = {
    "/v1/chat/completions": openai_body,
    "/v1/messages": openai_body,
    "/v1/responses": responses_body,
    "/ag-ui": ag_ui_body,
    "/api/chat": ui_body,
    "/streams/chat": ui_body,
}
UNKNOWN: Final = {f"a{number}": 0 for number in range(90)}


def post(url: str, body: Body | str) -> int:
    content = body if isinstance(body, str) else json.dumps(body)
    headers = {"Content-Type": "application/json"}
    return httpx2.post(url, content=content, headers=headers, timeout=PATIENCE).status_code


@pytest.mark.parametrize("path", FACES)
def test_expensive_bodies_are_refused_and_hold_nobody_else(web: Web, path: str) -> None:
    make = FACES[path]
    bodies = [
        make([[]] * 1_000_000),
        make("x", thinking=[[]] * 1_000_000),
        make("x", tools=[[]] * 1_000_000),
        make("x", tools=[{}] * 60_000),
        make([{"type": "text", "text": "a", **UNKNOWN}] * 2_000),
        make([{}] * 60_000),
    ]
    with ThreadPoolExecutor(1) as pool, httpx2.Client(timeout=PATIENCE) as other:
        asked = [pool.submit(post, web.url + path, body) for body in bodies]
        longest = 0.0
        while not all(one.done() for one in asked):
            begun = time.monotonic()
            assert other.get(f"{web.url}/healthz").status_code == 200
            longest = max(longest, time.monotonic() - begun)
    assert [one.result() in (400, 422) for one in asked] == [True] * len(bodies)
    assert longest < HELD


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", {"messages": [
            {"role": "user", "content": "x"},
            {"role": "assistant", "tool_calls": [{"id": "1", "function": {
                "name": "f", "arguments": "{}", "parsed_arguments": "DEEP"}}]},
            {"role": "tool", "tool_call_id": "1", "content": "r"}]}),
        ("/v1/responses", {"input": [
            {"type": "reasoning", "encrypted_content": "DEEP"}, {"role": "user", "content": "x"}]}),
        ("/api/chat", {"id": "x", "messages": [
            {"id": "a", "role": "user", "parts": [{"type": "text", "text": "q", "z": "DEEP"}]}]}),
    ],
)  # fmt: skip
def test_deep_json_in_a_field_that_may_be_any_is_refused(web: Web, path: str, body: Body) -> None:
    assert post(web.url + path, json.dumps(body).replace('"DEEP"', DEEP)) in (400, 422)
