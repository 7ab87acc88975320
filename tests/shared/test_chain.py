"""A link stands for all that was said down to it, and for nothing else."""

from hypothesis import given
from hypothesis import strategies as st

from shared.chain import ROOT, chain, link

turns = st.tuples(st.sampled_from(["user", "assistant"]), st.text("ab:\n😀", max_size=4))
histories = st.lists(turns, max_size=6)


@given(histories, histories)
def test_two_histories_meet_in_a_link_only_where_they_are_equal_so_far(
    one: list[tuple[str, str]], other: list[tuple[str, str]]
) -> None:
    for depth, (mine, theirs) in enumerate(zip(chain(one), chain(other), strict=False), 1):
        assert (mine == theirs) == (one[:depth] == other[:depth])


@given(histories, histories)
def test_a_longer_history_keeps_the_links_of_the_shorter(
    begun: list[tuple[str, str]], more: list[tuple[str, str]]
) -> None:
    assert chain(begun + more)[: len(begun)] == chain(begun)


@given(histories)
def test_no_two_turns_of_a_history_have_the_same_link(history: list[tuple[str, str]]) -> None:
    links = chain(history)

    assert len({*links, ROOT}) == len(history) + 1


def test_the_role_counts() -> None:
    assert link(ROOT, "user", "a") != link(ROOT, "assistant", "a")
