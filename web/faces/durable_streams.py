"""Durable Streams (protocol draft 1.0): a message as a stream that any HTTP client resumes.

`GET /streams/{message id}` is a JSON stream of the AI SDK's chunks, which gives `useChat` an exact
cursor; `/text` below it is a text stream (`durable_content.py`). Both are read in three ways:
what there is (catch-up), what comes next (long-poll), and events. Reading is all there is: workers
write, and every other method is a 405. Nothing of a message is thrown away before the whole message
is, so each of its offsets stays good.

**Caches.** How chunks are cut differs from one read to the next, and who may read is asked each
time. So nothing is stored by caches; the ETag saves a client that comes back the transfer.

**Pieces.** A client adopts an offset when the control event has come, and reads data without one
again. So data and control are written in one piece. That the stream is closed is said where there
is no data: when the npm client (0.2.7) reads text and one piece has data and closes the stream, it
may leave out that data, as it looks ahead by one piece.

**Cuts.** A client takes a torn body for fatal and a clean end for a reason to come back: the stream
is cut cleanly. But after three responses that took less than a second each the npm client ends
without an error. So a process that would cut the stream at once answers 503 instead, which makes
every client try again.
"""

import random
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, cast

from flask import Blueprint, Request, Response, request

from shared import sse
from shared.errors import Invalid, NotFound, OutliveError
from shared.numbering import NOTHING
from shared.store import messages
from web.auth import current_user
from web.context import context
from web.dialects import gateway, ui_chats, ui_messages
from web.dialects.durable_content import TEXT, Chunks, Content, Read
from web.dialects.ui_request import ID_CHARS
from web.errors import TooBusy
from web.following.face import BURST_BYTES, Face, Then, Written
from web.following.message_topic import MessageTopic
from web.following.streaming import Stream
from web.following.waiting import wait
from web.page.yielding import Slices
from web.streams import opened_message, response_of

blueprint = Blueprint("durable_streams", __name__, url_prefix="/streams")

#: Digits of an offset.
DIGITS: Final = 16
#: Bytes of a catch-up after which the client is to ask for the rest.
CATCH_UP_BYTES: Final = 1 << 20
#: Seconds of a cursor's interval, and when the first one began: 2024-10-09 UTC (the draft, 9.2).
CURSOR_SECONDS: Final = 20
CURSOR_EPOCH: Final = 1728432000
#: By how many intervals a cursor is advanced that the client has already, at most: an hour.
CURSOR_JITTER: Final = 180
#: Digits of a client's cursor that are read.
CURSOR_DIGITS: Final = 15
#: Stands for the offset `now`, until it is known.
NOW: Final = -2

#: The offset that a reader has reached, and whether it was told so.
Place = tuple[int, bool]


class Gone(OutliveError):
    """The stream was there, and its owner deleted it."""

    code = "gone"


# --- as events -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class StreamFace(Face[MessageTopic, Place]):
    """`data` events, each with a `control` event that names the offset after it."""

    content: Content
    #: names the time at which the response began, so that caches in between do not keep clients
    #: together for ever
    cursor: int

    content_type = "text/event-stream"
    start = (NOTHING, False)

    def position(self, request: Request) -> Place | None:  # noqa: ARG002
        """`?offset=`."""
        return offset_of_request(self.content), False

    def open(self, source: MessageTopic, place: Place) -> tuple[bytes, Place]:
        """Nothing; where `now` is, is known here."""
        offset, told = place
        return b"", (self.content.tail(source) if offset == NOW else offset, told)

    def write(self, source: MessageTopic, place: Place) -> Written[Place]:
        """What follows, and the offset after it; without anything new the offset alone, once."""
        found = self.content.read(source, place[0], BURST_BYTES)
        ended = found.all and source.end is not None
        then = Then.ENDED if ended else Then.WAIT if found.all else Then.MORE
        if not (found.items or ended) and place[1]:
            return b"", (found.offset, True), then
        frames = b""
        if found.items:
            frames = as_event("data", self.content.data(found.items))
            frames += self._control(found, ended=False)
        if ended or not found.items:
            frames += self._control(found, ended=ended)
        return frames, (found.offset, True), then

    def _control(self, found: Read, *, ended: bool) -> bytes:
        told: dict[str, str | bool] = {"streamNextOffset": encode_offset(found.offset)}
        if not ended:
            told["streamCursor"] = str(self.cursor)
        if found.all:
            told["upToDate"] = True
        if ended:
            told["streamClosed"] = True
        return as_event("control", sse.to_json(told))

    def cut(self, milliseconds: int) -> bytes:  # noqa: ARG002
        """A clean end, after which these clients come back at once."""
        return b""

    def fault(self) -> bytes:
        """The same. After three ends within seconds the client polls, and learns the status."""
        return b""


def as_event(name: str, data: str) -> bytes:
    """An event with any text as data. Its lines end as those of the format do: CR and CRLF become
    LF at the client."""
    lines = data.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    # Without a blank where none is needed: a client takes one off.
    written = "".join(f"data:{' ' if line[:1] == ' ' else ''}{line}\n" for line in lines)
    return f"event: {name}\n{written}\n".encode()


# --- requests ------------------------------------------------------------------------------------


def encode_offset(offset: int) -> str:
    """Digits, which rise as strings."""
    return f"{offset:0{DIGITS}}"


