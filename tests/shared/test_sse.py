"""Server-Sent Events, written and parsed, against the standard's examples and a second parser."""

import json
import re
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared import sse
from shared.sse import Decoder, Event, LineTooLong, encode
from tests.strategies import cut, thorough

BOM = b"\xef\xbb\xbf"


def decode(*chunks: bytes, **options: Any) -> list[Event]:
    decoder = Decoder(**options)
    return [event for chunk in chunks for event in decoder.feed(chunk)]


def data(*chunks: bytes) -> list[str]:
    return [event.data for event in decode(*chunks)]


def by_the_standard(stream: bytes) -> list[Event]:
    """The standard read once more, naively and over the whole: WHATWG HTML, 9.2.6."""
    text = stream.removeprefix(BOM).decode()
    events, buffer, name, last_id = [], "", "", ""
    for line in re.split("\r\n|\r|\n", text)[:-1]:
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if line == "":
            if buffer:
                events.append(Event(buffer[:-1], name or "message", last_id))
            buffer, name = "", ""
        elif field == "data":
            buffer += value + "\n"
        elif field == "event":
            name = value
        elif field == "id" and "\0" not in value:
            last_id = value
    return events


# --- what we send ---------------------------------------------------------------------------------


@thorough(200)
@given(
    st.text(),
    st.lists(st.integers(0, 300), max_size=6),
)
def test_every_character_comes_back_whatever_the_chunks(text: str, places: list[int]) -> None:
    frame = encode("delta", {"text": text}, 7)

    [event] = decode(*cut(frame, places))

    assert json.loads(event.data) == {"text": text}
    assert (event.event, event.id) == ("delta", "7")


@pytest.mark.failure(35)
def test_every_code_point_comes_back() -> None:
    # Backwards, so that no two halves of a pair meet: JSON would join them.
    everything = "".join(map(chr, range(0x10FFFF, -1, -1)))

    for start in range(0, len(everything), 10_000):
        text = everything[start : start + 10_000]
        [event] = decode(encode("delta", text))
        assert json.loads(event.data) == text


@given(st.text(st.characters(codec=None, categories=None)))
def test_a_frame_is_three_ascii_lines_and_a_blank_one_and_its_id_comes_last(text: str) -> None:
    frame = encode("delta", text, 12)

    assert frame.isascii()
    assert b"\r" not in frame
    assert re.fullmatch(rb"event: delta\ndata: [^\n]*\nid: 12\n\n", frame)


@given(st.text(st.characters(codec=None, categories=None), min_size=1), st.integers(0, 200))
def test_fitting_fills_the_room_and_takes_at_least_one_character(text: str, room: int) -> None:
    def size(count: int) -> int:
        return len(sse.to_json(text[:count])) - 2

    count = sse.fitting(text, room)

    assert 1 <= count <= len(text)
    assert count == 1 or size(count) <= room


def test_a_frame_without_id_leaves_the_last_id() -> None:
    stream = encode("delta", 1, 5) + encode("ping", 2)

    assert [event.id for event in decode(stream)] == ["5", "5"]


def test_a_heartbeat_and_a_retry_make_no_event_but_do_their_work() -> None:
    decoder = Decoder()
    stream = sse.HEARTBEAT + sse.retry(1500) + sse.HEARTBEAT + encode("end", {}, "end")

    events = list(decoder.feed(stream))

    assert events == [Event("{}", "end", "end")]
    assert decoder.retry == 1500


def test_a_heartbeat_within_a_frame_does_not_cut_it() -> None:
    assert data(b"data: a\n" + sse.HEARTBEAT + b"data: b\n\n") == ["a\nb"]


# --- the standard's own examples ------------------------------------------------------------------


def test_the_standards_stock_quotes_are_one_event() -> None:
    assert data(b"data: YHOO\ndata: +2\ndata: 10\n\n") == ["YHOO\n+2\n10"]


