"""What a reader of a followed message is given, without a socket."""

import json
import time
import uuid
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any
from unittest.mock import patch

import gevent
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.body import Body, Delta
from shared.errors import TooMany
from shared.sse import Decoder
from shared.store.messages import Message
from tests.rig import until
from tests.topics import HandReader, PlainFace, ended, say
from web.auth import Principal
from web.auth.revocations import Revocations
from web.dialects.ag_ui_events import About, AgUiFace, LinesFace
from web.faces import blocks, native
from web.following.face import BURST_BYTES, FRAME_BYTES, Then
from web.following.message_topic import MessageTopic
from web.following.notifier import Notifier
from web.following.source import FRAME_CACHE
from web.following.streaming import Readers, Stream
from web.page.render_cache import RenderCache

#: Bytes of a frame on the wire, at most.
FRAME = 16 << 10


new = uuid.uuid4


@pytest.fixture
def topic() -> MessageTopic:
    """A message that is being written."""
    return MessageTopic(uuid.uuid4(), uuid.uuid4())


def test_text_that_came_during_a_slow_write_is_written_at_once(topic: MessageTopic) -> None:
    stream = Stream(native.FACE, topic, 0, heartbeat=100.0, deadline=1e12)
    woken: list[bool] = []
    say(topic, "first ")
    assert b"first" in stream.next(True)

    say(topic, "second")  # every other reader is woken; this one is writing

    stream.sleep(woken.append)
    gevent.sleep(0)
    assert woken == [True]
    assert b"second" in stream.next(True)
    stream.sleep(woken.append)
    gevent.sleep(0)
    assert woken == [True]
    topic.close()
    gevent.sleep(0)
    assert woken == [True, True]


def test_frames_are_written_once_for_all_at_a_place_and_not_kept_for_every_place(
    topic: MessageTopic,
) -> None:
    written: list[int] = []

    class Noting(PlainFace):
        def stretch(self, body: Body, delta: Delta) -> bytes:
            written.append(delta.start)
            return super().stretch(body, delta)

    face = Noting()
    say(topic, "x" * 1000)
    assert [topic.frames(face, 5) for _ in range(100)] == [(b"x" * 995, 1000, Then.WAIT)] * 100
    assert written == [5]

    for position in range(1000):  # a storm of returning readers
        assert topic.frames(face, position) == (b"x" * (1000 - position), 1000, Then.WAIT)
    assert len(topic._frames) <= FRAME_CACHE


def test_ends_are_written_once_for_all_of_a_face_and_not_kept_for_every_face(
    topic: MessageTopic,
) -> None:
    written: list[int] = []

    @dataclass(frozen=True)
    class Named(PlainFace):
        number: int

        def end(self, message: Message) -> bytes:
            written.append(self.number)
            return f" end {self.number}".encode()

    say(topic, "x")
    ended(topic, topic.body)
    assert [topic.frames(Named(0), 1)[0] for _ in range(100)] == [b" end 0"] * 100
    assert written == [0]

    for number in range(1000):  # as many names of runs as somebody thinks up
        assert topic.end_frame(Named(number)) == f" end {number}".encode()
    assert len(topic._end_frames) <= FRAME_CACHE


def test_what_a_reader_of_ag_ui_shows_is_not_kept_with_its_frames(topic: MessageTopic) -> None:
    class Shown(list[Any]):
        """Messages that can be referred to weakly."""

    shown = Shown([{"id": "u", "role": "user", "content": "Why?"}])
    left = weakref.ref(shown)
    face = AgUiFace(About("a", "c", "t", "r"), shown=shown)
    say(topic, "x")
    assert b"Why?" in face.open(topic, face.start)[0]
    topic.frames(face, face.start)
    ended(topic, topic.body)
    topic.frames(face, face.start)

    lines = LinesFace(face.about)
    assert topic.frames(lines, face.start) != topic.frames(face, face.start)
    del face, shown
    assert left() is None


@given(
    st.lists(st.tuples(st.sampled_from('aé你😀\n\x01"\u2028'), st.integers(1, 9_000)), min_size=1),
    st.integers(0, 1000),
)
def test_no_frame_is_larger_than_16_kib_and_each_moves_the_reader_on(
    runs: list[tuple[str, int]], begin: int
) -> None:
    """Whatever the characters are: written as ASCII, one takes 1 to 12 bytes."""
    text = "".join(character * count for character, count in runs)
    topic = MessageTopic(uuid.uuid4(), uuid.uuid4())
    meta = {"id": "call", "name": "你" * 300}
    topic.receive([Delta(0, 0, "tool_call", text, meta)])
    position = min(begin, len(text) - 1)
    reader, shown = HandReader(native.FACE, topic, position), text[:position]

    while frames := reader.advance():
        for frame in frames.removesuffix(b"\n\n").split(b"\n\n"):
            assert len(frame) + 2 <= FRAME
            [event] = Decoder(limit=FRAME).feed(frame + b"\n\n")
            found = json.loads(event.data)
            assert (found["start"], found["meta"]) == (len(shown), meta)
            assert found["text"] != ""
            shown += found["text"]
            assert event.id == str(len(shown))

    assert shown == text


