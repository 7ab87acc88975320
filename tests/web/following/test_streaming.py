"""A reader of a followed message, without a socket."""

import json
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from unittest.mock import Mock

import gevent
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.body import Body, Delta
from shared.sse import Decoder
from tests.rig import until
from tests.topics import ended, say
from web.faces import native
from web.following.hub import Hub
from web.following.notifier import Notifier
from web.following.streaming import Reader, Stream
from web.following.topic import BURST_BYTES, FRAME_BYTES, FRAME_CACHE, MessageTopic
from web.page.render_cache import BlockReader, RenderCache

#: Bytes of a frame on the wire, at most.
FRAME = 16 << 10


def test_what_comes_during_a_slow_write_is_not_waited_for() -> None:
    topic = MessageTopic(uuid.uuid4(), uuid.uuid4())
    reader = Reader(topic, 0, native.FACE)
    say(topic, "first ")
    assert b"first" in reader.advance()

    say(topic, "second")  # everybody else is woken; this one is writing

    assert reader.pause() == 0
    assert b"second" in reader.advance()
    assert reader.pause() is None
    topic.leave()
    assert reader.pause() == 0


def test_frames_are_encoded_once_for_all_at_a_place_and_not_kept_for_every_place() -> None:
    encoded: list[int] = []

    def face(delta: Delta) -> bytes:
        encoded.append(delta.start)
        return delta.text.encode()

    topic = MessageTopic(uuid.uuid4(), uuid.uuid4())
    topic.hear([Delta(0, 0, "text", "x" * 1000)])
    assert [topic.frames(face, 5) for _ in range(100)] == [(b"x" * 995, 1000)] * 100
    assert encoded == [5]

    for position in range(1000):  # a storm of returning readers
        assert topic.frames(face, position) == (b"x" * (1000 - position), 1000)
    assert len(topic._frames) <= FRAME_CACHE


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
    topic.hear([Delta(0, 0, "tool_call", text, meta)])
    position = min(begin, len(text) - 1)
    reader, shown = Reader(topic, position, native.FACE), text[:position]

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
    topic.hear([Delta(0, 0, "text", character * 100_000)])

    frames, _ = topic.frames(native.encode_delta, 0)

    sizes = [len(frame) + 2 for frame in frames.split(b"\n\n")[:-1]]
    assert len(sizes) > 5
    assert all(FRAME_BYTES - wide < size < FRAME_BYTES + 200 for size in sizes)


@pytest.mark.failure(54)
def test_a_large_meta_is_not_repeated_for_every_few_characters() -> None:
    """It comes with each frame of its part; then each frame has as much text."""
    topic = MessageTopic(uuid.uuid4(), uuid.uuid4())
    meta, arguments = {"id": "x" * 500_000}, "y" * 1_000_000
    topic.hear([Delta(0, 0, "tool_call", arguments, meta)])
    reader, size = Reader(topic, 0, native.FACE), 0

    while frames := reader.advance():
        size += len(frames)

    assert size < 2.1 * (len(arguments) + len(meta["id"]))


@pytest.mark.failure(54)
def test_an_answer_of_thousands_of_parts_holds_up_nobody() -> None:
    """Of 6,000 parts of a character each: one turn is a few milliseconds' work, wherever readers
    stand, and the end is made once for all of them in each dialect."""
    topic = MessageTopic(uuid.uuid4(), uuid.uuid4())
    kinds = ("text", "reasoning")
    topic.hear([Delta(n, n, kinds[n % 2], "x") for n in range(6_000)])
    ended(topic, topic.body)
    made = Mock(wraps=native.FACE.end)
    face = replace(native.FACE, end=made)
    readers = [Reader(topic, place * 60, face) for place in range(100)]
    turns: list[float] = []

    while readers:
        for reader in list(readers):
            begun = time.process_time()
            frames = reader.advance()
            if reader.at_end:
                frames += reader.end()
                readers.remove(reader)
            turns.append(time.process_time() - begun)
            assert len(frames) < BURST_BYTES + FRAME

    assert max(turns) < 0.05
    assert made.call_count == 1


def test_who_is_far_behind_is_given_a_part_at_a_time_and_all_of_it() -> None:
    topic = MessageTopic(uuid.uuid4(), uuid.uuid4())
    text = "".join(map(str, range(50_000)))
    topic.hear([Delta(0, 0, "reasoning", text), Delta(len(text), 1, "text", text)])
    reader = Reader(topic, 10, native.FACE)
    shown = Body([Delta(0, 0, "reasoning", text[:10])])

    while frames := reader.advance():
        assert len(frames) < BURST_BYTES + FRAME
        assert (reader.pause() == 0) == (reader.position < 2 * len(text))  # there is more: no sleep
        for event in Decoder(limit=1 << 20).feed(frames):
            found = json.loads(event.data)
            shown.append(Delta(shown.length, found["part"], found["kind"], found["text"]))

    assert shown.since(0) == topic.body.since(0)


def test_a_stream_can_be_iterated_too_from_its_position_to_its_end() -> None:
    topic = MessageTopic(uuid.uuid4(), uuid.uuid4())
    say(topic, "Some text")
    hub = Hub(*[None] * 3)  # type: ignore[arg-type]
    stream = Stream(Reader(topic, 5, native.FACE), hub, 100.0, 1e12, ExitStack())
    reading = gevent.spawn(lambda: b"".join(stream))
    gevent.sleep(0)

    say(topic, " and more.")
    gevent.sleep(0)
    ended(topic, topic.body)
    reading.join(30)

    events = [(event.event, event.id) for event in Decoder().feed(reading.value)]
    assert events == [("delta", "9"), ("delta", "19"), ("end", "end")]


def test_the_id_is_the_last_field_of_every_frame_in_every_dialect() -> None:
    """Some clients adopt an id as soon as its line has arrived."""
    topic = MessageTopic(uuid.uuid4(), uuid.uuid4())
    topic.hear([Delta(0, 0, "reasoning", "Well. "), Delta(6, 1, "text", "One.\n\nTwo.\n\nTh")])
    topic.hear([Delta(20, 2, "tool_call", "{}", {"id": "\nid: 7\n", "name": "x"})])
    readers = [
        Reader(topic, 0, native.FACE),
        BlockReader(RenderCache(), topic, 0, native.FACE),
    ]
    frames = b"".join(reader.advance() for reader in readers)
    ended(topic, topic.body)
    frames += b"".join(reader.end() for reader in readers)

    *found, rest = frames.split(b"\n\n")
    assert rest == b""
    assert len(found) == 6  # three parts, the blocks, an end each
    for frame in found:
        names = [line.partition(b":")[0] for line in frame.split(b"\n")]
        assert names == [b"event", b"data", b"id"]


def test_a_bell_wakes_everybody_once_and_who_heard_nothing_after_their_time() -> None:
    bell, other = Notifier(), Notifier()
    heard: list[tuple[str, bool]] = []

    def wake(name: str) -> Callable[[bool], None]:
        return lambda notified: heard.append((name, notified))

    for name in "ab":
        bell.listen(wake(name), 100)
    other.listen(wake("c"), 0)
    bell.notify()
    assert heard == []  # not before this greenlet waits
    bell.notify()
    until(lambda: len(heard) == 3)
    other.notify()
    gevent.sleep(0)

    assert heard == [("a", True), ("b", True), ("c", False)]
