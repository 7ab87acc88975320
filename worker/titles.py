"""Titles by the model: after the first answer, in a task of its own.

No request waits for one. A conversation whose title could not be made keeps the first words of its
question, and a title that a person gave is never replaced. The usage is kept with the conversation.
"""

import re
import uuid
from contextlib import suppress
from typing import Any, Final

import structlog

from shared.bus.livelog import LiveLog
from shared.errors import GenerationFailed, RedisDown, StorageDown
from shared.settings import Settings
from shared.store import titles
from shared.store.database import Database
from shared.text import normalise
from worker.provider import prompt
from worker.provider.client import ChatRequest, Provider

#: Seconds that a title may take, and code points that it may have.
SECONDS: Final = 30.0
CHARS: Final = 60
#: Failures that cost nothing, so that another answer may try again.
FREE: Final = frozenset({"provider_unavailable", "provider_rejected"})

SYSTEM: Final = "You give conversations a title."
WANTED: Final = (
    "Write a title for this conversation, in its language: at most six words, no quotation marks,"
    " no full stop. Write the title and nothing else."
)

#: What models put before a title.
_PREFIX: Final = re.compile(r"^[\s#*_>\"'“”„«»`]*(?:title\s*:)?[\s*_\"'“”„«»`]*", re.IGNORECASE)

log = structlog.get_logger("titles")


class Titles:
    """Names conversations."""

    def __init__(
        self, settings: Settings, db: Database, livelog: LiveLog, provider: Provider
    ) -> None:
        self._wanted = settings.titles
        self._db = db
        self._livelog = livelog
        self._provider = provider

    def wants(self, message_id: uuid.UUID) -> bool:
        """Whether the conversation of this answer is to be named."""
        with suppress(StorageDown):
            return self._wanted and titles.untitled(self._db, message_id) is not None
        return False

    def write(self, message_id: uuid.UUID) -> None:
        """Name the conversation of this answer."""
        try:
            talk = titles.claim(self._db, message_id)
            if talk is None:
                return
            text, usage = self._ask(message_id, talk)
            user_id = titles.set_title(self._db, message_id, title_of(text), usage or {})
        except (GenerationFailed, StorageDown) as error:
            log.info("title.none", message_id=str(message_id), code=error.code)
            return
        log.info("title", message_id=str(message_id), given=user_id is not None)
        if user_id is not None:
            with suppress(RedisDown):  # web polls the list anyway
                self._livelog.notify_user(user_id)

    def _ask(
        self, message_id: uuid.UUID, talk: titles.Exchange
    ) -> tuple[str, dict[str, Any] | None]:
        try:
            return self._provider.complete(_request(talk), titles.TOKENS, SECONDS)
        except GenerationFailed as error:
            if error.code in FREE:
                titles.release(self._db, message_id)
            raise


def _request(talk: titles.Exchange) -> ChatRequest:
    turns = [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": talk.question},
        {"role": "assistant", "content": talk.answer},
        {"role": "user", "content": WANTED},
    ]
    return ChatRequest(talk.model, prompt.joined([turn for turn in turns if turn["content"]]), {})


def title_of(text: str) -> str | None:
    """A model's answer as a title: its first line, without thoughts, quotes and markup."""
    text = re.sub(r"<think>.*?(</think>|\Z)", "", normalise(text), flags=re.DOTALL)
    line = next((line for line in text.split("\n") if line.strip()), "")
    line = _PREFIX.sub("", line, count=1)
    title = " ".join(line.split()).rstrip(" *_\"'“”«»`.")
    if len(title) > CHARS:
        title = title[: CHARS - 1].rsplit(" ", 1)[0].rstrip() + "…"
    return title or None
