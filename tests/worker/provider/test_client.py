"""Retry-After, and short answers that are not streamed."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from shared.errors import GenerationFailed
from shared.settings import Settings
from worker.provider.client import COMPLETION_MAX, ChatRequest, Provider
from worker.provider.retries import retry_after

NOON = datetime(2020, 1, 1, 12, tzinfo=UTC)


def _date(seconds: float) -> str:
    return format_datetime(NOON + timedelta(seconds=seconds), usegmt=True)


def test_a_retry_after_date_is_compared_with_the_providers_date() -> None:
    assert retry_after({"retry-after": _date(20), "date": _date(0)}) == 20
    assert retry_after({"retry-after": _date(-20), "date": _date(0)}) == 0


@pytest.mark.parametrize("date", [{}, {"date": "soon"}])
def test_a_retry_after_date_without_a_date_is_compared_with_our_clock(date: dict[str, str]) -> None:
    assert retry_after({"retry-after": _date(20), **date}) == 0  # long ago


@pytest.mark.parametrize("value", ["", "soon", "Wed, 99 Nov"])
def test_unparsable_retry_after_is_ignored(value: str) -> None:
    assert retry_after({"retry-after": value, "date": _date(0)}) is None


# --- short answers -------------------------------------------------------------------------------

WHOLE = {
    "choices": [{"message": {"content": "Trains"}}],
    "usage": {"completion_tokens": 3, "note": "\0", "details": {"cached": 1, "of": "a\0"}},
}


@contextmanager
def answering(monkeypatch: pytest.MonkeyPatch, data: bytes) -> Iterator[Provider]:
    """A provider that answers everything with these bytes."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

        def handle(self) -> None:
            with suppress(OSError):  # the client has closed the connection
                super().handle()

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{server.server_port}/v1")
        yield Provider(Settings.from_env())
        server.shutdown()


def test_complete_returns_the_text_and_the_counts_of_the_usage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with answering(monkeypatch, json.dumps(WHOLE).encode()) as provider:
        text, usage = provider.complete(ChatRequest("m", [], {}), 10, 10)

    assert text == "Trains"
    assert usage == {"completion_tokens": 3, "details": {"cached": 1}, "source": "reported"}


@pytest.mark.parametrize("data", [b"{}", b"[" * 50_000, b" " * COMPLETION_MAX + b"  ", b"\xff"])
def test_complete_fails_for_anything_but_a_completion(
    monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    with (
        answering(monkeypatch, data) as provider,
        pytest.raises(GenerationFailed) as failure,
    ):
        provider.complete(ChatRequest("m", [], {}), 10, 10)

    assert failure.value.code == "provider_malformed"
