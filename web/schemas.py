"""The JSON of the native face: every request body and every response."""

import sys
import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from shared.body import Body
from shared.errors import REQUEST_ERRORS
from shared.lifecycle import Status
from shared.parts import is_text
from shared.push_services import ENDPOINT_CHARS
from shared.store.asking import Asked
from shared.store.audit import Noted
from shared.store.branches import Turn
from shared.store.conversations import Conversation
from shared.store.line import InLine, Line
from shared.store.messages import Message
from shared.store.places import Found, Point
from shared.store.pushes import Subscription
from shared.store.search import Hit
from shared.store.shares import Share, SharedConversation
from shared.store.tapes import Tape
from shared.store.token_use import Use
from web.json_types import AnswerErrorCode, Held, Kind, RequestBody, Role, Text
from web.options import Options
from web.questions import CONTENT_CHARS, PARTS, RESULTS, Part, ToolResultPart

#: Code points that a title and a system text may have.
TITLE_CHARS = 200
SYSTEM_CHARS = 100_000
#: The largest position that is kept.
POSITION_MOST: Final = 2**31 - 1
#: What is said of a question without any of the three.
NO_CONTENT: Final = "content, parts or tool_results must be there"
#: Characters of a user's name, and days for which something may be shared.
NAME_CHARS = 255
#: Characters of a key of a browser's subscription: the longer one has 87.
KEY_CHARS = 100
SHARE_DAYS = 3650


class NewConversation(RequestBody):
    """POST /api/conversations"""

    title: Annotated[Text, Field(max_length=TITLE_CHARS)] | None = None
    system: Annotated[Text, Field(max_length=SYSTEM_CHARS)] | None = None


