"""What clients of OpenAI's Responses send: understood, passed on, or refused by name. Pure.

Nothing is dropped in silence. Each field is one of four kinds:

    ours      `input`, `instructions`, `stream`, `background`, `conversation` …: understood here
    mapped    goes to the provider in the form of a chat completion (`web/options.py`)
    echoed    means nothing to a provider, and is given back with the response (`metadata`)
    refused   all others, with 400, the field in `param` and a sentence that says why

A field that is null says nothing, as in the original.

`input` becomes turns: `dialects/responses_items.py`.
"""

import uuid
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal, NamedTuple, Self

from pydantic import ConfigDict, Field, ValidationError, model_validator

from shared.store.threads import Turn
from shared.text import normalise
from web.dialects.responses_items import (
    SEPARATOR,
    Nothing,
    Resolve,
    Sent,
    parsed,
    refuse,
    turns_of,
    validated,
)
from web.json_types import Text
from web.mistakes import sentence
from web.options import Options
from web.questions import NAME_CHARS, Id
from web.schemas import SYSTEM_CHARS

# --- the request ----------------------------------------------------------------------------------


class FunctionTool(Sent):
    """A function that the model may call."""

    type: Literal["function"]
    name: Text
    description: Text | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class NamedTool(Sent):
    """The function that the model must call."""

    type: Literal["function"]
    name: Text


class Format(Sent):
    """The form that the answer must have."""

    type: Literal["text", "json_object", "json_schema"]
    name: Text | None = None
    description: Text | None = None
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None
    strict: bool | None = None


class TextConfig(Sent):
    """How the text is to be."""

    format: Format | None = None
    verbosity: Any = None


class ReasoningConfig(Sent):
    """How a model is to think. Thoughts are shown as the provider sends them, so a summary can be
    left to it (`auto`), and not be chosen."""

    effort: Any = None
    summary: Literal["auto"] | None = None
    generate_summary: Literal["auto"] | None = None


class StreamOptions(Sent):
    """How a stream is to be. Events are not padded here."""

    include_obfuscation: Literal[False] | None = None


class NamedConversation(Sent):
    """A conversation by its id."""

    id: Id


class CreateResponse(Sent):
    """POST /v1/responses"""

    # Options that are called the same come as extra fields, and are checked in `wanted`.
    model_config = ConfigDict(extra="allow")

    # ours
    input: Any = None
    model: Annotated[Text, Field(min_length=1, max_length=200)] | None = None
    instructions: Annotated[Text, Field(max_length=SYSTEM_CHARS)] | None = None
    previous_response_id: Text | None = None
    conversation: Id | NamedConversation | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    background: bool = False
    # mapped
    tools: Annotated[list[Any], Field(default_factory=list, max_length=128)]
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    text: TextConfig | None = None
    reasoning: ReasoningConfig | None = None
    max_output_tokens: Any = None
    # echoed
    metadata: Any = None
    truncation: Literal["auto", "disabled"] | None = None
    # they may only say what is so anyway
    store: Literal[True] | None = None
    include: Nothing
    top_logprobs: Literal[0] | None = None

    @model_validator(mode="before")
    @classmethod
    def _refuse_by_name(cls, sent: Any) -> Any:
        for name, why in REFUSED.items() if isinstance(sent, dict) else ():
            if sent.get(name) not in _SAYS_NOTHING.get(name, (None,)):
                refuse(name, why)
        return sent

    @model_validator(mode="after")
    def _names_one_place(self) -> Self:
        if self.conversation is not None and self.previous_response_id is not None:
            refuse(
                "previous_response_id", "it cannot be given together with conversation", "invalid"
            )
        return self


#: Fields of the original that ask for what is not to be had here, and why.
REFUSED: Final[Mapping[str, str]] = {
    "store": "every answer is stored here, so it can only be true",
    "include": "what it asks for is not kept with an answer",
    "top_logprobs": "log probabilities of tokens are not kept with an answer",
    "max_tool_calls": "it limits tools that a provider runs; the tools here are functions",
    "prompt": "prompts are not stored here; send instructions and input",
    "background_options": "an answer begins as soon as a worker is free",
    "context_management": "turns are not compacted here",
    "moderation": "answers are not moderated here",
    "prompt_cache_options": "it is not passed on",
    "access_programs": "it is not passed on",
    "image": "it is not passed on",
    "n": "a question has one answer",
}
#: Their values that say nothing.
_SAYS_NOTHING: Final[Mapping[str, Sequence[Any]]] = {
    "store": (None, True),
    "include": (None, []),
    "top_logprobs": (None, 0),
}

#: Options that have another name, or another form, in this dialect.
_OTHER_FORM: Final = frozenset(
    (
        *("max_tokens", "max_completion_tokens", "response_format", "verbosity"),
        *("reasoning_effort", *CreateResponse.model_fields),
    )
)
#: Options that are called the same: of OpenAI's API, and of other servers.
SAME: Final = frozenset(Options.model_fields) - _OTHER_FORM
#: Option of a chat completion -> the field of the original that it came from.
_FIELDS: Final[Mapping[str, str]] = {
    "max_completion_tokens": "max_output_tokens",
    "response_format": "text.format",
    "verbosity": "text.verbosity",
    "reasoning_effort": "reasoning.effort",
}


