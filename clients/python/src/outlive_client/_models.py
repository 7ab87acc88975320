"""What the service sends, as frozen dataclasses.

`raw` is the document as it came: it also has what a newer service adds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Callable, Generic, NamedTuple, TypeVar

Json = dict[str, Any]
Item = TypeVar("Item")


def _time(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(value.replace("Z", "+00:00"))


def _moment(value: str) -> datetime:
    return datetime.fromisoformat(value.replace("Z", "+00:00"))


class Delta(NamedTuple):
    """A piece of an answer, as it was written.

    `start`: code points of the answer before it. `part` counts its parts; `kind` is that of its
    part: "text" is the answer, "reasoning" the model's thinking, "tool_call" the arguments of a
    tool that `meta` names.
    """

    start: int
    part: int
    kind: str
    text: str
    meta: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Part:
    """One part of a message."""

    kind: str
    text: str
    meta: Mapping[str, Any] | None = None

    @classmethod
    def of(cls, raw: Json) -> Part:
        """From JSON."""
        return cls(raw["kind"], raw["text"], raw.get("meta"))


@dataclass(frozen=True)
class Failure:
    """Why an answer ended in ERROR."""

    code: str
    message: str

    @classmethod
    def of(cls, raw: Json | None) -> Failure | None:
        """From JSON."""
        return None if raw is None else cls(raw["code"], raw["message"])


@dataclass(frozen=True)
class End:
    """How an answer ended: `status` is "DONE", "CANCELLED" (it was stopped) or "ERROR"."""

    status: str
    finish_reason: str | None
    length: int | None
    sha256: str | None
    usage: Mapping[str, Any] | None
    error: Failure | None
    raw: Json = field(repr=False, compare=False)

    @classmethod
    def of(cls, raw: Json) -> End:
        """From JSON."""
        return cls(
            status=str(raw["status"]),
            finish_reason=raw.get("finish_reason"),
            length=raw.get("length"),
            sha256=raw.get("sha256"),
            usage=raw.get("usage"),
            error=Failure.of(raw.get("error")),
            raw=raw,
        )


@dataclass(frozen=True)
class Sibling:
    """A message that could stand in another's place, and the newest message below it."""

    id: str
    leaf: str


@dataclass(frozen=True)
class Message:
    """A question (`role` "user") or an answer ("assistant").

    `status`: SENDING, STREAMING, DONE, CANCELLED or ERROR. `text` is its text parts joined;
    `position` the number of code points of all parts that are here.
    """

    id: str
    conversation_id: str
    parent_id: str | None
    continues_id: str | None
    role: str
    status: str
    text: str
    parts: Sequence[Part]
    position: int
    length: int | None
    sha256: str | None
    model: str | None
    usage: Mapping[str, Any] | None
    finish_reason: str | None
    error: Failure | None
    created_at: datetime
    started_at: datetime | None
    first_text_at: datetime | None
    thought_ms: int | None
    ended_at: datetime | None
    siblings: Sequence[Sibling]
    raw: Json = field(repr=False, compare=False)

    @classmethod
    def of(cls, raw: Json) -> Message:
        """From JSON."""
        return cls(
            id=raw["id"],
            conversation_id=raw["conversation_id"],
            parent_id=raw["parent_id"],
            continues_id=raw.get("continues_id"),
            role=raw["role"],
            status=raw["status"],
            text=raw["text"],
            parts=tuple(map(Part.of, raw["parts"])),
            position=raw["position"],
            length=raw.get("length"),
            sha256=raw.get("sha256"),
            model=raw.get("model"),
            usage=raw.get("usage"),
            finish_reason=raw.get("finish_reason"),
            error=Failure.of(raw.get("error")),
            created_at=_moment(raw["created_at"]),
            started_at=_time(raw.get("started_at")),
            first_text_at=_time(raw.get("first_text_at")),
            thought_ms=raw.get("thought_ms"),
            ended_at=_time(raw.get("ended_at")),
            siblings=tuple(Sibling(one["id"], one["leaf"]) for one in raw.get("siblings", ())),
            raw=raw,
        )


@dataclass(frozen=True)
class Asked:
    """A question and its answer, which is going to be written."""

    question: Message
    answer: Message

    @classmethod
    def of(cls, raw: Json) -> Asked:
        """From JSON."""
        return cls(Message.of(raw["user"]), Message.of(raw["assistant"]))


@dataclass(frozen=True)
class Conversation:
    """A conversation; `messages` are those of one branch, first to last, where they were read."""

    id: str
    title: str | None
    system: str | None
    created_at: datetime
    updated_at: datetime
    messages: Sequence[Message]
    raw: Json = field(repr=False, compare=False)

    @classmethod
    def of(cls, raw: Json) -> Conversation:
        """From JSON."""
        return cls(
            id=raw["id"],
            title=raw.get("title"),
            system=raw.get("system"),
            created_at=_moment(raw["created_at"]),
            updated_at=_moment(raw["updated_at"]),
            messages=tuple(map(Message.of, raw.get("messages", ()))),
            raw=raw,
        )


