"""Bodies of HTTP/1.1: however the socket cuts them, the same body comes out."""

from collections.abc import Iterator
from itertools import pairwise

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.provider.framing import (
    LINE_MAX,
    Chunked,
    FixedLength,
    Framing,
    FramingError,
    UntilClosed,
)

bodies = st.lists(st.binary(min_size=1, max_size=300), max_size=8)
cuts = st.lists(st.integers(0, 3000), max_size=12)


def pieces(data: bytes, places: list[int]) -> Iterator[bytes]:
    """The data cut at these places, without empty pieces."""
    bounds = [0, *sorted(min(place, len(data)) for place in places), len(data)]
    for begin, end in pairwise(bounds):
        if begin < end:
            yield data[begin:end]


def fed(framing: Framing, data: bytes) -> bytes:
    """The part of `data` that is body."""
    return b"".join(framing.feed(data))


def in_chunks(parts: list[bytes], trailers: bytes = b"") -> bytes:
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
    return chunks + b"0\r\n" + trailers + b"\r\n"


@given(bodies, cuts, st.sampled_from([b"", b"A: b\r\n", b"A: b\r\nC: d\r\n"]))
def test_a_chunked_body_is_whole_however_it_is_cut(
    parts: list[bytes], places: list[int], trailers: bytes
) -> None:
    framing = Chunked()

    found = [fed(framing, piece) for piece in pieces(in_chunks(parts, trailers), places)]

    assert b"".join(found) == b"".join(parts)
    assert framing.ended
    assert framing.reusable


@given(bodies)
def test_a_chunked_body_is_what_h11_reads(parts: list[bytes]) -> None:
    wire = h11.Connection(h11.CLIENT)
    wire.send(h11.Request(method="GET", target="/", headers=[("Host", "x")]))
    wire.send(h11.EndOfMessage())
    wire.receive_data(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + in_chunks(parts))
    theirs = b""
    while not isinstance(event := wire.next_event(), h11.EndOfMessage):
        theirs += bytes(event.data) if isinstance(event, h11.Data) else b""

    assert fed(Chunked(), in_chunks(parts)) == theirs


def test_chunks_that_came_together_are_one_piece() -> None:
    assert list(Chunked().feed(in_chunks([b"a", b"b", b"c"]))) == [b"abc"]


def test_chunk_extensions_and_spaces_are_not_data() -> None:
    assert fed(Chunked(), b'2 ;name="v"\r\nab\r\n0\r\n\r\n') == b"ab"


@pytest.mark.parametrize(
    "nonsense",
    [
        b"x\r\n",
        b"-1\r\n",
        b"+2\r\nab\r\n",
        b"\r\n",
        b"0x2\r\nab\r\n",
        b"1_0\r\n",
        b"12345678123456781\r\n",
        b"1" * (LINE_MAX + 1),
    ],
)
def test_anything_but_a_chunk_is_malformed(nonsense: bytes) -> None:
    with pytest.raises(FramingError):
        fed(Chunked(), nonsense)


@pytest.mark.parametrize("nonsense", [b"\r\nnonsense\r\n", b"and more\r\n"])
def test_chunks_before_a_malformed_one_are_returned_first(nonsense: bytes) -> None:
    found = Chunked().feed(b"1\r\na\r\n2\r\nbc" + nonsense)

    assert next(found) == b"abc"
    with pytest.raises(FramingError):
        next(found)


@given(bodies, cuts)
def test_a_body_of_fixed_length_is_whole_however_it_is_cut(
    parts: list[bytes], places: list[int]
) -> None:
    body = b"".join(parts)
    framing = FixedLength(len(body))

    found = [fed(framing, piece) for piece in pieces(body, places)]

    assert b"".join(found) == body
    assert framing.ended
    assert framing.reusable


@pytest.mark.parametrize("framing", [Chunked(), FixedLength(3)])
def test_a_connection_closed_within_a_body_is_malformed(framing: Chunked | FixedLength) -> None:
    assert fed(framing, b"1\r\na\r\n" if isinstance(framing, Chunked) else b"a") == b"a"

    with pytest.raises(FramingError):
        fed(framing, b"")
    assert not framing.ended


def test_data_after_the_end_makes_a_connection_not_reusable() -> None:
    fixed, chunked = FixedLength(1), Chunked()

    assert fed(fixed, b"ab") == b"a"
    assert fed(chunked, in_chunks([b"a"]) + b"b") == b"a"

    assert (fixed.ended, fixed.reusable) == (True, False)
    assert (chunked.ended, chunked.reusable) == (True, False)


def test_a_body_without_a_length_ends_with_its_connection() -> None:
    framing = UntilClosed()

    assert fed(framing, b"ab") == b"ab"
    assert fed(framing, b"") == b""
    assert (framing.ended, framing.reusable) == (True, False)
