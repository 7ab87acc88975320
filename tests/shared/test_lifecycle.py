"""One enum, one table, one set of ends, and a document that is made from them."""

import re
from collections.abc import Set as AbstractSet
from pathlib import Path

import pytest

from shared.lifecycle import OPEN, TERMINAL, TRANSITIONS, Status, diagram, sources

PAGE = Path(__file__).parents[2] / "docs" / "lifecycle.md"


def reachable(start: Status) -> AbstractSet[Status]:
    found, new = {start}, {start}
    while new:
        new = {after for before in new for after in TRANSITIONS[before]} - found
        found |= new
    return found


def test_the_table_knows_every_status_and_no_other() -> None:
    assert set(TRANSITIONS) == set(Status)
    assert all(after in Status for moves in TRANSITIONS.values() for after in moves)


def test_every_status_is_reached_and_every_open_one_can_end() -> None:
    assert reachable(Status.SENDING) == set(Status)
    assert all(reachable(status) & TERMINAL for status in OPEN)


def test_no_move_leaves_an_end() -> None:
    assert {Status.DONE, Status.CANCELLED, Status.ERROR} == TERMINAL
    assert {Status.SENDING, Status.STREAMING} == OPEN
    assert not any(sources(after) & TERMINAL for after in Status)


def test_only_a_claimed_answer_can_become_done() -> None:
    assert sources(Status.DONE) == {Status.STREAMING}


def test_sources_are_the_table_read_backwards() -> None:
    moves = {(before, after) for after in Status for before in sources(after)}

    assert moves == {(before, after) for before, to in TRANSITIONS.items() for after in to}


@pytest.mark.parametrize("status", Status)
def test_a_status_does_not_move_to_itself(status: Status) -> None:
    assert status not in sources(status)


def test_a_status_is_its_name_in_the_database() -> None:
    assert [f"{status}" for status in Status] == [status.name for status in Status]


def test_the_diagram_draws_every_move_with_its_reason_and_nothing_else() -> None:
    drawn = re.findall(r"^ {4}(\w+) --> (\w+): (.+)$", diagram(), re.MULTILINE)

    assert drawn == [
        (before.value, after.value, why)
        for before, moves in TRANSITIONS.items()
        for after, why in moves.items()
    ]
    assert set(re.findall(r"(\w+) --> \[\*\]", diagram())) == TERMINAL


def test_the_document_shows_exactly_this_diagram() -> None:
    shown = re.findall(r"```mermaid\n(.*?)```", PAGE.read_text(), re.DOTALL)

    assert shown == [diagram()]