class ConversationChange(NewConversation):
    """PATCH /api/conversations/{id}: fields that are sent are changed; null removes the text."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    @model_validator(mode="after")
    def _names_something(self) -> Self:
        if not self.model_fields_set:
            raise PydanticCustomError("nothing", "title or system must be there")
        return self


class SeenUpTo(RequestBody):
    """POST /api/conversations/{id}/seen: up to the end of this answer, or up to now."""

    message_id: Annotated[uuid.UUID, Field(strict=False)] | None = None


def _must_be_text(value: Any) -> Any:
    if not isinstance(value, str):
        raise PydanticCustomError("moment", "must be a date and time as RFC 3339 writes it")
    return value


class PointBody(RequestBody):
    """A position in the body of a message."""

    message_id: Annotated[uuid.UUID, Field(strict=False)]
    position: Annotated[int, Field(ge=0, le=POSITION_MOST)]


def _in_utc(moment: datetime) -> datetime:
    """Postgres knows no zone that is 16 hours away, and Python no year 0."""
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        return moment.replace(tzinfo=UTC)


class PlaceBody(PointBody):
    """PUT /api/conversations/{id}/place: where its owner reads.

    `end`: where the text of the branch ended then; without it at the place itself. `read_at`: when
    that was; without it now.
    """

    end: PointBody | None = None
    read_at: (
        Annotated[
            AwareDatetime,
            Field(strict=False),
            BeforeValidator(_must_be_text),
            AfterValidator(_in_utc),
        ]
        | None
    ) = None


class AnswerRequest(RequestBody):
    """POST /api/messages/{id}/retry and /continue"""

    model: Annotated[Text, Field(min_length=1, max_length=200)] | None = None
    options: Options = Field(default_factory=Options)


class Question(AnswerRequest):
    """POST /api/conversations/{id}/messages

    The results of the tools that the answer above called (`tool_results`), a text (`content`) and
    other `parts`, in this order; at least one of the three. Without `parent_id` the question goes
    below the newest answer; null makes it another root.
    """

    content: Annotated[Text, Field(min_length=1, max_length=CONTENT_CHARS)] = Field(
        default_factory=str
    )
    parts: Annotated[list[Part], Field(min_length=1, max_length=PARTS)] = Field(
        default_factory=list
    )
    tool_results: Annotated[list[ToolResultPart], Field(min_length=1, max_length=RESULTS)] = Field(
        default_factory=list
    )
    parent_id: Annotated[uuid.UUID, Field(strict=False)] | None = None

    @model_validator(mode="after")
    def _has_content(self) -> Self:
        if not (self.content or self.parts or self.tool_results):
            error = PydanticCustomError("no_content", NO_CONTENT)
            lines = [InitErrorDetails(type=error, loc=("content",), input=None)]
            raise ValidationError.from_exception_data("Question", lines)
        return self

    @property
    def names_parent(self) -> bool:
        """Whether `parent_id` was sent at all."""
        return "parent_id" in self.model_fields_set


class PartShape(BaseModel):
    """One part of a body."""

    kind: Kind
    text: str
    meta: dict[str, Any] | None


class WhyNotSentShape(BaseModel):
    """Why a question was refused: a code and a sentence, as in a problem document."""

    code: str
    message: str


class ErrorShape(BaseModel):
    """Why an answer ended in ERROR."""

    code: AnswerErrorCode
    message: str


class MessageShape(BaseModel):
    """A message. `position` is where its text, as far as it is sent here, ends.

    `thought_ms`: of an answer that began with reasoning, and went on, how long that took, to about
    a second; null if that is not known.
    """

    id: uuid.UUID
    conversation_id: uuid.UUID
    parent_id: uuid.UUID | None
    continues_id: uuid.UUID | None
    role: Role
    status: Status
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
    thought_ms: int | None
    ended_at: datetime | None

    @classmethod
    def of(cls, message: Message) -> "MessageShape":
        """From a row."""
        body = message.body
        return cls(
            **_named(message, cls, "text", "parts", "position", "error"),
            text=body.text,
            parts=[
                PartShape(kind=one.kind, text=one.text, meta=_meta(one.meta)) for one in body.parts
            ],
            position=body.length,
            error=_error(message),
        )


class SignInBody(RequestBody):
    """A login and its password. Both are limited, so that no refusal depends on the account."""

    login: Annotated[str, Field(max_length=1_000)]
    password: Annotated[str, Field(max_length=4_000)]


class PasswordChange(RequestBody):
    """POST /api/user/password: a user's password now, and another one (8 to 1024 characters)."""

    current: Annotated[str, Field(max_length=4_000)]
    new: Annotated[str, Field(max_length=4_000)]


class SignOutBody(RequestBody):
    """`everywhere`: end the sessions of all browsers."""

    everywhere: bool = False


class MarkShape(BaseModel):
    """Something that happened while an answer was open.

    `ms`: milliseconds since it was asked. An attempt was "taken" by a worker, which died ("lost")
    or stopped ("released") before any text. A device of the owner's "joined" and "left".
    """

    ms: int
    kind: Literal["taken", "lost", "released", "joined", "left"]
    device: str | None


class SampleShape(BaseModel):
    """By when how much was saved: milliseconds since it was asked, and a position."""

    ms: int
    position: int


class TapeShape(BaseModel):
    """By when how much of an answer was saved. Times are milliseconds since it was asked.

    `samples` is null for an answer that was written before this was recorded. `started`: when the
    worker that wrote it took it.
    """

    id: uuid.UUID
    status: Status
    error_code: AnswerErrorCode | None
    continues: bool
    asked_at: datetime
    started: int | None
    first_text: int | None
    ended: int | None
    length: int
    samples: list[SampleShape] | None
    marks: list[MarkShape]

    @classmethod
    def of(cls, message_id: uuid.UUID, tape: Tape, *, own: bool) -> Self:
        """`own`: whose answer it is reads it. Others do not learn of the owner's devices."""
        began = tape.since_asked(tape.started_at) or 0
        samples = tape.samples
        return cls(
            id=message_id,
            status=tape.status,
            error_code=tape.error_code,
            continues=tape.continues,
            asked_at=tape.asked_at,
            started=tape.since_asked(tape.started_at),
            first_text=tape.since_asked(tape.first_text_at),
            ended=tape.since_asked(tape.ended_at),
            length=tape.length,
            samples=None
            if samples is None
            else [
                SampleShape(ms=began + one.ms, position=min(one.position, tape.length))
                for one in samples
            ],
            marks=[
                MarkShape(ms=max(0, mark.ms), kind=mark.kind, device=mark.device)
                for mark in tape.marks
                if own or mark.device is None
            ],
        )


