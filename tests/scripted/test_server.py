"""The scripted provider as a process, seen by raw sockets."""

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
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

import scripted as s

ROOT = Path(s.__file__).parents[1]
BROKEN_SCRIPT = (
    rb'{"model": "m", "messages": [{"role": "user", "content": "{\"script\": [{\"do\": 7}]}"}]}'
)


@pytest.fixture(scope="module")
def provider() -> Iterator[s.Scripted]:
    with s.start_scripted() as provider:
        yield provider


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
    messages = [{"role": "user", "content": question}]
    value = {"model": "m", "stream": True, "messages": messages, **body}
    return post_bytes(json.dumps(value).encode())


def post_bytes(body: bytes) -> bytes:
    key = "authorization: Bearer secret"
    length = f"content-length: {len(body)}"
    lines = ["POST /v1/chat/completions HTTP/1.1", "host: x", key, length, "", ""]
    return "\r\n".join(lines).encode() + body


def body_of(answer: bytes) -> bytes:
    """The chunks of a body, joined as far as they came."""
    rest, body = answer.partition(b"\r\n\r\n")[2], b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return body


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
        BROKEN_SCRIPT,
    ],
)
def test_a_bad_request_is_refused(provider: s.Scripted, body: bytes) -> None:
    address = urlsplit(provider.url)
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(post_bytes(body))
        assert connection.recv(65536).startswith(b"HTTP/1.1 400 Bad Request")


@pytest.mark.parametrize("at", [0, 1, 300, 599, 600])
def test_a_cut_is_a_reset_after_exactly_that_many_bytes(provider: s.Scripted, at: int) -> None:
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


def test_a_plain_end_sends_no_frame(provider: s.Scripted) -> None:
    with Raw(provider.url, s.script(s.say("Hello"), s.end(), s.say("not me"))) as raw:
        got, ended = raw.rest()

    assert (ended, got[-7:]) == ("closed", b"\r\n0\r\n\r\n")
    assert b"[DONE]" not in got
    assert b"not me" not in got


# --- what it saw ----------------------------------------------------------------------------------


def test_a_stream_that_was_read_to_its_end_is_recorded_as_whole(provider: s.Scripted) -> None:
    tag = uuid.uuid4().hex
    with Raw(provider.url, s.script(s.long(3000), s.finish(), s.done(), tag=tag), top_p=0.5) as raw:
        raw.rest()

    [record] = provider.wait_requests(1, contains=tag, ended=True)

    assert (record.ended, record.status, record.characters) == ("whole", 200, 3000)
    assert record.reached == record.steps == 3
    assert record.has_key
    assert "authorization" not in record.headers
    assert record.request is not None
    assert record.request["top_p"] == 0.5
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


def test_a_client_that_leaves_with_unread_bytes_is_not_recorded_as_whole(
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


def test_a_released_hold_stays_open(provider: s.Scripted) -> None:
    name = uuid.uuid4().hex

    assert provider.release(name) == 0
    with Raw(provider.url, s.script(s.slow_headers(hold=name), s.hold(name), s.done())) as raw:
        assert raw.rest()[0].endswith(b"0\r\n\r\n")


def test_a_wait_that_times_out_raises(provider: s.Scripted) -> None:
    with pytest.raises(TimeoutError):
        provider.wait_held("unknown", timeout=0.01)
    with pytest.raises(TimeoutError):
        provider.wait_requests(1, contains="never asked", timeout=0.01)
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


def test_the_server_prints_its_address_and_ends_on_sigterm(tmp_path: Path) -> None:
    port_file = tmp_path / "scripted.json"
    process = subprocess.Popen(
        [sys.executable, "-m", "scripted", "--port-file", str(port_file)],
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


def test_the_server_ends_when_its_parent_is_killed() -> None:
    code = "from scripted import *; import time; print(start_scripted().url, flush=True); "
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
