"""Asking as one call, for every face: `Asker.ask` commits, expects, enqueues and wakes.

In this order, and only this order:

1. **Commit** the question and the answer's placeholder (SENDING) to Postgres. From here on the
   question cannot be lost: its row has the time at which a sweep enqueues it again, and the time at
   which it ends in ERROR because no worker took it. If Postgres does not answer: StorageDown.
   Whether it committed is then unknown, and the same Idempotency-Key asks once in either case.
2. **Expect** the answer in this process' hub, which subscribes to its channel. The client that asks
   usually follows here, too. A subscription that is older than any text of the answer has missed
   nothing, so nothing need be read when that client comes. This waits a fifth of a second at most,
   and not at all while Redis is away.
3. **Enqueue** the id. If Redis does not take it, that is no error: a worker with a free place, or a
   sweep after a few seconds, finds the row. A question that has to wait for its turn, because many
   answers of its user are with the workers, is not enqueued here (`store/turns.py`).
4. **Wake** the pages that show this user's conversations.

An Idempotency-Key that was committed before gives the same messages, as they are now, and steps 2
to 4 are not repeated: the request that committed did them, or died, and then the sweep enqueues.
"""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import BoundedSemaphore
from typing import Any, Final
from weakref import WeakValueDictionary

from shared.body import Body, text_body
from shared.bus.livelog import LiveLog
from shared.errors import Busy, Invalid
from shared.jobs import Queue
from shared.media import FILES_BYTES, File, file_bytes
from shared.settings import Settings
from shared.store import asking, threads
from shared.store.asking import NEWEST, Asked, Asking, Parent
from shared.store.database import Database
from shared.store.threads import History
from shared.store.token_use import TokenLimits
from shared.tool_calls import calls_of
from web import abandonment
from web.following.message_keeper import MessageKeeper
from web.wake_ups import wake_sidebars

#: Seconds that a request may wait for the others of its user in this process.
PATIENCE: Final = 5.0
#: Code points that the worker may put between two turns, at most.
BETWEEN_TURNS: Final = 2
#: The question that Continue asks for the user.
CONTINUE_PROMPT: Final = "Please continue exactly where you stopped."


@dataclass(frozen=True, slots=True)
class NewQuestion:
    """A question below an answer, below the newest one, or (None) at the root.

    `content`: its text, or a body of text, media and results of tools. `files`: those of its media
    that are stored with it.
    """

    conversation_id: uuid.UUID
    content: str | Body
    parent: Parent = NEWEST
    files: Sequence[File] = ()

    @property
    def size(self) -> int:
        """Its code points."""
        return len(self.content) if isinstance(self.content, str) else self.content.length


@dataclass(frozen=True, slots=True)
class Retry:
    """Another answer to the same question, beside one that has ended."""

    answer_id: uuid.UUID


@dataclass(frozen=True, slots=True)
class Continue:
    """A question that asks an incomplete answer to go on."""

    answer_id: uuid.UUID


@dataclass(frozen=True, slots=True)
class InThread:
    """The last turn of a history, wherever its place is found (`store/threads.py`)."""

    history: History


Wanted = NewQuestion | Retry | Continue | InThread


def token_limits(settings: Settings) -> TokenLimits:
    """The budgets of a user who has no other."""
    return TokenLimits(settings.daily_tokens, settings.monthly_tokens)


def _check_size(settings: Settings, wanted: Wanted, options: Mapping[str, Any]) -> None:
    """Raise Invalid for a question that is longer, or asks for more, than is allowed."""
    if isinstance(wanted, InThread):
        _check_history(settings, wanted.history)
    check_question(settings, wanted.size if isinstance(wanted, NewQuestion) else 0, options)


def check_question(settings: Settings, size: int, options: Mapping[str, Any]) -> None:
    """The same for a question of so many code points."""
    if size > settings.question_chars:
        raise Invalid(code="question_too_long", limit=settings.question_chars)
    if settings.max_tokens:
        for name in ("max_tokens", "max_completion_tokens"):
            if (options.get(name) or 0) > settings.max_tokens:
                raise Invalid(code="max_tokens_too_large", limit=settings.max_tokens)


