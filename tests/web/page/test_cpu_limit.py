"""A limit to what somebody's text may cost, and to what a library's bug may spoil."""

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


def test_what_takes_too_long_is_done_otherwise() -> None:
    def for_ever() -> str:
        while True:
            pass

    assert with_fallback(0.05, for_ever, lambda: "otherwise") == "otherwise"


def test_a_bug_in_a_library_spoils_no_more_than_its_block(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise IndexError("a secret")

    structlog.reset_defaults()
    with capture_logs() as logged, monkeypatch.context() as patch:
        patch.setattr(markdown._Renderer, "render", broken)
        html = markdown.markdown_html("**a** <b>")

    assert html == "<p>**a** &lt;b&gt;</p>"
    assert [one["error"] for one in logged] == ["IndexError"]
    assert "secret" not in str(logged)


# --- how limits nest, and when they are over ------------------------------------------------------


def busy(seconds: float) -> None:
    """Computes for so long."""
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


def for_ever() -> str:
    """What nobody would wait for: inside it no line of Python runs."""
    return str(re.match(r"(a+)+$", "a" * 60 + "b"))


def cost(work: Callable[[], object]) -> float:
    """Seconds of CPU time that it takes."""
    begun = time.thread_time()
    work()
    return time.thread_time() - begun


def test_a_regular_expression_is_interrupted_in_time() -> None:
    assert cost(lambda: with_fallback(0.02, for_ever, str)) < 0.05


def test_time_spent_inside_counts_for_the_limit_around_it() -> None:
    inside: list[str] = []

    def many() -> None:
        while True:
            inside.append(with_fallback(0.03, for_ever, lambda: "given up"))

    assert cost(lambda: with_fallback(0.1, many, lambda: None)) < 0.16
    assert inside == ["given up"] * len(inside)
    assert 1 <= len(inside) <= 4


def test_a_limit_inside_does_not_lengthen_the_one_around_it() -> None:
    assert cost(lambda: with_fallback(0.02, lambda: with_fallback(10.0, for_ever, str), str)) < 0.05


def test_what_catches_every_exception_is_interrupted_too() -> None:
    def stubborn() -> None:
        while True:
            with suppress(Exception):
                for_ever()

    assert cost(lambda: with_fallback(0.02, stubborn, lambda: None)) < 0.06


def test_a_signal_that_comes_late_raises_nothing() -> None:
    for number in range(2_000):  # limits that end just about when their work does
        with_fallback(number % 40 * 1e-6 + 1e-6, lambda: sum(range(200)), int)
        sum(range(300))
    signal.raise_signal(signal.SIGALRM)  # and one that is very late

    assert with_fallback(5.0, lambda: "as ever", str) == "as ever"


def test_an_early_signal_raises_nothing() -> None:
    def interrupted() -> str:
        for _ in range(10):
            signal.raise_signal(signal.SIGALRM)
        return "done"

    assert with_fallback(5.0, interrupted, str) == "done"
