"""Streams: what is written to each reader, and when.

A stream is one response: a face, a source, and the place that its reader has reached. It holds no
greenlet, no queue and no socket. Its connection (`connection`) asks it for `next` frames,
writes them, and has it `sleep` until there is a reason to ask again.

What it guarantees: a response ends with its face's end, or it is cut as its face cuts, and the
client comes back. It never ends in another way and is never silent for longer than a heartbeat.
It is cut when its source is closed (the process drains, or nothing keeps the source true), when its
time is up (no later than its credential expires; after a minute for what another user shares), and
when it is evicted: its user or its credential is not good any more.

No wake-up can be lost. `next` notes the version of the source that it has seen; `sleep` waits only
if the source still has that version. So what changes while frames are on their way to a slow reader
is written as soon as they are.

Clients that are cut come back at random moments within a span, since many may be cut at once. The
span is short for those that reach a draining process, which still listens for a second: they were
spread out when they were cut before.
"""

import random
import time
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Any, Final, TypeVar

import gevent

from shared.errors import TooMany
from web import metrics
from web.auth.principal import Principal
from web.auth.revocations import Revocations, Revoked
from web.following.face import Face, Then
from web.following.notifier import Wake
from web.following.source import Source

#: Milliseconds after which a client may come back, as a span from which one is drawn: when the
#: connection breaks, when its source was closed, and when its time was up.
RETRY_BROKEN: Final = (1000, 5000)
RETRY_CLOSED: Final = (200, 1500)
RETRY_TIME_UP: Final = (50, 250)
#: Seconds after which a reader of another user's message is cut, and asked again whether it may
#: still be read: a share may be revoked and no notification come.
SHARED_SECONDS: Final = 60.0
#: How many times the streams of one user one link may have: any number of people read by it.
LINK_STREAMS: Final = 10

#: Who reads (a user, or a link) and which conversation of another user.
ShareReader = tuple[uuid.UUID, uuid.UUID]

Place = TypeVar("Place")
SourceT = TypeVar("SourceT", bound=Source[Any])


def jittered(span: tuple[int, int]) -> int:
    """Random milliseconds within a span, so that clients do not come back all at once."""
    return random.randint(*span)  # noqa: S311


