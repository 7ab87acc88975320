"""What clients of OpenAI's Chat Completions send: understood, passed on, or refused by name. Pure.

Nothing is dropped in silence. Each field is one of four kinds:

    ours      `messages`, `model`, `stream`, `stream_options`: understood here
    passed    goes to the provider as it came (`web/options.py`, for all faces)
    harmless  says nothing (`n: 1`, `tools: []`, `logprobs: false`), and is not passed on
    refused   all others, with 400, the field in `param` and a sentence that says why

**Turns.** The parts of a user's message stay apart and in order; the text of every other message is
one, with an empty line between its parts, as this service joins texts. The results of tools
(`role: tool`) are a turn of the user's, and the user's message that follows them directly belongs
to it, as in every face. Each call has its result before anybody says something else, as OpenAI
wants it, too: the worker would leave the call out. Instructions come first.

What SDKs add when an answer of theirs is sent back (`refusal: null`, `annotations: []`, the
arguments once more as a value) says nothing. Thoughts that come back are not sent to a provider, as
nowhere in this service.
"""

import uuid
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal, NamedTuple, NoReturn

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from shared.body import Body
from shared.errors import Invalid
from shared.parts import PartKind
from shared.store.threads import Turn
from web.json_types import RequestBody, Text
from web.options import REFUSED, TOOLS, Options, Tool
from web.questions import CONTENT_CHARS, PARTS, Id, Part, TextPart, ToolResultPart, written
from web.schemas import SYSTEM_CHARS

#: Turns of a history.
TURNS_MAX: Final = 2_000
#: Between texts that are joined: as `worker.provider.prompt` joins turns.
SEPARATOR: Final = "\n\n"
#: The key of `metadata` that names a conversation, for clients that cannot send a header.
CONVERSATION: Final = "outlive_conversation_id"


def _refused(why: str, *harmless: Any) -> BeforeValidator:
    """Of a field that may only have a value that says nothing: null, or one of `harmless`."""

    def check(value: Any) -> None:
        if value is not None and not any(
            type(value) is type(one) and value == one for one in harmless
        ):
            raise PydanticCustomError("not_supported", "{why}", {"why": why})

    return BeforeValidator(check)


def _as_parts(value: Any) -> Any:
    """Content that is a string, or nothing, as a list of parts."""
    if value is None or value == "":
        return []
    return [{"type": "text", "text": value}] if isinstance(value, str) else value


def _none_if_empty(value: Any) -> Any:
    return None if value == [] else value


# --- messages -------------------------------------------------------------------------------------

Texts = Annotated[list[TextPart], BeforeValidator(_as_parts), Field(max_length=PARTS)]
Parts = Annotated[list[Part], BeforeValidator(_as_parts), Field(max_length=PARTS)]
_NAMES: Final = "names of participants are not supported here"
_MEDIA: Final = REFUSED["modalities"]


class Instructions(RequestBody):
    """What the model is told before all else."""

    role: Literal["system", "developer"]
    content: Texts = Field(default_factory=list)
    name: Annotated[Any, _refused(_NAMES)] = None


class UserMessage(RequestBody):
    """What the user says."""

    role: Literal["user"]
    content: Parts = Field(default_factory=list)
    name: Annotated[Any, _refused(_NAMES)] = None


class CalledFunction(RequestBody):
    """A function, and the arguments as the model wrote them."""

    name: Id
    arguments: Annotated[Text, Field(max_length=CONTENT_CHARS)] = ""
    #: what SDKs made of them
    parsed_arguments: Any = None


class Call(RequestBody):
    """A call of a tool that an answer made."""

    id: Id
    type: Literal["function"] = "function"
    function: CalledFunction
    #: its place in a stream
    index: int | None = None


