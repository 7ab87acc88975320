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


def test_a_few_tests_of_real_processes_may_have_been_late() -> None:
    failures = failed(*(f"tests/end_to_end/test_stop.py::test_{n}" for n in range(LATE)))

    assert failures.may_be_late
    assert len(failures.names) == LATE


@pytest.mark.parametrize(
    "names",
    [
        [],
        ["tests/shared/test_body.py::test_it"],
        ["tests/end_to_end/test_stop.py::test_it", "tests/web/test_app.py::test_it"],
        [f"tests/end_to_end/test_stop.py::test_{n}" for n in range(LATE + 1)],
    ],
)
def test_others_and_many_have_failed(names: list[str]) -> None:
    assert not failed(*names).may_be_late