class Readers:
    """Opens the streams of this process, counts them, and closes those that may be read no more."""

    def __init__(
        self,
        draining: Callable[[], bool],
        *,
        heartbeat: float,
        max_seconds: float,
        max_streams: int,
        max_address_streams: int = 0,
        revocations: Revocations | None = None,
    ) -> None:
        """`draining`: whether the process stops. `heartbeat` and `max_seconds`, the life of a
        stream, are seconds; `max_streams` and `max_address_streams` are the caps of a user and of
        an address in this process, 0 for none. `revocations`: where credentials can be revoked."""
        self._draining = draining
        self._heartbeat = heartbeat
        self._max_seconds = max_seconds
        self._max_streams = max_streams
        self._max_address_streams = max_address_streams
        self._revocations = revocations
        self._open: dict[Stream, Principal] = {}
        #: those whose streams wait for their source
        self._opening: dict[object, Principal] = {}
        #: streams, open or about to be, by user and by address
        self._count: Counter[uuid.UUID | str] = Counter()

    def open(
        self,
        principal: Principal,
        face: Face[SourceT, Place],
        place: Place,
        source: AbstractContextManager[SourceT],
        address: str = "",
    ) -> "Stream":
        """A stream from `place` on, which keeps its source open and must be closed.

        Raises TooMany, and what opening the source raises (NotFound, StorageDown): so all that can
        go wrong does so before the response begins.
        """
        key, since = object(), time.monotonic()
        self._opening[key] = principal
        try:
            with ExitStack() as stack:
                self._take_place(stack, principal.user_id, self._most(principal))
                self._take_place(stack, address, self._max_address_streams)
                opened = stack.enter_context(source)
                draining = self._draining()
                stream = Stream(
                    face,
                    opened,
                    place,
                    heartbeat=self._heartbeat,
                    deadline=time.monotonic() + self._seconds(principal, opened),
                    retry=RETRY_TIME_UP if draining else RETRY_CLOSED,
                )
                if (
                    draining
                    or key not in self._opening
                    or self._is_revoked(principal)
                    or self._has_lost_its_owner(principal, opened, since)
                ):
                    stream.evict()
                self._enter(stream, principal)
                stack.callback(self._leave, stream)
                stream.on_close = stack.pop_all().close
                return stream
        finally:
            self._opening.pop(key, None)

    def _take_place(self, stack: ExitStack, whose: uuid.UUID | str, most: int) -> None:
        """Count a stream of a user or an address, until `stack` is left."""
        if most and self._count[whose] >= most:
            raise TooMany(code="too_many_streams", limit=most)
        self._count[whose] += 1
        stack.callback(self._free_place, whose)

    def _free_place(self, whose: uuid.UUID | str) -> None:
        self._count[whose] -= 1
        if not self._count[whose]:
            del self._count[whose]

    def _most(self, principal: Principal) -> int:
        """The cap of this principal's streams."""
        is_link = principal.credential.kind == "share"
        return self._max_streams * LINK_STREAMS if is_link else self._max_streams

    def _seconds(self, principal: Principal, source: Source[Any]) -> float:
        """How long a stream of this principal may take."""
        most = self._max_seconds
        if source.owner_id not in (None, principal.user_id):
            most = min(most, SHARED_SECONDS)
        if principal.expires_at is None:
            return most
        return min(most, principal.expires_at - time.time())

    def _is_revoked(self, principal: Principal) -> bool:
        """Whether it was revoked after its request was let in."""
        return self._revocations is not None and self._revocations.has_revoked(principal)

    def _has_lost_its_owner(self, principal: Principal, source: Source[Any], since: float) -> bool:
        """Whether what another user shares may have been lost while it was opened."""
        owner = source.owner_id
        if self._revocations is None or owner in (None, principal.user_id):
            return False
        return self._revocations.has_revoked_since(since, owner)

    def _enter(self, stream: "Stream", principal: Principal) -> None:
        self._open[stream] = principal
        metrics.READERS.inc()

    def _leave(self, stream: "Stream") -> None:
        if not stream.left or stream.is_due_to_be_cut:
            stream.source.cut_at = time.monotonic()
        del self._open[stream]
        metrics.READERS.dec()

    def open_ones(self) -> "list[Stream]":
        """The streams that are open now."""
        return list(self._open)

    def principals(self) -> list[Principal]:
        """Whose streams are open now. One that was let in by several requests may come often."""
        return list({id(one): one for one in self._open.values()}.values())

    def by_share(self) -> Counter[ShareReader]:
        """How many streams of other users' messages are open."""
        return Counter(
            (one.user_id, stream.source.conversation_id)
            for stream, one in self._open.items()
            if stream.source.owner_id not in (None, one.user_id)
            and stream.source.conversation_id is not None
        )

    def evict(self, revoked: Revoked) -> int:
        """Close every stream of a user or a credential at once, each as its face cuts; returns how
        many. Of a user that is also what others read of theirs.

        For a user who was deleted or disabled and a credential that was revoked. Call it after that
        was committed: a client that comes back is then refused.
        """
        return self._evict(
            lambda one: revoked in (one.user_id, one.credential),
            lambda stream: stream.source.owner_id == revoked,
        )

    def evict_if(self, is_meant: Callable[[Principal], bool]) -> int:
        """The same for those whose principal is meant."""
        return self._evict(is_meant, lambda _: False)

    def _evict(
        self, is_meant: Callable[[Principal], bool], is_lost: Callable[["Stream"], bool]
    ) -> int:
        self._opening = {key: one for key, one in self._opening.items() if not is_meant(one)}
        found = [one for one, by in self._open.items() if is_meant(by) or is_lost(one)]
        for stream in found:
            stream.evict()
        return len(found)