def _check_history(settings: Settings, history: History) -> None:
    """Raise Invalid for a history of which the worker would leave out turns: its client believes
    that all of them are read. What is between turns counts, too."""
    most = settings.history_chars
    if max(turn.body.length for turn in history.turns) > settings.question_chars:
        raise Invalid(code="question_too_long", limit=settings.question_chars)
    # A question is sent with all its files, and may name any number of those that are stored.
    if max(sum(map(file_bytes, turn.body.parts)) for turn in history.turns) > FILES_BYTES:
        raise Invalid(
            f"The files of a message have at most {FILES_BYTES} bytes together.", "invalid_content"
        )
    if sum(_size_in_prompt(turn.body) + BETWEEN_TURNS for turn in history.turns) > most:
        raise Invalid(
            f"The messages have more than {most} characters together, which is all that this"
            " service sends to a model (OUTLIVE_HISTORY_CHARS).",
            "question_too_long",
            limit=most,
        )


def _size_in_prompt(body: Body) -> int:
    """Code points of a turn as the worker counts them, or more."""
    return body.length + sum(len(call.name) for call in calls_of(body))


class Asker:
    """Takes questions from the faces of one web process."""

    def __init__(
        self,
        settings: Settings,
        db: Database,
        messages: MessageKeeper,
        queue: Queue,
        livelog: LiveLog,
    ) -> None:
        self._settings = settings
        self._db = db
        self._messages = messages
        self._queue = queue
        self._livelog = livelog
        self._tokens = TokenLimits.checked(settings)
        #: of users whose requests wait for each other; two greenlets never meet in a look-up
        self._turns: WeakValueDictionary[uuid.UUID, BoundedSemaphore] = WeakValueDictionary()

    def ask(
        self,
        wanted: Wanted,
        *,
        user_id: uuid.UUID,
        model: str | None = None,
        options: dict[str, Any] | None = None,
        key: str | None = None,
        request_hash: str | None = None,
        key_id: uuid.UUID | None = None,
        request: Mapping[str, Any] | None = None,
        in_background: bool = False,
    ) -> Asked:
        """The question and the answer's placeholder, committed before anything is enqueued.

        `key` is the Idempotency-Key, and `request_hash` identifies the request that it came with:
        both or neither. Without `model` it is the service's. `key_id` is the service key that asks.
        `request`: what of it a client may ask for again; only of a question InThread.
        `in_background`: the answer goes on without readers.
        Raises NotFound, Invalid, Conflict, KeyReused, TooMany, BudgetExhausted and StorageDown.
        """
        settings = self._settings
        _check_size(settings, wanted, options or {})
        terms = Asking.under(
            settings,
            self._tokens,
            user_id=user_id,
            model=model,
            options=options or {},
            key=key,
            request_hash=request_hash,
            key_id=key_id,
            on_disconnect=abandonment.seconds(settings, in_background=in_background),
            request=request,
        )
        with self._one_by_one(terms):
            asked = self._commit(wanted, terms)
        if asked.fresh:
            made = asked.answer
            self._messages.expect(
                made.id, user_id, made.conversation_id, made.on_disconnect, made.continues_id
            )
            if not asked.waits:
                self._queue.enqueue(asked.answer.id)
            wake_sidebars(self._livelog, user_id)
        return asked

    @contextmanager
    def _one_by_one(self, terms: Asking) -> Iterator[None]:
        """Let requests that lock their user wait here for each other, where they hold no connection
        to Postgres: else one user's requests would take all of them. Raises Busy."""
        if not terms.locks_user:
            yield
            return
        turn = self._turns.setdefault(terms.user_id, BoundedSemaphore())
        if not turn.acquire(timeout=PATIENCE):
            raise Busy
        try:
            yield
        finally:
            turn.release()

    def _commit(self, wanted: Wanted, terms: Asking) -> Asked:
        match wanted:
            case NewQuestion(conversation_id, content, parent, files):
                body = text_body(content) if isinstance(content, str) else content
                return asking.ask(self._db, terms, conversation_id, body, parent, stored=files)
            case InThread(history):
                return threads.ask(self._db, terms, history)
            case Retry(answer_id):
                return asking.ask_again(self._db, terms, answer_id)
            case Continue(answer_id):
                return asking.ask_to_continue(
                    self._db, terms, answer_id, text_body(CONTINUE_PROMPT)
                )
