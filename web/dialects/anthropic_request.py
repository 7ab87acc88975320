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
images, documents, and the results of tools, which come first. Each call has its result before
anybody says something else, as Anthropic wants it, too; what a user says in a message of its own
after results belongs to them, as in every face. An assistant's blocks become text and
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
from web.dialects.anthropic_shapes import (
    AddressOfImage,
    AskedBlock,
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
from web.questions import (
    CONTENT_CHARS,
    Document,
    FilePart,
    ImageAddress,
    ImagePart,
    Part,
    TextPart,
    ToolResultPart,
    written,
)
from web.schemas import SYSTEM_CHARS

#: Between texts that are joined: as `worker.provider.prompt` joins turns.
SEPARATOR: Final = "\n\n"
#: Their names for a tier of service -> OpenAI's.
TIERS: Final = {"auto": "auto", "standard_only": "default"}


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
    """What this user's request asks for. Raises Invalid, with `param`."""
    conversation = _Conversation(user_id, sent.messages)
    system = SEPARATOR.join(filter(None, [_text(sent.system or []), *conversation.instructions]))
    if len(system) > SYSTEM_CHARS:
        _refuse("system", f"instructions have at most {SYSTEM_CHARS} characters")
    return Question(
        conversation.turns,
        system or None,
        _options(sent),
        bool(sent.stream),
        sorted(_ignored(sent)),
    )


def _text(blocks: Sequence[TextBlock]) -> str:
    return SEPARATOR.join(block.text for block in blocks if block.text)


def _refuse(param: str, why: str) -> NoReturn:
    raise Invalid(f"{param}: {why}.", param=param)


# --- turns ---------------------------------------------------------------------------------------


class _Conversation:
    """The turns, and the instructions before them, of a list of messages."""

    def __init__(
        self, user_id: uuid.UUID, messages: Sequence[UserMessage | AssistantMessage | SystemMessage]
    ) -> None:
        self._user_id = user_id
        self.turns: list[Turn] = []
        self.instructions: list[str] = []
        #: calls of the last answer that have no result yet, and results that have no turn yet
        self._open: list[str] = []
        self._results: list[ToolResultPart] = []
        for number, message in enumerate(messages):
            self._add(number, message)
        last = len(messages) - 1
        self._end_results(last)
        if not self.turns or self.turns[-1].role != "user":
            _refuse(f"messages.{last}.role", "the last message must be the user's, as it is asked")
        if not self.turns[-1].body.length:
            _refuse(f"messages.{last}.content", "the question is empty")

    def _add(self, number: int, message: UserMessage | AssistantMessage | SystemMessage) -> None:
        match message:
            case UserMessage():
                self._ask(number, message.content)
            case AssistantMessage():
                self._end_results(number)
                self.turns.append(Turn("assistant", _answer(message)))
                self._open = [one.id for one in message.content if isinstance(one, CallBlock)]
            case SystemMessage() if not self.turns:
                self.instructions.append(_text(message.content))
            case SystemMessage():
                _refuse(f"messages.{number}.role", "instructions come before all other messages")

    def _ask(self, number: int, blocks: Sequence[AskedBlock]) -> None:
        for place, block in enumerate(blocks):
            if isinstance(block, ResultBlock):
                self._take_result(f"messages.{number}.content.{place}", block)
        parts = [_part(one) for one in blocks if not isinstance(one, ResultBlock) and _says(one)]
        if parts or not self._results:
            self._end_turn(number, parts)

    def _take_result(self, place: str, block: ResultBlock) -> None:
        if block.tool_use_id not in self._open:
            _refuse(f"{place}.tool_use_id", "no call of the message before has this id")
        self._open.remove(block.tool_use_id)
        text = _text(block.content or [])
        if len(text) > CONTENT_CHARS:
            _refuse(f"{place}.content", f"a result has at most {CONTENT_CHARS} characters")
        self._results.append(ToolResultPart(tool_call_id=block.tool_use_id, content=text))

    def _end_turn(self, number: int, parts: Sequence[Part]) -> None:
        if self._open:
            _refuse(f"messages.{number}", f"the call {self._open[0]} needs its tool_result first")
        try:
            content = written(self._user_id, "", parts, self._results)
        except Invalid as error:
            param = f"messages.{number}.content"
            raise Invalid(f"{param}: {error.message}", error.code, param=param) from None
        self._results = []
        self.turns.append(Turn("user", content.body, content.files))

    def _end_results(self, number: int) -> None:
        if self._open or self._results:
            self._end_turn(number, ())


def _says(block: AskedBlock) -> bool:
    return not isinstance(block, TextBlock) or bool(block.text)


def _part(block: TextBlock | ImageBlock | DocumentBlock) -> Part:
    """A block in OpenAI's form."""
    match block:
        case TextBlock(text=text):
            return TextPart(type="text", text=text)
        case ImageBlock(source=Base64Image() as image):
            url = f"data:{image.media_type};base64,{image.data}"
            return _image(url)
        case ImageBlock(source=AddressOfImage(url=url)):
            return _image(url)
        case DocumentBlock():
            return FilePart(type="file", file=_document(block))
    raise AssertionError(block)


def _image(url: str) -> ImagePart:
    return ImagePart(type="image_url", image_url=ImageAddress(url=url))


def _document(block: DocumentBlock) -> Document:
    match block.source:
        case Base64Document(data=data):
            address = f"data:application/pdf;base64,{data}"
            return Document(file_data=address, filename=block.title or "document.pdf")
        case TextDocument(data=text):
            data = base64.b64encode(text.encode()).decode()
            address = f"data:text/plain;base64,{data}"
            return Document(file_data=address, filename=block.title or "document.txt")
        case DocumentId(file_id=file_id):
            return Document(file_id=file_id)


def _answer(message: AssistantMessage) -> Body:
    body = Body()
    for block in message.content:
        match block:
            case TextBlock(text=text):
                body.write(PartKind.TEXT, text, fresh=True)
            case CallBlock():
                called = {"id": block.id, "name": block.name}
                arguments = json.dumps(block.input, ensure_ascii=False)
                body.write(PartKind.TOOL_CALL, arguments, called, fresh=True)
    return body


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
        options["reasoning_effort"] = output.effort
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
