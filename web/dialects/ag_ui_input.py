"""What clients of AG-UI send (RunAgentInput), as models. `ag_ui_request.py` understands it."""

from typing import Annotated, Any, Final, Literal, NoReturn, Self

from pydantic import BeforeValidator, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel, to_snake
from pydantic_core import PydanticCustomError

from web import questions
from web.json_types import RequestBody, Text
from web.options import TOOLS, JsonObject, Name, Options
from web.questions import CONTENT_CHARS, PARTS

#: Messages of a history, and items of `context`.
MESSAGES: Final = 2_000
ITEMS: Final = 200
#: Characters of the name of a run or a conversation.
NAME_CHARS: Final = 180
#: Lists and objects inside one another, in JSON that is only passed through.
DEPTH: Final = 64

Id = Annotated[Text, Field(min_length=1, max_length=questions.NAME_CHARS)]
RunName = Annotated[Text, Field(min_length=1, max_length=NAME_CHARS)]


def _shallow(value: Any, depth: int = 0) -> Any:
    if depth > DEPTH:
        raise PydanticCustomError("too_deep", "This JSON is nested too deeply")
    for one in (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    ):
        _shallow(one, depth + 1)
    return value


AnyJson = Annotated[Any, BeforeValidator(_shallow)]
Content = Annotated[Text, Field(max_length=CONTENT_CHARS)]


class _Camel(RequestBody):
    """Fields whose names are written in camel case."""

    model_config = ConfigDict(alias_generator=to_camel)


class _HasMetadata(_Camel):
    """What a client may write notes to, which are its own."""

    metadata: AnyJson = None


# --- content -------------------------------------------------------------------------------------


class TextPart(_HasMetadata):
    """Text."""

    type: Literal["text"]
    text: Content


class DataSource(_Camel):
    """Base64."""

    type: Literal["data"]
    value: Text
    mime_type: Id


class AddressSource(_Camel):
    """An address."""

    type: Literal["url"]
    value: Text
    mime_type: Id | None = None


Source = Annotated[DataSource | AddressSource, Field(discriminator="type")]


class MediaPart(_HasMetadata):
    """An image, sound or a document."""

    type: Literal["image", "audio", "video", "document"]
    source: Source


class BinaryPart(_Camel):
    """The same as it was before 1.0."""

    type: Literal["binary"]
    mime_type: Id
    id: Id | None = None
    url: Text | None = None
    data: Text | None = None
    filename: Id | None = None


InputPart = Annotated[TextPart | MediaPart | BinaryPart, Field(discriminator="type")]
InputContent = Content | Annotated[list[InputPart], Field(max_length=PARTS)]
TextContent = Content | Annotated[list[TextPart], Field(max_length=PARTS)]

# --- messages ------------------------------------------------------------------------------------


class _Message(_HasMetadata):
    id: Text | None = None


class UserMessage(_Message):
    """What a person said."""

    role: Literal["user"]
    content: InputContent


class Instructions(_Message):
    """What an answer is to be like."""

    role: Literal["system", "developer"]
    content: TextContent


class CalledFunction(_Camel):
    """A function and its arguments, as the model wrote them."""

    name: Name
    arguments: Content


class ToolCall(_HasMetadata):
    """A call of a tool."""

    id: Id
    type: Literal["function"]
    function: CalledFunction


class AssistantMessage(_Message):
    """An answer, or a piece of one."""

    role: Literal["assistant"]
    content: TextContent | None = None
    tool_calls: Annotated[list[ToolCall], Field(max_length=TOOLS)] | None = None


class ToolMessage(_Message):
    """What a tool returned."""

    role: Literal["tool"]
    tool_call_id: Id
    content: TextContent
    error: Content | None = None
    #: the tool's, which its call says, too
    name: Text | None = None


class Thought(_Message):
    """What a model thought."""

    role: Literal["reasoning"]
    content: TextContent
    encrypted_value: Text | None = None


class Activity(_Message):
    """What was shown to people only."""

    role: Literal["activity"]
    activity_type: Text
    content: AnyJson


Message = Annotated[
    UserMessage | Instructions | AssistantMessage | ToolMessage | Thought | Activity,
    Field(discriminator="role"),
]

# --- the request ---------------------------------------------------------------------------------


class DeclaredTool(_HasMetadata):
    """A tool of the client."""

    name: Name
    description: Text | None = None
    parameters: JsonObject | None = None


class ContextItem(_Camel):
    """Something that the model is to know."""

    description: Content
    value: Content


class ForwardedProps(Options):
    """Options of the answer; by OpenAI's names, or by the same in camel case, as assistant-ui and
    CopilotKit send them."""

    model: Annotated[Text, Field(min_length=1, max_length=200)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _in_snake_case(cls, sent: Any) -> Any:
        if not isinstance(sent, dict):
            return sent
        found = dict(sent)
        for name in sent:
            known = "model" if name == "modelName" else to_snake(name)
            if known in cls.model_fields and known not in found:
                found[known] = found.pop(name)
        return found


class RunAgentInput(_Camel):
    """POST /ag-ui"""

    thread_id: RunName
    run_id: RunName
    parent_run_id: RunName | None = None
    protocol_version: Id | None = None
    messages: Annotated[list[Message], Field(min_length=1, max_length=MESSAGES, fail_fast=True)]
    tools: Annotated[tuple[DeclaredTool, ...], Field(max_length=TOOLS, strict=False)] = ()
    context: Annotated[tuple[ContextItem, ...], Field(max_length=ITEMS, strict=False)] = ()
    forwarded_props: ForwardedProps | None = None
    data: ForwardedProps | None = None
    state: AnyJson = None
    resume: AnyJson = None

    @model_validator(mode="after")
    def _refuse(self) -> Self:
        if self.state not in (None, {}, [], ""):
            _wrong("state: answers here have no state; send {state} or none", state="{}")
        if self.resume:
            _wrong("resume: nothing here interrupts a run, so nothing can be resumed")
        for name, props in (("forwardedProps", self.forwarded_props), ("data", self.data)):
            if props is not None and props.tools is not None:
                _wrong("{name}.tools: tools are declared in `tools`", name=name)
        if self.data is not None and self.data != (self.forwarded_props or self.data):
            _wrong("data: it is another name of forwardedProps, and says something else")
        return self


def _wrong(template: str, **more: Any) -> NoReturn:
    raise PydanticCustomError("refused", template, more)


class RunToStop(_Camel):
    """POST /ag-ui/stop"""

    run_id: RunName