@pytest.mark.parametrize(("character", "wide"), [("a", 1), ("é", 6), ("你", 6), ("😀", 12)])
def test_frames_are_not_smaller_than_they_need_to_be(character: str, wide: int) -> None:
    topic = MessageTopic(uuid.uuid4(), uuid.uuid4())
    topic.receive([Delta(0, 0, "text", character * 100_000)])

    frames, _, _ = topic.frames(native.FACE, 0)

    sizes = [len(frame) + 2 for frame in frames.split(b"\n\n")[:-1]]
    assert len(sizes) > 5
    assert all(FRAME_BYTES - wide < size < FRAME_BYTES + 200 for size in sizes)


@pytest.mark.parametrize("kind", ["image", "", 'a"b', "a\\b", "a\nb", "größe", "\u2028"])
def test_kind_of_another_version_is_written_whatever_its_characters(
    topic: MessageTopic, kind: str
) -> None:
    topic.receive([Delta(0, 0, kind, "x")])

    [event] = Decoder().feed(topic.frames(native.FACE, 0)[0])

    assert json.loads(event.data) == {"start": 0, "part": 0, "kind": kind, "text": "x"}


@pytest.mark.failure(54)
def test_a_large_meta_is_not_repeated_for_every_few_characters() -> None:
    """It comes with each frame of its part; then each frame has as much text."""
    topic = MessageTopic(uuid.uuid4(), uuid.uuid4())
    meta, arguments = {"id": "x" * 500_000}, "y" * 1_000_000
    topic.receive([Delta(0, 0, "tool_call", arguments, meta)])
    reader, size = HandReader(native.FACE, topic, 0), 0

    while frames := reader.advance():
        size += len(frames)

    assert size < 2.1 * (len(arguments) + len(meta["id"]))


@pytest.mark.failure(54)
def test_an_answer_of_thousands_of_parts_does_not_hold_the_loop() -> None:
    """Of 6,000 parts of a character each: one turn is a few milliseconds' work, wherever readers
    stand, and the end is made once for all of them in each dialect."""
    topic = MessageTopic(uuid.uuid4(), uuid.uuid4())
    kinds = ("text", "reasoning")
    topic.receive([Delta(n, n, kinds[n % 2], "x") for n in range(6_000)])
    ended(topic, topic.body)
    readers = [HandReader(native.FACE, topic, place * 60) for place in range(100)]
    turns: list[float] = []

    with patch.object(
        native.NativeFace, "end", autospec=True, side_effect=native.NativeFace.end
    ) as made:
        while readers:
            for reader in list(readers):
                begun = time.process_time()
                frames = reader.advance()
                if reader.ended:
                    readers.remove(reader)
                turns.append(time.process_time() - begun)
                assert len(frames) < BURST_BYTES + FRAME

    assert max(turns) < 0.05
    assert made.call_count == 1


def test_a_reader_far_from_the_end_gets_all_of_it_in_bursts() -> None:
    topic = MessageTopic(uuid.uuid4(), uuid.uuid4())
    text = "".join(map(str, range(50_000)))
    topic.receive([Delta(0, 0, "reasoning", text), Delta(len(text), 1, "text", text)])
    reader = HandReader(native.FACE, topic, 10)
    shown = Body([Delta(0, 0, "reasoning", text[:10])])

    while frames := reader.advance():
        assert len(frames) < BURST_BYTES + FRAME
        assert (reader.then is Then.MORE) == (
            reader.place < 2 * len(text)
        )  # more: it does not wait
        for event in Decoder(limit=1 << 20).feed(frames):
            found = json.loads(event.data)
            shown.append(Delta(shown.length, found["part"], found["kind"], found["text"]))

    assert shown.since(0) == topic.body.since(0)


