"""Canaries in everything that is private: none may be found where it does not belong.

Not in any process' log, not in any command that Redis received but those of the live log, not in
the body of an error. The stories include those in which things fail, because that is when
software quotes what it was given.
"""

import base64
import binascii
import re
import signal
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from urllib.parse import urlsplit

import pytest
import redis

from local.programs import Flower
from scripted import (
    big_line,
    cut,
    data,
    done,
    error_object,
    finish,
    hold,
    long,
    malformed,
    raw,
    reasoning,
    say,
    script,
    status,
    tool_call,
    usage,
)
from tests.client import Client, new_id
from tests.end_to_end.conftest import Fragile
from tests.rig import API_KEY, Rig, eventually

CANARY = f"canary-{new_id()}"
#: What Redis may hold of an answer for a short while: its live log, and the same on its channel.
LIVE = re.compile(r'"outlive:(live:[0-9a-f-]{36}|log:[0-9a-f-]{36}:[0-9a-f-]{36})"')


class Tap:
    """All commands that Redis gets during a test, as MONITOR shows them."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        where = urlsplit(rig.redis.url)
        self._socket = socket.create_connection((where.hostname or "", where.port or 0), 30)
        self._socket.sendall(f"AUTH {where.password}\r\nMONITOR\r\n".encode())
        self._received = self._until(b"+OK\r\n+OK\r\n")

    def _until(self, mark: bytes) -> bytes:
        received = b""
        while mark not in received:
            more = self._socket.recv(1 << 16)
            assert more, "Redis was restarted under the tap"
            received += more
        return received

    def close(self) -> None:
        """Listen no more."""
        self._socket.close()

    def commands(self) -> list[str]:
        """All so far, but those of the live log."""
        mark = new_id()
        with redis.Redis.from_url(self.rig.redis.url) as server:
            server.echo(mark)
        received = self._received + self._until(mark.encode())
        return [line for line in received.decode().split("\r\n") if not LIVE.search(line)]


def _readable(text: str) -> str:
    """The text, and whatever stands in it as base64 (a task's body does)."""
    found = [text]
    for word in re.findall(r"[A-Za-z0-9+/=]{24,}", text):
        try:
            found.append(base64.b64decode(word, validate=True).decode("utf-8", "replace"))
        except binascii.Error:
            continue
    return "\n".join(found)


def _stored(rig: Rig) -> str:
    """All that Redis holds, but the live logs."""
    with redis.Redis.from_url(rig.redis.url, decode_responses=True) as server:
        keys = [key for key in server.scan_iter() if not key.startswith("outlive:log:")]
        values = [str(_value(server, key)) for key in keys]
    return _readable("\n".join([*keys, *values]))


def _value(server: "redis.Redis", key: str) -> object:
    match server.type(key):
        case "list":
            return server.lrange(key, 0, -1)
        case "set":
            return server.smembers(key)
        case "hash":
            return server.hgetall(key)
        case "zset":
            return server.zrange(key, 0, -1, withscores=True)
        case "stream":
            return server.xrange(key)
    return server.get(key)


@pytest.fixture(scope="module")
def window(fragile_service: Fragile) -> Iterator[Flower]:
    """Flower keeps a log too."""
    flower = fragile_service.rig.flower()
    yield flower
    flower.kill()


@contextmanager
def _nothing_leaks(fragile: Fragile) -> Iterator[None]:
    """Search every log, queue and metric after the test, when all processes have written."""
    with closing(Tap(fragile.rig)) as tap:
        yield
        commands = _readable("\n".join(tap.commands()))
    assert "outlive.generate" in commands, "the tap saw no task"
    for place in (commands, _stored(fragile.rig), fragile.rig.logs()):
        assert CANARY not in place
        assert API_KEY not in place


def _conversation(client: Client) -> str:
    return client.conversation(title=f"title {CANARY}", system=f"system {CANARY}")


def _ended(client: Client, question: str, conversation: str | None = None) -> dict[str, object]:
    return client.ended(client.ask(question, conversation or _conversation(client)))


def test_an_answers_text_is_in_no_log_queue_or_metric(fragile: Fragile, window: Flower) -> None:
    client, rig = fragile.client, fragile.rig
    with _nothing_leaks(fragile):
        question = script(
            reasoning(f"think {CANARY} of it"),
            say(f"say {CANARY} and so on", chunk=1000),
            tool_call("call-1", f"tool-{CANARY}", f'{{"with": "{CANARY}"}}'),
            finish("tool_calls"),
            usage(),
            done(),
        )
        conversation = _conversation(client)
        answer = client.ask(question, conversation, key=f"key-{CANARY}")
        assert client.read(answer).to_end().text.count(CANARY) == 3
        assert client.ended(answer)["status"] == "DONE"
        renamed = client.http.patch(
            f"/api/conversations/{conversation}", json={"title": f"another {CANARY}"}
        )
        assert renamed.status_code == 200
        [record] = rig.scripted.requests(contains=f'"tool-{CANARY}"')[:1]
        assert record.has_key  # this key is used, and must not appear anywhere


def test_a_queued_task_contains_only_an_id(fragile: Fragile) -> None:
    client = fragile.client
    with _nothing_leaks(fragile):
        fragile.worker.signal(signal.SIGSTOP)
        try:
            question = script(say(CANARY), finish(), done())
            answers = [client.ask(question, _conversation(client)) for _ in range(3)]
            waiting = _stored(fragile.rig)  # but the one that the frozen worker had asked for
            assert sum(answer in waiting for answer in answers) >= 2
            assert CANARY not in waiting
        finally:
            fragile.worker.signal(signal.SIGCONT)
        for answer in answers:
            assert client.ended(answer)["status"] == "DONE"


QUOTING = {
    "error": {"message": f"You said {CANARY} with {API_KEY}", "type": CANARY, "code": CANARY}
}


@pytest.mark.parametrize(
    "steps",
    [
        [status(400, QUOTING)],
        [status(401, QUOTING)],
        [status(404, QUOTING)],
        [status(422, QUOTING)],
        [status(500, QUOTING, times=1), say(CANARY), finish(), done()],
        [status(429, QUOTING, times=1, retry_after=0.1), say(CANARY), finish(), done()],
        [status(400, CANARY)],
        [say(CANARY), error_object(QUOTING["error"])],
        [say(CANARY), error_object(f"{CANARY} {API_KEY}")],
        [say(CANARY), malformed(f'{{"choices": "{CANARY}')],
        [say(CANARY), data({"choices": CANARY})],
        [say(CANARY), raw(b"data: " + CANARY.encode() + b"\xff\xfe\n\n")],
        [say(CANARY), big_line()],
        [say(CANARY), cut(CANARY)],
        [say(CANARY), finish(CANARY)],
    ],
    ids=lambda steps: "-".join(str(step.get("code", step["do"])) for step in steps),
)
def test_errors_of_a_provider_are_neither_shown_nor_logged(
    fragile: Fragile, window: Flower, steps: list[dict[str, object]]
) -> None:
    with _nothing_leaks(fragile):
        message = _ended(fragile.client, script(*steps, tag=CANARY))
    assert CANARY not in str(message["error"])
    assert API_KEY not in str(message)


def test_refused_requests_are_not_quoted_or_logged(fragile: Fragile) -> None:
    client = fragile.client
    conversation = _conversation(client)
    place = f"/api/conversations/{conversation}/messages"
    client.ended(client.ask(script(say(CANARY), finish(), done()), conversation, key="once"))
    json_type = {"Content-Type": "application/json"}
    used, long_one = {"Idempotency-Key": "once"}, {"Idempotency-Key": CANARY * 9}
    requests = [
        ("POST", place, {"json": {"content": [CANARY]}}),
        ("POST", place, {"json": {"content": CANARY, "options": {"seed": CANARY}}}),
        ("POST", place, {"json": {"content": CANARY, "parent_id": CANARY}}),
        ("POST", place, {"json": {"content": CANARY, "model": [CANARY]}}),
        ("POST", place, {"json": {"content": f"{CANARY} again"}, "headers": used}),
        ("POST", place, {"json": {"content": CANARY}, "headers": long_one}),
        ("POST", place, {"content": f'{{"content": "{CANARY}', "headers": json_type}),
        ("POST", place, {"content": f"content={CANARY}"}),
        ("POST", place, {"json": {"content": CANARY}, "headers": {"Origin": f"https://{CANARY}"}}),
        ("POST", "/api/conversations", {"json": {"title": CANARY * 100}}),
        ("POST", "/api/conversations", {"json": CANARY}),
        ("PATCH", f"/api/conversations/{conversation}", {"json": {"title": {"it": CANARY}}}),
        ("GET", f"/api/conversations?cursor={CANARY}&limit={CANARY}", {}),
        ("GET", f"/api/conversations/{conversation}?leaf={CANARY}", {}),
        ("GET", f"/api/messages/{conversation}/stream?after={CANARY}", {}),
    ]  # fmt: skip
    for method, path, more in requests:
        answer = client.http.request(method, path, **more)  # type: ignore[arg-type]
        assert 400 <= answer.status_code < 500, (method, path, more)
        assert CANARY not in answer.text
        assert API_KEY not in answer.text
    assert CANARY not in fragile.rig.logs()


def test_text_of_a_save_that_failed_is_not_logged(fragile: Fragile, window: Flower) -> None:
    client, rig = fragile.client, fragile.rig
    name = f"private {new_id()}"
    with _nothing_leaks(fragile):
        says = [say(f"{CANARY} {n}. ", chunk=1000) for n in range(60)]
        running = [
            client.ask(script(*says, long(800, rate=400), hold(name), *says, finish(), done()))
            for _ in range(3)
        ]
        for answer in running:
            client.shown(answer, 1000)
        for _ in range(5):  # while text is saved and messages are read
            rig.rows(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name = 'outlive' AND pid <> pg_backend_pid()"
            )
            client.http.get(f"/api/messages/{running[0]}")
        rig.postgres.kill()
        refused = [
            client.post_question(CANARY, new_id()),
            client.http.post("/api/conversations", json={"title": CANARY}),
            client.http.get(f"/api/messages/{running[0]}"),
        ]
        rig.scripted.release(name)
        rig.postgres.start().wait()
        for answer in running:
            eventually(lambda: client.http.get("/readyz").status_code == 200)
            assert client.read(answer).to_end(60).text.count(CANARY) == 120
    for response in refused:
        assert response.status_code == 503
        assert CANARY not in response.text
        assert API_KEY not in response.text


def test_statements_that_postgres_refuses_are_not_in_its_log(fragile: Fragile) -> None:
    """The server's own log: errors and statements may quote what was sent."""
    log = fragile.rig.home / "log" / "postgres.log"
    before = log.stat().st_size
    with pytest.raises(Exception, match="invalid input"):
        fragile.rig.rows("SELECT CAST(:text AS uuid)", text=CANARY)
    with pytest.raises(Exception, match="division by zero"):
        fragile.rig.rows(f"SELECT 1 / (length('{CANARY}') - length('{CANARY}'))")
    fragile.rig.postgres.restart()
    assert log.stat().st_size > before
    assert CANARY not in log.read_text()
