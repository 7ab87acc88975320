"""What clients of AG-UI send (RunAgentInput): understood, passed on, or refused by name. Pure.

Nothing that counts for an answer is dropped in silence. Of the fields

    threadId        names the conversation
    runId           is the key of the request: the same run again is joined, and asked once
    messages        are the history; the question last
    tools           go to the provider as functions
    context         goes to the provider after the instructions: "description:", then the value
    forwardedProps  are options of the answer (`model`, `temperature` ...); others are refused
    data            is what TanStack's client repeats `forwardedProps` as
    state, resume   are refused, if there is something in them: answers here have no state, and
                    nothing here interrupts a run
    parentRunId     is given back; the place of a question follows from `messages`

Thoughts (`reasoning`) are not sent to a provider, as nowhere in this service, and `activity` is for
people. `metadata` and the `id` of a message are the client's own, and mean nothing here.

**The last messages.** A client that lost its connection runs again and sends what it has of the
answer after the question. That is no turn: the client wants the rest of that answer. So messages of
the assistant after the last question are `partial`, and say only that the client shows something.
"""

import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

from shared import media
from shared.body import Body, Part
from shared.errors import Invalid
from shared.media import File, KnownFile
from shared.parts import PartKind
from shared.store.threads import Turn
from shared.tool_calls import ToolResult, write_result
from web import questions
from web.dialects.ag_ui_input import (
    Activity,
    AssistantMessage,
    ContextItem,
    DeclaredTool,
    ForwardedProps,
    InputPart,
    Instructions,
    MediaPart,
    Message,
    RunAgentInput,
    TextContent,
    TextPart,
    Thought,
    ToolMessage,
    UserMessage,
)
from web.dialects.ag_ui_messages import call_input
from web.dialects.ag_ui_parts import file_id, own_metadata, question_part, refused
from web.options import FunctionTool, Tool
from web.schemas import SYSTEM_CHARS

#: Between texts of the instructions: as `worker.provider.prompt` joins turns.
SEPARATOR: Final = "\n\n"


class Asked(NamedTuple):
    """What a request asks for."""

    #: all that was said, the question last
    turns: Sequence[Turn]
    system: str | None
    model: str | None
    options: dict[str, Any]
    #: messages that the client shows, but those of the answer that it asks for
    shown: int
    #: it shows something of that answer
    partial: bool


class Stored(NamedTuple):
    """A user, and those of the user's files that a request names by our addresses."""

    user_id: uuid.UUID
    files: Mapping[uuid.UUID, KnownFile]


def file_ids(sent: RunAgentInput) -> list[uuid.UUID]:
    """The files that a request names by the address that this service gave them."""
    said = [one.content for one in sent.messages if isinstance(one, UserMessage)]
    parts = [part for content in said if not isinstance(content, str) for part in content]
    return [found for part in parts if (found := file_id(part)) is not None]


def question(sent: RunAgentInput, stored: Stored) -> Asked:
    """What a request of this user asks for. Raises Invalid, which names the field."""
    messages = sent.messages
    count = len(messages)
    while count and isinstance(messages[count - 1], AssistantMessage | Thought | Activity):
        count -= 1
    if not count or isinstance(messages[count - 1], Instructions):
        raise _invalid(
            len(messages) - 1, "there is no question: the last one is a user's or a tool's"
        )
    props = sent.forwarded_props or sent.data or ForwardedProps()
    options = props.passed()
    if sent.tools:
        options["tools"] = _tools(sent.tools)
    return Asked(
        turns=_turns(messages[:count], stored),
        system=_system(messages[:count], sent.context),
        model=props.model,
        options=options,
        shown=count,
        partial=count < len(messages),
    )


def same(thread_id: str, asked: Asked) -> str:
    """A hash of what a request asks for.

    It is the same when a client that has read the conversation runs the run again, with other ids
    of messages and with arguments of calls as it wrote them anew.
    """
    said = [
        (turn.role, [(part.kind, part.meta, _value(part)) for part in turn.body.parts])
        for turn in asked.turns
    ]
    fields = [thread_id, said, asked.system, asked.model, asked.options]
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


def _value(part: Part) -> Any:
    """A part's text; of a call its arguments as a value, if they are one."""
    found = call_input(part) if part.kind == PartKind.TOOL_CALL else None
    return part.text if found is None else found


def shown(sent: RunAgentInput, count: int) -> list[dict[str, Any]]:
    """The first messages as they came."""
    return [one.model_dump(by_alias=True, exclude_unset=True) for one in sent.messages[:count]]


