"""Request bodies that are refused, Idempotency-Keys, and the hash that identifies a request."""

import json
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from local.programs import Web
from tests.client import Client
from tests.web.wire import problem
from web.requests import request_hash
from web.schemas import Question

# --- bodies ---------------------------------------------------------------------------------------


def test_missing_body_is_an_empty_object(client: Client) -> None:
    assert client.http.post("/api/conversations").status_code == 201


@pytest.mark.parametrize(
    "body", ["{", '{"content": }', "[1,", "nul", "{'a': 1}", "[" * 100_000, "9" * 5000]
)
def test_malformed_json_is_refused(client: Client, body: str) -> None:
    headers = {"Content-Type": "application/json"}
    answer = client.http.post("/api/conversations", content=body, headers=headers)
    problem(answer, 400, "malformed_json")


def test_json_that_is_not_utf8_is_refused(client: Client) -> None:
    headers = {"Content-Type": "application/json"}
    answer = client.http.post("/api/conversations", content=b'{"title": "\xff"}', headers=headers)
    problem(answer, 400, "malformed_json")


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", None]
)
def test_other_content_types_are_refused(client: Client, content_type: str | None) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    answer = client.http.post("/api/conversations", content=b"{}", headers=headers)
    problem(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"content": ""},
        {"content": None},
        {"content": 7},
        {"content": ["x"]},
        {"content": "x", "unknown": 1},
        {"content": "x", "parent_id": "banana"},
        {"content": "x", "parent_id": 7},
        {"content": "x", "model": ""},
        {"content": "x", "model": 7},
        {"content": "x", "options": None},
        {"content": "x", "options": []},
        {"content": "x", "options": {"unknown": 1}},
        {"content": "x", "options": {"stream": False}},
        {"content": "x", "options": {"messages": []}},
        {"content": "x", "options": {"temperature": "hot"}},
        {"content": "x", "options": {"temperature": 3}},
        {"content": "x", "options": {"temperature": True}},
        {"content": "x", "options": {"max_tokens": 0}},
        {"content": "x", "options": {"max_tokens": "7"}},
        {"content": "x", "options": {"stop": [1]}},
        {"content": "x", "options": {"reasoning_effort": ""}},
        {"content": "x" * 1_000_001},
        [],
        "x",
        None,
        7,
    ],
    ids=lambda body: json.dumps(body)[:50],
)
def test_invalid_question_is_refused_and_not_saved(client: Client, body: object) -> None:
    path = f"/api/conversations/{client.conversation()}/messages"
    assert problem(client.http.post(path, json=body), 422, "invalid")["errors"]
    assert client.http.get(path.removesuffix("/messages")).json()["messages"] == []


@pytest.mark.parametrize(
    "inner", ['"content": "x", "content": "y"', '"options": {"seed": 1, "seed": 2}']
)
def test_a_field_that_is_there_twice_is_refused(client: Client, inner: str) -> None:
    path = f"/api/conversations/{client.conversation()}/messages"
    headers = {"Content-Type": "application/json"}
    answer = client.http.post(path, content=f'{{"content": "x", {inner}}}', headers=headers)
    problem(answer, 422, "invalid")


def test_numbers_that_are_not_finite_are_refused(client: Client) -> None:
    path = f"/api/conversations/{client.conversation()}/messages"
    for number in ("NaN", "Infinity", "-Infinity", "1e999"):
        body = f'{{"content": "x", "options": {{"temperature": {number}}}}}'
        answer = client.http.post(path, content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code in (400, 422), number
        assert answer.json()["code"] in ("invalid", "malformed_json")


@pytest.mark.failure(32)
def test_body_that_is_too_large_is_refused_by_length_and_in_chunks(
    client: Client, web: Web
) -> None:
    big = b'{"title": "' + b"x" * (4 << 20) + b'"}'
    headers = {"Content-Type": "application/json"}
    answer = client.http.post("/api/conversations", content=big, headers=headers)
    problem(answer, 413, "too_large")

    def pieces() -> Iterator[bytes]:
        yield from (big[at : at + 65536] for at in range(0, len(big), 65536))

    answer = client.http.post("/api/conversations", content=pieces(), headers=headers)
    problem(answer, 413, "too_large")
    padded = b"{}" + b" " * (4 << 20)  # of which what is allowed would make sense
    answer = client.http.post("/api/conversations", content=iter([padded]), headers=headers)
    problem(answer, 413, "too_large")
    fits = b"{}" + b" " * ((4 << 20) - 2)
    answer = client.http.post("/api/conversations", content=iter([fits]), headers=headers)
    assert answer.status_code == 201
    assert client.http.get("/healthz").status_code == 200


def test_content_length_that_is_too_large_is_refused_at_once(web: Web) -> None:
    where = urlsplit(web.url)
    with socket.create_connection((where.hostname or "", where.port or 80), 10) as peer:
        peer.sendall(
            b"POST /api/conversations HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nContent-Length: 10000000000\r\n\r\n"
        )
        assert peer.recv(65536).startswith(b"HTTP/1.1 413 ")


# --- Idempotency-Key ------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["", "x" * 201, "a\tb"])
def test_invalid_idempotency_key_is_refused(client: Client, key: str) -> None:
    path = f"/api/conversations/{client.conversation()}/messages"
    headers = {"Idempotency-Key": key}
    answer = client.http.post(path, json={"content": "x"}, headers=headers)
    problem(answer, 422, "invalid_idempotency_key")


def hashed(value: Any, path: str = "/a") -> str:
    return request_hash(path, Question.model_validate(value))


def test_request_hash_is_the_same_in_any_order_and_process() -> None:
    one = hashed({"content": "é😀", "options": {"seed": 1, "stop": ["x"]}})
    other = hashed({"options": {"stop": ["x"], "seed": 1}, "content": "é😀"})

    assert one == other == "d8b4bc93565028c26816fdd437af004be26e4826563c66500a6184a2d49bb43b"


def test_request_hash_of_every_other_request_differs() -> None:
    requests: list[dict[str, Any]] = [
        {"content": "a"},
        {"content": "b"},
        {"content": "a", "model": "m"},
        {"content": "a", "parent_id": None},
        {"content": "a", "options": {"seed": 1}},
        {"content": "a", "options": {"seed": 2}},
    ]

    hashes = {hashed(request) for request in requests} | {hashed(requests[0], "/b")}

    assert len(hashes) == len(requests) + 1
