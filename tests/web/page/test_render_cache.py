"""Renderings without a socket: made once for all readers, no more often than a screen shows."""

import json
import time
import uuid
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import gevent
import pytest

from shared.body import Body, Delta
from shared.sse import Decoder
from shared.store.messages import Message
from tests.rig import join, until
from tests.topics import HandReader, ended, say
from web.faces import blocks
from web.following.face import Then
from web.following.message_topic import MessageTopic
from web.page import finished_blocks, highlighting, markdown, render_cache, yielding
from web.page.blocks import Blocks
from web.page.markdown import markdown_html
from web.page.render_cache import BlockSource, RenderCache


@pytest.fixture(scope="module", autouse=True)
def unhurried() -> Iterator[None]:
    """No limit of CPU time is met, however busy the machine: blocks beyond one differ each time."""
    with (
        patch.object(markdown, "BLOCK_SECONDS", 10.0),
        patch.object(highlighting, "CODE_SECONDS", 10.0),
    ):
        yield


@pytest.fixture
def topic() -> MessageTopic:
    """A message that is being written."""
    return MessageTopic(uuid.uuid4(), uuid.uuid4())


@pytest.fixture
def rushing() -> Iterator[None]:
    """A screen that shows everything at once."""
    with (
        patch.multiple(render_cache, FRAMES=1e9, SHARE=0.0),
        patch.object(yielding, "SLICE_SECONDS", 0.0),
    ):
        yield


class BlockReader(HandReader):
    """A reader of blocks, for whom they are rendered at once if they may be."""

    source: BlockSource

    def advance(self) -> bytes:
        """What it is given now, without the frame of the end."""
        if self.source.is_behind() and not self.source.pause():
            self.source.refresh()
        frames = super().advance()
        while self.source._rendering_older and not frames:
            gevent.sleep(0.001)
            frames = super().advance()
        return (
            frames.removesuffix(self.source.topic.end_frame(blocks.FACE)) if self.ended else frames
        )

    def pause(self) -> float | None:
        """Seconds until there is more for it; None if nothing is known to come."""
        if self.then is Then.MORE:
            return 0.0
        return self.source.pause() if self.source.is_behind() else None


def reader_of(cache: RenderCache, topic: MessageTopic, position: int = 0) -> BlockReader:
    return BlockReader(blocks.FACE, cache.of(topic), (position, 0))


def shown(frames: bytes) -> list[dict[str, Any]]:
    """The data of the events in some frames."""
    return [json.loads(event.data) for event in Decoder(errors="strict").feed(frames)]


def read(reader: BlockReader) -> bytes:
    """Everything that there is for a reader now, whose time is not limited."""
    frames = [reader.advance()]
    while frames[-1]:
        frames.append(reader.advance())
    return b"".join(frames)


def blocks_of(cache: RenderCache, message: Message, most: int = 1 << 30) -> list[Any]:
    """The first page of a message's blocks."""
    lines, _ = cache.pages(message).page(0, most)
    return [json.loads(line) for line in lines]


def test_a_reader_of_an_empty_message_waits(topic: MessageTopic) -> None:
    reader = reader_of(RenderCache(), topic)

    assert reader.advance() == b""
    assert reader.pause() is None


@pytest.mark.usefixtures("rushing")
def test_all_readers_get_the_same_events_rendered_once(topic: MessageTopic) -> None:
    cache = RenderCache()
    readers = [reader_of(cache, topic) for _ in range(50)]
    say(topic, "First.\n\nSecond.\n\nThi")
    with patch("web.page.tail.markdown_html", wraps=markdown_html) as made:
        frames = {reader.advance() for reader in readers}
        assert made.call_count == 3
        say(topic, "rd.")
        again = {reader.advance() for reader in readers}
        assert made.call_count == 4

    [first], [second] = map(shown, frames), map(shown, again)
    assert [block["text"] for block in first[0]["blocks"]] == ["First.\n\n", "Second.\n\n"]
    assert first[0]["open"]["html"] == '<p dir="auto">Thi</p>\n'
    assert second[0]["blocks"] == []
    assert second[0]["open"]["html"] == '<p dir="auto">Third.</p>\n'


