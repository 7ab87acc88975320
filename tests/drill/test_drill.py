"""What the drill asks, in which order it breaks things, and what it calls a violation."""

import random
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest

from drill import report
from drill.__main__ import parse
from drill.database_probe import Row
from drill.fault_sequence import fault_sequence
from drill.faults import FAULT_KINDS
from drill.plan import Observation
from drill.questions import continues, question
from drill.report import Run
from drill.verifier import BOUND, FASTEST, Findings, InjectedFault, verify

ASKED = next(
    one
    for one in (question(7, number, rendezvous=0, run="r") for number in range(100))
    if one.natural == ("DONE", None, "stop") and one.stop_at is None
)
TEXT = ASKED.answers()[0].body
SEEN = Observation(
    ASKED.number, "id", asked_at=100.0, known_at=110.0, status="DONE", finish_reason="stop"
)
LOST = replace(SEEN, status="ERROR", code="worker_lost", finish_reason=None)
ROW = Row("id", "DONE", None, TEXT, 1, ())
ONCE = {ASKED.text: 1}


def verified(
    seen: Observation = SEEN,
    row: Row | None = ROW,
    faults: tuple[InjectedFault, ...] = (),
    calls: dict[str, int] = ONCE,
) -> Findings:
    rows = [row] if row else []
    return verify({ASKED.number: ASKED}, [seen], faults, rows, calls)


def kill(
    began: float = 105.0, kind: str = "worker-kill", ended: float | None = None
) -> InjectedFault:
    return InjectedFault(kind, "", began, True, ("id",), ended)


# --- questions ------------------------------------------------------------------------------------


def test_a_question_is_a_function_of_seed_and_number() -> None:
    asked = [question(seed, n, rendezvous=2, run="r") for seed in (1, 2) for n in range(20)]

    assert asked == [question(seed, n, rendezvous=2, run="r") for seed in (1, 2) for n in range(20)]
    assert len({one.text for one in asked}) == 40
    assert [bool(one.reaches) for one in asked[:20]] == [True] * 2 + [False] * 18


def test_each_call_of_the_provider_gets_another_text() -> None:
    assert len({answer.body for answer in ASKED.answers()}) == 3


@pytest.mark.parametrize(
    ("text", "at", "good"),
    [("", 0, True), ("a😀", 0, True), ("a\ufffd", 0, True), ("\ufffd", 1, True), ("b", 2, True),
     ("\ufffd", 0, False), ("a\ufffdb", 0, False), ("x\ufffd", 0, False), ("😀b\ufffd", 1, False)],
)  # fmt: skip
def test_an_answer_may_be_interrupted_inside_a_surrogate_pair(
    text: str, at: int, good: bool
) -> None:
    assert continues("a😀b", text, at) == good


# --- the deck -------------------------------------------------------------------------------------


def test_every_kind_of_fault_comes_soon() -> None:
    sequence = fault_sequence(random.Random(1), list(FAULT_KINDS))

    assert set(islice(sequence, 30)) == set(FAULT_KINDS)


def test_the_fault_sequence_is_a_function_of_its_seed_and_has_only_wanted_kinds() -> None:
    wanted = ["worker-kill", "redis-full"]

    one, same = (list(islice(fault_sequence(random.Random(3), wanted), 60)) for _ in range(2))

    assert one == same
    assert set(one) == set(wanted)
    assert list(fault_sequence(random.Random(3), [])) == []


def test_every_kind_of_fault_has_a_group_and_a_docstring() -> None:
    assert all(kind.inject.__doc__ for kind in FAULT_KINDS.values())
    assert {kind.group for kind in FAULT_KINDS.values()} == {
        "worker", "web", "redis", "postgres", "queue"
    }  # fmt: skip


# --- what is right --------------------------------------------------------------------------------


def test_a_good_answer_is_no_violation() -> None:
    assert verified().violations == []