class Stream:
    """One response: what is written to its reader, in pieces."""

    __slots__ = (
        "_deadline", "_evicted", "_heartbeat_due", "_opened", "_place", "_retry", "_then",
        "_version", "_wrote", "closed", "face", "heartbeat", "left", "on_close", "on_evict",
        "source", "torn",
    )  # fmt: skip

    def __init__(
        self,
        face: Face[Any, Any],
        source: Source[Any],
        place: Any,
        *,
        heartbeat: float,
        deadline: float,
        retry: tuple[int, int] = RETRY_CLOSED,
    ) -> None:
        """`heartbeat`: seconds between signs of life; `deadline`: when to cut it (monotonic)."""
        self.face = face
        self.source = source
        self.heartbeat = heartbeat
        #: frees what it holds
        self.on_close: Callable[[], object] = lambda: None
        #: set by its connection: called when it is evicted
        self.on_evict: Callable[[], object] | None = None
        #: nothing follows what `next` returned last
        self.closed = False
        #: if so, the body of the response gets no end
        self.torn = False
        #: its client has closed the connection; without that it may be about to come back
        self.left = False
        self._place = place
        self._deadline = deadline
        #: when a heartbeat is due (monotonic), and whether `next` returned something last
        self._heartbeat_due = time.monotonic() + heartbeat
        self._wrote = True
        self._retry = retry
        self._opened = False
        self._evicted = False
        self._then = Then.WAIT
        self._version = -1

    def next(self, notified: bool) -> bytes:
        """What is to be written now; after a silence a heartbeat.

        A source may notify all the time and its face write nothing: a dialect that leaves a part
        out, a reader beyond the end of the body. That is a silence, too.
        """
        frames = self._next(notified)
        self._wrote = bool(frames)
        return frames

    def _next(self, notified: bool) -> bytes:
        source = self.source
        opening = b"" if self._opened else self._open()
        self._version = source.version
        frames, self._place, self._then = source.frames(self.face, self._place)
        if opening:
            frames = opening + frames
        if self._then is Then.ENDED:
            self.closed = True
        elif source.closed or self._evicted:
            return frames + self._cut(self._retry)
        elif (now := time.monotonic()) >= self._deadline:
            return frames + self._cut(RETRY_TIME_UP)
        elif not frames and (not notified or now >= self._heartbeat_due):
            return self.face.heartbeat
        return frames

    def _open(self) -> bytes:
        self._opened = True
        opening, self._place = self.face.open(self.source, self._place)
        return opening

    def _cut(self, span: tuple[int, int]) -> bytes:
        return self._last(self.face.cut(jittered(span)))

    def fail(self) -> bytes:
        """What is to be written after `next` raised."""
        return self._last(self.face.fault())

    def _last(self, frames: bytes | None) -> bytes:
        self.closed = True
        self.torn = frames is None
        return frames or b""

    def sleep(self, wake: Wake) -> None:
        """Have the loop call `wake`, once, when there is a reason to ask for what is next."""
        now = time.monotonic()
        if self._wrote:
            self._heartbeat_due = now + self.heartbeat
        if self._then is Then.MORE or self.source.version != self._version or self._evicted:
            gevent.get_hub().loop.run_callback(wake, True)
        else:
            self.source.changed.listen(wake, min(self._deadline, self._heartbeat_due) - now)

    def wake(self, wake: Wake) -> None:
        """Call a `wake` that sleeps, as soon as the loop can."""
        self.source.changed.wake(wake)

    def evict(self) -> None:
        """Cut it now."""
        self._evicted = True
        if self.on_evict is not None:
            self.on_evict()

    @property
    def is_due_to_be_cut(self) -> bool:
        """Whether `next` would cut it, unless its source has ended."""
        return self.source.closed or self._evicted or time.monotonic() >= self._deadline

    @property
    def message_id(self) -> uuid.UUID | None:
        """The message that is read, if it is one."""
        return self.source.message_id

    @property
    def lag(self) -> int:
        """Code points that are there and were not written."""
        return self.face.lag(self.source, self._place)

    def close(self) -> None:
        """Free everything, whether it has begun or not."""
        self.on_close()