@pytest.mark.usefixtures("rushing")
@pytest.mark.parametrize("paragraphs", [10, 2_000])
def test_a_reader_that_comes_during_a_rendering_gets_all_of_it(
    topic: MessageTopic, paragraphs: int
) -> None:
    cache = RenderCache()
    text = "A paragraph.\n\n" * paragraphs
    say(topic, text + "The end")  # and then a pause: nothing else wakes the reader

    def read() -> str:
        reader = reader_of(cache, topic)
        frames = b""
        while reader.lag:
            frames += reader.advance()
            gevent.sleep(reader.pause() or 0)
        events = shown(frames)
        last = events[-1]["open"]["html"] if events else ""
        return "".join(block["text"] for event in events for block in event["blocks"]) + last

    reading = [gevent.spawn(read) for _ in range(3)]
    join(reading)

    whole = text + '<p dir="auto">The end</p>\n'
    assert [found.value == whole for found in reading] == [True] * 3


def test_a_message_is_rendered_at_most_thirty_times_a_second(topic: MessageTopic) -> None:
    reader = reader_of(RenderCache(), topic)
    say(topic, "a")
    assert reader.advance()
    with patch("web.page.render_cache.time.monotonic", return_value=0.0):  # no time passes
        for _ in range(100):
            say(topic, "b")
            assert reader.advance() == b""


def test_an_expensive_message_slows_only_itself_and_by_a_second_at_most(
    topic: MessageTopic,
) -> None:
    cache, other = RenderCache(), MessageTopic(uuid.uuid4(), uuid.uuid4())
    expensive, cheap = reader_of(cache, topic), reader_of(cache, other)
    say(topic, "> An expensive one")
    say(other, "A cheap one")
    with patch("web.page.tail.markdown_html", side_effect=busy):
        assert expensive.advance()
    assert cheap.advance()

    assert 0.3 < cache.of(topic).pause() <= render_cache.SLOWEST
    assert cache.of(other).pause() <= 1 / render_cache.FRAMES


def busy(source: str) -> str:
    """A rendering that takes its time."""
    until = time.process_time() + 0.5
    while time.process_time() < until:
        pass
    return source


def test_an_end_is_shown_at_once_after_an_expensive_rendering(topic: MessageTopic) -> None:
    reader = reader_of(RenderCache(), topic)
    say(topic, "First.")
    with patch("web.page.tail.markdown_html", side_effect=busy):
        assert reader.advance()
    ended(topic, Body([Delta(0, 0, "text", "First.")]))

    assert reader.advance()
    assert reader.ended


@pytest.mark.usefixtures("rushing")
def test_a_reader_that_is_ahead_gets_no_older_blocks(topic: MessageTopic) -> None:
    say(topic, "First.\n\nSecond")
    reader = reader_of(RenderCache(), topic, position=20)

    assert reader.advance() == b""

    say(topic, " to the end of it.\n\nThird")
    [frame] = shown(reader.advance())
    assert [block["text"] for block in frame["blocks"]] == ["Second to the end of it.\n\n"]


@pytest.mark.usefixtures("rushing")
def test_a_body_that_ends_shorter_than_it_was_shown_ends_its_readers(
    topic: MessageTopic,
) -> None:
    reader = reader_of(RenderCache(), topic)
    say(topic, "First.\n\nSecond.\n\nThird")
    reader.advance()
    ended(topic, Body([Delta(0, 0, "text", "First.\n\nSec")]))

    assert reader.advance() == b""
    assert reader.ended


@pytest.mark.usefixtures("rushing")
def test_a_long_body_comes_in_events_of_limited_size(topic: MessageTopic) -> None:
    text = "".join(f"Paragraph {number} with some words.\n\n" for number in range(5_000))
    ended(topic, Body([Delta(0, 0, "text", text)]))
    reader = reader_of(RenderCache(), topic)

    events = shown(read(reader))

    assert reader.ended
    assert len(events) > 5
    assert [event["open"] for event in events] == [None] * len(events)
    assert "".join(block["text"] for event in events for block in event["blocks"]) == text


