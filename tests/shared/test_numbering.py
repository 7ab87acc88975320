"""Numbers of events: they rise, never change as a body grows, and every one is resumed from."""

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from shared.body import Body
from shared.numbering import (
    CLOSES,
    NOTHING,
    OPENS,
    STEP,
    Cut,
    Event,
    Slot,
    end_number,
    events,
    part_at,
    position_at,
)
from tests.strategies import Opened, Written, bodies, grow, growth

steps = st.integers(1, 5)


def every(most: int) -> Cut:
    """Cuts text into pieces of at most so many code points."""
    return lambda body, position: body.piece(position, most)


def text_of(found: Sequence[Event]) -> str:
    return "".join(event.delta.text for event in found if event.delta is not None)


def told(found: Sequence[Event]) -> list[tuple[int, Slot, int]]:
    """Everything but how the text is cut."""
    return [(one.number, one.slot, one.part) for one in found if one.delta is None]


@given(bodies, steps, st.booleans())
def test_numbers_rise_and_the_end_is_the_last(body: Body, most: int, ended: bool) -> None:
    numbers = [event.number for event in events(body, ended=ended, cut=every(most))]

    assert all(one < other for one, other in pairwise([NOTHING, *numbers, end_number(body)]))


@given(bodies, steps)
def test_a_part_opens_has_its_text_and_closes(body: Body, most: int) -> None:
    found = list(events(body, ended=True, cut=every(most)))

    assert [event.slot for event in found[:2]] == [Slot.RUN, Slot.RUNNING]
    assert text_of(found) == body.content
    for index, part in enumerate(body.parts):
        slots = [event.slot for event in found[2:] if event.part == index]
        text = len(slots) - len(OPENS) - len(CLOSES)
        assert slots == [*OPENS, *[Slot.TEXT] * text, *CLOSES]
        assert text_of([event for event in found if event.part == index]) == part.text
        assert all(
            event.delta.part == index
            for event in found
            if event.delta is not None and event.part == index
        )


@given(bodies, steps, steps, st.booleans())
def test_after_every_number_comes_exactly_the_rest(
    body: Body, most: int, other: int, ended: bool
) -> None:
    whole = list(events(body, ended=ended, cut=every(most)))

    for place, event in enumerate(whole):
        rest = list(events(body, event.number, ended=ended, cut=every(other)))

        assert told(rest) == told(whole[place + 1 :])
        assert text_of(rest) == text_of(whole[place + 1 :])
        assert position_at(body, event.number) == len(text_of(whole[: place + 1]))
        assert part_at(body, event.number) == event.part
    assert not list(events(body, end_number(body), ended=ended))


@given(bodies, steps)
def test_between_two_events_no_number_loses_or_repeats_any(body: Body, most: int) -> None:
    """A client may send a number that no event had: of a text that was cut in another way."""
    whole = list(events(body, ended=True, cut=every(1)))

    for number in range(NOTHING, end_number(body) + 2):
        rest = list(events(body, number, ended=True, cut=every(most)))

        assert told(rest) == told([event for event in whole if event.number > number])
        assert text_of(rest) == body.content[position_at(body, number) :]


@given(growth, st.data())
def test_a_reader_of_a_growing_body_sees_what_one_of_the_whole_does(
    calls: list[Written | Opened], data: st.DataObject
) -> None:
    """However the body grows, the text is cut, and the reader changes from process to process."""
    body, seen = Body(), list[Event]()
    for call in calls:
        grow(body, call)
        if data.draw(st.booleans()):
            after = seen[-1].number if seen else NOTHING
            # another process knows no empty part
            here = body if data.draw(st.booleans()) else Body(d for d in body.since(0) if d.text)
            cut = every(data.draw(steps))
            seen += events(here, after, ended=False, cut=cut)
            assert not seen or seen[-1].number < end_number(body)
    whole = Body(delta for delta in body.since(0) if delta.text)  # as its row has it in the end
    seen += events(whole, seen[-1].number if seen else NOTHING, ended=True)

    assert all(one.number < other.number for one, other in pairwise(seen))
    assert told(seen) == told(list(events(whole, ended=True)))
    assert text_of(seen) == whole.content
    assert seen[-1].number < end_number(whole)


def test_the_numbers_of_a_run_of_two_parts() -> None:
    body = Body()
    body.write("reasoning", "why")
    body.write("text", "so")

    found = [(event.number, event.slot) for event in events(body, ended=True)]

    assert [number for number, _ in found] == [0, 1, 2, 3, 7, 8, 9, 10, 13, 14, 17, 18, 19, 20]
    assert end_number(body) == 5 + 2 * STEP


def test_a_run_without_text_has_a_beginning_and_an_end() -> None:
    assert [event.number for event in events(Body(), ended=True)] == [0, 1]
    assert end_number(Body()) == STEP


def test_a_part_that_is_open_without_text_has_no_events_yet() -> None:
    body = Body()
    body.write("text", "one")
    body.open("tool_call", {"id": "a"})

    assert [event.part for event in events(body, 6, ended=False)] == [0, 0, 0, 0]
    assert end_number(body) == 3 + STEP
