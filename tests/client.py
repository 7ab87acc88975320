"""A client as others would write one: JSON over HTTP, and the drill's reader for streams."""

import uuid
from dataclasses import dataclass, field
from typing import Any, Self

import httpx2

from drill.reading import Disconnected, Reading, StreamConnection, proof
from tests.rig import PATIENCE, eventually

__all__ = ["Client", "Disconnected", "Reading", "StreamConnection", "new_id", "proof"]


@dataclass
class Client:
    """A client of one web master."""

    url: str
    http: httpx2.Client = field(init=False)

    def __post_init__(self) -> None:
        limits = httpx2.Limits(max_connections=None)
        # To load certificates takes 24 ms, and nothing here speaks TLS.
        self.http = httpx2.Client(base_url=self.url, timeout=PATIENCE, limits=limits, verify=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.http.close()

    def conversation(self, **fields: Any) -> str:
        """A new conversation's id."""
        answer = self.http.post("/api/conversations", json=fields)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def post_question(
        self, content: str, conversation: str | None = None, key: str | None = None, **more: Any
    ) -> httpx2.Response:
        """Ask; the response, whatever it is."""
        headers = {"Idempotency-Key": key} if key else {}
        place = conversation or self.conversation()
        path = f"/api/conversations/{place}/messages"
        return self.http.post(path, json={"content": content, **more}, headers=headers)

    def ask(self, content: str, conversation: str | None = None, **more: Any) -> str:
        """Ask; the id of the answer."""
        answer = self.post_question(content, conversation, **more)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["assistant"]["id"])

    def message(self, message_id: str) -> dict[str, Any]:
        """A message as it is now."""
        answer = self.http.get(f"/api/messages/{message_id}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def stop(self, message_id: str) -> dict[str, Any]:
        """Press Stop; the message after it."""
        answer = self.http.post(f"/api/messages/{message_id}/stop")
        assert answer.status_code == 202, answer.text
        return dict(answer.json())

    def ended(self, message_id: str, seconds: float = PATIENCE) -> dict[str, Any]:
        """The message once it has ended."""
        eventually(lambda: self.message(message_id)["status"] not in OPEN, seconds)
        return self.message(message_id)

    def shown(self, message_id: str, characters: int = 1) -> dict[str, Any]:
        """The message once as many characters are published."""
        eventually(lambda: self.message(message_id)["position"] >= characters)
        return self.message(message_id)

    def read(self, message_id: str, *urls: str) -> Reading:
        """A reader that has nothing yet; it may resume at other masters too."""
        return Reading(message_id, [self.url, *urls])


OPEN = ("SENDING", "STREAMING")


def new_id() -> str:
    """A fresh id."""
    return str(uuid.uuid4())