def test_ended_messages_are_kept_while_there_is_room() -> None:
    cache = RenderCache()
    one, other = (at_its_end(MessageTopic(uuid.uuid4(), uuid.uuid4()), "Said.") for _ in range(2))
    with patch("web.page.tail.markdown_html", wraps=markdown_html) as made:
        first = blocks_of(cache, one)
        assert blocks_of(cache, one) == first
        assert made.call_count == 1

        with patch.object(render_cache, "ENDED_BYTES", 0):
            blocks_of(cache, other)
        blocks_of(cache, one)
        assert made.call_count == 3


def test_requests_that_open_a_message_at_once_share_its_rendering() -> None:
    cache, text = RenderCache(), "A paragraph.\n\n" * 500
    message = at_its_end(MessageTopic(uuid.uuid4(), uuid.uuid4()), text)

    with patch("web.page.tail.markdown_html", wraps=markdown_html) as made:
        with patch.object(yielding, "SLICE_SECONDS", 0.0):
            opening = [gevent.spawn(blocks_of, cache, message) for _ in range(20)]
            join(opening)
        assert made.call_count == 500

    for one in opening:
        assert "".join(block["text"] for block in one.value) == text


def test_a_first_page_renders_only_its_blocks() -> None:
    message = at_its_end(MessageTopic(uuid.uuid4(), uuid.uuid4()), "A paragraph.\n\n" * 500)

    with patch("web.page.tail.markdown_html", wraps=markdown_html) as made:
        assert blocks_of(RenderCache(), message, most=1_000)
        assert made.call_count < 20


def test_a_page_of_a_followed_message_uses_its_rendering(topic: MessageTopic) -> None:
    cache = RenderCache()
    reader = reader_of(cache, topic)
    message = at_its_end(topic, "First.\n\nSecond.")
    assert reader.advance()

    with patch("web.page.tail.markdown_html") as made:
        found = blocks_of(cache, message)
        assert not made.called
    assert [block["text"] for block in found] == ["First.\n\n", "Second."]


def test_an_ended_message_is_forgotten_after_some_minutes() -> None:
    cache = RenderCache()
    message = at_its_end(MessageTopic(uuid.uuid4(), uuid.uuid4()), "Said.")
    with patch.object(render_cache, "ENDED_SECONDS", 0.0):
        blocks_of(cache, message)
    gevent.sleep(0.01)

    with patch("web.page.tail.markdown_html", wraps=markdown_html) as made:
        blocks_of(cache, message)
        assert made.call_count == 1


def at_its_end(topic: MessageTopic, text: str | Body) -> Message:
    """The row of a message that has ended with this text."""
    ended(topic, Body([Delta(0, 0, "text", text)]) if isinstance(text, str) else text)
    assert topic.end is not None
    return topic.end


# --- a source renders by itself -------------------------------------------------------------------


@pytest.mark.usefixtures("rushing")
def test_a_source_renders_while_it_has_readers_and_no_longer(topic: MessageTopic) -> None:
    source = RenderCache().of(topic)
    say(topic, "Unread.")
    gevent.sleep(0.02)
    assert source.rendering == 0

    with source.reading():
        until(lambda: source.length == len("Unread."))
        say(topic, " Read.")
        until(lambda: source.length == len("Unread. Read."))
    say(topic, " Unread again.")
    gevent.sleep(0.02)

    assert source.length == len("Unread. Read.")


@pytest.mark.usefixtures("rushing")
def test_a_source_is_closed_with_its_message(topic: MessageTopic) -> None:
    source = RenderCache().of(topic)
    with source.reading():
        gevent.sleep(0)
        topic.close()

        until(lambda: source.closed)


