"""The pure core of the Python client: what it does with bytes, responses and failures."""

import hashlib
import json
from itertools import pairwise
from typing import Any

import pytest

from outlive_client import (
    ApiError,
    Conflict,
    Delta,
    Invalid,
    NotFound,
    OutliveError,
    TooMany,
    Unauthorized,
    Unreachable,
)
from outlive_client._calls import Call, ask
from outlive_client._events import Decoder, Event
from outlive_client._export import Everything
from outlive_client._models import Asked, Part
from outlive_client._reading import Reading
from outlive_client._responses import Retries, parsed, refusal
from outlive_client._settings import settings
from shared import sse

URL = "http://127.0.0.1:1"
MESSAGE = "25898727-7a2b-4ad4-9f0e-1fd7ee9d83b4"
STREAM = {"content-type": "text/event-stream; charset=utf-8"}
PROBLEM = {"content-type": "application/problem+json"}
NOT_READY = Unreachable("The service is not ready.", temporary=True)


def delta(start: int, text: str, part: int = 0, kind: str = "text", **more: Any) -> bytes:
    data = {"start": start, "part": part, "kind": kind, "text": text, **more}
    return sse.encode("delta", data, start + len(text))


def end(text: str, **more: Any) -> bytes:
    digest = hashlib.sha256(text.encode()).hexdigest()
    data = {"status": "DONE", "finish_reason": "stop", "length": len(text), "sha256": digest}
    return sse.encode("end", {**data, "usage": None, "error": None, **more}, "end")


def message(**more: Any) -> dict[str, Any]:
    names = ("parent_id", "continues_id", "length", "sha256", "model", "usage", "finish_reason",
             "error", "started_at", "first_text_at", "ended_at")  # fmt: skip
    return {
        **dict.fromkeys(names), "id": MESSAGE, "conversation_id": MESSAGE, "role": "assistant",
        "status": "SENDING", "text": "", "parts": [], "position": 0,
        "created_at": "2026-11-28T10:00:00.500000Z", **more,
    }  # fmt: skip


def reading(subject: Call[Asked] | str = MESSAGE, **patience: float) -> Reading:
    """One that has a stream open, at the time 0."""
    made = Reading(URL, subject, now=0.0, **{"patience": 60.0, "stream_patience": 60.0, **patience})
    assert made.respond(200, STREAM, 0.0)
    return made


def texts(deltas: list[Delta]) -> list[str]:
    return [delta.text for delta in deltas]


def problem(status: int, code: str = "code") -> OutliveError:
    body = json.dumps({"code": code, "detail": "No."}).encode()
    return refusal(URL, status, PROBLEM | {"retry-after": "7"}, body)


# --- events --------------------------------------------------------------------------------------

FRAMES = "retry: 5\n: x\nevent: delta\ndata: {\u2028\x85}\ndata:two\r\nid: 7\r\rdata\n\nid: 8\n\n"
EVENTS = [Event("delta", "{\u2028\x85}\ntwo", "7"), Event("message", "", "")]


def test_events_are_the_same_however_their_bytes_are_cut() -> None:
    sent = FRAMES.encode()
    for size in range(1, len(sent) + 1):
        decoder = Decoder()
        pieces = [sent[start : start + size] for start in range(0, len(sent), size)]
        assert [event for piece in pieces for event in decoder.feed(piece)] == EVENTS, size
        assert decoder.retry == 5


# --- one stream ----------------------------------------------------------------------------------


def test_text_is_returned_as_it_comes_and_proven_at_the_end() -> None:
    read = reading()

    assert texts(read.feed(delta(0, "Once ") + delta(5, "\U0001f600", part=1, kind="x"))) == [
        "Once ",
        "\U0001f600",
    ]
    assert read.end is None
    assert read.feed(end("Once \U0001f600")) == []

    assert read.proven
    assert read.parts == [Part("text", "Once "), Part("x", "\U0001f600")]
    assert read.position == 6


def test_cut_stream_resumes_after_the_last_complete_frame() -> None:
    read = reading()
    read.feed(sse.retry(0) + delta(0, "Once ") + delta(5, "upon")[:-1])

    assert read.cut(None, 1.0) == 0.0

    assert read.request().headers["Last-Event-ID"] == "5"
    assert read.respond(200, STREAM, 2.0)
    assert texts(read.feed(delta(5, "upon a time") + end("Once upon a time"))) == ["upon a time"]
    assert read.proven


BROKEN = {
    "invalid UTF-8": b"event: delta\ndata: \xff\xfe\n\n",
    "invalid JSON": b"event: delta\ndata: {\n\n",
    "JSON of another shape": b"event: delta\ndata: []\n\n",
    "a field that is missing": b'event: delta\ndata: {"start": 5}\n\n',
    "a field of another type": delta(5, "x", part="0"),  # type: ignore[arg-type]
    "a gap": delta(7, "time"),
    "an impossible part": delta(5, "x", part=7),
    "a part of another kind": delta(5, "x", kind="reasoning"),
}


