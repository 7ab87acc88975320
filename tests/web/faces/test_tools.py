"""Tools, results and media through real processes, up to what the provider is sent."""

import base64
import json
from typing import Any

import httpx2
import pytest

from local.programs import Worker
from scripted import done, finish, say, script, tool_call, usage
from tests.client import Client, new_id
from tests.rig import Rig
from tests.web.wire import problem
from web.questions import FILE_BYTES

TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object"}}}
    for name in ("add", "now")
]
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)


def data_url(data: bytes, media_type: str = "image/png") -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def unique_png() -> bytes:
    """An image of its own: what follows its end is ignored."""
    return PNG + new_id().encode()


def post(client: Client, place: str | None = None, **question: Any) -> httpx2.Response:
    place = place or client.conversation()
    return client.http.post(f"/api/conversations/{place}/messages", json=question)


def asked(client: Client, place: str | None = None, **question: Any) -> dict[str, Any]:
    """Question and answer, once the latter has ended."""
    reply = post(client, place, **question)
    assert reply.status_code == 202, reply.text
    both = reply.json()
    return {"user": both["user"], "assistant": client.ended(both["assistant"]["id"])}


def calls_then(*texts: str) -> str:
    """A script that calls two tools, and says these texts when their results come."""
    after = [*map(say, texts), finish(), usage(), done()]
    return script(
        say("Let me see."),
        tool_call("c1", "add", '{"a": 1, "b": 2}'),
        tool_call("c2", "now", index=1),
        finish("tool_calls"), usage(), done(),
        after=after, tag=new_id(),
    )  # fmt: skip


# --- tools ----------------------------------------------------------------------------------------


