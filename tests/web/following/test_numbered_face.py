"""A face whose place is the number of an event."""

import uuid

import pytest

from shared import numbering
from shared.body import Body
from shared.numbering import Slot
from shared.store.messages import Message
from tests.topics import ended, say
from web.following.face import BURST_BYTES, NumberedFace, Then
from web.following.message_topic import MessageTopic


class LinesFace(NumberedFace):
    """A line for each event: its number, its slot and its text."""

    def position(self, request: object) -> int:
        return self.start

    def event(self, body: Body, event: numbering.Event) -> bytes:
        text = event.delta.text if event.delta else ""
        return f"{event.number} {event.slot.name} {text}\n".encode()

    def finish(self, message: Message, number: int) -> bytes:
        return f"{number} {message.status}\n".encode()

    def cut(self, milliseconds: int) -> None:
        pass


FACE = LinesFace()


@pytest.fixture
def topic() -> MessageTopic:
    """A message that is being written."""
    return MessageTopic(uuid.uuid4(), uuid.uuid4())


def lines(frames: bytes) -> list[str]:
    return frames.decode().splitlines()


def test_events_are_written_as_they_come_and_the_end_is_the_last(topic: MessageTopic) -> None:
    frames, place, then = FACE.write(topic, FACE.start)
    assert (lines(frames), place, then) == (["0 RUN ", "1 RUNNING "], 1, Then.WAIT)

    say(topic, "one")
    frames, place, then = FACE.write(topic, place)
    assert lines(frames) == ["2 OPEN ", "3 OPEN_INNER ", "7 TEXT one"]
    assert (place, then) == (7, Then.WAIT)
    assert FACE.write(topic, place) == (b"", 7, Then.WAIT)

    ended(topic, topic.body)
    frames, place, then = FACE.write(topic, place)
    assert lines(frames) == ["8 CLOSE_TEXT ", "9 CLOSE_INNER ", "10 CLOSE ", "11 DONE"]
    assert (place, then) == (11, Then.ENDED)


def test_who_has_seen_the_end_gets_nothing_and_who_was_ahead_gets_it(topic: MessageTopic) -> None:
    say(topic, "one")
    ended(topic, topic.body)

    assert FACE.write(topic, 11) == (b"", 11, Then.ENDED)
    assert FACE.write(topic, 30) == (b"31 DONE\n", 31, Then.ENDED)


def test_much_text_is_written_in_several_bursts(topic: MessageTopic) -> None:
    say(topic, "x" * 3 * BURST_BYTES)

    frames, place, then = FACE.write(topic, FACE.start)

    assert then is Then.MORE
    assert BURST_BYTES <= len(frames) < 2 * BURST_BYTES
    assert FACE.lag(topic, place) == topic.body.length - numbering.position_at(topic.body, place)
    assert FACE.write(topic, place)[0].split()[1] == Slot.TEXT.name.encode()
