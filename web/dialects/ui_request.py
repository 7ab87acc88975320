"""What `useChat` sends, as turns of a conversation: understood, or refused by name. Pure.

The AI SDK's client sends a chat's id and its messages, or (if its app says so) the last one alone.
A UI message of the assistant may be several of our messages: after a tool call the client adds the
result to the same message, and the next answer goes on in it as another *step*. So

    assistant: step-start, text, tool-add {input, output}, step-start, text

is an answer with a call, a question with its result, and an answer. A result that the last step has
is the question that is asked now.

Of an answer that comes back, only what was said counts: its text, its calls and their results.
What the AI SDK itself does not send to a model (thoughts, sources, data parts, metadata) is left
out here as well. Of a question nothing is left out: a part that cannot be passed on is refused.
"""

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, Literal, NamedTuple, NoReturn

from pydantic import ConfigDict, Field

from shared import media
from shared.body import Body
from shared.errors import Invalid
from shared.media import File, KnownFile
from shared.parts import PartKind
from shared.store.threads import Turn
from shared.text import normalise
from shared.tool_calls import ToolResult, write_result
from web import questions
from web.json_types import RequestBody, Text
from web.options import Options
from web.schemas import SYSTEM_CHARS

#: Messages of a chat, parts of one, and characters of a client's id.
MESSAGES: Final = 2_000
PARTS: Final = 512
ID_CHARS: Final = 255
#: Between instructions: as `worker.provider.prompt` joins turns.
SEPARATOR: Final = "\n\n"
#: What a file without a name is called.
UNNAMED: Final = "file"

#: No message has it.
_NONE: Final = uuid.UUID(int=0)

Id = Annotated[Text, Field(min_length=1, max_length=ID_CHARS)]


class UIMessage(RequestBody):
    """A message as the AI SDK keeps it; other fields, which an app may add, stay with the app."""

    model_config = ConfigDict(extra="ignore")

    id: Id
    role: Literal["system", "user", "assistant"]
    parts: Annotated[list[dict[str, Any]], Field(max_length=PARTS)]


class UIChat(Options):
    """POST /api/chat

    `messages`, or the last one alone as `message`. `id`: the chat's own name, any string. What an
    app adds to the body may be `model`, `system` and the options of a question.
    """

    id: Id | None = None
    messages: (
        Annotated[list[UIMessage], Field(min_length=1, max_length=MESSAGES, fail_fast=True)] | None
    ) = None
    message: UIMessage | None = None
    trigger: Literal["submit-message", "regenerate-message"] = "submit-message"
    message_id: Annotated[Id | None, Field(alias="messageId")] = None
    model: Annotated[Text, Field(min_length=1, max_length=200)] | None = None
    system: Annotated[Text, Field(max_length=SYSTEM_CHARS)] | None = None

    @property
    def regenerates(self) -> bool:
        """Whether another answer to the same question is wanted."""
        return self.trigger == "regenerate-message"

    @property
    def last(self) -> UIMessage:
        """The last message. Raises Invalid where there is none."""
        if (self.messages is None) == (self.message is None):
            raise Invalid("Send either messages or message.")
        return self.message or (self.messages or [])[-1]

    @property
    def answers(self) -> dict[str, Any]:
        """The options, for the provider."""
        return self.model_dump(
            include=set(Options.model_fields), exclude_unset=True, exclude_none=True, by_alias=True
        )


class UIStop(RequestBody):
    """POST /api/chat/{id}/stop: the answer, so that a late stop cannot hit a newer one."""

    message_id: Annotated[Id, Field(alias="messageId")]


@dataclass(frozen=True, slots=True)
class Said:
    """What was said: instructions, and turns, of which the last one is asked."""

    system: str | None
    turns: Sequence[Turn]


def file_ids(sent: UIChat) -> set[uuid.UUID]:
    """The ids of files that are stored here already and that messages refer to."""
    found = set()
    for message in [*(sent.messages or ()), *([sent.message] if sent.message else ())]:
        for part in message.parts:
            if (one := _stored_id(part)) is not None:
                found.add(one)
    return found


def answer_ids(sent: UIChat) -> set[uuid.UUID]:
    """The ids of answers of ours that the history names."""
    names = [one.id for one in sent.messages or () if one.role == "assistant"]
    return {found for name in names if (found := message_id(name)) is not None}


def message_id(name: str) -> uuid.UUID | None:
    """The id of a message of ours, if this is one."""
    try:
        return uuid.UUID(name)
    except ValueError:
        return None


