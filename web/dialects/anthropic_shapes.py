"""The shape of what clients of Anthropic's Messages send: which fields there are, and what each may
hold. Pure. What becomes of them: `anthropic_request.py`.
"""

from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from web.json_types import RequestBody, Text
from web.options import TOOLS, JsonObject, Number
from web.questions import CONTENT_CHARS, PARTS, RESULTS, Id

#: Turns of a history.
TURNS_MAX: Final = 2_000
#: Blocks of a turn.
BLOCKS: Final = PARTS + RESULTS
#: Characters of metadata.user_id.
USER_CHARS: Final = 512


def _refused(why: str, *harmless: Any) -> BeforeValidator:
    """Of a field that may only have a value that says nothing: null, or one of `harmless`."""

    def check(value: Any) -> None:
        if value is not None and not any(
            type(value) is type(one) and value == one for one in harmless
        ):
            raise PydanticCustomError("not_supported", "{why}", {"why": why})

    return BeforeValidator(check)


def _as_blocks(value: Any) -> Any:
    """A string as the one block of text that it stands for."""
    if isinstance(value, str):
        return [{"type": "text", "text": value}] if value else []
    return value


_CITED: Final = "sources of an answer are not kept here"
_TOOL_OF_THEIRS: Final = "the service that runs such tools is Anthropic's"

# --- blocks --------------------------------------------------------------------------------------


class CacheControl(RequestBody):
    """A hint for Anthropic's cache of prompts. The provider here has its own."""

    type: Literal["ephemeral"]
    ttl: Literal["5m", "1h"] | None = None


class Block(RequestBody):
    """What all blocks may have."""

    cache_control: CacheControl | None = None


class TextBlock(Block):
    """Text."""

    type: Literal["text"]
    text: Annotated[Text, Field(max_length=CONTENT_CHARS)]
    citations: Annotated[Any, _refused(_CITED, [])] = None


Texts = Annotated[list[TextBlock], Field(max_length=PARTS)]


class Base64Image(RequestBody):
    """An image that is sent with the request."""

    type: Literal["base64"]
    media_type: Literal["image/png", "image/jpeg", "image/gif", "image/webp"]
    data: Annotated[Text, Field(min_length=1)]


class AddressOfImage(RequestBody):
    """An image that the provider fetches."""

    type: Literal["url"]
    url: Annotated[Text, Field(min_length=1)]


class ImageBlock(Block):
    """An image."""

    type: Literal["image"]
    source: Annotated[Base64Image | AddressOfImage, Field(discriminator="type")]
    transformations: Annotated[Any, _refused("images are passed on as they are")] = None


class Base64Document(RequestBody):
    """A PDF that is sent with the request."""

    type: Literal["base64"]
    media_type: Literal["application/pdf"]
    data: Annotated[Text, Field(min_length=1)]


class TextDocument(RequestBody):
    """A document of plain text."""

    type: Literal["text"]
    media_type: Literal["text/plain"]
    data: Annotated[Text, Field(min_length=1, max_length=CONTENT_CHARS)]


class DocumentId(RequestBody):
    """A file that the provider has."""

    type: Literal["file"]
    file_id: Id


class Citations(RequestBody):
    """Whether the answer is to cite a document."""

    enabled: Annotated[Any, _refused(_CITED, False)] = None


class DocumentBlock(Block):
    """A document."""

    type: Literal["document"]
    source: Annotated[Base64Document | TextDocument | DocumentId, Field(discriminator="type")]
    title: Id | None = None
    context: Annotated[Any, _refused("say it in a text block", "")] = None
    citations: Citations | None = None


class ResultBlock(Block):
    """What a call of the answer above returned."""

    type: Literal["tool_result"]
    tool_use_id: Id
    content: Annotated[Texts | None, BeforeValidator(_as_blocks)] = None
    is_error: bool | None = None
    toolset_name: Annotated[Any, _refused(_TOOL_OF_THEIRS)] = None


class Caller(RequestBody):
    """Who called a tool: the model itself."""

    type: Literal["direct"]


class CallBlock(Block):
    """A call of a tool."""

    type: Literal["tool_use"]
    id: Id
    name: Id
    input: JsonObject
    caller: Caller | None = None
    toolset_name: Annotated[Any, _refused(_TOOL_OF_THEIRS)] = None


class ThinkingBlock(RequestBody):
    """Thoughts that come back. They are sent to no provider, as nowhere in this service."""

    type: Literal["thinking"]
    thinking: Text
    signature: Text = ""


class RedactedBlock(RequestBody):
    """The same, in a form that only their author reads."""

    type: Literal["redacted_thinking"]
    data: Text


