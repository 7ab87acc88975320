"""AG-UI: for `HttpAgent`, and for TanStack's client, which also comes back to a run.

A client sends its whole history with a `runId` and reads the run as events. Underneath is an
ordinary run: its conversation is the one that `threadId` names, its place there is found by what
was said, it outlives its client, and every other face shows it.

**The number of each event is its SSE id** (`shared/numbering.py`), so TanStack's client comes back
with `Last-Event-ID` and gets what follows. Other clients ignore it.

**One run for one `runId`.** It is the key of the request (`agui:<runId>`), so TanStack's reconnect,
which is the same POST again, joins the run. HttpAgent knows no reconnect: it runs again, with a new
id and with what it has of the answer. Then the newest answer to the same question is joined, if it
is open or complete, and the client is given all messages in a snapshot, and then the rest.

**A cut** tears the connection: HttpAgent takes a clean end for success.

**What only 1.0 knows** is sent to clients that name a protocol version, others would fail on it.
"""

import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from json.encoder import encode_basestring_ascii
from typing import Any, ClassVar, Final, TypeVar

import gevent
from flask import Blueprint, Request, Response, request

from shared import numbering, sse
from shared.body import Body
from shared.errors import Invalid, NotFound, Unavailable
from shared.lifecycle import OPEN, TERMINAL, Status
from shared.numbering import Event, Slot
from shared.parts import PartKind, is_text
from shared.store import branches, conversations, files, messages, stopping, threads
from shared.store.messages import Message
from shared.store.threads import History
from web import ag_ui_messages, ag_ui_request, paging, requests, responses, schemas
from web.ag_ui_input import RunAgentInput, RunToStop
from web.ag_ui_request import Stored
from web.asking import InThread
from web.auth import current_user, principal
from web.context import context
from web.following.face import BURST_BYTES, Face, Then, Written, stretch_at
from web.following.message_topic import MessageTopic, snapshot
from web.streams import message_response
from web.wake_ups import wake_message, wake_sidebars

blueprint = Blueprint("ag_ui", __name__, url_prefix="/ag-ui")

PROTOCOL: Final = "1.0"
#: What every key of this dialect begins with.
KEY: Final = "agui:"
#: Messages in one page of a conversation.
PAGE_MAX: Final = 200
#: Seconds for which a client that comes back waits for what is away for a moment: it takes any
#: refusal for the end.
HOLD_SECONDS: Final = 25.0
HOLD_STEP: Final = 0.5

Found = TypeVar("Found")

# --- running -------------------------------------------------------------------------------------


@blueprint.post("")
def run() -> Response:
    """The run as events: a new one, or the one that the client comes back to."""
    sent = requests.json_body(RunAgentInput)
    named = request.headers.get("X-Run-Id")
    if named is not None and named != sent.run_id:
        raise Invalid("X-Run-Id names another run than runId in the body.")
    user, db = current_user(), context().db
    stored = Stored(user, files.load_own(db, user, ag_ui_request.file_ids(sent)))
    asked_for = ag_ui_request.question(sent, stored)
    history = History(
        turns=asked_for.turns,
        system=asked_for.system,
        name=sent.thread_id,
        joins=True,
        joins_ended=_joined(asked_for.partial),
    )
    asked = _patiently(
        lambda: context().asker.ask(
            InThread(history),
            user_id=user,
            model=asked_for.model,
            options=asked_for.options,
            key=KEY + sent.run_id,
            request_hash=ag_ui_request.same(sent.thread_id, asked_for),
            key_id=principal().key_id,
        )
    )
    answer = asked.answer
    about = About(
        answer=str(answer.id),
        conversation=str(answer.conversation_id),
        thread=sent.thread_id,
        run=sent.run_id,
        parent_run=sent.parent_run_id,
        is_modern=sent.protocol_version is not None,
        runs_tools=named is not None,
    )
    shown = ag_ui_request.shown(sent, asked_for.shown) if asked_for.partial else None
    face = _face(about, fresh=asked.fresh, shown=shown)
    return _named(_patiently(lambda: message_response(answer.id, face)), about)


def _joined(partial: bool) -> frozenset[Status]:
    """How an answer may have ended that is not asked for again: the client has seen some of it."""
    if request.headers.get("Last-Event-ID"):
        return TERMINAL
    return frozenset({Status.DONE}) if partial else frozenset()


def _patiently(found: Callable[[], Found]) -> Found:
    """What `found` returns. For a client that comes back it is tried again while Postgres is away.

    Raises what it raises.
    """
    deadline = time.monotonic() + HOLD_SECONDS
    while True:
        try:
            return found()
        except Unavailable:
            if not request.headers.get("Last-Event-ID") or time.monotonic() > deadline:
                raise
        gevent.sleep(HOLD_STEP)