@pytest.mark.parametrize("bad", BROKEN.values(), ids=BROKEN.keys())
def test_damaged_stream_is_read_again_from_the_last_good_frame(bad: bytes) -> None:
    read = reading()

    assert texts(read.feed(delta(0, "Once ") + bad)) == ["Once "]
    assert read.over
    assert read.end is None

    read.cut(None, 1.0)
    assert read.request().headers["Last-Event-ID"] == "5"
    assert read.respond(200, STREAM, 2.0)
    assert texts(read.feed(delta(5, "upon") + end("Once upon"))) == ["upon"]
    assert read.proven


def test_repeated_text_is_taken_once() -> None:
    read = reading()

    found = read.feed(
        delta(0, "Once ") + delta(0, "Once upon") + delta(2, "ce ") + end("Once upon")
    )

    assert texts(found) == ["Once ", "upon"]
    assert read.proven


def test_open_part_without_text_is_a_part() -> None:
    read = reading()
    meta = {"name": "weather"}

    read.feed(delta(0, "", kind="tool_call", meta=meta) + delta(0, "{}", kind="tool_call"))

    assert read.parts == [Part("tool_call", "{}", meta)]


def test_other_text_than_the_stored_one_is_not_proven() -> None:
    read = reading()

    read.feed(delta(0, "Once upon") + end("Once upom"))

    assert read.end is not None
    assert not read.proven


def test_unknown_events_are_ignored() -> None:
    read = reading()

    assert read.feed(sse.encode("news", {"a": 1}, "9") + delta(0, "x") + end("x")) != []
    assert read.proven


# --- when it comes back --------------------------------------------------------------------------


def test_pause_is_the_servers_with_a_little_more() -> None:
    read = reading()
    read.feed(sse.retry(4000))

    assert 4.0 <= read.cut(None, 1.0) <= 4.0 * 1.3


@pytest.mark.parametrize("failure", [NOT_READY, problem(429), problem(502)])
def test_temporary_failures_are_passed(failure: OutliveError) -> None:
    assert reading().cut(failure, 1.0) > 0


def test_page_of_a_captive_portal_is_passed_once_the_stream_was_there() -> None:
    read = reading()
    read.feed(delta(0, "x"))
    read.cut(None, 1.0)

    assert not read.respond(200, {"content-type": "text/html"}, 2.0)
    failure = read.refuse(200, {"content-type": "text/html"}, b"<h1>Hello</h1>")

    assert isinstance(failure, Unreachable)
    assert not failure.temporary
    read.cut(failure, 2.0)
    with pytest.raises(Unreachable, match="is not Outlive"):
        Reading(URL, MESSAGE, patience=60, stream_patience=60, now=0).cut(failure, 1.0)


@pytest.mark.parametrize("status", [401, 403, 404])
def test_refusal_ends_the_reading(status: int) -> None:
    read = reading()
    read.feed(delta(0, "x"))

    with pytest.raises(ApiError):
        read.cut(problem(status), 1.0)


def test_stream_that_brings_nothing_is_given_up() -> None:
    read = reading(stream_patience=10.0)
    for now in range(0, 8, 2):
        read.respond(200, STREAM, now)
        read.feed(sse.retry(0))
        read.cut(None, now + 1.0)

    read.respond(200, STREAM, 10.0)
    read.feed(delta(0, "x"))
    read.cut(None, 11.0)  # it brought something
    read.respond(200, STREAM, 20.0)
    read.cut(None, 26.0)  # it lasted
    read.respond(200, STREAM, 35.0)
    read.cut(None, 36.0)
    read.respond(200, STREAM, 37.0)
    with pytest.raises(Unreachable):
        read.cut(None, 38.0)


# --- a question ----------------------------------------------------------------------------------

QUESTION = ask(MESSAGE, {"content": "Why?"}, None)
BOTH = {"user": message(role="user", status="DONE"), "assistant": message()}


def test_question_is_sent_with_one_key_until_it_was_accepted() -> None:
    read = reading(QUESTION)
    first = read.request()
    accepted = sse.encode("accepted", BOTH)

    read.feed(accepted[:-1])
    read.cut(None, 1.0)
    again = read.request()
    assert again == first
    assert again.headers["Idempotency-Key"]
    assert again.fields == {"content": "Why?"}

    read.respond(200, STREAM, 2.0)
    read.feed(accepted)
    read.cut(None, 3.0)
    assert read.accepted
    assert read.message_id == MESSAGE
    assert read.request().method == "GET"
    assert read.request().path == f"/api/messages/{MESSAGE}/stream"
    assert read.request().headers.keys() == {"Accept", "Accept-Encoding"}


def test_each_question_has_its_own_key() -> None:
    keys = {ask(MESSAGE, {}, None).headers["Idempotency-Key"] for _ in range(3)}

    assert len(keys) == 3
    assert ask(MESSAGE, {}, "mine").headers["Idempotency-Key"] == "mine"