def test_a_tool_loop_reaches_the_provider_as_openai_wants_it(
    rig: Rig, client: Client, worker: Worker
) -> None:
    question, place = calls_then("It is 3."), client.conversation()
    options = {"tools": TOOLS, "tool_choice": "auto", "parallel_tool_calls": True}

    first = asked(client, place, content=question, options=options)["assistant"]
    results = [{"tool_call_id": "c2", "content": "noon"}, {"tool_call_id": "c1", "content": "3"}]
    second = asked(client, place, tool_results=results, options=options)

    assert (first["status"], first["finish_reason"]) == ("DONE", "tool_calls")
    assert [(part["kind"], part["text"], part["meta"]) for part in first["parts"]] == [
        ("text", "Let me see.", None),
        ("tool_call", '{"a": 1, "b": 2}', {"id": "c1", "name": "add"}),
        ("tool_call", "{}", {"id": "c2", "name": "now"}),
    ]
    assert second["user"]["parent_id"] == first["id"]
    assert [part["kind"] for part in second["user"]["parts"]] == ["tool_result", "tool_result"]
    assert (second["assistant"]["status"], second["assistant"]["text"]) == ("DONE", "It is 3.")
    one, other = (record.request or {} for record in rig.scripted.requests(contains=question))
    assert {name: one[name] for name in options} == options
    assert other["messages"] == [
        {"role": "user", "content": question},
        {
            "role": "assistant",
            "content": "Let me see.",
            "tool_calls": [
                {
                    "id": "c1",
                    "type": "function",
                    "function": {"name": "add", "arguments": '{"a": 1, "b": 2}'},
                },
                {"id": "c2", "type": "function", "function": {"name": "now", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "c2", "content": "noon"},
        {"role": "tool", "tool_call_id": "c1", "content": "3"},
    ]


def test_a_question_in_place_of_results_leaves_the_calls_out(
    rig: Rig, client: Client, worker: Worker
) -> None:
    question, place = calls_then("unused"), client.conversation()
    asked(client, place, content=question, options={"tools": TOOLS})
    another = script(say("Well."), finish(), done(), tag=new_id())

    assert asked(client, place, content=another)["assistant"]["text"] == "Well."

    [record] = rig.scripted.requests(contains=another)
    assert record.request is not None
    assert record.request["messages"][1] == {"role": "assistant", "content": "Let me see."}


def test_results_of_other_calls_are_refused(client: Client, worker: Worker) -> None:
    place = client.conversation()
    asked(client, place, content=calls_then("unused"), options={"tools": TOOLS})

    for ids in (["c1"], ["c1", "c3"]):
        results = [{"tool_call_id": call, "content": "x"} for call in ids]
        problem(post(client, place, tool_results=results), 422, "invalid_tool_results")


def test_results_may_be_sent_again_with_their_key(client: Client, worker: Worker) -> None:
    place, key = client.conversation(), new_id()
    asked(client, place, content=calls_then("Once."), options={"tools": TOOLS})
    results = [{"tool_call_id": call, "content": ""} for call in ("c1", "c2")]
    path, headers = f"/api/conversations/{place}/messages", {"Idempotency-Key": key}

    replies = [
        client.http.post(path, json={"tool_results": results}, headers=headers) for _ in range(2)
    ]

    assert [reply.status_code for reply in replies] == [202, 202]
    one, other = (reply.json()["assistant"]["id"] for reply in replies)
    assert one == other
    assert client.ended(one)["text"] == "Once."


# --- media ----------------------------------------------------------------------------------------


def test_parts_reach_the_provider_unchanged_and_are_kept_once(
    rig: Rig, client: Client, worker: Worker
) -> None:
    text, sent = script(say("A dot."), finish(), done(), tag=new_id()), unique_png()
    parts = [
        {"type": "image_url", "image_url": {"url": data_url(sent), "detail": "low"}},
        image("https://images.invalid/never-fetched.png"),
        {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}},
        {"type": "file", "file": {"file_id": "file-7"}},
        {
            "type": "file",
            "file": {"file_data": data_url(b"%PDF", "application/pdf"), "filename": "a.pdf"},
        },
        {"type": "text", "text": text},
    ]
    before = rig.db.rows("SELECT count(*) AS n FROM files")[0].n

    first = asked(client, parts=[*parts])
    asked(client, parts=[*parts])

    assert first["assistant"]["text"] == "A dot."
    assert first["user"]["text"] == text
    [one, other] = rig.scripted.requests(contains=text)
    assert one.request is not None
    assert one.request["messages"] == [{"role": "user", "content": parts}]
    assert other.request is not None
    assert other.request["messages"] == one.request["messages"]
    assert rig.db.rows("SELECT count(*) AS n FROM files")[0].n <= before + 3


def test_a_stored_image_is_served_safely(client: Client, worker: Worker) -> None:
    sent, text = unique_png(), script(say("."), finish(), done(), tag=new_id())
    parts = [image(data_url(sent)), {"type": "text", "text": text}]
    [part, _] = asked(client, parts=parts)["user"]["parts"]

    reply = client.http.get(part["text"])

    assert (reply.status_code, reply.content) == (200, sent)
    headers = reply.headers
    assert headers["Content-Type"] == "image/png"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert headers["Content-Security-Policy"].endswith("; sandbox")
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["Content-Disposition"] == "inline"
    again = client.http.get(part["text"], headers={"If-None-Match": headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_any_other_file_is_only_saved(client: Client, worker: Worker) -> None:
    page = b"<script>alert(1)</script>" + new_id().encode()
    text = script(say("."), finish(), done(), tag=new_id())
    document = {"file_data": data_url(page, "text/plain"), "filename": "a.html"}
    parts = [{"type": "file", "file": document}, {"type": "text", "text": text}]
    [part, _] = asked(client, parts=parts)["user"]["parts"]

    reply = client.http.get(part["text"])

    assert reply.content == page
    assert reply.headers["Content-Type"] == "application/octet-stream"
    assert reply.headers["Content-Disposition"] == "attachment"


@pytest.mark.parametrize(
    "part",
    [
        image("http://example.com/a.png"),
        image("https://example.com/a b.png"),
        image("javascript:alert(1)"),
        image("file:///etc/passwd"),
        image(data_url(b"<svg/>", "image/svg+xml")),
        image(data_url(b"<p>", "text/html")),
        image("data:image/png;base64,iVBORw"),  # without its padding
        image("data:image/png;base64,iVBORx=="),  # the same bytes, written in another way
        image("data:image/png;base64,"),
        image("data:image/png,abc"),
        image("data:IMAGE/PNG;base64,iVBORw=="),
        image(data_url(b"x" * (FILE_BYTES + 1))),
        {"type": "input_audio", "input_audio": {"data": "?", "format": "wav"}},
        {"type": "file", "file": {}},
        {"type": "file", "file": {"file_id": "f", "filename": "a.pdf"}},
        {"type": "file", "file": {"file_data": data_url(b"%PDF", "application/pdf")}},
        {"type": "file", "file": {"file_data": data_url(b"<p>", "text/html"), "filename": "a"}},
    ],
    ids=lambda part: json.dumps(part)[:60],
)
def test_what_cannot_be_kept_as_it_is_is_refused(client: Client, part: dict[str, Any]) -> None:
    problem(post(client, parts=[part]), 422, "invalid_content")


def test_a_question_of_nothing_is_refused(client: Client) -> None:
    problem(post(client), 422, "invalid")
    problem(post(client, parts=[{"type": "video_url", "video_url": {"url": "x"}}]), 422, "invalid")


def test_the_page_is_told_what_a_question_has_besides_text(client: Client, worker: Worker) -> None:
    place, text = client.conversation(), script(say("."), finish(), done(), tag=new_id())
    parts = [image(data_url(unique_png())), {"type": "text", "text": text}]
    question = asked(client, place, parts=parts)["user"]

    turns = client.http.get(f"/api/conversations/{place}/turns").json()["items"]

    assert [turn["parts"] for turn in turns] == [question["parts"][:1], None]
    assert turns[0]["text"] == text
