"""What clients of OpenAI's Chat Completions send: understood, passed on, or refused by name. Pure.

Nothing is dropped in silence. Each field is one of four kinds:

    ours      `messages`, `model`, `stream`, `stream_options`: understood here
    passed    goes to the provider as it came
    harmless  says nothing (`n: 1`, `tools: []`, `logprobs: false`), and is not passed on
    refused   all others, with 400, the field in `param` and a sentence that says why

Text is what a body of ours can hold so far. So tools, images, audio and log probabilities are
refused where a client asks for them: an answer that lacks them would look complete.

Of a turn, `content` may be a string or a list of text parts, which are joined as this service joins
texts (an empty line between them). What SDKs add when an answer of theirs is sent back (`refusal:
null`, `annotations: []`) says nothing. Thoughts that come back are not sent to a provider, as
nowhere in this service.
"""

import math
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, NamedTuple, NoReturn

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from shared.errors import Invalid
from shared.text import normalise
from web.json_types import RequestBody, Text
from web.options import Options
from web.schemas import SYSTEM_CHARS

#: Turns of a history.
TURNS_MAX: Final = 2_000
#: How deep the JSON of an option may be.
DEPTH_MAX: Final = 32
#: Between texts that are joined: as `worker.provider.prompt` joins turns.
SEPARATOR: Final = "\n\n"
#: The key of `metadata` that names a conversation, for clients that cannot send a header.
CONVERSATION: Final = "outlive_conversation_id"


def storable(value: Any, depth: int = 0) -> Any:
    """A JSON value as Postgres can keep it. Raises PydanticCustomError for what nobody can."""
    if depth > DEPTH_MAX:
        raise PydanticCustomError("too_deep", "has too many levels")
    match value:
        case str():
            return normalise(value)
        case float() if not math.isfinite(value):
            raise PydanticCustomError("not_finite", "has a number that is not finite")
        case list():
            return [storable(item, depth + 1) for item in value]
        case dict():
            return {normalise(name): storable(item, depth + 1) for name, item in value.items()}
        case _:
            return value


def _refused(why: str, *harmless: Any) -> BeforeValidator:
    """Of a field that may only have a value that says nothing: null, or one of `harmless`."""

    def check(value: Any) -> None:
        if value is not None and not any(
            type(value) is type(one) and value == one for one in harmless
        ):
            raise PydanticCustomError("not_supported", "{why}", {"why": why})

    return BeforeValidator(check)


def _content(value: Any) -> str:
    """The text of a turn's content."""
    if value is None:
        return ""
    if isinstance(value, str):
        return normalise(value)
    if not isinstance(value, list):
        raise PydanticCustomError("string_type", "must be a string or a list of text parts")
    return SEPARATOR.join(_text_of(number, part) for number, part in enumerate(value))


def _text_of(number: int, part: Any) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind != "text":
        why = f"part {number} is no text; this service passes on text parts only"
        raise PydanticCustomError("not_supported", "{why}", {"why": why})
    if part.keys() != {"type", "text"} or not isinstance(part["text"], str):
        raise PydanticCustomError(
            "string_type", "part {number} must have type and text only", {"number": number}
        )
    return normalise(part["text"])


Role = Literal["user", "assistant"]
_Passed = Annotated[Any, BeforeValidator(storable)]
_TOOLS: Final = "tools are not supported here yet"
_MEDIA: Final = "an answer has text only"


class ChatTurn(RequestBody):
    """One of `messages`."""

    role: Literal["system", "developer", "user", "assistant"]
    content: Annotated[str, BeforeValidator(_content)] = ""
    # What an SDK sends back of an answer.
    refusal: Annotated[Any, _refused("a refusal is text in `content` here")] = None
    annotations: Annotated[Any, _refused("annotations are not supported here", [])] = None
    audio: Annotated[Any, _refused(_MEDIA)] = None
    function_call: Annotated[Any, _refused(_TOOLS)] = None
    tool_calls: Annotated[Any, _refused(_TOOLS, [])] = None
    tool_call_id: Annotated[Any, _refused(_TOOLS)] = None
    name: Annotated[Any, _refused("names of participants are not supported here")] = None
    reasoning_content: Text | None = None
    reasoning: Text | None = None


class StreamOptions(RequestBody):
    """How the stream is to be."""

    include_usage: bool | None = None
    include_obfuscation: Annotated[Any, _refused("chunks are not padded here", False)] = None


