"""The command line's client, against a service that fails in every way."""

import hashlib
import json
import sys
import uuid
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from cli import api_client
from cli.api_client import Api, RequestRefused, ServiceUnreachable
from cli.exit_status import Exit
from cli.resuming_stream import ResumingStream
from cli.show_answer import show_answer
from shared import sse

URL = "http://127.0.0.1:1"
MESSAGE = uuid.uuid4()
Reply = httpx2.Response | Exception


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)


class Service:
    """Sends a test's replies, in order, and records the requests."""

    def __init__(self, *replies: Reply) -> None:
        self.requests: list[httpx2.Request] = []
        self._replies = iter(replies)
        self.api = Api(URL, httpx2.MockTransport(self._answer))

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        reply = next(self._replies)
        if isinstance(reply, Exception):
            raise reply
        return reply

    def sent(self, header: str) -> list[str | None]:
        """The values of one header in all requests."""
        return [request.headers.get(header) for request in self.requests]


def ok(document: Any, status: int = 200) -> httpx2.Response:
    return httpx2.Response(status, json=document)


def problem(status: int, code: str) -> httpx2.Response:
    return httpx2.Response(
        status,
        headers={"Content-Type": "application/problem+json"},
        content=json.dumps({"code": code, "detail": "No."}).encode(),
    )


class Chunks(httpx2.SyncByteStream):
    """A response's body, which may end with an exception."""

    def __init__(self, *pieces: bytes | Exception) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece


def stream(*pieces: bytes | Exception) -> httpx2.Response:
    kind = {"Content-Type": "text/event-stream; charset=utf-8"}
    return httpx2.Response(200, headers=kind, stream=Chunks(*pieces))


def delta(start: int, text: str, part: int = 0, kind: str = "text") -> bytes:
    data = {"start": start, "part": part, "kind": kind, "text": text}
    return sse.encode("delta", data, start + len(text))


def end(text: str, **more: Any) -> bytes:
    digest = hashlib.sha256(text.encode()).hexdigest()
    data = {"status": "DONE", "finish_reason": "stop", "length": len(text), "sha256": digest}
    return sse.encode("end", {**data, "usage": None, "error": None, **more}, "end")


def read(api: Api) -> ResumingStream:
    """Read a stream to its end."""
    stream = ResumingStream(api, MESSAGE)
    list(stream.deltas(lambda: None))
    return stream


# --- requests ------------------------------------------------------------------------------------


def test_repeated_request_has_the_same_idempotency_key() -> None:
    asked = ok({"user": {}, "assistant": {"id": str(MESSAGE)}}, 202)
    service = Service(httpx2.ReadError("cut"), problem(503, "storage_unavailable"), asked)

    answer = service.api.ask(uuid.uuid4(), "Why?", {})

    assert answer == {"id": str(MESSAGE)}
    [key] = set(service.sent("Idempotency-Key"))
    assert key
    assert len(service.requests) == 3


def test_each_question_has_its_own_idempotency_key() -> None:
    asked: dict[str, Any] = {"user": {}, "assistant": {}}
    service = Service(ok(asked, 202), ok(asked, 202))

    service.api.retry(MESSAGE, {})
    service.api.retry(MESSAGE, {})

    assert len(set(service.sent("Idempotency-Key"))) == 2


def test_address_that_was_never_reached_is_given_up_at_once() -> None:
    service = Service(httpx2.ConnectError("refused"))

    with pytest.raises(ServiceUnreachable, match="Nothing answers at"):
        service.api.message(MESSAGE)


def test_address_that_was_reached_before_is_tried_again() -> None:
    service = Service(ok({}), httpx2.ConnectError("refused"), ok({"id": 1}))

    service.api.message(MESSAGE)

    assert service.api.message(MESSAGE) == {"id": 1}


def test_retries_end_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_client, "PATIENCE", -1.0)
    service = Service(problem(503, "storage_unavailable"))

    with pytest.raises(ServiceUnreachable, match="not ready"):
        service.api.message(MESSAGE)


@pytest.mark.parametrize("status", [200, 404, 500])
def test_reply_of_another_server_is_recognised(status: int) -> None:
    service = Service(httpx2.Response(status, html="<h1>It works!</h1>"))

    with pytest.raises(ServiceUnreachable, match="is not Outlive"):
        service.api.message(MESSAGE)


def test_refusal_carries_detail_and_code() -> None:
    service = Service(problem(409, "complete"))

    with pytest.raises(RequestRefused, match=r"No\. \(complete\)"):
        service.api.continue_(MESSAGE, {})