class Wanted(NamedTuple):
    """What a request asks for."""

    turns: Sequence[Turn]
    system: str | None
    options: dict[str, Any]
    #: what is kept to be given back
    request: dict[str, Any]
    previous: str | None
    #: the client's name of a conversation
    conversation: str | None


def references(sent: CreateResponse) -> list[str]:
    """The ids of items of answers that are here, to which a request refers."""
    items = sent.input if isinstance(sent.input, list) else []
    named = [
        one.get("id")
        for one in items
        if isinstance(one, dict) and one.get("type") == "item_reference"
    ]
    return [normalise(name) for name in named if isinstance(name, str)]


def wanted(sent: CreateResponse, user_id: uuid.UUID, resolve: Resolve) -> Wanted:
    """What a request asks for. Raises Invalid, with `param`."""
    named = sent.conversation
    conversation = named.id if isinstance(named, NamedConversation) else named
    below = sent.previous_response_id is not None or conversation is not None
    instructions, turns = turns_of(parsed(sent.input), user_id, resolve, below=below)
    texts = [*([sent.instructions] if sent.instructions else []), *instructions]
    system = SEPARATOR.join(texts) or None
    if system is not None and len(system) > SYSTEM_CHARS:
        refuse("instructions", f"instructions have at most {SYSTEM_CHARS} characters", "invalid")
    options = _options(sent)
    request = {"metadata": options.pop("metadata", None), **_echoed(sent, instructions)}
    kept = {name: value for name, value in request.items() if value is not None}
    return Wanted(turns, system, options, kept, sent.previous_response_id, conversation)


# --- options --------------------------------------------------------------------------------------


def _options(sent: CreateResponse) -> dict[str, Any]:
    """The options of a chat completion. Raises Invalid."""
    for name in sent.model_extra or {}:
        if name not in SAME:
            refuse(name[:NAME_CHARS], "there is no such field", "unknown_parameter")
    text, reasoning = sent.text or TextConfig(), sent.reasoning or ReasoningConfig()
    found = {
        **(sent.model_extra or {}),
        **_tools(sent),
        "max_completion_tokens": sent.max_output_tokens,
        "response_format": _format(text.format),
        "verbosity": text.verbosity,
        "reasoning_effort": reasoning.effort,
        # Checked like the others, but not passed on: it says something of what is kept here.
        "metadata": sent.metadata,
    }
    return _checked({name: value for name, value in found.items() if value is not None})


def _tools(sent: CreateResponse) -> dict[str, Any]:
    if not sent.tools:
        if sent.tool_choice not in (None, "none", "auto"):
            refuse("tool_choice", "there are no tools", "invalid")
        return {}
    return {
        "tools": [_tool(number, tool) for number, tool in enumerate(sent.tools)],
        "tool_choice": _tool_choice(sent.tool_choice),
        "parallel_tool_calls": sent.parallel_tool_calls,
    }


def _checked(found: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return Options.model_validate(found).passed()
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        name = str(first["loc"][0]) if first["loc"] else ""
        param = _FIELDS.get(name, name)
        if name == "tools" and len(first["loc"]) > 1:
            param = f"tools[{first['loc'][1]}]"
        refuse(param or "request", sentence(first), "invalid")


def _tool(number: int, sent: Any) -> dict[str, Any]:
    kind = sent.get("type") if isinstance(sent, dict) else None
    if kind != "function":
        refuse(f"tools[{number}].type", "only functions, which the client runs, are passed on")
    tool = validated(FunctionTool, sent, f"tools[{number}]")
    function = tool.model_dump(exclude_none=True, exclude={"type"})
    return {"type": "function", "function": function}


def _tool_choice(sent: str | NamedTool | None) -> Any:
    if isinstance(sent, NamedTool):
        return {"type": "function", "function": {"name": sent.name}}
    return sent


def _format(sent: Format | None) -> dict[str, Any] | None:
    if sent is None or sent.type == "text":
        return None
    if sent.type == "json_object":
        return {"type": "json_object"}
    schema = sent.model_dump(exclude_none=True, exclude={"type"}, by_alias=True)
    return {"type": "json_schema", "json_schema": schema}


def _echoed(sent: CreateResponse, instructions: Sequence[str]) -> dict[str, Any]:
    """What else is kept to be given back: what the options do not say."""
    found: dict[str, Any] = {
        "background": sent.background,
        "truncation": sent.truncation,
        "previous": sent.previous_response_id or "",
    }
    if not sent.tools:
        found["tool_choice"] = sent.tool_choice
        found["parallel_tool_calls"] = sent.parallel_tool_calls
    if sent.reasoning is not None:
        found["summary"] = sent.reasoning.summary or sent.reasoning.generate_summary
    if instructions:  # then the system text is more than these
        found["instructions"] = sent.instructions or ""
    return found