class AskedShape(BaseModel):
    """A question and its answer, which is going to be written."""

    user: MessageShape
    assistant: MessageShape

    @classmethod
    def of(cls, asked: Asked) -> "AskedShape":
        """From what was asked."""
        return cls(user=MessageShape.of(asked.question), assistant=MessageShape.of(asked.answer))


class LineChange(RequestBody):
    """PATCH /api/conversations/{id}/line/{question_id}: another text."""

    content: Annotated[Text, Field(min_length=1, max_length=CONTENT_CHARS)]


class LineQuestion(AnswerRequest):
    """POST /api/conversations/{id}/line: a question that waits for the end of an answer."""

    content: Annotated[Text, Field(min_length=1, max_length=CONTENT_CHARS)]


class InLineShape(BaseModel):
    """A question that waits. `problem`: why it was refused when its turn came."""

    id: uuid.UUID
    content: str
    model: str | None
    problem: WhyNotSentShape | None
    created_at: datetime
    changed_at: datetime

    @classmethod
    def of(cls, one: InLine) -> "InLineShape":
        """From a row."""
        problem = None
        if one.problem:
            sentence = REQUEST_ERRORS[one.problem].sentence
            problem = WhyNotSentShape(code=one.problem, message=sentence)
        return cls(**_named(one, cls, "problem"), problem=problem)


class LineShape(BaseModel):
    """The questions that wait in a conversation, in order: at most 20.

    `held`: why they wait although no answer is being written; null: they are sent by themselves.
    """

    items: list[InLineShape]
    held: Held | None

    @classmethod
    def of(cls, line: Line) -> "LineShape":
        """From the rows."""
        return cls(items=[InLineShape.of(one) for one in line.items], held=line.held)


class ConversationShape(BaseModel):
    """A conversation without its messages."""

    id: uuid.UUID
    title: str | None
    system: str | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, conversation: Conversation) -> "ConversationShape":
        """From a row."""
        return cls(**_named(conversation, cls))


class ConversationList(BaseModel):
    """A page of conversations, newest first; `next` is the cursor of the next page."""

    items: list[ConversationShape]
    next: str | None


class PointShape(BaseModel):
    """A position in the body of a message."""

    message_id: uuid.UUID
    position: int

    @classmethod
    def of(cls, point: Point) -> Self:
        """From a row."""
        return cls(message_id=point.message_id, position=point.position)


class PlaceShape(PointShape):
    """Where its owner was in a conversation, where the text of the branch ended then, and when."""

    end: PointShape
    read_at: datetime


class RestartedShape(BaseModel):
    """An answer that was begun again, as its worker was lost before it wrote anything."""

    message_id: uuid.UUID
    times: int


class FoundPlaceShape(BaseModel):
    """The place, if one is known; `restarted`: answers that ended since, or are open.

    `now`: the clock by which `read_at` is kept.
    """

    place: PlaceShape | None
    now: datetime
    restarted: list[RestartedShape]

    @classmethod
    def of(cls, found: Found) -> Self:
        """From rows."""
        place = None
        if found.place is not None:
            at, end = found.place.at, PointShape.of(found.place.end)
            place = PlaceShape(**at._asdict(), end=end, read_at=found.place.read_at)
        restarted = [RestartedShape(**one._asdict()) for one in found.restarted]
        return cls(place=place, now=found.now, restarted=restarted)


class PieceShape(BaseModel):
    """A piece of a snippet; `hit`: whether it is a word of the search."""

    text: str
    hit: bool


