"""Positions as clients send them: one rule, whatever the place."""

from hypothesis import given
from hypothesis import strategies as st

from web.requests import BEYOND, END, position


@given(st.integers(min_value=0), st.integers(0, 50))
def test_every_whole_number_is_a_position(number: int, zeros: int) -> None:
    found = position("0" * zeros + str(number))

    assert found == min(number, BEYOND)


@given(st.integers(0, 100_000))
def test_a_position_of_any_length_is_parsed(digits: int) -> None:
    """Python refuses to read a number of 5,000 digits, and takes long for one of 4,000."""
    assert position("9" * (16 + digits)) == BEYOND
    assert position("0" * digits + "12") == 12


@given(st.text() | st.from_regex(r"[-+ 0-9a-z._]{1,6}", fullmatch=True))
def test_other_text_is_not_a_position(value: str) -> None:
    digits = value != "" and set(value) <= set("0123456789")

    found = position(value)

    assert (found is not None) == (digits or value == "end")
    assert found != END or value == "end"
