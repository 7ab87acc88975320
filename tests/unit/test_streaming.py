"""A reader of a followed message, without a socket."""

import json
import uuid

from shared.body import Body, Delta
from shared.sse import Decoder
from web.faces import native
from web.followed import AT_ONCE, PLACES, Followed
from web.streaming import Reader


def test_what_comes_during_a_slow_write_is_not_waited_for() -> None:
    followed = Followed(uuid.uuid4(), uuid.uuid4())
    reader = Reader(followed, 0, native.FACE, None)
    followed.hear([Delta(0, 0, "text", "first ")])
    writing = reader.written(reader.advance())
    assert b"first" in next(writing)

    followed.hear([Delta(6, 0, "text", "second")])  # everybody else is woken; this one is writing
    assert next(writing, None) is None

    assert reader.wait(0)
    assert b"second" in reader.advance()
    assert not reader.wait(0)


def test_frames_are_encoded_once_for_all_at_a_place_and_not_kept_for_every_place() -> None:
    encoded: list[int] = []

    def face(delta: Delta) -> bytes:
        encoded.append(delta.start)
        return delta.text.encode()

    followed = Followed(uuid.uuid4(), uuid.uuid4())
    followed.hear([Delta(0, 0, "text", "x" * 1000)])
    assert [followed.frames(face, 5) for _ in range(100)] == [(b"x" * 995, 1000)] * 100
    assert encoded == [5]

    for position in range(1000):  # a storm of returning readers
        assert followed.frames(face, position) == (b"x" * (1000 - position), 1000)
    assert len(followed._frames) <= PLACES


def test_who_is_far_behind_is_given_a_part_at_a_time_and_all_of_it() -> None:
    followed = Followed(uuid.uuid4(), uuid.uuid4())
    text = "".join(map(str, range(50_000)))
    followed.hear([Delta(0, 0, "reasoning", text), Delta(len(text), 1, "text", text)])
    reader = Reader(followed, 10, native.FACE, None)
    shown = Body([Delta(0, 0, "reasoning", text[:10])])

    while frames := reader.advance():
        assert len(frames) < AT_ONCE + 1000
        assert reader.wait(0) == (reader.position < 2 * len(text))  # there is more: no sleep
        for event in Decoder(limit=1 << 20).feed(frames):
            found = json.loads(event.data)
            shown.append(Delta(shown.length, found["part"], found["kind"], found["text"]))

    assert shown.since(0) == followed.body.since(0)
