"""The fuzzer of provider streams, for half a minute; `python -m bench.fuzz provider` goes on."""

import random

import pytest

from bench.fuzz import provider as fuzz
from worker import generation
from worker.provider.reply import Reply

SECONDS = 30.0


@pytest.mark.failure(50)
def test_no_stream_blocks_the_loop_or_grows_memory_or_is_falsely_done() -> None:
    found = fuzz.run(SECONDS, random.randrange(10**9))

    print(found)
    assert not found.wrong, found
    assert {"DONE", "provider_malformed", "provider_cut"} <= found.ends.keys()


CALL = {"index": 0, "function": {"arguments": "a\0" * 500}}


@pytest.mark.failure(50)
@pytest.mark.parametrize(
    "data",
    [
        pytest.param(
            fuzz.frame({"tool_calls": [CALL]}) * 4_010, id="a call as long as an answer may be"
        ),
        pytest.param(
            b"".join(fuzz.frame({"tool_calls": [{"index": number}]}) for number in range(512))
            + b'data: {"choices": [{"delta": {"content": "'
            + b"x" * 990_000,
            id="as many parts as there may be, then a giant line",
        ),
    ],
)
def test_streams_that_once_exceeded_a_limit_no_longer_do(
    monkeypatch: pytest.MonkeyPatch, data: bytes
) -> None:
    pieces = tuple(fuzz.pieces(data, random.Random(1)))
    monkeypatch.setattr(fuzz, "stream", lambda _: pieces)
    monkeypatch.setattr(fuzz, "LIMITS", (4_000_000,))
    monkeypatch.setattr(fuzz, "STEP_SECONDS", 0.04)  # to see it on a fast machine, too

    found = fuzz.run(60, 0, 1)

    assert found.measured == 1
    assert not found.wrong, found


def test_a_seed_always_gives_the_same_stream() -> None:
    assert [fuzz.stream(seed) for seed in range(20)] == [fuzz.stream(seed) for seed in range(20)]


@pytest.mark.parametrize(
    ("piece", "broken", "what"),
    [
        (fuzz._flapping(random.Random(5)), (generation, "PARTS_MAX", 1 << 20), "parts"),
        (
            fuzz.frame({"content": "Hm."}),
            (Reply, "ended", property(lambda _: True)),
            "DONE without",
        ),
        (fuzz.frame({"content": "Hm."}), (fuzz, "STEP_SECONDS", 0.0), "a step of"),
        (fuzz.frame({"content": "Hm."}), (fuzz, "BESIDES", 0), "bytes too many"),
    ],
)
def test_the_fuzzer_reports_planted_faults(
    monkeypatch: pytest.MonkeyPatch, piece: bytes, broken: tuple[object, str, object], what: str
) -> None:
    monkeypatch.setattr(fuzz, "stream", lambda _: (piece,))
    monkeypatch.setattr(*broken)

    wrong = fuzz.run(60, 0, 1).wrong

    assert any(what in one for one in wrong)