class AssistantMessage(RequestBody):
    """An answer: one of ours that is sent back, or another service's."""

    role: Literal["assistant"]
    content: Texts = Field(default_factory=list)
    tool_calls: Annotated[list[Call] | None, Field(max_length=TOOLS)] = None
    reasoning_content: Text | None = None
    reasoning: Text | None = None
    #: what SDKs made of the content
    parsed: Any = None
    name: Annotated[Any, _refused(_NAMES)] = None
    refusal: Annotated[Any, _refused("a refusal is text in `content` here")] = None
    annotations: Annotated[Any, _refused(REFUSED["web_search_options"], [])] = None
    audio: Annotated[Any, _refused(_MEDIA)] = None
    function_call: Annotated[Any, _refused("use tool_calls")] = None
    provider_specific_fields: Annotated[Any, _refused("these are not kept", {})] = None


class ToolMessage(RequestBody):
    """What a call returned."""

    role: Literal["tool"]
    tool_call_id: Id
    content: Texts = Field(default_factory=list)
    #: of the function, as some clients repeat it
    name: Text | None = None


Message = Annotated[
    Instructions | UserMessage | AssistantMessage | ToolMessage, Field(discriminator="role")
]


class StreamOptions(RequestBody):
    """How the stream is to be."""

    include_usage: bool | None = None
    include_obfuscation: Annotated[Any, _refused("chunks are not padded here", False)] = None