class ChatCompletion(Options):
    """POST /v1/chat/completions"""

    # ours
    messages: Annotated[list[ChatTurn], Field(min_length=1, max_length=TURNS_MAX)]
    model: Annotated[Text, Field(min_length=1, max_length=200)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    # passed, besides `Options`: first those of OpenAI, then those of other servers
    logit_bias: _Passed = None
    metadata: _Passed = None
    prediction: _Passed = None
    prompt_cache_key: _Passed = None
    prompt_cache_retention: _Passed = None
    reasoning_effort: _Passed = None  # other servers have other words
    response_format: _Passed = None
    safety_identifier: _Passed = None
    service_tier: _Passed = None
    store: _Passed = None
    user: _Passed = None
    verbosity: _Passed = None
    chat_template_kwargs: _Passed = None
    enable_thinking: _Passed = None
    guided_choice: _Passed = None
    guided_grammar: _Passed = None
    guided_json: _Passed = None
    guided_regex: _Passed = None
    ignore_eos: _Passed = None
    include_reasoning: _Passed = None
    keep_alive: _Passed = None
    length_penalty: _Passed = None
    min_p: _Passed = None
    min_tokens: _Passed = None
    provider: _Passed = None
    reasoning: _Passed = None
    reasoning_format: _Passed = None
    repetition_penalty: _Passed = None
    safe_prompt: _Passed = None
    structured_outputs: _Passed = None
    thinking: _Passed = None
    thinking_budget: _Passed = None
    top_a: _Passed = None
    top_k: _Passed = None
    typical_p: _Passed = None

    # harmless, or refused
    n: Annotated[Any, _refused("one request has one answer", 1)] = None
    logprobs: Annotated[Any, _refused("log probabilities are not kept", False)] = None
    top_logprobs: Annotated[Any, _refused("log probabilities are not kept", 0)] = None
    modalities: Annotated[Any, _refused(_MEDIA, ["text"], [])] = None
    audio: Annotated[Any, _refused(_MEDIA)] = None
    tools: Annotated[Any, _refused(_TOOLS, [])] = None
    tool_choice: Annotated[Any, _refused(_TOOLS, "none", "auto")] = None
    parallel_tool_calls: Annotated[Any, _refused(_TOOLS, True, False)] = None
    functions: Annotated[Any, _refused(_TOOLS, [])] = None
    function_call: Annotated[Any, _refused(_TOOLS, "none", "auto")] = None
    web_search_options: Annotated[Any, _refused("sources of an answer are not kept")] = None


#: What is not passed on.
_OURS: Final = frozenset(
    (
        *("messages", "model", "stream", "stream_options"),
        *("n", "logprobs", "top_logprobs", "modalities", "audio", "tools", "tool_choice"),
        *("parallel_tool_calls", "functions", "function_call", "web_search_options"),
    )
)


class ChatQuestion(NamedTuple):
    """What a request asks for."""

    #: (role, text) of every turn but the instructions; the question last
    turns: Sequence[tuple[Role, str]]
    system: str | None
    options: dict[str, Any]
    #: the conversation that `metadata` names
    conversation_id: uuid.UUID | None
    streams: bool
    include_usage: bool


@dataclass(frozen=True, slots=True)
class _Split:
    """The instructions, which come first, and what was said."""

    system: str | None
    turns: Sequence[tuple[Role, str]]


def question(sent: ChatCompletion) -> ChatQuestion:
    """What a request asks for. Raises Invalid, with `param`."""
    split = _split(sent.messages)
    options = {
        name: value
        for name in type(sent).model_fields
        if name not in _OURS and (value := getattr(sent, name)) is not None
    }
    conversation = _taken_out_of(options)
    asked = sent.stream_options
    return ChatQuestion(
        split.turns,
        split.system,
        options,
        conversation,
        bool(sent.stream),
        bool(asked and asked.include_usage),
    )


def _split(messages: Sequence[ChatTurn]) -> _Split:
    """Raises Invalid for turns in an order that a conversation of ours cannot have."""
    instructions: list[str] = []
    turns: list[tuple[Role, str]] = []
    for number, turn in enumerate(messages):
        if turn.role == "user" or turn.role == "assistant":  # noqa: PLR1714 - narrows the type
            turns.append((turn.role, turn.content))
        elif turns:
            _refuse(number, "role", "instructions come before all other messages here")
        elif turn.content:
            instructions.append(turn.content)
    last = len(messages) - 1
    if not turns or turns[-1][0] != "user":
        _refuse(last, "role", "the last message must be the user's, which is answered")
    if not turns[-1][1]:
        _refuse(last, "content", "the question is empty")
    system = SEPARATOR.join(instructions) or None
    if system is not None and len(system) > SYSTEM_CHARS:
        _refuse(0, "content", f"instructions have at most {SYSTEM_CHARS} characters")
    return _Split(system, turns)


def _refuse(number: int, field: str, why: str) -> NoReturn:
    param = f"messages[{number}].{field}"
    raise Invalid(f"{param}: {why}.", param=param)


def _taken_out_of(options: dict[str, Any]) -> uuid.UUID | None:
    """The conversation that `metadata` names, which is then no part of it any more."""
    metadata = options.get("metadata")
    if not isinstance(metadata, dict) or CONVERSATION not in metadata:
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