class FoundShape(BaseModel):
    """A conversation that a search found, without its messages."""

    id: uuid.UUID
    title: str | None
    created_at: datetime
    updated_at: datetime


class HitShape(BaseModel):
    """What a search found: a message, or (without one) a conversation by its title.

    `position`: of the first hit in the message's body.
    """

    conversation: FoundShape
    message_id: uuid.UUID | None
    position: int | None
    leaf: uuid.UUID | None
    snippet: list[PieceShape]

    @classmethod
    def of(cls, hit: Hit) -> "HitShape":
        """From a row."""
        return cls(
            conversation=FoundShape(**_named(hit, FoundShape)),
            message_id=hit.message_id,
            position=hit.position,
            leaf=hit.leaf,
            snippet=[PieceShape(text=text, hit=found) for text, found in hit.snippet],
        )


class HitList(BaseModel):
    """A page of hits; `next` is the cursor of the next page."""

    items: list[HitShape]
    next: str | None


class UseShape(BaseModel):
    """What was used in a day or a month (UTC). Without a budget `limit` is null."""

    limit: int | None
    used: int
    input_tokens: int
    output_tokens: int
    estimated_tokens: int
    answers: int
    since: datetime
    renews_at: datetime

    @classmethod
    def of(cls, use: Use) -> "UseShape":
        """From the ledger."""
        return cls(**_named(use, cls, "limit"), limit=use.limit or None)


class PeriodsShape(BaseModel):
    """What was used today and this month (UTC)."""

    day: UseShape
    month: UseShape


class UsageShape(PeriodsShape):
    """GET /api/usage: of the user, and of the service key that asks, for whomever it asked."""

    key: PeriodsShape | None

    @classmethod
    def of(cls, found: Sequence[Use]) -> "UsageShape":
        """From the ledger."""
        shapes = {(use.whose, use.period): UseShape.of(use) for use in found}
        key = None
        if ("key", "day") in shapes:
            key = PeriodsShape(day=shapes["key", "day"], month=shapes["key", "month"])
        return cls(day=shapes["user", "day"], month=shapes["user", "month"], key=key)


class NewShare(RequestBody):
    """POST /api/conversations/{id}/shares

    Without `user` whoever has the link may read. A user is named by login, or by the host product's
    id. `days`: for how long; without it until it is revoked.
    """

    user: Annotated[Text, Field(min_length=1, max_length=NAME_CHARS)] | None = None
    days: Annotated[int, Field(ge=1, le=SHARE_DAYS)] | None = None


class ShareShape(BaseModel):
    """A share of a conversation. `user`: who may read; null: whoever has the link.

    `readers`: streams of its messages that are open by the link, or of this user, now.
    """

    id: uuid.UUID
    user: str | None
    created_at: datetime
    expires_at: datetime | None
    readers: int

    @classmethod
    def of(cls, share: Share, readers: int) -> "ShareShape":
        """From a row."""
        return cls(**_named(share, cls, "readers"), readers=readers)


class MadeShareShape(ShareShape):
    """A share that was just made. `token` opens a link; it cannot be read again.

    `path` leads to the page that shows the conversation.
    """

    token: str | None
    path: str


class ShareList(BaseModel):
    """The shares of a conversation that are not revoked, the newest first."""

    items: list[ShareShape]


class SharedShape(BaseModel):
    """A conversation that somebody else shares."""

    id: uuid.UUID
    title: str | None
    created_at: datetime
    updated_at: datetime
    shared_at: datetime

    @classmethod
    def of(cls, shared: SharedConversation) -> "SharedShape":
        """From a row."""
        return cls(**_named(shared, cls))


class SharedList(BaseModel):
    """What others share with the user, the newest share first; by a link its conversation."""

    items: list[SharedShape]


class SubscriptionKeys(RequestBody):
    """The keys of a browser's subscription, in base64url."""

    p256dh: Annotated[Text, Field(min_length=1, max_length=KEY_CHARS)]
    auth: Annotated[Text, Field(min_length=1, max_length=KEY_CHARS)]