def said(
    sent: UIChat,
    user_id: uuid.UUID,
    files: Mapping[uuid.UUID, KnownFile],
    stopped: Mapping[uuid.UUID, Body] | None = None,
) -> Said:
    """All of it, or of the last message alone. `files`: those of `file_ids` that there are.

    `stopped`: those of `answer_ids` that were stopped. The client closed its response when it
    asked for that, so the last characters that were written may have reached only us.

    Raises Invalid for what cannot be passed on, and where nothing is asked.
    """
    messages = [sent.last] if sent.message else sent.messages or []
    instructions = [sent.system] if sent.system else []
    reading = _Reading(user_id, files, stopped or {})
    for number, message in enumerate(messages):
        where = "message" if sent.message else f"messages[{number}]"
        if message.role == "system":
            if reading.turns:
                _refuse(f"{where}.role", "instructions come before all other messages here")
            instructions.append(_text_of(where, message))
        else:
            reading.read(where, message)
    last = "message" if sent.message else f"messages[{len(messages) - 1}]"
    reading.ask(last, sent.last)
    system = SEPARATOR.join(filter(None, instructions)) or None
    if system is not None and len(system) > SYSTEM_CHARS:
        _refuse("system", f"instructions have at most {SYSTEM_CHARS} characters")
    return Said(system, reading.turns)


class _Output(NamedTuple):
    """The result of a call, and how the client had it: as JSON, as an error, or as text."""

    result: ToolResult
    form: Literal["json", "error"] | None

    def write(self, body: Body) -> None:
        """Append it to a question; `dialects/ui_messages.py` reads how it was."""
        write_result(body, self.result, **({self.form: True} if self.form else {}))


@dataclass(slots=True)
class _Reading:
    """The turns of the messages so far."""

    user_id: uuid.UUID
    files: Mapping[uuid.UUID, KnownFile]
    stopped: Mapping[uuid.UUID, Body]
    turns: list[Turn] = field(default_factory=list)
    #: results of the step that was read last, which belong to the question below it
    results: list[_Output] = field(default_factory=list)
    #: calls of that step without a result
    open_calls: list[str] = field(default_factory=list)

    def read(self, where: str, message: UIMessage) -> None:
        if message.role == "user":
            self._question(where, message)
            return
        steps = list(_steps(message))
        for step in steps:
            self._flush()
            self._answer(where, step)
        there = self.stopped.get(message_id(message.id) or _NONE)
        if there is not None and len(steps) == 1 and _begins(self.turns[-1].body, there):
            self.turns[-1] = Turn("assistant", there)

    def ask(self, where: str, message: UIMessage) -> None:
        """The last turn has to be a question: what the user said, or results of tools."""
        if message.role == "user":
            if not self.turns[-1].body.length:
                _refuse(f"{where}.parts", "the question is empty")
            return
        if self.open_calls:
            _refuse(f"{where}.parts", f"the tool call {self.open_calls[0]} has no output yet")
        if not self.results:
            _refuse(
                f"{where}.role", "the last message must be the user's, or have outputs of tools"
            )
        self._flush()

    def _flush(self) -> None:
        """Results, as a question of their own."""
        if self.results:
            body = Body()
            for result in self.results:
                result.write(body)
            self.turns.append(Turn("user", body))
        self.results, self.open_calls = [], []

    def _question(self, where: str, message: UIMessage) -> None:
        body = Body()
        files: list[File] = []
        for result in self.results:
            result.write(body)
        for number, part in enumerate(message.parts):
            place = f"{where}.parts[{number}]"
            match part.get("type"):
                case "text":
                    if text := _string(place, part, "text"):
                        body.write(PartKind.TEXT, text, fresh=True)
                case "file":
                    files += self._file(place, part, body)
                case kind:
                    shown = kind if isinstance(kind, str) else "without a type"
                    _refuse(place, f"a part of a question is text or file, not {shown[:40]}")
        self.results, self.open_calls = [], []
        self.turns.append(Turn("user", body, files))

    def _file(self, place: str, part: Mapping[str, Any], body: Body) -> Sequence[File]:
        """Write a file to a question; what is stored with it."""
        kind, address = _string(place, part, "mediaType"), _string(place, part, "url")
        name = part.get("filename")
        name = normalise(name)[:ID_CHARS] if isinstance(name, str) and name else None
        found = _stored_id(part)
        if found is None:
            content = questions.written(self.user_id, "", [_media(place, kind, address, name)], ())
            for one in content.body.parts:
                body.write(one.kind, one.text, one.meta, fresh=True)
            return content.files
        if found not in self.files:
            _refuse(f"{place}.url", "there is no such file")
        file = self.files[found]
        meta = {} if file.type in questions.IMAGES else _meta_of(file.type, name)
        media.write_file(body, _kind_of(file.type), file, **meta)
        return [file]

    def _answer(self, where: str, step: Sequence[Mapping[str, Any]]) -> None:
        body = Body()
        for part in step:
            kind = part.get("type")
            if kind == "text":
                body.write(PartKind.TEXT, _string(where, part, "text"), fresh=True)
            elif isinstance(kind, str) and (kind.startswith("tool-") or kind == "dynamic-tool"):
                self._call(where, part, kind, body)
            elif kind == "file":
                _refuse(f"{where}.parts", "files of answers are not passed on")
        self.turns.append(Turn("assistant", body))

    def _call(self, where: str, part: Mapping[str, Any], kind: str, body: Body) -> None:
        state = part.get("state")
        if state == "input-streaming":
            return  # an answer that was stopped in the middle of it: nobody can have run it
        if state not in ("input-available", "output-available", "output-error"):
            _refuse(
                f"{where}.parts", f"a tool call in the state {str(state)[:40]} is not passed on"
            )
        if part.get("providerExecuted"):
            _refuse(f"{where}.parts", "calls that a provider has run are not passed on")
        call = _string(where, part, "toolCallId")
        name = kind.removeprefix("tool-") if kind != "dynamic-tool" else part.get("toolName")
        if not (call and isinstance(name, str) and name):
            _refuse(f"{where}.parts", "a tool call has a toolCallId and a name")
        arguments = part.get("input")
        if state == "output-error" and isinstance(arguments, str):
            written = arguments  # those that were no JSON, as they were
        else:
            written = _json(where, {} if arguments is None else arguments)
        body.write(
            PartKind.TOOL_CALL,
            normalise(written) or "{}",
            {"id": call, "name": normalise(name)},
            fresh=True,
        )
        if state == "input-available":
            self.open_calls.append(call[:40])
            return
        form: Literal["json", "error"] | None = None
        if state == "output-error":
            form, content = "error", _string(where, part, "errorText")
        elif isinstance(output := part.get("output"), str):
            content = normalise(output)
        else:
            form, content = "json", normalise(_json(where, output))
        self.results.append(_Output(ToolResult(call, content), form))