def test_the_standards_four_blocks() -> None:
    stream = (
        b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\n"
        b"data:  third event\n\n"
    )

    assert decode(stream) == [
        Event("first event", id="1"),
        Event("second event", id=""),
        Event(" third event", id=""),
    ]


def test_the_standards_empty_data() -> None:
    assert data(b"data\n\ndata\ndata\n\ndata:") == ["", "\n"]


def test_the_standards_optional_space() -> None:
    assert data(b"data:test\n\ndata: test\n\n") == ["test", "test"]


# --- lines ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("newline", [b"\n", b"\r", b"\r\n"])
def test_each_of_the_three_line_ends_ends_a_line(newline: bytes) -> None:
    stream = b"event: e\ndata: a\ndata\ndata: b\n\ndata: c\n\n".replace(b"\n", newline)
    expected = [Event("a\n\nb", "e"), Event("c")]

    assert decode(stream) == expected
    assert decode(*(bytes([byte]) for byte in stream)) == expected


def test_crlf_split_over_chunks_with_nothing_between_is_one_line_end() -> None:
    assert data(b"data: a\r", b"", b"\ndata: b\r", b"\n\r", b"", b"\n") == ["a\nb"]


def test_a_cr_at_the_end_of_a_chunk_ends_its_line_at_once() -> None:
    assert data(b"data: a\r\r") == ["a"]


@pytest.mark.parametrize("character", ["\u2028", "\u2029", "\u0085", "\x0b", "\x0c", "\x1c"])
def test_other_line_separators_are_text(character: str) -> None:
    text = f"a{character}b"

    assert data(f"data: {text}\n\n".encode()) == [text]


_pieces = st.sampled_from(
    [
        b"\r",
        b"\n",
        b"\r\n",
        b"\n\n",
        b"\r\r",
        b":",
        b" ",
        b"data",
        b"data: x",
        b"event: e",
        b"id: 7",
        b"id",
        b"id: a\x00",
        b"retry: 10",
        b"foo: bar",
        "\u2028".encode(),
        "😀".encode(),
        BOM,
        b"\x00",
    ]
)


@thorough(500)
@given(st.lists(_pieces, max_size=30), st.lists(st.integers(0, 80), max_size=8))
@example([b"data: x", b"\r\n", b"\r\n"], [8, 9, 10])
@example([BOM, b"data: x", b"\n\n"], [1, 2])
def test_any_bytes_in_any_chunks_mean_what_the_standard_says(
    pieces: list[bytes], places: list[int]
) -> None:
    stream = b"".join(pieces)

    assert decode(*cut(stream, places)) == by_the_standard(stream)


# --- fields ---------------------------------------------------------------------------------------


def test_unknown_fields_and_comments_are_ignored() -> None:
    assert decode(b"foo: 1\n: data: 2\n Data: 3\nDATA: 4\ndata: 5\nbar\n\n") == [Event("5")]


def test_an_id_with_nul_is_ignored() -> None:
    assert decode(b"id: 1\nid: 2\x00\ndata: a\n\n") == [Event("a", id="1")]


def test_an_id_counts_even_without_data_and_sticks() -> None:
    decoder = Decoder()

    events = list(decoder.feed(b"id: 1\n\ndata: a\n\nid\n\ndata: b\n\n"))

    assert [event.id for event in events] == ["1", ""]
    assert decoder.last_id == ""


def test_an_event_name_is_forgotten_with_its_block() -> None:
    assert decode(b"event: a\n\ndata: 1\n\n") == [Event("1", "message")]


@pytest.mark.parametrize("value", [b"", b"-1", b"1.5", b"1e3", b"soon", "٣".encode(), "²".encode()])
def test_a_retry_that_is_not_a_number_is_ignored(value: bytes) -> None:
    decoder = Decoder()

    list(decoder.feed(b"retry: 10\nretry: " + value + b"\n"))

    assert decoder.retry == 10


