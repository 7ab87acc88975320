"""The fuzzer of provider streams, for a minute; `python -m bench.fuzz provider` goes on."""

import random

import pytest

from bench.fuzz import provider as fuzz
from worker import generation
from worker.reply import Reply

SECONDS = 60.0


@pytest.mark.failure(50)
def test_no_stream_holds_the_loop_or_takes_memory_or_is_falsely_done() -> None:
    found = fuzz.run(SECONDS, random.randrange(10**9))

    print(found)
    assert not found.wrong, found
    assert {"DONE", "provider_malformed", "provider_cut"} <= found.ends.keys()


def test_a_seed_is_always_the_same_stream() -> None:
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
def test_it_sees_what_is_wrong(
    monkeypatch: pytest.MonkeyPatch, piece: bytes, broken: tuple[object, str, object], what: str
) -> None:
    monkeypatch.setattr(fuzz, "stream", lambda _: (piece,))
    monkeypatch.setattr(*broken)

    wrong = fuzz.run(60, 0, 1).wrong

    assert any(what in one for one in wrong)
