"""Titles by the model: after the first answer, in a task of its own.

No request waits for one. A conversation whose title could not be made, or is no better than its
question (`shared/naming.py`), keeps the question's; and a title that a person gave is never
replaced. The usage is kept with the conversation.

The model sees four examples and the question, without its answer: a small model goes on with an
answer that it sees, and one asked for "at most six words" repeats that.
"""

import uuid
from contextlib import suppress
from typing import Any, Final

import structlog

from shared import naming
from shared.bus.livelog import LiveLog
from shared.errors import GenerationFailed, RedisDown, StorageDown
from shared.settings import Settings
from shared.store import titles
from shared.store.database import Database
from shared.text import normalise
from worker.provider.client import ChatRequest, Provider

#: Seconds that a title may take.
SECONDS: Final = 30.0
#: Failures that cost nothing, so that another answer may try again.
FREE: Final = frozenset({"provider_unavailable", "provider_rejected"})

SYSTEM: Final = (
    "You name conversations: two to five words that say what a question is about, in its language"
)
WANTED: Final = "Name this question:\n\n"
EXAMPLES: Final = (
    ("How long do I have to boil an egg so that it is soft?", "Boiling a soft egg"),
    ("Schreib mir ein Gedicht über den Herbst", "Gedicht über den Herbst"),
    ("my code throws KeyError: 'id' in line 3, why?", "KeyError in Python code"),
    ("Who painted the Mona Lisa?", "Painter of the Mona Lisa"),
)

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
            title = naming.by_model(normalise(text), talk.question, talk.answer)
            user_id = titles.set_title(self._db, message_id, title, usage or {})
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
    turns = [{"role": "system", "content": SYSTEM}]
    for question, title in (*EXAMPLES, (talk.question or talk.answer, None)):
        turns.append({"role": "user", "content": WANTED + question})
        if title is not None:
            turns.append({"role": "assistant", "content": title})
    return ChatRequest(talk.model, turns, {})
