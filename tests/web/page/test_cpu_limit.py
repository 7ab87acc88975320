"""Limits of CPU time: exceeded, nested, and with signals that arrive early or late."""

import re
import signal
import time
from collections.abc import Callable
from contextlib import suppress

import pytest
import structlog
from structlog.testing import capture_logs

from web.page import markdown
from web.page.cpu_limit import with_fallback


def test_fallback_replaces_work_that_exceeds_its_limit() -> None:
    def endless_loop() -> str:
        while True:
            pass

    assert with_fallback(0.05, endless_loop, lambda: "otherwise") == "otherwise"


def test_exception_of_a_library_costs_one_block_its_markup_and_is_logged_by_type(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> None:
        raise IndexError("a secret")

    structlog.reset_defaults()
    with capture_logs() as logged, monkeypatch.context() as patch:
        patch.setattr(markdown._Renderer, "render", broken)
        html = markdown.markdown_html("**a** <b>")

    assert html == "<p>**a** &lt;b&gt;</p>"
    assert [one["error"] for one in logged] == ["IndexError"]
    assert "secret" not in str(logged)


# --- nesting and signals --------------------------------------------------------------------------


def busy(seconds: float) -> None:
    """Use this much CPU time."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


def endless_match() -> str:
    """A match that takes years; no line of Python runs inside of it."""
    return str(re.match(r"(a+)+$", "a" * 60 + "b"))


def cost(work: Callable[[], object]) -> float:
    """Seconds of CPU time that the work takes."""
    begun = time.thread_time()
    work()
    return time.thread_time() - begun


def test_regular_expression_is_interrupted_in_time() -> None:
    assert cost(lambda: with_fallback(0.02, endless_match, str)) < 0.05


def test_time_in_inner_limits_counts_for_the_outer_one() -> None:
    results: list[str] = []

    def many() -> None:
        while True:
            results.append(with_fallback(0.03, endless_match, lambda: "given up"))

    assert cost(lambda: with_fallback(0.1, many, lambda: None)) < 0.16
    assert results == ["given up"] * len(results)
    assert 1 <= len(results) <= 4


def test_inner_limit_does_not_lengthen_the_outer_one() -> None:
    assert (
        cost(lambda: with_fallback(0.02, lambda: with_fallback(10.0, endless_match, str), str))
        < 0.05
    )


def test_work_that_catches_every_exception_is_interrupted() -> None:
    def stubborn() -> None:
        while True:
            with suppress(Exception):
                endless_match()

    assert cost(lambda: with_fallback(0.02, stubborn, lambda: None)) < 0.06


def test_late_signal_raises_nothing() -> None:
    for number in range(2_000):  # limits that expire about when their work ends
        with_fallback(number % 40 * 1e-6 + 1e-6, lambda: sum(range(200)), int)
        sum(range(300))
    signal.raise_signal(signal.SIGALRM)  # and a very late signal

    assert with_fallback(5.0, lambda: "as ever", str) == "as ever"


def test_early_signal_raises_nothing() -> None:
    def interrupted() -> str:
        for _ in range(10):
            signal.raise_signal(signal.SIGALRM)
        return "done"

    assert with_fallback(5.0, interrupted, str) == "done"
