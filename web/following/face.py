"""The Face protocol: what a dialect is, apart from what carries it.

A *dialect* is a wire format that some client expects: our own events, blocks of HTML, the chunks of
a chat completion, the parts of a UI message stream. A *face* says how one dialect is written, and
nothing else. Sources, streams and connections know no dialect; a face knows no socket, no greenlet
and no other reader. A new dialect is one file in `web/faces`, its rows in `web/routes.py` and its
tests.

A reader is a **place**: a value that says what was written to it so far. Only its face knows what a
place means. It is hashable, and it is the whole state of a reader (one is still to come):

    our own events      the code points that were written
    numbered events     the number of the last event (shared/numbering.py)
    counted frames      (position, frames so far)
    blocks              (position, the rendering that was seen)

So `write` is a pure function of a source and a place. That gives three things at once: a slow or
returning reader costs a value and no queue; frames are written once for all readers at a place
(`Source.frames`); and a reader who comes back is served by whichever process it reaches. Keep it
pure: no clock, no random number, no counter in the face. Faces that compare equal share frames; a
face that carries something of its own (an id that every frame repeats) is a frozen dataclass.

The life of a response:

    position(request)      where this reader stands; None: it has seen the end
    nothing()              the answer if so, or where there is nothing to follow
    refusal(error)         the answer if it cannot begin
    open(source, place)    what a response begins with
    write(source, place)   what follows `place`, again and again, until that is the end
    heartbeat              after a silence
    cut(milliseconds)      the run goes on, but this response does not (see below)
    fault()                this process failed while it wrote

**How a response is cut** depends on what its client takes for success: many take a clean end for
one, some give up after a torn body. `cut` returns what is written before a clean end, b"" for a
clean end and nothing before it, or None for a response that is torn: the connection is closed
without the end of the body, so that the client sees an error.
"""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping
from enum import Enum
from typing import TYPE_CHECKING, ClassVar, Final, Generic, Protocol, TypeVar

from flask import Request, Response

from shared import numbering, sse
from shared.body import Body, Delta
from shared.store.messages import Message

if TYPE_CHECKING:
    from web.following.message_topic import MessageTopic

#: Bytes of text in one frame, as it is written: with what surrounds it a frame has at most 16 KiB,
#: so that a connection of any length gets a reader on, and a slow one soon shows something.
FRAME_BYTES: Final = 8 << 10
#: Bytes of frames after which one `write` is enough. A reader far from the end costs no second
#: body, and an answer of thousands of parts is encoded in many turns of the loop.
BURST_BYTES: Final = 64 << 10

Place = TypeVar("Place")
SourceT = TypeVar("SourceT")


class Then(Enum):
    """What comes after some frames."""

    #: more, which is there already
    MORE = "more"
    #: nothing until the source changes
    WAIT = "wait"
    #: nothing: these frames were the end
    ENDED = "ended"


#: Frames, the place after them, and what comes then.
Written = tuple[bytes, Place, Then]


class Face(ABC, Generic[SourceT, Place]):
    """One dialect: how a response to one reader of a Source begins, goes on and ends."""

    #: Headers of a response that streams.
    content_type: ClassVar[str] = "text/event-stream; charset=utf-8"
    headers: Mapping[str, str] = {
        "Cache-Control": "no-cache, no-transform",
        "X-Accel-Buffering": "no",
    }
    #: Written after a silence. A comment is safe in every client that was tried; an event is not.
    heartbeat: bytes = sse.HEARTBEAT
    #: The place of a reader who has seen nothing.
    start: Place

    @property
    def frames_key(self) -> Hashable:
        """What its frames are kept by: equal for faces that write the same. It has to be small,
        because it may be kept when the last reader has left."""
        return self

    @abstractmethod
    def position(self, request: Request) -> Place | None:
        """The place that a request says its reader has reached; None: it has seen the end.

        None from a reader of a message that has not ended means the beginning. Raises Invalid.
        """

    def nothing(self) -> Response:
        """The answer where nothing follows: the reader has seen the end, or nothing is active."""
        return Response(status=204)

    def refusal(self, error: Exception) -> Response | None:  # noqa: ARG002 - for the dialects
        """The answer to a request whose response could not begin, in this dialect.

        None: as everywhere else, a problem document. `error` is an OutliveError, an HTTPException,
        or a bug, which was logged.
        """
        return None

    def open(self, source: SourceT, place: Place) -> tuple[bytes, Place]:  # noqa: ARG002
        """What a response to a reader at `place` begins with, and the place after it.

        It may hold random numbers, and what depends on how much there is now (a snapshot). What
        `write` returns is sent together with it.
        """
        return b"", place

    @abstractmethod
    def write(self, source: SourceT, place: Place) -> Written[Place]:
        """What follows `place`, up to about BURST_BYTES of whole frames. Pure, and never waits.

        With nothing to write, (b"", place, WAIT). The frames of an end come with ENDED. They may
        come together with the last text.
        """

    @abstractmethod
    def cut(self, milliseconds: int) -> bytes | None:
        """How a response is cut while the run goes on.

        Frames that may name the `milliseconds` after which the client may come back; b"" where the
        dialect has no frame for it; None to tear the response.
        """

    def fault(self) -> bytes | None:
        """What a response says that has begun, when this process fails to go on with it (a bug).

        Frames before a clean end, or None to tear the response.
        """
        return None

    def lag(self, source: SourceT, place: Place) -> int:  # noqa: ARG002
        """Code points that are there and were not written to a reader at `place`."""
        return 0


