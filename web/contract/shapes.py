"""What routes answer that is not made from a model, as models: for the document only.

Long responses, events and HTML are encoded in other ways (`web/responses.py`, `web/faces`). The
tests compare what is really sent with these.
"""

import uuid
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from shared.errors import REQUEST_ERRORS
from shared.lifecycle import Status
from web.json_types import AnswerErrorCode, Kind, Role
from web.schemas import ConversationShape, ErrorShape, MessageShape, PartShape

# --- health and models ---------------------------------------------------------------------------


class AliveShape(BaseModel):
    """The process answers."""

    status: Literal["alive"]


class ReadyShape(BaseModel):
    """Whether the process can work, and what each of its servers said."""

    status: Literal["ready", "not ready"]
    postgres: Literal["ok", "schema is older than this code", "unreachable"]
    redis: Literal["ok", "unreachable"]


class ModelShape(BaseModel):
    """A model, by the name by which it is asked for."""

    id: str


class ModelList(BaseModel):
    """The models; `known`: whether the provider sent a list."""

    items: list[ModelShape]
    default: str
    known: bool


class FieldProblem(BaseModel):
    """A field of a request that is wrong: its path, with dots, and why."""

    field: str
    message: str


RequestErrorCode = Annotated[str, Field(json_schema_extra={"x-extensible-enum": [*REQUEST_ERRORS]})]


class ProblemShape(BaseModel):
    """Why a request was refused (RFC 9457). Programs decide by `code`, people read `detail`.

    `errors` is there where single fields of a body are wrong, and what follows it where a limit is
    reached: the limit, how much of it was used, which budget it is and when that renews.
    """

    type: Literal["about:blank"]
    title: str
    status: int
    code: RequestErrorCode
    detail: str
    errors: list[FieldProblem] = []
    limit: int | str | None = None
    used: int | None = None
    budget: Literal["user_day", "user_month", "key_day", "key_month"] | None = None
    renews_at: datetime | None = None


# --- messages ------------------------------------------------------------------------------------


class SiblingShape(BaseModel):
    """A message that could stand in another's place, and the newest leaf below it."""

    id: uuid.UUID
    leaf: uuid.UUID


class TurnMessageShape(MessageShape):
    """A message on a branch. `siblings` are its alternatives, itself included, oldest first."""

    siblings: list[SiblingShape]


class BranchShape(ConversationShape):
    """A conversation with the messages of one branch, root first.

    `earlier` is the `before` of the page above, null if there is none; it is only there if the
    request had `limit` or `before`, or there is more above.
    """

    messages: list[TurnMessageShape]
    earlier: uuid.UUID | None = None


class DeltaShape(BaseModel):
    """A piece of the message that begins at position `start` and lies in part number `part`.

    It ends at the event's id.
    """

    start: int = Field(ge=0)
    part: int = Field(ge=0)
    kind: Kind
    text: str
    #: fixed for a part: a tool call's id and name
    meta: dict[str, Any] = Field(default_factory=dict, description="What the part's `meta` is.")


# --- the page ------------------------------------------------------------------------------------


class OpenBlockShape(BaseModel):
    """The block that is being written, as it may be shown for now."""

    n: int
    part: int
    kind: Kind
    meta: dict[str, Any] | None
    start: int
    end: int
    joins: bool = Field(description="It continues the block before it.")
    html: str


class BlockShape(OpenBlockShape):
    """A finished piece of a message, and its HTML without scripts, styles and images."""

    text: str


class BlocksShape(BaseModel):
    """Finished blocks of a message; `next` is the `after` of the page that follows."""

    id: uuid.UUID
    status: Status
    blocks: list[BlockShape]
    next: int | None
    position: int
    length: int | None
    sha256: str | None


class RetryingShape(BaseModel):
    """No text has come yet, and the provider is asked again."""

    count: int = Field(ge=1, description="How often it was asked again.")
    answered: bool = Field(description="It answered that it is busy, rather than not at all.")


class GrownBlocksShape(BaseModel):
    """Blocks that were finished, and the one that is being written.

    Finished blocks are sent once; each `open` replaces the one before it.
    """

    blocks: list[BlockShape]
    open: OpenBlockShape | None
    position: int
    retry: RetryingShape | None = Field(
        default=None, description="The provider is asked again; missing otherwise."
    )


class ShownErrorShape(ErrorShape):
    """Why an answer ended in ERROR, and whether Retry may help."""

    retryable: bool


class TurnShape(BaseModel):
    """A message as it is shown: a question has `text`, an ended answer `blocks`."""

    id: uuid.UUID
    conversation_id: uuid.UUID
    parent_id: uuid.UUID | None
    continues_id: uuid.UUID | None
    continues_at: int | None = Field(
        description="Its first block with text begins with what the answer that it continues shows"
        " from this position on."
    )
    role: Role
    status: Status
    state: Literal[
        "waiting", "writing", "finished", "incomplete", "stopped", "interrupted", "failed"
    ]
    text: str | None
    parts: list[PartShape] | None = Field(
        description="What a question has besides text; long results of tools are cut."
    )
    blocks: list[BlockShape] | None
    next: int | None = Field(description="The `after` of its other blocks, if there are more.")
    length: int | None
    sha256: str | None
    model: str | None
    usage: dict[str, Any] | None
    finish_reason: str | None
    error: ShownErrorShape | None
    created_at: datetime
    started_at: datetime | None
    first_text_at: datetime | None
    thought_ms: int | None
    ended_at: datetime | None
    siblings: list[SiblingShape]


class TitledConversationShape(ConversationShape):
    """A conversation, and who gave its title."""

    title_by: Literal["question", "model", "person"] | None


class TurnsShape(BaseModel):
    """Turns of a branch, root first; `earlier` is the `before` of the page above."""

    conversation: TitledConversationShape
    items: list[TurnShape]
    earlier: uuid.UUID | None


class LastAnswerShape(BaseModel):
    """The answer that is being written in a conversation, else the last that ended."""

    id: uuid.UUID
    status: Status
    error_code: AnswerErrorCode | None
    ended_at: datetime | None


class EntryLineShape(BaseModel):
    """How many questions wait in a conversation's line, and when one of them changed last."""

    waiting: int
    changed_at: datetime | None


class EntryShape(BaseModel):
    """A conversation in the list. `unseen`: an answer ended since it was last seen."""

    id: uuid.UUID
    title: str | None
    created_at: datetime
    updated_at: datetime
    status: Literal["waiting", "writing", "failed", "unseen", "idle"]
    answer: LastAnswerShape | None
    line: EntryLineShape


class EntryList(BaseModel):
    """A page of the list, the most recently active first."""

    items: list[EntryShape]
    next: str | None


class ListStateShape(BaseModel):
    """The list as it is; `next` is the cursor of what is not in it."""

    conversations: list[EntryShape]
    next: str | None


_WHAT = Literal[
    "created", "started", "finished", "failed", "stopped", "renamed", "seen", "undeleted", "updated"
]


class ChangedShape(BaseModel):
    """A conversation that is new or different."""

    what: list[_WHAT]
    conversation: EntryShape


class DeletedShape(BaseModel):
    """A conversation that is gone."""

    what: list[Literal["deleted"]]
    id: uuid.UUID


class ListChangesShape(BaseModel):
    """What is different from the list that the reader was shown."""

    changes: list[ChangedShape | DeletedShape]