def _named(response: Response, about: "About") -> Response:
    response.headers["Outlive-Message-Id"] = about.answer
    response.headers["Outlive-Conversation-Id"] = about.conversation
    return response


# --- coming back ---------------------------------------------------------------------------------


@blueprint.get("")
def read() -> Response:
    """With `?runId=`, a run from its beginning; with `?threadId=`, the messages of a conversation
    and the run that is open there."""
    run_id, thread_id = request.args.get("runId"), request.args.get("threadId")
    if run_id is not None:
        answer = _patiently(lambda: _answer_of(run_id))
        about = About(
            answer=str(answer.id),
            conversation=str(answer.conversation_id),
            thread=thread_id or str(answer.conversation_id),
            run=run_id,
            runs_tools=True,
            rebuilds=True,
        )
        face = _face(about)
        return _named(_patiently(lambda: message_response(answer.id, face)), about)
    if thread_id is not None:
        return responses.json_reply(_conversation(thread_id))
    raise Invalid("This call needs runId or threadId.")


def _answer_of(run_id: str) -> Message:
    """The answer of a run: one that was asked for by this name, or whose own id it is."""
    db, user = context().db, current_user()
    found = messages.id_of_key(db, user, KEY + run_id)
    if found is None:
        try:
            found = uuid.UUID(run_id)
        except ValueError:
            raise NotFound("There is no such run.") from None
    message = messages.load_without_body(db, found, user)
    if message.user_id != user or message.role != "assistant":
        raise NotFound("There is no such run.")
    return message


def _conversation(thread_id: str) -> dict[str, Any]:
    """The messages of the newest branch as TanStack's client keeps them, or with `?format=ag-ui` as
    HttpAgent does; none if there is no such conversation, because clients ask before the first
    question."""
    db, user = context().db, current_user()
    conversation = threads.id_of_name(db, user, thread_id)
    limit = paging.limit(PAGE_MAX, PAGE_MAX) if "limit" in request.args else None
    before = requests.identifier("before")
    try:
        conversations.load(db, user, conversation)
        page = branches.turns(db, user, conversation, before=before, limit=limit)
    except NotFound:
        return {"messages": [], "activeRun": None}
    turns = [turn.message for turn in page.turns]
    found: dict[str, Any] = {"messages": [], "activeRun": None}
    if turns and before is None and turns[-1].status in OPEN:
        turns[-1] = snapshot(db, context().livelog, turns[-1].id, user)
        found["activeRun"] = {"runId": _run_of(turns[-1].id)}
    written = {"ag-ui": ag_ui_messages.in_order}.get(_format(), ag_ui_messages.of_branch)
    found["messages"] = written(turns)
    if page.above:
        found["page"] = {"truncated": True, "cursor": str(turns[0].id)}
    return found


def _run_of(answer: uuid.UUID) -> str:
    """The name of the run that writes an answer: its own id, unless a client of AG-UI asked."""
    key = messages.key_of(context().db, current_user(), answer) or ""
    return key.removeprefix(KEY) if key.startswith(KEY) else str(answer)


# --- stopping ------------------------------------------------------------------------------------


@blueprint.post("/stop")
def stop() -> Response:
    """202 with the answer of the run; changes nothing if that has ended."""
    answer = _answer_of(requests.json_body(RunToStop).run_id)
    user = current_user()
    stopping.stop(context().db, answer.id, user)
    wake_message(context().livelog, answer.id)
    wake_sidebars(context().livelog, user)
    found = snapshot(context().db, context().livelog, answer.id, user)
    return responses.json_reply(schemas.message_json(found), 202)


# --- the run as events ---------------------------------------------------------------------------


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

    def position(self, request: Request) -> int:
        """Last-Event-ID, which is a number of ours; anything else means the beginning."""
        seen = requests.position(request.headers.get("Last-Event-ID", "").strip())
        return self.start if self.fresh or seen is None or seen == requests.END else seen

    def refusal(self, error: Exception) -> Response | None:
        """A run that began, and a torn body: the question is committed, and the client may come
        back. Otherwise as everywhere."""
        if not isinstance(error, Unavailable):
            return None
        began = self._frame(Slot.RUN, self._started())
        frames = _torn(began, request.environ.get("gunicorn.socket"))
        return Response(frames, content_type=self.content_type, headers=dict(self.headers))

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


def _face(
    about: About, *, fresh: bool = False, shown: Sequence[Mapping[str, Any]] | None = None
) -> AgUiFace:
    """SSE, or lines if the address says `?format=ndjson`."""
    kind = LinesFace if _format() == "ndjson" else AgUiFace
    return kind(about, fresh=fresh, shown=shown)


def _format() -> str:
    """What `?format=` asks for. Raises Invalid."""
    found = request.args.get("format", "")
    if found not in ("", "ag-ui", "ndjson"):
        raise Invalid("format is ag-ui (messages of a conversation) or ndjson (lines of a run).")
    return found


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
