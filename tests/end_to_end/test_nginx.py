"""The product behind the real nginx, with the block that docs/operations.md shows."""

import socket
import ssl
from collections.abc import Iterator

import httpx2
import pytest

import scripted
from local.programs import Web, Worker
from scripted import done, finish, hold, long, say, script, usage
from tests.client import Client
from tests.nginx import Nginx, nginx
from tests.rig import Rig, eventually
from tests.stories import following, verified_end
from web.app import MAX_BODY


@pytest.fixture(scope="module")
def proxy(web: Web) -> Iterator[Nginx]:
    with nginx(web.url) as proxy:
        yield proxy


@pytest.fixture
def proxied(proxy: Nginx) -> Iterator[Client]:
    """A client that comes through the proxy."""
    with Client(proxy.url) as client:
        yield client


def test_a_question_of_three_megabytes_passes_the_proxy(proxied: Client, worker: Worker) -> None:
    question = "\u6f22" * 999_000  # three bytes each, of the million characters that are allowed

    answer = proxied.post_question(question)

    assert answer.status_code == 202, answer.text
    ended = proxied.ended(str(answer.json()["assistant"]["id"]))
    assert (ended["status"], ended["text"]) == ("DONE", scripted.expected(question).text)


@pytest.mark.parametrize("size", [MAX_BODY + 1, 5_000_000, 20_000_000])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_question_that_is_too_large_gets_webs_own_413_through_the_proxy(
    client: Client, proxied: Client, size: int, chunked: bool
) -> None:
    def post(client: Client, size: int) -> httpx2.Response:
        body = b'{"content":"' + b"x" * (size - 14) + b'"}'
        return client.http.post(
            f"/api/conversations/{proxied.conversation()}/messages",
            content=iter([body]) if chunked else body,
            headers={"Content-Type": "application/json"},
        )

    answer, ours = post(proxied, size), post(client, MAX_BODY + 1)

    assert answer.status_code == 413
    assert answer.headers["content-type"] == ours.headers["content-type"]
    assert answer.json() == ours.json()


def test_errors_pass_the_proxy_unchanged(proxied: Client) -> None:
    answer = proxied.http.get("/api/conversations/no-id")

    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_stream_is_neither_buffered_nor_compressed_by_the_proxy(
    rig: Rig, proxied: Client, worker: Worker
) -> None:
    question = script(say("At once"), hold("proxy"), say(", and later."), finish(), usage(), done())
    answer = proxied.ask(question)
    reading = proxied.read(answer)

    # when: the first text arrives while the model is silent
    with following(reading):
        eventually(lambda: reading.text == "At once")
        headers = {"Accept": "text/event-stream", "Accept-Encoding": "gzip"}
        with proxied.http.stream(
            "GET", f"/api/messages/{answer}/stream", headers=headers
        ) as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            assert "content-encoding" not in stream.headers
            assert "At once" in next(stream.iter_text())
        rig.scripted.release("proxy")

    # then
    assert verified_end(reading, proxied.message(answer)) == ("DONE", None)
    assert reading.text == "At once, and later."
    assert reading.connections == 1


def test_a_long_answer_through_the_proxy_is_whole(proxied: Client, worker: Worker) -> None:
    question = script(long(200_000), finish(), usage(), done())

    reading = proxied.read(proxied.ask(question)).to_end()

    assert reading.text == scripted.expected(question).text


def test_the_proxy_offers_http2_over_tls(proxy: Nginx) -> None:
    context = ssl.create_default_context(cafile=proxy.folder / "certificate.pem")
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(("127.0.0.1", proxy.tls_port), 5) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as line,
    ):
        assert line.selected_alpn_protocol() == "h2"