def offset_of_request(content: Content) -> int:
    """`?offset=` as a number; NOW for the end. Raises Invalid."""
    value = request.args.get("offset")
    if value is None or value == "-1":
        return content.start
    if value == "now":
        return NOW
    if not (value.isascii() and value.isdigit() and len(value) <= DIGITS):
        raise Invalid(code="invalid_offset")
    return int(value)


def cursor_of_request() -> int:
    """The current interval's number, or a larger one than the client's."""
    now = int(time.time() - CURSOR_EPOCH) // CURSOR_SECONDS
    sent = request.args.get("cursor", "")
    if not (sent.isascii() and sent.isdigit() and len(sent) <= CURSOR_DIGITS) or int(sent) < now:
        return now
    return int(sent) + random.randint(1, CURSOR_JITTER)  # noqa: S311


def read_response(
    message_id: uuid.UUID, content: Content, dialect: type[StreamFace] = StreamFace
) -> Response:
    """A read of a message, in the way that `?live=` names. Raises Invalid, NotFound, Gone."""
    live = request.args.get("live")
    if live not in (None, "long-poll", "sse"):
        raise Invalid("live must be long-poll or sse.", "invalid_offset")
    if live is not None and "offset" not in request.args:
        raise Invalid("A live read needs an offset.", "invalid_offset")
    offset = offset_of_request(content)
    face = dialect(content, cursor_of_request())
    try:
        stream = opened_message(message_id, face, (offset, False))
    except NotFound:
        if messages.is_deleted(context().db, message_id, current_user()):
            raise Gone from None
        raise
    if live == "sse" and request.method != "HEAD":
        if stream.is_due_to_be_cut:
            stream.close()
            raise TooBusy("This process is about to stop. Send the request again.")
        return response_of(stream)
    try:
        return _once(stream, face, offset, waits=live == "long-poll" and request.method != "HEAD")
    finally:
        stream.close()


def _once(stream: Stream, face: StreamFace, offset: int, *, waits: bool) -> Response:
    """A response that is no stream of events: what there is, or (`waits`) what comes next."""
    source, content = cast("MessageTopic", stream.source), face.content
    begin = content.tail(source) if offset == NOW else offset
    found = Read([], begin, all=True) if offset == NOW else None
    if waits:
        wait(stream, lambda: content.has_more(source, begin), stream.heartbeat, gateway.client())
        found = None
    response = Response(content_type=content.type)
    if request.method == "HEAD":
        found = Read([], content.tail(source), all=True)
    elif found is None:
        found, pieces = _read(source, content, begin)
        response.response = pieces
    else:
        response.response = content.joined(())
    ended = found.all and source.end is not None and not (waits and found.items)
    if waits and not found.items:
        response = Response(status=204, content_type=content.type)
    _describe(response, found, ended=ended)
    if waits and not ended:
        response.headers["Stream-Cursor"] = str(face.cursor)
    if not waits and offset != NOW:
        _tag(response, content, source.id, begin, found.offset, ended=ended)
    return response


def _read(source: MessageTopic, content: Content, offset: int) -> tuple[Read, Sequence[bytes]]:
    """What follows an offset, and the same as a body; other greenlets run meanwhile."""
    slices, size = Slices(), 0
    items: list[str] = []
    while True:
        found = content.read(source, offset, BURST_BYTES)
        items += found.items
        offset = found.offset
        size += sum(map(len, found.items))
        if found.all or size >= CATCH_UP_BYTES:
            break
        slices.pause()
    return Read(items, offset, all=found.all), content.joined(items)


def _describe(response: Response, found: Read, *, ended: bool) -> None:
    response.headers["Stream-Next-Offset"] = encode_offset(found.offset)
    response.headers["Cache-Control"] = "no-store"
    if found.all:
        response.headers["Stream-Up-To-Date"] = "true"
    if ended:
        response.headers["Stream-Closed"] = "true"


def _tag(
    response: Response, content: Content, message: uuid.UUID, begin: int, end: int, *, ended: bool
) -> None:
    """Its ETag; 304 to a client that has it. It is a weak one, as chunks may be cut differently."""
    kind = type(content).__name__.lower()
    response.set_etag(f"{message}:{kind}:{begin}:{end}{':closed' if ended else ''}", weak=True)
    if request.if_none_match.contains_weak(response.get_etag()[0] or ""):
        response.status_code = 304
        response.response = ()


# --- routes --------------------------------------------------------------------------------------


@blueprint.get("/<uuid:message_id>")
def read_chunks(message_id: uuid.UUID) -> Response:
    """The message as a JSON stream of the AI SDK's chunks.

    After outputs of tools an answer goes on in the message that has the calls. `?message=` is the
    client's id of that one; with `?steps=all` what it had before is written, too.
    """
    if request.args.get("steps") == "all":
        answer = messages.load_without_body(context().db, message_id, current_user())
        *before, _ = steps = ui_messages.steps_of(ui_chats.with_steps(answer))
        whole = tuple(ui_messages.chunks_before(before))
        return read_response(message_id, Chunks(str(steps[0].answer.id), whole))
    named = request.args.get("message")
    if named is not None and not 0 < len(named) <= ID_CHARS:
        raise Invalid(f"message must have 1 to {ID_CHARS} characters.")
    return read_response(message_id, Chunks(named))


@blueprint.get("/<uuid:message_id>/text")
def read_text(message_id: uuid.UUID) -> Response:
    """The message's text as a text stream."""
    return read_response(message_id, TEXT)
