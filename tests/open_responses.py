"""What the Open Responses compliance test wants of a reply: the fields of its schemas.

Its own test is TypeScript and needs a runtime of its own; these are the keys and types of its
schemas (openresponses/openresponses), where every key of a resource must be present.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter


class Strict(BaseModel):
    """Nothing is coerced; keys that it does not know are ignored, as zod does."""

    model_config = ConfigDict(strict=True)


class OutputText(Strict):
    type: Literal["output_text"]
    text: str
    annotations: list[Any]
    logprobs: list[Any]


class ReasoningText(Strict):
    type: Literal["reasoning_text"]
    text: str


class Message(Strict):
    type: Literal["message"]
    id: str
    status: Literal["in_progress", "completed", "incomplete"]
    role: Literal["assistant", "user"]
    content: list[OutputText | dict[str, Any]]


class FunctionCall(Strict):
    type: Literal["function_call"]
    id: str
    call_id: str
    name: str
    arguments: str
    status: Literal["in_progress", "completed", "incomplete"]


class Reasoning(Strict):
    type: Literal["reasoning"]
    id: str
    summary: list[Any]
    content: list[ReasoningText]


Item = Annotated[Message | FunctionCall | Reasoning, Field(discriminator="type")]


class InputDetails(Strict):
    cached_tokens: int


class OutputDetails(Strict):
    reasoning_tokens: int


class Usage(Strict):
    input_tokens: int
    output_tokens: int
    total_tokens: int
    input_tokens_details: InputDetails
    output_tokens_details: OutputDetails


class Tool(Strict):
    type: Literal["function"]
    name: str
    description: str | None
    parameters: dict[str, Any] | None
    strict: bool | None


class Details(Strict):
    reason: str


class Error(Strict):
    code: str
    message: str


class Format(Strict):
    type: str


class Text(Strict):
    format: Format


class ReasoningConfig(Strict):
    effort: str | None
    summary: str | None


class ToolChoice(Strict):
    type: Literal["function"]
    name: str


class Resource(Strict):
    """A response: every key is there."""

    id: str
    object: Literal["response"]
    created_at: int
    completed_at: int | None
    status: Literal["queued", "in_progress", "completed", "failed", "incomplete", "cancelled"]
    incomplete_details: Details | None
    model: str
    previous_response_id: str | None
    instructions: str | None
    output: list[Item]
    error: Error | None
    tools: list[Tool]
    tool_choice: Literal["none", "auto", "required"] | ToolChoice
    truncation: Literal["auto", "disabled"]
    parallel_tool_calls: bool
    text: Text
    top_p: int | float
    presence_penalty: int | float
    frequency_penalty: int | float
    temperature: int | float
    top_logprobs: int
    reasoning: ReasoningConfig | None
    usage: Usage | None
    max_output_tokens: int | None
    max_tool_calls: int | None
    store: bool
    background: bool
    service_tier: str
    metadata: dict[str, str]
    safety_identifier: str | None
    prompt_cache_key: str | None


class Event(Strict):
    """Of every event."""

    sequence_number: int


class Lifecycle(Event):
    type: Literal[
        "response.created", "response.queued", "response.in_progress", "response.completed",
        "response.failed", "response.incomplete",
    ]  # fmt: skip
    response: Resource


class OfItem(Event):
    type: Literal["response.output_item.added", "response.output_item.done"]
    output_index: int
    item: Item


class OfPart(Event):
    type: Literal["response.content_part.added", "response.content_part.done"]
    item_id: str
    output_index: int
    content_index: int
    part: OutputText | ReasoningText


class TextDelta(Event):
    type: Literal["response.output_text.delta"]
    item_id: str
    output_index: int
    content_index: int
    delta: str
    logprobs: list[Any]


class TextDone(Event):
    type: Literal["response.output_text.done"]
    item_id: str
    output_index: int
    content_index: int
    text: str
    logprobs: list[Any]


class ReasoningDelta(Event):
    type: Literal["response.reasoning_text.delta"]
    item_id: str
    output_index: int
    content_index: int
    delta: str


class ReasoningDone(Event):
    type: Literal["response.reasoning_text.done"]
    item_id: str
    output_index: int
    content_index: int
    text: str


class ArgumentsDelta(Event):
    type: Literal["response.function_call_arguments.delta"]
    item_id: str
    output_index: int
    delta: str


class ArgumentsDone(Event):
    type: Literal["response.function_call_arguments.done"]
    item_id: str
    output_index: int
    name: str
    arguments: str


AnyEvent = Annotated[
    Lifecycle | OfItem | OfPart | TextDelta | TextDone | ReasoningDelta | ReasoningDone
    | ArgumentsDelta | ArgumentsDone,
    Field(discriminator="type"),
]  # fmt: skip
_EVENT: TypeAdapter[Any] = TypeAdapter(AnyEvent)


def check_resource(found: Any) -> None:
    """Raise ValidationError for a response that the schema does not have."""
    Resource.model_validate(found)


def check_event(found: Any) -> None:
    """The same for an event."""
    _EVENT.validate_python(found)
