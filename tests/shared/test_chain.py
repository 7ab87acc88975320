"""A link stands for all that was said down to it, and for nothing else."""

from hypothesis import given
from hypothesis import strategies as st

from shared.chain import ROOT, chain

histories = st.lists(st.binary(min_size=1, max_size=1).map(lambda one: one * 32), max_size=6)


@given(histories, histories)
def test_two_histories_meet_in_a_link_only_where_they_are_equal_so_far(
    one: list[bytes], other: list[bytes]
) -> None:
    for depth, (mine, theirs) in enumerate(zip(chain(one), chain(other), strict=False), 1):
        assert (mine == theirs) == (one[:depth] == other[:depth])


@given(histories, histories)
def test_a_longer_history_keeps_the_links_of_the_shorter(
    begun: list[bytes], more: list[bytes]
) -> None:
    assert chain(begun + more)[: len(begun)] == chain(begun)


@given(histories)
def test_no_two_turns_of_a_history_have_the_same_link(history: list[bytes]) -> None:
    links = chain(history)

    assert len({*links, ROOT}) == len(history) + 1
