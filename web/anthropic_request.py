"""What clients of Anthropic's Messages send: understood, passed on, or refused by name. Pure.

The provider is an OpenAI-compatible endpoint, so a request is brought into that form: turns as
bodies of ours, and options under the names that such an endpoint knows. Each field is one of four
kinds:

    ours      `messages`, `system`, `model`, `stream`: understood here
    passed    `max_tokens` .. `tools`, under OpenAI's name; `top_k` and `thinking` as they came
    ignored   says nothing about the answer (`cache_control`), or cannot be said to the provider in
              its place (`thinking` blocks that come back, `is_error` of a result). `ignored` lists
              them, and the response's header does
    refused   all others, with the path of the field and a sentence that says why

Content may be a string or a list of blocks. A user's blocks become the parts of a question: text,
images, documents, and the results of tools, which come first. An assistant's blocks become text and
calls. `input` of a call is an object there and JSON in a text here; the chain of a conversation
compares it as JSON (`shared/chain.py`), so a call that comes back is found however it is spelled.
"""

import base64
import json
import uuid
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple, NoReturn

from shared.body import Body
from shared.errors import Invalid
from shared.parts import PartKind
from shared.store.threads import Turn
from web import questions
from web.anthropic_shapes import (
    AddressOfImage,
    AssistantMessage,
    Base64Document,
    Base64Image,
    CallBlock,
    DocumentBlock,
    DocumentId,
    ImageBlock,
    Messages,
    OutputConfig,
    RedactedBlock,
    ResultBlock,
    SystemMessage,
    TextBlock,
    TextDocument,
    ThinkingBlock,
    Tool,
    ToolChoice,
    UserMessage,
)
from web.options import OPTIONS_CHARS
from web.questions import CONTENT_CHARS
from web.schemas import SYSTEM_CHARS

#: Between texts that are joined: as `worker.provider.prompt` joins turns.
SEPARATOR: Final = "\n\n"
#: Their names for a tier of service -> OpenAI's.
TIERS: Final = {"auto": "auto", "standard_only": "default"}
#: Their names for an effort that OpenAI has no name for.
EFFORTS: Final = {"max": "xhigh"}


class Question(NamedTuple):
    """What a request asks for."""

    #: all turns but the instructions; the question last
    turns: Sequence[Turn]
    system: str | None
    #: in OpenAI's form
    options: dict[str, Any]
    streams: bool
    #: names of what was sent and changes nothing, in the order of the alphabet
    ignored: Sequence[str]


def question(sent: Messages, user_id: uuid.UUID) -> Question:
    """What a request asks for, as this user's. Raises Invalid, with `param`."""
    instructions = [_text(sent.system or [])]
    turns: list[Turn] = []
    for number, message in enumerate(sent.messages):
        match message:
            case UserMessage():
                turns.append(_asked(number, message, user_id))
            case AssistantMessage():
                turns.append(_answered(message))
            case SystemMessage() if not turns:
                instructions.append(_text(message.content))
            case SystemMessage():
                _refuse(f"messages.{number}.role", "instructions come before all other messages")
    last = len(sent.messages) - 1
    if not turns or turns[-1].role != "user":
        _refuse(f"messages.{last}.role", "the last message must be the user's, which is answered")
    if not turns[-1].body.length:
        _refuse(f"messages.{last}.content", "the question is empty")
    system = SEPARATOR.join(filter(None, instructions)) or None
    if system is not None and len(system) > SYSTEM_CHARS:
        _refuse("system", f"instructions have at most {SYSTEM_CHARS} characters")
    return Question(turns, system, _options(sent), bool(sent.stream), sorted(_ignored(sent)))


def _text(blocks: Sequence[TextBlock]) -> str:
    return SEPARATOR.join(block.text for block in blocks if block.text)


def _refuse(param: str, why: str) -> NoReturn:
    raise Invalid(f"{param}: {why}.", param=param)


# --- turns ---------------------------------------------------------------------------------------


def _asked(number: int, message: UserMessage, user_id: uuid.UUID) -> Turn:
    results: list[questions.ToolResultPart] = []
    parts: list[questions.Part] = []
    for block in message.content:
        if isinstance(block, ResultBlock):
            text = _text(block.content or [])
            if len(text) > CONTENT_CHARS:
                _refuse(f"messages.{number}.content", "a result is too long")
            part = questions.ToolResultPart(tool_call_id=block.tool_use_id, content=text)
            results.append(part)
        elif not (isinstance(block, TextBlock) and not block.text):
            parts.append(_part(block))
    try:
        content = questions.written(user_id, "", parts, results)
    except Invalid as error:
        raise Invalid(error.message, param=f"messages.{number}.content") from None
    return Turn("user", content.body, content.files)