def test_a_dead_worker_explains_a_partial_answer_and_is_timed() -> None:
    row = replace(ROW, status="ERROR", code="worker_lost", text=TEXT[:9])

    findings = verified(LOST, row, (kill(),))

    assert findings.violations == []
    assert findings.truth == [5.0]


def test_stop_explains_a_partial_answer() -> None:
    stopped = replace(SEEN, status="CANCELLED", finish_reason=None, stopped=True)

    assert verified(stopped, replace(ROW, status="CANCELLED", text=TEXT[:9])).violations == []


def test_the_text_of_a_second_call_is_accepted() -> None:
    second = replace(ROW, text=ASKED.answers()[1].body, tries=2)

    assert verified(row=second, calls={ASKED.text: 2}).violations == []


def test_losing_a_worker_and_redis_may_cost_text_up_to_the_bound() -> None:
    row = replace(ROW, status="ERROR", code="worker_lost", text=TEXT[:9])
    together = kill(kind="worker-and-redis-loss")

    assert verified(replace(LOST, lost=150), row, (together,)).lost_together == 150
    assert verified(replace(LOST, lost=BOUND + 1), row, (together,)).violations != []


# --- what a database that went back explains ------------------------------------------------------


def failover(lost_since: float = 104.0, ended: float = 106.0) -> InjectedFault:
    return InjectedFault("postgres-failover", "", 103.0, True, (), ended, lost_since=lost_since)


SYNCHRONOUS = replace(failover(), lost_since=None)
WENT_BACK = replace(SEEN, taken_at=101.0, went_back=["a reader got another end"])
REOPENED = replace(WENT_BACK, status="ERROR", code="worker_lost", finish_reason=None, lost=500)
PARTIAL = replace(ROW, status="ERROR", code="worker_lost", text=TEXT[:9])


def test_a_failover_that_lost_wal_explains_changed_answers() -> None:
    fourth = replace(ROW, text=ASKED.answers(4)[3].body, tries=1)
    for seen, row, calls in (
        (WENT_BACK, ROW, 1),
        (WENT_BACK, fourth, 4),
        (WENT_BACK, PARTIAL, 1),
        (REOPENED, PARTIAL, 1),
        (replace(WENT_BACK, taken_at=105.0), None, 1),
    ):
        calls_made = {ASKED.text: calls}
        assert verified(seen, row, (failover(),), calls_made).violations == []
        for other in (SYNCHRONOUS, failover(90.0, 92.0), failover(111.0, 112.0)):
            assert verified(seen, row, (other,), calls_made).violations != []


def test_no_failover_explains_text_of_two_calls_or_too_much_loss() -> None:
    mixture = replace(PARTIAL, text=TEXT[:9] + ASKED.answers()[1].body[9:20])
    for seen, row in (
        (REOPENED, mixture),
        (WENT_BACK, replace(ROW, text=mixture.text)),
        (replace(REOPENED, lost=BOUND + 2 * FASTEST + 1), PARTIAL),
        (WENT_BACK, None),  # it was taken before anything was lost
        (replace(WENT_BACK, violations=["the proof of an end fits text of two answers"]), ROW),
    ):
        assert verified(seen, row, (failover(),)).violations != []


def test_a_redis_that_went_back_explains_lost_text_only_with_a_dead_worker() -> None:
    alone = kill(kind="redis-rewind", ended=106.0)
    both = replace(alone, deadly=True)

    assert verified(replace(LOST, lost=150), PARTIAL, (both,)).violations == []
    assert verified(replace(LOST, lost=BOUND + 1), PARTIAL, (both,)).violations != []
    assert verified(LOST, PARTIAL, (alone,)).violations != []
    assert verified(replace(SEEN, went_back=["another end"]), ROW, (both,)).violations != []


# --- what is not ----------------------------------------------------------------------------------

