"""The coding of a tape: what was recorded is what is read."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared import tape
from shared.tape import AGAIN_MS, NUMBER_MAX, SAMPLES_MAX, Mark, Sample, settled

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
    for before, after in itertools.pairwise(decoded):
        assert before.ms <= after.ms <= before.ms + NUMBER_MAX
        assert before.position <= after.position <= before.position + NUMBER_MAX


@pytest.mark.parametrize(
    ("samples", "position", "when"),
    [
        ([], 0, None),
        ([Sample(1_000, 10)], 10, None),
        ([Sample(1_000, 10)], 0, 0),
        # nothing came for a while: a save takes what came in the second before it
        ([Sample(1_000, 10), Sample(9_000, 20)], 10, 8_000),
        ([Sample(1_000, 10), Sample(9_000, 20)], 15, 8_500),
        # a save because of many characters
        ([Sample(1_000, 100), Sample(1_200, 300)], 200, 1_100),
        ([Sample(1_000, 100), Sample(1_200, 300)], 299, 1_199),
    ],
)
def test_a_position_is_passed_in_the_second_before_its_save(
    samples: list[Sample], position: int, when: int | None
) -> None:
    assert tape.passed(samples, position) == when


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


@settings(deadline=None)
@given(st.integers(1, 5_000))
def test_thinned_out_a_tape_has_its_last_sample_and_not_too_many(count: int) -> None:
    kept = [number for number in range(1, count + 1) if tape.kept(number, count)]
    assert kept[-1] == count
    assert min(count, SAMPLES_MAX // 2) <= len(kept) <= SAMPLES_MAX


def test_a_device_that_connects_again_has_not_left() -> None:
    phone = "phone Safari"
    marks = [
        Mark(0, "joined", phone),
        Mark(1_000, "left", phone),
        Mark(1_000 + AGAIN_MS - 1, "joined", phone),
        Mark(20_000, "left", phone),
        Mark(20_000 + AGAIN_MS, "joined", phone),
    ]
    assert settled(reversed(marks)) == [marks[0], *marks[3:]]


def test_a_device_that_reads_twice_has_left_when_it_left_both() -> None:
    at_desk = "desktop Chrome"
    marks = [
        Mark(0, "joined", at_desk),
        Mark(5, "joined", at_desk),
        Mark(10, "lost"),
        Mark(20, "left", at_desk),
        Mark(30, "left", at_desk),
        Mark(40, "left", at_desk),
    ]
    assert settled(marks) == [marks[0], marks[2], marks[4]]


DEVICES = st.sampled_from(["phone Safari", "desktop Chrome"])


@given(
    st.lists(st.builds(Mark, st.integers(0, 50_000), st.sampled_from(["joined", "left"]), DEVICES))
)
def test_settled_a_device_comes_and_leaves_in_turn(marks: list[Mark]) -> None:
    found = settled(marks)
    assert found == sorted(found, key=lambda mark: mark.ms)
    for device in {mark.device for mark in found}:
        kinds = [mark.kind for mark in found if mark.device == device]
        assert kinds == [("joined", "left")[at % 2] for at in range(len(kinds))]
