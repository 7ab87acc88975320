"""What the document says of one route: the vocabulary of the table in `web/operations.py`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

from pydantic import BaseModel

from shared.disconnects import PATTERN

Schema = dict[str, Any]


class Parameter(NamedTuple):
    """A query parameter or a header of a request."""

    name: str
    schema: Schema
    description: str
    #: the code of a request in which it is wrong, if it can be
    code: str | None = None
    place: Literal["query", "header"] = "query"


class Event(NamedTuple):
    """A kind of frame in a stream of events."""

    name: str
    data: type[BaseModel]
    description: str
    #: what its `id:` line holds; None if it has none
    id: Schema | None = None


@dataclass(frozen=True, slots=True)
class Events:
    """A response that is a stream of events, and what it looks like on the wire."""

    description: str
    kinds: tuple[Event, ...]
    example: str


@dataclass(frozen=True, slots=True)
class Other:
    """A response that is not made from a model of ours."""

    description: str
    content_type: str
    schema: Schema


#: What a response holds: JSON of a model, events, something else, or nothing.
Content = type[BaseModel] | Events | Other | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """A route as clients know it.

    Its address and methods are those of the route, its description is the route's docstring. What
    follows from the right (401, 403), from parameters, and from there being a body is added by
    `web.contract.document`: `codes` are only those of REQUEST_ERRORS that are left.
    """

    tag: str
    summary: str
    #: status -> what a response with it holds; several if the request chooses by `Accept`
    answers: Mapping[int, Content | tuple[Content, ...]]
    #: the name for generated clients; by default that of the route's function
    name: str = ""
    body: type[BaseModel] | None = None
    parameters: tuple[Parameter, ...] = ()
    codes: tuple[str, ...] = ()
    #: headers of its successful responses
    headers: Mapping[str, str] = field(default_factory=dict)
    #: whether query parameters that it does not have are ignored; otherwise they are refused
    ignores_unknown: bool = False

    @property
    def query(self) -> frozenset[str]:
        """The names of its query parameters."""
        return frozenset(one.name for one in self.parameters if one.place == "query")


#: Codes of what reads or writes in Postgres, and of what may be too much for it.
STORED: Final = ("storage_unavailable", "not_migrated")
EXPENSIVE: Final = ("busy", "too_slow")

_POSITION: Final[Schema] = {
    "anyOf": [{"type": "integer", "minimum": 0}, {"const": "end"}],
    "examples": [137],
}
_MESSAGE_ID: Final[Schema] = {"type": "string", "format": "uuid"}

AFTER: Final = Parameter(
    "after",
    _POSITION,
    "The position after which to begin: the `id` of the last event, or `end` for one that has seen"
    " the end.",
    "invalid_position",
)
POSITION: Final = Parameter(
    "position",
    {"type": "integer", "minimum": 0, "default": 0},
    "A position in the message's text.",
    "invalid_position",
)
LAST_EVENT_ID: Final = Parameter(
    "Last-Event-ID",
    {"type": "string", "examples": ["137"]},
    "As `after`, and it wins where both are there. What is no position means the beginning.",
    place="header",
)
LAST_EVENT_ID_OF_REPEATED: Final = Parameter(
    "Last-Event-ID",
    {"type": "string", "examples": ["8"]},
    "With `Accept: text/event-stream`, in a request that is repeated with its Idempotency-Key: the"
    " `id` of the last event. A new answer begins at its beginning.",
    place="header",
)
ACCEPT: Final = Parameter(
    "Accept",
    {"type": "string", "examples": ["text/event-stream"]},
    "`text/event-stream` for the answer's stream as the response; otherwise it is JSON.",
    place="header",
)
LEAF: Final = Parameter(
    "leaf",
    _MESSAGE_ID,
    "A message: show the branch that ends in it. By default that of the newest message.",
    "invalid_leaf",
)
BEFORE: Final = Parameter(
    "before",
    _MESSAGE_ID,
    "A message: show those above it. It is the `earlier` of the page below.",
    "invalid_before",
)
CURSOR: Final = Parameter(
    "cursor", {"type": "string"}, "The `next` of the page before.", "invalid_cursor"
)
OFFSET: Final = Parameter(
    "offset",
    {"type": "string", "pattern": "^(-1|now|[0-9]{1,16})$", "default": "-1"},
    "What was read last named it. `-1` is the beginning, `now` the end.",
    "invalid_offset",
)
LIVE: Final = Parameter(
    "live",
    {"type": "string", "enum": ["long-poll", "sse"]},
    "How to wait for what comes next; needs an offset. Without it the response is what there is.",
    "invalid_offset",
)
STREAM_CURSOR: Final = Parameter(
    "cursor", {"type": "string"}, "The Stream-Cursor of the last live response."
)
IF_NONE_MATCH: Final = Parameter(
    "If-None-Match",
    {"type": "string"},
    "The ETag of an earlier read from the same offset: 304 if there is nothing else now.",
    place="header",
)
FORMAT: Final = Parameter(
    "format",
    {"type": "string", "enum": ["jsonl", "markdown"], "default": "jsonl"},
    "JSON lines, for programs, or Markdown, for people.",
    "invalid_format",
)
FORMAT_OF_ONE: Final = Parameter(
    "format",
    {"type": "string", "enum": ["json", "markdown"], "default": "markdown"},
    "JSON, for programs, or Markdown, for people.",
    "invalid_format",
)
LEAF_OF_FILE: Final = Parameter(
    "leaf",
    _MESSAGE_ID,
    "A message: only the branch that ends in it. By default all branches.",
    "invalid_leaf",
)
NEXT: Final = Parameter(
    "next",
    {"type": "string", "default": "/"},
    "The path of the page to go to after signing in. Any other address stands for `/`.",
)
CODE: Final = Parameter("code", {"type": "string"}, "What the identity provider says.")
STATE: Final = Parameter("state", {"type": "string"}, "Which attempt that belongs to.")
USER_ID: Final = Parameter(
    "user_id",
    {"type": "string", "format": "uuid"},
    "Only what this user did, and what was done to them.",
    "invalid_user_id",
)
WORDS: Final = Parameter("q", {"type": "string", "default": ""}, "The words to look for.")
IDEMPOTENCY_KEY: Final = Parameter(
    "Idempotency-Key",
    # Printable characters of Latin-1; blanks around a header's value do not belong to it.
    {
        "type": "string",
        "minLength": 1,
        "maxLength": 200,
        "pattern": "^[!-~¡-¬®-ÿ]([ -~¡-¬®-ÿ]*[!-~¡-¬®-ÿ])?$",
        "examples": ["5c1f0f0e-7c53-4b53-9d5c-0e6d2a0b7c11"],
    },
    "Makes the request repeatable: the same key with the same request gives the same status and the"
    " same things, as they are now.",
    "invalid_idempotency_key",
    place="header",
)
ON_DISCONNECT: Final = Parameter(
    "Outlive-On-Disconnect",
    {"type": "string", "pattern": PATTERN, "examples": ["stop-after=30"]},
    "What becomes of the answer when its last reader has left: it goes on (`continue`), or it is"
    " stopped, at once (`stop`) or some seconds later (`stop-after=SECONDS`). Without it, as the"
    " service key or the deployment says.",
    place="header",
)


def limit(default: int | None, most: int) -> Parameter:
    """`?limit=`, from 1 to `most`; without a default the response is limited by its size only."""
    schema: Schema = {"type": "integer", "minimum": 1, "maximum": most}
    if default is not None:
        schema["default"] = default
    return Parameter("limit", schema, "The number of items, at most.", "invalid_limit")
