"""A followed message without servers: what is said in it, and its end."""

import uuid
from datetime import UTC, datetime
from typing import Any

from shared.body import Body, Delta
from shared.lifecycle import Status
from shared.store.messages import Message
from web.following.topic import MessageTopic


def say(topic: MessageTopic, text: str) -> None:
    """It goes on, as Redis tells."""
    topic.hear([Delta(topic.body.length, 0, "text", text)])


def ended(topic: MessageTopic, body: Body) -> None:
    """The row has ended so."""
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
