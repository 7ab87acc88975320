"""How a command shows an answer, and which exit status follows."""

import hashlib
import json
import sys
import uuid
from typing import Any

import httpx
import pytest

from cli.exit_status import Exit
from cli.show_answer import show_answer
from outlive_client import Outlive
from shared import sse

MESSAGE = str(uuid.uuid4())


def service(*replies: httpx.Response) -> Outlive:
    """A client that gets these replies, in order."""
    rest = iter(replies)
    transport = httpx.MockTransport(lambda _: next(rest))
    return Outlive("http://127.0.0.1:1", http=httpx.Client(transport=transport))


def problem(status: int, code: str) -> httpx.Response:
    return httpx.Response(
        status,
        headers={"Content-Type": "application/problem+json"},
        content=json.dumps({"code": code, "detail": "No."}).encode(),
    )


def stream(*frames: bytes) -> httpx.Response:
    kind = {"Content-Type": "text/event-stream; charset=utf-8"}
    return httpx.Response(200, headers=kind, stream=httpx.ByteStream(b"".join(frames)))


def delta(start: int, text: str) -> bytes:
    data = {"start": start, "part": 0, "kind": "text", "text": text}
    return sse.encode("delta", data, start + len(text))


def end(text: str, **more: Any) -> bytes:
    digest = hashlib.sha256(text.encode()).hexdigest()
    data = {"status": "DONE", "finish_reason": "stop", "length": len(text), "sha256": digest}
    return sse.encode("end", {**data, "usage": None, "error": None, **more}, "end")


def stored(text: str) -> httpx.Response:
    names = ("parent_id", "length", "sha256", "model", "usage", "finish_reason", "error")
    document: dict[str, Any] = {
        **dict.fromkeys(names), "id": MESSAGE, "conversation_id": MESSAGE, "role": "assistant",
        "status": "DONE", "text": text, "parts": [], "position": len(text),
        "created_at": "2026-11-28T10:00:00Z",
    }  # fmt: skip
    return httpx.Response(200, json=document)


def shown(service: Outlive) -> int:
    return show_answer(service, service.follow(MESSAGE), as_json=False, no_reasoning=False)


@pytest.mark.parametrize(
    ("status", "code"),
    [("DONE", Exit.DONE), ("ERROR", Exit.ERROR), ("CANCELLED", Exit.CANCELLED)],
)
def test_exit_status_follows_from_the_answers_status(status: str, code: Exit) -> None:
    assert shown(service(stream(end("", status=status)))) == code


def test_failed_proof_shows_the_stored_answer(capsys: pytest.CaptureFixture[str]) -> None:
    other = stream(delta(0, "Once upon"), end("Once upon a time"))

    assert shown(service(other, stored("Once upon a time"))) == Exit.UNPROVEN

    found = capsys.readouterr()
    assert found.out == "Once upon\nOnce upon a time"
    assert "does not match" in found.err


def test_failed_proof_of_a_deleted_message_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    gone = stream(delta(0, "Once"), end("", length=None, sha256=None, status="CANCELLED"))

    assert shown(service(gone, problem(404, "not_found"))) == Exit.UNPROVEN
    assert "not there any more" in capsys.readouterr().err


def test_ctrl_c_prints_how_to_come_back(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_text: str) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.stdout, "write", interrupted)

    with pytest.raises(SystemExit) as left:
        shown(service(stream(delta(0, "Once"))))

    assert left.value.code == Exit.INTERRUPTED
    assert f"outlive follow {MESSAGE}" in capsys.readouterr().err
