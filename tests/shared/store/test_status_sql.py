"""The database and every statement have the statuses and moves of shared/lifecycle.py.

That the trigger allows exactly the moves of the table is tried in test_tables.py.
"""

import re
from pathlib import Path

import pytest

from shared.lifecycle import OPEN, TERMINAL, TRANSITIONS, Status, sources
from shared.store import status_sql
from shared.store.ending import Ending
from tests.store_fixtures import Store

STORE = Path(status_sql.__file__).parent
#: What the migrations made, and the statuses that it must name.
NAMED = {
    "messages_status": set(Status),
    "messages_user_is_done": {Status.DONE},
    "messages_streaming": {Status.STREAMING},
    "messages_sending": {Status.SENDING},
    "messages_error": {Status.ERROR},
    "messages_abandonable": OPEN,
    "messages_ended": OPEN,
    "messages_open": OPEN,
    "messages_failed": {Status.ERROR},
}


def named(sql: str) -> set[str]:
    """The statuses that stand in a piece of SQL; another word in capitals and quotes is none."""
    return set(re.findall(r"'([A-Z]+)'", sql))


@pytest.mark.parametrize("name", NAMED)
def test_constraints_and_indexes_name_the_statuses_of_the_lifecycle(
    store: Store, name: str
) -> None:
    found = store.db.rows(
        "SELECT pg_get_constraintdef(oid) AS sql FROM pg_constraint WHERE conname = :name"
        " UNION ALL SELECT indexdef FROM pg_indexes WHERE indexname = :name",
        name=name,
    )

    assert {status for row in found for status in named(row.sql)} == NAMED[name]


def test_no_other_constraint_or_index_names_a_status(store: Store) -> None:
    found = store.db.rows(
        "SELECT conname AS name, pg_get_constraintdef(oid) AS sql FROM pg_constraint"
        " UNION ALL SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'"
    )

    assert {row.name for row in found if named(row.sql) & set(Status)} == set(NAMED)


def test_the_trigger_ends_a_row_for_the_statuses_that_are_not_open(store: Store) -> None:
    [row] = store.db.rows("SELECT prosrc FROM pg_proc WHERE proname = 'messages_guard'")

    [kept] = re.findall(r"IF OLD\.status NOT IN (\(.*?\)) THEN", row.prosrc)
    assert named(kept) == OPEN
    assert named(row.prosrc) & set(Status) <= set(Status)


def test_no_statement_spells_a_status_by_itself() -> None:
    spelled = {
        (file.name, word)
        for file in STORE.glob("*.py")
        for word in named(file.read_text())
        if word in set(Status)
    }

    assert spelled == set()


def test_a_list_has_the_statuses_in_the_order_of_the_enum() -> None:
    assert status_sql.OPEN_STATUSES == "('SENDING', 'STREAMING')"
    assert named(status_sql.listed(TERMINAL)) == TERMINAL


@pytest.mark.parametrize("after", Status)
def test_a_move_comes_from_the_statuses_that_the_table_allows(after: Status) -> None:
    assert named(status_sql.before(after)) == sources(after)
    assert {one for one in Status if after in TRANSITIONS[one]} == sources(after)


@pytest.mark.parametrize("status", sorted(OPEN))
def test_an_ending_with_an_open_status_is_refused(status: Status) -> None:
    with pytest.raises(AssertionError):
        Ending(status)
