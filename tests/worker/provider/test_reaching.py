"""Reaching the provider: its address, its certificate, proxies and retries."""

import json
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path

import pytest

from scripted import Scripted, done, finish, say, script, start_scripted, status, usage
from scripted.cases import TEXT, WELL
from shared.body import Body
from shared.bus.coding import Retrying
from shared.errors import GenerationFailed
from shared.settings import Settings
from tests.foreign import need
from web.page.model_list import ModelList
from worker.provider import retries
from worker.provider.client import ChatRequest, Provider
from worker.provider.refusals import Classification, Refusal

ASKED = script(say(TEXT), *WELL)


@pytest.fixture(scope="module")
def scripted() -> Iterator[Scripted]:
    with start_scripted() as scripted:
        yield scripted


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without .env, and an environment without proxies and certificates."""
    monkeypatch.chdir(tmp_path)
    names = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
    for name in (*names, *map(str.lower, names), "SSL_CERT_FILE", "SSL_CERT_DIR",
                 "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):  # fmt: skip
        monkeypatch.delenv(name, raising=False)


def ask(url: str, question: str = ASKED, key: str = "") -> str:
    """The text of an answer. Raises GenerationFailed."""
    body = Body()
    settings = Settings.model_validate({"OPENAI_BASE_URL": url, "OPENAI_API_KEY": key})
    request = ChatRequest("scripted", [{"role": "user", "content": question}], {})
    Provider(settings).stream(request, body.write)
    return body.text


# --- addresses and keys ---------------------------------------------------------------------------


class Recorder:
    """A server that answers with one document and remembers the heads of its requests."""

    def __init__(self, document: bytes) -> None:
        self._document = document
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.heads: list[str] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            with peer:
                asked = b""
                while b"\r\n\r\n" not in asked:
                    asked += peer.recv(65536)
                self.heads.append(asked.split(b"\r\n\r\n")[0].decode())
                head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(self._document)}\r\n"
                peer.sendall(f"{head}Connection: close\r\n\r\n".encode() + self._document)

    def close(self) -> None:
        self._listener.close()


@contextmanager
def recorder(document: bytes) -> Iterator[Recorder]:
    server = Recorder(document)
    try:
        yield server
    finally:
        server.close()


ANSWER = b'{"choices": [{"message": {"content": "Yes."}, "finish_reason": "stop"}]}'


@pytest.mark.failure(51)
@pytest.mark.parametrize(
    ("address", "called", "listed"),
    [
        ("{}/v1", "/v1/chat/completions", "/v1/models"),
        ("{}/v1/", "/v1/chat/completions", "/v1/models"),
        (" {}/v1\n", "/v1/chat/completions", "/v1/models"),
        ('"{}/v1"', "/v1/chat/completions", "/v1/models"),
        ("{}/v1/chat/completions", "/v1/chat/completions", "/v1/models"),
        ("{}/v1/chat/completions/ ", "/v1/chat/completions", "/v1/models"),
        (
            "{}/openai/d?api-version=2024-10-21",
            "/openai/d/chat/completions?api-version=2024-10-21",
            "/openai/d/models?api-version=2024-10-21",
        ),
        (
            "{}/d/chat/completions?a=1&b=",
            "/d/chat/completions?a=1&b=",
            "/d/models?a=1&b=",
        ),
    ],
)
def test_every_spelling_of_a_base_url_reaches_the_same_paths(
    address: str, called: str, listed: str
) -> None:
    with recorder(ANSWER) as server:
        url = address.format(server.url)
        assert ask(url) == "Yes."
        ModelList(Settings.model_validate({"OPENAI_BASE_URL": url})).listed()

    assert [head.split(" ")[:2] for head in server.heads] == [["POST", called], ["GET", listed]]


@pytest.mark.failure(51)
@pytest.mark.parametrize(
    "key", ["sk-1\n", "  sk-1 ", '"sk-1"', "“sk-1”", "‘sk-1’\r\n", "Bearer sk-1", "\ufeffsk-1"]
)
def test_an_api_key_is_sent_without_spaces_quotes_and_bearer(key: str) -> None:
    with recorder(ANSWER) as server:
        assert ask(server.url, key=key) == "Yes."

    assert "\r\nauthorization: bearer sk-1\r\n" in server.heads[0].lower() + "\r\n"


@pytest.mark.parametrize(
    "document",
    [
        b'[{"id": "a"}, {"id": "b"}]',
        b'["a", "b"]',
        b'{"data": [{"id": "a"}, {"id": "b"}]}',
        b'{"models": [{"name": "a"}, {"model": "b"}]}',
    ],
)
@pytest.mark.failure(51)
def test_every_shape_of_a_model_list_is_parsed(document: bytes) -> None:
    with recorder(document) as server:
        settings = Settings.model_validate({"OPENAI_BASE_URL": server.url, "model": "a"})
        listed = ModelList(settings).listed()

    assert listed == {"items": [{"id": "a"}, {"id": "b"}], "default": "a", "known": True}


@pytest.mark.parametrize("document", [b"7", b'{"data": 7}', b'[7, null, {"id": 7}]', b"<html>"])
def test_anything_but_a_model_list_is_unknown(document: bytes) -> None:
    with recorder(document) as server:
        settings = Settings.model_validate({"OPENAI_BASE_URL": server.url, "model": "a"})
        assert ModelList(settings).listed()["known"] is False


def test_models_that_do_not_chat_are_not_listed() -> None:
    offered = ["gpt-5", "llama-3.3-70b-instruct", "gpt-4-vision-preview", "org/embed-free/qwen3"]
    left_out = [
        "text-embedding-3-small", "nomic-embed-text", "baai/bge-m3", "whisper-1", "gpt-4o-tts",
        "gpt-4o-realtime-preview", "dall-e-3", "gpt-image-1", "omni-moderation-latest", "rerank-v3",
    ]  # fmt: skip
    described = [
        {"id": "m2", "type": "embeddings"},
        {"id": "m3", "capabilities": {"completion_chat": False}},
        {"id": "m4", "architecture": {"output_modalities": ["image"]}},
        {"id": "m5", "type": 7, "capabilities": ["completion"], "architecture": None},
        {"id": "m6", "type": "llm", "architecture": {"output_modalities": ["text", "image"]}},
    ]
    document = json.dumps([*offered, *left_out, *described]).encode()
    with recorder(document) as server:
        settings = Settings.model_validate({"OPENAI_BASE_URL": server.url, "model": "gpt-5"})
        listed = ModelList(settings).listed()["items"]

    assert {one["id"] for one in listed} == {*offered, "m5", "m6"}


# --- certificates ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate of 127.0.0.1, and its key."""
    folder = tmp_path_factory.mktemp("certificate")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        [need("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
         "-keyout", key, "-out", certificate],
        check=True, capture_output=True,
    )  # fmt: skip
    return certificate, key