def test_a_retry_of_absurd_length_is_ignored() -> None:
    decoder = Decoder()

    events = list(decoder.feed(b"retry: " + b"9" * 5000 + b"\ndata: a\n\n"))

    assert events == [Event("a")]
    assert decoder.retry is None


def test_only_the_first_byte_order_mark_is_removed() -> None:
    assert data(BOM + b"data: a\n\n") == ["a"]
    assert data(BOM + BOM + b"data: a\n\n") == []
    assert data(b"\n" + BOM + b"data: a\n\n") == []
    assert data(BOM + b"\ndata: a\n\n") == ["a"]


def test_bytes_after_the_last_blank_line_are_not_an_event() -> None:
    assert data(b"data: a\n\ndata: b\n") == ["a"]
    assert data(b"data: a\n\ndata: b") == ["a"]


# --- limits ---------------------------------------------------------------------------------------


def line(size: int) -> bytes:
    """A line of that many bytes."""
    return b"data: " + b"x" * (size - 6)


@pytest.mark.parametrize("chunk", [1 << 22, 1000, 65536])
def test_a_line_may_have_a_mebibyte_and_not_a_byte_more(chunk: int) -> None:
    def chunks(stream: bytes) -> Iterable[bytes]:
        return (stream[start : start + chunk] for start in range(0, len(stream), chunk))

    [event] = decode(*chunks(line(1 << 20) + b"\n\n"))

    assert len(event.data) == (1 << 20) - 6
    with pytest.raises(LineTooLong):
        decode(*chunks(line((1 << 20) + 1) + b"\n\n"))


def test_a_line_without_end_is_refused_as_soon_as_it_is_too_long() -> None:
    decoder = Decoder(limit=100)
    list(decoder.feed(b"x" * 100))

    with pytest.raises(LineTooLong):
        list(decoder.feed(b"x"))


def test_the_data_of_one_event_is_limited_too() -> None:
    with pytest.raises(LineTooLong):
        decode(*[b"data: 123456\n"] * 20, limit=100)


def test_empty_data_lines_do_not_slip_under_the_limit() -> None:
    with pytest.raises(LineTooLong):
        decode(*[b"data\n"] * 200, limit=100)


def test_the_limit_is_per_event_not_for_the_stream() -> None:
    assert data(*[b"data: 1234567890\n\n"] * 1000) == ["1234567890"] * 1000
    assert len(decode(*[b"data: 1234567890\n\n"] * 50, limit=20)) == 50


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_events_before_a_line_that_is_too_long_are_yielded(size: int) -> None:
    stream = b"data: a\n\ndata: b\n\n" + b"x" * 200
    chunks = [stream[start : start + size] for start in range(0, len(stream), size)]
    decoder = Decoder(limit=100)
    events: list[str] = []

    with pytest.raises(LineTooLong):
        events.extend(event.data for chunk in chunks for event in decoder.feed(chunk))

    assert events == ["a", "b"]


@pytest.mark.parametrize("broken", [b"\xff", b"\xe2\x82", b"\xed\xa0\xbd", b"\xc0\x80", b"\xf5"])
def test_invalid_utf8_is_an_error_unless_asked_to_replace(broken: bytes) -> None:
    stream = b"data: a\n\ndata: " + broken + b"\n\n"

    with pytest.raises(UnicodeDecodeError):
        decode(stream)

    [first, second] = decode(stream, errors="replace")
    assert first.data == "a"
    assert set(second.data) == {"\ufffd"}


def test_events_before_invalid_bytes_are_yielded_first() -> None:
    decoder = Decoder()
    assert len(list(decoder.feed(b"data: begun\n\n"))) == 1

    events = decoder.feed(b"data: one\n\ndata: two\n\ndata: \xff\n\n")

    assert [next(events).data, next(events).data] == ["one", "two"]
    with pytest.raises(UnicodeDecodeError):
        next(events)


def test_a_character_split_over_chunks_is_whole() -> None:
    assert data(*(bytes([byte]) for byte in "data: €😀\n\n".encode())) == ["€😀"]
