"""What the bench measures itself: text that it calls exact is exact, what it counts arrived."""

import json
from array import array

import pytest

from bench.road.comparison import verdicts
from bench.road.load import Follower
from bench.road.provider import Answer, Wanted, prompt
from bench.road.wire import BLOCK, SECOND, Checker, block
from bench.road.workloads import Goal, Row

TAG = 7


def _checked(*pieces: bytes) -> Checker:
    checker = Checker(TAG, array("q"), array("q"))
    for piece in pieces:
        checker.take(piece, 5_000)
    return checker


def _text(*numbers: int, last: int | None = None) -> bytes:
    return b"".join(block(one, 1_000, TAG, last=one == last) for one in numbers)


@pytest.mark.parametrize("size", [1, 5, BLOCK, 50])
def test_a_whole_answer_is_exact_however_it_is_cut(size: int) -> None:
    text = _text(0, 1, 2, last=2)
    checker = _checked(*(text[at : at + size] for at in range(0, len(text), size)))
    assert checker.exact
    assert checker.blocks == 3
    assert list(checker.delays) == [4_000] * 3


@pytest.mark.parametrize(
    ("numbers", "last"),
    [
        ((0, 2, 3), 3),  # a gap
        ((0, 1, 1, 2), 2),  # a repeat
        ((0, 2, 1), 1),  # another order
        ((0, 1, 2, 3), 2),  # more after the end
        ((0, 1, 2), None),  # no end
    ],
)
def test_an_answer_with_a_gap_or_a_repeat_is_not_exact(
    numbers: tuple[int, ...], last: int | None
) -> None:
    assert not _checked(_text(*numbers, last=last)).exact


def test_another_answers_text_is_wrong() -> None:
    assert _checked(block(0, 1_000, TAG + 1, last=True)).wrong


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_events_are_found_in_chunks_however_they_are_cut(size: int) -> None:
    follower = Follower(0, "all", Checker(TAG, array("q"), array("q")), None)
    wire = b"5\r\none\n\n\r\n3\r\ntwo\r\n2\r\n\n\n\r\n0\r\n\r\n"
    pieces = (wire[at : at + size] for at in range(0, len(wire), size))
    assert b"".join(follower.events(follower.body(piece)) for piece in pieces) == b"one\n\ntwo\n\n"


def test_the_provider_sends_what_a_prompt_asks_for() -> None:
    request = {"messages": [{"content": prompt(tag=TAG, stairs=[(SECOND, 0.0)], count=3)}]}
    answer = Answer(Wanted.of(json.loads(json.dumps(request))), 0)
    body = answer.events(0, late=False) + answer.events(1, late=False)
    assert answer.ended
    assert body.count(b'"content":"') == 3
    assert body.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")


def test_the_rate_is_kept_after_a_time_without_reads() -> None:
    answer = Answer(Wanted(tag=0, stairs=[(10 * SECOND, 10.0)]), 0)
    late = answer.events(SECOND, late=True)
    assert late.count(b'"content":"') == 11
    # What was due then has waited since then.
    assert b"%017d" % (SECOND // 2) in late


def test_a_goal_is_met_or_missed_by_the_ratio() -> None:
    row = Row("", "p50", "ms", least=(Goal(0.9, "follower"),), aim=(Goal(3),))
    assert verdicts(row, {"us": 1.8, "follower": 2.0}) == [
        "≤ 0.9 × follower: 0.90 × met",
        "aim ≤ 3: 1.80 met",
    ]
    assert verdicts(row, {"us": 4.0, "follower": None}) == ["aim ≤ 3: 4.00 MISSED"]


def test_an_answer_whose_client_has_left_ends_at_once() -> None:
    answer = Answer(Wanted(tag=TAG, stairs=[(10 * SECOND, 1.0)]), 0)
    answer.end(SECOND)
    assert block(0, SECOND, TAG, last=True) in answer.events(SECOND, late=False)
    assert answer.ended


def test_another_checkout_is_reported_as_a_ratio() -> None:
    row = Row("", "p50", "ms")
    assert verdicts(row, {"us": 2.1, "before": 2.0}) == ["1.05 × before"]
