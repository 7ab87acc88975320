"""A run as the events of AG-UI. Pure, but for what tears a connection.

The number of each event is its SSE id (`shared/numbering.py`), so TanStack's client comes back with
`Last-Event-ID` and gets what follows. Other clients ignore it.

A client that shows some of the answer already (HttpAgent, which runs again after its connection
broke) is given all messages in a snapshot, in which its last part is open, and then the rest. An
open call is left out of the snapshot and comes anew, because its arguments would be appended.

What only 1.0 knows is sent to clients that name a protocol version; others would fail on it.
"""

import socket
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from json.encoder import encode_basestring_ascii
from typing import Any, ClassVar, Final

from flask import Request, Response, request

from shared import numbering, sse
from shared.body import Body
from shared.errors import Unavailable
from shared.lifecycle import Status
from shared.numbering import Event, Slot
from shared.parts import PartKind, is_text
from shared.store.messages import Message
from web import requests
from web.dialects import ag_ui_messages
from web.following.face import BURST_BYTES, Face, Then, Written, stretch_at
from web.following.message_topic import MessageTopic

PROTOCOL: Final = "1.0"


@dataclass(frozen=True)
class About:
    """What the events of a run say besides its text."""

    answer: str
    conversation: str
    thread: str
    run: str
    parent_run: str | None = None
    #: the client speaks 1.0
    is_modern: bool = False
    #: the client runs its tools when an event of its own says so (TanStack)
    runs_tools: bool = False
    #: the client has the beginning as a message, and drops it when a text begins (TanStack, when it
    #: opens a conversation); so one begins at once, or thoughts before the text would be dropped
    rebuilds: bool = False


