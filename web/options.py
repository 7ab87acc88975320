"""The options of a question: the closed list of what is passed on to the provider.

Every face uses it. An option is passed on unchanged, under the name that it came with, and is
stored with the answer. Or it is refused by name: nothing is dropped in silence. REFUSED has the
options of OpenAI's API that change what an answer consists of, so that a body would not have all of
it, and why. A face that understands one of them itself (`stream`), or takes it where it says
nothing (`n: 1`), has a field for it. Whatever else is not a field is refused as unknown.

Options of OpenAI's API have their types here, so that mistakes are found early. Those of other
servers (vLLM, llama.cpp, OpenRouter ...) may be any JSON: their provider checks them.

Values that may be any JSON (a JSON schema, above all) are stored in Postgres as they are. So their
text is normalised like all text, and what JSON in Postgres cannot hold is refused.
"""

import json
import math
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    StrictFloat,
    StrictInt,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from shared.text import normalise
from web.json_types import RequestBody, Text

#: Characters of all options of a question as JSON: each answer's row has them.
OPTIONS_CHARS: Final = 256 << 10
#: Lists and objects inside one another, in a value that may be any JSON.
DEPTH: Final = 64
#: Tools, and characters of a name.
TOOLS: Final = 128
NAME_CHARS: Final = 128
#: Pairs of `metadata`, and tokens of `logit_bias`.
PAIRS: Final = 16
BIASES: Final = 100

Number = StrictInt | StrictFloat

#: Options of OpenAI's API that are not passed on, and why.
REFUSED: Final[Mapping[str, str]] = {
    "n": "a question has one answer; ask again (retry) for another one",
    "logprobs": "log probabilities of tokens are not kept with an answer",
    "top_logprobs": "log probabilities of tokens are not kept with an answer",
    "modalities": "answers consist of text",
    "audio": "answers consist of text",
    "functions": "use tools",
    "function_call": "use tool_choice",
    "web_search_options": "sources that a provider cites are not kept with an answer",
    "stream": "send Accept: text/event-stream for a stream",
    "stream_options": "usage is always asked for",
}


def _storable(value: Any, depth: int = 0) -> Any:
    """JSON with all its text normalised. Raises PydanticCustomError for what cannot be stored."""
    match value:
        case str():
            return normalise(value)
        case dict() | list() if depth >= DEPTH:
            raise PydanticCustomError("too_deep", "This JSON is nested too deeply")
        case dict():
            return {normalise(key): _storable(one, depth + 1) for key, one in value.items()}
        case list():
            return [_storable(one, depth + 1) for one in value]
        case float() if not math.isfinite(value):
            raise PydanticCustomError("not_json", "JSON has no NaN and no infinite numbers")
    return value


Json = Annotated[Any, BeforeValidator(_storable)]
JsonObject = Annotated[dict[str, Any], BeforeValidator(_storable)]
Name = Annotated[Text, Field(min_length=1, max_length=NAME_CHARS)]


def _refusal(name: str) -> InitErrorDetails:
    error = PydanticCustomError("refused", "This is not passed on: {why}", {"why": REFUSED[name]})
    return InitErrorDetails(type=error, loc=(name,), input=None)


class FunctionTool(RequestBody):
    """A function that the model may call. `parameters`: a JSON schema of its arguments."""

    name: Name
    description: Text | None = None
    parameters: JsonObject | None = None
    strict: bool | None = None


class Tool(RequestBody):
    """A tool; only functions, which the client runs."""

    type: Literal["function"]
    function: FunctionTool


class NamedFunction(RequestBody):
    """The name of a declared function."""

    name: Name


class NamedTool(RequestBody):
    """A tool that the model must call."""

    type: Literal["function"]
    function: NamedFunction


class TextFormat(RequestBody):
    """Any text, or (`json_object`) any JSON object."""

    type: Literal["text", "json_object"]


class AnswerSchema(RequestBody):
    """A JSON schema that the answer has to fit."""

    name: Name
    description: Text | None = None
    schema_: Annotated[JsonObject | None, Field(alias="schema")] = None
    strict: bool | None = None


class SchemaFormat(RequestBody):
    """JSON that fits a schema."""

    type: Literal["json_schema"]
    json_schema: AnswerSchema


Format = Annotated[TextFormat | SchemaFormat, Field(discriminator="type")]
Bias = Annotated[Number, Field(ge=-100, le=100)]
MetaName = Annotated[Text, Field(max_length=64)]
MetaValue = Annotated[Text, Field(max_length=512)]


class Options(RequestBody):
    """Options that are passed on to the provider; those not given are left out."""

    temperature: Annotated[Number, Field(ge=0, le=2)] | None = None
    top_p: Annotated[Number, Field(ge=0, le=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    presence_penalty: Annotated[Number, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[Number, Field(ge=-2, le=2)] | None = None
    logit_bias: Annotated[dict[Text, Bias], Field(max_length=BIASES)] | None = None
    seed: int | None = None
    stop: Text | Annotated[list[Text], Field(max_length=8)] | None = None
    reasoning_effort: Name | None = None  # each server has words of its own
    verbosity: Name | None = None
    tools: Annotated[list[Tool], Field(min_length=1, max_length=TOOLS)] | None = None
    tool_choice: Literal["none", "auto", "required"] | NamedTool | None = None
    parallel_tool_calls: bool | None = None
    response_format: Format | None = None
    metadata: Annotated[dict[MetaName, MetaValue], Field(max_length=PAIRS)] | None = None
    user: Name | None = None
    safety_identifier: Name | None = None
    prompt_cache_key: Name | None = None
    prompt_cache_retention: Name | None = None
    prediction: JsonObject | None = None
    service_tier: Name | None = None
    #: at the provider; here every answer is stored
    store: bool | None = None

    # of other servers
    chat_template_kwargs: Json = None
    enable_thinking: Json = None
    guided_choice: Json = None
    guided_grammar: Json = None
    guided_json: Json = None
    guided_regex: Json = None
    ignore_eos: Json = None
    include_reasoning: Json = None
    keep_alive: Json = None
    length_penalty: Json = None
    min_p: Json = None
    min_tokens: Json = None
    provider: Json = None
    reasoning: Json = None
    reasoning_format: Json = None
    repeat_penalty: Json = None
    repetition_penalty: Json = None
    safe_prompt: Json = None
    structured_outputs: Json = None
    thinking: Json = None
    thinking_budget: Json = None
    top_a: Json = None
    top_k: Json = None
    typical_p: Json = None

    @model_validator(mode="before")
    @classmethod
    def _refuse_by_name(cls, sent: Any) -> Any:
        mine = cls.model_fields
        names = sent if isinstance(sent, dict) else ()
        found = [name for name in names if name in REFUSED and name not in mine]
        if found:
            raise ValidationError.from_exception_data(cls.__name__, list(map(_refusal, found)))
        return sent

    @model_validator(mode="after")
    def _is_small(self) -> Self:
        if self.model_fields_set and len(json.dumps(self.passed())) > OPTIONS_CHARS:
            raise PydanticCustomError(
                "too_large",
                "All options together have more than {most} characters",
                {"most": OPTIONS_CHARS},
            )
        return self

    def passed(self) -> dict[str, Any]:
        """What is stored with the answer, and sent to the provider, by name."""
        return self.model_dump(
            include=set(Options.model_fields), exclude_unset=True, exclude_none=True, by_alias=True
        )
