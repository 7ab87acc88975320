"""How long a provider asks to be left alone, whatever the clocks say."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from worker.provider import retry_after

NOON = datetime(2020, 1, 1, 12, tzinfo=UTC)


def _date(seconds: float) -> str:
    return format_datetime(NOON + timedelta(seconds=seconds), usegmt=True)


def test_a_date_counts_from_the_providers_own_clock() -> None:
    assert retry_after({"retry-after": _date(20), "date": _date(0)}) == 20
    assert retry_after({"retry-after": _date(-20), "date": _date(0)}) == 0


@pytest.mark.parametrize("date", [{}, {"date": "soon"}])
def test_without_one_from_ours(date: dict[str, str]) -> None:
    assert retry_after({"retry-after": _date(20), **date}) == 0  # long ago


@pytest.mark.parametrize("value", ["", "soon", "Wed, 99 Nov"])
def test_what_is_no_time_is_none(value: str) -> None:
    assert retry_after({"retry-after": value, "date": _date(0)}) is None
