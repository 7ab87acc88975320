"""Redis' wire format: replies come out as they were sent, or the connection is given up."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.bus.connection import ReplyError, ReplyReader, pack
from shared.errors import RedisDown

words = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
plain = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), max_size=20)
replies = st.recursive(
    st.none() | words | st.integers(-(2**63), 2**63 - 1) | plain.map(ReplyError),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=10,
)


def encoded(reply: Any) -> bytes:
    """A reply as a server sends it."""
    if reply is None:
        return b"$-1\r\n"
    if isinstance(reply, list):
        return b"*%d\r\n" % len(reply) + b"".join(map(encoded, reply))
    if isinstance(reply, int):
        return b":%d\r\n" % reply
    if isinstance(reply, ReplyError):
        return b"-%b\r\n" % str(reply).encode()
    data = reply.encode()
    return b"$%d\r\n%b\r\n" % (len(data), data)


def comparable(reply: Any) -> Any:
    """A reply with its types, since errors are never equal."""
    if isinstance(reply, list):
        return [comparable(one) for one in reply]
    return type(reply), str(reply)


@given(st.lists(replies, max_size=5), st.lists(st.integers(0, 400), max_size=8))
def test_replies_are_whole_however_they_are_cut(sent: list[Any], cuts: list[int]) -> None:
    data = b"".join(map(encoded, sent))
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    reader = ReplyReader()

    found = [reply for begin, end in pairwise(places) for reply in reader.feed(data[begin:end])]

    assert comparable(found) == comparable(sent)


@given(st.lists(words | st.integers(-(2**63), 2**63 - 1), min_size=1))
def test_a_command_is_an_array_of_its_words(command: list[str | int]) -> None:
    [found] = ReplyReader().feed(pack(*command))

    assert found == [str(word) for word in command]


def test_simple_strings_and_empty_and_missing_arrays_are_parsed() -> None:
    assert ReplyReader().feed(b"+PONG\r\n*-1\r\n*0\r\n") == ["PONG", None, []]


def test_bytes_that_are_not_utf8_survive() -> None:
    [found] = ReplyReader().feed(b"$2\r\n\xff\xfe\r\n")

    assert found.encode("utf-8", "surrogateescape") == b"\xff\xfe"


MALFORMED = {
    "another protocol": b"HTTP/1.1 200 OK\r\n",
    "a number that is none": b":one\r\n",
    "a length that is none": b"$x\r\n",
    "a negative length": b"$-5\r\n",
    "a length of twenty digits": b"$99999999999999999999\r\n",
    "a negative count": b"*-5\r\n",
    "a count that no memory holds": b"*4294967294\r\n",
    "a map with a list as key": b"%1\r\n*0\r\n+x\r\n",
    "no type": b"\r\n",
    "an unknown type in an array": b"*1\r\n!\r\n",
}


@pytest.mark.parametrize("data", MALFORMED.values(), ids=MALFORMED)
def test_malformed_replies_are_redis_down(data: bytes) -> None:
    with pytest.raises(RedisDown):
        ReplyReader().feed(data)


@given(st.binary(max_size=50) | st.from_regex(rb"[-+:$*%~>#_,(][0-9a-z\r\n]{0,20}\r\n\Z"))
def test_any_bytes_are_replies_or_redis_down(data: bytes) -> None:
    try:
        found = ReplyReader().feed(data)
    except RedisDown:
        return
    assert isinstance(found, list)


def test_a_large_reply_is_parsed_once_it_is_whole() -> None:
    reader = ReplyReader()
    data = encoded("x" * 1_000_000)

    pieces = [reader.feed(data[at : at + 1000]) for at in range(0, len(data), 1000)]

    assert pieces[:-1] == [[]] * (len(pieces) - 1)
    assert pieces[-1] == ["x" * 1_000_000]
