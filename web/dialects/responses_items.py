"""The input of OpenAI's Responses as turns of a conversation. Pure.

A list of items becomes turns: calls and texts of the assistant that follow one another are one
turn, and so are the results of calls and the message after them. Texts of the system or a developer
are instructions, and come before all other items. Three things are left out knowingly: reasoning
items (thoughts are not sent to a provider, as nowhere in this service), the ids and statuses of
items that are sent back, and the `phase` of a message.

A *reference* to an item names a piece of an answer that is here: it is looked up by `resolve`.
"""

import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal, NoReturn, TypeVar

from pydantic import Field, ValidationError, model_validator

from shared.body import Body, Part
from shared.errors import Invalid
from shared.parts import PartKind, is_text
from shared.store.threads import Turn
from shared.text import normalise
from shared.tool_calls import calls_of
from web import questions
from web.json_types import RequestBody, Text
from web.mistakes import sentence
from web.questions import CONTENT_CHARS, Id

#: Items of one input, and parts of one of them.
ITEMS_MAX: Final = 2_000
PARTS_MAX: Final = 64
#: Between texts that are joined: as `worker.provider.prompt` joins turns.
SEPARATOR: Final = "\n\n"

Content = Annotated[Text, Field(max_length=CONTENT_CHARS)]
Nothing = Annotated[list[Any], Field(default_factory=list, max_length=0)]
Anything = Annotated[list[Any], Field(default_factory=list)]

#: Finds what references name: ids of items -> parts of answers. Those it does not know are left
#: out.
Resolve = Callable[[Sequence[str]], Mapping[str, Part]]

Shape = TypeVar("Shape", bound=RequestBody)


class Sent(RequestBody):
    """A piece of a request. Fields that are null say nothing."""

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, sent: Any) -> Any:
        if not isinstance(sent, dict):
            return sent
        return {name: value for name, value in sent.items() if value is not None}


def refuse(param: str, why: str, code: str = "unsupported_parameter") -> NoReturn:
    raise Invalid(f"{param}: {why}.", param=param, openai_code=code)


def validated(shape: type[Shape], sent: Any, param: str) -> Shape:
    try:
        return shape.model_validate(sent)
    except ValidationError as error:
        # Where several types were tried, the deepest place is that of the one that was meant.
        mistakes = error.errors(include_url=False, include_input=False)
        first = max(mistakes, key=lambda one: len(one["loc"]))
        place = "".join(map(_step, first["loc"]))
        code = "unknown_parameter" if first["type"] == "extra_forbidden" else "invalid"
        refuse(f"{param}{place}", sentence(first), code)


#: Steps of pydantic's places that are no fields: which of several types was tried.
_TRIED: Final = frozenset(("str", "input_text", "input_image", "input_file", "output_text"))


def _step(step: int | str) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    named = step not in _TRIED and re.fullmatch("[a-z_]+", step)
    return f".{step[:200]}" if named else ""


# --- items ----------------------------------------------------------------------------------------


class InputText(Sent):
    """Text of a question."""

    type: Literal["input_text"]
    text: Content


class InputImage(Sent):
    """An image: an https address or a data URL."""

    type: Literal["input_image"]
    image_url: Annotated[Text, Field(min_length=1)]
    detail: Literal["auto", "low", "high"] | None = None


class InputFile(Sent):
    """A file: its data, or the provider's id of it."""

    type: Literal["input_file"]
    file_id: Id | None = None
    file_data: Annotated[Text, Field(min_length=1)] | None = None
    filename: Id | None = None


class OutputText(Sent):
    """Text of an answer that is sent back."""

    type: Literal["output_text"]
    text: Content
    annotations: Nothing
    logprobs: Nothing


class Refusal(Sent):
    """A refusal that is sent back: text of an answer like any other."""

    type: Literal["refusal"]
    refusal: Content


Asked = Annotated[InputText | InputImage | InputFile, Field(discriminator="type")]
Answered = Annotated[InputText | OutputText | Refusal, Field(discriminator="type")]


