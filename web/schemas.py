"""The shapes of the native face: every request and every response."""

import sys
import uuid
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictFloat,
    StrictInt,
    model_validator,
)
from pydantic_core import PydanticCustomError

from shared.body import Body
from shared.store.conversations import Conversation, Turn
from shared.store.messages import Message
from shared.store.search import Hit
from shared.text import normalise

#: Code points of a question, a title, a system text.
CONTENT_CHARS = 1_000_000
TITLE_CHARS = 200
SYSTEM_CHARS = 100_000

Number = StrictInt | StrictFloat


def _storable(value: Any) -> Any:
    """Before pydantic looks: it holds no lone surrogates, JSON may."""
    return normalise(value) if isinstance(value, str) else value


Text = Annotated[str, BeforeValidator(_storable)]


class Request(BaseModel):
    """A body we are sent: nothing unknown, nothing coerced, all text storable."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Options(Request):
    """What may be passed on to the provider; each is left out unless given."""

    temperature: Annotated[Number, Field(ge=0, le=2)] | None = None
    top_p: Annotated[Number, Field(ge=0, le=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    presence_penalty: Annotated[Number, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[Number, Field(ge=-2, le=2)] | None = None
    seed: int | None = None
    stop: Text | Annotated[list[Text], Field(max_length=8)] | None = None
    reasoning_effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None = None


class NewConversation(Request):
    """POST /api/conversations"""

    title: Annotated[Text, Field(max_length=TITLE_CHARS)] | None = None
    system: Annotated[Text, Field(max_length=SYSTEM_CHARS)] | None = None


class Change(Request):
    """PATCH /api/conversations/{id}: what is named is changed, null takes it away."""

    title: Annotated[Text, Field(max_length=TITLE_CHARS)] | None = None
    system: Annotated[Text, Field(max_length=SYSTEM_CHARS)] | None = None

    @model_validator(mode="after")
    def _names_something(self) -> Self:
        if not self.model_fields_set:
            raise PydanticCustomError("nothing", "title or system must be there")
        return self


class Seen(Request):
    """POST /api/conversations/{id}/seen: up to the end of an answer, or up to now."""

    message_id: Annotated[uuid.UUID, Field(strict=False)] | None = None


ModelName = Annotated[Text, Field(min_length=1, max_length=200)]


class Again(Request):
    """POST /api/messages/{id}/retry and /continue"""

    model: ModelName | None = None
    options: Options = Field(default_factory=Options)


class Question(Again):
    """POST /api/conversations/{id}/messages

    `parent_id` left out: below the newest answer; null: another root.
    """

    content: Annotated[Text, Field(min_length=1, max_length=CONTENT_CHARS)]
    parent_id: Annotated[uuid.UUID, Field(strict=False)] | None = None

    @property
    def names_parent(self) -> bool:
        """Whether parent_id was there at all."""
        return "parent_id" in self.model_fields_set


class PartShape(BaseModel):
    """One part of a body."""

    kind: str
    text: str
    meta: dict[str, Any] | None


class ErrorShape(BaseModel):
    """Why an answer ended in ERROR."""

    code: str
    message: str


class MessageShape(BaseModel):
    """A message. `position` is the offset behind the text it comes with."""

    id: uuid.UUID
    conversation_id: uuid.UUID
    parent_id: uuid.UUID | None
    continues_id: uuid.UUID | None
    role: str
    status: str
    text: str
    parts: list[PartShape]
    position: int
    length: int | None
    sha256: str | None
    model: str | None
    usage: dict[str, Any] | None
    finish_reason: str | None
    error: ErrorShape | None
    created_at: datetime
    started_at: datetime | None
    first_text_at: datetime | None
    ended_at: datetime | None

    @classmethod
    def of(cls, message: Message) -> "MessageShape":
        """From what the database holds."""
        return cls(**_fields(message))


class AskedShape(BaseModel):
    """A question and the answer that is being written."""

    user: MessageShape
    assistant: MessageShape


class ConversationShape(BaseModel):
    """A conversation without its messages."""

    id: uuid.UUID
    title: str | None
    system: str | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, conversation: Conversation) -> "ConversationShape":
        """From what the database holds."""
        return cls(**{name: getattr(conversation, name) for name in cls.model_fields})


class ConversationList(BaseModel):
    """A page of conversations, newest first; `next` is the cursor of the page behind it."""

    items: list[ConversationShape]
    next: str | None


class PieceShape(BaseModel):
    """A piece of a snippet."""

    text: str
    hit: bool


class FoundShape(BaseModel):
    """A conversation that was found, without its messages."""

    id: uuid.UUID
    title: str | None
    created_at: datetime
    updated_at: datetime


class HitShape(BaseModel):
    """What was found: a message, or a conversation by its title."""

    conversation: FoundShape
    message_id: uuid.UUID | None
    leaf: uuid.UUID | None
    snippet: list[PieceShape]

    @classmethod
    def of(cls, hit: Hit) -> "HitShape":
        """From what the database found."""
        return cls(
            conversation=FoundShape(
                id=hit.id, title=hit.title, created_at=hit.created_at, updated_at=hit.updated_at
            ),
            message_id=hit.message_id,
            leaf=hit.leaf,
            snippet=[PieceShape(text=text, hit=found) for text, found in hit.snippet],
        )


class HitList(BaseModel):
    """A page of what was found."""

    items: list[HitShape]
    next: str | None


class EndShape(BaseModel):
    """The data of an `end` frame: how it ended, and the proof that nothing is missing."""

    status: str
    finish_reason: str | None
    length: int | None
    sha256: str | None
    usage: dict[str, Any] | None
    error: ErrorShape | None

    @classmethod
    def of(cls, message: Message) -> "EndShape":
        """From an ended row."""
        return cls(
            status=message.status.value,
            finish_reason=message.finish_reason,
            length=message.length,
            sha256=message.sha256,
            usage=message.usage,
            error=_error(message),
        )


def _fields(message: Message) -> dict[str, Any]:
    body = message.body
    parts = [PartShape(kind=one.kind, text=one.text, meta=_meta(one.meta)) for one in body.parts]
    plain = {
        name: getattr(message, name)
        for name in MessageShape.model_fields
        if name not in ("status", "text", "parts", "position", "error")
    }
    return {
        **plain,
        "status": message.status.value,
        "text": body.text,
        "parts": parts,
        "position": body.length,
        "error": _error(message),
    }


def _error(message: Message) -> ErrorShape | None:
    if message.error_code is None:
        return None
    return ErrorShape(code=message.error_code, message=message.error_message or "")


def message_json(message: Message, most: int = sys.maxsize) -> dict[str, Any]:
    """A MessageShape, ready to be encoded, of a message that may be very long: its text is copied
    once, and checked by nobody. With `most`, only so many code points of it; `position` says so.
    """
    shape = MessageShape.of(replace(message, body=Body())).model_dump(mode="json")
    deltas = message.body.since(0, most)
    shape["text"] = "".join(delta.text for delta in deltas if delta.kind == "text")
    shape["parts"] = [
        {"kind": delta.kind, "text": delta.text, "meta": _meta(delta.meta)} for delta in deltas
    ]
    shape["position"] = deltas[-1].end if deltas else 0
    return shape


def turn_json(turn: Turn, most: int = sys.maxsize) -> dict[str, Any]:
    """A message on a branch, in the same way: `siblings` could stand here instead, each with the
    newest leaf below it."""
    siblings = [{"id": str(one), "leaf": str(leaf)} for one, leaf in turn.siblings]
    return {**message_json(turn.message, most), "siblings": siblings}


def _meta(meta: Any) -> dict[str, Any] | None:
    return dict(meta) if meta else None


def iso_time(at: datetime | None) -> str | None:
    """A moment as pydantic writes it, where a shape is not needed."""
    return None if at is None else at.isoformat().replace("+00:00", "Z")