@dataclass(frozen=True)
class AgUiFace(Face[MessageTopic, int]):
    """The events of AG-UI. A place is the number of the last one that was written."""

    about: About
    #: a new answer, of which nobody can have seen anything
    fresh: bool = field(default=False, compare=False)
    #: the messages that the client is to show above this answer, if it shows some of it already
    shown: Sequence[Mapping[str, Any]] | None = field(default=None, compare=False)

    start: ClassVar[int] = numbering.NOTHING  # type: ignore[misc]  # the same for all

    @property
    def frames_key(self) -> Hashable:
        """Without the messages that its reader shows: they may have megabytes."""
        return type(self), self.about

    def position(self, request: Request) -> int:
        """Last-Event-ID, which is a number of ours; anything else means the beginning."""
        seen = requests.position(request.headers.get("Last-Event-ID", "").strip())
        return self.start if self.fresh or seen is None or seen == requests.END else seen

    def refusal(self, error: Exception) -> Response | None:
        """Of a run that was just asked for its beginning, and a torn body: the question is
        committed, and the client may come back. Otherwise as everywhere."""
        if not (self.fresh and isinstance(error, Unavailable)):
            return None
        return self.torn(self._frame(Slot.RUN, self._started()))

    @classmethod
    def torn(cls, frames: bytes) -> Response:
        """A response that is cut after these frames."""
        body = _torn(frames, request.environ.get("gunicorn.socket"))
        return Response(body, content_type=cls.content_type, headers=dict(cls.headers))

    def open(self, source: MessageTopic, place: int) -> tuple[bytes, int]:
        """A snapshot for a client that shows some of this answer, whose last part opens again."""
        if self.shown is None or place != self.start:
            return b"", place
        body = source.body
        last = next(
            (n for n in reversed(range(len(body.parts))) if not body.parts[n].is_empty), None
        )
        begun = self._frame(Slot.RUN, self._started())
        if not body.length:
            return begun + self._snapshot(body, 0), Slot.RUNNING
        last = body.piece(body.length - 1, 1).part  # one after it may be open and empty
        part, base = body.parts[last], numbering.STEP * last
        if part.kind == PartKind.TOOL_CALL:  # arguments would be appended: the call comes anew
            place = max(int(Slot.RUNNING), part.start + base - 1)
            return begun + self._snapshot(body, last), place
        opened = [self._event(body, Event(Slot.RUNNING, slot, last)) for slot in numbering.OPENS]
        frames = begun + self._snapshot(body, last + 1) + b"".join(opened)
        return frames, part.end + base + Slot.TEXT

    def write(self, source: MessageTopic, place: int) -> Written[int]:
        """Events after `place`, and the end after the last of them."""
        body, ended = source.body, source.end is not None
        written: list[bytes] = []
        size = 0
        for event in numbering.events(body, place, ended=ended, cut=stretch_at):
            written.append(frame := self._event(body, event))
            size += len(frame)
            place = event.number
            if size >= BURST_BYTES:
                return b"".join(written), place, Then.MORE
        frames = b"".join(written)
        if source.end is None:
            return frames, place, Then.WAIT
        number = numbering.end_number(body)
        if place < number:
            return frames + source.end_frame(self), number, Then.ENDED
        # It was cut after the end, and drops every event whose number it has seen.
        return self._end(source.end, place + 1), place + 1, Then.ENDED

    def end(self, message: Message) -> bytes:
        """RUN_FINISHED or RUN_ERROR."""
        return self._end(message, numbering.end_number(message.body))

    def _end(self, message: Message, number: int) -> bytes:
        used = _usage(message)
        more = {"usage": [used]} if used else {}
        if message.status == Status.ERROR:
            told = {"message": message.error_message or "", "code": message.error_code or "error"}
            return self._frame(number, sse.to_json({"type": "RUN_ERROR", **told, **more}))
        finished = {"type": "RUN_FINISHED", "threadId": self.about.thread, "runId": self.about.run}
        if message.status == Status.CANCELLED:
            stopped: dict[str, Any] = {"result": {"status": "cancelled"}}
            if self.about.is_modern:
                stopped = {"outcome": {"type": "cancelled"}}
            return self._frame(number, sse.to_json({**finished, **stopped, **more}))
        return self._frame(number, sse.to_json({**finished, **more}))

    def cut(self, milliseconds: int) -> None:
        """Tear: HttpAgent takes a clean end for success."""

    def lag(self, source: MessageTopic, place: int) -> int:
        """Code points that were not written."""
        return source.body.length - numbering.position_at(source.body, place)

    def _started(self) -> str:
        about = self.about
        started: dict[str, Any] = {
            "type": "RUN_STARTED",
            "threadId": about.thread,
            "runId": about.run,
            "metadata": {"outlive": {"message": about.answer, "conversation": about.conversation}},
        }
        if about.is_modern:
            started["protocolVersion"] = PROTOCOL
        if about.parent_run is not None:
            started["parentRunId"] = about.parent_run
        return sse.to_json(started)

    def _snapshot(self, body: Body, parts: int) -> bytes:
        written = ag_ui_messages.of_answer(self.about.answer, body, parts)
        shown = {"type": "MESSAGES_SNAPSHOT", "messages": [*(self.shown or ()), *written]}
        return self._frame(Slot.RUNNING, sse.to_json(shown))

    def _event(self, body: Body, event: Event) -> bytes:
        """An event; nothing for one that this dialect has no name for."""
        if event.slot == Slot.RUN:
            return self._frame(event.number, self._started())
        if event.slot == Slot.RUNNING:
            named = encode_basestring_ascii(self.about.answer)
            begun = Event(event.number, Slot.OPEN_INNER, 0)
            return self._said(begun, _TEXT, f'"messageId":{named}') if self.about.rebuilds else b""
        part = body.parts[event.part]
        if is_text(part.kind):
            named = encode_basestring_ascii(
                ag_ui_messages.text_id(self.about.answer, body, event.part)
            )
            return self._said(event, _TEXT, f'"messageId":{named}')
        if part.kind == PartKind.REASONING:
            named = encode_basestring_ascii(
                ag_ui_messages.thought_id(self.about.answer, event.part)
            )
            return self._said(event, _REASONING, f'"messageId":{named}')
        if part.kind == PartKind.TOOL_CALL:
            return self._called(body, event)
        return b""

    def _said(self, event: Event, names: Mapping[Slot, str], named: str) -> bytes:
        name = names.get(event.slot)
        if name is None:
            return b""
        # By hand, as in the native face: most are frames of one token.
        more = _ROLES.get(name, "")
        if event.delta is not None:
            more = f',"delta":{encode_basestring_ascii(event.delta.text)}'
        return self._frame(event.number, f'{{"type":"{name}",{named}{more}}}')

    def _called(self, body: Body, event: Event) -> bytes:
        """An event of a call."""
        part = body.parts[event.part]
        called = ag_ui_messages.call_id(body, event.part)
        if event.slot == Slot.OPEN_INNER:
            begun = {
                "type": "TOOL_CALL_START",
                "toolCallId": called,
                "toolCallName": ag_ui_messages.call_name(part),
                "parentMessageId": ag_ui_messages.text_id(self.about.answer, body, event.part),
            }
            return self._frame(event.number, sse.to_json(begun))
        if event.slot == Slot.CLOSE_INNER:
            found = ag_ui_messages.call_input(part) if self.about.runs_tools else None
            if found is None:
                return b""
            name = ag_ui_messages.call_name(part)
            value = {"toolCallId": called, "toolName": name, "input": found}
            data = {"type": "CUSTOM", "name": "tool-input-available", "value": value}
            return self._frame(event.number, sse.to_json(data))
        return self._said(event, _CALL, f'"toolCallId":{encode_basestring_ascii(called)}')

    def _frame(self, number: int, data: str) -> bytes:
        # The id stands before its data, as TanStack's client wants it.
        return f"id: {number}\ndata: {data}\n\n".encode("ascii")