def _begins(shown: Body, there: Body) -> bool:
    """Whether what a client shows of a stopped answer is its beginning."""
    only_text = all(part.kind == PartKind.TEXT for part in shown.parts)
    return only_text and there.text.startswith(shown.text)


def _steps(message: UIMessage) -> Iterator[list[Mapping[str, Any]]]:
    """The parts of each step; of a message without any part, one step without any."""
    steps: list[list[Mapping[str, Any]]] = [[]]
    for part in message.parts:
        if part.get("type") == "step-start":
            steps.append([])
        else:
            steps[-1].append(part)
    yield from steps if steps[0] or len(steps) == 1 else steps[1:]


def _media(place: str, kind: str, address: str, name: str | None) -> questions.Part:
    """A file that comes with the message, as a part of a question."""
    if kind in questions.IMAGES or (kind.startswith("image/") and address.startswith("https:")):
        image = questions.ImageAddress(url=address)
        return questions.ImagePart(type="image_url", image_url=image)
    head, _, data = address.partition(",")
    for form, sound in questions.AUDIO.items():
        if kind == sound and head == f"data:{sound};base64":
            given = questions.AudioData.model_validate({"data": data, "format": form})
            return questions.AudioPart(type="input_audio", input_audio=given)
    if kind in questions.DOCUMENTS and address.startswith("data:"):
        document = questions.Document(file_data=address, filename=name or UNNAMED)
        return questions.FilePart(type="file", file=document)
    return _refuse(
        place,
        f"a file is an image ({', '.join(questions.IMAGES)}), or a data URL of"
        f" {', '.join((*questions.DOCUMENTS, *questions.AUDIO.values()))}",
    )


def _kind_of(media_type: str) -> PartKind:
    if media_type in questions.IMAGES:
        return PartKind.IMAGE
    return PartKind.AUDIO if media_type in questions.AUDIO.values() else PartKind.FILE


def _meta_of(media_type: str, name: str | None) -> dict[str, Any]:
    """What `questions` notes of such a file besides where it is."""
    for form, sound in questions.AUDIO.items():
        if media_type == sound:
            return {"format": form}
    return {"filename": name or UNNAMED}


def _stored_id(part: Mapping[str, Any]) -> uuid.UUID | None:
    address = part.get("url")
    if part.get("type") != "file" or not isinstance(address, str):
        return None
    if not address.startswith(media.ADDRESS):
        return None
    try:
        return uuid.UUID(address.removeprefix(media.ADDRESS))
    except ValueError:
        return None


def _text_of(where: str, message: UIMessage) -> str:
    """The text of instructions."""
    if any(part.get("type") != "text" for part in message.parts):
        _refuse(f"{where}.parts", "instructions are text")
    return SEPARATOR.join(filter(None, (_string(where, part, "text") for part in message.parts)))


def _string(where: str, part: Mapping[str, Any], name: str) -> str:
    found = part.get(name)
    if not isinstance(found, str):
        _refuse(f"{where}.{name}", "this must be a string")
    return normalise(found)


def _json(where: str, value: Any) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (ValueError, RecursionError):
        _refuse(f"{where}.parts", "the input or output of a tool is no JSON, or nested too deeply")


def _refuse(param: str, why: str) -> NoReturn:
    raise Invalid(f"{param}: {why}.", param=param)
