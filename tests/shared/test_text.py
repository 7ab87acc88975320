"""Text that every server can hold: normalised once, whatever the chunks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.text import Normaliser, normalise
from tests.strategies import texts, thorough

#: Halves of pairs, whole ones, NUL, and letters between.
wild = st.text(
    st.sampled_from("a€😀\x00\ud83d\ude00\ud800\udbff\udc00\udfff\ufffd")
    | st.characters(codec=None, categories=None),
    max_size=12,
)
chunks = st.lists(wild, max_size=8)


def by_utf16(text: str) -> str:
    """The text as Python's UTF-16 decoder joins it: an independent check of our joining."""
    units = text.encode("utf-16-le", "surrogatepass")
    return units.decode("utf-16-le", "replace").replace("\x00", "\ufffd")


@thorough(300)
@given(wild)
def test_pairs_are_joined_and_what_cannot_be_stored_is_replaced(text: str) -> None:
    assert normalise(text) == by_utf16(text)


@given(wild)
def test_the_result_can_be_encoded_and_stored(text: str) -> None:
    storable = normalise(text)

    assert storable.encode().decode() == storable
    assert "\x00" not in storable


@given(wild)
def test_normalising_twice_changes_nothing(text: str) -> None:
    once = normalise(text)

    assert normalise(once) == once


@given(texts)
def test_ordinary_text_stays_as_it_is(text: str) -> None:
    assert normalise(text) == text


@pytest.mark.failure(34)
@thorough(300)
@given(chunks)
def test_any_chunking_gives_the_same_text(pieces: list[str]) -> None:
    normaliser = Normaliser()

    shown = [normaliser.feed(piece) for piece in pieces]
    shown.append(normaliser.flush())

    assert "".join(shown) == normalise("".join(pieces))


@given(chunks)
def test_text_shown_early_can_be_encoded(pieces: list[str]) -> None:
    normaliser = Normaliser()

    for piece in pieces:
        shown = normaliser.feed(piece)
        assert shown.encode().decode() == shown


def test_half_a_pair_waits_for_the_other_half() -> None:
    normaliser = Normaliser()

    shown = [normaliser.feed(piece) for piece in ("a\ud83d", "", "\ude00b")]

    assert shown == ["a", "", "😀b"]


@pytest.mark.parametrize("low", [0xDC00, 0xDFFF])
@pytest.mark.parametrize("high", [0xD800, 0xDBFF])
def test_the_first_and_last_halves_are_halves_too(high: int, low: int) -> None:
    pair = chr(high) + chr(low)
    normaliser = Normaliser()

    shown = [normaliser.feed(pair[0]), normaliser.feed(pair[1])]

    assert shown == ["", by_utf16(pair)]


@pytest.mark.parametrize(
    ("pieces", "shown"),
    [
        (["a\ud83d", "b"], ["a", "\ufffdb", ""]),
        (["\ud83d", "\ud83d", "\ude00"], ["", "\ufffd", "😀", ""]),
        (["\ude00", "\ud83d"], ["\ufffd", "", "\ufffd"]),
        (["\ud83d"], ["", "\ufffd"]),
    ],
)
def test_half_a_pair_that_stays_alone_is_replaced_and_keeps_its_place(
    pieces: list[str], shown: list[str]
) -> None:
    normaliser = Normaliser()

    got = [*(normaliser.feed(piece) for piece in pieces), normaliser.flush()]

    assert got == shown


def test_after_a_flush_the_next_text_begins_anew() -> None:
    normaliser = Normaliser()
    normaliser.feed("\ud83d")

    assert normaliser.flush() == "\ufffd"

    assert normaliser.flush() == ""
    assert normaliser.feed("\ude00") == "\ufffd"