def test_question_that_is_accepted_without_a_stream_is_followed_at_once() -> None:
    read = Reading(URL, QUESTION, patience=60, stream_patience=60, now=0)
    headers = {"content-type": "application/json"}

    assert not read.respond(202, headers, 0.0)
    assert read.refuse(202, headers, json.dumps(BOTH).encode()) is None

    assert read.cut(None, 1.0) == 0.0
    assert read.request().method == "GET"


@pytest.mark.parametrize("status", [404, 409, 422, 429])
def test_refused_question_is_not_asked_again(status: int) -> None:
    read = Reading(URL, QUESTION, patience=60, stream_patience=60, now=0)

    with pytest.raises(ApiError):
        read.cut(problem(status), 1.0)


def test_question_is_given_up_after_the_patience() -> None:
    read = Reading(URL, QUESTION, patience=10.0, stream_patience=60, now=0)
    read.cut(NOT_READY, 1.0)

    with pytest.raises(Unreachable):
        read.cut(NOT_READY, 10.0)


def test_question_that_came_too_fast_waits_as_long_as_the_service_says() -> None:
    read = Reading(URL, QUESTION, patience=10.0, stream_patience=60, now=0)
    too_fast = problem(429, "rate_limited")

    assert read.cut(too_fast, 1.0) == 7.0
    with pytest.raises(TooMany):
        read.cut(too_fast, 8.0)


# --- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, Unauthorized), (404, NotFound), (409, Conflict), (422, Invalid), (429, TooMany),
     (418, ApiError), (500, ApiError)],
)  # fmt: skip
def test_refusal_has_code_status_and_when_to_try_again(status: int, kind: type[ApiError]) -> None:
    found = problem(status, "a_code")

    assert type(found) is kind
    assert (found.status, found.code, found.retry_after) == (status, "a_code", 7.0)
    assert str(found) == "No. (a_code)"


@pytest.mark.parametrize("status", [200, 301, 404, 500])
def test_reply_of_another_server_is_recognised(status: int) -> None:
    with pytest.raises(Unreachable, match="is not Outlive") as found:
        parsed(URL, status, {"content-type": "text/html"}, b"<h1>It works!</h1>")

    assert not found.value.temporary
    assert found.value.status == status


def test_retries_wait_longer_each_time_and_as_long_as_the_service_says() -> None:
    retries = Retries(60.0, 0.0)
    pauses = [retries.pause(NOT_READY, 1.0) for _ in range(6)]

    assert all(short < long for short, long in pairwise(pauses[:4]))
    assert all(0.2 <= pause <= 3.0 * 1.3 for pause in pauses)
    asked = Unreachable("", temporary=True, retry_after=9.0)
    assert retries.pause(asked, 1.0) == 9.0
    with pytest.raises(Unreachable):
        retries.pause(Unreachable("", temporary=True, retry_after=1e9), 1.0)


# --- who asks ------------------------------------------------------------------------------------


def test_credential_and_user_are_sent_with_each_request() -> None:
    tokens = iter(["one", "two"])
    made = settings(URL + "/", lambda: next(tokens), "alice", 1, 1)

    first, second = made.headers(QUESTION), made.headers(QUESTION)

    assert made.url == URL
    assert first["Authorization"] == "Bearer one"
    assert second["Authorization"] == "Bearer two"
    assert first["Outlive-User"] == "alice"
    assert first["Idempotency-Key"] == QUESTION.headers["Idempotency-Key"]
    assert "Authorization" not in settings(URL, None, None, 1, 1).headers(QUESTION)


@pytest.mark.parametrize("bad", ["", "a\nb", "a\x00", "é"])
def test_credential_that_no_header_can_have_is_refused_without_showing_it(bad: str) -> None:
    with pytest.raises(ValueError, match="token must be printable ASCII") as refused:
        settings(URL, f"secret{bad}" if bad else "", None, 1, 1)

    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["outlive.example", "ftp://outlive.example", "http://", "http://outlive:port"]
)
def test_address_must_be_one(url: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        settings(url, None, None, 1, 1)


# --- everything -----------------------------------------------------------------------------------

END = '{"type": "end", "messages": 1}\n'


@pytest.mark.parametrize(
    ("form", "sent", "whole"),
    [
        ("json", '{"a": "é"}\n{}\n' + END, True),
        ("json", '{"a": "é"}\n', False),
        ("json", '{"a": "é"}\n' + END[:-1], False),
        ("json", "", False),
        ("markdown", "# é\n\n1 conversation. This is the end of the export.\n", True),
        ("markdown", "# This is the end of the export.\n\nNo, this.\n", False),
    ],
)
def test_export_that_was_cut_is_found_out(form: str, sent: str, whole: bool) -> None:
    everything = Everything("http://service", form)

    pieces = [piece for byte in sent.encode() for piece in everything.feed(bytes([byte]))]

    if whole:
        everything.finish()
        assert "".join(pieces).replace("\n", "") == sent.replace("\n", "")
    else:
        with pytest.raises(Unreachable):
            everything.finish()