WRONG: dict[str, Callable[[], Findings]] = {
    "what a reader saw": lambda: verified(replace(SEEN, violations=["a gap"])),
    "no reader saw it end": lambda: verified(replace(SEEN, status="")),
    "no death explains it": lambda: verified(
        LOST, replace(ROW, status="ERROR", code="worker_lost"), ()
    ),
    "the death came before it": lambda: verified(
        LOST, replace(ROW, status="ERROR", code="worker_lost"), (kill(99.0),)
    ),
    "the death came after it": lambda: verified(
        LOST, replace(ROW, status="ERROR", code="worker_lost"), (kill(111.0),)
    ),
    "a false DONE": lambda: verified(row=replace(ROW, text=TEXT[:-1])),
    "two writers": lambda: verified(row=replace(ROW, text=TEXT[:9] + ASKED.answers()[1].body[9:])),
    "a cancelled answer that was not stopped": lambda: verified(
        replace(SEEN, status="CANCELLED", finish_reason=None)
    ),
    "a partial that is not a beginning": lambda: verified(
        LOST, replace(ROW, status="ERROR", code="worker_lost", text="x" + TEXT), (kill(),)
    ),
    "lost text": lambda: verified(
        replace(LOST, lost=1), replace(ROW, status="ERROR", code="worker_lost"), (kill(),)
    ),
    "another end than the row's": lambda: verified(
        row=replace(ROW, status="ERROR", code="storage")
    ),
    "another finish reason": lambda: verified(replace(SEEN, finish_reason="length")),
    "a row that is wrong by itself": lambda: verified(row=replace(ROW, faults=("is wrong",))),
    "no row": lambda: verified(row=None),
    "a row that no client asked for": lambda: verified(replace(SEEN, id="another")),
    "more calls than claims": lambda: verified(calls={ASKED.text: 2}),
}


@pytest.mark.parametrize("what", WRONG)
def test_each_contradiction_is_a_violation(what: str) -> None:
    assert WRONG[what]().violations != []


# --- the report -----------------------------------------------------------------------------------


def test_a_ledger_adds_up_the_runs_of_one_commit(tmp_path: Path) -> None:
    ledger = tmp_path / "drill.json"
    run = Run(1, "abc", "short", 60.0, {"DONE": 3}, 100, faults={"worker-kill": 2}, truth=[1.0])
    report.resume(ledger, replace(run, commit="older"))
    report.resume(ledger, run)

    runs = report.resume(ledger, replace(run, seed=2, timings="default", violations=["one"]))
    whole = report.added(runs)

    assert len(runs) == 2
    assert (whole.generations, whole.characters, whole.seconds) == (6, 200, 120.0)
    assert whole.faults == {"worker-kill": 4}
    assert whole.truth == [1.0, 1.0]
    assert whole.violations == ["one"]
    assert (whole.seed, whole.timings) == (2, "default + short")


def test_the_table_has_everything_that_was_counted() -> None:
    faults = {"worker-and-redis-loss": 2}
    run = Run(1, "abc", "short", 60.0, {"DONE": 3, "ERROR": 1}, cuts=5, cuts_running=4,
              faults=faults, faults_running=1, polls=9, truth=[1, 3], lost_together=17)  # fmt: skip

    text = "\n".join(report.table(run, "short: lease 4 s"))

    lines = ("4: 3 DONE, 1 ERROR", "5, 4 while", "2, 50 % while", "2   3.00   3.00   3.00   3.00")
    for words in (*lines, "0 in 9 polls", "17 at most", "lease 4 s", "1, abc"):
        assert words in text


# --- the command line -----------------------------------------------------------------------------


@pytest.mark.parametrize("words", ["", "--local --against http://x", "--local --faults fire"])
def test_arguments_that_make_no_sense_are_refused(words: str) -> None:
    with pytest.raises(SystemExit):
        parse(words.split())


def test_without_a_seed_one_is_drawn() -> None:
    assert parse(["--local"]).seed != parse(["--local"]).seed
    assert parse(["--local"]).rendezvous == 37
