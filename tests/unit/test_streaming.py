"""A reader of a followed message, without a socket."""

import uuid

from shared.body import Delta
from web.faces import native
from web.followed import Followed
from web.streaming import _Reader


def test_what_comes_during_a_slow_write_is_not_waited_for() -> None:
    followed = Followed(uuid.uuid4(), uuid.uuid4())
    reader = _Reader(followed, 0, native.FACE, None)
    followed.hear([Delta(0, 0, "text", "first ")])
    writing = reader.written(reader.advance())
    assert b"first" in next(writing)

    followed.hear([Delta(6, 0, "text", "second")])  # everybody else is woken; this one is writing
    assert next(writing, None) is None

    assert reader.wait(0)
    assert b"second" in reader.advance()
    assert not reader.wait(0)