@dataclass(frozen=True)
class LinesFace(AgUiFace):
    """The same as lines of JSON, for `fetchHttpStream`."""

    content_type: ClassVar[str] = "application/x-ndjson"
    heartbeat: ClassVar[bytes] = b"\n"  # type: ignore[misc]  # the same for all

    def _frame(self, number: int, data: str) -> bytes:
        return f'{{"id":"{number}","chunk":{data}}}\n'.encode("ascii")


_TEXT: Final[Mapping[Slot, str]] = {
    Slot.OPEN_INNER: "TEXT_MESSAGE_START",
    Slot.TEXT: "TEXT_MESSAGE_CONTENT",
    Slot.CLOSE_TEXT: "TEXT_MESSAGE_END",
}
_REASONING: Final[Mapping[Slot, str]] = {
    Slot.OPEN: "REASONING_START",
    Slot.OPEN_INNER: "REASONING_MESSAGE_START",
    Slot.TEXT: "REASONING_MESSAGE_CONTENT",
    Slot.CLOSE_TEXT: "REASONING_MESSAGE_END",
    Slot.CLOSE: "REASONING_END",
}
_CALL: Final[Mapping[Slot, str]] = {
    Slot.TEXT: "TOOL_CALL_ARGS",
    Slot.CLOSE_TEXT: "TOOL_CALL_END",
}
#: What some events have besides.
_ROLES: Final[Mapping[str, str]] = {
    "TEXT_MESSAGE_START": ',"role":"assistant"',
    "REASONING_MESSAGE_START": ',"role":"reasoning"',
}


def _usage(message: Message) -> dict[str, Any] | None:
    """What the provider reported."""
    found = message.usage or {}
    if found.get("source") != "reported":
        return None
    counts = {
        "inputTokens": found.get("prompt_tokens", found.get("input_tokens")),
        "outputTokens": found.get("completion_tokens", found.get("output_tokens")),
        "totalTokens": found.get("total_tokens"),
    }
    counts = {name: count for name, count in counts.items() if isinstance(count, int)}
    return {"model": message.model or "", **counts} if counts else None


def _torn(frames: bytes, connection: socket.socket | None) -> Iterator[bytes]:
    """A body that is cut after these frames."""
    yield frames
    if connection is not None:
        connection.shutdown(socket.SHUT_RDWR)