class ChatCompletion(Options):
    """POST /v1/chat/completions"""

    # ours
    messages: Annotated[list[Message], Field(min_length=1, max_length=TURNS_MAX, fail_fast=True)]
    model: Annotated[Text, Field(min_length=1, max_length=200)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    # harmless where they say nothing
    tools: Annotated[
        Annotated[list[Tool], Field(max_length=TOOLS)] | None, BeforeValidator(_none_if_empty)
    ] = None
    n: Annotated[Any, _refused(REFUSED["n"], 1)] = None
    logprobs: Annotated[Any, _refused(REFUSED["logprobs"], False)] = None
    top_logprobs: Annotated[Any, _refused(REFUSED["top_logprobs"], 0)] = None
    modalities: Annotated[Any, _refused(_MEDIA, ["text"], [])] = None
    audio: Annotated[Any, _refused(_MEDIA)] = None
    functions: Annotated[Any, _refused(REFUSED["functions"], [])] = None
    function_call: Annotated[Any, _refused(REFUSED["function_call"], "none", "auto")] = None
    web_search_options: Annotated[Any, _refused(REFUSED["web_search_options"])] = None


# --- what it asks for -----------------------------------------------------------------------------


class ChatQuestion(NamedTuple):
    """What a request asks for."""

    #: every turn but the instructions; the question last
    turns: Sequence[Turn]
    system: str | None
    options: dict[str, Any]
    #: the conversation that `metadata` names
    conversation_id: uuid.UUID | None
    streams: bool
    include_usage: bool


def question(user_id: uuid.UUID, sent: ChatCompletion) -> ChatQuestion:
    """What this user's request asks for. Raises Invalid, with `param`."""
    conversation = _Conversation(user_id, sent.messages)
    options = sent.passed()
    if "tools" not in options:
        _drop_choice(options)
    named = _taken_out_of(options)
    asked = sent.stream_options
    return ChatQuestion(
        conversation.turns,
        conversation.system,
        options,
        named,
        bool(sent.stream),
        bool(asked and asked.include_usage),
    )


class _Conversation:
    """The turns, and the instructions, of a list of messages."""

    def __init__(self, user_id: uuid.UUID, messages: Sequence[Message]) -> None:
        self._user_id = user_id
        self.turns: list[Turn] = []
        self._instructions: list[str] = []
        #: calls of the last answer that have no result yet, and results that have no turn yet
        self._open: list[Call] = []
        self._results: list[ToolResultPart] = []
        for number, message in enumerate(messages):
            self._add(number, message)
        last = len(messages) - 1
        self._end_results(last)
        if not self.turns or self.turns[-1].role != "user":
            _refuse(last, "role", "the last message must be the user's or a tool's")
        if not self.turns[-1].body.parts:
            _refuse(last, "content", "the question is empty")
        self.system = SEPARATOR.join(self._instructions) or None
        if self.system is not None and len(self.system) > SYSTEM_CHARS:
            _refuse(0, "content", f"instructions have at most {SYSTEM_CHARS} characters")

    def _add(self, number: int, message: Message) -> None:
        match message:
            case ToolMessage():
                self._add_result(number, message)
            case UserMessage():
                self._must_have_results(number)
                self._add_question(number, message.content)
            case AssistantMessage():
                self._end_results(number)
                self.turns.append(Turn("assistant", _answer(message)))
                self._open = list(message.tool_calls or ())
            case Instructions():
                if self.turns:
                    _refuse(number, "role", "instructions come before all other messages here")
                if message.content:
                    self._instructions.append(_text(message.content))

    def _add_result(self, number: int, message: ToolMessage) -> None:
        found = next((one for one in self._open if one.id == message.tool_call_id), None)
        if found is None:
            _refuse(number, "tool_call_id", "no call of the message before has this id")
        if message.name is not None and message.name != found.function.name:
            _refuse(number, "name", "the call with this id is of another function")
        self._open.remove(found)
        text = _text(message.content)
        self._results.append(ToolResultPart(tool_call_id=message.tool_call_id, content=text))

    def _add_question(self, number: int, parts: Sequence[Part]) -> None:
        try:
            content = written(self._user_id, "", parts, self._results)
        except Invalid as error:
            param = f"messages[{number}].content"
            raise Invalid(f"{param}: {error.message}", error.code, param=param) from None
        self._results = []
        self.turns.append(Turn("user", content.body, content.files))

    def _must_have_results(self, number: int) -> None:
        if self._open:
            name = self._open[0].id
            _refuse(number, "role", f"the call {name} needs its result (role tool) before this")

    def _end_results(self, number: int) -> None:
        self._must_have_results(number)
        if self._results:
            self._add_question(number, ())


def _answer(message: AssistantMessage) -> Body:
    body = Body()
    body.write(PartKind.TEXT, _text(message.content))
    for call in message.tool_calls or ():
        named = {"id": call.id, "name": call.function.name}
        # a part has text: a call without arguments is written as the worker writes it
        body.write(PartKind.TOOL_CALL, call.function.arguments or "{}", named, fresh=True)
    return body


def _text(parts: Sequence[TextPart]) -> str:
    return SEPARATOR.join(part.text for part in parts)


def _refuse(number: int, field: str, why: str) -> NoReturn:
    param = f"messages[{number}].{field}"
    raise Invalid(f"{param}: {why}.", param=param)


def _drop_choice(options: dict[str, Any]) -> None:
    """Without tools a choice among them says nothing, unless it wants one. Raises Invalid."""
    options.pop("parallel_tool_calls", None)
    if options.pop("tool_choice", "auto") not in ("auto", "none"):
        raise Invalid("tool_choice: there are no tools to choose from.", param="tool_choice")


def _taken_out_of(options: dict[str, Any]) -> uuid.UUID | None:
    """The conversation that `metadata` names, which is then no part of it any more."""
    metadata = options.get("metadata", {})
    if CONVERSATION not in metadata:
        return None
    rest = {name: value for name, value in metadata.items() if name != CONVERSATION}
    options["metadata"] = rest
    if not rest:
        del options["metadata"]
    return conversation_id(metadata[CONVERSATION], f"metadata.{CONVERSATION}")


def conversation_id(value: Any, param: str) -> uuid.UUID:
    """The id of a conversation. Raises Invalid."""
    try:
        return uuid.UUID(value)
    except (ValueError, TypeError, AttributeError):
        raise Invalid(f"{param} must be the id of a conversation.", param=param) from None