class _Item(Sent):
    # of items that are sent back
    id: Text | None = None
    status: Literal["in_progress", "completed", "incomplete"] | None = None


class Question(_Item):
    """What a user says."""

    type: Literal["message"] = "message"
    role: Literal["user"]
    content: Content | Annotated[list[Asked], Field(max_length=PARTS_MAX)]


class Instruction(_Item):
    """What a developer says."""

    type: Literal["message"] = "message"
    role: Literal["system", "developer"]
    content: Content | Annotated[list[InputText], Field(max_length=PARTS_MAX)]


class Answer(_Item):
    """What an assistant said."""

    type: Literal["message"] = "message"
    role: Literal["assistant"]
    content: Content | Annotated[list[Answered], Field(max_length=PARTS_MAX)]
    phase: Text | None = None


class Call(_Item):
    """A call of a function that a model made."""

    type: Literal["function_call"]
    call_id: Id
    name: Id
    arguments: Content = ""


class Result(_Item):
    """What a call returned."""

    type: Literal["function_call_output"]
    call_id: Id
    output: Content | Annotated[list[InputText], Field(max_length=PARTS_MAX)]


class Reasoning(_Item):
    """Thoughts that are sent back."""

    type: Literal["reasoning"]
    summary: Anything
    content: Anything
    encrypted_content: Any = None


class Reference(Sent):
    """Names an item of an answer that is here."""

    type: Literal["item_reference"]
    id: Text


Item = Question | Instruction | Answer | Call | Result | Reasoning | Reference
_BY_ROLE: Final[Mapping[Any, type[Item]]] = {
    "user": Question,
    "assistant": Answer,
    "system": Instruction,
    "developer": Instruction,
}
_BY_TYPE: Final[Mapping[Any, type[Item]]] = {
    "function_call": Call,
    "function_call_output": Result,
    "reasoning": Reasoning,
    "item_reference": Reference,
}

# --- input ----------------------------------------------------------------------------------------


def parsed(sent: Any) -> list[Item]:
    if isinstance(sent, str):
        return [Question(role="user", content=normalise(sent))]
    if sent is None:
        refuse("input", "it is required", "missing_required_parameter")
    if not isinstance(sent, list):
        refuse("input", "it must be a string or a list of items", "invalid_type")
    if len(sent) > ITEMS_MAX:
        refuse("input", f"it has more than {ITEMS_MAX} items", "invalid")
    return [_item(number, one) for number, one in enumerate(sent)]


def _item(number: int, sent: Any) -> Item:
    param = f"input[{number}]"
    if not isinstance(sent, dict):
        refuse(param, "an item is an object", "invalid_type")
    kind = sent.get("type")
    if kind in (None, "message"):
        shape = _BY_ROLE.get(sent.get("role"))
        if shape is None:
            refuse(f"{param}.role", "it must be user, assistant, system or developer", "invalid")
    else:
        shape = _BY_TYPE.get(kind) if isinstance(kind, str) else None
        if shape is None:
            refuse(f"{param}.type", "items of this type are not passed on")
    return validated(shape, sent, param)


@dataclass(slots=True)
class _Draft:
    """A turn that is put together."""

    role: Literal["user", "assistant"]
    number: int
    results: list[questions.ToolResultPart] = field(default_factory=list)
    parts: list[questions.Part] = field(default_factory=list)
    body: Body = field(default_factory=Body)


def turns_of(
    items: Sequence[Item], user_id: uuid.UUID, resolve: Resolve, *, below: bool
) -> tuple[list[str], list[Turn]]:
    """The instructions, and the turns. `below`: they follow an answer that is here."""
    found = resolve([item.id for item in items if isinstance(item, Reference)])
    instructions: list[str] = []
    drafts: list[_Draft] = []
    for number, item in enumerate(items):
        if not isinstance(item, Instruction):
            _add(drafts, number, item, found)
        elif drafts:
            refuse(f"input[{number}].role", "instructions come before all other items here")
        else:
            instructions += [text for text in _texts(item.content) if text]
    drafts = [draft for draft in drafts if draft.results or draft.parts or draft.body.parts]
    turns = [_turn(draft, user_id) for draft in drafts]
    _check(drafts, turns, below=below)
    return instructions, turns