def test_pages_are_read_until_the_limit() -> None:
    service = Service(
        ok({"items": [{"id": 1}, {"id": 2}], "next": "b"}), ok({"items": [{"id": 3}], "next": "c"})
    )

    assert service.api.conversations(3) == {"items": [{"id": 1}, {"id": 2}, {"id": 3}], "next": "c"}
    assert [dict(one.url.params) for one in service.requests] == [
        {"limit": "3"},
        {"limit": "1", "cursor": "b"},
    ]


# --- streams -------------------------------------------------------------------------------------


def test_cut_stream_resumes_after_the_last_complete_frame() -> None:
    service = Service(
        stream(delta(0, "Once "), delta(5, "upon")[:-1], httpx2.ReadError("cut")),
        httpx2.ConnectError("refused"),
        stream(delta(5, "upon a time"), end("Once upon a time")),
    )

    found = read(service.api)

    assert found.body.text == "Once upon a time"
    assert found.proven
    assert service.sent("Last-Event-ID") == [None, "5", "5"]


BROKEN = {
    "invalid UTF-8": b"data: \xff\xfe\n\n",
    "invalid JSON": b"event: delta\ndata: {\n\n",
    "a gap": delta(7, "time"),
    "an impossible part": delta(5, "x", part=7),
    "a captive portal": b"<html>",
}


@pytest.mark.parametrize("bad", BROKEN.values(), ids=BROKEN.keys())
def test_damaged_stream_is_read_again_from_the_last_good_frame(bad: bytes) -> None:
    service = Service(stream(delta(0, "Once "), bad), stream(delta(5, "upon"), end("Once upon")))

    found = read(service.api)

    assert found.body.text == "Once upon"
    assert found.proven


def test_repeated_text_is_taken_once() -> None:
    service = Service(stream(delta(0, "Once "), delta(0, "Once upon"), end("Once upon")))

    assert read(service.api).body.text == "Once upon"


@pytest.mark.parametrize(
    "failure", [problem(429, "too_many_streams"), httpx2.Response(200, html=""), problem(502, "x")]
)
def test_stream_that_connected_once_is_retried_after_any_temporary_failure(
    failure: httpx2.Response,
) -> None:
    service = Service(stream(delta(0, "Once ")), failure, stream(end("Once ")))

    assert read(service.api).proven


def test_deleted_message_ends_the_retries() -> None:
    service = Service(stream(delta(0, "Once ")), problem(404, "not_found"))

    with pytest.raises(RequestRefused):
        read(service.api)


def test_retry_interval_of_the_server_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr("time.sleep", waited.append)
    service = Service(stream(sse.retry(4000)), httpx2.ReadError("cut"), stream(end("")))

    read(service.api)

    assert all(4.0 <= seconds <= 4.0 * 1.3 for seconds in waited)
    assert len(waited) == 2


# --- the end -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "code"),
    [("DONE", Exit.DONE), ("ERROR", Exit.ERROR), ("CANCELLED", Exit.CANCELLED)],
)
def test_exit_status_follows_from_the_answers_status(status: str, code: Exit) -> None:
    service = Service(stream(end("", status=status)))

    assert show_answer(service.api, MESSAGE, as_json=False, no_reasoning=False) == code


def test_failed_proof_shows_the_stored_answer(capsys: pytest.CaptureFixture[str]) -> None:
    stored = ok({"text": "Once upon a time"})
    service = Service(stream(delta(0, "Once upon"), end("Once upon a time")), stored)

    status = show_answer(service.api, MESSAGE, as_json=False, no_reasoning=False)

    shown = capsys.readouterr()
    assert status == Exit.UNPROVEN
    assert shown.out == "Once upon\nOnce upon a time"
    assert "does not match" in shown.err


def test_failed_proof_of_a_deleted_message_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    cut = stream(delta(0, "Once"), end("", length=None, sha256=None, status="CANCELLED"))
    service = Service(cut, problem(404, "not_found"))

    assert show_answer(service.api, MESSAGE, as_json=False, no_reasoning=False) == Exit.UNPROVEN
    assert "(not_found)" in capsys.readouterr().err


def test_ctrl_c_prints_how_to_come_back(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_text: str) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.stdout, "write", interrupted)
    service = Service(stream(delta(0, "Once")))

    with pytest.raises(SystemExit) as left:
        show_answer(service.api, MESSAGE, as_json=False, no_reasoning=False)

    assert left.value.code == Exit.INTERRUPTED
    assert f"outlive follow {MESSAGE}" in capsys.readouterr().err