AskedBlock = TextBlock | ImageBlock | DocumentBlock | ResultBlock
Asked = Annotated[AskedBlock, Field(discriminator="type")]
Answered = Annotated[
    TextBlock | CallBlock | ThinkingBlock | RedactedBlock, Field(discriminator="type")
]


class UserMessage(RequestBody):
    """What a user said, and what tools returned."""

    role: Literal["user"]
    content: Annotated[list[Asked], BeforeValidator(_as_blocks), Field(max_length=BLOCKS)]


class AssistantMessage(RequestBody):
    """What a model answered."""

    role: Literal["assistant"]
    content: Annotated[list[Answered], BeforeValidator(_as_blocks), Field(max_length=BLOCKS)]


class SystemMessage(RequestBody):
    """Instructions among the messages."""

    role: Literal["system"]
    content: Annotated[Texts, BeforeValidator(_as_blocks)]


Turned = Annotated[UserMessage | AssistantMessage | SystemMessage, Field(discriminator="role")]

# --- options -------------------------------------------------------------------------------------


class Tool(Block):
    """A function that the client runs."""

    type: Annotated[Any, _refused(_TOOL_OF_THEIRS, "custom")] = None
    name: Annotated[Text, Field(min_length=1, max_length=128)]
    description: Text | None = None
    input_schema: JsonObject
    strict: bool | None = None
    # how Anthropic's service treats it
    allowed_callers: Annotated[Any, _refused(_TOOL_OF_THEIRS, ["direct"])] = None
    defer_loading: Annotated[Any, _refused("all tools are passed on", False)] = None
    eager_input_streaming: bool | None = None
    input_examples: Annotated[Any, _refused("give examples in the description", [])] = None


class ToolChoice(RequestBody):
    """Whether the model may, must or must not call a tool."""

    type: Literal["auto", "any", "none", "tool"]
    name: Annotated[Text, Field(min_length=1, max_length=128)] | None = None
    disable_parallel_tool_use: bool | None = None


class Metadata(RequestBody):
    """For whom the request is made."""

    user_id: Annotated[Text, Field(min_length=1, max_length=USER_CHARS)] | None = None


class AnswerFormat(RequestBody):
    """JSON that fits a schema."""

    type: Literal["json_schema"]
    json_schema: Annotated[JsonObject, Field(alias="schema")]


class OutputConfig(RequestBody):
    """How much effort, and which form."""

    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: AnswerFormat | None = None
    task_budget: Annotated[Any, _refused("use max_tokens")] = None


class Messages(RequestBody):
    """POST /v1/messages"""

    # ours
    messages: Annotated[list[Turned], Field(min_length=1, max_length=TURNS_MAX, fail_fast=True)]
    system: Annotated[Texts | None, BeforeValidator(_as_blocks)] = None
    model: Annotated[Text, Field(min_length=1, max_length=200)] | None = None
    stream: bool | None = None

    # passed
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    stop_sequences: Annotated[list[Text], Field(max_length=8)] | None = None
    temperature: Annotated[Number, Field(ge=0, le=2)] | None = None
    top_p: Annotated[Number, Field(ge=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0)] | None = None
    thinking: JsonObject | None = None
    tools: Annotated[list[Tool], Field(max_length=TOOLS)] | None = None
    tool_choice: ToolChoice | None = None
    metadata: Metadata | None = None
    output_config: OutputConfig | None = None
    output_format: AnswerFormat | None = None
    service_tier: Literal["auto", "standard_only"] | None = None

    # ignored
    cache_control: CacheControl | None = None

    # harmless, or refused
    billing_policy: Annotated[Any, _refused("the provider is chosen by this service")] = None
    compaction: Annotated[Any, _refused("all that is sent goes to the model")] = None
    container: Annotated[Any, _refused(_TOOL_OF_THEIRS)] = None
    context_management: Annotated[Any, _refused("all that is sent goes to the model")] = None
    diagnostics: Annotated[Any, _refused("a cache of prompts is the provider's here")] = None
    fallbacks: Annotated[Any, _refused("the provider is chosen by this service", [])] = None
    inference_geo: Annotated[Any, _refused("the provider is chosen by this service")] = None
    mcp_servers: Annotated[Any, _refused(_TOOL_OF_THEIRS, [])] = None
    speed: Annotated[Any, _refused("the provider is chosen by this service", "standard")] = None
    thread: Annotated[Any, _refused("send the whole history", False)] = None
    user_profile_id: Annotated[Any, _refused("users are those of this service")] = None
    workspace_id: Annotated[Any, _refused("users are those of this service")] = None