class NewSubscription(RequestBody):
    """POST /api/push: a browser's subscription, as `PushSubscription.toJSON()` has it.

    `with_text`: notifications show the conversation's title and how the answer begins.
    """

    endpoint: Annotated[Text, Field(min_length=1, max_length=ENDPOINT_CHARS)]
    keys: SubscriptionKeys
    with_text: bool = False


class SubscriptionShape(BaseModel):
    """A browser that is notified. `service`: the host through which it is reached."""

    id: uuid.UUID
    service: str
    with_text: bool
    created_at: datetime

    @classmethod
    def of(cls, one: Subscription) -> "SubscriptionShape":
        """From a row."""
        return cls(**_named(one, cls, "service"), service=urlsplit(one.endpoint).hostname or "")


class PushShape(BaseModel):
    """GET /api/push. `key`: the public key with which browsers subscribe; null: none can."""

    key: str | None
    items: list[SubscriptionShape]


class AuditRowShape(BaseModel):
    """A row of the audit table.

    `user_id`: who did it, or whom it is about where nobody was signed in. `credential`: its kind,
    and its id if it has one. `object_id`: what it was done to. `address`: where from.
    """

    id: int
    at: datetime
    action: str
    user_id: uuid.UUID | None
    credential: str | None
    object_id: str | None
    address: str | None

    @classmethod
    def of(cls, row: Noted) -> "AuditRowShape":
        """From a row."""
        return cls(**row._asdict())


class AuditList(BaseModel):
    """A page of the audit table, the newest row first; `next` is the cursor of the next page."""

    items: list[AuditRowShape]
    next: str | None


class Deletion(RequestBody):
    """POST /api/user/delete: everything of the user who asks."""

    confirm: Literal["delete everything"]


class EndShape(BaseModel):
    """The data of an `end` frame: how the answer ended, and its length and hash as a proof."""

    status: Status
    finish_reason: str | None
    length: int | None
    sha256: str | None
    usage: dict[str, Any] | None
    error: ErrorShape | None

    @classmethod
    def of(cls, message: Message) -> "EndShape":
        """From an ended row."""
        return cls(**_named(message, cls, "error"), error=_error(message))


def _named(row: Any, shape: type[BaseModel], *but: str) -> dict[str, Any]:
    """A row's values for the fields of a shape that have the same name, without some of them."""
    return {name: getattr(row, name) for name in shape.model_fields if name not in but}


def _error(message: Message) -> ErrorShape | None:
    if message.error_code is None:
        return None
    return ErrorShape(code=message.error_code, message=message.error_message or "")


def message_json(message: Message, most: int = sys.maxsize) -> dict[str, Any]:
    """The fields of a MessageShape as JSON data, for a message that may be very long.

    Its text is copied once and not validated. With `most`, it is only the first code points;
    `position` says how many.
    """
    shape = MessageShape.of(replace(message, body=Body())).model_dump(mode="json")
    deltas = message.body.since(0, most)
    shape["text"] = "".join(delta.text for delta in deltas if is_text(delta.kind))
    shape["parts"] = [
        {"kind": delta.kind, "text": delta.text, "meta": _meta(delta.meta)} for delta in deltas
    ]
    shape["position"] = deltas[-1].end if deltas else 0
    return shape


def turn_json(turn: Turn, most: int = sys.maxsize) -> dict[str, Any]:
    """A message on a branch, likewise. `siblings` are the messages that could stand in its place,
    each with the newest leaf below it."""
    siblings = [{"id": str(one), "leaf": str(leaf)} for one, leaf in turn.siblings]
    return {**message_json(turn.message, most), "siblings": siblings}


def _meta(meta: Any) -> dict[str, Any] | None:
    return dict(meta) if meta else None


def iso_time(at: datetime | None) -> str | None:
    """A moment in the format of pydantic's JSON."""
    return None if at is None else at.isoformat().replace("+00:00", "Z")