def test_a_stream_goes_from_its_position_to_the_end(topic: MessageTopic) -> None:
    say(topic, "Some text")
    stream = Stream(native.FACE, topic, 5, heartbeat=100.0, deadline=1e12)
    frames = stream.next(True)

    say(topic, " and more.")
    frames += stream.next(True)
    ended(topic, topic.body)
    frames += stream.next(True)

    assert (stream.closed, stream.torn) == (True, False)
    events = [(event.event, event.id) for event in Decoder().feed(frames)]
    assert events == [("delta", "9"), ("delta", "19"), ("end", "end")]


@pytest.mark.parametrize("place", [0, 10**15], ids=["a part is left out", "beyond the body"])
def test_a_reader_for_whom_nothing_is_written_gets_heartbeats(
    topic: MessageTopic, place: int
) -> None:
    """The message grows all the time, and its reader is woken each time."""

    class TextOnly(PlainFace):
        def stretch(self, body: Body, delta: Delta) -> bytes:
            return delta.text.encode() if delta.kind == "text" else b""

    streams = [Stream(TextOnly(), topic, place, heartbeat=due, deadline=1e12) for due in (0.0, 1e6)]
    for stream in streams:
        assert stream.next(True) == b"opened "
        stream.sleep(lambda _: None)

    for _ in range(3):
        topic.receive([Delta(topic.body.length, 0, "reasoning", "x")])
        assert [stream.next(True) for stream in streams] == [b"alive", b""]
        for stream in streams:
            stream.sleep(lambda _: None)


@pytest.mark.parametrize(("cut", "last"), [(b"later", b"later"), (b"", b""), (None, b"")])
def test_a_stream_whose_time_is_up_is_cut_as_its_face_says(
    topic: MessageTopic, cut: bytes | None, last: bytes
) -> None:
    say(topic, "Some text")
    stream = Stream(PlainFace(cut), topic, 0, heartbeat=100.0, deadline=0.0)

    assert stream.next(True) == b"opened Some text" + last
    assert (stream.closed, stream.torn) == (True, cut is None)


def test_the_id_is_the_last_field_of_every_frame_in_every_dialect() -> None:
    """Some clients adopt an id as soon as its line has arrived."""
    topic = MessageTopic(uuid.uuid4(), uuid.uuid4())
    topic.receive([Delta(0, 0, "reasoning", "Well. "), Delta(6, 1, "text", "One.\n\nTwo.\n\nTh")])
    topic.receive([Delta(20, 2, "tool_call", "{}", {"id": "\nid: 7\n", "name": "x"})])
    source = RenderCache().of(topic)
    readers = [HandReader(native.FACE, topic, 0), HandReader(blocks.FACE, source, (0, 0))]
    source.refresh()
    frames = b"".join(reader.advance() for reader in readers)
    ended(topic, topic.body)
    source.refresh()
    frames += b"".join(reader.advance() for reader in readers)

    *found, rest = frames.split(b"\n\n")
    assert rest == b""
    assert len(found) == 7  # three parts, the blocks before and at the end, an end each
    for frame in found:
        names = [line.partition(b":")[0] for line in frame.split(b"\n")]
        assert names == [b"event", b"data", b"id"]


# --- the readers of a process ---------------------------------------------------------------------


@contextmanager
def opened(topic: MessageTopic) -> Iterator[MessageTopic]:
    """A topic that is there at once."""
    yield topic


@contextmanager
def slowly_opened(topic: MessageTopic) -> Iterator[MessageTopic]:
    """A topic that has to be read first."""
    gevent.sleep(0.02)
    yield topic


def someone() -> Principal:
    """A user of a request, without any right."""
    return Principal(uuid.uuid4(), frozenset())


def readers_of(
    max_streams: int = 0, *, max_address_streams: int = 0, draining: bool = False
) -> Readers:
    """The readers of a process, of which there are none yet."""
    return Readers(
        lambda: draining,
        heartbeat=100.0,
        max_seconds=1e6,
        max_streams=max_streams,
        max_address_streams=max_address_streams,
        revocations=Revocations(),
    )


def test_evict_cuts_every_stream_of_a_user_and_of_no_other(topic: MessageTopic) -> None:
    readers, user, other = readers_of(), someone(), someone()
    faces = [PlainFace(b" later"), PlainFace(b""), PlainFace(None)]
    theirs = [readers.open(user, face, 0, opened(topic)) for face in faces]
    stays = readers.open(other, faces[0], 0, opened(topic))
    woken: list[Stream] = []
    for stream in (*theirs, stays):
        assert stream.next(True) == b"opened "
        stream.sleep(lambda _: None)
        stream.on_evict = partial(woken.append, stream)

    assert readers.evict(user.user_id) == 3

    assert woken == theirs
    assert [stream.next(True) for stream in theirs] == [b" later", b"", b""]
    assert [(stream.closed, stream.torn) for stream in theirs] == [
        (True, False),
        (True, False),
        (True, True),
    ]
    for stream in theirs:
        stream.close()
    assert readers.open_ones() == [stays]
    assert not stays.closed


