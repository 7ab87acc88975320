"""The coding of a tape: what was recorded is what is read."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from shared import tape
from shared.tape import NUMBER_MAX, SAMPLES_MAX, Sample

#: Samples of an answer: each later and further than the one before, or at the same time.
GROWING = st.lists(
    st.tuples(st.integers(0, 100_000), st.integers(0, 1 << 20)), max_size=SAMPLES_MAX
).map(
    lambda steps: [
        Sample(sum(ms for ms, _ in steps[: n + 1]), sum(by for _, by in steps[: n + 1]))
        for n in range(len(steps))
    ]
)


@given(GROWING)
def test_decoded_is_what_was_encoded(samples: list[Sample]) -> None:
    assert tape.decode(tape.encode(samples)) == samples


@given(st.lists(st.builds(Sample, st.integers(-5, 1 << 40), st.integers(-5, 1 << 40))))
def test_whatever_is_encoded_never_goes_back(samples: list[Sample]) -> None:
    decoded = tape.decode(tape.encode(samples))
    assert len(decoded) == min(len(samples), SAMPLES_MAX)
    for before, after in pairwise(decoded):
        assert before.ms <= after.ms <= before.ms + NUMBER_MAX
        assert before.position <= after.position <= before.position + NUMBER_MAX


@given(st.binary(max_size=3 * SAMPLES_MAX))
def test_any_bytes_are_samples_that_grow(stored: bytes) -> None:
    samples = tape.decode(stored)
    assert len(samples) <= SAMPLES_MAX
    assert samples == sorted(samples)


@given(GROWING, st.integers(0, 4 * SAMPLES_MAX))
def test_a_cut_tape_has_the_samples_before_the_cut(samples: list[Sample], cut: int) -> None:
    decoded = tape.decode(tape.encode(samples)[:cut])
    assert decoded == samples[: len(decoded)]


def test_a_usual_sample_takes_four_bytes() -> None:
    samples = [Sample(1000 * n, 200 * n) for n in range(1, 101)]
    assert len(tape.encode(samples)) == 400


@given(st.integers(1, 100_000))
def test_thinned_out_a_tape_has_its_last_sample_and_not_too_many(count: int) -> None:
    kept = [number for number in range(1, count + 1) if tape.kept(number, count)]
    assert kept[-1] == count
    assert min(count, SAMPLES_MAX // 2) <= len(kept) <= SAMPLES_MAX
