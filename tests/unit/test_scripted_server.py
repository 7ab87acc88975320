"""The scripted provider as a process, seen by the openai package and by raw sockets."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import openai
import pytest
from openai.types.chat import ChatCompletionChunk, ChatCompletionMessageParam

from local import scripted as s
from local.scripted.steps import Step

ROOT = Path(s.__file__).parents[2]


@pytest.fixture(scope="module")
def provider() -> Iterator[s.Scripted]:
    with s.start_scripted() as provider:
        yield provider


@pytest.fixture(scope="module")
def client(provider: s.Scripted) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=provider.url, api_key="a key", max_retries=0) as client:
        yield client


def asked(question: str) -> list[ChatCompletionMessageParam]:
    return [
        {"role": "user", "content": "an older question"},
        {"role": "assistant", "content": "an older answer"},
        {"role": "user", "content": question},
    ]


def chunks(client: openai.OpenAI, question: str) -> list[ChatCompletionChunk]:
    stream = client.chat.completions.create(
        model="scripted",
        messages=asked(question),
        stream=True,
        stream_options={"include_usage": True},
    )
    with stream:
        return list(stream)


def choices(stream: list[ChatCompletionChunk]) -> list[Any]:
    return [choice for chunk in stream for choice in chunk.choices if choice.index == 0]


def text_of(stream: list[ChatCompletionChunk]) -> str:
    return "".join(choice.delta.content or "" for choice in choices(stream))


def read(client: openai.OpenAI, *steps: Step, **manner: Any) -> str:
    return text_of(chunks(client, s.script(*steps, **manner)))


class Raw:
    """One request by hand."""

    def __init__(self, url: str, question: str, **body: Any) -> None:
        address = urlsplit(url)
        self.socket = socket.create_connection((address.hostname, address.port), timeout=30)
        self.socket.sendall(request_bytes(question, **body))

    def __enter__(self) -> "Raw":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def rest(self) -> tuple[bytes, str]:
        """All that comes, and how it ended."""
        got = b""
        try:
            while data := self.socket.recv(65536):
                got += data
        except ConnectionResetError:
            return got, "reset"
        return got, "closed"


def request_bytes(question: str, **body: Any) -> bytes:
    value = {"model": "m", "stream": True, "messages": asked(question), **body}
    return post_bytes(json.dumps(value).encode())


def post_bytes(body: bytes) -> bytes:
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def body_of(answer: bytes) -> bytes:
    """The chunks of a body, joined as far as they came."""
    rest, body = answer.partition(b"\r\n\r\n")[2], b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return body


# --- through the openai package -------------------------------------------------------------------


def test_a_plain_question_is_answered_as_expected(client: openai.OpenAI) -> None:
    stream = chunks(client, "How are you?")

    assert text_of(stream) == s.expected("How are you?").text
    assert [choice.finish_reason for choice in choices(stream)][-1] == "stop"
    assert stream[0].choices[0].delta.role == "assistant"
    assert stream[-1].usage is not None


@pytest.mark.parametrize(
    "steps",
    [
        [s.say("naïve 😀 \u2028 text", chunk=(1, 4), seed=2)],
        [s.say("😀😀", escaped=True, chunk=1)],
        [s.long(20_000, chunk=100)],
        [s.say("a"), s.comment(3), s.empty(4), s.noise(), s.pause(0.01), s.say("b")],
        [s.torn("Straße", at=228), s.torn("!", at=1)],
        [s.slow_headers(0.05), s.say("late")],
        [s.say("cut off"), s.finish("length", text=" here")],
        [s.data({"choices": []}), s.raw(b": nothing\n\n"), s.say("x")],
    ],
)
@pytest.mark.parametrize("manner", [{}, {"crlf": True, "space": False, "role": False, "size": 0}])
def test_every_good_stream_says_what_is_expected(
    client: openai.OpenAI, steps: list[Step], manner: dict[str, Any]
) -> None:
    question = s.script(*steps, s.finish(), s.usage(3, 4), s.done(), **manner)

    stream = chunks(client, question)

    assert text_of(stream) == s.expected(question).text
    assert stream[-1].usage is not None
    assert stream[-1].usage.total_tokens == 7


def test_reasoning_and_tool_calls_come_in_their_own_fields(client: openai.OpenAI) -> None:
    steps = [s.reasoning("Hm.", field="reasoning"), s.reasoning("So."), s.tool_call("i", "f", "{}")]

    deltas = [c.delta for c in choices(chunks(client, s.script(*steps, s.finish("tool_calls"))))]

    calls = [call for delta in deltas for call in delta.tool_calls or []]
    assert "".join(getattr(delta, "reasoning", "") for delta in deltas) == "Hm."
    assert "".join(getattr(delta, "reasoning_content", "") for delta in deltas) == "So."
    assert (calls[0].id, calls[0].function.name) == ("i", "f")
    assert "".join(call.function.arguments for call in calls) == "{}"


def test_without_stream_the_answer_comes_whole_and_at_once(client: openai.OpenAI) -> None:
    question = s.script(s.hold("never"), s.pause(99), s.reasoning("Hm"), s.say("Yes"), s.done())

    answer = client.chat.completions.create(model="scripted", messages=asked(question))

    assert answer.choices[0].message.content == "Yes"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert [model.id for model in client.models.list()] == ["scripted"]


@pytest.mark.parametrize(
    ("step", "error", "code"),
    [
        (s.wrong_key(), openai.AuthenticationError, "invalid_api_key"),
        (s.unknown_model(), openai.NotFoundError, "model_not_found"),
        (s.too_long(), openai.BadRequestError, "context_length_exceeded"),
        (s.refuse_option("stream_options"), openai.BadRequestError, "unsupported_parameter"),
        (s.rate_limited(), openai.RateLimitError, "rate_limit_exceeded"),
        (s.status(500, "oops"), openai.InternalServerError, None),
        (s.status(529, {"anything": 1}), openai.InternalServerError, None),
    ],
)
def test_an_http_error_is_what_the_package_takes_it_for(
    client: openai.OpenAI, step: Step, error: type[openai.APIStatusError], code: str | None
) -> None:
    with pytest.raises(error) as raised:
        read(client, step, s.say("never"))

    assert raised.value.code == code


def test_refusals_are_counted_and_then_the_script_goes_on(client: openai.OpenAI) -> None:
    steps = [s.status(503, times=1), s.refuse(times=1), s.say("At last"), s.done()]
    tag = uuid.uuid4().hex

    with pytest.raises(openai.InternalServerError):
        read(client, *steps, tag=tag)
    with pytest.raises(openai.APIConnectionError):
        read(client, *steps, tag=tag)

    assert read(client, *steps, tag=tag) == "At last"
    assert read(client, *steps, tag=tag) == "At last"


def test_retry_after_has_both_forms(client: openai.OpenAI) -> None:
    with pytest.raises(openai.RateLimitError) as seconds:
        read(client, s.rate_limited(1.5))
    with pytest.raises(openai.RateLimitError) as date:
        read(client, s.rate_limited(60, as_date=True))

    until = parsedate_to_datetime(date.value.response.headers["retry-after"]).timestamp()
    assert seconds.value.response.headers["retry-after"] == "1.5"
    assert 50 < until - time.time() <= 60


def test_an_option_is_only_refused_to_those_who_ask_for_it(client: openai.OpenAI) -> None:
    question = s.script(s.refuse_option("stream_options"), s.say("Fine"), s.usage(), s.done())

    with client.chat.completions.create(model="m", messages=asked(question), stream=True) as stream:
        got = list(stream)

    assert text_of(got) == "Fine"
    assert not any(chunk.usage for chunk in got)


def test_an_error_in_the_stream_is_one(client: openai.OpenAI) -> None:
    with pytest.raises(openai.APIError, match="had an error"):
        read(client, s.say("x"), s.error_object())


# --- on the wire ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b"{}",
        b'{"model": "m"}',
        b'{"model": "m", "messages": [7]}',
        b'{"model": "m", "messages": [{"role": "system", "content": "x"}]}',
        b'{"model": "m", "stream": "yes", "messages": [{"role": "user", "content": "x"}]}',
        b'{"messages": [{"role": "user", "content": "x"}]}',
        json.dumps({"model": "m", "messages": asked('{"script": [{"do": "fly"}]}')}).encode(),
    ],
)
def test_a_bad_request_is_refused(provider: s.Scripted, body: bytes) -> None:
    address = urlsplit(provider.url)
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(post_bytes(body))
        assert connection.recv(65536).startswith(b"HTTP/1.1 400 Bad Request")


@pytest.mark.parametrize("at", [0, 1, 300, 599, 600])
def test_a_cut_is_a_reset_after_exactly_so_many_bytes(provider: s.Scripted, at: int) -> None:
    with Raw(provider.url, s.script(s.say("Hello"), s.cut(at=at), role=False)) as raw:
        got, ended = raw.rest()

    assert ended == "reset"
    assert len(body_of(got)) == s.FRAME_BYTES + at
    assert provider.requests()[-1].ended == "scripted_cut"


def test_a_cut_without_abort_is_an_incomplete_body_closed_in_order(provider: s.Scripted) -> None:
    with Raw(provider.url, s.script(s.cut(at=9, abort=False), role=False)) as raw:
        got, ended = raw.rest()

    assert ended == "closed"
    assert len(body_of(got)) == 9


def test_a_frame_is_one_write_and_done_goes_with_the_end(provider: s.Scripted) -> None:
    question = s.script(s.hold("a"), s.say("Hello"), s.hold("b"), s.done(), role=False)
    with Raw(provider.url, question) as raw:
        provider.wait_held("a")
        raw.socket.recv(65536)
        provider.release("a")
        assert raw.socket.recv(65536).startswith(b"258\r\ndata: {")
        provider.release("b")
        assert raw.socket.recv(65536) == b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"


def test_the_plain_end_of_a_body_says_nothing(provider: s.Scripted) -> None:
    with Raw(provider.url, s.script(s.say("Hello"), s.end(), s.say("not me"))) as raw:
        got, ended = raw.rest()

    assert (ended, got[-7:]) == ("closed", b"\r\n0\r\n\r\n")
    assert b"[DONE]" not in got
    assert b"not me" not in got


# --- what it saw ----------------------------------------------------------------------------------


def test_a_stream_that_was_read_whole_is_recorded_so(
    provider: s.Scripted, client: openai.OpenAI
) -> None:
    tag = uuid.uuid4().hex
    read(client, s.long(3000), s.finish(), s.done(), tag=tag)

    [record] = provider.wait_requests(1, contains=tag, ended=True)

    assert (record.ended, record.status, record.characters) == ("whole", 200, 3000)
    assert record.reached == record.steps == 3
    assert record.has_key
    assert "authorization" not in record.headers
    assert record.request is not None
    assert record.request["stream_options"] == {"include_usage": True}
    assert record.quiet < 5


def test_a_client_that_leaves_during_a_hold_is_noticed_at_once(provider: s.Scripted) -> None:
    name = uuid.uuid4().hex
    with Raw(provider.url, s.script(s.say("Hello"), s.hold(name), s.say("x"))) as raw:
        [number] = provider.wait_held(name)
    left = time.monotonic()
    del raw

    record = provider.wait_ended(number)

    assert (record.ended, record.characters, record.reached) == ("client_closed", 5, 1)
    assert record.closed_at is not None
    assert record.closed_at - left < 0.1
    assert name not in provider.held()


def test_a_client_that_leaves_without_reading_is_not_taken_for_one_that_read(
    provider: s.Scripted,
) -> None:
    tag = uuid.uuid4().hex
    with Raw(provider.url, s.script(s.long(2000), s.hold(tag), s.done(), tag=tag)):
        provider.wait_held(tag)
        provider.release(tag)
        while provider.requests(contains=tag)[0].reached < 3:
            pass  # then all of it waits, unread, in the client's own kernel

    [record] = provider.wait_requests(1, contains=tag, ended=True)

    assert record.reached == record.steps
    assert record.ended == "client_closed"


def test_a_released_hold_stays_open(provider: s.Scripted, client: openai.OpenAI) -> None:
    name = uuid.uuid4().hex

    assert provider.release(name) == 0
    assert read(client, s.slow_headers(hold=name), s.hold(name), s.say("through")) == "through"


def test_a_wait_that_is_not_answered_in_time_says_so(provider: s.Scripted) -> None:
    with pytest.raises(TimeoutError):
        provider.wait_held("nobody", timeout=0.01)
    with pytest.raises(TimeoutError):
        provider.wait_requests(1, contains="nobody asked this", timeout=0.01)
    with pytest.raises(TimeoutError):
        provider.wait_ended(10**9, timeout=0.01)


def test_reset_cuts_what_is_running_and_forgets_the_rest() -> None:
    with (
        s.start_scripted() as provider,
        Raw(provider.url, s.script(s.say("x"), s.hold("gate"))) as raw,
    ):
        provider.wait_held("gate")

        assert provider.reset() == 1
        assert raw.rest()[1] == "reset"
        assert provider.requests() == []


async def whole_body(url: str, question: str) -> bytes:
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(request_bytes(question))
    try:
        return body_of(await reader.read())
    finally:
        writer.close()
        await writer.wait_closed()


def test_two_hundred_streams_at_once_are_all_complete(provider: s.Scripted) -> None:
    tag = uuid.uuid4().hex
    question = s.script(s.long(150, rate=75), s.finish(), s.done(), tag=tag)

    async def together() -> list[bytes]:
        return await asyncio.gather(*(whole_body(provider.url, question) for _ in range(200)))

    bodies = asyncio.run(together())

    assert all(body.count(b"data: ") == 1 + 30 + 1 + 1 for body in bodies)
    assert all(body.endswith(b"data: [DONE]\n\n") for body in bodies)
    seen = provider.wait_requests(200, contains=tag, ended=True)
    assert {(record.ended, record.characters) for record in seen} == {("whole", 150)}


# --- the process ----------------------------------------------------------------------------------


def test_it_says_where_it_listens_and_ends_in_order_on_sigterm(tmp_path: Path) -> None:
    port_file = tmp_path / "scripted.json"
    process = subprocess.Popen(
        [sys.executable, "-m", "local.scripted", "--port-file", str(port_file)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()

    assert json.loads(line) == json.loads(port_file.read_text())
    assert json.loads(line)["pid"] == process.pid
    with Raw(json.loads(line)["url"], s.script(s.say("x"), s.pause(99))) as raw:
        raw.socket.recv(1)
        process.send_signal(signal.SIGTERM)
        assert process.communicate(timeout=10) == ("", "")
    assert process.returncode == 0


def test_it_does_not_outlive_a_parent_that_is_killed() -> None:
    code = "from local.scripted import *; import time; print(start_scripted().url, flush=True); "
    parent = subprocess.Popen(
        [sys.executable, "-c", code + "time.sleep(99)"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    address = urlsplit(parent.stdout.readline().strip())
    os.kill(parent.pid, signal.SIGKILL)
    parent.communicate()

    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            socket.create_connection((address.hostname, address.port), timeout=1).close()
        except OSError:
            return
        time.sleep(0.02)
    pytest.fail("it still listens")