def test_evict_reaches_a_stream_that_is_being_opened(topic: MessageTopic) -> None:
    readers, user = readers_of(), someone()
    opening = gevent.spawn(readers.open, user, PlainFace(), 0, slowly_opened(topic))
    gevent.sleep(0)

    readers.evict(user.user_id)

    stream = opening.get()
    assert stream.next(True) == b"opened  retry"
    assert stream.closed


def test_what_others_read_of_a_user_is_lost_with_the_user(topic: MessageTopic) -> None:
    readers, owner = readers_of(), topic.user_id
    reader = readers.open(someone(), PlainFace(), 0, opened(topic))
    other = readers.open(someone(), PlainFace(), 0, opened(MessageTopic(new(), new())))
    opening = gevent.spawn(readers.open, someone(), PlainFace(), 0, slowly_opened(topic))
    gevent.sleep(0)

    readers._revocations.note(owner)  # type: ignore[union-attr]
    assert readers.evict(owner) == 1

    late = opening.get()
    for stream in (reader, late):
        assert stream.next(True) == b"opened  retry"
        assert stream.closed
    assert not other.closed


def test_readers_of_other_users_messages_are_counted_by_conversation() -> None:
    owner, first, second = new(), new(), new()
    topics = [MessageTopic(new(), owner, one) for one in (first, first, second)]
    readers, reader = readers_of(), someone()
    mine = readers.open(replace(reader, user_id=owner), PlainFace(), 0, opened(topics[0]))
    streams = [readers.open(reader, PlainFace(), 0, opened(one)) for one in topics]

    assert readers.by_share() == {(reader.user_id, first): 2, (reader.user_id, second): 1}
    for one in (mine, *streams):
        one.close()
    assert readers.by_share() == {}


def test_a_draining_process_cuts_a_stream_as_soon_as_it_is_opened(topic: MessageTopic) -> None:
    say(topic, "Some text")
    stream = readers_of(draining=True).open(someone(), PlainFace(), 0, opened(topic))

    assert stream.next(True) == b"opened Some text retry"
    assert stream.closed


def test_the_cap_counts_the_open_streams_of_each_user(topic: MessageTopic) -> None:
    readers, user = readers_of(max_streams=1), someone()
    stream = readers.open(user, PlainFace(), 0, opened(topic))
    with pytest.raises(TooMany):
        readers.open(user, PlainFace(), 0, opened(topic))
    readers.open(someone(), PlainFace(), 0, opened(topic))

    stream.close()

    readers.open(user, PlainFace(), 0, opened(topic))


def test_a_stream_that_is_being_opened_counts(topic: MessageTopic) -> None:
    readers, user = readers_of(max_streams=1), someone()
    opening = gevent.spawn(readers.open, user, PlainFace(), 0, slowly_opened(topic))
    gevent.sleep(0)

    with pytest.raises(TooMany) as refused:
        readers.open(user, PlainFace(), 0, opened(topic))

    assert refused.value.fields == {"limit": 1}
    opening.get().close()
    readers.open(user, PlainFace(), 0, opened(topic))


def test_an_address_has_a_cap_for_all_its_users(topic: MessageTopic) -> None:
    readers = readers_of(max_address_streams=2)
    here, there = "192.0.2.1", "192.0.2.2"
    first = [readers.open(someone(), PlainFace(), 0, opened(topic), here) for _ in range(2)]

    with pytest.raises(TooMany):
        readers.open(someone(), PlainFace(), 0, opened(topic), here)

    readers.open(someone(), PlainFace(), 0, opened(topic), there)
    first[0].close()
    readers.open(someone(), PlainFace(), 0, opened(topic), here)


# --- the notifier ---------------------------------------------------------------------------------


def test_a_notifier_wakes_each_waiter_once_and_the_others_after_their_timeout() -> None:
    notifier, other = Notifier(), Notifier()
    woken: list[tuple[str, bool]] = []

    def wake(name: str) -> Callable[[bool], None]:
        return lambda notified: woken.append((name, notified))

    for name in "ab":
        notifier.listen(wake(name), 100)
    other.listen(wake("c"), 0)
    notifier.notify()
    assert woken == []  # not before this greenlet waits
    notifier.notify()
    until(lambda: len(woken) == 3)
    other.notify()
    gevent.sleep(0)

    assert woken == [("a", True), ("b", True), ("c", False)]