def _part(block: TextBlock | ImageBlock | DocumentBlock) -> questions.Part:
    """A block in OpenAI's form."""
    match block:
        case TextBlock(text=text):
            return questions.TextPart(type="text", text=text)
        case ImageBlock(source=Base64Image() as image):
            url = f"data:{image.media_type};base64,{image.data}"
            return _image(url)
        case ImageBlock(source=AddressOfImage(url=url)):
            return _image(url)
        case DocumentBlock():
            return questions.FilePart(type="file", file=_document(block))
    raise AssertionError(block)


def _image(url: str) -> questions.ImagePart:
    return questions.ImagePart(type="image_url", image_url=questions.ImageAddress(url=url))


def _document(block: DocumentBlock) -> questions.Document:
    match block.source:
        case Base64Document(data=data):
            address = f"data:application/pdf;base64,{data}"
            return questions.Document(file_data=address, filename=block.title or "document.pdf")
        case TextDocument(data=text):
            data = base64.b64encode(text.encode()).decode()
            address = f"data:text/plain;base64,{data}"
            return questions.Document(file_data=address, filename=block.title or "document.txt")
        case DocumentId(file_id=file_id):
            return questions.Document(file_id=file_id)


def _answered(message: AssistantMessage) -> Turn:
    body = Body()
    for block in message.content:
        match block:
            case TextBlock(text=text):
                body.write(PartKind.TEXT, text, fresh=True)
            case CallBlock():
                called = {"id": block.id, "name": block.name}
                arguments = json.dumps(block.input, ensure_ascii=False)
                body.write(PartKind.TOOL_CALL, arguments, called, fresh=True)
    return Turn("assistant", body)


# --- options -------------------------------------------------------------------------------------


def _options(sent: Messages) -> dict[str, Any]:
    """What is passed on, in OpenAI's form. Raises Invalid if it is too large."""
    options: dict[str, Any] = {
        name: value
        for name in ("max_tokens", "temperature", "top_p", "top_k", "thinking")
        if (value := getattr(sent, name)) is not None
    }
    if sent.stop_sequences:
        options["stop"] = sent.stop_sequences
    if sent.tools:
        options["tools"] = [_tool(one) for one in sent.tools]
    if sent.tool_choice is not None:
        options.update(_choice(sent.tool_choice))
    if sent.metadata is not None and sent.metadata.user_id is not None:
        options["user"] = sent.metadata.user_id
    output = sent.output_config or OutputConfig()
    if output.effort is not None:
        options["reasoning_effort"] = EFFORTS.get(output.effort, output.effort)
    wanted = output.format or sent.output_format
    if wanted is not None:
        named = {"name": "answer", "schema": wanted.json_schema, "strict": True}
        options["response_format"] = {"type": "json_schema", "json_schema": named}
    if sent.service_tier is not None:
        options["service_tier"] = TIERS[sent.service_tier]
    if options and len(json.dumps(options)) > OPTIONS_CHARS:
        raise Invalid(f"All options together have more than {OPTIONS_CHARS} characters.")
    return options


def _tool(tool: Tool) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name, "parameters": tool.input_schema}
    if tool.description is not None:
        function["description"] = tool.description
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


def _choice(choice: ToolChoice) -> Iterator[tuple[str, Any]]:
    """Pairs of options."""
    if (choice.type == "tool") != (choice.name is not None):
        _refuse("tool_choice.name", "a name is for the type tool, which needs one")
    if choice.type == "tool":
        yield "tool_choice", {"type": "function", "function": {"name": choice.name}}
    else:
        yield "tool_choice", {"any": "required"}.get(choice.type, choice.type)
    if choice.disable_parallel_tool_use is not None:
        yield "parallel_tool_calls", not choice.disable_parallel_tool_use


# --- what changes nothing ------------------------------------------------------------------------


def _ignored(sent: Messages) -> set[str]:
    blocks: list[Any] = [*(sent.system or []), *(sent.tools or [])]
    for message in sent.messages:
        blocks += message.content
        for block in message.content:
            blocks += (block.content or []) if isinstance(block, ResultBlock) else []
    found: set[str] = set()
    for one in (sent, *blocks):
        if getattr(one, "cache_control", None) is not None:
            found.add("cache_control")
        if isinstance(one, ThinkingBlock | RedactedBlock):
            found.add(one.type)
        if isinstance(one, ResultBlock) and one.is_error:
            found.add("is_error")
        if isinstance(one, Tool) and one.eager_input_streaming:
            found.add("eager_input_streaming")
    return found