class EndsMessage(Protocol):
    """A face that writes how a message ended."""

    @property
    def frames_key(self) -> Hashable:
        """As in Face."""

    def end(self, message: Message) -> bytes:
        """The frames that follow the whole text of a message that has ended, however it did."""


class MessageFace(Face["MessageTopic", int]):
    """A dialect that writes a body as it grows. A place is a position in the body.

    It says how a stretch and an end are written. A dialect whose place is another number than the
    position overrides `write`, too.
    """

    start = 0

    @abstractmethod
    def stretch(self, body: Body, delta: Delta) -> bytes:
        """The text of `delta`, a stretch of one part of `body`, as frames. Pure.

        Its positions are `delta.start` and `delta.end`; the part is `body.parts[delta.part]`.
        A part begins where `delta.start == part.start`, and then those before it have ended. The
        last part ends with the message, in `end`. Text of a large part comes in several stretches
        of at most FRAME_BYTES.
        """

    @abstractmethod
    def end(self, message: Message) -> bytes:
        """The frames that follow the whole text of a message that has ended, however it did."""

    def write(self, source: "MessageTopic", place: int) -> Written[int]:
        """Stretches after `place`, and the end after the last of them."""
        body = source.body
        written: list[bytes] = []
        length, size = body.length, 0
        while place < length and size < BURST_BYTES:
            delta = stretch_at(body, place)
            frame = self.stretch(body, delta)
            written.append(frame)
            size += len(frame)
            place += len(delta.text)
        frames = b"".join(written)
        if place < length:
            return frames, place, Then.MORE
        if source.end is None:
            return frames, place, Then.WAIT
        return frames + source.end_frame(self), place, Then.ENDED

    def lag(self, source: "MessageTopic", place: int) -> int:
        """Code points after `place`."""
        return max(0, source.body.length - place)


class NumberedFace(Face["MessageTopic", int]):
    """A dialect whose events have numbers, as `shared/numbering.py` says. A place is the number of
    the last event that was written.

    It says how an event and an end are written. Where a client says that it has seen number `n`,
    `position` returns `n`: it gets all events after it, and nothing if `n` is that of the end.
    """

    start = numbering.NOTHING

    @abstractmethod
    def event(self, body: Body, event: numbering.Event) -> bytes:
        """The frames of an event of `body`; b"" for one that the dialect has no name for. Pure.

        The part is `body.parts[event.part]` (of RUN and RUNNING: there may be none yet). Text of
        a large part comes in several events of at most FRAME_BYTES.
        """

    @abstractmethod
    def finish(self, message: Message, number: int) -> bytes:
        """The frames of the end, however it ended. It is the end that has the number."""

    def end(self, message: Message) -> bytes:
        """The frames of the end under the number that it nearly always has."""
        return self.finish(message, numbering.end_number(message.body))

    def write(self, source: "MessageTopic", place: int) -> Written[int]:
        """Events after `place`, and the end after the last of them."""
        body, end = source.body, source.end
        written: list[bytes] = []
        size = 0
        for event in numbering.events(body, place, ended=end is not None, cut=stretch_at):
            frame = self.event(body, event)
            written.append(frame)
            size += len(frame)
            place = event.number
            if size >= BURST_BYTES:
                return b"".join(written), place, Then.MORE
        if end is None:
            return b"".join(written), place, Then.WAIT
        last = numbering.end_number(body)
        if place < last:
            written.append(source.end_frame(self))
        elif place > last:
            # The reader was ahead of all that was kept. The end says how much that is.
            last = place + 1
            written.append(self.finish(end, last))
        return b"".join(written), last, Then.ENDED

    def lag(self, source: "MessageTopic", place: int) -> int:
        """Code points after `place`."""
        return source.body.length - numbering.position_at(source.body, place)


def stretch_at(body: Body, position: int) -> Delta:
    """What one frame carries from `position` on, which lies before the end of the body.

    Every frame has the meta of its part. A frame whose meta alone is large has as much text as
    meta, so that the meta at most doubles what is sent.
    """
    delta = body.piece(position, FRAME_BYTES)
    if len(delta.text) * sse.WIDEST <= FRAME_BYTES:  # nearly always: what a provider just sent
        return delta
    room = FRAME_BYTES
    if delta.meta and (size := len(sse.to_json(dict(delta.meta)))) > room:
        room = size
        delta = body.piece(position, room)
    count = sse.fitting(delta.text, room)
    return delta if count == len(delta.text) else delta._replace(text=delta.text[:count])
