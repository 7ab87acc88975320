"""Which failed tests are run once more."""

import pytest

from local.test import LATE, Failures


def failed(*names: str) -> Failures:
    """A run in which these failed, each in its call and in its teardown."""
    failures = Failures()
    for name in names:
        for when in ("call", "teardown"):
            failures.pytest_runtest_logreport(
                pytest.TestReport(name, ("", 0, ""), {}, "failed", None, when)
            )
    return failures


def test_a_few_may_have_been_late() -> None:
    failures = failed(*(f"tests/test_stop.py::test_{n}" for n in range(LATE)))

    assert failures.may_be_late
    assert len(failures.names) == LATE


@pytest.mark.parametrize("count", [0, LATE + 1])
def test_none_and_many_may_not(count: int) -> None:
    assert not failed(*(f"tests/test_stop.py::test_{n}" for n in range(count))).may_be_late
