"""A followed message without servers: its text, its end, and readers that are moved by hand."""

import uuid
from datetime import UTC, datetime
from typing import Any

from flask import Request

from shared.body import Body, Delta
from shared.lifecycle import Status
from shared.store.messages import Message
from web.following.face import Face, MessageFace, Then
from web.following.message_topic import MessageTopic
from web.following.source import Source


def say(topic: MessageTopic, text: str) -> None:
    """Text comes from Redis."""
    topic.receive([Delta(topic.body.length, 0, "text", text)])


def ended(topic: MessageTopic, body: Body) -> None:
    """The row was read, and has ended with this body."""
    now = datetime.now(UTC)
    nothing: dict[str, Any] = dict.fromkeys(
        ["parent_id", "continues_id", "model", "length", "sha256", "usage", "finish_reason"]
    )
    message = Message(
        id=topic.id, user_id=topic.user_id, conversation_id=uuid.uuid4(), role="assistant",
        status=Status.DONE, body=body, error_code=None, error_message=None, attempt=1,
        created_at=now, started_at=now, first_text_at=None, ended_at=now, **nothing,
    )  # fmt: skip
    topic.finish(message)


class PlainFace(MessageFace):
    """The text itself, and words for all else."""

    heartbeat = b"alive"

    def __init__(self, cut: bytes | None = b" retry", fault: bytes | None = None) -> None:
        self._cut = cut
        self._fault = fault

    def position(self, request: Request) -> int:
        return 0

    def open(self, source: Any, place: int) -> tuple[bytes, int]:
        return b"opened ", place

    def stretch(self, body: Body, delta: Delta) -> bytes:
        return delta.text.encode()

    def end(self, message: Message) -> bytes:
        return b" end"

    def cut(self, milliseconds: int) -> bytes | None:
        return self._cut

    def fault(self) -> bytes | None:
        return self._fault


class HandReader:
    """A reader without a stream: it is given what its face writes when a test says so."""

    def __init__(self, face: Face[Any, Any], source: Source[Any], place: Any) -> None:
        self.face = face
        self.source = source
        self.place = place
        self.then = Then.WAIT

    def advance(self) -> bytes:
        """What the face writes now; nothing after the end."""
        if self.ended:
            return b""
        frames, self.place, self.then = self.source.frames(self.face, self.place)
        return frames

    @property
    def ended(self) -> bool:
        """Whether the end was written."""
        return self.then is Then.ENDED

    @property
    def lag(self) -> int:
        """Code points that are there and were not written."""
        return self.face.lag(self.source, self.place)