def _add(drafts: list[_Draft], number: int, item: Item, found: Mapping[str, Part]) -> None:
    match item:
        case Question():
            _user(drafts, number).parts = _parts(item.content)
        case Result():
            content = SEPARATOR.join(_texts(item.output))
            result = questions.ToolResultPart(tool_call_id=item.call_id, content=content)
            _user(drafts, number).results.append(result)
        case Answer():
            for text in _texts(item.content):
                _assistant(drafts, number).body.write(PartKind.TEXT, text, fresh=True)
        case Call():
            meta = {"id": item.call_id, "name": item.name}
            body = _assistant(drafts, number).body
            body.write(PartKind.TOOL_CALL, item.arguments or "{}", meta, fresh=True)
        case Reference():
            if item.id not in found:
                refuse(f"input[{number}].id", "there is no such item here", "invalid")
            part = found[item.id]
            if is_text(part.kind) or part.kind == PartKind.TOOL_CALL:
                body = _assistant(drafts, number).body
                body.write(part.kind, part.text, part.meta, fresh=True)


def _assistant(drafts: list[_Draft], number: int) -> _Draft:
    """The turn of the assistant that goes on."""
    if not drafts or drafts[-1].role != "assistant":
        drafts.append(_Draft("assistant", number))
    return drafts[-1]


def _user(drafts: list[_Draft], number: int) -> _Draft:
    """The turn of the user that goes on: a message belongs to the results right before it."""
    if not drafts or drafts[-1].role != "user" or drafts[-1].parts:
        drafts.append(_Draft("user", number))
    return drafts[-1]


def _turn(draft: _Draft, user_id: uuid.UUID) -> Turn:
    if draft.role == "assistant":
        return Turn("assistant", draft.body)
    try:
        content = questions.written(user_id, "", draft.parts, draft.results)
    except Invalid as error:
        raise Invalid(error.message, error.code, param=f"input[{draft.number}]") from None
    return Turn("user", content.body, content.files)


def _check(drafts: Sequence[_Draft], turns: Sequence[Turn], *, below: bool) -> None:
    """Refuse what no provider would take: nothing to answer, and calls without their results."""
    if not turns or turns[-1].role != "user" or not turns[-1].body.parts:
        refuse("input", "it must end with a message of the user or results of tools", "invalid")
    called: list[str] = []
    for place, (draft, turn) in enumerate(zip(drafts, turns, strict=True)):
        results = sorted(one.tool_call_id for one in draft.results)
        if results != called and not (below and place == 0):
            refuse(
                f"input[{draft.number}].call_id",
                "there must be one result for each call right before it",
                "invalid",
            )
        called = sorted(call.id for call in calls_of(turn.body))


def _parts(content: str | list[Any]) -> list[questions.Part]:
    """The content of a question in the form of a chat completion. Empty texts are left out."""
    if isinstance(content, str):
        content = [InputText(type="input_text", text=content)]
    return [found for part in content for found in _part(part)]


def _part(part: InputText | InputImage | InputFile) -> Iterator[questions.Part]:
    if isinstance(part, InputText):
        if part.text:
            yield questions.TextPart(type="text", text=part.text)
    elif isinstance(part, InputImage):
        image = questions.ImageAddress(url=part.image_url, detail=part.detail)
        yield questions.ImagePart(type="image_url", image_url=image)
    else:
        document = questions.Document(
            file_id=part.file_id, file_data=part.file_data, filename=part.filename
        )
        yield questions.FilePart(type="file", file=document)


def _texts(content: str | list[Any]) -> list[str]:
    if isinstance(content, str):
        return [content]
    return [part.refusal if isinstance(part, Refusal) else part.text for part in content]