class Piece(NamedTuple):
    """A piece of a snippet; `hit`: whether it is a word of the search."""

    text: str
    hit: bool


@dataclass(frozen=True)
class Hit:
    """What a search found: a message, or (without one) a conversation by its title."""

    conversation: Conversation
    message_id: str | None
    leaf: str | None
    snippet: Sequence[Piece]
    raw: Json = field(repr=False, compare=False)

    @classmethod
    def of(cls, raw: Json) -> Hit:
        """From JSON."""
        return cls(
            conversation=Conversation.of(raw["conversation"]),
            message_id=raw["message_id"],
            leaf=raw["leaf"],
            snippet=tuple(Piece(one["text"], one["hit"]) for one in raw["snippet"]),
            raw=raw,
        )


@dataclass(frozen=True)
class Models:
    """The models that can be asked; `known` is false where the provider has no list."""

    names: Sequence[str]
    default: str
    known: bool
    raw: Json = field(repr=False, compare=False)

    @classmethod
    def of(cls, raw: Json) -> Models:
        """From JSON."""
        return cls(tuple(one["id"] for one in raw["items"]), raw["default"], raw["known"], raw)


@dataclass(frozen=True)
class Share:
    """A share of a conversation. `user`: who may read; None: whoever has the link.

    `readers`: streams that are open by it now. `token` (of a link) and `path` (of the page
    that shows it) are there only when it was just made: the service keeps no token.
    """

    id: str
    user: str | None
    created_at: datetime
    expires_at: datetime | None
    readers: int | None
    token: str | None
    path: str | None
    raw: Json = field(repr=False, compare=False)

    @classmethod
    def of(cls, raw: Json) -> Share:
        """From JSON."""
        return cls(
            id=raw["id"],
            user=raw["user"],
            created_at=_moment(raw["created_at"]),
            expires_at=_time(raw["expires_at"]),
            readers=raw["readers"],
            token=raw.get("token"),
            path=raw.get("path"),
            raw=raw,
        )

    def __repr__(self) -> str:
        """Without the token, which opens the conversation."""
        return f"Share(id={self.id!r}, user={self.user!r}, expires_at={self.expires_at!r})"


@dataclass(frozen=True)
class Shared:
    """A conversation that somebody else shares; read it as one of your own."""

    id: str
    title: str | None
    created_at: datetime
    updated_at: datetime
    shared_at: datetime
    raw: Json = field(repr=False, compare=False)

    @classmethod
    def of(cls, raw: Json) -> Shared:
        """From JSON."""
        return cls(
            id=raw["id"],
            title=raw["title"],
            created_at=_moment(raw["created_at"]),
            updated_at=_moment(raw["updated_at"]),
            shared_at=_moment(raw["shared_at"]),
            raw=raw,
        )


@dataclass(frozen=True)
class Use:
    """Tokens that were used in a day or a month (UTC). `limit`: the budget, None without one.

    `estimated_tokens`: how many of them no provider reported.
    """

    limit: int | None
    used: int
    input_tokens: int
    output_tokens: int
    estimated_tokens: int
    answers: int
    since: datetime
    renews_at: datetime
    raw: Json = field(repr=False, compare=False)

    @classmethod
    def of(cls, raw: Json) -> Use:
        """From JSON."""
        return cls(
            limit=raw["limit"],
            used=raw["used"],
            input_tokens=raw["input_tokens"],
            output_tokens=raw["output_tokens"],
            estimated_tokens=raw["estimated_tokens"],
            answers=raw["answers"],
            since=_moment(raw["since"]),
            renews_at=_moment(raw["renews_at"]),
            raw=raw,
        )


@dataclass(frozen=True)
class Usage:
    """What was used today and this month: of the user, or of a service key for all users."""

    day: Use
    month: Use
    #: of the service key that asks, if it is one
    key: Usage | None
    raw: Json = field(repr=False, compare=False)

    @classmethod
    def of(cls, raw: Json) -> Usage:
        """From JSON."""
        key = raw.get("key")
        return cls(
            Use.of(raw["day"]), Use.of(raw["month"]), None if key is None else cls.of(key), raw
        )


@dataclass(frozen=True)
class Page(Generic[Item]):
    """Some items of a list. `next` is the `cursor` of what follows, None at the end."""

    items: Sequence[Item]
    next: str | None

    def __iter__(self) -> Iterator[Item]:
        """The items."""
        return iter(self.items)

    def __len__(self) -> int:
        """How many there are here."""
        return len(self.items)


def items_of(read: Callable[[Json], Item]) -> Callable[[Json], Sequence[Item]]:
    """Reads a list that comes whole."""
    return lambda raw: tuple(map(read, raw["items"]))


def page_of(read: Callable[[Json], Item]) -> Callable[[Json], Page[Item]]:
    """Reads a page of such items."""
    return lambda raw: Page(tuple(map(read, raw["items"])), raw["next"])