@pytest.mark.usefixtures("rushing")
def test_a_bug_in_a_rendering_closes_the_source_and_the_next_reader_gets_another(
    topic: MessageTopic, caplog: pytest.LogCaptureFixture
) -> None:
    cache = RenderCache()
    broken = cache.of(topic)
    with (
        patch.object(Blocks, "feed", side_effect=RuntimeError("private")),
        broken.reading(),
        caplog.at_level(0),
    ):
        say(topic, "Some text.")
        until(lambda: broken.closed)

    assert cache.of(topic) is not broken
    assert "private" not in caplog.text


# --- long ones -----------------------------------------------------------------------------------

#: Everything of which the state at a mark has something to remember.
LONG = (
    "```none\n" + "x = [1, 2, {3: (4, 5)}]\n" * 400 + "```\n\n"
    "| a | b |\n|---|---|\n" + "| a cell | *another* |\n" * 500 + "\n"
    "- an item\n" * 800 + "\nSome words. " * 800 + "\n\n  ~~~\n" + "  code\n" * 900
)


@pytest.fixture
def forgetful() -> Iterator[None]:
    """Only the last block is kept."""
    with patch.multiple(finished_blocks, KEPT_BYTES=0, KEPT_PER_CHAR=0):
        yield


def long_body() -> Body:
    body = Body()
    body.write("reasoning", LONG)
    body.write("tool_call", "{" * 9_000, {"id": "1"})
    body.write("text", LONG)
    return body


@pytest.fixture(scope="module")
def expected() -> list[dict[str, Any]]:
    """The blocks of a long body of which all are kept."""
    with patch.multiple(finished_blocks, KEPT_BYTES=1 << 30):
        return blocks_of(RenderCache(), message_of(long_body()))


def message_of(body: Body) -> Message:
    return at_its_end(MessageTopic(uuid.uuid4(), uuid.uuid4()), body)


@pytest.mark.usefixtures("forgetful")
def test_blocks_rendered_again_equal_those_that_were_kept(
    topic: MessageTopic, expected: list[dict[str, Any]]
) -> None:
    cache = RenderCache()
    ended(topic, long_body())
    early, late = reader_of(cache, topic), reader_of(cache, topic)

    first = [early.advance()]
    while not late.ended:
        late.advance()
    frames = [*first, *(iter(early.advance, b""))]

    assert early.ended
    found = [block for frame in frames for event in shown(frame) for block in event["blocks"]]
    assert found == expected
    assert len(cache.of(topic).finished._lines) == 1


@pytest.mark.usefixtures("forgetful")
def test_a_page_from_any_position_has_the_blocks_that_are_there(
    expected: list[dict[str, Any]],
) -> None:
    pages = RenderCache().pages(message_of(long_body()))
    pages.page(1 << 40, 1)  # all of it was rendered, and forgotten

    for number in range(0, len(expected), 37):
        block = expected[number]
        lines, following = pages.page(block["start"], 1)
        assert [json.loads(line) for line in lines] == [block]
        assert following == (block["end"] if number < len(expected) - 1 else None)


def test_each_event_advances_a_reader_far_from_the_end(topic: MessageTopic) -> None:
    ended(topic, long_body())
    reader = reader_of(RenderCache(), topic)

    positions = []
    while frame := reader.advance():
        assert len(frame) < 100_000
        [event] = shown(frame)
        positions.append(event["position"])

    assert reader.ended
    assert positions == sorted(set(positions))
    assert len(positions) > 5


def test_memory_of_a_long_answer_is_bounded_by_its_length() -> None:
    text = "```js\n" + "f(1,[2])+{3:4}\n" * 10_000
    finished = (
        RenderCache().pages(at_its_end(MessageTopic(uuid.uuid4(), uuid.uuid4()), text)).finished
    )
    made = finished.made
    html = 0
    for _ in made.feed(finished.body):
        html += sum(len(block.html) for block in made._finished)
        finished.collect()

    most = finished_blocks.KEPT_BYTES + finished_blocks.KEPT_PER_CHAR * len(text)
    assert html > 2 * most  # there is something to bound
    assert finished._bytes <= most