@pytest.fixture(scope="module")
def encrypted(certificate: tuple[Path, Path]) -> Iterator[str]:
    """The URL of a provider with that certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            try:
                with context.wrap_socket(peer, server_side=True) as spoken:
                    spoken.recv(65536)
                    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(ANSWER)}\r\n"
                    spoken.sendall(f"{head}Connection: close\r\n\r\n".encode() + ANSWER)
            except OSError:
                peer.close()

    threading.Thread(target=serve, daemon=True).start()
    yield f"https://127.0.0.1:{listener.getsockname()[1]}/v1"
    listener.close()


@pytest.mark.failure(50)
@pytest.mark.parametrize("proxied", [False, True], ids=["our transport", "httpx"])
def test_an_untrusted_certificate_fails_at_once_with_its_own_sentence(
    encrypted: str, monkeypatch: pytest.MonkeyPatch, proxied: bool
) -> None:
    if proxied:  # a proxy for other addresses makes httpx use its own transport
        monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    begun = time.monotonic()

    with pytest.raises(GenerationFailed, match="certificate"):
        ask(encrypted)

    assert time.monotonic() - begun < 10


@pytest.mark.failure(50)
@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_either_variable_names_the_trusted_authorities(
    encrypted: str, certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, str(certificate[0]))

    assert ask(encrypted) == "Yes."


def test_a_server_without_tls_fails_at_once_with_its_own_sentence() -> None:
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        peer, _ = listener.accept()
        with peer:
            peer.recv(65536)
            peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    threading.Thread(target=serve, daemon=True).start()
    with pytest.raises(GenerationFailed, match="http://"):
        ask(f"https://127.0.0.1:{listener.getsockname()[1]}/v1")
    listener.close()


# --- proxies --------------------------------------------------------------------------------------


@contextmanager
def socks() -> Iterator[tuple[str, list[int]]]:
    """A SOCKS5 proxy (RFC 1928) without a password: its address, and the requested ports."""
    listener, ports = socket.create_server(("127.0.0.1", 0)), list[int]()

    def pump(source: socket.socket, sink: socket.socket) -> None:
        while data := source.recv(65536):
            sink.sendall(data)
        with suppress(OSError):  # already closed
            sink.shutdown(socket.SHUT_WR)

    def serve(peer: socket.socket) -> None:
        peer.recv(2 + peer.recv(2, socket.MSG_PEEK)[1])
        peer.sendall(b"\x05\x00")
        asked = peer.recv(10)
        ports.append(int.from_bytes(asked[8:10]))
        with peer, socket.create_connection((socket.inet_ntoa(asked[4:8]), ports[-1])) as there:
            peer.sendall(b"\x05\x00\x00\x01" + bytes(6))
            back = threading.Thread(target=pump, args=(there, peer), daemon=True)
            back.start()
            pump(peer, there)
            back.join()

    def accept() -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(peer,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield f"127.0.0.1:{listener.getsockname()[1]}", ports
    listener.close()


@pytest.mark.failure(51)
@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_a_socks_proxy_works(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    with socks() as (address, ports):
        monkeypatch.setenv("ALL_PROXY", f"{scheme}://{address}")

        assert ask(scripted.url) == TEXT

    assert ports == [int(scripted.url.split(":")[2].removesuffix("/v1"))]


@pytest.mark.failure(51)
@pytest.mark.parametrize("proxy", ["socks4://127.0.0.1:1", "ftp://x", "socks://127.0.0.1:1"])
def test_an_unusable_proxy_ends_the_start_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)

    with pytest.raises(SystemExit, match="ALL_PROXY"):
        Provider(Settings())


@pytest.mark.failure(51)
@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_a_file_without_certificates_ends_the_start_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    for place in (tmp_path / "none.pem", tmp_path / "empty.pem"):
        (tmp_path / "empty.pem").write_text("")
        monkeypatch.setenv(name, str(place))

        with pytest.raises(SystemExit, match=name):
            Provider(Settings())


# --- retries --------------------------------------------------------------------------------------


@pytest.mark.failure(18, 48)
def test_retry_after_never_makes_a_pause_shorter(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "BACKOFF", 0.1)
    monkeypatch.setattr(retries, "RETRY_BUDGET", 2.0)
    question = script(status(429, retry_after=0), tag="retry after 0")

    with pytest.raises(GenerationFailed, match="provider_unavailable"):
        ask(scripted.url, question)

    times = [record.came_at for record in scripted.requests(contains=question)]
    assert 3 <= len(times) <= 7
    pauses = [after - before for before, after in pairwise(times)]
    assert all(0.04 * 2**n < pause for n, pause in enumerate(pauses))


def test_an_error_before_any_text_is_retried_a_few_times(
    scripted: Scripted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "BACKOFF", 0.01)
    error = 'data: {"error": {"code": 503, "message": "Provider returned error"}}\n\n'
    question = script(status(200, error, headers={"content-type": "text/event-stream"}), tag="ever")

    with pytest.raises(GenerationFailed, match="provider_error"):
        ask(scripted.url, question)

    assert len(scripted.requests(contains=question)) == retries.TRIES_IN_STREAM


def test_readers_are_told_of_pauses_and_of_their_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "BACKOFF", 0.01)
    monkeypatch.setattr(retries, "REPORT_SECONDS", 0.1)
    monkeypatch.setattr(retries, "UNSEEN_SECONDS", 0.1)
    told: list[Retrying] = []
    tries = retries.Retries(told.append)

    tries.wait(Refusal(Classification(retry=True), status=429))
    tries.accepted()
    assert told == []  # it was short
    tries.wait(Refusal(Classification(retry=True), status=429, after=0.15))
    tries.wait(Refusal(Classification(retry=True)))
    tries.accepted()
    tries.accepted()

    assert told[:2] == [Retrying(2), Retrying(2)]
    assert told[-2:] == [Retrying(3, answered=False), Retrying()]


def test_a_refusal_without_end_is_read_up_to_a_limit() -> None:
    read = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        peer, _ = listener.accept()
        with peer:
            peer.recv(65536)
            peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            try:
                for _ in range(10_000):
                    peer.sendall(b"x" * 65536)
            except OSError:
                read.set()

    threading.Thread(target=serve, daemon=True).start()
    with pytest.raises(GenerationFailed, match="provider_rejected"):
        ask(f"http://127.0.0.1:{listener.getsockname()[1]}/v1")

    assert read.wait(10)
    listener.close()


def test_stream_options_refused_by_name_are_not_sent_again(scripted: Scripted) -> None:
    settings = Settings.model_validate({"OPENAI_BASE_URL": scripted.url})
    asks = Provider(settings)
    refused = status(400, {"error": {"message": "unknown field stream_options"}},
                     when="stream_options")  # fmt: skip
    question = script(refused, say(TEXT), finish(), usage(), done(), tag="no usage")

    turns = [{"role": "user", "content": question}]
    for _ in range(2):
        body = Body()
        asks.stream(ChatRequest("scripted", turns, {}), body.write)
        assert body.text == TEXT

    requests = [record.request or {} for record in scripted.requests(contains=question)]
    assert ["stream_options" in request for request in requests] == [True, False, False]
