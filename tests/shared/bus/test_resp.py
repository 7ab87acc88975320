"""Redis' wire format: whatever is said comes out as it was, however it is cut."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.bus.resp import Nonsense, Reader, Refused, pack

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
plain = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), max_size=20)
replies = st.recursive(
    st.none() | words | st.integers(-(2**63), 2**63 - 1) | plain.map(Refused),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=10,
)


def written(reply: Any) -> bytes:
    """As a server writes it."""
    if reply is None:
        return b"$-1\r\n"
    if isinstance(reply, list):
        return b"*%d\r\n" % len(reply) + b"".join(map(written, reply))
    if isinstance(reply, int):
        return b":%d\r\n" % reply
    if isinstance(reply, Refused):
        return b"-%b\r\n" % reply.encode()
    data = reply.encode()
    return b"$%d\r\n%b\r\n" % (len(data), data)


@given(st.lists(replies, max_size=5), st.lists(st.integers(0, 400), max_size=8))
def test_replies_come_out_whole_however_they_are_cut(said: list[Any], cuts: list[int]) -> None:
    data = b"".join(map(written, said))
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    reader = Reader()

    found = [reply for begin, end in pairwise(places) for reply in reader.feed(data[begin:end])]

    assert found == said
    assert [type(one) for one in found] == [type(one) for one in said]


@given(st.lists(words | st.integers(), min_size=1))
def test_a_command_is_an_array_of_its_words(command: list[str | int]) -> None:
    [found] = Reader().feed(pack(*command))

    assert found == [str(word) for word in command]


def test_states_and_missing_arrays() -> None:
    assert list(Reader().feed(b"+PONG\r\n*-1\r\n*0\r\n")) == ["PONG", None, []]


@pytest.mark.parametrize(
    "nonsense", [b"HTTP/1.1 200 OK\r\n", b":one\r\n", b"$x\r\n", b"\r\n", b"*1\r\n!\r\n"]
)
def test_what_is_no_reply_is_nonsense(nonsense: bytes) -> None:
    with pytest.raises(Nonsense):
        list(Reader().feed(nonsense))


def test_a_large_reply_is_not_looked_at_before_it_is_there() -> None:
    reader = Reader()
    data = written("x" * 1_000_000)

    pieces = [list(reader.feed(data[at : at + 1000])) for at in range(0, len(data), 1000)]

    assert pieces[:-1] == [[]] * (len(pieces) - 1)
    assert pieces[-1] == ["x" * 1_000_000]