def _tools(declared: Sequence[DeclaredTool]) -> list[dict[str, Any]]:
    """The tools as a provider gets them."""
    tools = [
        Tool(
            type="function",
            function=FunctionTool.model_validate(
                one.model_dump(exclude={"metadata"}, exclude_none=True)
            ),
        )
        for one in declared
    ]
    return [tool.model_dump(exclude_unset=True) for tool in tools]


def _system(messages: Sequence[Message], context: Sequence[ContextItem]) -> str | None:
    """Instructions and context."""
    said = [_text(one.content) for one in messages if isinstance(one, Instructions)]
    known = [f"{item.description}:\n{item.value}" for item in context]
    system = SEPARATOR.join(text for text in (*said, *known) if text) or None
    if system is not None and len(system) > SYSTEM_CHARS:
        raise Invalid(
            f"Instructions and context have at most {SYSTEM_CHARS} characters together.",
            "invalid_content",
        )
    return system


def _text(content: TextContent | None) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(part.text for part in content)


# --- turns ---------------------------------------------------------------------------------------


class _Turn(NamedTuple):
    """A turn while it is put together of messages."""

    role: Literal["user", "assistant"]
    body: Body
    files: list[File]
    #: it has results only, so what a person says next belongs to it
    results: bool


def _turns(messages: Sequence[Message], stored: Stored) -> list[Turn]:
    """The history as turns of ours: an answer may be several messages, and so may results."""
    turns: list[_Turn] = []
    for number, message in enumerate(messages):
        match message:
            case Instructions() if turns:
                raise _invalid(number, "instructions come before all other messages here")
            case UserMessage():
                said = _said(number, message, stored)
                if turns and turns[-1].results:
                    said = _joined(turns.pop(), said)
                turns.append(said)
            case AssistantMessage():
                if not turns or turns[-1].role != "assistant":
                    turns.append(_Turn("assistant", Body(), [], False))
                _write_answer(turns[-1].body, message)
            case ToolMessage():
                if not turns or not (turns[-1].role == "assistant" or turns[-1].results):
                    raise _invalid(number, "a result comes after the call that it belongs to")
                if not turns[-1].results:
                    turns.append(_Turn("user", Body(), [], True))
                write_result(turns[-1].body, _result(message))
    return [Turn(turn.role, turn.body, turn.files) for turn in turns]


def _joined(results: _Turn, said: _Turn) -> _Turn:
    _append(results.body, said.body)
    return _Turn("user", results.body, said.files, False)


def _said(number: int, message: UserMessage, stored: Stored) -> _Turn:
    """A user's message."""
    content = message.content
    if isinstance(content, str):
        content = [TextPart(type="text", text=content)]
    said = _Turn("user", Body(), [], False)
    for place, part in enumerate(content):
        where = f"messages.{number}.content.{place}"
        stored_as = file_id(part)
        if isinstance(part, TextPart):
            said.body.write(PartKind.TEXT, part.text, fresh=True)
        elif stored_as is not None:
            _write_stored(said, where, part, stored.files.get(stored_as))
        else:
            found = questions.written(stored.user_id, "", [question_part(where, part)], [])
            _append(said.body, found.body)
            said.files.extend(found.files)
    if not said.body.parts:
        raise _invalid(number, "it is empty")
    return said


def _append(body: Body, more: Body) -> None:
    for part in more.parts:
        body.write(part.kind, part.text, part.meta, fresh=True)


def _write_stored(said: _Turn, where: str, part: InputPart, file: KnownFile | None) -> None:
    """Append a file that this service gave the address of."""
    assert isinstance(part, MediaPart)
    kinds = {"image": PartKind.IMAGE, "audio": PartKind.AUDIO, "document": PartKind.FILE}
    if file is None or part.type not in kinds:
        raise refused(where, "there is no such file")
    named = own_metadata(part.metadata)
    media.write_file(said.body, kinds[part.type], file, **named)
    said.files.append(file)


def _write_answer(body: Body, message: AssistantMessage) -> None:
    """Append a message of an answer."""
    body.write(PartKind.TEXT, _text(message.content), fresh=True)
    for call in message.tool_calls or ():
        meta = {"id": call.id, "name": call.function.name}
        body.write(PartKind.TOOL_CALL, call.function.arguments or "{}", meta, fresh=True)


def _result(message: ToolMessage) -> ToolResult:
    content, error = _text(message.content), message.error or ""
    if error and error not in content:
        content = SEPARATOR.join(text for text in (error, content) if text)
    return ToolResult(message.tool_call_id, content)


def _invalid(number: int, why: str) -> Invalid:
    return refused(f"messages.{number}", why)
