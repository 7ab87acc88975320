"""A message as the chunks of the AI SDK's UI message stream, each with its number. Pure.

`useChat` is given these chunks as events (`web/faces/ui_stream.py`), and as a JSON stream with an
exact cursor (`web/faces/durable_streams.py`). Only chunks that versions 6 and 7 know are written:
an unknown one fails the whole stream there.

The number of a chunk follows from the body (`shared/numbering.py`), so a reader who names the last
number it has seen is given exactly the rest, by whichever process, at any later time. Deltas may be
cut differently for each reader; the number at the end of each counts.

    0, 1   start, start-step
    2      text-start, reasoning-start, tool-input-start
    4      text-delta, reasoning-delta, tool-input-delta
    5      text-end, reasoning-end, tool-input-available or -error
    end    before its number finish-step, and message-metadata of an answer that failed;
           finish, or error

Two rules of the client (the real one was asked) are behind this order: a delta whose start did not
come fails the stream, and so does the output of an unknown call; and after `error` nothing is read.

A part that is open without text has no position, and if the answer ends it is left out. So nothing
is written of it before its first character. Kinds of parts that the dialect has no chunk for (those
of questions) are left out, too.
"""

import uuid
from collections.abc import Iterator
from json.encoder import encode_basestring_ascii
from typing import Any, Final, NamedTuple

from shared import numbering, sse
from shared.body import Body
from shared.lifecycle import Status
from shared.numbering import Event, Slot
from shared.parts import PartKind
from shared.store.messages import Message
from shared.tool_calls import value_of
from web.following.face import stretch_at

#: The provider's finish reason -> the AI SDK's.
_REASONS: Final = {
    "stop": "stop",
    "length": "length",
    "content_filter": "content-filter",
    "tool_calls": "tool-calls",
    "function_call": "tool-calls",
}
#: Kind of part -> the chunk of its text.
_TEXTS: Final = {PartKind.TEXT: "text", PartKind.REASONING: "reasoning"}
#: What is said of a call that cannot be run.
NO_JSON: Final = "The arguments of this call are no JSON."
#: What an answer that failed says, if its row has no sentence.
_FAILED: Final = "The answer failed."


class Chunk(NamedTuple):
    """A chunk as one line of ASCII JSON."""

    number: int
    json: str


class _Words(NamedTuple):
    """The chunks of a part: `delta` goes on with the text. Empty where there is none."""

    begin: str = ""
    delta: str = ""
    end: str = ""


_NO_WORDS: Final = _Words()
#: The chunks that a message begins with.
_RUN: Final = {
    Slot.RUN: '{{"type":"start","messageId":"{}"}}',
    Slot.RUNNING: '{{"type":"start-step"}}',
}


def after(
    number: int, message_id: uuid.UUID, body: Body, end: Message | None = None
) -> Iterator[Chunk]:
    """The chunks after `number` of a message with this body, as far as it goes now.

    `end`: its row, once it has ended. A delta has at most about FRAME_BYTES. A reader beyond the
    end of a message that has ended is given the last chunk. The body must not grow while the chunks
    are taken.
    """
    words = _NO_WORDS, -1
    for event in numbering.events(body, number, ended=end is not None, cut=stretch_at):
        if event.slot in _RUN:
            yield Chunk(event.number, _RUN[event.slot].format(message_id))
            continue
        if words[1] != event.part:
            words = _words(body, event.part), event.part
        data = _chunk(event, words[0], body)
        if data:
            yield Chunk(event.number, data)
    if end is not None:
        yield from _ending(number, numbering.end_number(body), end)


def _chunk(event: Event, words: _Words, body: Body) -> str:
    """Empty if the dialect says nothing."""
    if event.delta is not None:
        return words.delta and f"{words.delta}{encode_basestring_ascii(event.delta.text)}}}"
    if event.slot is Slot.OPEN:
        return words.begin
    if event.slot is Slot.CLOSE_TEXT:
        is_call = body.parts[event.part].kind == PartKind.TOOL_CALL
        return _input(body, event.part) if is_call else words.end
    return ""


def _words(body: Body, index: int) -> _Words:
    """Those of a part; of a call the end is made when it is known."""
    kind = body.parts[index].kind
    if kind == PartKind.TOOL_CALL:
        named, titled = _call(body, index)
        return _Words(
            f'{{"type":"tool-input-start",{titled}}}',
            f'{{"type":"tool-input-delta",{named},"inputTextDelta":',
        )
    if kind not in _TEXTS:
        return _NO_WORDS
    name = _TEXTS[PartKind(kind)]
    return _Words(
        f'{{"type":"{name}-start","id":"{index}"}}',
        f'{{"type":"{name}-delta","id":"{index}","delta":',
        f'{{"type":"{name}-end","id":"{index}"}}',
    )


def _call(body: Body, index: int) -> tuple[str, str]:
    """The fields that name a call: its id, and both the id and the function."""
    call, function = tool_call(body, index)
    named = f'"toolCallId":{encode_basestring_ascii(call)}'
    return named, f'{named},"toolName":{encode_basestring_ascii(function)}'


def tool_call(body: Body, index: int) -> tuple[str, str]:
    """The id and the function of a call that is a part; one without an id is named by its place."""
    meta = body.parts[index].meta or {}
    before = sum(part.kind == PartKind.TOOL_CALL for part in body.parts[:index])
    return str(meta.get("id") or f"call_{before}"), str(meta.get("name") or "")


def _input(body: Body, index: int) -> str:
    """A call whose arguments are all there; or they are no JSON, as when the answer was cut."""
    arguments, (_, titled) = body.parts[index].text, _call(body, index)
    try:
        found = sse.to_json(value_of(arguments))
    except ValueError:
        wrong = encode_basestring_ascii(NO_JSON)
        quoted = encode_basestring_ascii(arguments)
        return f'{{"type":"tool-input-error",{titled},"input":{quoted},"errorText":{wrong}}}'
    return f'{{"type":"tool-input-available",{titled},"input":{found}}}'


def _ending(number: int, last: int, end: Message) -> Iterator[Chunk]:
    metadata = sse.to_json({"outlive": metadata_of(end)})
    failed = end.status == Status.ERROR
    if failed and number < last - 2:
        yield Chunk(last - 2, f'{{"type":"message-metadata","messageMetadata":{metadata}}}')
    if number < last - 1:
        yield Chunk(last - 1, '{"type":"finish-step"}')
    if number == last:
        return
    if number > last:
        last = number + 1  # the reader was ahead of all that was kept
    if failed:
        text = encode_basestring_ascii(end.error_message or _FAILED)
        yield Chunk(last, f'{{"type":"error","errorText":{text}}}')
    else:
        finish = f'{{"type":"finish","finishReason":"{finish_reason(end)}"'
        yield Chunk(last, f'{finish},"messageMetadata":{metadata}}}')


def finish_reason(end: Message) -> str:
    """In a word that every version knows. One that was stopped has none of its own."""
    if end.status != Status.DONE:
        return "other"
    return _REASONS.get(end.finish_reason or "stop", "other")


def metadata_of(end: Message) -> dict[str, Any]:
    """How the answer ended, in our words, with the proof of its text."""
    found = {
        "status": end.status,
        "conversationId": str(end.conversation_id),
        "length": end.length,
        "sha256": end.sha256,
        "usage": end.usage,
        "error": {"code": end.error_code} if end.error_code else None,
    }
    return {name: value for name, value in found.items() if value is not None}
